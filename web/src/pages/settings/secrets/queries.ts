import { useQuery } from "@tanstack/react-query";
import { client, unwrap } from "../../../api/client";
import { queryClient } from "../../../api/queries";

export const useScopes = () =>
  useQuery({ queryKey: ["secrets", "scopes"], queryFn: async () => (await unwrap(client.GET("/api/2.0/secrets/scopes/list"))).scopes });

export const useSecrets = (scope: string) =>
  useQuery({
    queryKey: ["secrets", "keys", scope],
    queryFn: async () => (await unwrap(client.GET("/api/2.0/secrets/list", { params: { query: { scope } } }))).secrets,
  });

/** Who may do what with a scope; refused (403) to those who do not manage it. */
export const useAcls = (scope: string) =>
  useQuery({
    queryKey: ["secrets", "acls", scope],
    queryFn: async () => (await unwrap(client.GET("/api/2.0/secrets/acls/list", { params: { query: { scope } } }))).items,
  });

export const refreshSecrets = () => queryClient.invalidateQueries({ queryKey: ["secrets"] });

/** The list alone: what is shown of a scope that was deleted is not there any more. */
export const refreshScopes = () => queryClient.invalidateQueries({ queryKey: ["secrets", "scopes"] });

/** How configurations of endpoints name a secret. */
export function referenceOf(scope: string, key: string): string {
  return `{{secrets/${scope}/${key}}}`;
}
