import { describe, expect, it } from "vitest";
import { CHAT_SETTINGS, chatBody, messagesOf, namesOf, openCalls, type Turn } from "./conversation";
import { NO_REPLY } from "./reply";
import { tokensPerSecond, WAITING } from "./streamReply";

const call = { id: "c1", name: "clock", arguments: "{}" };
const assistant = (reply: object, state: "done" | "stopped" = "done"): Turn => ({
  role: "assistant",
  outcome: { ...WAITING, state, reply: { ...NO_REPLY, ...reply } },
});

describe("messagesOf", () => {
  it("has the system's prompt first, calls and their results, and no failed turns", () => {
    const turns: Turn[] = [
      { role: "user", content: "When?" },
      assistant({ problem: { code: "X", message: "no" } }),
      { role: "user", content: "When now?" },
      assistant({ toolCalls: [call] }),
      { role: "tool", call, content: "noon" },
    ];
    expect(messagesOf("Be brief.", turns)).toEqual([
      { role: "system", content: "Be brief." },
      { role: "user", content: "When?" },
      { role: "user", content: "When now?" },
      { role: "assistant", content: "", tool_calls: [{ id: "c1", type: "function", function: { name: "clock", arguments: "{}" } }] },
      { role: "tool", tool_call_id: "c1", content: "noon" },
    ]);
    expect(messagesOf(" ", [])).toEqual([]);
    const byItself: Turn[] = [assistant({ toolCalls: [call], content: "noon" }), { role: "user", content: "so late?" }];
    expect(messagesOf("", byItself)[0]).toEqual({ role: "assistant", content: "noon" });
  });
});

describe("openCalls", () => {
  it("are those of the last turn, when it has ended", () => {
    expect(openCalls([assistant({ toolCalls: [call] })])).toEqual([call]);
    expect(openCalls([assistant({ toolCalls: [call] }, "stopped")])).toEqual([]);
    expect(openCalls([assistant({ toolCalls: [call], finish: "tool_calls" })])).toEqual([call]);
    expect(openCalls([assistant({ toolCalls: [call], finish: "stop", content: "noon" })])).toEqual([]);
    expect(openCalls([])).toEqual([]);
  });
});

describe("namesOf", () => {
  it("numbers further calls of a tool", () => {
    expect(namesOf([call, { ...call, name: "tide" }, call, call])).toEqual(["clock", "tide", "clock (2)", "clock (3)"]);
  });
});

describe("chatBody", () => {
  it("leaves out what is left to the model", () => {
    const body = chatBody({ ...CHAT_SETTINGS, maxTokens: "", temperature: 0 }, [{ role: "user", content: "a" }], undefined, { model: "m" });
    expect(JSON.parse(body)).toEqual({ model: "m", messages: [{ role: "user", content: "a" }], temperature: 0 });
  });
});

describe("tokensPerSecond", () => {
  it("counts from the first token", () => {
    const outcome = { ...WAITING, firstMs: 500, totalMs: 1500, reply: { ...NO_REPLY, usage: { prompt: 1, completion: 11 } } };
    expect(tokensPerSecond(outcome)).toBe(10);
    expect(tokensPerSecond({ ...outcome, firstMs: null })).toBeNull();
  });
});
