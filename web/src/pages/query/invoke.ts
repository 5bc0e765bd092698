// One request to a model, and what its answer's head says.
import { isRecord, readJson } from "./jsonText";

export interface Attempt {
  served_entity: string;
  why?: string;
  status: number;
  ms: number;
  provider?: string;
  message?: string;
}

export interface AppliedLimit {
  key: string;
  principal?: string | null;
  calls?: number;
  tokens?: number;
  renewal_period_seconds?: number;
}

/** How a request found its model: the header that answers `x-moorage-explain`. */
export interface Explanation {
  endpoint: string;
  config_version: number;
  served_entity: string | null;
  attempts: Attempt[];
  rate_limits: AppliedLimit[];
  guardrails: string[];
  overhead_ms: number;
}

/** What the head of an answer says about it. */
export interface AnswerHead {
  status: number;
  ok: boolean;
  contentType: string;
  servedEntity: string | null;
  requestId: string | null;
  explanation: Explanation | null;
}

export interface Answer extends AnswerHead {
  text: string;
  bytes: number;
  milliseconds: number;
}

/** What the server says about a failure, in its own words. */
export interface Problem {
  code: string;
  message: string;
  stackTrace?: string;
}

export interface SendOptions {
  explain?: boolean;
  signal?: AbortSignal;
}

export function send(url: string, body: string, { explain, signal }: SendOptions): Promise<Response> {
  const headers: Record<string, string> = { "Content-Type": "application/json" };
  if (explain) headers["X-Moorage-Explain"] = "1";
  return fetch(url, { method: "POST", credentials: "same-origin", headers, body, signal });
}

export function headOf(response: Response): AnswerHead {
  return {
    status: response.status,
    ok: response.ok,
    contentType: response.headers.get("content-type") ?? "",
    servedEntity: response.headers.get("served-model-name"),
    requestId: response.headers.get("x-request-id"),
    explanation: readExplanation(response.headers.get("x-moorage-explanation")),
  };
}

export async function invoke(url: string, body: string, options: SendOptions): Promise<Answer> {
  const began = performance.now();
  const response = await send(url, body, options);
  const bytes = await response.arrayBuffer();
  return {
    ...headOf(response),
    text: new TextDecoder().decode(bytes),
    bytes: bytes.byteLength,
    milliseconds: performance.now() - began,
  };
}

export function readExplanation(header: string | null): Explanation | null {
  const read = header ? readJson(header) : null;
  if (!read || read.problem !== undefined || !isRecord(read.value)) return null;
  const found = read.value as Partial<Explanation>;
  return {
    endpoint: found.endpoint ?? "",
    config_version: found.config_version ?? 0,
    served_entity: found.served_entity ?? null,
    attempts: found.attempts ?? [],
    rate_limits: found.rate_limits ?? [],
    guardrails: found.guardrails ?? [],
    overhead_ms: found.overhead_ms ?? 0,
  };
}

/** The failure that a document of an answer or of a stream tells; null where it tells none. */
export function problemIn(document: unknown): Problem | null {
  if (!isRecord(document)) return null;
  if ((document.error_code ?? document.error ?? null) === null) return null;
  const nested = isRecord(document.error) ? document.error : {};
  const code = document.error_code ?? nested.code ?? nested.type ?? "ERROR";
  const said = document.message ?? nested.message ?? (typeof document.error === "string" ? document.error : "");
  const trace = document.stack_trace;
  return { code: String(code), message: String(said), ...(typeof trace === "string" && trace ? { stackTrace: trace } : {}) };
}

/** Why an answer is no success. */
export function problemOf(status: number, text: string): Problem {
  const read = readJson(text);
  const told = read.problem === undefined ? problemIn(read.value) : null;
  return told ?? { code: `HTTP ${status}`, message: text };
}

export function endpointUrl(name: string, entity: string | null): string {
  const base = `/serving-endpoints/${encodeURIComponent(name)}`;
  return entity === null ? `${base}/invocations` : `${base}/served-models/${encodeURIComponent(entity)}/invocations`;
}
