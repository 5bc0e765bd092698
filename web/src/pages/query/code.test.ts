import { describe, expect, it } from "vitest";
import { codeSamples } from "./code";

const at = { origin: "http://host:8080", path: "/serving-endpoints/iris/invocations" };
const sample = (label: string, request: Parameters<typeof codeSamples>[0]) =>
  codeSamples(request).find((one) => one.label === label)?.code ?? "";

describe("codeSamples", () => {
  it("has what can say the request", () => {
    const labels = (more: object) => codeSamples({ ...at, body: "{}", ...more }).map((one) => one.label);
    expect(labels({ endpoint: "iris" })).toEqual(["curl", "Databricks SDK", "MLflow", "requests", "Power Query", "JavaScript"]);
    expect(labels({ endpoint: "iris", toEntity: true })).toEqual(["curl", "Databricks SDK", "requests", "Power Query", "JavaScript"]);
    expect(labels({})).toEqual(["curl", "requests", "Power Query", "JavaScript"]);
    expect(labels({ endpoint: "gpt", task: "llm/v1/chat" })).toContain("OpenAI SDK");
  });

  it("quotes for the shell and for Power Query", () => {
    const body = `{"inputs": ["it's \\"so\\""]}`;
    expect(sample("curl", { ...at, body })).toContain(`-d '{"inputs": ["it'\\''s \\"so\\""]}'`);
    expect(sample("Power Query", { ...at, body })).toContain(`Text.ToBinary("{""inputs"": [""it's \\""so\\""""]}")`);
  });

  it("writes Python's words, and numbers as they were", () => {
    const body = '{"inputs": [true, null, 9007199254740993, 1.0]}';
    expect(sample("requests", { ...at, body })).toContain('body = {"inputs": [True, None, 9007199254740993, 1.0]}');
  });

  it("gives Power BI a function of a table, with the parameters", () => {
    const code = sample("Power Query", { ...at, body: '{"dataframe_split": {"columns": [], "data": []}, "params": {"n": 1}}' });
    expect(code).toMatch(/^\(dataset as table\) as table =>/);
    expect(code).toContain('[dataframe_records = rows, params = Json.Document("{""n"":1}")]');
  });
});
