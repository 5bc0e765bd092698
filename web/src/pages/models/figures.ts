import type { MetricsHistory, ServedEntitySeries } from "../../api/schema";

/** How a version did in the time of a history; null where that was not measured. */
export interface Figures {
  requests: number;
  errors4xx: number;
  errors5xx: number;
  p50: number | null;
  p99: number | null;
  used: number | null;
  provisioned: number | null;
}

type Column = (series: ServedEntitySeries) => readonly (number | null)[];

const total = (history: MetricsHistory, of: Column) =>
  history.series.reduce((sum, series) => sum + of(series).reduce<number>((all, value) => all + (value ?? 0), 0), 0);

/** Of the latest minute in which any series has a value, the highest: two may answer for one version while it changes. */
function latest(history: MetricsHistory, of: Column): number | null {
  for (let index = history.timestamps.length - 1; index >= 0; index -= 1) {
    const values = history.series.map((series) => of(series)[index]).filter((value) => typeof value === "number");
    if (values.length > 0) return Math.max(...values);
  }
  return null;
}

export function figuresOf(history: MetricsHistory): Figures {
  return {
    requests: total(history, (series) => series.requests),
    errors4xx: total(history, (series) => series.errors_4xx),
    errors5xx: total(history, (series) => series.errors_5xx),
    p50: latest(history, (series) => series.latency_p50_ms),
    p99: latest(history, (series) => series.latency_p99_ms),
    used: latest(history, (series) => series.used_concurrency),
    provisioned: latest(history, (series) => series.provisioned_concurrency),
  };
}
