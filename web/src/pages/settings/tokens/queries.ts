import { useQuery } from "@tanstack/react-query";
import { client, unwrap } from "../../../api/client";
import { queryClient } from "../../../api/queries";

export const useOwnTokens = () =>
  useQuery({ queryKey: ["tokens", "own"], queryFn: async () => (await unwrap(client.GET("/api/2.0/token/list"))).token_infos });

/** Everybody's tokens; for admins. */
export const useAllTokens = () =>
  useQuery({
    queryKey: ["tokens", "all"],
    queryFn: async () => (await unwrap(client.GET("/api/2.0/token-management/tokens"))).token_infos,
  });

export const refreshTokens = () => queryClient.invalidateQueries({ queryKey: ["tokens"] });

/** Revokes anybody's token; for admins. */
export async function revokeAnybodys(token_id: string): Promise<void> {
  await unwrap(client.DELETE("/api/2.0/token-management/tokens/{token_id}", { params: { path: { token_id } } }));
  await refreshTokens();
}
