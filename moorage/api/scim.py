"""SCIM 2.0 objects, requests and errors.

Source: RFC 7643 and 7644, and the Databricks REST reference: current user, users, groups, service principals.
"""

from __future__ import annotations

import uuid
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from moorage.api.errors import ApiError
from moorage.api.wire import ShortText, Text, WireInput, WireOutput

USER_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:Group"
SERVICE_PRINCIPAL_SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:ServicePrincipal"
LIST_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
ERROR_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:Error"

MOST_RESULTS = 10_000
"""What a page holds when the caller does not say how much, and at most; clients ask for so many."""

Document = dict[str, Any]
"""A resource as its JSON. Filters, attribute selections and PATCH work on names that come with the request."""


class ScimType(StrEnum):
    """What kind of mistake a request has. Source: RFC 7644, table 9."""

    INVALID_FILTER = "invalidFilter"
    INVALID_PATH = "invalidPath"
    INVALID_SYNTAX = "invalidSyntax"
    INVALID_VALUE = "invalidValue"
    MUTABILITY = "mutability"
    NO_TARGET = "noTarget"
    UNIQUENESS = "uniqueness"


class ScimError(ApiError):
    """A refusal in SCIM's own form, `{"schemas", "detail", "status", "scimType"}`."""

    def __init__(
        self, status: int, detail: str, scim_type: ScimType | None = None, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(detail, headers=headers)
        self.status = status
        self.scim_type = scim_type

    def body(self) -> dict[str, Any]:
        document = {"schemas": [ERROR_SCHEMA], "detail": self.message, "status": str(self.status)}
        return document if self.scim_type is None else {**document, "scimType": self.scim_type.value}


class BadScimRequest(ScimError):
    """The request cannot be understood or followed."""

    def __init__(self, scim_type: ScimType, detail: str) -> None:
        super().__init__(400, detail, scim_type)


class NotUnique(ScimError):
    def __init__(self, detail: str) -> None:
        super().__init__(409, detail, ScimType.UNIQUENESS)


class ResourceNotFound(ScimError):
    def __init__(self, resource: str, resource_id: str) -> None:
        super().__init__(404, f"{resource} with id '{resource_id}' not found.")


class Forbidden(ScimError):
    def __init__(self, detail: str) -> None:
        super().__init__(403, detail)


class PersonName(WireOutput):
    givenName: str | None = None
    familyName: str | None = None


class ComplexValue(WireOutput):
    """An element of a multi-valued attribute."""

    value: str | None = None
    display: str | None = None
    type: str | None = None
    primary: bool | None = None
    ref: str | None = Field(default=None, serialization_alias="$ref")


class ResourceMeta(WireOutput):
    resourceType: str


class ScimUser(WireOutput):
    """`groups` are of type `direct`, or `indirect` when the user is in them through another group."""

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
    externalId: str | None = None


class ScimServicePrincipal(WireOutput):
    schemas: tuple[str, ...] = (SERVICE_PRINCIPAL_SCHEMA,)
    id: str
    applicationId: str
    displayName: str
    active: bool
    groups: tuple[ComplexValue, ...]
    entitlements: tuple[ComplexValue, ...]
    roles: tuple[ComplexValue, ...]
    externalId: str | None = None


class ScimGroup(WireOutput):
    """`members` are direct; `groups` are those that it is in."""

    schemas: tuple[str, ...] = (GROUP_SCHEMA,)
    id: str
    displayName: str
    meta: ResourceMeta = ResourceMeta(resourceType="WorkspaceGroup")
    members: tuple[ComplexValue, ...]
    groups: tuple[ComplexValue, ...]
    entitlements: tuple[ComplexValue, ...]
    roles: tuple[ComplexValue, ...]
    externalId: str | None = None


class ScimList(WireOutput):
    """`Resources` is empty behind the last page, which is how clients see the end."""

    schemas: tuple[str, ...] = (LIST_SCHEMA,)
    totalResults: int
    startIndex: int
    itemsPerPage: int
    Resources: tuple[Document, ...]


def _readable(text: str) -> str:
    if any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in text):
        raise ValueError("must not contain control characters")
    if text != text.strip():
        raise ValueError("must not begin or end with a space")
    return text


def _application_id(text: str) -> str:
    try:
        parsed = str(uuid.UUID(text))
    except ValueError:
        parsed = ""
    if parsed != text.lower():
        raise ValueError("must be a UUID, such as 6a2f8f0e-3f5f-4a51-9f0b-2c1d7f9a4b11")
    return parsed


def _lower_case(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


ReadableName = Annotated[ShortText, AfterValidator(_readable)]
ApplicationId = Annotated[Text, AfterValidator(_application_id)]


class GivenName(WireInput):
    givenName: ReadableName | None = None
    familyName: ReadableName | None = None


class GivenValue(WireInput):
    """An element of a multi-valued attribute of which only the value counts: an entitlement, a role, an id."""

    value: Annotated[Text, Field(min_length=1, max_length=2048)]


class UserFields(WireInput):
    """What of a user can be changed. The user name and e-mail addresses cannot; what is said of them is ignored."""

    displayName: ReadableName | None = None
    name: GivenName | None = None
    active: bool | None = None
    entitlements: tuple[GivenValue, ...] = ()
    roles: tuple[GivenValue, ...] = ()
    externalId: ReadableName | None = None


class NewUser(UserFields):
    """`groups` are ids of groups to put the user in."""

    userName: ReadableName
    groups: tuple[GivenValue, ...] = ()


class ServicePrincipalFields(WireInput):
    """What of a service principal can be changed."""

    displayName: ReadableName | None = None
    active: bool | None = None
    entitlements: tuple[GivenValue, ...] = ()
    roles: tuple[GivenValue, ...] = ()
    externalId: ReadableName | None = None


class NewServicePrincipal(ServicePrincipalFields):
    """Without `applicationId` a new one is made."""

    applicationId: ApplicationId | None = None
    groups: tuple[GivenValue, ...] = ()


class GroupFields(WireInput):
    """`members` are ids of users, service principals and groups."""

    displayName: ReadableName
    members: tuple[GivenValue, ...] | None = None
    entitlements: tuple[GivenValue, ...] = ()
    roles: tuple[GivenValue, ...] = ()
    externalId: ReadableName | None = None


class PatchOp(StrEnum):
    ADD = "add"
    REMOVE = "remove"
    REPLACE = "replace"


class PatchOperation(WireInput):
    """`op` in any case of letters, as identity providers send it. Without `path`, `value` is an object of paths."""

    op: Annotated[PatchOp, BeforeValidator(_lower_case)]
    path: Text | None = None
    value: Any = None


class PatchRequest(WireInput):
    Operations: Annotated[tuple[PatchOperation, ...], Field(min_length=1, max_length=1000)]


class Selection(WireInput):
    """Which attributes to answer: names with commas between, such as `userName,emails.value`."""

    attributes: str | None = None
    excludedAttributes: str | None = None


class ListQuery(Selection):
    """`startIndex` counts from 1; less than 1 is 1, a negative `count` is 0."""

    filter: str | None = None
    sortBy: str | None = None
    sortOrder: Annotated[Literal["ascending", "descending"], BeforeValidator(_lower_case)] = "ascending"
    startIndex: int = 1
    count: int = MOST_RESULTS
