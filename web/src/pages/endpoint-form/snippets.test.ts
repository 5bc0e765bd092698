import { describe, expect, it } from "vitest";
import type { Call } from "./documents";
import { asCurl, asJson, asPython, python } from "./snippets";

const ROOT = "/api/2.0/serving-endpoints";
const call = (body: Call["body"], given: Partial<Call> = {}): Call => ({ part: "create", method: "POST", path: ROOT, body, ...given });

describe("the same request in other words", () => {
  it("is Python with the SDK's classes", () => {
    const body = { name: "e", config: { served_entities: [] }, tags: [{ key: "a", value: "b" }], route_optimized: true };
    const text = asPython([call(body)], "e", "http://h");
    expect(text).toContain("from databricks.sdk.service.serving import (\n    EndpointCoreConfigInput,\n    EndpointTag,\n)");
    expect(text).toContain('WorkspaceClient(host="http://h")');
    expect(text).toContain("config=EndpointCoreConfigInput.from_dict({");
    expect(text).toContain("route_optimized=True,");
  });

  it("names the endpoint in a change of it", () => {
    const body = { add_tags: [{ key: "a", value: "" }], delete_tags: ["b"] };
    const tags = call(body, { part: "tags", method: "PATCH", path: `${ROOT}/e/tags` });
    expect(asPython([tags], "e", "http://h")).toContain('w.serving_endpoints.patch(\n    name="e",\n    add_tags=[');
  });

  it("is a plain call where the SDK's classes would lose a field", () => {
    const text = asPython([call({ name: "e", config: { anthropic_api_base: "http://x" } })], "e", "http://h");
    expect(text).toContain('w.api_client.do("POST", "/api/2.0/serving-endpoints", body={');
    expect(text).not.toContain("service.serving");
  });

  it("never holds a key", () => {
    const calls = [call({ openai_api_key_plaintext: "sk-1" })];
    for (const text of [asJson(calls), asPython(calls, "e", "http://h"), asCurl(calls, "http://h")]) expect(text).not.toContain("sk-1");
  });

  it("writes Python's own literals", () => {
    const lines = ["{", '    "a": [', "        True,", "        None,", '        "q\\"",', "    ],", '    "b": {},', "}"];
    expect(python({ a: [true, null, 'q"'], b: {} })).toBe(lines.join("\n"));
  });
});
