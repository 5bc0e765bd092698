import { describe, expect, it } from "vitest";
import { layOut, PYTHON_WORDS, readJson } from "./jsonText";

describe("layOut", () => {
  it("keeps numbers as they are written", () => {
    expect(layOut('{"id":9223372036854775807,"x":1.0,"y":1e-300}')).toBe('{"id": 9223372036854775807, "x": 1.0, "y": 1e-300}');
  });

  it("gives nested values lines of their own, and rows one each", () => {
    expect(layOut('{"a":{"b":[["a row that is somewhat longer",2],["another long row",4]]},"c":[]}')).toBe(
      '{\n  "a": {\n    "b": [\n      ["a row that is somewhat longer", 2],\n      ["another long row", 4]\n    ]\n  },\n  "c": []\n}',
    );
    expect(layOut('{"predictions":[[0,1],[2,3]]}')).toBe('{"predictions": [[0, 1], [2, 3]]}');
  });

  it("fills lines with the values of a long vector", () => {
    const lines = layOut(JSON.stringify(Array.from({ length: 100 }, (_, at) => at / 7))).split("\n");
    expect(lines.length).toBeLessThan(30);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(101);
  });

  it("leaves alone what is inside of strings", () => {
    const text = '{"s":"a, \\"b\\": [true] {null}\\\\"}';
    expect(layOut(text)).toBe('{"s": "a, \\"b\\": [true] {null}\\\\"}');
    expect(JSON.parse(layOut(text))).toEqual(JSON.parse(text));
  });

  it("writes the words of Python", () => {
    expect(layOut('[true,false,null,"true"]', PYTHON_WORDS)).toBe('[True, False, None, "true"]');
  });

  it("gives the same value back", () => {
    const value = { deep: [{ a: [{ b: [null, "x", { c: {} }] }] }], "": "\u2028\n", long: "y".repeat(300) };
    expect(JSON.parse(layOut(JSON.stringify(value)))).toEqual(value);
  });
});

describe("readJson", () => {
  it("says what is wrong", () => {
    expect(readJson("[1]")).toEqual({ value: [1] });
    expect(readJson("[1,]").problem).toMatch(/JSON/);
  });
});
