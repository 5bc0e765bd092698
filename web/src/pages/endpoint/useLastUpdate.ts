import { useQuery } from "@tanstack/react-query";
import { client, unwrap } from "../../api/client";
import type { EndpointDetail } from "../../api/schema";
import type { ServedConfig } from "./endpointKind";
import { useConfigVersions } from "./useConfigVersions";

const OUTCOMES = ["IN_PROGRESS", "UPDATE_FAILED", "UPDATE_CANCELED"] as const;
const EVENT_OF = { UPDATE_FAILED: "CONFIG_UPDATE_FAILED", UPDATE_CANCELED: "CONFIG_UPDATE_CANCELED" };

export interface LastUpdate {
  outcome: (typeof OUTCOMES)[number];
  config?: ServedConfig;
  startedAt?: number;
  /** When it failed or was canceled, and the first line of why. */
  ended?: { at: number; reason: string };
}

/** The update that runs, or the one that ended without its configuration serving; null where there is nothing to say of it. */
export function useLastUpdate(endpoint: EndpointDetail): LastUpdate | null {
  const { name, state, pending_config: pending } = endpoint;
  const outcome = OUTCOMES.find((one) => one === state.config_update);
  const eventType = outcome && outcome !== "IN_PROGRESS" ? EVENT_OF[outcome] : null;
  const events = useQuery({
    queryKey: ["endpoint", name, "events", eventType, endpoint.last_updated_timestamp],
    queryFn: () =>
      unwrap(
        client.GET("/api/2.0/serving-endpoints/{name}/events", {
          params: { path: { name }, query: { event_type: eventType ?? undefined, page_size: 1 } },
        }),
      ),
    enabled: eventType !== null,
  });
  const versions = useConfigVersions(endpoint);
  if (!outcome) return null;
  // A canceled configuration is pending no more; it is the newest of the versions.
  const newest = versions.data?.[0];
  const config = pending ?? (newest && !newest.active ? newest.config : undefined);
  const event = events.data?.events[0];
  return {
    outcome,
    config,
    startedAt: pending?.start_time,
    ended: event && eventType ? { at: event.timestamp, reason: event.message.split("\n", 1)[0] ?? "" } : undefined,
  };
}
