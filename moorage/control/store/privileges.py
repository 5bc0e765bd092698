"""Privileges on catalogs, schemas and models, by principal id: of a user, a service principal or a group.

Catalogs and schemas are prefixes of models' names, and exist nowhere else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from moorage.api.grants import Privilege, SecurableType
from moorage.api.permissions import ModelLevel
from moorage.api.routing import Principal
from moorage.control.store.models import Group, PrivilegeGrant, User

_BATCH = 500  # as many at a time as a statement may have parameters in any database
_ORDER = list(ModelLevel)


@dataclass(frozen=True, slots=True)
class Securable:
    """What privileges are granted on. `full_name` is `main`, `main.default`, or the name of any model."""

    type: SecurableType
    full_name: str

    @staticmethod
    def model(name: str) -> Securable:
        return Securable(SecurableType.FUNCTION, name)

    @property
    def above(self) -> tuple[Securable, ...]:
        """The schema and the catalog that it lies in; a model whose name has not three parts lies in none."""
        parts = self.full_name.split(".")
        if self.type is SecurableType.CATALOG:
            return ()
        catalog = Securable(SecurableType.CATALOG, parts[0])
        if self.type is SecurableType.SCHEMA:
            return (catalog,)
        if len(parts) != 3 or not all(parts):
            return ()
        return Securable(SecurableType.SCHEMA, f"{parts[0]}.{parts[1]}"), catalog


Held = Mapping[Securable, Mapping[str, frozenset[Privilege]]]
"""By securable and principal id. Securables on which nothing is granted are left out."""


def held(session: Session, securables: Collection[Securable]) -> Held:
    """What is granted on each of these, not above them; in a few queries for a thousand of them."""
    found: dict[Securable, dict[str, frozenset[Privilege]]] = {}
    for some in _batched({one.full_name for one in securables}):
        rows = select(
            PrivilegeGrant.securable_type,
            PrivilegeGrant.full_name,
            PrivilegeGrant.principal_id,
            PrivilegeGrant.privilege,
        ).where(PrivilegeGrant.full_name.in_(some))
        for securable_type, full_name, principal_id, privilege in session.execute(rows):
            granted = found.setdefault(Securable(SecurableType(securable_type), full_name), {})
            granted[principal_id] = granted.get(principal_id, frozenset()) | {Privilege(privilege)}
    wanted = set(securables)
    return {one: granted for one, granted in found.items() if one in wanted}


def held_by(principal: Principal, granted: Held) -> frozenset[Privilege]:
    """Those that the caller has, themselves or through their groups."""
    mine = (principal.id, *principal.groups)
    return frozenset().union(*(one.get(each, frozenset()) for one in granted.values() for each in mine))


def levels(granted: Held) -> dict[Securable, dict[str, ModelLevel]]:
    """What the privileges are on each model that they hold for, by securable and principal id."""
    return {
        securable: {
            principal_id: max(found, key=_ORDER.index)
            for principal_id, privileges in by_principal.items()
            if (found := [one.level for one in privileges if one.level is not None])
        }
        for securable, by_principal in granted.items()
    }


def principal_names(session: Session, securables: Collection[Securable]) -> dict[str, str]:
    """How clients name the principals to whom anything is granted on these, by id."""
    rows = (
        select(PrivilegeGrant.principal_id, func.coalesce(User.user_name, Group.display_name))
        .outerjoin(User, User.id == PrivilegeGrant.principal_id)
        .outerjoin(Group, Group.id == PrivilegeGrant.principal_id)
        .where(PrivilegeGrant.full_name.in_({one.full_name for one in securables}))
        .distinct()
    )
    return {principal_id: name for principal_id, name in session.execute(rows) if name is not None}


def grant(session: Session, securable: Securable, principal_id: str, privileges: Collection[Privilege]) -> None:
    """Give a principal these privileges beside those that it has."""
    has = held(session, [securable]).get(securable, {}).get(principal_id, frozenset())
    if missing := [one for one in privileges if one not in has]:
        row = {"securable_type": securable.type, "full_name": securable.full_name, "principal_id": principal_id}
        session.execute(insert(PrivilegeGrant), [{**row, "privilege": one} for one in dict.fromkeys(missing)])


def revoke(session: Session, securable: Securable, principal_id: str, privileges: Collection[Privilege]) -> None:
    """Take these privileges away from a principal, those of them that it has."""
    session.execute(
        delete(PrivilegeGrant).where(
            PrivilegeGrant.securable_type == securable.type,
            PrivilegeGrant.full_name == securable.full_name,
            PrivilegeGrant.principal_id == principal_id,
            PrivilegeGrant.privilege.in_(privileges),
        )
    )


def forget(session: Session, securable: Securable) -> None:
    """The securable is gone."""
    session.execute(
        delete(PrivilegeGrant).where(
            PrivilegeGrant.securable_type == securable.type, PrivilegeGrant.full_name == securable.full_name
        )
    )


def rename(session: Session, securable: Securable, new_name: str) -> None:
    """The securable has a new name, on which nothing is granted yet."""
    session.execute(
        update(PrivilegeGrant)
        .where(PrivilegeGrant.securable_type == securable.type, PrivilegeGrant.full_name == securable.full_name)
        .values(full_name=new_name)
    )


def forget_principal(session: Session, principal_id: str) -> None:
    """The principal is gone."""
    session.execute(delete(PrivilegeGrant).where(PrivilegeGrant.principal_id == principal_id))


def _batched(names: Collection[str]) -> Iterator[list[str]]:
    ordered = list(names)
    for first in range(0, len(ordered), _BATCH):
        yield ordered[first : first + _BATCH]
