// From what the form holds to what is sent.
import type { AiGateway, CreateEndpoint, ServedEntityInput, UpdateConfig } from "../../api/schema";
import { askedFields, BEDROCK_AUTH, CUSTOM_AUTH, EXTENSIONS, isVirtual, PROVIDERS } from "./providers";
import {
  type EntityKind,
  type EntityValues,
  type ExternalValues,
  type FormValues,
  type GuardrailValues,
  kindOf,
  type NumberField,
  type RateLimitValues,
  servedName,
} from "./values";

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json | undefined };
/** A request's body: what the server has a default for may be left out. */
type Sparse<T> = T extends (infer U)[] ? Sparse<U>[] : T extends object ? { [K in keyof T]?: Sparse<T[K]> } : T;
export type EntityBody = Sparse<ServedEntityInput>;
export type ConfigBody = Sparse<Pick<UpdateConfig, "served_entities" | "traffic_config">>;
export type GatewayBody = Sparse<AiGateway>;
export type CreateBody = Sparse<CreateEndpoint>;

export interface Call {
  /** What it changes, for messages; the key of its name in the catalogue. */
  part: "create" | "config" | "gateway" | "tags" | "notifications";
  method: "POST" | "PUT" | "PATCH";
  path: string;
  body: Json;
}

const ROOT = "/api/2.0/serving-endpoints";
const asNumber = (value: NumberField) => (value === "" ? undefined : value);
const asText = (value: string) => value.trim() || undefined;

/** Without members that are undefined: two documents are equal when their texts are. */
function plain(document: unknown): Json {
  return JSON.parse(JSON.stringify(document)) as Json;
}

export function createCall(values: FormValues): Call {
  const throughputRoute = usesThroughputRoute(values);
  const body: CreateBody = {
    name: values.name.trim(),
    config: configBody(values),
    ai_gateway: gatewayBody(values),
    tags: values.tags.length ? values.tags.map(({ key, value }) => ({ key: key.trim(), value: value.trim() })) : undefined,
    email_notifications: values.onSuccess.length || values.onFailure.length ? notifications(values) : undefined,
    description: throughputRoute ? undefined : asText(values.description),
    route_optimized: kindOf(values) === "custom" && values.routeOptimized ? true : undefined,
  };
  return { part: "create", method: "POST", path: throughputRoute ? `${ROOT}/pt` : ROOT, body: plain(body) };
}

/**
 * The calls that make the endpoint what the form says, from what it was (`before`).
 * `before` has no entities where no configuration serves: then one is always sent.
 */
export function updateCalls(name: string, before: FormValues, values: FormValues): Call[] {
  const path = `${ROOT}/${encodeURIComponent(name)}`;
  const calls: Call[] = [];
  if (!same(configBody(before), configBody(values))) {
    const config = configBody(values);
    const call = { part: "config", method: "PUT" } as const;
    if (!usesThroughputRoute(values)) calls.push({ ...call, path: `${path}/config`, body: plain(config) });
    else calls.push({ ...call, path: `${ROOT}/pt/${encodeURIComponent(name)}/config`, body: plain({ config }) });
  }
  if (!same(gatewayBody(before), gatewayBody(values))) {
    const call: Call = { part: "gateway", method: "PUT", path: `${path}/ai-gateway`, body: plain(gatewayBody(values) ?? {}) };
    // Fallbacks are refused with one entity: they go before the last but one does.
    if (before.fallbacks && !values.fallbacks) calls.unshift(call);
    else calls.push(call);
  }
  const tags = tagChanges(before, values);
  if (tags) calls.push({ part: "tags", method: "PATCH", path: `${path}/tags`, body: plain(tags) });
  if (!same(notifications(before), notifications(values))) {
    const body = { email_notifications: notifications(values) };
    calls.push({ part: "notifications", method: "PATCH", path: `${path}/notifications`, body: plain(body) });
  }
  return calls;
}

function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** Model units have a route of their own; tokens per second are asked for as of any other endpoint. */
function usesThroughputRoute(values: FormValues): boolean {
  return values.entities.length > 0 && values.entities.every((one) => one.kind === "throughput" && one.throughputIn === "units");
}

export function configBody(values: FormValues): ConfigBody {
  const several = values.entities.length > 1;
  const ofRoute = usesThroughputRoute(values);
  return {
    served_entities: values.entities.map((entity) => ({
      name: several ? servedName(entity) : asText(entity.name),
      ...(entity.kind === "external" ? { external_model: externalBody(entity.external) } : modelBody(entity, ofRoute)),
    })),
    traffic_config: several
      ? {
          routes: values.entities.map((entity) => ({
            served_entity_name: servedName(entity),
            traffic_percentage: asNumber(entity.traffic) ?? 0,
          })),
        }
      : undefined,
  };
}

function modelBody(entity: EntityValues, throughputRoute: boolean): EntityBody {
  const model = { entity_name: entity.entityName, entity_version: entity.entityVersion };
  if (entity.kind === "throughput") {
    const size: EntityBody =
      entity.throughputIn === "units"
        ? { provisioned_model_units: asNumber(entity.modelUnits) }
        : { min_provisioned_throughput: asNumber(entity.minThroughput), max_provisioned_throughput: asNumber(entity.maxThroughput) };
    return {
      ...model,
      ...size,
      scale_to_zero_enabled: !throughputRoute && entity.scaleToZero ? true : undefined,
      burst_scaling_enabled: entity.burstScaling ? undefined : false,
    };
  }
  const size: EntityBody =
    entity.size === "range"
      ? { min_provisioned_concurrency: asNumber(entity.minConcurrency), max_provisioned_concurrency: asNumber(entity.maxConcurrency) }
      : { workload_size: entity.size };
  const variables = entity.variables.filter((one) => one.name.trim() || one.value);
  return {
    ...model,
    ...size,
    workload_type: entity.workloadType,
    scale_to_zero_enabled: entity.scaleToZero,
    environment_vars: variables.length ? Object.fromEntries(variables.map((one) => [one.name.trim(), one.value])) : undefined,
    instance_profile_arn: asText(entity.instanceProfile),
  };
}

