// Requests and errors of the last hour, added up from what each endpoint's own history says.
import { useQuery } from "@tanstack/react-query";
import { ApiError, client, unwrap } from "../../api/client";
import type { EndpointSummary, MetricsHistory } from "../../api/schema";

const MINUTE_MS = 60_000;
const MINUTES = 60;
const EVERY_MS = 30_000;
/** Of how many endpoints the history is asked for, and of how many at the same time. */
export const MOST_ENDPOINTS = 30;
const AT_ONCE = 4;

export interface Traffic {
  requests: number;
  clientErrors: number;
  serverErrors: number;
}

export interface LastHour {
  /** Of the endpoints that had requests, those with the most first. */
  endpoints: (Traffic & { name: string })[];
  total: Traffic;
}

const sum = (numbers: number[]) => numbers.reduce((before, each) => before + each, 0);

function trafficOf({ series }: MetricsHistory): Traffic {
  return {
    requests: sum(series.flatMap((each) => each.requests)),
    clientErrors: sum(series.flatMap((each) => each.errors_4xx)),
    serverErrors: sum(series.flatMap((each) => each.errors_5xx)),
  };
}

async function historyOf(name: string, start_time: number): Promise<Traffic | undefined> {
  const params = { path: { name }, query: { start_time } };
  try {
    return trafficOf(await unwrap(client.GET("/api/2.0/serving-endpoints/{name}/metrics-history", { params })));
  } catch (error) {
    // Deleted since the list was made, or its figures are not for this reader.
    if (error instanceof ApiError && (error.status === 404 || error.status === 403)) return undefined;
    throw error;
  }
}

async function lastHour(names: string[]): Promise<LastHour> {
  const start = (Math.floor(Date.now() / MINUTE_MS) - MINUTES + 1) * MINUTE_MS;
  const endpoints: LastHour["endpoints"] = [];
  const waiting = [...names];
  async function work() {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const traffic = await historyOf(name, start);
      if (traffic && traffic.requests > 0) endpoints.push({ name, ...traffic });
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  endpoints.sort((a, b) => b.requests - a.requests || a.name.localeCompare(b.name));
  const total = {
    requests: sum(endpoints.map((each) => each.requests)),
    clientErrors: sum(endpoints.map((each) => each.clientErrors)),
    serverErrors: sum(endpoints.map((each) => each.serverErrors)),
  };
  return { endpoints, total };
}

/** The last hour of the most recently changed endpoints; `recent` has the newest first. */
export function useLastHour(recent: EndpointSummary[]) {
  const names = recent.slice(0, MOST_ENDPOINTS).map((endpoint) => endpoint.name);
  return useQuery({
    // A change of one endpoint reorders the names; that is no reason to ask anew.
    queryKey: ["last-hour", [...names].sort()],
    queryFn: () => lastHour(names),
    enabled: names.length > 0,
    placeholderData: (before) => before,
    refetchInterval: EVERY_MS,
    staleTime: EVERY_MS / 2,
  });
}
