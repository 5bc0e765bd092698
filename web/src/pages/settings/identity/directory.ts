import { useQuery } from "@tanstack/react-query";
import { list } from "./scim";

const EVERYTHING = 10_000;

export type PrincipalKind = "user" | "group" | "servicePrincipal";

export interface Named {
  id: string;
  kind: PrincipalKind;
  /** What the API's permissions call it: user name, group name, application id. */
  name: string;
  /** What people call it. */
  shown: string;
}

async function everybody(): Promise<Named[]> {
  const [users, groups, servicePrincipals] = await Promise.all([
    list("Users", { attributes: "id,userName,displayName", count: EVERYTHING }),
    list("Groups", { attributes: "id,displayName", count: EVERYTHING }),
    list("ServicePrincipals", { attributes: "id,applicationId,displayName", count: EVERYTHING }),
  ]);
  return [
    ...users.Resources.map(({ id, userName }) => ({ id, kind: "user" as const, name: userName, shown: userName })),
    ...groups.Resources.map(({ id, displayName }) => ({ id, kind: "group" as const, name: displayName, shown: displayName })),
    ...servicePrincipals.Resources.map(({ id, applicationId, displayName }) => ({
      id,
      kind: "servicePrincipal" as const,
      name: applicationId,
      shown: displayName,
    })),
  ];
}

/** Everyone that something can be given to, by name, for choosing and for telling who an id is. */
export function useDirectory() {
  const query = useQuery({ queryKey: ["scim", "directory"], queryFn: everybody, staleTime: 30_000 });
  const all = query.data ?? [];
  return {
    all,
    error: query.error,
    nameOf: (id: string) => all.find((one) => one.id === id)?.shown ?? id,
    find: (name: string) => all.find((one) => one.name === name),
  };
}
