// A conversation as it is shown, and as the model is asked.
import { hasSaid, type ToolCall } from "./reply";
import type { Outcome } from "./streamReply";

export type Turn =
  | { role: "user"; content: string }
  | { role: "tool"; call: ToolCall; content: string }
  | { role: "assistant"; outcome: Outcome };

export interface ChatSettings {
  system: string;
  /** "" leaves it to the model. */
  temperature: number | "";
  maxTokens: number | "";
  stream: boolean;
  /** The tools that the model may call, as JSON; "" for none. */
  tools: string;
}

export const CHAT_SETTINGS: ChatSettings = { system: "", temperature: "", maxTokens: 256, stream: true, tools: "" };

/** The calls whose results are asked for before the conversation can go on. Agents call their tools themselves and go on. */
export function openCalls(turns: Turn[]): ToolCall[] {
  const last = turns.at(-1);
  if (last?.role !== "assistant" || last.outcome.state !== "done" || last.outcome.reply.problem) return [];
  const { toolCalls, finish } = last.outcome.reply;
  return finish === null || finish === "tool_calls" ? toolCalls : [];
}

/** The names of calls, told apart where one tool is called more than once. */
export function namesOf(calls: ToolCall[]): string[] {
  return calls.map(({ name }, at) => {
    const earlier = calls.slice(0, at).filter((call) => call.name === name).length;
    return earlier > 0 ? `${name} (${earlier + 1})` : name;
  });
}

export function messagesOf(system: string, turns: Turn[]): Record<string, unknown>[] {
  const said = turns.flatMap<Record<string, unknown>>((turn, at) => {
    if (turn.role === "user") return [{ role: "user", content: turn.content }];
    if (turn.role === "tool") return [{ role: "tool", tool_call_id: turn.call.id, content: turn.content }];
    const { reply } = turn.outcome;
    if (!hasSaid(reply)) return []; // it failed
    // Calls without results are refused.
    const answered = turns[at + 1]?.role === "tool" ? reply.toolCalls : [];
    const calls = answered.map(({ id, name, arguments: given }) => ({ id, type: "function", function: { name, arguments: given } }));
    return [{ role: "assistant", content: reply.content, ...(calls.length > 0 ? { tool_calls: calls } : {}) }];
  });
  return system.trim() ? [{ role: "system", content: system }, ...said] : said;
}

/** The body of a request; `tools` is JSON already looked at. */
export function chatBody(settings: ChatSettings, turns: Turn[], tools: unknown, more: Record<string, unknown> = {}): string {
  return JSON.stringify({
    ...more,
    messages: messagesOf(settings.system, turns),
    ...(tools === undefined ? {} : { tools }),
    ...(settings.temperature === "" ? {} : { temperature: settings.temperature }),
    ...(settings.maxTokens === "" ? {} : { max_tokens: settings.maxTokens }),
  });
}

export const TOOLS_EXAMPLE = JSON.stringify([
  {
    type: "function",
    function: {
      name: "get_weather",
      description: "The weather of a city now",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
]);
