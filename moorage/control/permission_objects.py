"""What one may have permissions on: the table of object types, and how each finds its objects.

A new type is a class with what `ObjectKind` asks for, and its entry in `object_kinds`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar, Protocol

from sqlalchemy.orm import Session

from moorage.api.endpoints import PermissionLevel
from moorage.api.errors import InvalidParameterValue, PermissionDenied, ResourceDoesNotExist
from moorage.api.grants import SecurableType
from moorage.api.permissions import ModelLevel, TokensLevel
from moorage.api.routing import Principal
from moorage.control.dependencies import ControlDependencies
from moorage.control.store import endpoint_grants, endpoints, groups, legacy, permissions, registered_models
from moorage.control.store.engine import reading
from moorage.control.store.permissions import Grants, ObjectType
from moorage.identity.access import require_level
from moorage.identity.model_access import ModelRights, require_model_level

_NOBODY: Grants = MappingProxyType({})
_ROOTS_OF_SECURABLES = {
    SecurableType.CATALOG: "/catalogs/",
    SecurableType.SCHEMA: "/schemas/",
    SecurableType.FUNCTION: "/functions/",
}


@dataclass(frozen=True, slots=True)
class GovernedObject:
    """One object as its permissions see it.

    `object_id` is that of its grants, `name` the one in messages. The owner manages it without a grant, and the
    groups in `inherited`, by name, have a level from where the object is; what comes from privileges is in
    `conveyed`, by the path of what they are granted on. With `governed_by`, the path of another object, it has no
    grants of its own: those shown come from there.
    """

    object_id: str
    name: str
    owner_id: str | None
    grants: Grants
    inherited: Mapping[str, str] = field(default_factory=dict)
    governed_by: str | None = None
    conveyed: Mapping[str, Grants] = field(default_factory=dict)


class ObjectKind(Protocol):
    """A type of object. `root` is the path that its objects are at; `levels` are described, the lowest first."""

    object_type: ClassVar[ObjectType]
    root: ClassVar[str]
    levels: ClassVar[Mapping[str, str]]
    changeable: ClassVar[bool]

    def require_exists(self, identifier: str) -> None:
        """Ask whoever else knows of the object, outside of any transaction.

        Raises:
            ResourceDoesNotExist: there is none.
        """
        ...

    def find(self, session: Session, identifier: str) -> GovernedObject:
        """The object with its grants; in a transaction that writes, no other changes it meanwhile.

        Raises:
            ResourceDoesNotExist: there is none.
        """
        ...

    def require(self, caller: Principal, found: GovernedObject, *, manage: bool) -> None:
        """Whether the caller may manage the object, or at least see it.

        Raises:
            PermissionDenied: not so.
        """
        ...

    def replaced(self, session: Session, caller: Principal, found: GovernedObject) -> None:
        """The caller has set all grants anew."""
        ...

    def committed(self, found: GovernedObject) -> None:
        """Grants were changed and are in the database."""
        ...


def object_kinds(deps: ControlDependencies) -> dict[str, ObjectKind]:
    """Object types as they are spelled in paths."""
    serving_endpoints = ServingEndpoints(deps)
    return {
        "serving-endpoints": serving_endpoints,
        "servingendpoints": serving_endpoints,
        "registered-models": RegisteredModels(deps),
        "authorization": Tokens(),
    }


@dataclass(frozen=True, slots=True)
class ServingEndpoints:
    """Serving endpoints, by id or by name."""

    deps: ControlDependencies

    object_type: ClassVar = ObjectType.SERVING_ENDPOINT
    root: ClassVar = "/serving-endpoints/"
    changeable: ClassVar = True
    levels: ClassVar[Mapping[str, str]] = {
        PermissionLevel.CAN_VIEW: "Can view the endpoint, its logs and its metrics",
        PermissionLevel.CAN_QUERY: "Can view and query the endpoint",
        PermissionLevel.CAN_MANAGE: "Can view, query, change and delete the endpoint, and manage its permissions",
    }

    def require_exists(self, identifier: str) -> None:
        """Nobody else knows of endpoints."""

    def find(self, session: Session, identifier: str) -> GovernedObject:
        endpoint = endpoints.find_by_id(session, identifier) or endpoints.find_for_change(session, identifier)
        if endpoint is None:
            raise ResourceDoesNotExist(f"Endpoint with id or name '{identifier}' not found.")
        served = legacy.of_endpoint(session, endpoint.id)
        if served is not None:
            rights = registered_models.rights(session, served.registered_model_name)
            where = f"{RegisteredModels.root}{served.registered_model_name}"
            grants = endpoint_grants.of_model(session, rights)
            return GovernedObject(endpoint.id, endpoint.name, rights.owner_id, grants, governed_by=where)
        grants = permissions.grants(session, self.object_type, endpoint.id)
        return GovernedObject(endpoint.id, endpoint.name, endpoint.creator_id, grants)

    def require(self, caller: Principal, found: GovernedObject, *, manage: bool) -> None:
        needed = PermissionLevel.CAN_MANAGE if manage else PermissionLevel.CAN_VIEW
        grants = {**found.grants, found.owner_id: PermissionLevel.CAN_MANAGE} if found.owner_id else found.grants
        require_level(caller, found.name, grants, needed)

    def replaced(self, session: Session, caller: Principal, found: GovernedObject) -> None:
        """An endpoint stays its creator's."""

    def committed(self, found: GovernedObject) -> None:
        self.deps.notifier.endpoint_changed(found.object_id)


