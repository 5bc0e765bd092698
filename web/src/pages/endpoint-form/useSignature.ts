import { useQuery } from "@tanstack/react-query";
import { ApiError, asApiError } from "../../api/client";
import { parseSignature, type Signature } from "./signature";

/** Null where the model was logged without a signature. */
export const useSignature = (model: string, version: string) =>
  useQuery({
    queryKey: ["signature", model, version],
    queryFn: () => readSignature(model, version),
    enabled: !!model && !!version,
    staleTime: Infinity,
    retry: false,
  });

async function readSignature(name: string, version: string): Promise<Signature | null> {
  const query = new URLSearchParams({ name, version, path: "MLmodel" });
  const response = await fetch(`/mlflow/model-versions/get-artifact?${query}`, { credentials: "same-origin" });
  const text = await response.text();
  if (!response.ok) throw asApiError(response.status, text);
  try {
    return parseSignature(text);
  } catch {
    throw new ApiError(500, "UNREADABLE", `MLmodel: ${name} ${version}`);
  }
}
