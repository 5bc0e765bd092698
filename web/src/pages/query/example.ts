// What to send to a model, from the endpoint's query schema: the logged input example, else values made up from the types.
import { isRecord, layOut } from "./jsonText";

/** Where an example comes from: the model's logged input example, its schema, its task, or nothing that is known of it. */
export type ExampleOrigin = "logged" | "schema" | "task" | "skeleton";

export interface Example {
  text: string;
  origin: ExampleOrigin;
}

const MOST_ITEMS = 1024; // of a tensor's dimension: enough to be right for images in rows, and no more than can be shown
const PREFERRED_FORM = "dataframe_records"; // the names stand beside the values that are to be changed

const SKELETONS: Record<string, unknown> = {
  "llm/v1/chat": { messages: [{ role: "user", content: "Hello" }], max_tokens: 128 },
  "llm/v1/completions": { prompt: "Hello", max_tokens: 128 },
  "llm/v1/embeddings": { input: ["Hello"] },
};
const SKELETON = { dataframe_records: [{ column_1: 0, column_2: "string" }] };

export function skeleton(task?: string | null): Example {
  return { text: laidOut(SKELETONS[task ?? ""] ?? SKELETON), origin: "skeleton" };
}

/** The request of one served entity (the first, without a name) as its OpenAPI document describes it. */
function requestOf(document: unknown, entity: string | null): Record<string, unknown> | null {
  const paths = isRecord(document) && isRecord(document.paths) ? document.paths : {};
  const wanted = entity === null ? Object.keys(paths)[0] : `/served-models/${entity}/invocations`;
  let at: unknown = wanted === undefined ? undefined : paths[wanted];
  for (const step of ["post", "requestBody", "content", "application/json"]) at = isRecord(at) ? at[step] : undefined;
  return isRecord(at) ? at : null;
}

export function exampleOf(document: unknown, entity: string | null, task?: string | null): Example {
  const request = requestOf(document, entity);
  if (!request) return skeleton(task);
  if (request.example !== undefined) return { text: laidOut(asAsked(request.example)), origin: task ? "task" : "logged" };
  return request.schema === undefined ? skeleton(task) : { text: laidOut(valueOf(request.schema)), origin: "schema" };
}

/** The one row of an example of a chat model or an agent as clients send it: without the table around it. */
function asAsked(example: unknown): unknown {
  const split = isRecord(example) ? example.dataframe_split : undefined;
  if (!isRecord(split) || !Array.isArray(split.columns) || !Array.isArray(split.data)) return example;
  const row = split.data.length === 1 ? (split.data[0] as unknown) : undefined;
  if (!split.columns.includes("messages") || !Array.isArray(row)) return example;
  return Object.fromEntries(split.columns.map((column, at) => [String(column), row[at] as unknown]));
}

/** Whether requests of the model have `messages`, as those of chat models and agents do: as a member or as a column. */
export function takesMessages(document: unknown, entity: string | null): boolean {
  const schema = requestOf(document, entity)?.schema;
  const forms = isRecord(schema) && Array.isArray(schema.oneOf) ? schema.oneOf : [schema];
  return forms.some((form) => "messages" in propertiesOf(form) || "messages" in columnsOf(form));
}

function propertiesOf(schema: unknown): Record<string, unknown> {
  return isRecord(schema) && isRecord(schema.properties) ? schema.properties : {};
}

function columnsOf(form: unknown): Record<string, unknown> {
  const records = propertiesOf(form).dataframe_records;
  return propertiesOf(isRecord(records) ? records.items : undefined);
}

/** A value that the JSON schema allows. */
export function valueOf(schema: unknown): unknown {
  if (!isRecord(schema)) return null;
  if ("const" in schema) return schema.const;
  if ("default" in schema) return ofType(schema.default, schema.type);
  if (Array.isArray(schema.examples) && schema.examples.length > 0) return schema.examples[0];
  if (Array.isArray(schema.enum) && schema.enum.length > 0) return schema.enum[0];
  const forms = schema.oneOf ?? schema.anyOf;
  if (Array.isArray(forms)) return valueOf(bestForm(forms));
  const type = Array.isArray(schema.type) ? schema.type.find((one) => one !== "null") : schema.type;
  if (type === "object" || isRecord(schema.properties)) {
    const properties = isRecord(schema.properties) ? schema.properties : {};
    return Object.fromEntries(Object.entries(properties).map(([name, of]) => [name, valueOf(of)]));
  }
  if (type === "array") return listOf(schema);
  return scalarOf(type, schema.format);
}

function bestForm(forms: unknown[]): unknown {
  const has = (form: unknown) => isRecord(form) && isRecord(form.properties) && PREFERRED_FORM in form.properties;
  return forms.find(has) ?? forms.find((form) => !(isRecord(form) && form.type === "null"));
}

function listOf(schema: Record<string, unknown>): unknown[] {
  if (Array.isArray(schema.prefixItems)) return schema.prefixItems.map(valueOf);
  const count = typeof schema.minItems === "number" ? Math.min(Math.max(schema.minItems, 1), MOST_ITEMS) : 1;
  return Array.from({ length: count }, () => valueOf(schema.items));
}

function scalarOf(type: unknown, format: unknown): unknown {
  if (type === "number" || type === "integer") return 0;
  if (type === "boolean") return true;
  if (type !== "string") return null;
  if (format === "date") return "2024-01-01";
  if (format === "date-time" || format === "date-time-local") return `2024-01-01T00:00:00${format === "date-time" ? "Z" : ""}`;
  return format === "byte" ? "c3RyaW5n" : "string";
}

/** A default, which schemas may have as a text, as a value of its type. */
function ofType(value: unknown, type: unknown): unknown {
  if (typeof value !== "string" || type === "string") return value;
  if (type === "number" || type === "integer") return Number.isNaN(Number(value)) ? value : Number(value);
  if (type === "boolean") return value.toLowerCase() === "true";
  return value;
}

function laidOut(value: unknown): string {
  return layOut(JSON.stringify(value));
}
