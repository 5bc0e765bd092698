"""JSON schemas as Gemini takes them, in `responseJsonSchema` and `parametersJsonSchema`.

Keywords that Gemini does not know are left where they are: it ignores them. Those that it knows under another name,
or refuses, are converted. Source: Gemini API reference, `GenerationConfig.responseJsonSchema`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moorage.api.errors import BadRequest
from moorage.external.exchange import Document

_DEEPEST = 64
_DROPPED = frozenset({"$schema", "$comment"})
_NAMED_SCHEMAS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_SCHEMA_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_SCHEMAS = frozenset({"items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"})
_ANNOTATIONS = frozenset({"title", "description", "default", "examples"})


def json_schema(schema: Mapping[str, Any], where: str) -> Document:
    """A copy of the schema in Gemini's form. `where` is the field that holds it.

    Raises:
        BadRequest: it is nested deeper than 64 levels.
    """
    converted: Document = _converted(schema, where, 0)
    return converted


def _converted(node: Any, where: str, depth: int) -> Any:
    if depth > _DEEPEST:
        raise BadRequest(f"'{where}' must not be nested deeper than {_DEEPEST} levels.")
    if not isinstance(node, Mapping):  # `true` and `false` are schemas too
        return node
    schema: Document = {}
    for key, value in node.items():
        if key in _DROPPED:
            continue
        if key in _NAMED_SCHEMAS and isinstance(value, Mapping):
            named = {name: _converted(one, where, depth + 1) for name, one in value.items()}
            schema["$defs" if key == "definitions" else key] = named
        elif key in _SCHEMA_LISTS and isinstance(value, list):
            schema[key] = [_converted(one, where, depth + 1) for one in value]
        elif key in _SCHEMAS:
            schema[key] = _converted(value, where, depth + 1)
        elif key == "const" and isinstance(value, str | int | float) and not isinstance(value, bool):
            schema["enum"] = [value]
        elif key == "$ref" and isinstance(value, str) and value.startswith("#/definitions/"):
            schema[key] = value.replace("#/definitions/", "#/$defs/", 1)
        else:
            schema[key] = value
    return _lone_reference(_without_all_of(schema))


def _without_all_of(schema: Document) -> Document:
    """`allOf` is not known: its members go into the schema itself where none contradicts another."""
    if not isinstance(schema.get("allOf"), list):
        return schema
    merged = {key: value for key, value in schema.items() if key != "allOf"}
    for member in schema["allOf"]:
        if not isinstance(member, Mapping) or ("$ref" in member and len(schema["allOf"]) > 1):
            return schema
        for key, value in member.items():
            held: Any = merged.get(key, value)
            if held == value or key in _ANNOTATIONS:
                merged[key] = held
            elif key == "properties" and _agree(held, value):
                merged[key] = {**held, **value}
            elif key == "required" and isinstance(held, list) and isinstance(value, list):
                merged[key] = [*held, *(name for name in value if name not in held)]
            else:
                return schema
    return merged


def _agree(some: Any, others: Any) -> bool:
    """Whether two schemas of properties say the same of those that both have."""
    if not isinstance(some, Mapping) or not isinstance(others, Mapping):
        return False
    return all(some[name] == others[name] for name in some.keys() & others.keys())


def _lone_reference(schema: Document) -> Document:
    """`$ref` is refused beside anything whose name has no `$`, so that what describes it goes around it."""
    beside = {key: value for key, value in schema.items() if not key.startswith("$")}
    if "$ref" not in schema or not beside or not beside.keys() <= _ANNOTATIONS:
        return schema
    inner = {key: value for key, value in schema.items() if key.startswith("$") and key != "$defs"}
    outer = {"$defs": schema["$defs"]} if "$defs" in schema else {}
    return {**outer, **beside, "anyOf": [inner]}
