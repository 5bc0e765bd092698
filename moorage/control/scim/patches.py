"""PATCH operations on the JSON of a resource. Source: RFC 7644, section 3.5.2.

Three things are taken more generously, as identity providers and the public clients need it. An `active` or another
single value may stand in a list of one, `[{"value": "false"}]`. A `remove` of a list may carry the values to remove
instead of a condition in its path. A `replace` without a value means the empty value, because databricks-sdk leaves
out every value that is false or empty.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moorage.api.scim import BadScimRequest, Document, PatchOp, PatchOperation, ScimType
from moorage.control.scim.filters import Filter, parse_filter
from moorage.control.scim.schemas import Attribute, Change, Form, Leaf, Schema

_PATH = re.compile(r"(?P<name>[\w$-]+)(?:\[(?P<condition>.*)\])?(?:\.(?P<part>[\w$-]+))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Target:
    """What a path names; `text` is the path as it was given."""

    text: str
    attribute: Attribute
    condition: Filter | None = None
    part: Attribute | None = None


def apply(document: Document, operations: Sequence[PatchOperation], schema: Schema) -> Document:
    """`document` after all operations, each on what the one before left. Whether it is still valid is not looked at.

    Raises:
        BadScimRequest: an operation cannot be followed.
    """
    changed = copy.deepcopy(document)
    for operation in operations:
        if operation.path is not None:
            _change(changed, _target(operation.path, schema), operation.op, operation.value)
        elif operation.op is PatchOp.REMOVE:
            raise BadScimRequest(ScimType.NO_TARGET, "An operation 'remove' needs a 'path'.")
        elif not isinstance(operation.value, dict):
            raise _bad_value("Without a 'path', 'value' must be an object of attributes")
        else:
            for path, value in operation.value.items():
                _change(changed, _target(path, schema), operation.op, value)
    return changed


def _target(text: str, schema: Schema) -> _Target:
    match = _PATH.fullmatch(schema.without_urn(text).strip())
    if match is None:
        raise _bad_path(text, 'is none such as \'displayName\', \'name.givenName\' or \'members[value eq "123"]\'')
    attribute = schema.attribute(match["name"])
    if attribute is None:
        raise _bad_path(text, f"names no attribute of a {schema.resource}; there are {schema.names}")
    part = None
    if match["part"] is not None:
        part = attribute.part(match["part"])
        if part is None:
            raise _bad_path(text, f"names no part of '{attribute.name}'")
    if match["condition"] is None:
        return _Target(text, attribute, part=part)
    if attribute.form is not Form.VALUES:
        raise _bad_path(text, f"has a condition, but '{attribute.name}' is no list")

    def leaf(name: str) -> Leaf | None:
        found = attribute.part(name)
        return None if found is None else Leaf((found.name,), found.form)

    return _Target(text, attribute, parse_filter(match["condition"], leaf), part)


def _change(document: Document, target: _Target, op: PatchOp, value: Any) -> None:
    attribute = target.attribute
    if attribute.change is Change.IGNORED:
        return
    if attribute.change is Change.REFUSED:
        hint = "; change the members of the group instead" if attribute.name == "groups" else ""
        raise BadScimRequest(ScimType.MUTABILITY, f"'{attribute.name}' cannot be changed here{hint}.")
    if op is PatchOp.ADD and value is None:
        raise _bad_value(f"An operation 'add' to '{target.text}' needs a 'value'")
    if attribute.form is Form.VALUES:
        _change_values(document, target, op, value)
    elif attribute.form is Form.PARTS:
        _change_parts(document, target, op, value)
    else:
        _change_single(document, attribute, op, value)


def _change_single(document: Document, attribute: Attribute, op: PatchOp, value: Any) -> None:
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        value = value[0].get("value")
    if attribute.form is Form.BOOLEAN:
        if op is PatchOp.REMOVE:
            raise _bad_value(f"'{attribute.name}' cannot be removed, only replaced by true or false")
        document[attribute.name] = False if value is None else value
    elif op is PatchOp.REMOVE or value in (None, ""):
        document.pop(attribute.name, None)
    else:
        document[attribute.name] = value


def _change_parts(document: Document, target: _Target, op: PatchOp, value: Any) -> None:
    attribute = target.attribute
    if target.part is not None:
        inner = document.setdefault(attribute.name, {})
        _change_single(inner, target.part, op, value)
    elif op is PatchOp.REMOVE or value is None:
        document.pop(attribute.name, None)
    elif not isinstance(value, dict):
        raise _bad_value(f"The value of '{target.text}' must be an object")
    else:
        inner = document.setdefault(attribute.name, {})
        for name, one in value.items():
            part = attribute.part(name)
            if part is None:
                raise _bad_value(f"'{attribute.name}' has no part '{name}'")
            _change_single(inner, part, op, one)


def _change_values(document: Document, target: _Target, op: PatchOp, value: Any) -> None:
    name = target.attribute.name
    if target.part is not None:
        raise _bad_path(target.text, f"names a part of '{name}', of which only whole elements are added and removed")
    held: list[Document] = document.get(name, [])
    if target.condition is not None:
        if op is not PatchOp.REMOVE:
            raise _bad_path(target.text, "has a condition, which only 'remove' can have")
        document[name] = [element for element in held if not target.condition.matches(element)]
        return
    given = _elements(target, value)
    if op is PatchOp.ADD:
        document[name] = list({element["value"]: element for element in [*held, *given]}.values())
    elif op is PatchOp.REPLACE:
        document[name] = given
    elif value is None:
        document[name] = []
    else:
        leaving = {element["value"] for element in given}
        document[name] = [element for element in held if element["value"] not in leaving]


def _elements(target: _Target, value: Any) -> list[Document]:
    if value is None:
        return []
    found = []
    for element in value if isinstance(value, list) else [value]:
        text = element.get("value") if isinstance(element, dict) else element
        if not isinstance(text, str):
            raise _bad_value(
                f"The value of '{target.text}' must be a list of objects such as {{\"value\": \"123\"}}"
            )
        found.append({"value": text})
    return found


def _bad_path(path: str, reason: str) -> BadScimRequest:
    return BadScimRequest(ScimType.INVALID_PATH, f"The path '{path}' {reason}.")


def _bad_value(detail: str) -> BadScimRequest:
    return BadScimRequest(ScimType.INVALID_VALUE, f"{detail}.")
