// Which endpoints serve a registered model, or a version of it.
import type { EndpointSummary } from "../../api/schema";

/** Those whose active configuration has the model, or just that version of it. */
export function endpointsServing(endpoints: EndpointSummary[], model: string, version?: string): EndpointSummary[] {
  return endpoints.filter((endpoint) =>
    (endpoint.config?.served_entities ?? []).some(
      (entity) =>
        !entity.external_model && entity.entity_name === model && (version === undefined || entity.entity_version === version),
    ),
  );
}
