// Metrics as the curves of charts. Nothing here draws.
import type { ServedEntitySeries, UsageSum } from "../../api/schema";
import type { Metrics, Tokens } from "./useMetrics";

export type Value = number | null;

export interface Curve {
  /** The served entity; empty for requests that were refused before one was drawn. */
  entity: string;
  /** Which of a chart's curves of that entity: a key of the catalogue; null where there is one only. */
  kind: string | null;
  dashed: boolean;
  values: Value[];
}

export interface ChartData {
  /** Of its title in the catalogue. */
  key: string;
  /** Seconds since the epoch. */
  times: number[];
  curves: Curve[];
  stepped: boolean;
}

// The step that still runs has no rate to speak of before this much of it is over.
const SHORTEST_MS = 15_000;
const SECONDS_OF_MINUTE = 60;

/** How many a second there were in a step that began at `start`, and may not be over at `end`. */
function rateOf(count: number, start: number, end: number, step: number): Value {
  const lasted = Math.min(step, end - start);
  return lasted < Math.min(SHORTEST_MS, step) ? null : (count * 1000) / lasted;
}

/** How many a second in each step. */
export function rates(counts: number[], { history, end }: Metrics): Value[] {
  return counts.map((count, index) => rateOf(count, history.timestamps[index]!, end, history.step_seconds * 1000));
}

type Draw = (series: ServedEntitySeries) => Omit<Curve, "entity">[];

/** What runs in replicas of this server has more to show than what is a provider's. */
export function chartsOf(metrics: Metrics, hasReplicas: boolean): ChartData[] {
  const { history } = metrics;
  const times = history.timestamps.map((time) => time / 1000);
  const rate = (counts: number[]) => rates(counts, metrics);
  const curve = (values: Value[], kind: string | null = null, dashed = false) => ({ kind, dashed, values });
  const chart = (key: string, draw: Draw, stepped = false): ChartData => ({
    key,
    times,
    stepped,
    curves: history.series.flatMap((one) => draw(one).map((drawn) => ({ ...drawn, entity: one.served_entity_name }))),
  });
  const all = [
    chart("latency", (one) => (one.served_entity_name ? [curve(one.latency_p50_ms, "p50"), curve(one.latency_p99_ms, "p99", true)] : [])),
    chart("requestRate", (one) => [curve(rate(one.requests))]),
    chart("errorRate", (one) => [curve(rate(one.errors_5xx), "5xx"), curve(rate(one.errors_4xx), "4xx", true)]),
  ];
  if (!hasReplicas) return all;
  const concurrency: Draw = (one) => [curve(one.used_concurrency, "used"), curve(one.provisioned_concurrency, "provisioned", true)];
  const ofReplicas = (draw: Draw): Draw => (one) => (one.served_entity_name ? draw(one) : []);
  return [
    ...all,
    chart("concurrency", ofReplicas(concurrency), true),
    chart("cpu", ofReplicas((one) => [curve(one.cpu_usage_percentage)])),
    chart("memory", ofReplicas((one) => [curve(one.mem_usage_percentage)])),
    chart("coldStarts", ofReplicas((one) => [curve(one.cold_starts)]), true),
  ];
}

/** Input and output tokens a minute. */
export function tokensChart({ sums, range, end }: Tokens): ChartData | null {
  if (!sums.some((sum) => sum.input_tokens || sum.output_tokens)) return null;
  const step = range.bucketSeconds * 1000;
  const times: number[] = [];
  for (let time = Math.floor((end - range.seconds * 1000) / step) * step; time < end; time += step) times.push(time);
  const entities = [...new Set(sums.map((sum) => sum.served_entity_name ?? ""))];
  const perMinute = (entity: string, tokens: (sum: UsageSum) => number) => {
    const of = new Map(sums.filter((sum) => (sum.served_entity_name ?? "") === entity).map((sum) => [sum.bucket_start, tokens(sum)]));
    return times.map((time) => {
      const rate = rateOf(of.get(time) ?? 0, time, end, step);
      return rate === null ? null : rate * SECONDS_OF_MINUTE;
    });
  };
  const curves = entities.flatMap((entity) => [
    { entity, kind: "input", dashed: true, values: perMinute(entity, (sum) => sum.input_tokens) },
    { entity, kind: "output", dashed: false, values: perMinute(entity, (sum) => sum.output_tokens) },
  ]);
  return { key: "tokens", times: times.map((time) => time / 1000), curves, stepped: false };
}

/** The served entities that have curves, in the order of their names; what belongs to none is last. */
export function entitiesOf(charts: ChartData[]): string[] {
  const found = new Set(charts.flatMap((chart) => chart.curves.map((curve) => curve.entity)));
  return [...[...found].filter(Boolean).sort(), ...(found.has("") ? [""] : [])];
}

/** Whether anything was recorded in the time that is shown. */
export function isEmpty(metrics: Metrics): boolean {
  return metrics.history.series.every(
    (one) =>
      one.requests.every((count) => count === 0) &&
      one.errors_4xx.every((count) => count === 0) &&
      one.errors_5xx.every((count) => count === 0) &&
      one.provisioned_concurrency.every((count) => count === 0) &&
      one.cpu_usage_percentage.every((value) => value === null),
  );
}

export interface Summary {
  last: Value;
  average: Value;
  most: Value;
}

export function summaryOf(values: Value[]): Summary {
  const known = values.filter((value): value is number => value !== null);
  if (!known.length) return { last: null, average: null, most: null };
  const most = known.reduce((a, b) => Math.max(a, b));
  return { last: known.at(-1)!, average: known.reduce((a, b) => a + b, 0) / known.length, most };
}
