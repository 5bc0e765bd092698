// MLflow's model registry, as its REST API has it.
import { useQuery } from "@tanstack/react-query";
import { requestJson } from "./client";
import { shownModel, shownVersion } from "./ownTags";

const ROOT = "/api/2.0/mlflow";

export interface ModelTag {
  key: string;
  value: string;
}

export interface RegisteredModel {
  name: string;
  creation_timestamp?: number;
  last_updated_timestamp?: number;
  description?: string;
  latest_versions?: ModelVersion[];
  tags?: ModelTag[];
  aliases?: { alias: string; version: string }[];
}

export interface ModelVersion {
  name: string;
  version: string;
  creation_timestamp?: number;
  last_updated_timestamp?: number;
  current_stage?: string;
  description?: string;
  user_id?: string;
  source?: string;
  run_id?: string;
  status?: string;
  status_message?: string;
  tags?: ModelTag[];
  aliases?: string[];
}

/** Registered models whose names hold `text`, by name; one page of at most `limit`. */
export async function searchModels(text = "", limit = 200, pageToken = ""): Promise<{ models: RegisteredModel[]; next?: string }> {
  const query = new URLSearchParams({ max_results: String(limit), order_by: "name ASC" });
  if (text) query.set("filter", `name ILIKE '%${text.replaceAll("'", "''")}%'`);
  if (pageToken) query.set("page_token", pageToken);
  const answer = await requestJson<{ registered_models?: RegisteredModel[]; next_page_token?: string }>(
    "GET",
    `${ROOT}/registered-models/search?${query}`,
  );
  return { models: (answer.registered_models ?? []).map(shownModel), next: answer.next_page_token || undefined };
}

export async function getModel(name: string): Promise<RegisteredModel> {
  const query = new URLSearchParams({ name });
  const answer = await requestJson<{ registered_model: RegisteredModel }>("GET", `${ROOT}/registered-models/get?${query}`);
  return shownModel(answer.registered_model);
}

interface VersionPage {
  model_versions?: ModelVersion[];
  next_page_token?: string;
}

/** All versions of a model, the newest first. */
export async function modelVersions(name: string): Promise<ModelVersion[]> {
  const query = new URLSearchParams({ filter: `name='${name.replaceAll("'", "''")}'`, max_results: "1000" });
  const found: ModelVersion[] = [];
  for (let next: string | undefined = ""; next !== undefined; ) {
    if (next) query.set("page_token", next);
    const answer: VersionPage = await requestJson<VersionPage>("GET", `${ROOT}/model-versions/search?${query}`);
    found.push(...(answer.model_versions ?? []).map(shownVersion));
    next = answer.next_page_token || undefined;
  }
  return found.sort((a, b) => Number(b.version) - Number(a.version));
}

/** Whether any model is registered that one may read; asked again every few seconds until one is. */
export const useAnyModel = () =>
  useQuery({
    queryKey: ["models", "any"],
    queryFn: async () => (await searchModels("", 1)).models.length > 0,
    refetchInterval: (query) => (query.state.data ? false : 4000),
  });

export const useModel = (name: string) => useQuery({ queryKey: ["model", name], queryFn: () => getModel(name), enabled: !!name });

export const useModelVersions = (name: string, refetchInterval: number | false = false) =>
  useQuery({ queryKey: ["model-versions", name], queryFn: () => modelVersions(name), enabled: !!name, refetchInterval });
