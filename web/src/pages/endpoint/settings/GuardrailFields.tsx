import { Fieldset, Select, Stack, Switch, TagsInput } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { PiiBehavior } from "../../../api/schema";
import type { GuardrailForm } from "./gatewayForm";

const PII: PiiBehavior[] = ["NONE", "BLOCK", "MASK"];

interface Props {
  legend: string;
  value: GuardrailForm;
  onChange: (value: GuardrailForm) => void;
  problem: (field: string) => string | undefined;
}

/** What is looked for on one side, input or output. */
export function GuardrailFields({ legend, value, onChange, problem }: Props) {
  const { t } = useTranslation("endpoint");
  return (
    <Fieldset legend={legend} miw={0}>
      <Stack gap="sm">
        <Switch
          label={t("gateway.safety")}
          description={t("guardrails.safety")}
          checked={value.safety}
          onChange={(event) => onChange({ ...value, safety: event.currentTarget.checked })}
        />
        <Select
          label={t("guardrails.pii")}
          data={PII.map((behavior) => ({ value: behavior, label: t(`guardrails.behavior.${behavior}`) }))}
          value={value.pii}
          allowDeselect={false}
          onChange={(pii) => pii && onChange({ ...value, pii })}
          error={problem(".pii")}
        />
        <TagsInput
          label={t("guardrails.keywords")}
          value={value.keywords}
          onChange={(keywords) => onChange({ ...value, keywords })}
          error={problem(".invalid_keywords")}
        />
        <TagsInput
          label={t("guardrails.topics")}
          value={value.topics}
          onChange={(topics) => onChange({ ...value, topics })}
          error={problem(".valid_topics")}
        />
      </Stack>
    </Fieldset>
  );
}
