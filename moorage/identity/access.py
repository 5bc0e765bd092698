"""Who may do what with a serving endpoint. Source: Databricks documentation, serving endpoint ACLs."""

from __future__ import annotations

from collections.abc import Mapping

from moorage.api.endpoints import PermissionLevel
from moorage.api.errors import PermissionDenied
from moorage.api.routing import Principal


def permission_level(principal: Principal, grants: Mapping[str, str]) -> PermissionLevel | None:
    """The caller's own level on an endpoint.

    Admins manage it; others have the highest of the levels that `grants`, by principal id, gives them and their
    groups.
    """
    if principal.admin:
        return PermissionLevel.CAN_MANAGE
    held = [grants[one] for one in (principal.id, *principal.groups) if one in grants]
    return max(map(PermissionLevel, held), key=list(PermissionLevel).index, default=None)


def require_level(
    principal: Principal, endpoint_name: str, grants: Mapping[str, str], needed: PermissionLevel
) -> PermissionLevel:
    """The caller's level, when it is at least `needed`.

    Raises:
        PermissionDenied: it is not.
    """
    level = permission_level(principal, grants)
    if level is None or not level.allows(needed):
        raise PermissionDenied(
            f"User '{principal.user_name}' does not have {needed} permission on serving endpoint '{endpoint_name}'."
        )
    return level
