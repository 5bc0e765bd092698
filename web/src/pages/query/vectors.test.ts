import { describe, expect, it } from "vitest";
import { cosine, vectorsIn } from "./vectors";

describe("cosine", () => {
  it("is of the directions alone", () => {
    expect(cosine([1, 0], [5, 0])).toBe(1);
    expect(cosine([1, 0], [0, 2])).toBe(0);
    expect(cosine([1, 2], [-2, -4])).toBeCloseTo(-1);
    expect(cosine([0, 0], [1, 1])).toBeNaN();
  });
});

describe("vectorsIn", () => {
  it("orders by the index", () => {
    expect(vectorsIn({ data: [{ index: 1, embedding: [2] }, { index: 0, embedding: [1] }] })).toEqual([[1], [2]]);
  });
  it("is null for what has no numbers", () => {
    expect(vectorsIn({ data: [{ index: 0, embedding: "AAAA" }] })).toBeNull();
    expect(vectorsIn({ error_code: "X" })).toBeNull();
  });
});
