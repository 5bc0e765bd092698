// Which field of the form a message of the API is about.
import { type FormValues, servedName } from "./values";

/** Sections of the form that are closed at first. */
export type Section = "limits" | "gateway" | "tags" | "notifications" | "routing";

export interface FieldError {
  /** The key in the form's errors. */
  field: string;
  section?: Section;
}

const ENTITY_FIELDS: Record<string, string> = {
  name: "name",
  entity_name: "entityName",
  entity_version: "entityVersion",
  workload_size: "size",
  workload_type: "workloadType",
  min_provisioned_concurrency: "minConcurrency",
  max_provisioned_concurrency: "maxConcurrency",
  scale_to_zero_enabled: "scaleToZero",
  environment_vars: "variables",
  provisioned_model_units: "modelUnits",
  min_provisioned_throughput: "minThroughput",
  max_provisioned_throughput: "maxThroughput",
};

/** What of the API's error says where it belongs. */
interface Said {
  code: string;
  message: string;
}

/** The field that the message names, or undefined where it names none that the form shows. */
export function fieldOf(error: Said, values: FormValues): FieldError | undefined {
  if (error.code === "RESOURCE_ALREADY_EXISTS") return { field: "name" };
  const credential = ofCredential(error.message, values);
  if (credential) return credential;
  const quoted = [...error.message.matchAll(/'([^']*)'/g)].map((match) => match[1] ?? "");
  for (const path of quoted) {
    const found = ofPath(path, quoted, values);
    if (found) return found;
  }
  return ofModel(error, values);
}

function ofPath(path: string, quoted: string[], values: FormValues): FieldError | undefined {
  const inConfig = path.replace(/^config\./, "");
  const entity = /^served_entities\[(\d+)\](?:\.(.*))?$/.exec(inConfig);
  if (entity) return ofEntity(Number(entity[1]), entity[2] || (quoted.find((word) => word in ENTITY_FIELDS) ?? ""), values);
  if (/^(traffic_config)\b/.test(inConfig)) return { field: "traffic" };
  if (inConfig === "served_entities") return { field: "entities" };
  const inGateway = path.replace(/^ai_gateway\.?/, "");
  const limit = /^rate_limits(?:\[(\d+)\])?(?:\.(\w+))?/.exec(inGateway);
  if (limit) {
    const at = limit[1] === undefined ? "" : `.${limit[1]}`;
    const field = { calls: "amount", tokens: "amount", principal: "principal", key: "key" }[limit[2] ?? ""];
    return { field: `rateLimits${at}${at && field ? `.${field}` : ""}`, section: "limits" };
  }
  const table = /^inference_table_config(?:\.(\w+))?/.exec(inGateway);
  if (table) {
    const field = { catalog_name: "catalog", schema_name: "schema", table_name_prefix: "prefix" }[table[1] ?? ""] ?? "enabled";
    return { field: `table.${field}`, section: "gateway" };
  }
  const guardrail = /^guardrails/.exec(inGateway);
  if (guardrail) return { field: "guardrails", section: "gateway" };
  if (/^fallback_config/.test(inGateway)) return { field: "fallbacks", section: "gateway" };
  // Those of a change are counted among what it adds, not among the rows of the form.
  if (path.startsWith("add_tags")) return { field: "tags", section: "tags" };
  const tag = /^tags(?:\[(\d+)\])?(?:\.(\w+))?/.exec(path);
  if (tag) return { field: tag[1] === undefined ? "tags" : `tags.${tag[1]}.${tag[2] ?? "key"}`, section: "tags" };
  if (path === "description") return { field: "description", section: "tags" };
  const mail = /^email_notifications\.(on_update_success|on_update_failure)/.exec(path);
  if (mail) return { field: mail[1] === "on_update_success" ? "onSuccess" : "onFailure", section: "notifications" };
  if (path === "route_optimized") return { field: "routeOptimized", section: "routing" };
  return path === "name" ? { field: "name" } : undefined;
}

function ofEntity(at: number, rest: string, values: FormValues): FieldError | undefined {
  if (!values.entities[at]) return undefined;
  const external = /^external_model\.?(.*)$/.exec(rest);
  if (external) {
    const field = (external[1] ?? "").replace(/^\w+_config\.?/, "").replace(/_plaintext$/, "");
    return { field: `entities.${at}.external${field ? `.${field}` : ""}` };
  }
  const field = ENTITY_FIELDS[/^\w+/.exec(rest)?.[0] ?? ""];
  return { field: field ? `entities.${at}.${field}` : `entities.${at}` };
}

/** The server's own names for the credential of a provider of one's own. */
const CUSTOM_CREDENTIALS: Record<string, string> = { api_key_value: "api_key_auth.value", bearer_token: "bearer_token_auth.token" };

function ofCredential(message: string, values: FormValues): FieldError | undefined {
  const [, name, owner] = /\bcredential '([^']*)' of '([^']*)'/.exec(message) ?? [];
  const at = values.entities.findIndex((entity) => servedName(entity) === owner);
  return name && at >= 0 ? { field: `entities.${at}.external.${CUSTOM_CREDENTIALS[name] ?? name}` } : undefined;
}

/** "Registered Model Version (name=..., version=...)", or an entity that is called by its served name. */
function ofModel(error: Said, values: FormValues): FieldError | undefined {
  const at = values.entities.findIndex(
    (entity) =>
      (entity.entityName && error.message.includes(entity.entityName)) || error.message.includes(`of '${servedName(entity)}'`),
  );
  return at < 0 ? undefined : { field: `entities.${at}` };
}
