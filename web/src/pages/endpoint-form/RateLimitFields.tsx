import { ActionIcon, Button, Group, Input, NumberInput, Select, Stack, Text, TextInput, Tooltip } from "@mantine/core";
import { IconPlus, IconTrash } from "@tabler/icons-react";
import { useTranslation } from "react-i18next";
import type { LimitKey } from "../../api/schema";
import { useEndpointFormContext } from "./formContext";
import { rowId } from "./values";

const KEYS: LimitKey[] = ["endpoint", "user", "user_group", "service_principal"];

/** Calls or tokens per minute, of the endpoint, of each user or of one principal. */
export function RateLimitFields() {
  const { t } = useTranslation(["form", "common"]);
  const form = useEndpointFormContext();
  return (
    <Stack gap="xs">
      <Text size="sm" c="dimmed">
        {t("limits.hint")}
      </Text>
      {form.values.rateLimits.map((limit, row) => {
        const path = `rateLimits.${row}`;
        const number = row + 1;
        const error = form.errors[path];
        return (
          <Stack key={limit.id} gap={4}>
            <Group gap="xs" align="flex-start" wrap="nowrap">
              <Group gap="xs" align="flex-start" flex={1} miw={0}>
                <NumberInput
                  {...form.getInputProps(`${path}.amount`)}
                  aria-label={t("limits.amount", { number })}
                  placeholder={t("limits.amountExample")}
                  min={0}
                  allowDecimal={false}
                  w={96}
                />
                <Select
                  {...form.getInputProps(`${path}.unit`)}
                  aria-label={t("limits.unit", { number })}
                  data={[
                    { value: "calls", label: t("limits.calls") },
                    { value: "tokens", label: t("limits.tokens") },
                  ]}
                  allowDeselect={false}
                  w={158}
                />
                <Select
                  {...form.getInputProps(`${path}.key`)}
                  aria-label={t("limits.key", { number })}
                  data={KEYS.map((key) => ({ value: key, label: t(`limits.keys.${key}`) }))}
                  allowDeselect={false}
                  w={172}
                />
                {limit.key !== "endpoint" && (
                  <TextInput
                    {...form.getInputProps(`${path}.principal`)}
                    aria-label={t("limits.principal", { number })}
                    placeholder={t(`limits.principals.${limit.key}`)}
                    autoComplete="off"
                    flex="1 1 130px"
                  />
                )}
              </Group>
              <Tooltip label={t("common:remove")}>
                <ActionIcon
                  variant="subtle"
                  color="gray"
                  size={34}
                  onClick={() => form.removeListItem("rateLimits", row)}
                  aria-label={t("limits.remove", { number })}
                >
                  <IconTrash size={16} />
                </ActionIcon>
              </Tooltip>
            </Group>
            {error && <Input.Error role="alert">{error}</Input.Error>}
          </Stack>
        );
      })}
      {form.errors.rateLimits && <Input.Error role="alert">{form.errors.rateLimits}</Input.Error>}
      <Group>
        <Button
          size="xs"
          variant="default"
          leftSection={<IconPlus size={14} />}
          onClick={() => form.insertListItem("rateLimits", { id: rowId(), amount: "", unit: "calls", key: "endpoint", principal: "" })}
        >
          {t("limits.add")}
        </Button>
      </Group>
    </Stack>
  );
}
