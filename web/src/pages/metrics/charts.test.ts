import { describe, expect, it } from "vitest";
import type { ServedEntitySeries } from "../../api/schema";
import { chartsOf, entitiesOf, isEmpty, rates, summaryOf, tokensChart } from "./charts";
import { rangeOf } from "./ranges";
import type { Metrics } from "./useMetrics";

const START = 1_800_000_000_000;
const MINUTE = 60_000;
const HOUR_START = START - (START % (60 * MINUTE));

function series(name: string, requests: number[]): ServedEntitySeries {
  const nothing = requests.map(() => null);
  const zeros = requests.map(() => 0);
  return {
    served_entity_name: name,
    requests,
    errors_4xx: zeros,
    errors_5xx: zeros,
    latency_p50_ms: nothing,
    latency_p99_ms: nothing,
    queue_p50_ms: nothing,
    queue_p99_ms: nothing,
    prediction_p50_ms: nothing,
    prediction_p99_ms: nothing,
    cpu_usage_percentage: nothing,
    mem_usage_percentage: nothing,
    provisioned_concurrency: zeros,
    used_concurrency: zeros,
    cold_starts: zeros,
  };
}

function metrics(end: number, ...all: ServedEntitySeries[]): Metrics {
  const timestamps = (all[0]?.requests ?? []).map((_, index) => START + index * MINUTE);
  return { history: { step_seconds: 60, timestamps, series: all, config_changes: [] }, start: START, end };
}

describe("rates", () => {
  it("are a second's, and of the part of the last step that is over", () => {
    expect(rates([60, 30], metrics(START + MINUTE + 30_000, series("a", [60, 30])))).toEqual([1, 1]);
  });

  it("are not told of a step that has just begun", () => {
    expect(rates([60, 1], metrics(START + MINUTE + 1000, series("a", [60, 1])))).toEqual([1, null]);
  });
});

describe("charts", () => {
  const shown = metrics(START + 2 * MINUTE, series("", [1, 0]), series("b", [1, 1]), series("a", [1, 1]));

  it("leave out what replicas alone have for models of providers", () => {
    expect(chartsOf(shown, false).map((chart) => chart.key)).toEqual(["latency", "requestRate", "errorRate"]);
    expect(chartsOf(shown, true).map((chart) => chart.key)).toContain("memory");
  });

  it("show requests without a served entity only where they count", () => {
    const [latency, requests] = chartsOf(shown, true);
    expect(latency!.curves.some((curve) => curve.entity === "")).toBe(false);
    expect(requests!.curves.some((curve) => curve.entity === "")).toBe(true);
    expect(entitiesOf(chartsOf(shown, true))).toEqual(["a", "b", ""]);
  });

  it("are empty where nothing was recorded", () => {
    expect(isEmpty(metrics(START + MINUTE, series("a", [0])))).toBe(true);
    expect(isEmpty(shown)).toBe(false);
  });
});

describe("tokens", () => {
  it("are a minute's, none where there were no requests", () => {
    const sum = { bucket_start: START + MINUTE, served_entity_name: "a", requests: 1, input_tokens: 10, output_tokens: 5 };
    const chart = tokensChart({ sums: [sum], range: rangeOf("15m"), end: START + 2 * MINUTE });
    expect(chart!.curves.map((curve) => curve.values.slice(-2))).toEqual([
      [0, 10],
      [0, 5],
    ]);
    expect(chart!.times.at(-1)).toBe((START + MINUTE) / 1000);
  });

  it("are of the part of the last hour that is over", () => {
    const sum = { bucket_start: HOUR_START, served_entity_name: "a", requests: 1, input_tokens: 60, output_tokens: 30 };
    const chart = tokensChart({ sums: [sum], range: rangeOf("24h"), end: HOUR_START + 6 * MINUTE });
    expect(chart!.curves.map((curve) => curve.values.at(-1))).toEqual([10, 5]);
  });
});

describe("a summary", () => {
  it("leaves out what is not known", () => {
    expect(summaryOf([1, null, 3, null])).toEqual({ last: 3, average: 2, most: 3 });
    expect(summaryOf([null])).toEqual({ last: null, average: null, most: null });
  });
});
