import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { client, unwrap } from "../../api/client";
import type { EndpointDetail, MetricsHistory, UsageSum } from "../../api/schema";
import type { Range } from "./ranges";

const METRICS_EVERY_MS = 10_000;
const USAGE_EVERY_MS = 30_000;

export interface Metrics {
  history: MetricsHistory;
  /** Of what was asked for; milliseconds. */
  start: number;
  end: number;
}

export interface Tokens {
  sums: UsageSum[];
  range: Range;
  /** When they were added up; milliseconds. */
  end: number;
}

/** How an endpoint has done in the time before now. */
export function useMetrics(name: string, range: Range) {
  return useQuery({
    queryKey: ["endpoint", name, "metrics", range.key],
    refetchInterval: METRICS_EVERY_MS,
    placeholderData: keepPreviousData,
    queryFn: async ({ signal }): Promise<Metrics> => {
      const end = Date.now();
      const start = end - range.seconds * 1000;
      const call = client.GET("/api/2.0/serving-endpoints/{name}/metrics-history", {
        params: { path: { name }, query: { start_time: start, end_time: end, step_seconds: range.step } },
        signal,
      });
      return { history: await unwrap(call), start, end };
    },
  });
}

/** Tokens of a language model's requests, added up by minute or hour; managers may know. */
export function useTokens(endpoint: EndpointDetail, range: Range) {
  return useQuery({
    queryKey: ["endpoint", endpoint.name, "tokens", range.key],
    enabled: !!endpoint.task?.startsWith("llm/") && endpoint.permission_level === "CAN_MANAGE",
    refetchInterval: USAGE_EVERY_MS,
    placeholderData: keepPreviousData,
    queryFn: async (): Promise<Tokens> => {
      const end = Date.now();
      const step = range.bucketSeconds * 1000;
      const start = Math.floor((end - range.seconds * 1000) / step) * step;
      const call = client.GET("/api/2.0/moorage/usage", {
        params: { query: { endpoint_name: endpoint.name, group_by: "served_entity", bucket: range.bucket, start_time_ms: start } },
      });
      return { sums: (await unwrap(call)).sums ?? [], range, end };
    },
  });
}
