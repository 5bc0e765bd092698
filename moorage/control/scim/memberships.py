"""The groups that a user, service principal or group is in, as its document shows them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy.orm import Session

from moorage.api.scim import BadScimRequest, ComplexValue, ScimType
from moorage.control.store import groups
from moorage.control.store.groups import Memberships


@dataclass(frozen=True, slots=True)
class GroupView:
    """All memberships, with the groups' names."""

    memberships: Memberships
    names: dict[str, str]

    def of_principal(self, principal_id: str) -> tuple[ComplexValue, ...]:
        direct = {*self.memberships.direct.get(principal_id, ()), self.memberships.users_id}
        return self._values(self.memberships.groups_of(principal_id), direct)

    def of_group(self, group_id: str) -> tuple[ComplexValue, ...]:
        return self._values(
            self.memberships.groups_above(group_id), self.memberships.direct.get(group_id, frozenset())
        )

    def _values(self, group_ids: Collection[str], direct: Collection[str]) -> tuple[ComplexValue, ...]:
        """By name."""
        return tuple(
            ComplexValue(
                display=self.names[one],
                value=one,
                type="direct" if one in direct else "indirect",
                ref=f"Groups/{one}",
            )
            for one in sorted(group_ids, key=self.names.__getitem__)
        )


def group_view(session: Session) -> GroupView:
    return GroupView(groups.memberships(session), groups.names_by_id(session))


def join_groups(session: Session, principal_id: str, group_ids: Collection[str]) -> None:
    """Put a new user or service principal into these groups; everybody is in `users` anyway.

    Raises:
        BadScimRequest: there is no such group.
    """
    view = group_view(session)
    for group_id in group_ids:
        if group_id not in view.names:
            raise BadScimRequest(
                ScimType.INVALID_VALUE, f"Invalid value for 'groups': there is no group with id '{group_id}'"
            )
        if group_id != view.memberships.users_id:
            groups.add_members(session, group_id, [principal_id])
