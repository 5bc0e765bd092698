"""How an endpoint may be queried, as an OpenAPI 3.1 document.

Source: Databricks documentation, "Get the schema for a model serving endpoint". Where its example is at odds with
itself, `columns` and the records name the same required columns: those of the signature. Its `examples` of the
split form have no `dataframe_split` around them; the whole body is the media type's `example`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moorage.control.json_types import (
    JsonSchema,
    input_schema,
    input_tensor,
    output_schema,
    output_tensor,
)
from moorage.control.model_signature import (
    ArrayType,
    Column,
    ColumnSchema,
    Fields,
    InputExample,
    MapType,
    ObjectType,
    Param,
    Scalar,
    Signature,
    Tensor,
    TensorSchema,
)

_ERROR_RESPONSE = "#/components/responses/Error"
_COMPONENTS: JsonSchema = {
    "schemas": {
        "Error": {
            "type": "object",
            "required": ["error_code", "message"],
            "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
        }
    },
    "responses": {
        "Error": {
            "description": "The request failed",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
    },
    "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
}
# A column of these must have a value in every row, or be absent: MLflow has no missing value of these types.
_NO_MISSING_VALUES = (Scalar.INTEGER, Scalar.LONG, Scalar.BINARY)


@dataclass(frozen=True, slots=True)
class ServedSignature:
    """A served entity by its name, with what its model says of its input and output."""

    served_name: str
    signature: Signature
    input_example: InputExample | None = None


def open_api_document(
    endpoint: str, config_version: int, base_url: str, served: Sequence[ServedSignature]
) -> dict[str, Any]:
    """The document for these served entities, a path each. `base_url` has no trailing slash."""
    paths = {f"/served-models/{one.served_name}/invocations": {"post": _operation(one)} for one in served}
    return document(endpoint, config_version, base_url, paths)


def document(endpoint: str, config_version: int, base_url: str, paths: dict[str, JsonSchema]) -> dict[str, Any]:
    """The document with these paths, which are relative to the endpoint's. `base_url` has no trailing slash."""
    return {
        "openapi": "3.1.0",
        "info": {"title": endpoint, "version": str(config_version)},
        "servers": [{"url": f"{base_url}/serving-endpoints/{endpoint}"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": _COMPONENTS,
    }


def operation(request: JsonSchema, answer: JsonSchema) -> JsonSchema:
    """A query: the media type of its JSON body, and those of an answer by their names."""
    return {
        "requestBody": {"required": True, "content": {"application/json": request}},
        "responses": {
            "200": {"description": "Successful operation", "content": answer},
            "default": {"$ref": _ERROR_RESPONSE},
        },
    }


def _operation(served: ServedSignature) -> JsonSchema:
    signature = served.signature
    media: JsonSchema = {"schema": {"oneOf": _members(signature, served.input_example)}}
    if (body := _example_body(signature, served.input_example)) is not None:
        media["example"] = body
    answer = {
        "type": "object",
        "required": ["predictions"],
        "properties": {"predictions": _predictions(signature.outputs)},
    }
    return operation(media, {"application/json": {"schema": answer}})


def _members(signature: Signature, example: InputExample | None) -> list[JsonSchema]:
    """The formats that the signature permits. Each demands its own key, so that a body is of one of them only."""
    inputs, params = signature.inputs, signature.params
    if isinstance(inputs, TensorSchema):
        members = _tensor_members(inputs.tensors, params)
    elif signature.typed_by_hints:
        return [_member("inputs", _list_of(input_schema(inputs.columns[0].type)), params)]
    else:
        members = _column_members(inputs.columns, params)
        if (split := _split_example(inputs, example)) is not None:
            members[0]["examples"] = [split]
    return members


def _member(key: str, schema: JsonSchema, params: Sequence[Param]) -> JsonSchema:
    properties = {key: schema}
    if params:
        properties["params"] = {"type": "object", "properties": {one.name: _param(one) for one in params}}
    # A body of two formats is refused, and so are the keys of language models; other keys would be ignored.
    return {"type": "object", "properties": properties, "required": [key], "additionalProperties": False}


def _param(param: Param) -> JsonSchema:
    schema = input_schema(param.type)
    if param.is_list:
        schema = {"type": "array", "items": schema}
    if param.default is not None:
        # The default is always text: the value itself where it is text, otherwise its JSON.
        schema["default"] = param.default if isinstance(param.default, str) else json.dumps(param.default)
    return schema


def _list_of(items: JsonSchema) -> JsonSchema:
    return {"type": "array", "items": items, "minItems": 1}


def _column_members(columns: Sequence[Column], params: Sequence[Param]) -> list[JsonSchema]:
    members = [_member("dataframe_split", _split(columns), params)]
    if all(isinstance(column.name, str) for column in columns):
        members.append(_member("dataframe_records", _records(columns), params))
    elif len(columns) == 1 and columns[0].name is None:
        kind = columns[0].type
        # What is nested becomes an array before it is checked, and base64 stays text.
        if isinstance(kind, Scalar) and kind is not Scalar.BINARY:
            members.append(_member("inputs", _list_of(input_schema(kind)), params))
    return members


def _split(columns: Sequence[Column]) -> JsonSchema:
    """All columns in the signature's order, because the types of a row go by position."""
    width = len(columns)
    row = {
        "type": "array",
        "prefixItems": [input_schema(column.type) for column in columns],
        "minItems": width,
        "maxItems": width,
    }
    properties: JsonSchema = {"data": _list_of(row)}
    # Columns without names, or with the numbers that pandas gives them, go by position alone.
    if any(isinstance(column.name, str) for column in columns):
        names = [column.name for column in columns]
        required = ", ".join(str(column.name) for column in columns if column.required)
        described = {"description": f"required fields: {required}"} if required else {}
        items: JsonSchema = {"enum": names}
        if all(isinstance(name, str) for name in names):
            items["type"] = "string"
        properties = {
            "columns": {**described, "type": "array", "items": items, "const": names},
            **properties,
        }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _records(columns: Sequence[Column]) -> JsonSchema:
    required = [column.name for column in columns if column.required]
    record: JsonSchema = {
        "type": "object",
        "properties": {column.name: input_schema(column.type) for column in columns},
    }
    if required:
        record["required"] = list(dict.fromkeys(required))
    schema = _list_of(record)
    all_or_none = [_in_all_or_none(column) for column in columns if _has_no_missing_values(column)]
    if all_or_none:
        schema["allOf"] = all_or_none
    return schema


def _has_no_missing_values(column: Column) -> bool:
    if column.required:
        return False
    return column.type in _NO_MISSING_VALUES or isinstance(column.type, ArrayType | ObjectType | MapType)


def _in_all_or_none(column: Column) -> JsonSchema:
    """Every record has the column, or none has it."""
    return {
        "anyOf": [
            {"items": {"required": [column.name]}},
            {"items": {"properties": {column.name: False}}},
        ]
    }


def _tensor_members(tensors: Sequence[Tensor], params: Sequence[Param]) -> list[JsonSchema]:
    first = tensors[0]
    if first.name is None:
        array = input_tensor(first)
        return [_member("inputs", array, params), _member("instances", array, params)]
    by_name = {tensor.name: input_tensor(tensor) for tensor in tensors}
    members = [_member("inputs", _object_of(by_name), params)]
    # An instance has one entry of each tensor, so all must be of any length.
    if all(tensor.shape[:1] == (-1,) for tensor in tensors):
        entries = {tensor.name: input_tensor(tensor, rows=False) for tensor in tensors}
        members.append(_member("instances", _list_of(_object_of(entries)), params))
    return members


def _object_of(properties: dict[Any, JsonSchema]) -> JsonSchema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _predictions(outputs: Fields | None) -> JsonSchema:
    """What `predictions` holds. A model is not held to its signature's outputs; this is what it says it answers."""
    if outputs is None:
        return {}
    if isinstance(outputs, TensorSchema):
        if outputs.tensors[0].name is None:
            return output_tensor(outputs.tensors[0])
        return _object_of({tensor.name: output_tensor(tensor) for tensor in outputs.tensors})
    columns = outputs.columns
    values = [output_schema(column.type, required=column.required) for column in columns]
    if any(column.name is None for column in columns):
        return {"type": "array", "items": values[0] if len(columns) == 1 else {}}
    record = {
        "type": "object",
        "properties": {str(column.name): value for column, value in zip(columns, values, strict=True)},
        "required": list(dict.fromkeys(str(column.name) for column in columns if column.required)),
    }
    # A DataFrame and a list of dictionaries become records, one dictionary an object; the signature is the same.
    # One named column is also what a signature has that was inferred from a Series where the model gives an array.
    items = {"anyOf": [values[0], record]} if len(columns) == 1 else record
    return {"anyOf": [{"type": "array", "items": items}, record]}


def _example_body(signature: Signature, example: InputExample | None) -> JsonSchema | None:
    """A whole request with the model's input example."""
    if example is None:
        return None
    body: JsonSchema
    if isinstance(signature.inputs, TensorSchema) or signature.typed_by_hints:
        if example.is_frame:
            return None
        body = {"inputs": example.data}
    elif (split := _split_example(signature.inputs, example)) is not None:
        body = {"dataframe_split": split}
    else:
        return None
    return {**body, "params": example.params} if example.params else body


def _split_example(schema: ColumnSchema, example: InputExample | None) -> JsonSchema | None:
    """The example in split form with its columns in the signature's order; None where it has no such form."""
    if example is None:
        return None
    if all(not isinstance(column.name, str) for column in schema.columns):
        return {"data": example.data["data"]} if example.is_frame else None
    records = _frame_records(example.data) if example.is_frame else _logged_records(example.data)
    names = [column.name for column in schema.columns if any(column.name in record for record in records)]
    if not names:
        return None
    return {"columns": names, "data": [[record.get(name) for name in names] for record in records]}


def _frame_records(frame: JsonSchema) -> list[dict[Any, Any]]:
    names = frame.get("columns")
    if not isinstance(names, list):
        return []
    return [dict(zip(names, row, strict=False)) for row in frame["data"] if isinstance(row, list)]


def _logged_records(data: Any) -> list[dict[Any, Any]]:
    """The rows of an example that is a dictionary, which is one row, or a list of them."""
    rows = data if isinstance(data, list) else [data]
    return rows if all(isinstance(row, dict) for row in rows) else []
