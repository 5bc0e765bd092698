"""Types of a model's signature as JSON Schema (2020-12, as OpenAPI 3.1 has it).

A schema for input describes what MLflow's parser and schema enforcement take as it is meant. They take more, such
as text for a number; a client need not know. Source of the formats: OpenAPI 3.1 and its format registry.
"""

from __future__ import annotations

import re
from typing import Any

from moorage.control.model_signature import (
    AnyType,
    ArrayType,
    MapType,
    ObjectType,
    Scalar,
    Tensor,
    Type,
    UnknownType,
)

JsonSchema = dict[str, Any]

# MLflow refuses a time with a zone, which is what `date-time` requires; a column must be of one precision; and
# only these years fit into nanoseconds since 1970.
_YEAR = "(?:16(?:7[89]|[89][0-9])|1[789][0-9]{2}|2[01][0-9]{2}|22(?:[0-5][0-9]|6[01]))"
_LEAP_YEAR = (
    "(?:16(?:8[048]|9[26])|(?:1[789]|2[01])(?:0[48]|[2468][048]|[13579][26])|2000"
    "|22(?:0[48]|[24][048]|[135][26]|60))"
)
_DAY = "(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
_TIME = "T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
DATETIME_PATTERN = f"^(?:{_YEAR}-{_DAY}|{_LEAP_YEAR}-02-29){_TIME}$"

_LOCAL_TIME: JsonSchema = {"type": "string", "format": "date-time-local"}
_SCALARS: dict[Scalar, JsonSchema] = {
    Scalar.BOOLEAN: {"type": "boolean"},
    Scalar.INTEGER: {"type": "integer", "format": "int32"},
    Scalar.LONG: {"type": "integer", "format": "int64"},
    Scalar.FLOAT: {"type": "number", "format": "float"},
    Scalar.DOUBLE: {"type": "number", "format": "double"},
    Scalar.STRING: {"type": "string"},
    Scalar.BINARY: {"type": "string", "format": "byte"},
    Scalar.DATETIME: _LOCAL_TIME,
}
_UNKNOWN: JsonSchema = {"type": "object", "format": "unknown"}
_FLOATS = {"float16": "float", "float32": "float", "float64": "double"}
_INTEGER = re.compile(r"(u?)int(8|16|32|64)")


def input_schema(kind: Type) -> JsonSchema:
    """What a request gives for a value of this type."""
    match kind:
        case Scalar.DATETIME:
            return {**_LOCAL_TIME, "pattern": DATETIME_PATTERN}
        case Scalar():
            return dict(_SCALARS[kind])
        case ArrayType(items):
            return {"type": "array", "items": input_schema(items)}
        case ObjectType(properties):
            return {
                "type": "object",
                "properties": {one.name: input_schema(one.type) for one in properties},
                "required": [one.name for one in properties if one.required],
                "additionalProperties": False,
            }
        case MapType(values):
            return {"type": "object", "additionalProperties": input_schema(values)}
        case AnyType():
            return {}
        case UnknownType():
            return dict(_UNKNOWN)


def output_schema(kind: Type, *, required: bool = True) -> JsonSchema:
    """What an answer has for a value of this type: NaN and the infinities are null, and so is what is missing."""
    match kind:
        case Scalar.FLOAT | Scalar.DOUBLE:
            return nullable(_SCALARS[kind])
        case Scalar():
            schema = dict(_SCALARS[kind])
        case ArrayType(items):
            schema = {"type": "array", "items": output_schema(items)}
        case ObjectType(properties):
            schema = {
                "type": "object",
                "properties": {one.name: output_schema(one.type, required=one.required) for one in properties},
                "required": [one.name for one in properties if one.required],
            }
        case MapType(values):
            schema = {"type": "object", "additionalProperties": output_schema(values)}
        case AnyType() | UnknownType():
            return {}
    return schema if required else nullable(schema)


def nullable(schema: JsonSchema) -> JsonSchema:
    """The schema, or null."""
    return {**schema, "type": [schema["type"], "null"]}


def input_tensor(tensor: Tensor, *, rows: bool = True) -> JsonSchema:
    """A tensor as nested arrays; without `rows` one entry along its first dimension."""
    shape = tensor.shape if rows else tensor.shape[1:]
    schema = _input_element(tensor.dtype)
    for axis, length in reversed(list(enumerate(shape))):
        schema = _array_of(schema, length)
        if axis == 0 and rows and length < 0:
            schema["minItems"] = 1
    return schema


def output_tensor(tensor: Tensor) -> JsonSchema:
    """A tensor as an answer has it."""
    schema = _input_element(tensor.dtype)
    if schema.get("type") == "number":
        schema = nullable(schema)
    schema.pop("pattern", None)
    for length in reversed(tensor.shape):
        schema = _array_of(schema, length)
    return schema


def _array_of(items: JsonSchema, length: int) -> JsonSchema:
    bounds = {"minItems": length, "maxItems": length} if length >= 0 else {}
    return {"type": "array", "items": items, **bounds}


def _input_element(dtype: str) -> JsonSchema:
    if dtype in _FLOATS:
        return {"type": "number", "format": _FLOATS[dtype]}
    if found := _INTEGER.fullmatch(dtype):
        return _integer(unsigned=bool(found[1]), bits=int(found[2]))
    if dtype == "bool":
        return {"type": "boolean"}
    if dtype.startswith("datetime64"):
        return input_schema(Scalar.DATETIME)
    if dtype in ("str", "bytes"):
        return {"type": "string"}
    return {} if dtype == "object" else dict(_UNKNOWN)


def _integer(*, unsigned: bool, bits: int) -> JsonSchema:
    """NumPy refuses what does not fit; only the two formats that OpenAPI itself has speak for themselves."""
    if not unsigned and bits in (32, 64):
        return {"type": "integer", "format": f"int{bits}"}
    if unsigned:
        return {"type": "integer", "format": f"uint{bits}", "minimum": 0, "maximum": 2**bits - 1}
    return {"type": "integer", "format": f"int{bits}", "minimum": -(2 ** (bits - 1)), "maximum": 2 ** (bits - 1) - 1}
