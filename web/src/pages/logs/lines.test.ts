import { describe, expect, it } from "vitest";
import { appended, difference, emptyLog, linesOf, logOf, matching, rest } from "./lines";

const numbers = (lines: readonly { number: number }[]) => lines.map((line) => line.number);

describe("a log", () => {
  it("keeps the newest lines and counts those that it dropped", () => {
    const log = appended(appended(emptyLog(), ["a", "b"], 3), ["c", "d"], 3);
    expect(log.lines).toEqual([
      { number: 1, text: "b" },
      { number: 2, text: "c" },
      { number: 3, text: "d" },
    ]);
    expect(log.dropped).toBe(1);
    expect(numbers(appended(log, ["e"], 3).lines)).toEqual([2, 3, 4]);
  });

  it("has no empty line after the last one of a text", () => {
    expect(logOf("a\nb\n").lines.map((line) => line.text)).toEqual(["a", "b"]);
    expect(logOf("").lines).toEqual([]);
  });

  it("splits what a progress bar wrote over itself, and leaves out colours", () => {
    expect(linesOf("10%\r20%\r\n\u001b[31mred\u001b[0m")).toEqual(["10%", "20%", "red"]);
  });

  it("is searched whatever the case", () => {
    const log = logOf("ERROR one\nfine\nan error");
    expect(numbers(matching(log.lines, "Error"))).toEqual([0, 2]);
    expect(matching(log.lines, "")).toBe(log.lines);
  });
});

describe("the rest of a text", () => {
  it("is what came at its end", () => {
    expect(rest("a\nb\n", "a\nb\nc\n")).toBe("c\n");
    expect(rest("a\nb\n", "a\nb\n")).toBe("");
  });

  it("is known where the beginning was lost", () => {
    const lines = Array.from({ length: 1000 }, (_, index) => `line ${index}\n`);
    expect(rest(lines.slice(0, 900).join(""), lines.slice(100).join(""))).toBe(lines.slice(900).join(""));
  });

  it("is not known of another text, and of one whose last line went on", () => {
    expect(rest("a\nb\n", "c\n")).toBeNull();
    expect(rest("a\nb", "a\nbc\n")).toBeNull();
  });
});

describe("the difference between two states of a log", () => {
  const before = logOf("a\nb\nc");

  it("is what came at the end", () => {
    expect(difference(before.lines, appended(before, ["d"]).lines)).toEqual({ removed: 0, added: [{ number: 3, text: "d" }] });
  });

  it("is what was dropped at the beginning too", () => {
    const after = appended(before, ["d", "e"], 3);
    expect(difference(before.lines, after.lines)).toMatchObject({ removed: 2, added: [{ number: 3 }, { number: 4 }] });
  });

  it("is everything where nothing is left", () => {
    expect(difference(before.lines, appended(before, ["d", "e", "f"], 2).lines)).toMatchObject({ removed: 3 });
    expect(difference(before.lines, [])).toEqual({ removed: 3, added: [] });
  });

  it("is not known where lines in between are others", () => {
    expect(difference(before.lines, matching(before.lines, "b"))).toBeNull();
  });
});
