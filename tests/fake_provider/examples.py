"""Values that satisfy a JSON schema (also in Google's spelling), always the same ones for the same schema."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_DEEPEST = 12
_FORMATS = {
    "date-time": "2024-02-29T12:00:00Z",
    "date": "2024-02-29",
    "time": "12:00:00Z",
    "duration": "P1D",
    "email": "ada@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uuid": "123e4567-e89b-42d3-a456-426614174000",
    "uri": "https://example.com/",
}


def example(schema: Any) -> Any:
    """A value for the schema, with all of an object's properties. Patterns are not looked at."""
    return _value(schema, schema if isinstance(schema, dict) else {}, "value", 0)


def _value(schema: Any, root: Mapping[str, Any], name: str, depth: int) -> Any:
    if not isinstance(schema, dict):
        return name
    if "$ref" in schema or "ref" in schema:
        return _value(_resolve(schema.get("$ref") or schema["ref"], root), root, name, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for union in ("anyOf", "oneOf"):
        if schema.get(union):
            options = schema[union]
            # Deep down the shortest way out ends a schema that refers to itself.
            chosen = next((o for o in options if o.get("type") == "null"), options[0]) if depth > 6 else options[0]
            return _value(chosen, root, name, depth + 1)
    if schema.get("allOf"):
        merged = _merge([_resolve(p["$ref"], root) if "$ref" in p else p for p in schema["allOf"]])
        return _value({**{k: v for k, v in schema.items() if k != "allOf"}, **merged}, root, name, depth + 1)
    return _of_type(_type(schema), schema, root, name, depth)


def _of_type(kind: str, schema: Mapping[str, Any], root: Mapping[str, Any], name: str, depth: int) -> Any:
    if kind == "object":
        properties = schema.get("properties") or {}
        wanted = properties if depth < _DEEPEST else {k: properties[k] for k in schema.get("required", ())}
        return {key: _value(inner, root, key, depth + 1) for key, inner in wanted.items()}
    if kind == "array":
        if "prefixItems" in schema:
            return [_value(inner, root, name, depth + 1) for inner in schema["prefixItems"]]
        count = max(int(schema.get("minItems", 0)), min(1, int(schema.get("maxItems", 1)), int(depth < _DEEPEST)))
        return [_value(schema.get("items", {}), root, f"{name} {i + 1}", depth + 1) for i in range(count)]
    if kind in ("integer", "number"):
        return _number(schema, whole=kind == "integer")
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    chosen = _FORMATS.get(str(schema.get("format")), name)
    return chosen.ljust(int(schema.get("minLength", 0)), "x")[: int(schema.get("maxLength", 1_000_000))]


def _type(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind is None:
        return "object" if "properties" in schema else "array" if "items" in schema else "string"
    return str(kind).lower()


def _number(schema: Mapping[str, Any], *, whole: bool) -> float:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    step = schema.get("multipleOf", 1 if whole else 0.5)
    value = low if low is not None else (min(7, high) if high is not None else 7)
    value = math.ceil(value / step) * step
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        value += step
    while (high is not None and value > high) or (
        "exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"]
    ):
        value -= step
    return int(value) if whole else float(value)


def _resolve(reference: str, root: Mapping[str, Any]) -> Any:
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found[part] if reference != "#" else found
    return found


def _merge(parts: list[Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            if key == "properties":
                merged[key] = {**merged.get(key, {}), **value}
            elif key == "required":
                merged[key] = [*merged.get(key, []), *value]
            else:
                merged[key] = value
    return merged
