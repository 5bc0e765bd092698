// What a language model says, put together from the pieces of a stream or from a whole answer.
import { type Problem, problemIn } from "./invoke";
import { isRecord } from "./jsonText";

export interface ToolCall {
  id: string;
  name: string;
  arguments: string;
}

/** What a tool that an agent has itself called said to it. */
export interface ToolResult {
  name: string;
  content: string;
}

export interface Usage {
  prompt: number | null;
  completion: number | null;
}

export interface Reply {
  content: string;
  reasoning: string;
  toolCalls: ToolCall[];
  toolResults: ToolResult[];
  finish: string | null;
  usage: Usage | null;
  problem: Problem | null;
}

export const NO_REPLY: Reply = { content: "", reasoning: "", toolCalls: [], toolResults: [], finish: null, usage: null, problem: null };

/** The reply with what one more document says: a chunk, a whole answer, or the failure that ends a stream. */
export function withDocument(reply: Reply, document: unknown): Reply {
  if (!isRecord(document)) return reply;
  const problem = problemIn(document);
  if (problem) return { ...reply, problem };
  const usage = usageIn(document.usage) ?? reply.usage;
  const choice = Array.isArray(document.choices) ? (document.choices[0] as unknown) : undefined;
  if (!isRecord(choice)) return { ...reply, usage };
  const said = choice.delta ?? choice.message;
  const finish = typeof choice.finish_reason === "string" ? choice.finish_reason : reply.finish;
  const next = { ...reply, usage, finish };
  const beside = document.delta; // of agents, on the route of chat models
  if (isRecord(beside) && beside.role === "tool") {
    next.toolResults = [...reply.toolResults, { name: String(beside.name ?? ""), content: String(beside.content ?? "") }];
  }
  if (typeof choice.text === "string") next.content += choice.text; // completions
  if (!isRecord(said)) return next;
  const parts = partsOf(said.content);
  next.content += parts.text;
  next.reasoning += parts.reasoning + (typeof said.reasoning_content === "string" ? said.reasoning_content : "");
  if (Array.isArray(said.tool_calls)) next.toolCalls = said.tool_calls.reduce<ToolCall[]>(withToolCall, reply.toolCalls);
  return next;
}

export function hasSaid(reply: Reply): boolean {
  return reply.content !== "" || reply.reasoning !== "" || reply.toolCalls.length > 0;
}

/** A text, or a list of texts and of summaries of what the model thought. */
function partsOf(content: unknown): { text: string; reasoning: string } {
  if (typeof content === "string") return { text: content, reasoning: "" };
  const found = { text: "", reasoning: "" };
  for (const part of Array.isArray(content) ? (content as unknown[]) : []) {
    if (!isRecord(part)) continue;
    if (part.type === "reasoning") found.reasoning += Array.isArray(part.summary) ? part.summary.map(textIn).join("") : textIn(part);
    else found.text += textIn(part);
  }
  return found;
}

function textIn(part: unknown): string {
  return isRecord(part) && typeof part.text === "string" ? part.text : "";
}

/** A piece of a call belongs to the call of its index; without one it is a call of its own. */
function withToolCall(calls: ToolCall[], piece: unknown): ToolCall[] {
  if (!isRecord(piece)) return calls;
  const of = isRecord(piece.function) ? piece.function : {};
  const at = typeof piece.index === "number" ? piece.index : calls.length;
  const before = calls[at] ?? { id: "", name: "", arguments: "" };
  const call = {
    id: before.id || String(piece.id ?? ""),
    name: before.name + String(of.name ?? ""),
    arguments: before.arguments + String(of.arguments ?? ""),
  };
  return at < calls.length ? calls.with(at, call) : [...calls, call];
}

function usageIn(usage: unknown): Usage | null {
  if (!isRecord(usage)) return null;
  const count = (value: unknown) => (typeof value === "number" ? value : null);
  return { prompt: count(usage.prompt_tokens), completion: count(usage.completion_tokens) };
}
