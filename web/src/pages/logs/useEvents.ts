import { useInfiniteQuery, useQuery, useQueryClient } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";
import { client, unwrap } from "../../api/client";
import { type FollowState, useFollow } from "../../api/follow";
import type { EventOutput } from "../../api/schema";

const PAGE_SIZE = 100;
const MOST_AT_ONCE = 1000;

export interface EventChoice {
  entity: string;
  type: string;
}

function eventQuery({ entity, type }: EventChoice) {
  return { ...(entity && { served_entity_name: entity }), ...(type && { event_type: type }) };
}

/** The events of an endpoint, newest first, page by page, and those that happen meanwhile. */
export function useEvents(name: string, choice: EventChoice) {
  const queries = useQueryClient();
  const queryKey = useMemo(() => ["endpoint", name, "events", choice.entity, choice.type], [name, choice.entity, choice.type]);
  const pages = useInfiniteQuery({
    queryKey,
    queryFn: ({ pageParam }) =>
      unwrap(
        client.GET("/api/2.0/serving-endpoints/{name}/events", {
          params: { path: { name }, query: { ...eventQuery(choice), page_size: PAGE_SIZE, ...(pageParam && { page_token: pageParam }) } },
        }),
      ),
    initialPageParam: "",
    getNextPageParam: (last) => last.next_page_token ?? undefined,
  });
  const stream = `/api/2.0/serving-endpoints/${encodeURIComponent(name)}/events/stream?${new URLSearchParams(eventQuery(choice))}`;
  // Beside the pages, one of which may be on its way without them.
  const [told, setTold] = useState<{ of: string[]; events: EventOutput[] }>({ of: queryKey, events: [] });
  const take = (_kind: string, data: string) => {
    const event = JSON.parse(data) as EventOutput;
    setTold((before) => ({ of: queryKey, events: [event, ...(before.of === queryKey ? before.events : [])] }));
  };
  const state: FollowState = useFollow(stream, ["event"], take, { resumable: true });
  // What happened between the first page and the stream is in neither.
  useEffect(() => {
    if (state === "open") void queries.invalidateQueries({ queryKey });
  }, [state, queries, queryKey]);
  const events = useMemo(
    () => unique([...(told.of === queryKey ? told.events : []), ...(pages.data?.pages.flatMap((page) => page.events) ?? [])]),
    [pages.data, told, queryKey],
  );
  return { pages, events, state };
}

function unique(events: EventOutput[]): EventOutput[] {
  const byId = new Map(events.map((event) => [event.id, event]));
  return [...byId.values()].sort((a, b) => b.id - a.id);
}

/** The types of the endpoint's latest events. */
export function useEventTypes(name: string) {
  return useQuery({
    queryKey: ["endpoint", name, "event-types"],
    staleTime: 30_000,
    queryFn: async () => {
      const params = { path: { name }, query: { page_size: MOST_AT_ONCE } };
      const call = client.GET("/api/2.0/serving-endpoints/{name}/events", { params });
      return [...new Set((await unwrap(call)).events.map((event) => event.event_type))].sort();
    },
  });
}
