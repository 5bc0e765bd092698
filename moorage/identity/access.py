"""Who may do what with a serving endpoint. Source: Databricks documentation, serving endpoint ACLs."""

from __future__ import annotations

from typing import Protocol

from moorage.api.endpoints import PermissionLevel
from moorage.api.errors import PermissionDenied
from moorage.api.routing import Principal


class OwnedEndpoint(Protocol):
    """What a decision needs to know of an endpoint."""

    name: str
    creator_id: str


def permission_level(principal: Principal, endpoint: OwnedEndpoint) -> PermissionLevel | None:
    """The caller's own level on the endpoint: its creator and admins manage it, others have none."""
    if principal.admin or principal.id == endpoint.creator_id:
        return PermissionLevel.CAN_MANAGE
    return None


def require_level(principal: Principal, endpoint: OwnedEndpoint, needed: PermissionLevel) -> PermissionLevel:
    """The caller's level, when it is at least `needed`.

    Raises:
        PermissionDenied: it is not.
    """
    level = permission_level(principal, endpoint)
    if level is None or not level.allows(needed):
        raise PermissionDenied(
            f"User '{principal.user_name}' does not have {needed} permission on serving endpoint '{endpoint.name}'."
        )
    return level