function externalBody(external: ExternalValues): EntityBody["external_model"] {
  const config: { [key: string]: Json | undefined } = {};
  const put = (path: string, value: string) => {
    const [outer, inner] = path.split(".") as [string, string | undefined];
    config[outer] = inner === undefined ? value : { ...(config[outer] as object | undefined), [inner]: value };
  };
  for (const field of askedFields(external)) {
    if (field.kind === "credential") {
      const credential = external.credentials[field.name];
      if (credential?.source === "secret" && credential.value.trim()) put(field.name, credential.value.trim());
      if (credential?.source === "text" && credential.value) put(`${field.name}_plaintext`, credential.value);
    } else if (field.kind === "choice") {
      const chosen = external.options[field.name] ?? field.choices[0]!;
      // What the server has as its default is left to it.
      if (!isVirtual(field.name) && (field.required || chosen !== field.choices[0])) put(field.name, chosen);
    } else {
      const text = asText(external.options[field.name] ?? "");
      if (text) put(field.name, text);
    }
  }
  return { name: external.model.trim(), provider: external.provider, task: external.task, [PROVIDERS[external.provider].config]: config };
}

/** Undefined when nothing of the AI Gateway is on. What this kind of entity cannot have is left out. */
export function gatewayBody(values: FormValues): GatewayBody | undefined {
  const languageModels = kindOf(values) !== "custom";
  const { table } = values;
  const body: GatewayBody = {
    rate_limits: values.rateLimits.length ? values.rateLimits.map(rateLimit) : undefined,
    usage_tracking_config: values.usageTracking ? { enabled: true } : undefined,
    inference_table_config:
      table.enabled || table.catalog || table.schema || table.prefix
        ? {
            enabled: table.enabled,
            catalog_name: asText(table.catalog),
            schema_name: asText(table.schema),
            table_name_prefix: asText(table.prefix),
          }
        : undefined,
    guardrails: languageModels ? guardrails(values) : undefined,
    fallback_config: languageModels && values.fallbacks ? { enabled: true } : undefined,
  };
  return Object.values(body).some((part) => part !== undefined) ? body : undefined;
}

function rateLimit(limit: RateLimitValues) {
  return {
    [limit.unit]: asNumber(limit.amount),
    renewal_period: "minute" as const,
    key: limit.key,
    principal: limit.key === "endpoint" ? undefined : asText(limit.principal),
  };
}

function guardrails(values: FormValues): GatewayBody["guardrails"] {
  const input = guardrailSide(values.guardrails.input);
  const output = guardrailSide(values.guardrails.output);
  return input || output ? { input, output } : undefined;
}

function guardrailSide(side: GuardrailValues) {
  const body = {
    pii: side.pii === "NONE" ? undefined : { behavior: side.pii },
    safety: side.safety || undefined,
    invalid_keywords: side.invalidKeywords.length ? side.invalidKeywords : undefined,
    valid_topics: side.validTopics.length ? side.validTopics : undefined,
  };
  return Object.values(body).some((part) => part !== undefined) ? body : undefined;
}

function notifications(values: FormValues) {
  return { on_update_success: values.onSuccess, on_update_failure: values.onFailure };
}

function tagChanges(before: FormValues, values: FormValues) {
  const old = new Map(before.tags.map((tag) => [tag.key, tag.value]));
  // Those that are there already may have space around them.
  const wanted = new Map(values.tags.map(({ key, value }) => (old.get(key) === value ? [key, value] : [key.trim(), value.trim()])));
  const add = [...wanted].filter(([key, value]) => old.get(key) !== value).map(([key, value]) => ({ key, value }));
  const gone = [...old.keys()].filter((key) => !wanted.has(key));
  if (!add.length && !gone.length) return undefined;
  return { add_tags: add.length ? add : undefined, delete_tags: gone.length ? gone : undefined };
}

/** The body as it may be shown: in the place of keys that were typed in stands what belongs there. */
export function withoutKeys(body: Json, field = ""): Json {
  if (Array.isArray(body)) return body.map((one) => withoutKeys(one));
  if (typeof body === "object" && body !== null) {
    return Object.fromEntries(Object.entries(body).map(([key, value]) => [key, withoutKeys(value ?? null, key)]));
  }
  return field.endsWith("_plaintext") ? `<${field.replace("_plaintext", "")}>` : body;
}

/** Whether databricks-sdk's classes would leave something of it out. */
export function hasExtensions(body: Json): boolean {
  if (Array.isArray(body)) return body.some(hasExtensions);
  if (typeof body !== "object" || body === null) return false;
  return Object.entries(body).some(([key, value]) => EXTENSIONS.includes(key) || hasExtensions(value ?? null));
}

/** The options that are no fields of the API, read back from a configuration. */
export function virtualOptions(config: Record<string, unknown>): Record<string, string> {
  if ("api_key_auth" in config) return { [CUSTOM_AUTH]: "api_key_auth" };
  if ("instance_profile_arn" in config) return { [BEDROCK_AUTH]: "instance_profile" };
  if ("uc_service_credential_name" in config) return { [BEDROCK_AUTH]: "service_credential" };
  return {};
}

/** What all entities of an endpoint are, by one entity as the API shows it. */
export function kindOfOutput(entity: { external_model?: unknown; workload_type?: unknown }): EntityKind {
  if (entity.external_model) return "external";
  return entity.workload_type ? "custom" : "throughput";
}
