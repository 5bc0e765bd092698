// The same request as a document, as a program for databricks-sdk and as a command.
import { type Call, hasExtensions, type Json, withoutKeys } from "./documents";

type JsonObject = { [key: string]: Json | undefined };

export function asJson(calls: Call[]): string {
  const documents = calls.map((call) => JSON.stringify(withoutKeys(call.body), null, 2));
  if (calls.length < 2) return documents[0] ?? "{}";
  return calls.map((call, at) => `// ${call.method} ${call.path}\n${documents[at]}`).join("\n\n");
}

export function asCurl(calls: Call[], host: string): string {
  return calls
    .map((call) => {
      const body = JSON.stringify(withoutKeys(call.body), null, 2);
      return [
        `curl --fail-with-body -X ${call.method} "${host}${call.path}" \\`,
        `  -H "Authorization: Bearer $DATABRICKS_TOKEN" \\`,
        `  -H "Content-Type: application/json" \\`,
        `  -d @- <<'EOF'`,
        body,
        "EOF",
      ].join("\n");
    })
    .join("\n\n");
}

/** With the SDK's own classes, or as a plain call where these would leave something out. */
export function asPython(calls: Call[], name: string, host: string): string {
  const classes = new Set<string>();
  const statements = calls.map((call) => (hasExtensions(call.body) ? plainCall(call) : sdkCall(call, name, classes)));
  const imports = ["from databricks.sdk import WorkspaceClient"];
  if (classes.size) {
    const names = [...classes].sort();
    const listed = names.length === 1 ? names[0] : `(\n${names.map((one) => `    ${one},\n`).join("")})`;
    imports.push(`from databricks.sdk.service.serving import ${listed}`);
  }
  const client = ["# The token is read from DATABRICKS_TOKEN.", `w = WorkspaceClient(host=${python(host)})`];
  return [...imports, "", ...client, "", statements.join("\n\n")].join("\n");
}

function plainCall(call: Call): string {
  return `w.api_client.do(${python(call.method)}, ${python(call.path)}, body=${python(withoutKeys(call.body))})`;
}

interface Method {
  name: string;
  /** The class of each argument; a list of them where the name is in brackets; text and numbers have none. */
  classes: Record<string, string>;
}

const GATEWAY_CLASSES = {
  fallback_config: "FallbackConfig",
  guardrails: "AiGatewayGuardrails",
  inference_table_config: "AiGatewayInferenceTableConfig",
  rate_limits: "[AiGatewayRateLimit]",
  usage_tracking_config: "AiGatewayUsageTrackingConfig",
};
const COMMON = { ai_gateway: "AiGatewayConfig", tags: "[EndpointTag]", email_notifications: "EmailNotifications" };
const METHODS: Record<Call["part"], Method> = {
  create: { name: "create", classes: { ...COMMON, config: "EndpointCoreConfigInput" } },
  config: { name: "update_config", classes: { served_entities: "[ServedEntityInput]", traffic_config: "TrafficConfig" } },
  gateway: { name: "put_ai_gateway", classes: GATEWAY_CLASSES },
  tags: { name: "patch", classes: { add_tags: "[EndpointTag]" } },
  notifications: { name: "update_notifications", classes: { email_notifications: "EmailNotifications" } },
};
const THROUGHPUT_METHODS: Partial<Record<Call["part"], Method>> = {
  create: { name: "create_provisioned_throughput_endpoint", classes: { ...COMMON, config: "PtEndpointCoreConfig" } },
  config: { name: "update_provisioned_throughput_endpoint_config", classes: { config: "PtEndpointCoreConfig" } },
};

function sdkCall(call: Call, name: string, used: Set<string>): string {
  const ofThroughput = /\/serving-endpoints\/pt(\/|$)/.test(call.path) ? THROUGHPUT_METHODS[call.part] : undefined;
  const method = ofThroughput ?? METHODS[call.part];
  const body = withoutKeys(call.body) as JsonObject;
  const fields = call.part === "create" ? body : { name, ...body };
  const lines = Object.entries(fields).map(([key, value]) => `    ${key}=${argument(value ?? null, method.classes[key], used)},`);
  return [`w.serving_endpoints.${method.name}(`, ...lines, ")"].join("\n");
}

function argument(value: Json, className: string | undefined, used: Set<string>): string {
  const listed = /^\[(.*)\]$/.exec(className ?? "")?.[1];
  if (listed && Array.isArray(value)) {
    used.add(listed);
    const items = value.map((item) => `        ${listed}.from_dict(${python(item, 2)}),`);
    return items.length ? `[\n${items.join("\n")}\n    ]` : "[]";
  }
  if (!className) return python(value, 1);
  used.add(className);
  return `${className}.from_dict(${python(value, 1)})`;
}

/** A value as Python writes it. A string of JSON is one of Python's too. */
export function python(value: Json, depth = 0): string {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const pad = "    ".repeat(depth + 1);
  const close = "    ".repeat(depth);
  const items = Array.isArray(value)
    ? value.map((item) => python(item, depth + 1))
    : Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${python(item ?? null, depth + 1)}`);
  const [open, end] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  if (!items.length) return open + end;
  return `${open}\n${items.map((item) => pad + item + ",").join("\n")}\n${close}${end}`;
}
