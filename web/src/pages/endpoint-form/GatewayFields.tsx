import { Checkbox, Fieldset, Input, Select, SimpleGrid, Stack, TagsInput, Text, TextInput } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { PiiBehavior } from "../../api/schema";
import { useEndpointFormContext } from "./formContext";
import { kindOf } from "./values";

const PII: PiiBehavior[] = ["NONE", "BLOCK", "MASK"];

/** Usage tracking, the inference table, guardrails and fallbacks. */
export function GatewayFields() {
  const { t } = useTranslation("form");
  const form = useEndpointFormContext();
  const { values } = form;
  const custom = kindOf(values) === "custom";
  const noFallbacks = custom ? t("gateway.notForCustom") : values.entities.length < 2 ? t("gateway.fallbacksNeedTwo") : undefined;
  return (
    <Stack gap="md">
      <Checkbox
        {...form.getInputProps("usageTracking", { type: "checkbox" })}
        label={t("gateway.usage")}
        description={t("gateway.usageHint")}
      />
      <Stack gap="xs">
        <Checkbox
          {...form.getInputProps("table.enabled", { type: "checkbox" })}
          label={t("gateway.table")}
          description={t("gateway.tableHint")}
        />
        {values.table.enabled && (
          <SimpleGrid cols={{ base: 1, xs: 3 }} spacing="xs" ml={{ base: 0, xs: 28 }}>
            <TextInput
              {...form.getInputProps("table.catalog")}
              label={t("gateway.catalog")}
              placeholder="main"
              required
              autoComplete="off"
            />
            <TextInput
              {...form.getInputProps("table.schema")}
              label={t("gateway.schema")}
              placeholder="default"
              required
              autoComplete="off"
            />
            <TextInput {...form.getInputProps("table.prefix")} label={t("gateway.prefix")} placeholder={values.name} autoComplete="off" />
          </SimpleGrid>
        )}
      </Stack>
      <Checkbox
        {...form.getInputProps("fallbacks", { type: "checkbox" })}
        label={t("gateway.fallbacks")}
        description={noFallbacks ?? t("gateway.fallbacksHint")}
        // One that is on can always be turned off.
        disabled={custom || (!!noFallbacks && !values.fallbacks)}
      />
      {custom ? (
        <Text size="sm" c="dimmed">
          {t("gateway.guardrailsNotForCustom")}
        </Text>
      ) : (
        <Stack gap="xs">
          <SimpleGrid cols={{ base: 1, xs: 2 }} spacing="sm">
            <GuardrailFields side="input" />
            <GuardrailFields side="output" />
          </SimpleGrid>
          {form.errors.guardrails && <Input.Error role="alert">{form.errors.guardrails}</Input.Error>}
        </Stack>
      )}
    </Stack>
  );
}

function GuardrailFields({ side }: { side: "input" | "output" }) {
  const { t } = useTranslation("form");
  const form = useEndpointFormContext();
  const path = `guardrails.${side}`;
  return (
    <Fieldset legend={t(`gateway.guardrails.${side}`)} p="sm">
      <Stack gap="xs">
        <Select {...form.getInputProps(`${path}.pii`)} label={t("gateway.pii")} data={PII} allowDeselect={false} />
        <Checkbox {...form.getInputProps(`${path}.safety`, { type: "checkbox" })} label={t("gateway.safety")} />
        <TagsInput
          {...form.getInputProps(`${path}.invalidKeywords`)}
          label={t("gateway.keywords")}
          placeholder={t("gateway.enter")}
          acceptValueOnBlur
        />
        <TagsInput
          {...form.getInputProps(`${path}.validTopics`)}
          label={t("gateway.topics")}
          placeholder={t("gateway.enter")}
          acceptValueOnBlur
        />
      </Stack>
    </Fieldset>
  );
}