@dataclass(frozen=True, slots=True)
class RegisteredModels:
    """Models of MLflow's registry, by name. Everybody may read one that has no owner, until its grants are set."""

    deps: ControlDependencies

    object_type: ClassVar = ObjectType.REGISTERED_MODEL
    root: ClassVar = "/registered-models/"
    changeable: ClassVar = True
    levels: ClassVar[Mapping[str, str]] = {
        ModelLevel.CAN_READ: "Can view the model and its versions, and serve them",
        ModelLevel.CAN_EDIT: "Can also add versions, and change descriptions and tags",
        ModelLevel.CAN_MANAGE_STAGING_VERSIONS: "Can also move versions to and from every stage but Production",
        ModelLevel.CAN_MANAGE_PRODUCTION_VERSIONS: "Can also move versions to and from Production, and set aliases",
        ModelLevel.CAN_MANAGE: "Can also rename and delete the model and its versions, and manage its permissions",
    }

    def require_exists(self, identifier: str) -> None:
        if not self.deps.registry.has_model(identifier):
            raise ResourceDoesNotExist(f"Registered model '{identifier}' not found.")

    def find(self, session: Session, identifier: str) -> GovernedObject:
        owner_id = registered_models.rights(session, identifier).owner_id
        grants = permissions.grants(session, self.object_type, identifier)
        inherited = {groups.USERS: ModelLevel.CAN_READ} if owner_id is None else {}
        conveyed = {
            f"{_ROOTS_OF_SECURABLES[securable.type]}{securable.full_name}": levels
            for securable, levels in registered_models.conveyed_levels(session, identifier).items()
        }
        return GovernedObject(identifier, identifier, owner_id, grants, inherited, conveyed=conveyed)

    def require(self, caller: Principal, found: GovernedObject, *, manage: bool) -> None:
        needed = ModelLevel.CAN_MANAGE if manage else ModelLevel.CAN_READ
        grants = registered_models.highest([found.grants, *found.conveyed.values()])
        require_model_level(caller, found.name, ModelRights(found.owner_id, grants), needed)

    def replaced(self, session: Session, caller: Principal, found: GovernedObject) -> None:
        if found.owner_id is None:
            registered_models.record_owner(session, found.object_id, caller.id)

    def committed(self, found: GovernedObject) -> None:
        """The next request to the registry goes by it, and so does the endpoint that serves the model by stage."""
        with reading(self.deps.sessions) as session:
            served = legacy.find(session, found.object_id)
        if served is not None:
            self.deps.notifier.wait_until_routed(served[1].id)


@dataclass(frozen=True, slots=True)
class Tokens:
    """The right to have access tokens: every user's, and not to be changed."""

    object_type: ClassVar = ObjectType.TOKENS
    root: ClassVar = "/authorization/"
    changeable: ClassVar = False
    levels: ClassVar[Mapping[str, str]] = {
        TokensLevel.CAN_USE: "Can create and use access tokens",
        TokensLevel.CAN_MANAGE: "Can also manage the access tokens of others",
    }

    def require_exists(self, identifier: str) -> None:
        if identifier != "tokens":
            raise InvalidParameterValue(
                f"The request object type 'authorization/{identifier}' is not recognised: it must be "
                "'authorization/tokens'"
            )

    def find(self, session: Session, identifier: str) -> GovernedObject:
        return GovernedObject(identifier, identifier, None, _NOBODY, {groups.USERS: TokensLevel.CAN_USE})

    def require(self, caller: Principal, found: GovernedObject, *, manage: bool) -> None:
        if manage and not caller.admin:
            raise PermissionDenied(f"User '{caller.user_name}' does not have CAN_MANAGE permission on tokens.")

    def replaced(self, session: Session, caller: Principal, found: GovernedObject) -> None:
        """Nothing is ever granted on tokens."""

    def committed(self, found: GovernedObject) -> None:
        """Nothing is ever granted on tokens."""
