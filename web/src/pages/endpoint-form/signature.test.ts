import { describe, expect, it } from "vitest";
import { parseSignature } from "./signature";

const DOCUMENT = `run_id: 7
signature:
  inputs: '[{"type": "double", "name": "it''s long", "required": true}, {"type":
    "string", "name": "b", "required": false}]'
  outputs: "[{\\"type\\": \\"tensor\\", \\"tensor-spec\\": {\\"dtype\\": \\"int64\\",\\
    \\ \\"shape\\": [-1]}}]"
  params: null
utc_time_created: '2026-01-01'
`;

describe("a signature in MLmodel", () => {
  it("has columns, tensors and no parameters", () => {
    expect(parseSignature(DOCUMENT)).toEqual({
      inputs: [
        { name: "it's long", type: "double", required: true },
        { name: "b", type: "string", required: false },
      ],
      outputs: [{ name: "", type: "tensor int64 [-1]", required: true }],
      params: [],
    });
  });

  it("has parameters with their defaults, at the end of the file too", () => {
    const params = '[{"name": "factor", "default": 2.5, "shape": null, "type": "double"}]';
    const text = `signature:\n  inputs: null\n  outputs: null\n  params: '${params}'\n`;
    expect(parseSignature(text)?.params).toEqual([{ name: "factor", type: "double", required: true, defaultValue: "2.5" }]);
  });

  it("has types inside of types", () => {
    const inputs = '[{"type": "array", "items": {"type": "object", "properties": {"role": {"type": "string"}}}, "name": "m"}]';
    expect(parseSignature(`signature:\n  inputs: '${inputs}'\n`)?.inputs[0]?.type).toBe("array<object {role: string}>");
  });

  it("may not be there", () => {
    expect(parseSignature("flavors: {}\n")).toBeNull();
  });
});
