"""Permissions on the wire: who has which level on an object.

Source: Databricks REST reference, permissions.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, model_validator

from moorage.api.wire import ShortText, WireInput, WireOutput

_MOST_ENTRIES = 1000


class ModelLevel(StrEnum):
    """What one may have on a registered model, lowest first."""

    CAN_READ = "CAN_READ"
    CAN_EDIT = "CAN_EDIT"
    CAN_MANAGE_STAGING_VERSIONS = "CAN_MANAGE_STAGING_VERSIONS"
    CAN_MANAGE_PRODUCTION_VERSIONS = "CAN_MANAGE_PRODUCTION_VERSIONS"
    CAN_MANAGE = "CAN_MANAGE"

    def allows(self, needed: ModelLevel) -> bool:
        """Whether this level is `needed` or above it."""
        order = list(ModelLevel)
        return order.index(self) >= order.index(needed)


class TokensLevel(StrEnum):
    """What one may have on access tokens, lowest first."""

    CAN_USE = "CAN_USE"
    CAN_MANAGE = "CAN_MANAGE"


class AccessControlRequest(WireInput):
    """A level for one principal. `service_principal_name` is the application id."""

    user_name: ShortText | None = None
    group_name: ShortText | None = None
    service_principal_name: ShortText | None = None
    permission_level: ShortText

    @model_validator(mode="after")
    def _one_principal(self) -> AccessControlRequest:
        named = (self.user_name, self.group_name, self.service_principal_name)
        if sum(name is not None for name in named) != 1:
            raise ValueError("must name exactly one of 'user_name', 'group_name' and 'service_principal_name'")
        return self

    @property
    def principal(self) -> str:
        """The one name that is given."""
        return self.user_name or self.group_name or self.service_principal_name or ""


class ChangePermissions(WireInput):
    """Without a list it is an empty one."""

    access_control_list: Annotated[tuple[AccessControlRequest, ...], Field(max_length=_MOST_ENTRIES)] = ()


class HeldPermission(WireOutput):
    """A level that a principal has. One that is not granted on the object itself says where it comes from."""

    permission_level: str
    inherited: bool = False
    inherited_from_object: tuple[str, ...] | None = None


class AccessControlEntry(WireOutput):
    """All that one principal has on the object."""

    user_name: str | None = None
    group_name: str | None = None
    service_principal_name: str | None = None
    display_name: str | None = None
    all_permissions: tuple[HeldPermission, ...]


class ObjectPermissions(WireOutput):
    """`object_id` is a path, such as `/serving-endpoints/ID`."""

    object_id: str
    object_type: str
    access_control_list: tuple[AccessControlEntry, ...]


class LevelDescription(WireOutput):
    permission_level: str
    description: str


class PermissionLevels(WireOutput):
    """What one may have on an object."""

    permission_levels: tuple[LevelDescription, ...]
