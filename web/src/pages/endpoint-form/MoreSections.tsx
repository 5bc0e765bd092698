import { Accordion, Checkbox, Group, Stack, TagsInput, Text } from "@mantine/core";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import type { Section } from "./fieldErrors";
import { useEndpointFormContext } from "./formContext";
import { GatewayFields } from "./GatewayFields";
import { RateLimitFields } from "./RateLimitFields";
import { TagFields } from "./TagFields";
import { type FormValues, kindOf } from "./values";

interface Props {
  editing: boolean;
  opened: Section[];
  open: (sections: Section[]) => void;
}

/** What most endpoints are made without, closed at first. */
export function MoreSections({ editing, opened, open }: Props) {
  const { t } = useTranslation("form");
  const { values } = useEndpointFormContext();
  const features = gatewayFeatures(values);
  const addresses = values.onSuccess.length + values.onFailure.length;
  const sections: { value: Section; summary: string; content: ReactNode }[] = [
    { value: "limits", summary: count(values.rateLimits.length), content: <RateLimitFields /> },
    { value: "gateway", summary: count(features), content: <GatewayFields /> },
    { value: "tags", summary: count(values.tags.length), content: <TagFields editing={editing} /> },
    { value: "notifications", summary: count(addresses), content: <NotificationFields /> },
    { value: "routing", summary: values.routeOptimized ? t("on") : "", content: <RoutingField editing={editing} /> },
  ];
  return (
    <Accordion
      multiple
      value={opened}
      onChange={(next) => open(next as Section[])}
      order={2}
      chevronPosition="left"
      styles={{ control: { paddingInlineStart: 0 }, chevron: { marginInlineStart: 0 } }}
    >
      {sections.map((section) => (
        <Accordion.Item key={section.value} value={section.value}>
          <Accordion.Control>
            <Group justify="space-between" wrap="nowrap" pr="xs">
              <Text size="md" fw={500}>
                {t(`sections.${section.value}`)}
              </Text>
              <Text size="sm" c="dimmed">
                {section.summary}
              </Text>
            </Group>
          </Accordion.Control>
          <Accordion.Panel>{opened.includes(section.value) && section.content}</Accordion.Panel>
        </Accordion.Item>
      ))}
    </Accordion>
  );
}

function count(number: number): string {
  return number ? String(number) : "";
}

function gatewayFeatures(values: FormValues): number {
  const languageModels = kindOf(values) !== "custom";
  const sides = [values.guardrails.input, values.guardrails.output];
  const guarded = sides.filter((side) => side.safety || side.pii !== "NONE" || side.invalidKeywords.length || side.validTopics.length);
  const ofLanguageModels = languageModels ? [values.fallbacks, guarded.length > 0] : [];
  return [values.usageTracking, values.table.enabled, ...ofLanguageModels].filter(Boolean).length;
}

function NotificationFields() {
  const { t } = useTranslation("form");
  const form = useEndpointFormContext();
  return (
    <Stack gap="sm">
      {(["onSuccess", "onFailure"] as const).map((field) => (
        <TagsInput
          {...form.getInputProps(field)}
          key={field}
          label={t(`notifications.${field}`)}
          placeholder={t("notifications.example")}
          splitChars={[",", " ", ";"]}
          acceptValueOnBlur
        />
      ))}
    </Stack>
  );
}

function RoutingField({ editing }: { editing: boolean }) {
  const { t } = useTranslation("form");
  const form = useEndpointFormContext();
  const kind = kindOf(form.values);
  const reason = editing ? t("routing.fixed") : kind && kind !== "custom" ? t("routing.onlyCustom") : undefined;
  return (
    <Checkbox
      {...form.getInputProps("routeOptimized", { type: "checkbox" })}
      label={t("routing.label")}
      description={reason ?? t("routing.hint")}
      disabled={!!reason}
    />
  );
}
