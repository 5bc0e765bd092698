import { describe, expect, it } from "vitest";
import { hasSaid, NO_REPLY, withDocument } from "./reply";

const chunk = (delta: unknown, more: object = {}) => ({ choices: [{ index: 0, delta, finish_reason: null, ...more }] });
const all = (documents: unknown[]) => documents.reduce(withDocument, NO_REPLY) as typeof NO_REPLY;

describe("withDocument", () => {
  it("joins texts, and takes the counts of the last chunk", () => {
    const usage = { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 };
    const reply = all([
      chunk({ role: "assistant", content: "" }),
      { ...chunk({ content: "Hel" }), usage: null },
      chunk({ content: "lo" }),
      { ...chunk({}, { finish_reason: "stop" }), usage },
      { choices: [], usage },
    ]);
    expect(reply).toMatchObject({ content: "Hello", finish: "stop", usage: { prompt: 3, completion: 2 }, problem: null });
  });

  it("joins the pieces of several calls of tools", () => {
    const reply = all([
      chunk({ content: null, tool_calls: [{ index: 0, id: "c1", type: "function", function: { name: "clock", arguments: "" } }] }),
      chunk({ tool_calls: [{ index: 0, function: { arguments: '{"city":' } }] }),
      chunk({ tool_calls: [{ index: 0, function: { arguments: ' "Oslo"}' } }] }),
      chunk({ tool_calls: [{ index: 1, id: "c2", function: { name: "tide", arguments: "{}" } }] }),
    ]);
    expect(reply.toolCalls).toEqual([
      { id: "c1", name: "clock", arguments: '{"city": "Oslo"}' },
      { id: "c2", name: "tide", arguments: "{}" },
    ]);
    expect(hasSaid(reply)).toBe(true);
  });

  it("reads a whole answer, of chat and of completions", () => {
    expect(all([{ choices: [{ message: { role: "assistant", content: "Hi" }, finish_reason: "stop" }] }]).content).toBe("Hi");
    expect(all([{ choices: [{ text: "Hi" }] }]).content).toBe("Hi");
  });

  it("tells thoughts from texts", () => {
    const content = [{ type: "reasoning", summary: [{ type: "summary_text", text: "hm" }] }, { type: "text", text: "yes" }];
    expect(all([chunk({ content })])).toMatchObject({ content: "yes", reasoning: "hm" });
    expect(all([chunk({ reasoning_content: "hm" })]).reasoning).toBe("hm");
  });

  it("has what the tools of an agent answered, which is no text of it", () => {
    const beside = { ...chunk({}), delta: { role: "tool", name: "clock", content: "noon", tool_call_id: "c1" } };
    const toolResults = [{ name: "clock", content: "noon" }];
    expect(all([beside, chunk({ content: "It is noon." })])).toMatchObject({ content: "It is noon.", toolResults });
  });

  it("keeps what was said before a failure", () => {
    const failure = { error_code: "INTERNAL_ERROR", message: "it broke", error: { message: "it broke" } };
    const problem = { code: "INTERNAL_ERROR", message: "it broke" };
    expect(all([chunk({ content: "He" }), failure])).toMatchObject({ content: "He", problem });
  });
});
