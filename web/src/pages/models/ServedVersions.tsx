import { Anchor, Group, Tabs, Text } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { Link } from "react-router";
import { EmptyState } from "../../components/EmptyState";
import { useUrlPatch, useUrlValue } from "../../components/UrlSearch";
import type { ByStage } from "./byStage";
import { StageBadge } from "./ModelMarks";
import { ServedVersion } from "./ServedVersion";
import { ServingIcon, servingWord } from "./ServiceMark";

// The icons and the stages of the tabs are to be seen on the chosen one too.
const quiet = () => ({ root: { "--tabs-color": "var(--mantine-primary-color-light)", "--tabs-text-color": "var(--mantine-color-text)" } });

/** A tab for each version that is in a served stage. */
export function ServedVersions({ name, served }: { name: string; served: ByStage }) {
  const { t } = useTranslation("models");
  const { versions, aliases } = served;
  const [chosen] = useUrlValue("served");
  const patch = useUrlPatch();
  const answering = aliases.find((alias) => alias.alias === "Production")?.endpoint_version_name;
  const current =
    versions.find((one) => one.endpoint_version_name === chosen) ??
    versions.find((one) => one.endpoint_version_name === answering) ??
    versions[0];

  if (!current) {
    return (
      <EmptyState
        title={t("noServed.title")}
        action={
          <Anchor component={Link} to={`/ml/models/${encodeURIComponent(name)}`} size="sm">
            {t("noServed.action")}
          </Anchor>
        }
      >
        {t("noServed.text")}
      </EmptyState>
    );
  }
  return (
    <Tabs
      variant="pills"
      vars={quiet}
      value={current.endpoint_version_name}
      onChange={(to) => patch({ served: to ?? "", replica: "" })}
      keepMounted={false}
    >
      <Tabs.List mb="md" aria-label={t("servedVersions")}>
        {versions.map((version) => {
          const word = servingWord(version.service_status.state);
          return (
            <Tabs.Tab key={version.endpoint_version_name} value={version.endpoint_version_name}>
              <Group gap={6} wrap="nowrap">
                <ServingIcon word={word} />
                <Text span inherit>
                  {t("version", { version: version.endpoint_version_name })}
                </Text>
                <StageBadge stage={version.config_update_status.config.stage} />
              </Group>
            </Tabs.Tab>
          );
        })}
      </Tabs.List>
      {versions.map((version) => (
        <Tabs.Panel key={version.endpoint_version_name} value={version.endpoint_version_name}>
          <ServedVersion name={name} served={served} version={version} />
        </Tabs.Panel>
      ))}
    </Tabs>
  );
}
