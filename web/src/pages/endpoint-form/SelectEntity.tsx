import { Button, Drawer, Group, Stack, Tabs, Text } from "@mantine/core";
import { type FormEvent, useState } from "react";
import { useTranslation } from "react-i18next";
import { ExternalPicker, missingFields } from "./ExternalPicker";
import { FoundationPicker } from "./FoundationPicker";
import { MyModelPicker } from "./MyModelPicker";
import { type EntityKind, type EntityValues, newEntity } from "./values";

interface Props {
  /** The entity to change; nothing for a new one. */
  entity?: EntityValues;
  /** What the other entities are: an endpoint serves one kind. */
  kind?: EntityKind;
  /** Messages of the server about fields of the provider, by field. */
  errors: Record<string, string>;
  close: () => void;
  confirm: (entity: EntityValues) => void;
}

type Source = "models" | "foundation" | "external";

function sourceOf(entity: EntityValues | undefined, kind: EntityKind | undefined): Source {
  if ((entity?.kind ?? kind) === "external") return "external";
  if (entity ? entity.entityName.startsWith("system.ai.") : kind === "throughput") return "foundation";
  return "models";
}

/** One takes what is to be served: a model of the registry, one of the catalogue, or a provider's. */
export function SelectEntity({ entity, kind, errors, close, confirm }: Props) {
  const { t } = useTranslation(["form", "common"]);
  const [source, setSource] = useState<Source>(sourceOf(entity, kind));
  const [draft, setDraft] = useState(() => entity ?? newEntity(kind ?? "custom"));
  const [missing, setMissing] = useState<string[]>([]);
  const problems = { ...errors, ...Object.fromEntries(missing.map((name) => [name, t("required")])) };
  const misfit = kind !== undefined && source === "models" && kind !== draft.kind && !!draft.entityName;

  function change(part: Partial<EntityValues>) {
    setDraft((before) => ({ ...before, ...part }));
  }

  function turnTo(next: Source) {
    setSource(next);
    setMissing([]);
    const ofModels = kind === "throughput" ? "throughput" : "custom";
    change({ kind: next === "external" ? "external" : next === "foundation" ? "throughput" : ofModels, entityName: "", entityVersion: "" });
  }

  function submit(event: FormEvent) {
    event.preventDefault();
    event.stopPropagation(); // the form of the endpoint is around this one
    const lacking = source === "external" ? missingFields(draft.external) : [];
    setMissing(lacking);
    if (!lacking.length) confirm(draft);
  }

  const complete = source === "external" || (!!draft.entityName && !!draft.entityVersion && !misfit);
  return (
    <Drawer
      opened
      onClose={close}
      position="right"
      size="lg"
      title={t("select.title")}
      closeButtonProps={{ "aria-label": t("common:close") }}
      closeOnClickOutside={false} // what was typed would be lost
    >
      <form onSubmit={submit} noValidate>
        <Stack gap="md">
          <Tabs value={source} onChange={(next) => turnTo((next ?? "models") as Source)} keepMounted={false}>
            <Tabs.List>
              <Tabs.Tab value="models" disabled={kind === "external"}>
                {t("select.models")}
              </Tabs.Tab>
              <Tabs.Tab value="foundation" disabled={kind !== undefined && kind !== "throughput"}>
                {t("select.foundation")}
              </Tabs.Tab>
              <Tabs.Tab value="external" disabled={kind !== undefined && kind !== "external"}>
                {t("select.external")}
              </Tabs.Tab>
            </Tabs.List>
            {kind && (
              <Text size="sm" c="dimmed" mt="xs">
                {t("select.oneKind", { kind: t(`kind.${kind}`) })}
              </Text>
            )}
            <Tabs.Panel value="models" pt="sm">
              <MyModelPicker entity={draft} change={change} />
            </Tabs.Panel>
            <Tabs.Panel value="foundation" pt="sm">
              <FoundationPicker entity={draft} change={change} />
            </Tabs.Panel>
            <Tabs.Panel value="external" pt="sm">
              <ExternalPicker external={draft.external} change={(external) => change({ external })} errors={problems} />
            </Tabs.Panel>
          </Tabs>
          {misfit && (
            <Text size="sm" c="var(--mantine-color-error)" role="alert">
              {t("select.misfit", { kind: t(`kind.${kind}`) })}
            </Text>
          )}
          <Group justify="flex-end" gap="xs">
            <Button variant="default" onClick={close}>
              {t("common:cancel")}
            </Button>
            <Button type="submit" disabled={!complete}>
              {t("select.confirm")}
            </Button>
          </Group>
        </Stack>
      </form>
    </Drawer>
  );
}
