import { Anchor, Radio, Skeleton, Stack, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { useEndpoints } from "../../api/queries";
import type { EndpointSummary } from "../../api/schema";
import { ErrorPanel } from "../../components/ErrorPanel";
import { useOptimization } from "./MyModelPicker";
import type { EntityValues } from "./values";

interface Props {
  entity: EntityValues;
  change: (change: Partial<EntityValues>) => void;
}

interface FoundationModel {
  name: string;
  title: string;
  description: string;
  docs: string;
  task: string;
}

/** The models of the catalogue: each is what an endpoint of the server's own serves. */
function foundationModels(endpoints: EndpointSummary[]): FoundationModel[] {
  const found = new Map<string, FoundationModel>();
  for (const endpoint of endpoints) {
    for (const { foundation_model: model } of endpoint.config?.served_entities ?? []) {
      if (!model?.name.startsWith("system.ai.")) continue;
      const { name, display_name: title, description, docs } = model;
      found.set(name, { name, title, description, docs, task: endpoint.task ?? "" });
    }
  }
  return [...found.values()].sort((a, b) => a.title.localeCompare(b.title));
}

export function FoundationPicker({ entity, change }: Props) {
  const { t } = useTranslation("form");
  const { data, error, refetch } = useEndpoints();
  const optimization = useOptimization(entity.entityName, entity.entityVersion);
  if (error) return <ErrorPanel error={error} retry={() => void refetch()} />;
  if (!data) return <Skeleton height={120} />;
  const models = foundationModels(data);
  if (!models.length) {
    return (
      <Text size="sm" c="dimmed">
        {t("foundation.empty")}
      </Text>
    );
  }
  return (
    <Stack gap="sm">
      <Radio.Group
        label={t("foundation.label")}
        description={t("foundation.hint")}
        value={entity.entityName}
        onChange={(name) => change({ entityName: name, entityVersion: "1", kind: "throughput" })}
        required
      >
        <Stack gap="sm" mt="sm">
          {models.map((model) => (
            <Stack key={model.name} gap={0}>
              <Radio value={model.name} label={model.title} description={`${model.name} · ${model.task}`} />
              <Text size="sm" ml={32}>
                {model.description}{" "}
                {model.docs && (
                  <Anchor
                    href={model.docs}
                    target="_blank"
                    rel="noreferrer"
                    size="sm"
                    aria-label={t("foundation.docsOf", { name: model.title })}
                  >
                    {t("foundation.docs")}
                  </Anchor>
                )}
              </Text>
            </Stack>
          ))}
        </Stack>
      </Radio.Group>
      {entity.entityName && optimization.data && (
        <Text size="sm" c="dimmed">
          {optimization.data.optimizable
            ? t("foundation.steps", {
                engine: optimization.data.model_type,
                units: optimization.data.model_unit_chunk_size,
                tokens: optimization.data.throughput_chunk_size,
              })
            : optimization.data.message}
        </Text>
      )}
    </Stack>
  );
}
