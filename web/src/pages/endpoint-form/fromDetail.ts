// From an endpoint as the API shows it to what the form holds.
import type {
  EndpointDetail,
  ExternalModelOutput,
  GuardrailParameters,
  ServedEntityOutput,
  WorkloadSize,
  WorkloadType,
} from "../../api/schema";
import { kindOfOutput, virtualOptions } from "./documents";
import { askedFields, PROVIDERS } from "./providers";
import {
  defaultServedName,
  type EntityValues,
  type ExternalValues,
  type FormValues,
  type GuardrailValues,
  newEntity,
  newValues,
  rowId,
  SIZES,
  WORKLOAD_TYPES,
} from "./values";

type Config = NonNullable<EndpointDetail["config"]> | NonNullable<EndpointDetail["pending_config"]>;

/** The configuration to edit: the one that serves, or the one on its way where there is no other or it cannot be changed. */
export function configToEdit(detail: EndpointDetail): Config | undefined {
  const pending = detail.pending_config ?? undefined;
  const active = detail.config ?? undefined;
  return detail.state.config_update === "IN_PROGRESS" ? (pending ?? active) : (active ?? pending);
}

export function fromDetail(detail: EndpointDetail, config: Config | undefined = configToEdit(detail)): FormValues {
  const gateway = detail.ai_gateway ?? {};
  const table = gateway.inference_table_config;
  return newValues({
    name: detail.name,
    description: detail.description,
    routeOptimized: detail.route_optimized,
    entities: config ? entities(config) : [],
    rateLimits: (gateway.rate_limits ?? []).map((limit) => ({
      id: rowId(),
      amount: limit.calls ?? limit.tokens ?? "",
      unit: typeof limit.tokens === "number" ? "tokens" : "calls",
      key: limit.key,
      principal: limit.principal ?? "",
    })),
    usageTracking: gateway.usage_tracking_config?.enabled ?? false,
    fallbacks: gateway.fallback_config?.enabled ?? false,
    table: {
      enabled: table?.enabled ?? false,
      catalog: table?.catalog_name ?? "",
      schema: table?.schema_name ?? "",
      prefix: table?.table_name_prefix ?? "",
    },
    guardrails: { input: guardrailSide(gateway.guardrails?.input), output: guardrailSide(gateway.guardrails?.output) },
    tags: detail.tags.map(({ key, value }) => ({ id: rowId(), key, value })),
    onSuccess: detail.email_notifications?.on_update_success ?? [],
    onFailure: detail.email_notifications?.on_update_failure ?? [],
  });
}

export function entities(config: Config): EntityValues[] {
  const shares = new Map(config.traffic_config.routes.map((route) => [route.served_entity_name, route.traffic_percentage]));
  return config.served_entities.map((served) => {
    const entity = entityValues(served, shares.get(served.name) ?? 0);
    // A default name follows the version; one that was chosen stays.
    return served.name === defaultServedName(entity) ? entity : { ...entity, name: served.name };
  });
}

function entityValues(served: ServedEntityOutput, traffic: number): EntityValues {
  const kind = kindOfOutput(served);
  if (kind === "external" && served.external_model) return newEntity(kind, { traffic, external: externalValues(served.external_model) });
  const model = { traffic, entityName: served.entity_name ?? "", entityVersion: served.entity_version ?? "" };
  if (kind === "throughput") {
    const inUnits = typeof served.provisioned_model_units === "number";
    return newEntity(kind, {
      ...model,
      throughputIn: inUnits ? "units" : "tokens",
      modelUnits: served.provisioned_model_units ?? 1,
      minThroughput: served.min_provisioned_throughput ?? (inUnits ? 0 : ""),
      maxThroughput: served.max_provisioned_throughput ?? 100,
      scaleToZero: served.scale_to_zero_enabled ?? false,
    });
  }
  const byRange = typeof served.max_provisioned_concurrency === "number";
  return newEntity(kind, {
    ...model,
    workloadType: isWorkloadType(served.workload_type) ? served.workload_type : "CPU",
    size: byRange ? "range" : isWorkloadSize(served.workload_size) ? served.workload_size : "Small",
    minConcurrency: byRange ? (served.min_provisioned_concurrency ?? 0) : 4,
    maxConcurrency: byRange ? (served.max_provisioned_concurrency ?? 4) : 8,
    scaleToZero: served.scale_to_zero_enabled ?? false,
    variables: Object.entries(served.environment_vars ?? {}).map(([name, value]) => ({ id: rowId(), name, value })),
    instanceProfile: served.instance_profile_arn ?? "",
  });
}

function externalValues(model: ExternalModelOutput): ExternalValues {
  const config = model[PROVIDERS[model.provider].config] ?? {};
  const shown: Record<string, string> = {};
  for (const [name, value] of Object.entries(config)) {
    if (typeof value === "string") shown[name] = value;
    else for (const [inner, text] of Object.entries(value)) shown[`${name}.${inner}`] = text;
  }
  const options = { ...shown, ...virtualOptions(config) };
  const external: ExternalValues = { provider: model.provider, model: model.name, task: model.task, options, credentials: {} };
  for (const field of askedFields(external)) {
    if (field.kind !== "credential") continue;
    const reference = shown[field.name];
    delete options[field.name];
    external.credentials[field.name] = reference === undefined ? { source: "kept", value: "" } : { source: "secret", value: reference };
  }
  return external;
}

function guardrailSide(side: GuardrailParameters | null | undefined): GuardrailValues {
  return {
    pii: side?.pii?.behavior ?? "NONE",
    safety: side?.safety ?? false,
    invalidKeywords: side?.invalid_keywords ?? [],
    validTopics: side?.valid_topics ?? [],
  };
}

function isWorkloadSize(text: string | null | undefined): text is WorkloadSize {
  return !!text && text in SIZES;
}

function isWorkloadType(text: string | null | undefined): text is WorkloadType {
  return WORKLOAD_TYPES.some((one) => one === text);
}
