"""Grants on Unity Catalog securables on the wire: who has which privilege on a catalog, a schema or a model.

Source: Databricks REST reference, Unity Catalog grants and privileges.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from moorage.api.permissions import ModelLevel
from moorage.api.wire import ShortText, WireInput, WireOutput

_MOST_CHANGES = 1000
_MOST_PRIVILEGES = 100


class SecurableType(StrEnum):
    """What one may have a privilege on. Registered models are functions to Unity Catalog."""

    CATALOG = "CATALOG"
    SCHEMA = "SCHEMA"
    FUNCTION = "FUNCTION"


class Privilege(StrEnum):
    """What may be granted on a securable."""

    EXECUTE = "EXECUTE"
    APPLY_TAG = "APPLY_TAG"
    CREATE_MODEL_VERSION = "CREATE_MODEL_VERSION"
    CREATE_MODEL = "CREATE_MODEL"
    USE_CATALOG = "USE_CATALOG"
    USE_SCHEMA = "USE_SCHEMA"
    BROWSE = "BROWSE"
    MANAGE = "MANAGE"
    ALL_PRIVILEGES = "ALL_PRIVILEGES"

    @property
    def level(self) -> ModelLevel | None:
        """What it is on each model that it holds for; None for those that let nobody do anything with a model."""
        return _LEVELS.get(self)


_LEVELS = {
    Privilege.EXECUTE: ModelLevel.CAN_READ,
    Privilege.APPLY_TAG: ModelLevel.CAN_EDIT,
    Privilege.CREATE_MODEL_VERSION: ModelLevel.CAN_EDIT,
    Privilege.MANAGE: ModelLevel.CAN_MANAGE,
    Privilege.ALL_PRIVILEGES: ModelLevel.CAN_MANAGE,
}
_OF_MODELS = tuple(_LEVELS)
_OF_SCHEMAS = (Privilege.CREATE_MODEL, Privilege.USE_SCHEMA, Privilege.BROWSE, *_OF_MODELS)
APPLICABLE = {
    SecurableType.CATALOG: (Privilege.USE_CATALOG, *_OF_SCHEMAS),
    SecurableType.SCHEMA: _OF_SCHEMAS,
    SecurableType.FUNCTION: _OF_MODELS,
}
"""The privileges that may be granted on each type."""


class PermissionsChange(WireInput):
    """What one principal gets and loses. `principal` is a user name, an application id or a group's name."""

    principal: ShortText
    add: Annotated[tuple[ShortText, ...], Field(max_length=_MOST_PRIVILEGES)] = ()
    remove: Annotated[tuple[ShortText, ...], Field(max_length=_MOST_PRIVILEGES)] = ()


class UpdatePermissions(WireInput):
    """Changes, made one after the other, all of them or none."""

    changes: Annotated[tuple[PermissionsChange, ...], Field(max_length=_MOST_CHANGES)] = ()
    omit_permissions_in_response: bool = False


class PrivilegeAssignment(WireOutput):
    """What is granted to one principal on the securable itself."""

    principal: str
    privileges: tuple[Privilege, ...]


class Permissions(WireOutput):
    """A page of assignments; `privilege_assignments` is None where the caller did not want to know them."""

    privilege_assignments: tuple[PrivilegeAssignment, ...] | None = None
    next_page_token: str | None = None


class EffectivePrivilege(WireOutput):
    """A privilege, and what it comes from where that is not the securable itself."""

    privilege: Privilege
    inherited_from_type: SecurableType | None = None
    inherited_from_name: str | None = None


class EffectivePrivilegeAssignment(WireOutput):
    """What one principal has on the securable, granted there or above it."""

    principal: str
    privileges: tuple[EffectivePrivilege, ...]


class EffectivePermissions(WireOutput):
    """A page of assignments."""

    privilege_assignments: tuple[EffectivePrivilegeAssignment, ...]
    next_page_token: str | None = None


class EffectivePrivilegeAssignments(WireOutput):
    """A page of assignments, as the route has it that always answers in pages."""

    effective_privilege_assignments: tuple[EffectivePrivilegeAssignment, ...]
    next_page_token: str | None = None
