// Server-sent events of logs and endpoints.
import { useEffect, useRef, useState } from "react";

export type FollowState = "connecting" | "open" | "ended" | "lost";

/**
 * Follow an event stream: `onEvent` gets the data of each event of the kinds in `kinds`, in order. The browser
 * reconnects by itself where it left off. `end` events close the stream. A null `url` follows nothing.
 */
export function useFollow(url: string | null, kinds: string[], onEvent: (kind: string, data: string) => void): FollowState {
  const [state, setState] = useState<FollowState>("connecting");
  const handler = useRef(onEvent);
  useEffect(() => {
    handler.current = onEvent;
  });
  const listed = kinds.join(" ");
  useEffect(() => {
    if (url === null) return;
    setState("connecting");
    const source = new EventSource(url);
    source.onopen = () => setState("open");
    source.onerror = () => setState(source.readyState === EventSource.CLOSED ? "lost" : "connecting");
    for (const kind of listed.split(" ")) {
      source.addEventListener(kind, (event) => handler.current(kind, (event as MessageEvent<string>).data));
    }
    source.addEventListener("end", () => {
      setState("ended");
      source.close();
    });
    return () => source.close();
  }, [url, listed]);
  return state;
}
