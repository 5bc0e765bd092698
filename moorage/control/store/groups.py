"""Groups: who is in them, directly and through other groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy import insert as insert_rows
from sqlalchemy.orm import Session

from moorage.control.store import permissions
from moorage.control.store.models import Group, GroupMember

ADMINS = "admins"
USERS = "users"
"""Every user and service principal is in it, without a row."""

_MOST_PARAMETERS = 500


@dataclass(frozen=True, slots=True)
class Memberships:
    """Direct memberships by member, and the two groups that every workspace has."""

    direct: dict[str, frozenset[str]]
    admins_id: str
    users_id: str

    def groups_of(self, member_id: str) -> frozenset[str]:
        """Ids of the groups that a user or service principal is in, through other groups too, and of `users`."""
        return self._above([member_id]) | self._above([self.users_id]) | {self.users_id}

    def groups_above(self, group_id: str) -> frozenset[str]:
        """Ids of the groups that a group is in, through other groups too."""
        return self._above([group_id])

    def is_admin(self, member_id: str) -> bool:
        return self.admins_id in self.groups_of(member_id)

    def _above(self, start: Iterable[str]) -> frozenset[str]:
        found: set[str] = set()
        waiting = list(start)
        while waiting:
            for group_id in self.direct.get(waiting.pop(), ()):
                if group_id not in found:
                    found.add(group_id)
                    waiting.append(group_id)
        return frozenset(found)


def memberships(session: Session) -> Memberships:
    """All of them; a workspace has few groups."""
    direct: dict[str, set[str]] = defaultdict(set)
    for group_id, member_id in session.execute(select(GroupMember.group_id, GroupMember.member_id)):
        direct[member_id].add(group_id)
    both = select(Group.display_name, Group.id).where(Group.display_name.in_((ADMINS, USERS)))
    named = dict(session.execute(both).all())
    return Memberships({one: frozenset(ids) for one, ids in direct.items()}, named[ADMINS], named[USERS])


def find(session: Session, display_name: str) -> Group | None:
    """The group of that name, which is compared without regard to case."""
    folded = display_name.casefold()
    return next((one for one in session.scalars(select(Group)) if one.display_name.casefold() == folded), None)


def group(session: Session, group_id: str) -> Group | None:
    return session.get(Group, group_id)


def all_groups(session: Session) -> Sequence[Group]:
    """The one made first in front."""
    return session.scalars(select(Group).order_by(Group.created_at, Group.id)).all()


def names_by_id(session: Session) -> dict[str, str]:
    return dict(session.execute(select(Group.id, Group.display_name)).all())


def insert(session: Session, group: Group) -> None:
    session.add(group)
    session.flush()


def remove(session: Session, group: Group) -> None:
    """Remove a group with its memberships and permissions; its members stay what they are."""
    remove_everywhere(session, group.id)
    permissions.forget_principal(session, group.id)
    session.delete(group)
    session.flush()


def member_ids(session: Session, group_id: str) -> Sequence[str]:
    """Users, service principals and groups that are in it directly."""
    rows = select(GroupMember.member_id).where(GroupMember.group_id == group_id).order_by(GroupMember.member_id)
    return session.scalars(rows).all()


def member_ids_by_group(session: Session) -> dict[str, list[str]]:
    """The direct members of every group that has any."""
    found: dict[str, list[str]] = defaultdict(list)
    for group_id, member_id in session.execute(
        select(GroupMember.group_id, GroupMember.member_id).order_by(GroupMember.member_id)
    ):
        found[group_id].append(member_id)
    return dict(found)


def add_members(session: Session, group_id: str, ids: Collection[str]) -> None:
    """Put them in; those who are in it stay."""
    missing = set(ids).difference(member_ids(session, group_id))
    if missing:
        session.execute(insert_rows(GroupMember), [{"group_id": group_id, "member_id": one} for one in missing])


def remove_members(session: Session, group_id: str, ids: Collection[str]) -> None:
    leaving = list(ids)
    for start in range(0, len(leaving), _MOST_PARAMETERS):
        some = leaving[start : start + _MOST_PARAMETERS]
        session.execute(
            delete(GroupMember).where(GroupMember.group_id == group_id, GroupMember.member_id.in_(some))
        )


def remove_everywhere(session: Session, member_id: str) -> None:
    """Take a user, service principal or group out of every group."""
    session.execute(delete(GroupMember).where(GroupMember.member_id == member_id))
