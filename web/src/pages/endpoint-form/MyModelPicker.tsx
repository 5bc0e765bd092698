import { Alert, Anchor, Badge, Group, SegmentedControl, Select, Stack, Text } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { useTranslation } from "react-i18next";
import { Link } from "react-router";
import { client, unwrap } from "../../api/client";
import { type ModelVersion, searchModels, useModel, useModelVersions } from "../../api/registry";
import { errorText } from "../../components/confirm";
import { SignatureTable } from "./SignatureTable";
import type { EntityValues } from "./values";

interface Props {
  entity: EntityValues;
  change: (change: Partial<EntityValues>) => void;
}

/** Whether an engine of the server runs the model with provisioned throughput. */
export const useOptimization = (model: string, version: string) =>
  useQuery({
    queryKey: ["model-optimization", model, version],
    queryFn: () =>
      unwrap(
        client.GET("/api/2.0/serving-endpoints/get-model-optimization-info/{entity_name}/{version}", {
          params: { path: { entity_name: model, version } },
        }),
      ),
    enabled: !!model && !!version,
    staleTime: 60_000,
    retry: false,
  });

/** The aliases of each version of a model. */
export function useAliases(model: string): Map<string, string[]> {
  const { data } = useModel(model);
  const found = new Map<string, string[]>();
  for (const { alias, version } of data?.aliases ?? []) found.set(version, [...(found.get(version) ?? []), alias]);
  return found;
}

/** "3 · Production · @champion" */
export function versionLabel(version: ModelVersion, aliases: string[] = []): string {
  const stage = version.current_stage && version.current_stage !== "None" ? [version.current_stage] : [];
  const status = version.status && version.status !== "READY" ? [version.status] : [];
  return [version.version, ...stage, ...aliases.map((alias) => `@${alias}`), ...status].join(" · ");
}

export function MyModelPicker({ entity, change }: Props) {
  const { t } = useTranslation("form");
  const [text, setText] = useState(entity.entityName);
  const [searched] = useDebouncedValue(text === entity.entityName ? "" : text, 200);
  const models = useQuery({ queryKey: ["models", searched, "picker"], queryFn: () => searchModels(searched, 50) });
  const versions = useModelVersions(entity.entityName);
  const aliases = useAliases(entity.entityName);
  const optimization = useOptimization(entity.entityName, entity.entityVersion);
  const newest = versions.data?.[0]?.version;

  useEffect(() => {
    if (newest && !entity.entityVersion) change({ entityVersion: newest });
  });

  const found = (models.data?.models ?? []).map((model) => model.name);
  const names = entity.entityName && !found.includes(entity.entityName) ? [entity.entityName, ...found] : found;
  const chosen = versions.data?.find((one) => one.version === entity.entityVersion);
  const problem = models.error ?? versions.error;

  return (
    <Stack gap="sm">
      <Select
        label={t("models.model")}
        placeholder={t("models.search")}
        data={names}
        value={entity.entityName || null}
        onChange={(name) => change({ entityName: name ?? "", entityVersion: "" })}
        searchable
        searchValue={text}
        onSearchChange={setText}
        filter={({ options }) => options}
        nothingFoundMessage={models.isFetching ? t("models.searching") : t("models.nothing")}
        error={problem ? errorText(problem) : undefined}
        maxDropdownHeight={320}
        styles={{ option: { overflowWrap: "anywhere" } }}
        openOnFocus={false}
        required
        data-autofocus
      />
      {models.data?.models.length === 0 && !searched && (
        <Alert color="gray" title={t("models.emptyTitle")}>
          {t("models.empty")}{" "}
          <Anchor component={Link} to="/" size="sm">
            {t("models.emptyLink")}
          </Anchor>
        </Alert>
      )}
      {entity.entityName && (
        <Select
          label={t("models.version")}
          data={(versions.data ?? []).map((one) => ({ value: one.version, label: versionLabel(one, aliases.get(one.version)) }))}
          value={entity.entityVersion || null}
          onChange={(version) => change({ entityVersion: version ?? "" })}
          allowDeselect={false}
          disabled={!versions.data?.length}
          error={versions.data?.length === 0 ? t("models.noVersions") : undefined}
          required
        />
      )}
      {chosen && chosen.status !== "READY" && chosen.status !== undefined && (
        <Text size="sm" c="var(--mantine-color-error)">
          {t("models.notReady", { status: chosen.status })} {chosen.status_message}
        </Text>
      )}
      {optimization.data && (optimization.data.optimizable || entity.kind === "throughput") && (
        <Group gap="xs">
          <Text size="sm" fw={500}>
            {t("models.serveAs")}
          </Text>
          <SegmentedControl
            size="xs"
            aria-label={t("models.serveAs")}
            data={[
              { value: "custom", label: t("kind.custom") },
              { value: "throughput", label: t("kind.throughput") },
            ]}
            value={entity.kind}
            onChange={(kind) => change({ kind: kind === "throughput" ? "throughput" : "custom" })}
          />
          {optimization.data.model_type && (
            <Badge variant="default" tt="none">
              {optimization.data.model_type}
            </Badge>
          )}
        </Group>
      )}
      {entity.kind === "throughput" && optimization.data?.optimizable === false && (
        <Text size="sm" c="var(--mantine-color-error)" role="alert">
          {optimization.data.message}
        </Text>
      )}
      {entity.entityName && entity.entityVersion && <SignatureTable model={entity.entityName} version={entity.entityVersion} />}
    </Stack>
  );
}
