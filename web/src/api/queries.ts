// What several pages ask for. Keys: ["session"], ["endpoints"], ["endpoint", name, ...].
import { QueryCache, QueryClient, useQuery } from "@tanstack/react-query";
import { ApiError, client, unwrap } from "./client";
import type { EndpointDetail } from "./schema";

const LIST_EVERY_MS = 4000;
const UPDATING_EVERY_MS = 1000;
const SETTLED_EVERY_MS = 4000;

// A session that has ended is refused like any other caller: who is signed in is then asked for anew, and the frame leads to the sign-in.
const SESSION_AGE_MS = 5000;
const queryCache = new QueryCache({
  onError: (error) => {
    if (!(error instanceof ApiError) || (error.status !== 401 && error.status !== 403)) return;
    const asked = queryClient.getQueryState(["session"])?.dataUpdatedAt ?? 0;
    if (Date.now() - asked > SESSION_AGE_MS) void queryClient.invalidateQueries({ queryKey: ["session"] });
  },
});

export const queryClient: QueryClient = new QueryClient({
  queryCache,
  defaultOptions: {
    queries: {
      // What the server refuses it refuses again; what it could not do just now it may do in a moment.
      retry: (failures, error) => !(error instanceof ApiError && error.status < 500) && failures < 3,
      staleTime: 1000,
    },
  },
});

export const useSession = () =>
  useQuery({ queryKey: ["session"], queryFn: () => unwrap(client.GET("/api/2.0/moorage/session")), staleTime: 60_000 });

export const useEndpoints = () =>
  useQuery({
    queryKey: ["endpoints"],
    queryFn: async () => (await unwrap(client.GET("/api/2.0/serving-endpoints"))).endpoints,
    refetchInterval: LIST_EVERY_MS,
  });

/** One endpoint, looked at each second while something of it changes; not at all where it is not `enabled`. */
export const useEndpoint = (name: string, enabled = true) =>
  useQuery({
    queryKey: ["endpoint", name],
    queryFn: ({ signal }) => unwrap(client.GET("/api/2.0/serving-endpoints/{name}", { params: { path: { name } }, signal })),
    enabled,
    refetchInterval: ({ state: { data, error } }) => {
      if (error instanceof ApiError && error.status < 500) return false; // gone, or not to be seen
      return data && isUpdating(data) ? UPDATING_EVERY_MS : SETTLED_EVERY_MS;
    },
  });

export function isUpdating(endpoint: Pick<EndpointDetail, "state">): boolean {
  return endpoint.state.config_update === "IN_PROGRESS";
}

/** Before a removal: what is being asked about what is to go is not waited for. Nothing mounted may ask anew meanwhile. */
export async function stopAsking(...queryKeys: string[][]): Promise<void> {
  await Promise.all(queryKeys.map((queryKey) => queryClient.cancelQueries({ queryKey })));
}

/** After a change: what is shown of this endpoint, and the list, is asked for anew. */
export async function refreshEndpoint(name: string): Promise<void> {
  await Promise.all([
    queryClient.invalidateQueries({ queryKey: ["endpoint", name] }),
    queryClient.invalidateQueries({ queryKey: ["endpoints"] }),
  ]);
}
