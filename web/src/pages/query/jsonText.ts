// JSON laid out again without reading its numbers: those of 64 bits, and "1.0", stay as they were written.

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/gs;
const WIDTH = 100;
const NESTED_WIDTH = 60;

interface Words {
  true: string;
  false: string;
  null: string;
}

const JSON_WORDS: Words = { true: "true", false: "false", null: "null" };
export const PYTHON_WORDS: Words = { true: "True", false: "False", null: "None" };

class Layout {
  private at = 0;

  constructor(
    private readonly tokens: string[],
    private readonly words: Words,
  ) {}

  /** The next value, its first line beginning where the text is and the others at `indent` at least. */
  value(indent: string): string {
    const token = this.tokens[this.at++] ?? "";
    if (token === "[") return this.all("[", "]", indent, (inner) => this.value(inner));
    if (token === "{") return this.all("{", "}", indent, (inner) => this.member(inner));
    return token in this.words ? this.words[token as keyof Words] : token;
  }

  private member(indent: string): string {
    const name = this.tokens[this.at++] ?? "";
    this.at++; // the colon
    return `${name}: ${this.value(indent)}`;
  }

  private all(open: string, close: string, indent: string, one: (indent: string) => string): string {
    const inner = `${indent}  `;
    const found: string[] = [];
    while (this.at < this.tokens.length && this.tokens[this.at] !== close) {
      if (this.tokens[this.at] === ",") this.at++;
      found.push(one(inner));
    }
    this.at++;
    const short = `${open}${found.join(", ")}${close}`;
    // On one line: what holds plain values alone, and short nested ones.
    const width = found.some((each) => /[[{]/.test(each.replace(/"(?:[^"\\]|\\.)*"/g, ""))) ? NESTED_WIDTH : WIDTH;
    if (!short.includes("\n") && indent.length + short.length <= width) return short;
    const lines = open === "[" && found.every((each) => /^[^"[{]/.test(each)) ? wrapped(found, inner) : found;
    return `${open}\n${lines.map((each) => inner + each).join(",\n")}\n${indent}${close}`;
  }
}

/** Many numbers, as many on a line as fit: a vector is not a screen for each ten of its values. */
function wrapped(values: string[], indent: string): string[] {
  const lines: string[] = [];
  for (const value of values) {
    const last = lines.at(-1);
    if (last !== undefined && indent.length + last.length + 2 + value.length <= WIDTH) lines[lines.length - 1] = `${last}, ${value}`;
    else lines.push(value);
  }
  return lines;
}

/** Valid JSON laid out for reading; `words` are what stands for true, false and null. */
export function layOut(json: string, words: Words = JSON_WORDS, indent = ""): string {
  return new Layout(json.match(TOKEN) ?? [], words).value(indent);
}

/** Valid JSON on one line. */
export function onOneLine(json: string): string {
  return layOut(json).replaceAll(/\n */g, " ");
}

/** The value that a text is, or why it is none. */
export function readJson(text: string): { value: unknown; problem?: undefined } | { value?: undefined; problem: string } {
  try {
    return { value: JSON.parse(text) as unknown };
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) };
  }
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
