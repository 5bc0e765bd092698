"""What the API does with permissions on objects. What an object type is, `permission_objects` says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from moorage.api.errors import InvalidParameterValue, NotImplementedHere, ResourceDoesNotExist
from moorage.api.permissions import (
    AccessControlEntry,
    AccessControlRequest,
    ChangePermissions,
    HeldPermission,
    LevelDescription,
    ObjectPermissions,
    PermissionLevels,
)
from moorage.api.routing import Principal, PrincipalKind
from moorage.control.dependencies import ControlDependencies
from moorage.control.permission_objects import GovernedObject, ObjectKind
from moorage.control.store import groups, identity
from moorage.control.store import permissions as store
from moorage.control.store.engine import reading
from moorage.control.store.models import Group, User

_MANAGE = "CAN_MANAGE"


@dataclass(frozen=True, slots=True)
class PermissionService:
    """Every method raises, besides what it says:

    InvalidParameterValue: the object type is none of `kinds`.
    ResourceDoesNotExist: there is no such object.
    PermissionDenied: the caller may not manage it; for its levels, not even see it.
    TemporarilyUnavailable: the model registry does not answer.
    """

    deps: ControlDependencies
    kinds: Mapping[str, ObjectKind]

    def get(self, caller: Principal, object_type: str, identifier: str) -> ObjectPermissions:
        """Who has which level on the object."""
        kind = self._kind(object_type)
        kind.require_exists(identifier)
        with reading(self.deps.sessions) as session:
            found = kind.find(session, identifier)
            kind.require(caller, found, manage=True)
            return _shown(session, kind, found)

    def levels(self, caller: Principal, object_type: str, identifier: str) -> PermissionLevels:
        """What one may have on the object."""
        kind = self._kind(object_type)
        kind.require_exists(identifier)
        with reading(self.deps.sessions) as session:
            kind.require(caller, kind.find(session, identifier), manage=False)
        described = (LevelDescription(permission_level=one, description=words) for one, words in kind.levels.items())
        return PermissionLevels(permission_levels=tuple(described))

    def replace(
        self, caller: Principal, object_type: str, identifier: str, request: ChangePermissions
    ) -> ObjectPermissions:
        """Make these the only direct grants. The owner's right is none of them and stays.

        Raises:
            ResourceDoesNotExist: a principal is unknown.
            InvalidParameterValue: a level is none of the object's, or a principal is named twice.
            NotImplementedHere: grants on this object cannot be changed.
        """
        return self._change(caller, object_type, identifier, request, anew=True)

    def update(
        self, caller: Principal, object_type: str, identifier: str, request: ChangePermissions
    ) -> ObjectPermissions:
        """Give these principals these levels in place of those that they had; raises as `replace` does."""
        return self._change(caller, object_type, identifier, request, anew=False)

    def _change(
        self, caller: Principal, object_type: str, identifier: str, request: ChangePermissions, *, anew: bool
    ) -> ObjectPermissions:
        kind = self._kind(object_type)
        kind.require_exists(identifier)
        with self.deps.sessions.begin() as session:
            found = kind.find(session, identifier)
            kind.require(caller, found, manage=True)
            if not kind.changeable:
                raise NotImplementedHere(f"Permissions on '{kind.root}{found.name}' cannot be changed on this server")
            if found.governed_by is not None:
                raise InvalidParameterValue(
                    f"Permissions on '{kind.root}{found.name}' are those on '{found.governed_by}': change them there"
                )
            wanted = _resolved(session, kind, request)
            if anew:
                store.forget_object(session, kind.object_type, found.object_id)
                kind.replaced(session, caller, found)
            found = kind.find(session, identifier)
            for principal_id, level in wanted.items():
                if principal_id != found.owner_id:
                    store.grant(session, kind.object_type, found.object_id, principal_id, level)
            found = kind.find(session, identifier)
            answer = _shown(session, kind, found)
        kind.committed(found)
        return answer

    def _kind(self, object_type: str) -> ObjectKind:
        kind = self.kinds.get(object_type)
        if kind is None:
            raise InvalidParameterValue(
                f"The request object type '{object_type}' is not recognised: it must be one of "
                f"{', '.join(repr(one) for one in self.kinds)}"
            )
        return kind


def _resolved(session: Session, kind: ObjectKind, request: ChangePermissions) -> dict[str, str]:
    """Levels by principal id."""
    wanted: dict[str, str] = {}
    for number, entry in enumerate(request.access_control_list):
        where = f"access_control_list[{number}]"
        if entry.permission_level not in kind.levels:
            raise InvalidParameterValue(
                f"Invalid value for '{where}.permission_level': must be one of {', '.join(kind.levels)}"
            )
        principal_id = _principal_id(session, entry)
        if principal_id is None:
            raise ResourceDoesNotExist(f"Principal: {entry.principal} does not exist.")
        if principal_id in wanted:
            raise InvalidParameterValue(f"Invalid value for '{where}': '{entry.principal}' is in the list already")
        wanted[principal_id] = entry.permission_level
    return wanted


def _principal_id(session: Session, entry: AccessControlRequest) -> str | None:
    if entry.group_name is not None:
        group = groups.find(session, entry.group_name)
        return group.id if group is not None else None
    kind = PrincipalKind.USER if entry.user_name is not None else PrincipalKind.SERVICE_PRINCIPAL
    user = identity.find_user(session, entry.principal)
    return user.id if user is not None and user.kind == kind else None


def _shown(session: Session, kind: ObjectKind, found: GovernedObject) -> ObjectPermissions:
    """With what the owner, the administrators and others have without a grant; principals that are gone left out."""
    held: dict[str, list[HeldPermission]] = defaultdict(list)
    if found.owner_id is not None:
        held[found.owner_id].append(HeldPermission(permission_level=_MANAGE))
    for principal_id, level in found.grants.items():
        if found.governed_by is None:
            held[principal_id].append(HeldPermission(permission_level=level))
        elif principal_id != found.owner_id:
            source = (found.governed_by,)
            held[principal_id].append(
                HeldPermission(permission_level=level, inherited=True, inherited_from_object=source)
            )
    for path, levels in found.conveyed.items():
        for principal_id, level in levels.items():
            held[principal_id].append(
                HeldPermission(permission_level=level, inherited=True, inherited_from_object=(path,))
            )
    for group_name, level in {groups.ADMINS: _MANAGE, **found.inherited}.items():
        group = groups.find(session, group_name)
        if group is not None:
            inherited = HeldPermission(permission_level=level, inherited=True, inherited_from_object=(kind.root,))
            held[group.id].append(inherited)
    return ObjectPermissions(
        object_id=f"{kind.root}{found.object_id}",
        object_type=kind.object_type,
        access_control_list=tuple(_entries(session, held)),
    )


def _entries(session: Session, held: Mapping[str, list[HeldPermission]]) -> Iterable[AccessControlEntry]:
    """Users first, then service principals, then groups, by name."""
    by_name = select(User).where(User.id.in_(list(held))).order_by(User.kind.desc(), User.user_name)
    for user in session.scalars(by_name).all():
        person = user.kind == PrincipalKind.USER
        yield AccessControlEntry(
            user_name=user.user_name if person else None,
            service_principal_name=None if person else user.user_name,
            display_name=user.display_name or user.user_name,
            all_permissions=tuple(held[user.id]),
        )
    for group in session.scalars(select(Group).where(Group.id.in_(list(held))).order_by(Group.display_name)).all():
        yield AccessControlEntry(group_name=group.display_name, all_permissions=tuple(held[group.id]))
