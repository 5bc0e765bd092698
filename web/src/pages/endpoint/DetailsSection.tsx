import { Badge, Group, SimpleGrid, Table, Text } from "@mantine/core";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import type { EndpointDetail } from "../../api/schema";
import { CopyableText } from "../../components/Copy";
import { TimeAgo } from "../../components/Time";
import { kindOf } from "./endpointKind";
import { gatewayFacts } from "./gatewayFacts";
import { TitledSection } from "./TitledSection";

interface Fact {
  name: string;
  value: ReactNode;
}

function Facts({ facts, label }: { facts: Fact[]; label: string }) {
  return (
    <Table variant="vertical" layout="fixed" withTableBorder aria-label={label} style={{ alignSelf: "start" }}>
      <Table.Tbody>
        {facts.map(({ name, value }) => (
          <Table.Tr key={name}>
            <Table.Th w="36%" scope="row" fw={500}>
              {name}
            </Table.Th>
            <Table.Td>{value || <Text inherit c="dimmed">–</Text>}</Table.Td>
          </Table.Tr>
        ))}
      </Table.Tbody>
    </Table>
  );
}

/** All else that is known of the endpoint. */
export function DetailsSection({ endpoint }: { endpoint: EndpointDetail }) {
  const { t } = useTranslation(["endpoint", "common"]);
  const { email_notifications: mail, data_plane_info: plane, telemetry_config: telemetry, tags } = endpoint;
  const kind = kindOf(endpoint);
  const identity: Fact[] = [
    { name: t("details.id"), value: <CopyableText value={endpoint.id} label={t("details.copyId")} /> },
    { name: t("details.type"), value: kind && t(`kind.${kind}`) },
    ...(endpoint.task ? [{ name: t("details.task"), value: endpoint.task }] : []),
    { name: t("details.creator"), value: endpoint.creator },
    { name: t("details.created"), value: <TimeAgo at={endpoint.creation_timestamp} /> },
    { name: t("details.modified"), value: <TimeAgo at={endpoint.last_updated_timestamp} /> },
    { name: t("details.description"), value: endpoint.description },
    {
      name: t("details.tags"),
      value: tags.length > 0 && (
        <Group gap={4}>
          {tags.map(({ key, value }) => (
            <Badge key={key} variant="default" tt="none" fw={400} maw="100%" title={`${key}: ${value}`}>
              {value ? `${key}: ${value}` : key}
            </Badge>
          ))}
        </Group>
      ),
    },
    ...(endpoint.budget_policy_id ? [{ name: t("details.budgetPolicy"), value: endpoint.budget_policy_id }] : []),
  ];
  const traffic: Fact[] = [
    ...gatewayFacts(endpoint.ai_gateway ?? {}, kind === "CUSTOM_MODEL", t),
    { name: t("details.mailFailure"), value: mail?.on_update_failure?.join(", ") },
    { name: t("details.mailSuccess"), value: mail?.on_update_success?.join(", ") },
    ...(telemetry
      ? [
          {
            name: t("details.telemetry"),
            value: telemetry.inference_table_config?.name ?? telemetry.telemetry_profile_id ?? t("details.on"),
          },
        ]
      : []),
    { name: t("details.routeOptimized"), value: t(endpoint.route_optimized ? "common:yes" : "common:no") },
    ...(endpoint.endpoint_url
      ? [{ name: t("details.endpointUrl"), value: <CopyableText value={endpoint.endpoint_url} label={t("header.copyUrl")} /> }]
      : []),
    ...(plane
      ? [
          {
            name: t("details.authorization"),
            value: <CopyableText value={plane.query_info.authorization_details} label={t("details.copyAuthorization")} />,
          },
        ]
      : []),
  ];
  return (
    <TitledSection title={t("details.title")}>
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="sm">
        <Facts facts={identity} label={t("details.title")} />
        <Facts facts={traffic} label={t("details.traffic")} />
      </SimpleGrid>
    </TitledSection>
  );
}
