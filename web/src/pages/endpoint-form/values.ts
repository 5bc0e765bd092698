// What the form holds. It knows nothing of the API's documents: those are made in `documents.ts` and read in `fromDetail.ts`.
import type { BedrockProvider, ExternalTask, LimitKey, PiiBehavior, Provider, WorkloadSize, WorkloadType } from "../../api/schema";

export type EntityKind = "custom" | "throughput" | "external";
/** Of a number input: the empty text is no number yet. */
export type NumberField = number | "";

/** A key of a provider. `kept`: the server has one that was given as text, which it never shows. */
export interface Credential {
  source: "secret" | "text" | "kept";
  value: string;
}

export interface ExternalValues {
  provider: Provider;
  model: string;
  task: ExternalTask;
  /** By the name of the field in the provider's configuration, `api_key_auth.key` for one inside an object. */
  options: Record<string, string>;
  credentials: Record<string, Credential>;
}

export interface VariableValues {
  id: string;
  name: string;
  value: string;
}

export interface EntityValues {
  id: string;
  kind: EntityKind;
  /** The served name; empty for the default. */
  name: string;
  traffic: NumberField;
  entityName: string;
  entityVersion: string;
  workloadType: WorkloadType;
  /** `range`: by the two concurrencies. */
  size: WorkloadSize | "range";
  minConcurrency: NumberField;
  maxConcurrency: NumberField;
  scaleToZero: boolean;
  variables: VariableValues[];
  instanceProfile: string;
  throughputIn: "units" | "tokens";
  modelUnits: NumberField;
  minThroughput: NumberField;
  maxThroughput: NumberField;
  burstScaling: boolean;
  external: ExternalValues;
}

export interface RateLimitValues {
  id: string;
  amount: NumberField;
  unit: "calls" | "tokens";
  key: LimitKey;
  principal: string;
}

export interface GuardrailValues {
  pii: PiiBehavior;
  safety: boolean;
  invalidKeywords: string[];
  validTopics: string[];
}

export interface TagValues {
  id: string;
  key: string;
  value: string;
}

export interface FormValues {
  name: string;
  description: string;
  routeOptimized: boolean;
  entities: EntityValues[];
  rateLimits: RateLimitValues[];
  usageTracking: boolean;
  fallbacks: boolean;
  table: { enabled: boolean; catalog: string; schema: string; prefix: string };
  guardrails: { input: GuardrailValues; output: GuardrailValues };
  tags: TagValues[];
  onSuccess: string[];
  onFailure: string[];
}

export const TASKS: ExternalTask[] = ["llm/v1/chat", "llm/v1/completions", "llm/v1/embeddings"];
export const BEDROCK_PROVIDERS: BedrockProvider[] = ["anthropic", "cohere", "ai21labs", "amazon"];
export const SIZES: Record<WorkloadSize, string> = { Small: "4", Medium: "8-16", Large: "16-64" };
export const WORKLOAD_TYPES: WorkloadType[] = [
  "CPU", "CPU_MEDIUM", "CPU_LARGE", "GPU_SMALL", "GPU_MEDIUM", "GPU_LARGE", "GPU_XLARGE", "GPU_XLARGE_8", "MULTIGPU_MEDIUM",
]; // prettier-ignore

let made = 0;
/** A key for a row of the form. */
export function rowId(): string {
  made += 1;
  return `row-${made}`;
}

export function newExternal(): ExternalValues {
  return { provider: "openai", model: "", task: "llm/v1/chat", options: {}, credentials: {} };
}

export function newEntity(kind: EntityKind, given: Partial<EntityValues> = {}): EntityValues {
  return {
    id: rowId(),
    kind,
    name: "",
    traffic: 100,
    entityName: "",
    entityVersion: "",
    workloadType: "CPU",
    size: "Small",
    minConcurrency: 4,
    maxConcurrency: 8,
    scaleToZero: false,
    variables: [],
    instanceProfile: "",
    throughputIn: "units",
    modelUnits: 1,
    minThroughput: 0,
    maxThroughput: 100,
    burstScaling: true,
    external: newExternal(),
    ...given,
  };
}

const noGuardrails = (): GuardrailValues => ({ pii: "NONE", safety: false, invalidKeywords: [], validTopics: [] });

export function newValues(given: Partial<FormValues> = {}): FormValues {
  return {
    name: "",
    description: "",
    routeOptimized: false,
    entities: [],
    rateLimits: [],
    usageTracking: false,
    fallbacks: false,
    table: { enabled: false, catalog: "", schema: "", prefix: "" },
    guardrails: { input: noGuardrails(), output: noGuardrails() },
    tags: [],
    onSuccess: [],
    onFailure: [],
    ...given,
  };
}

const LONGEST_NAME = 63;
const legal = (text: string) => text.replace(/[^A-Za-z0-9_-]/gu, "-");

/** The served name that the server gives an entity without one. */
export function defaultServedName(entity: EntityValues): string {
  if (entity.kind === "external") return legal(entity.external.model).slice(0, LONGEST_NAME);
  const suffix = `-${entity.entityVersion}`;
  return legal(entity.entityName.split(".").at(-1) ?? "").slice(0, LONGEST_NAME - suffix.length) + suffix;
}

export function servedName(entity: EntityValues): string {
  return entity.name.trim() || defaultServedName(entity);
}

/** Of all entities together, or undefined when there is none. */
export function kindOf(values: Pick<FormValues, "entities">): EntityKind | undefined {
  return values.entities[0]?.kind;
}

export function trafficSum(entities: EntityValues[]): number {
  return entities.reduce((sum, one) => sum + (one.traffic === "" ? 0 : one.traffic), 0);
}

/** Shares that add to 100 and differ by one at most. */
export function evenShares(count: number): number[] {
  return Array.from({ length: count }, (_, at) => Math.floor(100 / count) + (at < 100 % count ? 1 : 0));
}

/** The list without that entity. Where one is left it gets all the traffic. */
export function without(entities: EntityValues[], at: number): EntityValues[] {
  const left = entities.filter((_, number) => number !== at);
  return left.length === 1 ? left.map((one) => ({ ...one, traffic: 100 })) : left;
}
