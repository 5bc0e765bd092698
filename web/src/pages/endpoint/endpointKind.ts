// What can be said of an endpoint, and done with it, from its detail alone.
import { isUpdating } from "../../api/queries";
import type { ConfigOutput, EndpointDetail, EntityKind, ServedEntityOutput } from "../../api/schema";

export type ServedConfig = Pick<ConfigOutput, "served_entities" | "traffic_config" | "config_version">;

/** The detail names only some kinds; the others are told by what is served. Undefined without a configuration. */
export function kindOf(endpoint: EndpointDetail): EntityKind | undefined {
  if (endpoint.endpoint_type) return endpoint.endpoint_type;
  const entity = (endpoint.config ?? endpoint.pending_config)?.served_entities[0];
  if (!entity) return undefined;
  if (entity.external_model) return "EXTERNAL_MODEL";
  return entity.provisioned_model_units || entity.max_provisioned_throughput ? "PROVISIONED_THROUGHPUT" : "CUSTOM_MODEL";
}

/** Whoever has the endpoint decides elsewhere what it serves: the catalogue, or the stages of a registered model. */
export function isServedElsewhere(endpoint: EndpointDetail): boolean {
  return kindOf(endpoint) === "FOUNDATION_MODEL_API" || !!endpoint.legacy_serving;
}

export interface Allowed {
  manage: boolean;
  edit: boolean;
  stop: boolean;
  start: boolean;
  cancel: boolean;
  remove: boolean;
  rollBack: boolean;
}

/** What the signed-in user can do to the endpoint as it is now. */
export function allowed(endpoint: EndpointDetail): Allowed {
  const manage = endpoint.permission_level === "CAN_MANAGE";
  const updating = isUpdating(endpoint);
  const stopped = !!endpoint.stopped;
  const edit = manage && !isServedElsewhere(endpoint);
  const stops = edit && !updating && (kindOf(endpoint) ?? "CUSTOM_MODEL") === "CUSTOM_MODEL";
  return {
    manage,
    edit,
    stop: stops && !stopped && !endpoint.route_optimized && !!endpoint.config,
    start: stops && stopped,
    cancel: edit && updating,
    remove: manage && kindOf(endpoint) !== "FOUNDATION_MODEL_API",
    rollBack: edit && !updating && !stopped,
  };
}

export function invocationUrl(endpoint: EndpointDetail): string {
  return endpoint.endpoint_url ?? `${window.location.origin}/serving-endpoints/${encodeURIComponent(endpoint.name)}/invocations`;
}

export function endpointPath(name: string, tab?: string): string {
  return `/ml/endpoints/${encodeURIComponent(name)}${tab ? `/${tab}` : ""}`;
}

export function trafficOf(config: ServedConfig, entity: ServedEntityOutput): number {
  return config.traffic_config.routes.find((route) => route.served_entity_name === entity.name)?.traffic_percentage ?? 0;
}

/** "Small · CPU", "4–16 · CPU" or the units of provisioned throughput; nothing where the provider has the compute. */
export function computeOf(entity: ServedEntityOutput): string {
  const range = (least: number | null | undefined, most: number) => `${least ?? 0}–${most}`;
  const parts: string[] = [];
  if (entity.workload_size) parts.push(entity.workload_size);
  else if (entity.max_provisioned_concurrency) parts.push(range(entity.min_provisioned_concurrency, entity.max_provisioned_concurrency));
  if (entity.provisioned_model_units) parts.push(`${entity.provisioned_model_units} PMU`);
  else if (entity.max_provisioned_throughput) {
    parts.push(`${range(entity.min_provisioned_throughput, entity.max_provisioned_throughput)} tok/s`);
  }
  if (entity.workload_type) parts.push(entity.workload_type);
  return parts.join(" · ");
}

/** Why an entity of the endpoint has failed, in the server's words. */
export function failureOf(endpoint: EndpointDetail): string | undefined {
  const entities = [...(endpoint.pending_config?.served_entities ?? []), ...(endpoint.config?.served_entities ?? [])];
  const failed = entities.find(({ state }) => state.deployment === "DEPLOYMENT_FAILED" && state.deployment_state_message);
  return failed?.state.deployment_state_message;
}
