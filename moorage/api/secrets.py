"""Secrets on the wire. Source: Databricks REST reference, secrets; databricks-sdk `SecretsAPI`."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from moorage.api.wire import ShortText, Text, WireInput, WireOutput

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")


class ScopeBackendType(StrEnum):
    DATABRICKS = "DATABRICKS"
    AZURE_KEYVAULT = "AZURE_KEYVAULT"


class AclPermission(StrEnum):
    """What one may do with a scope, each with the rights of those before it."""

    READ = "READ"
    WRITE = "WRITE"
    MANAGE = "MANAGE"

    def allows(self, needed: AclPermission) -> bool:
        order = list(AclPermission)
        return order.index(self) >= order.index(needed)


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("must be 1 to 128 characters long and hold only letters, digits, '-', '_' and '.'")
    return name


def _check_encodable(text: str) -> str:
    """Any text is a value, NUL included, as long as UTF-8 can spell it."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise PydanticCustomError("string_unicode", "Expected valid Unicode text")
    return text


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


SecretName = Annotated[str, AfterValidator(_check_name)]


class CreateScope(WireInput):
    """Without `initial_manage_principal` the caller manages the scope; `users` lets everybody."""

    scope: SecretName
    initial_manage_principal: Text | None = None
    scope_backend_type: Annotated[ScopeBackendType, BeforeValidator(_upper)] = ScopeBackendType.DATABRICKS


class DeleteScope(WireInput):
    scope: Text


class PutSecret(WireInput):
    """`bytes_value` is base64. Exactly one of the two values is to be given."""

    scope: Text
    key: SecretName
    string_value: Annotated[str, AfterValidator(_check_encodable)] | None = Field(default=None, repr=False)
    bytes_value: str | None = Field(default=None, repr=False)


class DeleteSecret(WireInput):
    scope: Text
    key: Text


class PutAcl(WireInput):
    """`principal` is a user name, the name of a group, or the application id of a service principal."""

    scope: Text
    principal: ShortText
    permission: AclPermission


class DeleteAcl(WireInput):
    scope: Text
    principal: ShortText


class SecretScopeOutput(WireOutput):
    name: str
    backend_type: ScopeBackendType


class ScopeList(WireOutput):
    scopes: tuple[SecretScopeOutput, ...]


class SecretMetadata(WireOutput):
    """`last_updated_timestamp` is milliseconds since the epoch."""

    key: str
    last_updated_timestamp: int


class SecretList(WireOutput):
    secrets: tuple[SecretMetadata, ...]


class SecretValue(WireOutput):
    """`value` is base64, whichever way the secret was given."""

    key: str
    value: str = Field(repr=False)


class AclItem(WireOutput):
    principal: str
    permission: AclPermission


class AclList(WireOutput):
    items: tuple[AclItem, ...]
