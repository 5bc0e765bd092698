// What the list, and the front page, say of endpoints.
import type { EndpointSummary, ServedEntitySummary } from "../../api/schema";
import { conditionOf, type EndpointCondition } from "../../components/StateIndicator";

/** From what runs to what does not; the order of the states where rows are sorted by them, and of the choice. */
export const CONDITIONS: EndpointCondition[] = ["ready", "updatingReady", "updating", "readyFailed", "failed", "canceled", "notReady", "stopped"];

/** Those that somebody should look at; "attention" stands for all of them in the page's address. */
export const ATTENTION = "attention";
const UNHEALTHY: EndpointCondition[] = ["failed", "readyFailed", "notReady", "canceled"];

export function needsAttention(endpoint: EndpointSummary): boolean {
  return UNHEALTHY.includes(conditionOf(endpoint));
}

/** An endpoint that the server itself made, of a model of its catalogue. */
export function isFoundationEndpoint(endpoint: EndpointSummary): boolean {
  return endpoint.name.startsWith("databricks-") && !!foundationModelOf(endpoint);
}

export function foundationModelOf(endpoint: EndpointSummary) {
  return endpoint.config?.served_entities.find((entity) => entity.foundation_model)?.foundation_model;
}

/** What a served entity is called, and what stands behind the name: its version, or its provider. */
export function entityText(entity: ServedEntitySummary): { name: string; detail?: string } {
  if (entity.external_model) return { name: entity.external_model.name, detail: entity.external_model.provider };
  return { name: entity.entity_name ?? entity.name, detail: entity.entity_version ?? undefined };
}

/** The choices of the filter by tag that an endpoint falls under: each key, and each key with its value. */
export function tagChoices(endpoint: EndpointSummary): string[] {
  return endpoint.tags.flatMap(({ key, value }) => (value ? [key, tagText(key, value)] : [key]));
}

export function tagText(key: string, value?: string | null): string {
  return value ? `${key}: ${value}` : key;
}

export interface Filters {
  text: string;
  state: string;
  /** The user's name when only that user's are wanted. */
  owner: string;
  tag: string;
}

export function matches(endpoint: EndpointSummary, { text, state, owner, tag }: Filters): boolean {
  if (text && !endpoint.name.toLowerCase().includes(text.trim().toLowerCase())) return false;
  if (state === ATTENTION ? !needsAttention(endpoint) : state && conditionOf(endpoint) !== state) return false;
  if (owner && endpoint.creator !== owner) return false;
  return !tag || tagChoices(endpoint).includes(tag);
}
