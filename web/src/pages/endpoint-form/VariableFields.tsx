import { ActionIcon, Box, Button, Group, Input, Stack, TextInput, Tooltip } from "@mantine/core";
import { IconPlus, IconTrash } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { useEndpointFormContext } from "./formContext";
import { SecretInput } from "./SecretInput";
import { rowId } from "./values";

/** Environment variables of a served entity; a value may refer to a secret. */
export function VariableFields({ at }: { at: number }) {
  const { t } = useTranslation(["form", "common"]);
  const form = useEndpointFormContext();
  const path = `entities.${at}.variables`;
  const variables = form.values.entities[at]?.variables ?? [];
  const error = form.errors[path];
  return (
    <Stack gap="xs" align="stretch">
      <Box>
        <Input.Label component="div">{t("variables.title")}</Input.Label>
        <Input.Description>{t("variables.hint")}</Input.Description>
      </Box>
      {variables.map((variable, row) => (
        <Group key={variable.id} gap="xs" wrap="nowrap" align="flex-start">
          <TextInput
            {...form.getInputProps(`${path}.${row}.name`)}
            aria-label={t("variables.name", { number: row + 1 })}
            placeholder={t("common:name")}
            autoComplete="off"
            spellCheck={false}
            flex={2}
          />
          <SecretInput
            value={variable.value}
            onChange={(value) => form.setFieldValue(`${path}.${row}.value`, value)}
            of={variable.name || t("variables.value", { number: row + 1 })}
            aria-label={t("variables.value", { number: row + 1 })}
            placeholder={t("variables.valueExample", { reference: "{{secrets/scope/key}}" })}
            flex={3}
          />
          <Tooltip label={t("common:remove")}>
            <ActionIcon
              variant="subtle"
              color="gray"
              size={34}
              onClick={() => form.removeListItem(path, row)}
              aria-label={t("variables.remove", { name: variable.name || row + 1 })}
            >
              <IconTrash size={16} />
            </ActionIcon>
          </Tooltip>
        </Group>
      ))}
      {error && <Input.Error role="alert">{error}</Input.Error>}
      <Group>
        <Button
          size="xs"
          variant="default"
          leftSection={<IconPlus size={14} />}
          onClick={() => form.insertListItem(path, { id: rowId(), name: "", value: "" })}
        >
          {t("variables.add")}
        </Button>
      </Group>
    </Stack>
  );
}
