// Users, groups and service principals, found by a part of their names.
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { client, unwrap } from "../../../api/client";
import type { ScimList } from "../../../api/schema";

export type PrincipalKind = "user" | "group" | "servicePrincipal";

export interface Principal {
  kind: PrincipalKind;
  /** As permissions name it: the user name, the group's name, the application id. */
  name: string;
  display: string;
}

const MOST = 20;

const text = (value: unknown): string => (typeof value === "string" ? value : "");

async function listed(kind: PrincipalKind, part: string): Promise<Principal[]> {
  const quoted = JSON.stringify(part);
  const fields = { user: ["userName", "displayName"], group: ["displayName"], servicePrincipal: ["displayName", "applicationId"] }[kind];
  const filter = part ? fields.map((field) => `${field} co ${quoted}`).join(" or ") : undefined;
  const params = { query: { filter, count: MOST } };
  let found: ScimList;
  if (kind === "user") found = await unwrap(client.GET("/api/2.0/preview/scim/v2/Users", { params }));
  else if (kind === "group") found = await unwrap(client.GET("/api/2.0/preview/scim/v2/Groups", { params }));
  else found = await unwrap(client.GET("/api/2.0/preview/scim/v2/ServicePrincipals", { params }));
  return found.Resources.map((one) => {
    const name = text({ user: one.userName, group: one.displayName, servicePrincipal: one.applicationId }[kind]);
    return { kind, name, display: text(one.displayName) || name };
  });
}

/** At most twenty of each kind. */
export const usePrincipals = (kinds: PrincipalKind[], part: string) =>
  useQuery({
    queryKey: ["principals", kinds, part],
    queryFn: async () => (await Promise.all(kinds.map((kind) => listed(kind, part)))).flat(),
    placeholderData: keepPreviousData,
    staleTime: 30_000,
  });
