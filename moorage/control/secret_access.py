"""Who may do what with a secret scope."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from moorage.api.routing import Principal
from moorage.api.secrets import AclPermission
from moorage.control.store import groups, identity


@dataclass(frozen=True, slots=True)
class Accessor:
    """Somebody who wants at a scope. `ids` are their own and those of all groups that they are in."""

    user_name: str
    admin: bool
    ids: frozenset[str]

    @classmethod
    def of(cls, caller: Principal) -> Accessor:
        return cls(caller.user_name, caller.admin, caller.groups | {caller.id})

    @classmethod
    def of_user(cls, session: Session, user_id: str) -> Accessor | None:
        """A user or service principal as the database knows them now; None when gone or inactive."""
        user = identity.user(session, user_id)
        if user is None or not user.active:
            return None
        memberships = groups.memberships(session)
        member_of = memberships.groups_of(user_id)
        return cls(user.user_name, memberships.admins_id in member_of, member_of | {user_id})


def scope_permission(accessor: Accessor, grants: Mapping[str, str]) -> AclPermission | None:
    """The highest of the levels that `grants`, by principal id, gives; administrators manage every scope."""
    if accessor.admin:
        return AclPermission.MANAGE
    held = [AclPermission(grants[one]) for one in accessor.ids if one in grants]
    return max(held, key=list(AclPermission).index, default=None)


def may(accessor: Accessor, grants: Mapping[str, str], needed: AclPermission) -> bool:
    permission = scope_permission(accessor, grants)
    return permission is not None and permission.allows(needed)
