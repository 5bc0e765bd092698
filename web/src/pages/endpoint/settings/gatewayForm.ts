// The AI Gateway block as the fields of a form, and back. Rate limits are edited apart.
import type { AiGateway, GuardrailParameters, PiiBehavior } from "../../../api/schema";

export interface GuardrailForm {
  safety: boolean;
  pii: PiiBehavior;
  keywords: string[];
  topics: string[];
}

export interface GatewayForm {
  usage: boolean;
  table: boolean;
  catalog: string;
  schema: string;
  prefix: string;
  input: GuardrailForm;
  output: GuardrailForm;
  fallback: boolean;
}

function guardrailForm(side: GuardrailParameters | null | undefined): GuardrailForm {
  return {
    safety: !!side?.safety,
    pii: side?.pii?.behavior ?? "NONE",
    keywords: side?.invalid_keywords ?? [],
    topics: side?.valid_topics ?? [],
  };
}

export function gatewayForm(gateway: AiGateway): GatewayForm {
  const table = gateway.inference_table_config;
  return {
    usage: !!gateway.usage_tracking_config?.enabled,
    table: !!table?.enabled,
    catalog: table?.catalog_name ?? "",
    schema: table?.schema_name ?? "",
    prefix: table?.table_name_prefix ?? "",
    input: guardrailForm(gateway.guardrails?.input),
    output: guardrailForm(gateway.guardrails?.output),
    fallback: !!gateway.fallback_config?.enabled,
  };
}

function guardrail({ safety, pii, keywords, topics }: GuardrailForm): GuardrailParameters | undefined {
  if (!safety && pii === "NONE" && keywords.length === 0 && topics.length === 0) return undefined;
  return {
    safety: safety || undefined,
    pii: pii === "NONE" ? undefined : { behavior: pii },
    invalid_keywords: keywords.length > 0 ? keywords : undefined,
    valid_topics: topics.length > 0 ? topics : undefined,
  };
}

/** `now` with what the form says. */
export function withForm(now: AiGateway, form: GatewayForm): AiGateway {
  const input = guardrail(form.input);
  const output = guardrail(form.output);
  const place = {
    catalog_name: form.catalog || undefined,
    schema_name: form.schema || undefined,
    table_name_prefix: form.prefix || undefined,
  };
  return {
    ...now,
    usage_tracking_config: form.usage ? { enabled: true } : undefined,
    inference_table_config: form.table || form.catalog || form.schema || form.prefix ? { enabled: form.table, ...place } : undefined,
    guardrails: input || output ? { input, output } : undefined,
    fallback_config: form.fallback ? { enabled: true } : undefined,
  };
}
