import type { ConfigVersion, ServedEntityOutput } from "../../api/schema";

export function entitiesOf(version: ConfigVersion | undefined): ServedEntityOutput[] {
  return version?.config.served_entities ?? [];
}

/** The names of all entities that were ever served, those of the newest configuration first. */
export function namesOf(versions: ConfigVersion[] | undefined): string[] {
  return [...new Set((versions ?? []).flatMap((version) => entitiesOf(version).map((entity) => entity.name)))];
}
