// Lines of a log as they come: a bounded number of them, the newest.

/** More than a page can be read of, and little enough to search through at every keystroke. */
export const MOST_LINES = 50_000;

export interface LogLine {
  /** Counted from the first line that came, those included that were dropped. */
  number: number;
  text: string;
}

export interface Log {
  /** Two logs of one origin have the same lines under the same numbers. */
  origin: object;
  lines: readonly LogLine[];
  /** How many older lines are no longer kept. */
  dropped: number;
}

/** Characters: as many lines as are hardly ever there twice. */
const RECOGNIZED_BY = 1000;

const TERMINAL_CODES = /\u001b\[[0-9;?]*[ -/]*[@-~]/g;

export function emptyLog(): Log {
  return { origin: {}, lines: [], dropped: 0 };
}

/** Text as lines. What a progress bar wrote over itself is a line each time; colours of terminals are left out. */
export function linesOf(text: string): string[] {
  return text.replace(TERMINAL_CODES, "").split(/\r\n?|\n/);
}

export function logOf(text: string, most = MOST_LINES): Log {
  return text ? appended(emptyLog(), linesOf(text.replace(/\r?\n$/, "")), most) : emptyLog();
}

/** The log with more lines at its end, the oldest left out where there are too many. */
export function appended(log: Log, texts: readonly string[], most = MOST_LINES): Log {
  const next = log.dropped + log.lines.length;
  const all = [...log.lines, ...texts.map((text, index) => ({ number: next + index, text }))];
  const over = Math.max(0, all.length - most);
  return { origin: log.origin, lines: over ? all.slice(over) : all, dropped: log.dropped + over };
}

/** What `after` has more than `before`, of which it may have lost the beginning; null where it is another text. */
export function rest(before: string, after: string): string | null {
  if (!before.endsWith("\n")) return null;
  if (after.startsWith(before)) return after.slice(before.length);
  const kept = before.indexOf(after.slice(0, RECOGNIZED_BY));
  return kept > 0 && after.startsWith(before.slice(kept)) ? after.slice(before.length - kept) : null;
}

export function matching(lines: readonly LogLine[], query: string): readonly LogLine[] {
  if (!query) return lines;
  const wanted = query.toLowerCase();
  return lines.filter((line) => line.text.toLowerCase().includes(wanted));
}

export interface Difference {
  /** How many lines go at the beginning. */
  removed: number;
  /** What comes at the end. */
  added: readonly LogLine[];
}

/** What makes `after` of `before`, both of one origin and one search; null where that is more than less before and more after. */
export function difference(before: readonly LogLine[], after: readonly LogLine[]): Difference | null {
  const first = after[0]?.number ?? Infinity;
  const last = before.at(-1)?.number ?? -1;
  const kept = before.findIndex((line) => line.number >= first);
  const removed = kept < 0 ? before.length : kept;
  let known = after.length;
  while (known > 0 && after[known - 1]!.number > last) known -= 1;
  return before.length - removed === known ? { removed, added: after.slice(known) } : null;
}
