// One question to a language model, its answer told as it grows.
import { type AnswerHead, headOf, problemOf, send, type SendOptions } from "./invoke";
import { readJson } from "./jsonText";
import { hasSaid, NO_REPLY, type Reply, withDocument } from "./reply";
import { DONE, eventsOf } from "./sse";

/** "cut": the stream ended without its end. */
export type ReplyState = "waiting" | "done" | "stopped" | "cut";

export interface Outcome {
  reply: Reply;
  state: ReplyState;
  head: AnswerHead | null;
  /** Milliseconds until the first text or call of a tool; null until then, and for answers that came whole. */
  firstMs: number | null;
  totalMs: number;
}

export const WAITING: Outcome = { reply: NO_REPLY, state: "waiting", head: null, firstMs: null, totalMs: 0 };

export async function streamReply(url: string, body: string, options: SendOptions, tell: (outcome: Outcome) => void): Promise<void> {
  const began = performance.now();
  let now = WAITING;
  function change(part: Partial<Outcome>) {
    now = { ...now, ...part, totalMs: performance.now() - began };
    tell(now);
  }
  try {
    const response = await send(url, body, options);
    change({ head: headOf(response) });
    if (!response.ok || !response.body || !now.head?.contentType.startsWith("text/event-stream")) {
      change({ reply: wholeReply(response, await response.text()), state: "done" });
      return;
    }
    let ended = false;
    for await (const event of eventsOf(response.body)) {
      ended = event.data === DONE;
      if (ended) break;
      const read = readJson(event.data);
      if (read.problem !== undefined) continue;
      const reply = withDocument(now.reply, read.value);
      const firstMs = now.firstMs ?? (hasSaid(reply) ? performance.now() - began : null);
      change({ reply, firstMs });
    }
    change({ state: ended || now.reply.problem || now.reply.finish ? "done" : "cut" });
  } catch (error) {
    if (options.signal?.aborted) {
      change({ state: "stopped" });
      return;
    }
    const message = error instanceof Error ? error.message : String(error);
    change({ reply: { ...now.reply, problem: { code: "", message } }, state: "done" });
  }
}

function wholeReply(response: Response, text: string): Reply {
  if (!response.ok) return { ...NO_REPLY, problem: problemOf(response.status, text) };
  const read = readJson(text);
  const reply = withDocument(NO_REPLY, read.problem === undefined ? read.value : null);
  return hasSaid(reply) || reply.problem || reply.finish ? reply : { ...reply, content: text };
}

const SHORTEST_MS = 50; // what came all at once has no rate

/** Tokens a second from the first on; null where that cannot be said. */
export function tokensPerSecond({ reply, firstMs, totalMs }: Outcome): number | null {
  const tokens = reply.usage?.completion;
  return tokens && tokens > 1 && firstMs !== null && totalMs - firstMs >= SHORTEST_MS ? (1000 * (tokens - 1)) / (totalMs - firstMs) : null;
}
