import { useEffect, useRef, useState } from "react";
import { type FollowState, useFollow } from "../../api/follow";
import { appended, emptyLog, linesOf, type Log, logOf, rest } from "./lines";

// Lines that come in this time are shown together: thousands come at once when a log is opened.
const TOGETHER_MS = 100;

/** The log that a stream of `line` events tells. One url for the life of the component. */
export function useStreamedLog(url: string): { log: Log; state: FollowState } {
  const [log, setLog] = useState(emptyLog);
  const waiting = useRef<string[]>([]);
  const timer = useRef<number | undefined>(undefined);
  const state = useFollow(url, ["line"], (_kind, data) => {
    waiting.current.push(...linesOf(data));
    timer.current ??= window.setTimeout(() => {
      const came = waiting.current;
      waiting.current = [];
      timer.current = undefined;
      setLog((before) => appended(before, came));
    }, TOGETHER_MS);
  });
  useEffect(
    () => () => {
      window.clearTimeout(timer.current);
      timer.current = undefined;
    },
    [],
  );
  return { log, state };
}

/** A log that is given whole, each time with more at its end, of a long one the last part, or anew. */
export function useTextLog(text: string): Log {
  const [held, setHeld] = useState(() => ({ text, log: logOf(text) }));
  if (held.text === text) return held.log;
  const more = rest(held.text, text);
  const now = { text, log: more === null ? logOf(text) : more ? appended(held.log, linesOf(more.replace(/\r?\n$/, ""))) : held.log };
  setHeld(now);
  return now.log;
}
