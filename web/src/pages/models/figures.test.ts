import { expect, test } from "vitest";
import type { MetricsHistory, ServedEntitySeries } from "../../api/schema";
import { figuresOf } from "./figures";

const none = [null, null, null];
const zero = [0, 0, 0];

function series(changes: Partial<ServedEntitySeries>): ServedEntitySeries {
  return {
    served_entity_name: "m-1",
    cold_starts: zero,
    requests: zero,
    errors_4xx: zero,
    errors_5xx: zero,
    provisioned_concurrency: zero,
    used_concurrency: zero,
    cpu_usage_percentage: none,
    mem_usage_percentage: none,
    latency_p50_ms: none,
    latency_p99_ms: none,
    prediction_p50_ms: none,
    prediction_p99_ms: none,
    queue_p50_ms: none,
    queue_p99_ms: none,
    ...changes,
  };
}

function history(...all: ServedEntitySeries[]): MetricsHistory {
  return { step_seconds: 60, timestamps: [0, 60_000, 120_000], series: all, config_changes: [] };
}

test("counts are those of all entities together", () => {
  const older = series({ requests: [1, 2, 3], errors_4xx: [1, 0, 0] });
  const figures = figuresOf(history(older, series({ requests: [0, 0, 4], errors_5xx: [0, 0, 2] })));
  expect([figures.requests, figures.errors4xx, figures.errors5xx]).toEqual([10, 1, 2]);
});

test("latencies are the highest of the latest minute that has any", () => {
  const figures = figuresOf(history(series({ latency_p50_ms: [9, 5, null] }), series({ latency_p50_ms: [null, 7, null] })));
  expect(figures.p50).toBe(7);
  expect(figures.p99).toBeNull();
});

test("of a version that has nothing yet, nothing is known", () => {
  expect(figuresOf(history())).toEqual({ requests: 0, errors4xx: 0, errors5xx: 0, p50: null, p99: null, used: null, provisioned: null });
});
