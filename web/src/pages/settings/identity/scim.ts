// Users, groups and service principals, over SCIM. What lists answer has no type in the API's document, so it gets one here.
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { requestJson } from "../../../api/client";
import { queryClient } from "../../../api/queries";
import type {
  GroupFields,
  NewServicePrincipal,
  NewUser,
  PatchOperation,
  ScimGroup,
  ScimServicePrincipal,
  ScimUser,
} from "../../../api/schema";

const ROOT = "/api/2.0/preview/scim/v2";
export const PAGE_SIZE = 50;
const EVERYTHING = 10_000;

/** The group whose members administrate the workspace, and the one that everybody is in. Neither can be renamed or deleted. */
export const ADMINS = "admins";
export const EVERYBODY = "users";

interface Resources {
  Users: ScimUser;
  Groups: ScimGroup;
  ServicePrincipals: ScimServicePrincipal;
}
export type Kind = keyof Resources;

interface NewResources {
  Users: Partial<NewUser> & Pick<NewUser, "userName">;
  Groups: Partial<GroupFields> & Pick<GroupFields, "displayName">;
  ServicePrincipals: Partial<NewServicePrincipal>;
}

interface Page<Resource> {
  totalResults: number;
  Resources: Resource[];
}

export interface ListQuery {
  filter?: string;
  sortBy?: string;
  sortOrder?: "ascending" | "descending";
  startIndex?: number;
  count?: number;
  attributes?: string;
}

export function list<K extends Kind>(kind: K, query: ListQuery): Promise<Page<Resources[K]>> {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) params.set(name, String(value));
  return requestJson("GET", `${ROOT}/${kind}?${params}`);
}

/** That part of the list, or the last where it has become shorter than that. */
async function part<K extends Kind>(kind: K, query: ListQuery): Promise<Page<Resources[K]>> {
  const found = await list(kind, query);
  if (found.Resources.length > 0 || found.totalResults === 0) return found;
  const lastPage = Math.ceil(found.totalResults / PAGE_SIZE);
  return list(kind, { ...query, startIndex: (lastPage - 1) * PAGE_SIZE + 1 });
}

export const useList = <K extends Kind>(kind: K, query: ListQuery) =>
  useQuery({ queryKey: ["scim", kind, query], queryFn: () => part(kind, query), placeholderData: keepPreviousData });

export const useResource = <K extends Kind>(kind: K, id: string) =>
  useQuery({ queryKey: ["scim", kind, id], queryFn: () => requestJson<Resources[K]>("GET", `${ROOT}/${kind}/${encodeURIComponent(id)}`) });

/** All groups by name, without their members. */
export const useGroupNames = () =>
  useQuery({
    queryKey: ["scim", "Groups", "names"],
    queryFn: async () => (await list("Groups", { attributes: "id,displayName", sortBy: "displayName", count: EVERYTHING })).Resources,
  });

/** After a change: everything of SCIM is asked for anew but the one that was deleted, and who one is oneself. */
export async function refreshIdentities(deleted?: string): Promise<void> {
  await Promise.all([
    queryClient.invalidateQueries({ queryKey: ["scim"], predicate: ({ queryKey }) => deleted === undefined || queryKey[2] !== deleted }),
    queryClient.invalidateQueries({ queryKey: ["session"] }),
    queryClient.invalidateQueries({ queryKey: ["tokens"] }),
  ]);
}

export async function create<K extends Kind>(kind: K, fields: NewResources[K]): Promise<Resources[K]> {
  return requestJson<Resources[K]>("POST", `${ROOT}/${kind}`, fields);
}

export async function patch(kind: Kind, id: string, operations: PatchOperation[]): Promise<void> {
  if (operations.length === 0) return;
  const body = { schemas: ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], Operations: operations };
  await requestJson("PATCH", `${ROOT}/${kind}/${encodeURIComponent(id)}`, body);
}

export async function remove(kind: Kind, id: string): Promise<void> {
  await requestJson("DELETE", `${ROOT}/${kind}/${encodeURIComponent(id)}`);
}

export const addMembers = (groupId: string, ids: string[]) =>
  patch("Groups", groupId, [{ op: "add", path: "members", value: ids.map((value) => ({ value })) }]);

export const removeMember = (groupId: string, id: string) =>
  patch("Groups", groupId, [{ op: "remove", path: `members[value eq ${JSON.stringify(id)}]` }]);

/** Puts a principal into the groups in `wanted` and takes it out of the others that it is in itself. */
export async function setGroups(principalId: string, held: string[], wanted: string[]): Promise<void> {
  for (const id of wanted.filter((one) => !held.includes(one))) await addMembers(id, [principalId]);
  for (const id of held.filter((one) => !wanted.includes(one))) await removeMember(id, principalId);
}

type Grouped = Pick<ScimUser, "groups">;

/** Ids of the groups that it is in by itself, without that of everybody. */
export function directGroups({ groups }: Grouped): string[] {
  return groups.flatMap((group) => (group.type === "direct" && group.display !== EVERYBODY && group.value ? [group.value] : []));
}

/** Names of the groups that it is in, also through others, without that of everybody. */
export function groupNames({ groups }: Grouped): string[] {
  return groups.flatMap((group) => (group.display && group.display !== EVERYBODY ? [group.display] : []));
}

export function isAdmin(principal: Grouped): boolean {
  return groupNames(principal).includes(ADMINS);
}

export function valuesOf(values: { value?: string | null }[]): string[] {
  return values.flatMap(({ value }) => (value ? [value] : []));
}
