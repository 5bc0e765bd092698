// Usage sums of the API, turned into what a table and a chart need.
import type { UsageBucket, UsageGroup, UsageSum } from "../../../api/schema";
import { type Range, RANGES, type Span } from "../parts/RangePicker";

export const GROUPS: UsageGroup[] = ["endpoint", "requester", "served_entity"];
export const MEASURES = ["requests", "tokens"] as const;
export type Measure = (typeof MEASURES)[number];

const HOUR_MS = 3600 * 1000;
const DAY_MS = 24 * HOUR_MS;
/** Milliseconds. */
export const STEPS: Record<UsageBucket, number> = { minute: 60 * 1000, hour: HOUR_MS, day: DAY_MS };
const MOST_STEPS = 800;

/** The steps that a time can be shown in without more of them than a chart has room for. */
export function bucketsFor(range: Range, { start, end }: Span): UsageBucket[] {
  const length = range in RANGES ? RANGES[range as keyof typeof RANGES] : (end ?? Date.now()) - (start ?? Date.now() - DAY_MS);
  const fitting = (["minute", "hour", "day"] as const).filter((one) => length / STEPS[one] <= MOST_STEPS && length >= STEPS[one]);
  return fitting.length > 0 ? fitting : ["day"];
}

export interface UsageTotal {
  key: string;
  endpoint: string;
  endpointId: string;
  name: string;
  requests: number;
  input: number;
  output: number;
}

function nameOf(sum: UsageSum, group: UsageGroup): string {
  if (group === "requester") return sum.requester ?? "";
  if (group === "served_entity") return sum.served_entity_name ?? sum.served_entity_id ?? "";
  return sum.endpoint_name ?? sum.endpoint_id ?? "";
}

/** One line for each of the group, over the whole time: a served entity keeps its name, not its id, when its endpoint is changed. */
export function totals(sums: UsageSum[], group: UsageGroup): UsageTotal[] {
  const found = new Map<string, UsageTotal>();
  for (const sum of sums) {
    const key = [sum.endpoint_id, sum.served_entity_name ?? sum.served_entity_id, sum.requester].join(" ");
    const held = found.get(key) ?? {
      key,
      endpoint: sum.endpoint_name ?? sum.endpoint_id ?? "",
      endpointId: sum.endpoint_id ?? "",
      name: nameOf(sum, group),
      requests: 0,
      input: 0,
      output: 0,
    };
    held.requests += sum.requests;
    held.input += sum.input_tokens;
    held.output += sum.output_tokens;
    found.set(key, held);
  }
  return [...found.values()];
}

/** Times (seconds) and values of all steps of the time, those without requests as 0. */
export function series(sums: UsageSum[], bucket: UsageBucket, measure: Measure, { start, end }: Span): [number[], number[]] {
  const step = STEPS[bucket];
  const last = end ?? Date.now();
  const first = Math.floor((start ?? last - DAY_MS) / step) * step;
  const values = new Map<number, number>();
  for (let at = first; at < last; at += step) values.set(at, 0);
  for (const sum of sums) {
    const at = sum.bucket_start ?? first;
    values.set(at, (values.get(at) ?? 0) + (measure === "requests" ? sum.requests : sum.input_tokens + sum.output_tokens));
  }
  const times = [...values.keys()].sort((a, b) => a - b);
  return [times.map((at) => at / 1000), times.map((at) => values.get(at) ?? 0)];
}
