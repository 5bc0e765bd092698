import { Badge, Group, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { RegisteredModel } from "../../api/registry";
import { STAGES } from "./registered";

/** Which version is the latest of each stage, and which has which alias. */
export function ModelMarks({ model }: { model: RegisteredModel }) {
  const { t } = useTranslation("models");
  const staged = STAGES.filter((stage) => stage !== "None").flatMap((stage) => {
    const version = model.latest_versions?.find((one) => one.current_stage === stage);
    return version ? [{ stage, version: version.version }] : [];
  });
  const aliases = model.aliases ?? [];
  if (staged.length + aliases.length === 0) {
    return (
      <Text size="sm" c="dimmed">
        –
      </Text>
    );
  }
  return (
    <Group gap={4}>
      {staged.map(({ stage, version }) => (
        <StageBadge key={stage} stage={stage}>
          {t("stageOfVersion", { stage, version })}
        </StageBadge>
      ))}
      {aliases.map(({ alias, version }) => (
        <Badge key={alias} variant="default" tt="none" fw={500} radius="sm" title={t("aliasOfVersion", { alias, version })}>
          {t("aliasOfVersion", { alias, version })}
        </Badge>
      ))}
    </Group>
  );
}

/** A stage: what is in Production stands out. */
export function StageBadge({ stage, children }: { stage: string; children?: string }) {
  return (
    <Badge variant={stage === "Production" ? "filled" : "default"} tt="none" fw={500} radius="sm">
      {children ?? stage}
    </Badge>
  );
}
