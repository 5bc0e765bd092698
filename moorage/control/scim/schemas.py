"""The attributes of each kind of resource: how they are spelled, what they hold, and what PATCH may do to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from typing import Any

from moorage.api.scim import GROUP_SCHEMA, SERVICE_PRINCIPAL_SCHEMA, USER_SCHEMA


class Form(Enum):
    """What an attribute holds: a text, a boolean, an object of parts, or a list of such objects."""

    TEXT = auto()
    BOOLEAN = auto()
    PARTS = auto()
    VALUES = auto()


class Change(Enum):
    """What a PATCH of the attribute does."""

    MADE = auto()
    IGNORED = auto()
    REFUSED = auto()


@dataclass(frozen=True)
class Attribute:
    name: str
    form: Form = Form.TEXT
    parts: tuple[Attribute, ...] = ()
    change: Change = Change.MADE

    def part(self, name: str) -> Attribute | None:
        """The part of that name, which is compared without regard to case."""
        return next((part for part in self.parts if part.name.lower() == name.lower()), None)


@dataclass(frozen=True)
class Leaf:
    """The way to texts or booleans in a resource: `userName`, `name.givenName`, or `value` of each of `emails`."""

    path: tuple[str, ...]
    form: Form

    def values(self, document: Mapping[str, Any]) -> Iterator[Any]:
        """What a resource, or an element of one of its lists, has there."""
        found: list[Any] = [document]
        for name in self.path:
            inner = [one.get(name) for one in found]
            found = [one for held in inner for one in (held if isinstance(held, list) else [held])]
            found = [one for one in found if one is not None]
        return iter(found)


@dataclass(frozen=True)
class Schema:
    """A kind of resource. `urn` may stand before the names of its attributes."""

    resource: str
    urn: str
    attributes: tuple[Attribute, ...]

    def attribute(self, name: str) -> Attribute | None:
        """The attribute of that name, which is compared without regard to case."""
        return self._by_name.get(name.lower())

    def leaf(self, path: str) -> Leaf | None:
        """The leaf that a filter or sort order names; of a list without a part its `value` is meant."""
        name, dot, part_name = self.without_urn(path).partition(".")
        attribute = self.attribute(name)
        if attribute is None:
            return None
        if not dot and attribute.form in (Form.TEXT, Form.BOOLEAN):
            return Leaf((attribute.name,), attribute.form)
        part = attribute.part(part_name if dot else "value")
        return None if part is None else Leaf((attribute.name, part.name), part.form)

    def without_urn(self, path: str) -> str:
        prefix = f"{self.urn}:"
        return path[len(prefix) :] if path.lower().startswith(prefix.lower()) else path

    @property
    def names(self) -> str:
        """For messages."""
        return ", ".join(attribute.name for attribute in self.attributes)

    @cached_property
    def _by_name(self) -> dict[str, Attribute]:
        return {attribute.name.lower(): attribute for attribute in self.attributes}


_VALUE = Attribute("value")
_REFERENCE = (_VALUE, Attribute("display"), Attribute("type"), Attribute("$ref"))

_ID = Attribute("id", change=Change.IGNORED)
_SCHEMAS = Attribute("schemas", Form.VALUES, change=Change.IGNORED)
_DISPLAY_NAME = Attribute("displayName")
_EXTERNAL_ID = Attribute("externalId")
_ACTIVE = Attribute("active", Form.BOOLEAN)
_ENTITLEMENTS = Attribute("entitlements", Form.VALUES, (_VALUE,))
_ROLES = Attribute("roles", Form.VALUES, (_VALUE,))
# Ignoring it would leave its sender in the belief that somebody is in a group.
_GROUPS = Attribute("groups", Form.VALUES, _REFERENCE, Change.REFUSED)

USER = Schema(
    "User",
    USER_SCHEMA,
    (
        _ID,
        _SCHEMAS,
        Attribute("userName", change=Change.IGNORED),
        _DISPLAY_NAME,
        _ACTIVE,
        Attribute("name", Form.PARTS, (Attribute("givenName"), Attribute("familyName"))),
        Attribute(
            "emails",
            Form.VALUES,
            (_VALUE, Attribute("type"), Attribute("display"), Attribute("primary", Form.BOOLEAN)),
            Change.IGNORED,
        ),
        _GROUPS,
        _ENTITLEMENTS,
        _ROLES,
        _EXTERNAL_ID,
    ),
)

SERVICE_PRINCIPAL = Schema(
    "ServicePrincipal",
    SERVICE_PRINCIPAL_SCHEMA,
    (
        _ID,
        _SCHEMAS,
        Attribute("applicationId", change=Change.REFUSED),
        _DISPLAY_NAME,
        _ACTIVE,
        _GROUPS,
        _ENTITLEMENTS,
        _ROLES,
        _EXTERNAL_ID,
    ),
)

GROUP = Schema(
    "Group",
    GROUP_SCHEMA,
    (
        _ID,
        _SCHEMAS,
        _DISPLAY_NAME,
        Attribute("members", Form.VALUES, _REFERENCE),
        Attribute("meta", Form.PARTS, (Attribute("resourceType"),), Change.IGNORED),
        _GROUPS,
        _ENTITLEMENTS,
        _ROLES,
        _EXTERNAL_ID,
    ),
)
