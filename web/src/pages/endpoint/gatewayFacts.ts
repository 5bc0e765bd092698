import type { TFunction } from "i18next";
import type { AiGateway, GatewayRateLimit, GuardrailParameters } from "../../api/schema";

type Translate = TFunction<["endpoint", "common"]>;

/** "100 calls per minute for each user". */
function limitText(limit: GatewayRateLimit, t: Translate): string {
  const amount = limit.tokens == null ? t("gateway.calls", { count: limit.calls ?? 0 }) : t("gateway.tokens", { count: limit.tokens });
  const whom = limit.principal ?? t(`gateway.key.${limit.key}`);
  return t("gateway.limit", { amount, whom });
}

function guardrailText(side: GuardrailParameters | null | undefined, t: Translate): string {
  const parts: string[] = [];
  if (side?.safety) parts.push(t("gateway.safety"));
  if (side?.pii && side.pii.behavior !== "NONE") parts.push(`${t("gateway.pii")}: ${side.pii.behavior}`);
  if (side?.invalid_keywords?.length) parts.push(t("gateway.keywords", { count: side.invalid_keywords.length }));
  if (side?.valid_topics?.length) parts.push(t("gateway.topics", { count: side.valid_topics.length }));
  return parts.join(", ");
}

/** The AI Gateway in a few lines: name and value, empty where it is not set. Custom models have less of it. */
export function gatewayFacts(gateway: AiGateway, custom: boolean, t: Translate): { name: string; value: string }[] {
  const table = gateway.inference_table_config;
  const on = t("details.on");
  const facts = [
    { name: t("gateway.usage"), value: gateway.usage_tracking_config?.enabled ? on : "" },
    {
      name: t("gateway.table"),
      value: table?.enabled ? [table.catalog_name, table.schema_name, table.table_name_prefix].filter(Boolean).join(".") : "",
    },
    { name: t("gateway.rateLimits"), value: (gateway.rate_limits ?? []).map((limit) => limitText(limit, t)).join("; ") },
  ];
  if (custom) return facts;
  return [
    ...facts,
    { name: t("gateway.guardrailsInput"), value: guardrailText(gateway.guardrails?.input, t) },
    { name: t("gateway.guardrailsOutput"), value: guardrailText(gateway.guardrails?.output, t) },
    { name: t("gateway.fallback"), value: gateway.fallback_config?.enabled ? on : "" },
  ];
}
