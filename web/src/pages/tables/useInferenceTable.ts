import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { client, unwrap } from "../../api/client";

const PAGE_SIZE = 50;
const TABLES_EVERY_MS = 10_000;
const LIVE_EVERY_MS = 5000;

/** What rows are asked for; empty is any. */
export interface RowFilter {
  table: string;
  status: string;
  entity: string;
  requester: string;
  request: string;
  clientRequest: string;
  /** Milliseconds since the epoch. */
  from: string;
  to: string;
}

export const FILTER_NAMES = ["status", "entity", "requester", "request", "client_request", "from", "to"] as const;

const path = (name: string) => ({ params: { path: { name } } });

/** The tables that requests to an endpoint go to, and how they do. */
export function useInferenceTables(name: string, enabled: boolean) {
  return useQuery({
    queryKey: ["endpoint", name, "inference-table"],
    enabled,
    refetchInterval: TABLES_EVERY_MS,
    queryFn: async () => (await unwrap(client.GET("/api/2.0/serving-endpoints/{name}/inference-table", path(name)))).tables,
  });
}

function queryOf(filter: RowFilter) {
  return {
    ...(filter.table && { table: filter.table }),
    ...(filter.status && { status_code: Number(filter.status) }),
    ...(filter.entity && { served_entity_name: filter.entity }),
    ...(filter.requester && { requester: filter.requester }),
    ...(filter.request && { databricks_request_id: filter.request }),
    ...(filter.clientRequest && { client_request_id: filter.clientRequest }),
    ...(filter.from && { start_time_ms: Number(filter.from) }),
    ...(filter.to && { end_time_ms: Number(filter.to) }),
  };
}

/** Requests and their answers, newest first, page by page; each few seconds anew while `live`. */
export function useInferenceRows(name: string, filter: RowFilter, live: boolean) {
  return useInfiniteQuery({
    queryKey: ["endpoint", name, "inference-rows", filter],
    refetchInterval: live ? LIVE_EVERY_MS : false,
    queryFn: ({ pageParam }) =>
      unwrap(
        client.GET("/api/2.0/serving-endpoints/{name}/inference-table/rows", {
          params: { path: { name }, query: { ...queryOf(filter), limit: PAGE_SIZE, ...(pageParam && { page_token: pageParam }) } },
        }),
      ),
    initialPageParam: "",
    getNextPageParam: (last) => last.next_page_token ?? undefined,
  });
}

/** One request by its id, that an address may lead to it. */
export function useInferenceRow(name: string, table: string, requestId: string, enabled: boolean) {
  return useQuery({
    queryKey: ["endpoint", name, "inference-row", table, requestId],
    enabled,
    queryFn: async () => {
      const call = client.GET("/api/2.0/serving-endpoints/{name}/inference-table/rows", {
        params: { path: { name }, query: { ...(table && { table }), databricks_request_id: requestId, limit: 1 } },
      });
      return (await unwrap(call)).rows[0] ?? null;
    },
  });
}
