import { ActionIcon, Button, Group, Input, Stack, Textarea, TextInput, Tooltip } from "@mantine/core";
import { IconPlus, IconTrash } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import { useEndpointFormContext } from "./formContext";
import { kindOf, rowId } from "./values";

/** Tags, and the description where it can be given. */
export function TagFields({ editing }: { editing: boolean }) {
  const { t } = useTranslation(["form", "common"]);
  const form = useEndpointFormContext();
  const throughput = kindOf(form.values) === "throughput";
  const noDescription = editing ? t("tags.descriptionFixed") : throughput ? t("tags.descriptionNotForThroughput") : undefined;
  return (
    <Stack gap="sm">
      <Textarea
        {...form.getInputProps("description")}
        label={t("tags.description")}
        description={noDescription}
        disabled={!!noDescription}
        autosize
        minRows={2}
        maxLength={1000}
      />
      <Stack gap="xs">
        <Input.Label component="div">{t("tags.title")}</Input.Label>
        {form.values.tags.map((tag, row) => (
          <Group key={tag.id} gap="xs" wrap="nowrap" align="flex-start">
            <TextInput
              {...form.getInputProps(`tags.${row}.key`)}
              aria-label={t("tags.key", { number: row + 1 })}
              placeholder={t("tags.keyExample")}
              flex={1}
            />
            <TextInput
              {...form.getInputProps(`tags.${row}.value`)}
              aria-label={t("tags.value", { number: row + 1 })}
              placeholder={t("tags.valueExample")}
              flex={1}
            />
            <Tooltip label={t("common:remove")}>
              <ActionIcon
                variant="subtle"
                color="gray"
                size={34}
                onClick={() => form.removeListItem("tags", row)}
                aria-label={t("tags.remove", { name: tag.key || row + 1 })}
              >
                <IconTrash size={16} />
              </ActionIcon>
            </Tooltip>
          </Group>
        ))}
        {form.errors.tags && <Input.Error role="alert">{form.errors.tags}</Input.Error>}
        <Group>
          <Button
            size="xs"
            variant="default"
            leftSection={<IconPlus size={14} />}
            onClick={() => form.insertListItem("tags", { id: rowId(), key: "", value: "" })}
          >
            {t("tags.add")}
          </Button>
        </Group>
      </Stack>
    </Stack>
  );
}
