import { Box, Group, Stack, Tabs, Text, Title } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { EndpointVersionStatus } from "../../api/schema";
import { CopyableText } from "../../components/Copy";
import { useUrlValue } from "../../components/UrlSearch";
import { CallModelPanel } from "../query/CallModelPanel";
import { type ByStage, isPending, scoringPath, useExample } from "./byStage";
import { ModelEvents } from "./ModelEvents";
import { ServiceMark } from "./ServiceMark";
import { VersionFigures } from "./VersionFigures";
import { VersionLogs } from "./VersionLogs";
import { VersionReplicas } from "./VersionReplicas";

const DETAILS = ["call", "logs", "events", "replicas", "metrics"] as const;

interface Props {
  name: string;
  served: ByStage;
  version: EndpointVersionStatus;
}

/** One served version: how it is, where it is scored, a way to try it, and what it left behind. */
export function ServedVersion({ name, served, version }: Props) {
  const { t } = useTranslation("models");
  const number = version.endpoint_version_name;
  const service = version.service_status;
  const update = version.config_update_status;
  const workload = service.config.workload_spec;
  const ready = service.state === "SERVICE_STATE_READY";
  const example = useExample(served.status.endpoint_name, version.served_entity_name, ready);
  const [detail, setDetail] = useUrlValue("detail", DETAILS[0]);
  const current = DETAILS.find((one) => one === detail) ?? DETAILS[0];
  const pending = isPending(served);
  // What is said of both alike is said once.
  const updateDiffers = update.state !== service.state || (update.state !== "SERVICE_STATE_READY" && update.message !== service.message);
  return (
    <Stack gap="lg">
      <Stack gap={4}>
        <ServiceMark state={service.state} message={service.message} />
        {updateDiffers && (
          <Group gap={6} wrap="nowrap" align="flex-start">
            <Text size="sm" c="dimmed" style={{ whiteSpace: "nowrap" }}>
              {t("computeUpdate")}
            </Text>
            <ServiceMark state={update.state} message={update.message} />
          </Group>
        )}
        <Text size="sm" c="dimmed">
          {t(workload.scale_to_zero_enabled ? "workloadToZero" : "workload", { size: workload.workload_size_id })}
        </Text>
      </Stack>
      <Box component="section" aria-labelledby="version-urls">
        <Title order={2} id="version-urls" mb="xs">
          {t("urls")}
        </Title>
        <Addresses name={name} served={served} version={version} />
      </Box>
      <Tabs value={current} onChange={(to) => to && setDetail(to)} keepMounted={false}>
        <Tabs.List mb="sm">
          {DETAILS.map((one) => (
            <Tabs.Tab key={one} value={one}>
              {t(`detail.${one}`)}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        <Tabs.Panel value="call">
          {ready ? (
            <CallModelPanel
              key={number}
              url={scoringPath(name, number)}
              example={example.isError ? null : example.data}
              mayWake={workload.scale_to_zero_enabled}
            />
          ) : (
            <Text size="sm" c="dimmed">
              {t("callLater")}
            </Text>
          )}
        </Tabs.Panel>
        <Tabs.Panel value="logs">
          <VersionLogs name={name} version={number} pending={pending} />
        </Tabs.Panel>
        <Tabs.Panel value="events">
          <ModelEvents name={name} version={number} pending={pending} />
        </Tabs.Panel>
        <Tabs.Panel value="replicas">
          <VersionReplicas name={name} version={number} pending={pending} />
        </Tabs.Panel>
        <Tabs.Panel value="metrics">
          <VersionFigures name={name} version={number} endpoint={served.status.endpoint_name} />
        </Tabs.Panel>
      </Tabs>
    </Stack>
  );
}

/** By its number, and by each stage for which it answers; of its own stage, who does where it does not. */
function Addresses({ name, served, version }: Props) {
  const { t } = useTranslation("models");
  const number = version.endpoint_version_name;
  const stage = version.config_update_status.config.stage;
  const stages = served.aliases.filter((alias) => alias.endpoint_version_name === number).map((alias) => alias.alias);
  const other = served.aliases.find((alias) => alias.alias === stage && alias.endpoint_version_name !== number);
  const rows = [
    ...stages.map((one) => ({ label: one, where: one as string })),
    { label: t("version", { version: number }), where: number },
  ];
  return (
    <>
      <Box component="dl" m={0}>
        {rows.map(({ label, where }) => (
          <Group key={where} gap="sm" wrap="nowrap">
            <Text component="dt" size="sm" miw={88} style={{ whiteSpace: "nowrap" }}>
              {label}
            </Text>
            <Box component="dd" m={0} miw={0}>
              <CopyableText value={window.location.origin + scoringPath(name, where)} label={t("copyUrl", { where: label })} />
            </Box>
          </Group>
        ))}
      </Box>
      {other && (
        <Text size="sm" c="dimmed" mt={4}>
          {t("answeredBy", { stage, version: other.endpoint_version_name })}
        </Text>
      )}
    </>
  );
}
