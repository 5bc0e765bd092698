"""SCIM 2.0 objects. Source: RFC 7643, and Databricks REST reference, current user (`Me`)."""

from __future__ import annotations

from pydantic import Field

from moorage.api.wire import WireOutput

USER_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User"


class PersonName(WireOutput):
    givenName: str
    familyName: str | None = None


class ComplexValue(WireOutput):
    """An element of a multi-valued attribute."""

    value: str | None = None
    display: str | None = None
    type: str | None = None
    primary: bool | None = None
    ref: str | None = Field(default=None, serialization_alias="$ref")


class ScimUser(WireOutput):
    schemas: tuple[str, ...] = (USER_SCHEMA,)
    id: str
    userName: str
    displayName: str
    active: bool
    name: PersonName
    emails: tuple[ComplexValue, ...]
    groups: tuple[ComplexValue, ...]
    entitlements: tuple[ComplexValue, ...]
    roles: tuple[ComplexValue, ...] = ()
