import { Anchor, Group, Paper, SimpleGrid, Spoiler, Stack, Text, Title } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { Link } from "react-router";
import type { EndpointDetail, ServedEntityOutput } from "../../api/schema";
import { TimeAgo } from "../../components/Time";
import { DeploymentState } from "./DeploymentState";
import { Elapsed } from "./Elapsed";
import { computeOf, endpointPath, failureOf, type ServedConfig, trafficOf } from "./endpointKind";
import { EntityModel } from "./EntityModel";
import { percent } from "../../format";
import type { LastUpdate } from "./useLastUpdate";

interface EntityProps {
  endpoint: string;
  config: ServedConfig;
  entity: ServedEntityOutput;
}

function Entity({ endpoint, config, entity }: EntityProps) {
  const { t, i18n } = useTranslation("endpoint");
  const { state } = entity;
  const figures = [computeOf(entity), percent(trafficOf(config, entity), i18n.language, 0)].filter(Boolean).join(" · ");
  const logs = new URLSearchParams({ entity: entity.name, version: String(config.config_version), log: "build" });
  return (
    <Stack gap={2} component="li">
      <Group justify="space-between" gap="xs" wrap="nowrap">
        <Text size="sm" fw={600} className="cut" title={entity.name}>
          {entity.name}
        </Text>
        <Text size="sm" component="div">
          <DeploymentState state={state} />
        </Text>
      </Group>
      <Group justify="space-between" gap="xs" wrap="nowrap">
        <Text size="sm" component="div" miw={0}>
          <EntityModel entity={entity} />
        </Text>
        <Text size="sm" c="dimmed" style={{ whiteSpace: "nowrap" }}>
          {figures}
        </Text>
      </Group>
      {state.deployment_state_message && (
        <Spoiler
          maxHeight={57}
          showLabel={t("update.showAll")}
          hideLabel={t("update.showLess")}
          styles={{ control: { fontSize: "var(--mantine-font-size-sm)" } }}
        >
          <Text
            size="sm"
            component="div"
            c={state.deployment === "DEPLOYMENT_FAILED" ? "var(--mantine-color-error)" : "dimmed"}
            style={{ whiteSpace: "pre-wrap" }}
          >
            {state.deployment_state_message}
          </Text>
        </Spoiler>
      )}
      {!entity.external_model && (
        <Anchor component={Link} to={`${endpointPath(endpoint, "logs")}?${logs}`} size="sm" style={{ alignSelf: "flex-start" }}>
          {t("update.buildLog", { name: entity.name })}
        </Anchor>
      )}
    </Stack>
  );
}

function Configuration({ title, endpoint, config, empty }: { title: string; endpoint: string; config?: ServedConfig; empty: string }) {
  const { t } = useTranslation("endpoint");
  return (
    <Paper withBorder p="sm" component="section" aria-label={title} miw={0}>
      <Group justify="space-between" gap="xs" mb="xs">
        <Title order={3}>{title}</Title>
        {config && (
          <Text size="sm" c="dimmed">
            {t("version.number", { version: config.config_version })}
          </Text>
        )}
      </Group>
      {config ? (
        <Stack gap="sm" component="ul" m={0} p={0} style={{ listStyle: "none" }}>
          {config.served_entities.map((entity) => (
            <Entity key={entity.name} endpoint={endpoint} config={config} entity={entity} />
          ))}
        </Stack>
      ) : (
        <Text size="sm" c="dimmed">
          {empty}
        </Text>
      )}
    </Paper>
  );
}

/** The configuration that serves beside the one that is to take its place, or that could not. */
export function UpdateComparison({ endpoint, update }: { endpoint: EndpointDetail; update: LastUpdate }) {
  const { t } = useTranslation("endpoint");
  const { outcome, config, startedAt, ended } = update;
  return (
    <Stack gap="xs" component="section" aria-labelledby="update-title" data-testid="update">
      <Group gap="sm" align="baseline">
        <Title order={2} id="update-title">
          {t(`update.${outcome}`)}
        </Title>
        {outcome === "IN_PROGRESS" && startedAt !== undefined && (
          <Text size="sm" c="dimmed">
            {t("update.elapsed")} <Elapsed from={startedAt} />
          </Text>
        )}
        {ended && (
          <Text size="sm" c="dimmed">
            <TimeAgo at={ended.at} />
          </Text>
        )}
      </Group>
      {ended && (outcome === "UPDATE_CANCELED" || !failureOf(endpoint)) && <Text size="sm">{ended.reason}</Text>}
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="sm">
        <Configuration
          title={t(endpoint.stopped ? "update.stoppedConfig" : "update.active")}
          endpoint={endpoint.name}
          config={endpoint.config ?? undefined}
          empty={t("update.noActive")}
        />
        <Configuration title={t(`update.other.${outcome}`)} endpoint={endpoint.name} config={config} empty={t("update.noPending")} />
      </SimpleGrid>
    </Stack>
  );
}
