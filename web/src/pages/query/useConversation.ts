import { useEffect, useRef } from "react";
import { type ChatSettings, chatBody, type Turn } from "./conversation";
import { readJson } from "./jsonText";
import { streamReply, WAITING } from "./streamReply";
import { useKept } from "./useKept";

interface Target {
  /** Whose conversation it is. */
  key: string;
  url: string;
  /** Further members of each body. */
  more: Record<string, unknown>;
  settings: ChatSettings;
  explain: boolean;
}

/** A conversation with a model, and the request of it that is on its way. */
export function useConversation({ key, url, more, settings, explain }: Target) {
  const [turns, setTurns] = useKept<Turn[]>(`turns ${key}`, []);
  const running = useRef<AbortController | null>(null);
  const last = turns.at(-1);
  const busy = last?.role === "assistant" && last.outcome.state === "waiting";
  useEffect(() => () => running.current?.abort(), []);

  async function ask(before: Turn[]) {
    const control = new AbortController();
    running.current = control;
    const tools = settings.tools.trim() ? readJson(settings.tools).value : undefined;
    const body = chatBody(settings, before, tools, { ...more, ...(settings.stream ? { stream: true } : {}) });
    setTurns([...before, { role: "assistant", outcome: WAITING }]);
    await streamReply(url, body, { explain, signal: control.signal }, (outcome) => {
      // A conversation that was cleared meanwhile stays so.
      if (running.current === control) setTurns([...before, { role: "assistant", outcome }]);
    });
  }
  return {
    turns,
    busy,
    ask,
    stop: () => running.current?.abort(),
    clear() {
      const before = running.current;
      running.current = null;
      before?.abort();
      setTurns([]);
    },
    /** Ask the last question again. */
    again: () => ask(turns.slice(0, -1)),
  };
}
