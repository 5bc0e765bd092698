// A model's signature, from the file MLmodel that MLflow writes beside each model.
export interface Column {
  name: string;
  type: string;
  required: boolean;
  defaultValue?: string;
}

export interface Signature {
  inputs: Column[];
  outputs: Column[];
  params: Column[];
}

/** Reads the block `signature:` of the YAML: its members are JSON documents in scalars. */
export function parseSignature(document: string): Signature | null {
  const block = /^signature:[ \t]*\n((?:[ \t]+.*\n?|[ \t]*\n)*)/m.exec(document)?.[1];
  if (!block) return null;
  const members = new Map<string, unknown>();
  for (const match of block.matchAll(/^ {2}(inputs|outputs|params):[ \t]*((?:.*)(?:\n {3,}.*|\n[ \t]*$)*)/gm)) {
    const text = scalar(match[2]!.trim());
    if (text && text !== "null") members.set(match[1]!, JSON.parse(text));
  }
  return { inputs: columns(members.get("inputs")), outputs: columns(members.get("outputs")), params: columns(members.get("params")) };
}

/** The text of a YAML scalar in one of its flow styles, its lines folded. */
function scalar(text: string): string {
  const folded = (raw: string) => raw.replace(/[ \t]*\n[ \t]*/g, " ");
  if (text.startsWith("'")) return folded(text.slice(1, text.lastIndexOf("'"))).replaceAll("''", "'");
  if (!text.startsWith('"')) return folded(text);
  const joined = text.slice(1, text.lastIndexOf('"')).replace(/\\[ \t]*\n[ \t]*/g, "");
  return JSON.parse(`"${folded(joined).replaceAll("\\ ", " ")}"`) as string;
}

function columns(given: unknown): Column[] {
  if (!Array.isArray(given)) return [];
  return given.map((one: Record<string, unknown>) => {
    const spec = one["tensor-spec"] as { dtype?: string; shape?: number[] } | undefined;
    const column: Column = {
      name: typeof one.name === "string" ? one.name : "",
      type: spec ? `tensor ${spec.dtype ?? ""} [${(spec.shape ?? []).join(", ")}]` : typeText(one),
      required: one.required !== false,
    };
    return "default" in one ? { ...column, defaultValue: JSON.stringify(one.default) } : column;
  });
}

function typeText(one: Record<string, unknown>): string {
  const type = typeof one.type === "string" ? one.type : JSON.stringify(one.type ?? "");
  if (type === "array" && typeof one.items === "object" && one.items !== null) {
    return `array<${typeText(one.items as Record<string, unknown>)}>`;
  }
  if (type === "object" && typeof one.properties === "object" && one.properties !== null) {
    const fields = Object.entries(one.properties as Record<string, Record<string, unknown>>);
    return `object {${fields.map(([name, field]) => `${name}: ${typeText(field)}`).join(", ")}}`;
  }
  const shape = Array.isArray(one.shape) ? ` [${one.shape.join(", ")}]` : "";
  return type + shape;
}
