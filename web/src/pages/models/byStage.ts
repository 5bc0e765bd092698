// Serverless Real-Time Inference: the API before serving endpoints, which serves a registered model by its stages.
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { client, requestJson, unwrap } from "../../api/client";
import { stopAsking } from "../../api/queries";
import type {
  EndpointStatus,
  EndpointStatusList,
  EndpointVersionStatus,
  Logs,
  MetricsHistory,
  ModelEventList,
  ServiceStatus,
  Stage,
  SupportedSizeList,
  VersionAlias,
  VersionAliasList,
  VersionReplicaList,
  VersionStatusList,
  WorkloadConfigSpec,
} from "../../api/schema";
import { exampleOf } from "../query/example";
import { forgetServing, refreshModel } from "./registered";

const ROOT = "/api/2.0/preview/mlflow/endpoints-v2";
const PENDING_EVERY_MS = 2000;
const SETTLED_EVERY_MS = 5000;
const EVENTS_PAGE = 100;

/** How a model is served by stage. */
export interface ByStage {
  status: EndpointStatus;
  /** The highest number first. */
  versions: EndpointVersionStatus[];
  /** Which version answers at the address of each stage. */
  aliases: VersionAlias[];
}

/** A GET whose parameters the description of the API leaves out, because they may also be in a body. */
function get<T>(route: string, parameters: Record<string, string>, signal: AbortSignal): Promise<T> {
  return requestJson<T>("GET", `${ROOT}/${route}?${new URLSearchParams(parameters)}`, undefined, { signal });
}

async function byStage(name: string, signal: AbortSignal): Promise<ByStage | null> {
  // Of all models, because of one that is not enabled its own route answers with an error.
  const { endpoint_statuses } = await get<EndpointStatusList>("list", {}, signal);
  const status = endpoint_statuses.find((one) => one.registered_model_name === name);
  if (!status) return null;
  const of = { registered_model_name: name };
  const [versions, aliases] = await Promise.all([
    get<VersionStatusList>("list-versions", of, signal),
    get<VersionAliasList>("list-version-aliases", of, signal),
  ]);
  return {
    status,
    versions: [...versions.endpoint_statuses].sort((a, b) => Number(b.endpoint_version_name) - Number(a.endpoint_version_name)),
    aliases: aliases.aliases,
  };
}

export function isPending({ status, versions }: ByStage): boolean {
  const pending = (one: ServiceStatus) => one.state === "SERVICE_STATE_PENDING" || one.state === "SERVICE_STATE_UNKNOWN";
  return status.state === "PENDING" || versions.some((version) => pending(version.service_status) || pending(version.config_update_status));
}

const pollEvery = (pending: boolean) => (pending ? PENDING_EVERY_MS : SETTLED_EVERY_MS);

/** Null when the model is not enabled. Not asked for where it is not `enabled`. */
export const useByStage = (name: string, enabled: boolean) =>
  useQuery({
    queryKey: ["by-stage", name, "status"],
    queryFn: ({ signal }) => byStage(name, signal),
    enabled,
    refetchInterval: (query) => pollEvery(!!query.state.data && isPending(query.state.data)),
  });

export const useWorkloadSizes = () =>
  useQuery({
    queryKey: ["workload-sizes"],
    queryFn: async ({ signal }) => (await get<SupportedSizeList>("get-supported-workload-sizes", {}, signal)).workload_sizes,
    staleTime: Infinity,
  });

/** What happened, newest first, of one version or (`version` "") of all and the model. */
export const useModelEvents = (name: string, version: string, pending: boolean) =>
  useInfiniteQuery({
    queryKey: ["by-stage", name, "events", version],
    queryFn: ({ pageParam, signal }) => {
      const of = { registered_model_name: name, ...(version ? { endpoint_version_name: version } : {}) };
      const page = { max_results: String(EVENTS_PAGE), ...(pageParam ? { page_token: pageParam } : {}) };
      return get<ModelEventList>("get-event-history", { ...of, ...page }, signal);
    },
    initialPageParam: "",
    getNextPageParam: (last) => last.next_page_token ?? undefined,
    refetchInterval: pollEvery(pending),
  });

export const useVersionReplicas = (name: string, version: string, pending: boolean) =>
  useQuery({
    queryKey: ["by-stage", name, "replicas", version],
    queryFn: async ({ signal }) => {
      const of = { registered_model_name: name, endpoint_version_name: version };
      return (await get<VersionReplicaList>("get-version-replicas", of, signal)).replicas;
    },
    refetchInterval: pollEvery(pending),
  });

export const useVersionMetrics = (name: string, version: string) =>
  useQuery({
    queryKey: ["by-stage", name, "metrics", version],
    queryFn: ({ signal }) =>
      get<MetricsHistory>("get-version-metrics", { registered_model_name: name, endpoint_version_name: version }, signal),
    refetchInterval: SETTLED_EVERY_MS,
  });

export type LogKind = "build" | "service";

/** A log of a version; `replica` "" stands for all of them. */
export const useVersionLog = (name: string, version: string, kind: LogKind, replica: string, pending: boolean) =>
  useQuery({
    queryKey: ["by-stage", name, "log", version, kind, replica],
    queryFn: async ({ signal }) => {
      const of = { registered_model_name: name, endpoint_version_name: version };
      const answer: Logs = await unwrap(
        kind === "build"
          ? client.POST("/api/2.0/preview/mlflow/endpoints-v2/get-version-build-logs", { body: of, signal })
          : client.POST("/api/2.0/preview/mlflow/endpoints-v2/get-version-logs", { body: { ...of, replica_name: replica || null }, signal }),
      );
      return answer.logs;
    },
    refetchInterval: pollEvery(pending),
  });

/** What to send to a served version, as text: its model's input example, else values of the types that it takes. */
export const useExample = (endpoint: string, entity: string, ready: boolean) =>
  useQuery({
    queryKey: ["endpoint", endpoint, "openapi"],
    queryFn: () => requestJson<unknown>("GET", `/api/2.0/serving-endpoints/${encodeURIComponent(endpoint)}/openapi`),
    select: (document) => exampleOf(document, entity).text,
    // There is no such document while nothing serves.
    enabled: ready,
    staleTime: 60_000,
  });

export async function enableServing(name: string): Promise<void> {
  await unwrap(client.POST("/api/2.0/preview/mlflow/endpoints-v2/enable", { body: { registered_model_name: name } }));
  await refreshModel(name);
}

export async function disableServing({ registered_model_name: name, endpoint_name: endpoint }: EndpointStatus): Promise<void> {
  await stopAsking(["by-stage", name], ["endpoint", endpoint]);
  await unwrap(client.POST("/api/2.0/preview/mlflow/endpoints-v2/disable", { body: { registered_model_name: name } }));
  await forgetServing(name, endpoint);
}

export async function updateCompute(name: string, stage: Stage, workload: WorkloadConfigSpec): Promise<void> {
  const body = { registered_model_name: name, stage, desired_workload_config_spec: workload };
  await unwrap(client.PUT("/api/2.0/preview/mlflow/endpoints-v2/update-compute-config", { body }));
  await refreshModel(name);
}

export async function restartUpdate(name: string, stage: Stage): Promise<void> {
  const body = { registered_model_name: name, stage };
  await unwrap(client.POST("/api/2.0/preview/mlflow/endpoints-v2/restart-compute-config-update", { body }));
  await refreshModel(name);
}

/** The path at which a version (by its number) or a stage of a model is scored. */
export function scoringPath(name: string, where: string): string {
  return `/model/${encodeURIComponent(name)}/${where}/invocations`;
}
