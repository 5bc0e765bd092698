"""What is known of registered models beside MLflow's own registry: who made them, and the grants on them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from moorage.control.store import permissions
from moorage.control.store.models import Permission, RegisteredModelOwner
from moorage.control.store.permissions import ObjectType
from moorage.identity.model_access import ModelRights

_BATCH = 500
_NOTHING = ModelRights()


def rights(session: Session, name: str) -> ModelRights:
    """The owner and the grants of one model."""
    return all_rights(session, [name])[name]


def all_rights(session: Session, names: Collection[str]) -> dict[str, ModelRights]:
    """The owner and the grants of each of these models."""
    owners: dict[str, str] = {}
    grants: dict[str, dict[str, str]] = {}
    for some in _batched(names):
        owned = select(RegisteredModelOwner.name, RegisteredModelOwner.owner_id)
        owners |= dict(session.execute(owned.where(RegisteredModelOwner.name.in_(some))).all())
        granted = select(Permission.object_id, Permission.principal_id, Permission.level).where(
            Permission.object_type == ObjectType.REGISTERED_MODEL, Permission.object_id.in_(some)
        )
        for name, principal_id, level in session.execute(granted):
            grants.setdefault(name, {})[principal_id] = level
    return {name: ModelRights(owners.get(name), grants.get(name, {})) for name in names}


def record_owner(session: Session, name: str, owner_id: str) -> None:
    """The model belongs to that principal from now on."""
    session.merge(RegisteredModelOwner(name=name, owner_id=owner_id))
    session.flush()


def forget(session: Session, name: str) -> None:
    """The model is gone."""
    session.execute(delete(RegisteredModelOwner).where(RegisteredModelOwner.name == name))
    permissions.forget_object(session, ObjectType.REGISTERED_MODEL, name)


def rename(session: Session, name: str, new_name: str) -> None:
    """The model has a new name; what another one of that name has left is forgotten."""
    forget(session, new_name)
    session.execute(
        update(RegisteredModelOwner).where(RegisteredModelOwner.name == name).values(name=new_name)
    )
    session.execute(
        update(Permission)
        .where(Permission.object_type == ObjectType.REGISTERED_MODEL, Permission.object_id == name)
        .values(object_id=new_name)
    )


def _batched(names: Collection[str]) -> Iterator[Sequence[str]]:
    """As many at a time as a statement may have parameters in any database."""
    ordered = list(names)
    for first in range(0, len(ordered), _BATCH):
        yield ordered[first : first + _BATCH]
