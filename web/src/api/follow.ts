// Server-sent events of logs and endpoints.
import { useDocumentVisibility } from "@mantine/hooks";
import { useEffect, useRef, useState } from "react";

export type FollowState = "connecting" | "open" | "ended" | "lost";

const AGAIN_MS = 5000;

interface Options {
  /**
   * What was missed is known from elsewhere once the stream is open again. Then it is closed while nobody sees the page,
   * because a browser opens only six connections to a server, and begun anew after it was lost.
   */
  resumable?: boolean;
}

/**
 * Follow an event stream: `onEvent` gets the data of each event of the kinds in `kinds`, in order. The browser
 * reconnects by itself where it left off. `end` events close the stream. A null `url` follows nothing.
 */
export function useFollow(
  url: string | null,
  kinds: string[],
  onEvent: (kind: string, data: string) => void,
  { resumable = false }: Options = {},
): FollowState {
  const [state, setState] = useState<FollowState>("connecting");
  const [attempt, setAttempt] = useState(0);
  const hidden = useDocumentVisibility() === "hidden";
  const paused = resumable && hidden;
  const handler = useRef(onEvent);
  useEffect(() => {
    handler.current = onEvent;
  });
  const listed = kinds.join(" ");
  useEffect(() => {
    if (url === null || paused) return;
    setState("connecting");
    let again: number | undefined;
    const source = new EventSource(url);
    source.onopen = () => setState("open");
    source.onerror = () => {
      const lost = source.readyState === EventSource.CLOSED;
      setState(lost ? "lost" : "connecting");
      if (lost && resumable) again = window.setTimeout(() => setAttempt((before) => before + 1), AGAIN_MS);
    };
    for (const kind of listed.split(" ")) {
      source.addEventListener(kind, (event) => handler.current(kind, (event as MessageEvent<string>).data));
    }
    source.addEventListener("end", () => {
      setState("ended");
      source.close();
    });
    return () => {
      window.clearTimeout(again);
      source.close();
    };
  }, [url, listed, resumable, paused, attempt]);
  return state;
}
