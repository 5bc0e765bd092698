import { ActionIcon, Button, Collapse, Group, Input, Paper, Stack, Text, TextInput, Title, Tooltip } from "@mantine/core";
import { IconChevronDown, IconChevronRight, IconPencil, IconTrash } from "@tabler/icons-react";
import { useId, useState } from "react";
import { useTranslation } from "react-i18next";
import { CustomFields } from "./CustomFields";
import { ExternalSummary } from "./ExternalSummary";
import { useEndpointFormContext } from "./formContext";
import { ThroughputFields } from "./ThroughputFields";
import { defaultServedName } from "./values";
import { VariableFields } from "./VariableFields";

interface Props {
  at: number;
  locked: boolean;
  edit: () => void;
  remove: () => void;
}

/** One served entity: what it is, and how big. */
export function EntityPanel({ at, locked, edit, remove }: Props) {
  const { t } = useTranslation(["form", "common"]);
  const form = useEndpointFormContext();
  const entity = form.values.entities[at]!;
  const path = `entities.${at}`;
  const title = entity.kind === "external" ? entity.external.model : entity.entityName;
  const ownErrors = [form.errors[path], form.errors[`${path}.entityName`]].filter(Boolean);
  return (
    <Paper withBorder p="sm" component="section" aria-label={title}>
      <Stack gap="xs">
        <Group justify="space-between" wrap="nowrap" gap="xs">
          <Title order={3} className="cut" title={title} miw={0}>
            {title}
          </Title>
          {!locked && (
            <Group gap={2} wrap="nowrap">
              <Tooltip label={t("entities.change")}>
                <ActionIcon variant="subtle" color="gray" onClick={edit} aria-label={t("entities.changeOf", { name: title })}>
                  <IconPencil size={16} />
                </ActionIcon>
              </Tooltip>
              <Tooltip label={t("common:remove")}>
                <ActionIcon variant="subtle" color="gray" onClick={remove} aria-label={t("entities.removeOf", { name: title })}>
                  <IconTrash size={16} />
                </ActionIcon>
              </Tooltip>
            </Group>
          )}
        </Group>
        {entity.kind === "custom" && <CustomFields at={at} locked={locked} />}
        {entity.kind === "throughput" && <ThroughputFields at={at} locked={locked} />}
        {entity.kind === "external" && <ExternalSummary at={at} locked={locked} />}
        {ownErrors.map((message, number) => (
          <Input.Error key={number} role="alert" size="sm">
            {message}
          </Input.Error>
        ))}
        {!locked && <Advanced at={at} />}
      </Stack>
    </Paper>
  );
}

function Advanced({ at }: { at: number }) {
  const { t } = useTranslation("form");
  const form = useEndpointFormContext();
  const entity = form.values.entities[at]!;
  const path = `entities.${at}`;
  const id = useId();
  const [wanted, setWanted] = useState(entity.name !== "" || entity.variables.length > 0);
  // An error inside must be seen.
  const opened = wanted || Object.keys(form.errors).some((key) => key === `${path}.name` || key.startsWith(`${path}.variables`));
  return (
    <>
      <Text component="div">
        <Button
          size="compact-xs"
          variant="subtle"
          ml={-8}
          onClick={() => setWanted(!opened)}
          aria-expanded={opened}
          aria-controls={id}
          leftSection={opened ? <IconChevronDown size={14} /> : <IconChevronRight size={14} />}
        >
          {t("entities.advanced")}
        </Button>
      </Text>
      <Collapse expanded={opened} id={id}>
        {opened && (
          <Stack gap="sm">
            <TextInput
              {...form.getInputProps(`${path}.name`)}
              label={t("entities.servedName")}
              description={t("entities.servedNameHint")}
              placeholder={defaultServedName(entity)}
              autoComplete="off"
              spellCheck={false}
            />
            {entity.kind === "custom" && <VariableFields at={at} />}
          </Stack>
        )}
      </Collapse>
    </>
  );
}
