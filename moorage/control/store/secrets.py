"""Rows of secret scopes and secrets, and the names of the principals in their grants."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from moorage.control.store import groups, identity, permissions
from moorage.control.store.models import Group, Secret, SecretScope, User
from moorage.control.store.permissions import ObjectType


def scopes(session: Session) -> Sequence[SecretScope]:
    """By name."""
    return session.scalars(select(SecretScope).order_by(SecretScope.name)).all()


def scope(session: Session, name: str) -> SecretScope | None:
    return session.get(SecretScope, name)


def count_scopes(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(SecretScope)) or 0


def insert_scope(session: Session, row: SecretScope) -> None:
    session.add(row)
    session.flush()


def delete_scope(session: Session, name: str) -> None:
    """The scope, its secrets and the grants on it."""
    session.execute(delete(SecretScope).where(SecretScope.name == name))
    permissions.forget_object(session, ObjectType.SECRET_SCOPE, name)


def secrets(session: Session, scope_name: str) -> Sequence[tuple[str, int]]:
    """Key and time of the last change of each secret in a scope, by key."""
    rows = select(Secret.key, Secret.last_updated_timestamp).where(Secret.scope == scope_name).order_by(Secret.key)
    return [(key, timestamp) for key, timestamp in session.execute(rows)]


def secret(session: Session, scope_name: str, key: str) -> Secret | None:
    return session.get(Secret, (scope_name, key))


def has_secret(session: Session, scope_name: str, key: str) -> bool:
    found = select(Secret.key).where(Secret.scope == scope_name, Secret.key == key)
    return session.scalar(found) is not None


def count_secrets(session: Session, scope_name: str) -> int:
    return session.scalar(select(func.count()).select_from(Secret).where(Secret.scope == scope_name)) or 0


def put_secret(session: Session, row: Secret) -> None:
    """Write it, in place of the one of that key."""
    session.merge(row)
    session.flush()


def delete_secret(session: Session, row: Secret) -> None:
    session.delete(row)
    session.flush()


def principal_id(session: Session, name: str) -> str | None:
    """Id of the user, service principal or group of that name; a user comes before a group."""
    user = identity.find_user(session, name)
    if user is not None:
        return user.id
    group = groups.find(session, name)
    return group.id if group is not None else None


def principal_names(session: Session, ids: Collection[str]) -> dict[str, str]:
    """User names, application ids and group names, by id; ids of nobody are left out."""
    named = dict(session.execute(select(Group.id, Group.display_name).where(Group.id.in_(ids))).all())
    named.update(session.execute(select(User.id, User.user_name).where(User.id.in_(ids))).all())
    return named
