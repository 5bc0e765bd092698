"""What is known of registered models beside MLflow's own registry: who made them, and who may do what with them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from moorage.api.permissions import ModelLevel
from moorage.control.store import permissions, privileges, registry_activities
from moorage.control.store.models import Permission, RegisteredModelOwner
from moorage.control.store.permissions import Grants, ObjectType
from moorage.control.store.privileges import Securable
from moorage.identity.model_access import ModelRights

_BATCH = 500
_ORDER = list(ModelLevel)


def rights(session: Session, name: str) -> ModelRights:
    """The owner of one model, and the levels on it as `all_rights` has them."""
    return all_rights(session, [name])[name]


def all_rights(session: Session, names: Collection[str]) -> dict[str, ModelRights]:
    """The owner of each of these models, and the levels on it: the highest of those that are granted on the model
    and those that come from privileges on it, its schema and its catalog.
    """
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
    conveyed = _conveyed(session, names)
    return {
        name: ModelRights(owners.get(name), highest([grants.get(name, {}), *conveyed[name].values()]))
        for name in names
    }


def conveyed_levels(session: Session, name: str) -> Mapping[Securable, Grants]:
    """The levels on one model that come from privileges, by what these are granted on."""
    return _conveyed(session, [name])[name]


def highest(granted: Iterable[Grants]) -> Grants:
    """The highest level of each principal in any of these."""
    found: dict[str, str] = {}
    for one in granted:
        for principal_id, level in one.items():
            known = found.get(principal_id)
            if known is None or _ORDER.index(ModelLevel(known)) < _ORDER.index(ModelLevel(level)):
                found[principal_id] = level
    return found


def record_owner(session: Session, name: str, owner_id: str) -> None:
    """The model belongs to that principal from now on."""
    session.merge(RegisteredModelOwner(name=name, owner_id=owner_id))
    session.flush()


def forget(session: Session, name: str) -> None:
    """The model is gone."""
    session.execute(delete(RegisteredModelOwner).where(RegisteredModelOwner.name == name))
    permissions.forget_object(session, ObjectType.REGISTERED_MODEL, name)
    privileges.forget(session, Securable.model(name))
    registry_activities.forget(session, name)


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
    privileges.rename(session, Securable.model(name), new_name)
    registry_activities.rename(session, name, new_name)


def _conveyed(session: Session, names: Collection[str]) -> dict[str, dict[Securable, Grants]]:
    above = {name: (Securable.model(name), *Securable.model(name).above) for name in names}
    levels = privileges.levels(privileges.held(session, {one for some in above.values() for one in some}))
    return {name: {one: levels[one] for one in some if one in levels} for name, some in above.items()}


def _batched(names: Collection[str]) -> Iterator[Sequence[str]]:
    """As many at a time as a statement may have parameters in any database."""
    ordered = list(names)
    for first in range(0, len(ordered), _BATCH):
        yield ordered[first : first + _BATCH]
