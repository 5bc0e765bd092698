import { useReducer } from "react";

const kept = new Map<string, unknown>();

/** State that outlives its component: who looks at another tab meanwhile finds it again. Not beyond the page's reload. */
export function useKept<T>(key: string, initial: T): [T, (value: T | ((before: T) => T)) => void] {
  const [, show] = useReducer((count: number) => count + 1, 0);
  const now = () => (kept.has(key) ? (kept.get(key) as T) : initial);
  function set(next: T | ((before: T) => T)) {
    // Not in an updater of React's: what ends after the component has gone is kept too.
    kept.set(key, typeof next === "function" ? (next as (before: T) => T)(now()) : next);
    show();
  }
  return [now(), set];
}
