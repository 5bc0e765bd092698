// A permission list as rows to edit, and back.
import type { AccessControlEntry, AccessControlRequest, EndpointDetail, PermissionLevel } from "../../../api/schema";
import type { Principal } from "./principals";

export const LEVELS: PermissionLevel[] = ["CAN_VIEW", "CAN_QUERY", "CAN_MANAGE"];

export interface Grant extends Principal {
  level: string;
}

export interface FixedGrant extends Grant {
  /** Where it comes from; without it, the principal owns the endpoint. */
  from?: string;
}

export const sameAs = (one: Principal) => (other: Principal) => one.kind === other.kind && one.name === other.name;

function principalOf(entry: AccessControlEntry): Principal {
  const { user_name: user, group_name: group, service_principal_name: application, display_name } = entry;
  const name = user ?? group ?? application ?? "";
  return { kind: user ? "user" : group ? "group" : "servicePrincipal", name, display: display_name ?? name };
}

/** What can be changed, and what is held without a grant on this endpoint. */
export function rowsOf(list: AccessControlEntry[], endpoint: EndpointDetail): { grants: Grant[]; fixed: FixedGrant[] } {
  const grants: Grant[] = [];
  const fixed: FixedGrant[] = [];
  for (const entry of list) {
    const principal = principalOf(entry);
    for (const held of entry.all_permissions) {
      const grant = { ...principal, level: held.permission_level };
      if (held.inherited) fixed.push({ ...grant, from: held.inherited_from_object?.join(", ") ?? "" });
      else if (principal.kind !== "group" && principal.name === endpoint.creator) fixed.push(grant);
      else grants.push(grant);
    }
  }
  return { grants, fixed };
}

export function requestOf({ kind, name, level }: Grant): AccessControlRequest {
  const key = { user: "user_name", group: "group_name", servicePrincipal: "service_principal_name" }[kind];
  return { [key]: name, permission_level: level };
}

/** Those of `wanted` that are new, or have another level than before. */
export function changed(before: Grant[], wanted: Grant[]): Grant[] {
  return wanted.filter((grant) => before.find(sameAs(grant))?.level !== grant.level);
}
