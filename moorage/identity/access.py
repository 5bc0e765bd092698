"""Who may do what with a serving endpoint. Source: Databricks documentation, serving endpoint ACLs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from moorage.api.endpoints import PermissionLevel
from moorage.api.errors import PermissionDenied
from moorage.api.routing import Principal


class OwnedEndpoint(Protocol):
    """What a decision needs to know of an endpoint."""

    name: str
    creator_id: str


def permission_level(
    principal: Principal, endpoint: OwnedEndpoint, grants: Mapping[str, str]
) -> PermissionLevel | None:
    """The caller's own level on the endpoint.

    Its creator and admins manage it; others have the highest of the levels that `grants`, by principal id, gives them
    and their groups.
    """
    if principal.admin or principal.id == endpoint.creator_id:
        return PermissionLevel.CAN_MANAGE
    held = [grants[one] for one in (principal.id, *principal.groups) if one in grants]
    return max(map(PermissionLevel, held), key=list(PermissionLevel).index, default=None)


def require_level(
    principal: Principal, endpoint: OwnedEndpoint, grants: Mapping[str, str], needed: PermissionLevel
) -> PermissionLevel:
    """The caller's level, when it is at least `needed`.

    Raises:
        PermissionDenied: it is not.
    """
    level = permission_level(principal, endpoint, grants)
    if level is None or not level.allows(needed):
        raise PermissionDenied(
            f"User '{principal.user_name}' does not have {needed} permission on serving endpoint '{endpoint.name}'."
        )
    return level
