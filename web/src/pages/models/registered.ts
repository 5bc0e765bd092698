// What these pages ask the registry for beyond `api/registry.ts`, and how they change it.
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { client, requestJson, unwrap } from "../../api/client";
import { queryClient } from "../../api/queries";
import { type RegisteredModel, searchModels } from "../../api/registry";
import type { TransitionStage } from "../../api/schema";

const ROOT = "/api/2.0/mlflow";
const PAGE = 500;

export const STAGES = ["None", "Staging", "Production", "Archived"] as const;
export type ModelStage = (typeof STAGES)[number];

/** A stage whose versions the older API serves. */
export function isServedStage(stage: string): stage is "Staging" | "Production" {
  return stage === "Staging" || stage === "Production";
}

/** Registered models whose names hold `text`, page after page. A page may be empty and not the last. */
export const useModelPages = (text: string) =>
  useInfiniteQuery({
    queryKey: ["models", "pages", text],
    queryFn: ({ pageParam }) => searchModels(text, PAGE, pageParam),
    initialPageParam: "",
    getNextPageParam: (last) => last.next,
  });

/** The highest number of the versions that the registry calls the latest, one of each stage. */
export function latestVersion(model: RegisteredModel): string | undefined {
  const numbers = (model.latest_versions ?? []).map((version) => Number(version.version));
  return numbers.length > 0 ? String(Math.max(...numbers)) : undefined;
}

export interface Run {
  experimentId: string;
  name?: string;
  user?: string;
}

interface RunAnswer {
  run: { info: { experiment_id: string; run_name?: string; user_id?: string }; data?: { tags?: { key: string; value: string }[] } };
}

/** The run that made a version; an error where it is no more. */
export const useRun = (runId: string | undefined) =>
  useQuery({
    queryKey: ["run", runId],
    queryFn: async (): Promise<Run> => {
      const { run } = await requestJson<RunAnswer>("GET", `${ROOT}/runs/get?${new URLSearchParams({ run_id: runId ?? "" })}`);
      const user = run.data?.tags?.find((tag) => tag.key === "mlflow.user")?.value;
      return { experimentId: run.info.experiment_id, name: run.info.run_name, user: user ?? run.info.user_id };
    },
    enabled: !!runId,
    staleTime: Infinity,
  });

export async function transitionStage(body: TransitionStage): Promise<void> {
  await unwrap(client.POST("/api/2.0/mlflow/databricks/model-versions/transition-stage", { body }));
  await refreshModel(body.name);
}

export async function setAlias(name: string, alias: string, version: string): Promise<void> {
  await requestJson("POST", `${ROOT}/registered-models/alias`, { name, alias, version });
  await refreshModel(name);
}

export async function deleteAlias(name: string, alias: string): Promise<void> {
  await requestJson("DELETE", `${ROOT}/registered-models/alias`, { name, alias });
  await refreshModel(name);
}

/** After a change of a model: what is shown of it, of its serving and of endpoints is asked for anew. */
export async function refreshModel(name: string): Promise<void> {
  await refresh([["model", name], ["model-versions", name], ["models"], ["by-stage", name], ["endpoints"], ["endpoint"]]);
}

/** After the end of a model's serving by stage: what was told of it is dropped, not asked for, because there is nothing any more. */
export async function forgetServing(name: string, endpoint: string): Promise<void> {
  await queryClient.cancelQueries({ queryKey: ["by-stage", name] });
  queryClient.setQueryData(["by-stage", name, "status"], null);
  await refresh([["by-stage", name, "status"], ["endpoints"]]);
  for (const queryKey of [["by-stage", name], ["endpoint", endpoint]]) queryClient.removeQueries({ queryKey, type: "inactive" });
}

async function refresh(keys: string[][]): Promise<void> {
  await Promise.all(keys.map((queryKey) => queryClient.invalidateQueries({ queryKey })));
}
