import { SimpleGrid, Switch, TextInput } from "@mantine/core";
import { useTranslation } from "react-i18next";
import type { EndpointDetail } from "../../../api/schema";
import { notifyDone } from "../../../components/confirm";
import { kindOf } from "../endpointKind";
import { type GatewayForm, gatewayForm, withForm } from "./gatewayForm";
import { GuardrailFields } from "./GuardrailFields";
import { saveGateway } from "./saveGateway";
import { SettingsSection } from "./SettingsSection";
import { useDraft } from "./useDraft";
import { useSave } from "./useSave";

const TABLE = "inference_table_config";
const PLACES = [
  ["catalog", "catalog_name"],
  ["schema", "schema_name"],
  ["prefix", "table_name_prefix"],
] as const;
const SIDES = ["input", "output"] as const;
const GUARDRAILS = ["pii", "invalid_keywords", "valid_topics"];
const SHOWN = [`${TABLE}.`, ...SIDES.flatMap((side) => GUARDRAILS.map((field) => `guardrails.${side}.${field}`))];

/** What stands between clients and models. */
export function GatewaySection({ endpoint }: { endpoint: EndpointDetail }) {
  const { t } = useTranslation(["endpoint", "common"]);
  const draft = useDraft(gatewayForm(endpoint.ai_gateway ?? {}));
  const save = useSave();
  const form = draft.value;
  const set = (change: Partial<GatewayForm>) => draft.set({ ...form, ...change });
  const languageModels = (kindOf(endpoint) ?? "CUSTOM_MODEL") !== "CUSTOM_MODEL";
  const external = endpoint.config?.served_entities.filter((entity) => entity.external_model).length ?? 0;

  async function submit() {
    await saveGateway(endpoint.name, (now) => withForm(now, form));
    draft.reset();
    notifyDone(t("common:saved"));
  }

  return (
    <SettingsSection
      title="AI Gateway"
      description={t(languageModels ? "gateway.description" : "gateway.descriptionCustom")}
      draft={draft}
      save={save}
      problem={save.rest(form.table ? SHOWN : SHOWN.slice(1))}
      submit={submit}
    >
      <Switch
        label={t("gateway.usage")}
        description={t("gateway.usageHint")}
        checked={form.usage}
        onChange={(event) => set({ usage: event.currentTarget.checked })}
      />
      <Switch
        label={t("gateway.table")}
        description={t("gateway.tableHint")}
        checked={form.table}
        onChange={(event) => set({ table: event.currentTarget.checked })}
      />
      {form.table && (
        <SimpleGrid cols={{ base: 1, sm: 3 }} spacing="xs">
          {PLACES.map(([field, path]) => (
            <TextInput
              key={field}
              label={t(`gateway.${field}`)}
              required={field !== "prefix"}
              placeholder={field === "prefix" ? endpoint.name : undefined}
              value={form[field]}
              onChange={(event) => set({ [field]: event.currentTarget.value })}
              error={save.at(`${TABLE}.${path}`)}
            />
          ))}
        </SimpleGrid>
      )}
      {languageModels && (
        <>
          <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="sm">
            {SIDES.map((side) => (
              <GuardrailFields
                key={side}
                legend={t(side === "input" ? "gateway.guardrailsInput" : "gateway.guardrailsOutput")}
                value={form[side]}
                onChange={(value) => set({ [side]: value })}
                problem={(field) => save.at(`guardrails.${side}${field}`)}
              />
            ))}
          </SimpleGrid>
          <Switch
            label={t("gateway.fallback")}
            description={t(external < 2 ? "gateway.fallbackNeeds" : "gateway.fallbackHint")}
            disabled={external < 2 && !form.fallback}
            checked={form.fallback}
            onChange={(event) => set({ fallback: event.currentTarget.checked })}
          />
        </>
      )}
    </SettingsSection>
  );
}
