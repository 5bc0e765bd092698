import { describe, expect, it } from "vitest";
import { exampleOf, takesMessages, valueOf } from "./example";

const request = (of: Record<string, unknown>) => ({ post: { requestBody: { content: { "application/json": of } } } });
const parsed = (text: string): unknown => JSON.parse(text);

describe("exampleOf", () => {
  const document = {
    paths: {
      "/served-models/a/invocations": request({ schema: {}, example: { dataframe_split: { columns: ["x"], data: [[1]] } } }),
      "/served-models/b/invocations": request({
        schema: { oneOf: [{ type: "object", properties: { inputs: { type: "array", items: { type: "number" } } } }] },
      }),
    },
  };

  it("is the logged one of the entity, or of the first", () => {
    for (const entity of ["a", null]) {
      const found = exampleOf(document, entity);
      expect(found.origin).toBe("logged");
      expect(parsed(found.text)).toEqual({ dataframe_split: { columns: ["x"], data: [[1]] } });
    }
  });

  it("is made from the schema where none was logged", () => {
    const found = exampleOf(document, "b");
    expect(found.origin).toBe("schema");
    expect(parsed(found.text)).toEqual({ inputs: [0] });
  });

  it("is a message, and no table, for agents", () => {
    const example = { dataframe_split: { columns: ["messages"], data: [[[{ role: "user", content: "Hi" }]]] } };
    const found = exampleOf({ paths: { "/served-models/agent/invocations": request({ schema: {}, example }) } }, null);
    expect(parsed(found.text)).toEqual({ messages: [{ role: "user", content: "Hi" }] });
  });

  it("is a skeleton where nothing is known", () => {
    expect(exampleOf(undefined, null).origin).toBe("skeleton");
    expect(exampleOf(document, "gone").origin).toBe("skeleton");
    expect(parsed(exampleOf(undefined, null, "llm/v1/embeddings").text)).toEqual({ input: ["Hello"] });
  });
});

describe("valueOf", () => {
  it("prefers records of columns, with each type", () => {
    const row = {
      type: "object",
      properties: {
        n: { type: "number" }, i: { type: "integer" }, s: { type: "string" }, b: { type: "boolean" },
        t: { type: "string", format: "date-time-local" },
      },
    };
    const forms = [
      { type: "object", properties: { dataframe_split: { type: "object" } } },
      { type: "object", properties: { dataframe_records: { type: "array", items: row, minItems: 1 } } },
    ];
    expect(valueOf({ oneOf: forms })).toEqual({ dataframe_records: [{ n: 0, i: 0, s: "string", b: true, t: "2024-01-01T00:00:00" }] });
  });

  it("has a tensor's shape and the parameters' defaults", () => {
    const inputs = { type: "array", minItems: 1, items: { type: "array", minItems: 4, items: { type: "number" } } };
    const params = { type: "object", properties: { factor: { type: "number", default: "2.0" }, on: { type: "boolean", default: "True" } } };
    const found = valueOf({ type: "object", properties: { inputs, params } });
    expect(found).toEqual({ inputs: [[0, 0, 0, 0]], params: { factor: 2, on: true } });
  });

  it("takes the first form that is not null", () => {
    expect(valueOf({ anyOf: [{ type: "null" }, { type: "string" }] })).toBe("string");
    expect(valueOf({ type: ["null", "integer"] })).toBe(0);
    expect(valueOf({ enum: ["float", "base64"] })).toBe("float");
  });
});

describe("takesMessages", () => {
  it("looks into the request of the entity", () => {
    const chat = { paths: { "/served-models/m/invocations": request({ schema: { type: "object", properties: { messages: {} } } }) } };
    expect(takesMessages(chat, null)).toBe(true);
    expect(takesMessages({ paths: {} }, null)).toBe(false);
    const records = { type: "array", items: { type: "object", properties: { messages: { type: "array" } } } };
    const agent = request({ schema: { oneOf: [{ properties: { dataframe_split: {} } }, { properties: { dataframe_records: records } }] } });
    expect(takesMessages({ paths: { "/served-models/agent/invocations": agent } }, "agent")).toBe(true);
  });
});
