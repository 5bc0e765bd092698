import { useQuery } from "@tanstack/react-query";
import { client, unwrap } from "../../api/client";
import type { EndpointDetail } from "../../api/schema";
import { errorText } from "../../components/confirm";
import { type Example, exampleOf, skeleton, takesMessages } from "./example";

export interface ModelExample {
  /** undefined while it is asked for. */
  example: Example | undefined;
  /** Why nothing is known of the model's inputs, in the server's words. */
  reason: string | null;
  takesMessages: boolean;
}

/** What to send to an endpoint, or to one of its served entities, by the endpoint's query schema. */
export function useModelExample(endpoint: EndpointDetail, entity: string | null): ModelExample {
  const { name, task } = endpoint;
  const version = endpoint.config?.config_version ?? 0;
  const schema = useQuery({
    queryKey: ["endpoint", name, "openapi", version, endpoint.state.ready],
    queryFn: () => unwrap(client.GET("/api/2.0/serving-endpoints/{name}/openapi", { params: { path: { name } } })),
    enabled: endpoint.state.ready === "READY",
    staleTime: 60_000,
    retry: false,
  });
  const known = endpoint.state.ready === "READY" && !schema.isError;
  return {
    example: !known ? skeleton(task) : schema.data ? exampleOf(schema.data, entity, task) : undefined,
    reason: schema.error ? errorText(schema.error) : null,
    takesMessages: takesMessages(schema.data, entity),
  };
}
