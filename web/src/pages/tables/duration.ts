import type { InferenceTableRow } from "../../api/schema";

/** How long a request took, in milliseconds. */
export function durationText({ execution_duration_ms: duration }: InferenceTableRow, language: string): string {
  return duration === null || duration === undefined ? "–" : new Intl.NumberFormat(language).format(duration);
}
