import { Anchor, Group, Skeleton, Table, Text } from "@mantine/core";
import { IconCircleCheckFilled } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { Link } from "react-router";
import { client, unwrap } from "../../api/client";
import type { EndpointSummary } from "../../api/schema";
import { StateIndicator } from "../../components/StateIndicator";
import { TimeAgo } from "../../components/Time";
import { ATTENTION, needsAttention } from "../serving/endpoints";
import { NameCell, Section, TableFrame } from "./Section";

const SHOWN = 8;

/** Why the newest configuration does not serve: what the server says of its first entity that has something to say. */
async function reasonOf(name: string): Promise<string> {
  const endpoint = await unwrap(client.GET("/api/2.0/serving-endpoints/{name}", { params: { path: { name } } }));
  const entities = [...(endpoint.pending_config?.served_entities ?? []), ...(endpoint.config?.served_entities ?? [])];
  const said = entities.map((entity) => entity.state?.deployment_state_message ?? "").filter(Boolean);
  return said[0] ?? "";
}

/** The first line. Where the server adds the end of a log, the sentence that announces that is left out: it is read on the endpoint's page. */
function firstLine(reason: string): string {
  return (reason.split("\n")[0] ?? "").replace(/(?<=[.!?])\s[^.]*:$/, "");
}

function Reason({ endpoint }: { endpoint: EndpointSummary }) {
  const { t } = useTranslation("home");
  // Under a key of its own: the details page asks for the endpoint each second, this once for each change.
  const { data, isPending } = useQuery({
    queryKey: ["endpoint-reason", endpoint.name, endpoint.last_updated_timestamp, endpoint.state.config_update, endpoint.state.ready],
    queryFn: () => reasonOf(endpoint.name),
  });
  if (isPending) return <Skeleton height={14} my={4} />;
  if (!data) {
    return (
      <Text size="sm" c="dimmed">
        {t("attention.noReason")}
      </Text>
    );
  }
  return (
    <Text size="sm" lineClamp={2} title={data.slice(0, 1000)}>
      {firstLine(data)}
    </Text>
  );
}

/** The endpoints that somebody should look at, with the reason that the server gives, in the order of `endpoints`. */
export function Attention({ endpoints }: { endpoints: EndpointSummary[] }) {
  const { t } = useTranslation(["home", "common"]);
  const unhealthy = endpoints.filter(needsAttention);
  const all = unhealthy.length > SHOWN && (
    <Anchor component={Link} to={`/ml/endpoints?state=${ATTENTION}`} size="sm">
      {t("attention.all", { count: unhealthy.length })}
    </Anchor>
  );
  return (
    <Section title={t("attention.title")} beside={all}>
      {unhealthy.length === 0 ? (
        <Group gap={6} wrap="nowrap">
          <IconCircleCheckFilled size={16} color="var(--mantine-color-green-7)" aria-hidden />
          <Text size="sm">{t("attention.none")}</Text>
        </Group>
      ) : (
        <TableFrame label={t("attention.title")} columns={[t("state"), t("common:name"), t("attention.reason"), t("changed")]}>
          {unhealthy.slice(0, SHOWN).map((endpoint) => (
            <Table.Tr key={endpoint.id}>
              <Table.Td w={1}>
                <StateIndicator endpoint={endpoint} />
              </Table.Td>
              <NameCell name={endpoint.name} width="25%" />
              <Table.Td miw={220} w="60%">
                <Reason endpoint={endpoint} />
              </Table.Td>
              <Table.Td w={1}>
                <TimeAgo at={endpoint.last_updated_timestamp} />
              </Table.Td>
            </Table.Tr>
          ))}
        </TableFrame>
      )}
    </Section>
  );
}
