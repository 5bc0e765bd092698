// The control plane's API, typed by its own OpenAPI document (`python web/build.py --generate`).
import createClient from "openapi-fetch";
import type { paths } from "./schema";

/** What the server said was wrong, in its own words. `code` is its `error_code`. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

export const client = createClient<paths>({ baseUrl: window.location.origin, credentials: "same-origin" });

interface Answered<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** The body of a successful answer. Use: `await unwrap(client.GET("/api/2.0/token/list"))`. */
export async function unwrap<T>(call: Promise<Answered<T>>): Promise<T> {
  const { data, error, response } = await call;
  if (response.ok) return data as T;
  throw asApiError(response.status, error);
}

/** A JSON request to a route that is not the control plane's: the registry's, an invocation. */
export async function requestJson<T>(method: string, path: string, body?: unknown, init: RequestInit = {}): Promise<T> {
  const response = await fetch(path, {
    method,
    credentials: "same-origin",
    ...init,
    headers: { ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...init.headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  let document: unknown = text;
  try {
    document = text ? JSON.parse(text) : {};
  } catch {
    // not JSON: shown as it is
  }
  if (!response.ok) throw asApiError(response.status, document);
  return document as T;
}

export function asApiError(status: number, document: unknown): ApiError {
  const fields = (typeof document === "object" && document !== null ? document : {}) as Record<string, unknown>;
  const code = String(fields.error_code ?? fields.scimType ?? `HTTP_${status}`);
  const nested = fields.error as { message?: string } | undefined;
  const said = fields.message ?? fields.detail ?? nested?.message ?? (typeof document === "string" ? document : "");
  return new ApiError(status, code, said ? String(said) : `HTTP ${status}`);
}
