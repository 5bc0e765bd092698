// What the server keeps about models of Unity Catalog in tags, because MLflow has no field for it.
import type { ModelVersion, RegisteredModel } from "./registry";

const OWN_TAGS = "moorage.";

/** A model without the tags in which the server keeps what MLflow has no field for. */
export function shownModel(model: RegisteredModel): RegisteredModel {
  const tags = model.tags?.filter((tag) => !tag.key.startsWith(OWN_TAGS));
  return { ...model, tags, latest_versions: model.latest_versions?.map(shownVersion) };
}

/** A version with what those tags say in its fields: of one in Unity Catalog, who made it, from what, and whether its files are there. */
export function shownVersion(version: ModelVersion): ModelVersion {
  const own = (key: string) => version.tags?.find((tag) => tag.key === OWN_TAGS + key)?.value;
  return {
    ...version,
    tags: version.tags?.filter((tag) => !tag.key.startsWith(OWN_TAGS)),
    source: own("source") ?? version.source,
    user_id: own("user") ?? version.user_id,
    status: own("registration") === "PENDING" ? "PENDING_REGISTRATION" : version.status,
  };
}
