"""Direct grants on objects, by principal id: of a user, a service principal or a group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from enum import StrEnum

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from moorage.control.store import privileges
from moorage.control.store.models import Permission


class ObjectType(StrEnum):
    """What one may have a permission on."""

    SERVING_ENDPOINT = "serving-endpoint"
    REGISTERED_MODEL = "registered-model"
    SECRET_SCOPE = "secret-scope"
    TOKENS = "tokens"


Grants = Mapping[str, str]
"""Principal id to level."""


def grants(session: Session, object_type: ObjectType, object_id: str) -> Grants:
    """The direct grants on one object."""
    rows = select(Permission.principal_id, Permission.level).where(
        Permission.object_type == object_type, Permission.object_id == object_id
    )
    return dict(session.execute(rows).all())


def all_grants(
    session: Session, object_type: ObjectType, among: Select[str] | None = None
) -> dict[str, Grants]:
    """The direct grants on every object of a type that has any, by object id; `among` selects ids of objects."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    rows = select(Permission.object_id, Permission.principal_id, Permission.level).where(
        Permission.object_type == object_type
    )
    if among is not None:
        rows = rows.where(Permission.object_id.in_(among))
    for object_id, principal_id, level in session.execute(rows):
        found[object_id][principal_id] = level
    return dict(found)


def grant(session: Session, object_type: ObjectType, object_id: str, principal_id: str, level: str) -> None:
    """Give a principal that level, in place of the one it had."""
    session.merge(
        Permission(object_type=object_type, object_id=object_id, principal_id=principal_id, level=level)
    )
    session.flush()


def revoke(session: Session, object_type: ObjectType, object_id: str, principal_ids: Collection[str]) -> None:
    """Take these principals' direct grants away."""
    session.execute(
        delete(Permission).where(
            Permission.object_type == object_type,
            Permission.object_id == object_id,
            Permission.principal_id.in_(principal_ids),
        )
    )


def forget_object(session: Session, object_type: ObjectType, object_id: str) -> None:
    """The object is gone."""
    session.execute(
        delete(Permission).where(Permission.object_type == object_type, Permission.object_id == object_id)
    )


def forget_principal(session: Session, principal_id: str) -> None:
    """The principal is gone."""
    session.execute(delete(Permission).where(Permission.principal_id == principal_id))
    privileges.forget_principal(session, principal_id)
