"""A model's signature and input example, read from the folder that MLflow logged, without MLflow.

In the MLmodel file the parts of a signature are JSON lists in strings. Source: MLflow, `mlflow.types.schema` and
`mlflow.models.utils` (input examples).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

_MODEL_FILE = "MLmodel"
# A schema is read by people and by generators of clients; an example of megabytes is of use to neither.
_MOST_EXAMPLE_BYTES = 256 * 1024


class ModelFilesError(Exception):
    """The model's files are damaged or incomplete; the message says which and how."""


class Scalar(StrEnum):
    """MLflow's scalar data types."""

    BOOLEAN = "boolean"
    INTEGER = "integer"
    LONG = "long"
    FLOAT = "float"
    DOUBLE = "double"
    STRING = "string"
    BINARY = "binary"
    DATETIME = "datetime"


@dataclass(frozen=True, slots=True)
class ArrayType:
    items: Type


@dataclass(frozen=True, slots=True)
class Property:
    name: str
    type: Type
    required: bool


@dataclass(frozen=True, slots=True)
class ObjectType:
    properties: tuple[Property, ...]


@dataclass(frozen=True, slots=True)
class MapType:
    """Keys are text."""

    values: Type


@dataclass(frozen=True, slots=True)
class AnyType:
    """Any JSON value."""


@dataclass(frozen=True, slots=True)
class UnknownType:
    """A type that only a newer MLflow knows, or that JSON cannot carry."""

    name: str


Type = Scalar | ArrayType | ObjectType | MapType | AnyType | UnknownType


@dataclass(frozen=True, slots=True)
class Column:
    """`name` is None in a signature without names, a number where a DataFrame's columns had none."""

    name: str | int | None
    type: Type
    required: bool


@dataclass(frozen=True, slots=True)
class Tensor:
    """`dtype` is NumPy's name of it; -1 in `shape` is any length."""

    name: str | None
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Param:
    """`default` is a JSON value; `is_list` says that it is a list of `type`."""

    name: str
    type: Type
    default: Any
    is_list: bool


@dataclass(frozen=True, slots=True)
class ColumnSchema:
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class TensorSchema:
    tensors: tuple[Tensor, ...]


Fields = ColumnSchema | TensorSchema


@dataclass(frozen=True, slots=True)
class Signature:
    """`outputs` is None where the model does not say. A model typed by hints takes `inputs` alone."""

    inputs: Fields
    outputs: Fields | None = None
    params: tuple[Param, ...] = ()
    typed_by_hints: bool = False


@dataclass(frozen=True, slots=True)
class InputExample:
    """`data` is a DataFrame in split form where `is_frame`, otherwise what `inputs` of a request may hold."""

    data: Any
    is_frame: bool
    params: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class DescribedModel:
    """What a model says of its input and output. Each may be missing."""

    signature: Signature | None
    input_example: InputExample | None


def read_model(folder: Path) -> DescribedModel:
    """What the model in `folder` says of itself.

    Raises:
        ModelFilesError: the MLmodel file or the input example that it names is missing or cannot be read.
    """
    document = _model_file(folder)
    try:
        signature = _signature(document)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise ModelFilesError(f"the signature in {_MODEL_FILE} cannot be read: {error!r}") from error
    example = _input_example(folder, document.get("saved_input_example_info"))
    return DescribedModel(signature, None if example is None else _unwrapped(example, signature))


def _model_file(folder: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load((folder / _MODEL_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelFilesError(f"the file {_MODEL_FILE} is missing") from None
    except (OSError, RecursionError, ValueError, yaml.YAMLError) as error:
        raise ModelFilesError(f"the file {_MODEL_FILE} cannot be read: {type(error).__name__}") from error
    if not isinstance(document, dict):
        raise ModelFilesError(f"the file {_MODEL_FILE} holds no mapping")
    return document


def _signature(document: dict[str, Any]) -> Signature | None:
    parts = document.get("signature") or {}
    inputs = _fields(parts.get("inputs"))
    if inputs is None:
        return None
    hinted = document.get("is_signature_from_type_hint") or document.get("type_hint_from_example")
    return Signature(
        inputs,
        _fields(parts.get("outputs")),
        tuple(_param(one) for one in _json_list(parts.get("params"))),
        typed_by_hints=bool(hinted),
    )


def _json_list(text: Any) -> list[dict[str, Any]]:
    found = json.loads(text) if isinstance(text, str) else text
    if found is None:
        return []
    if not isinstance(found, list):
        raise TypeError("a list is expected")
    return found


def _fields(text: Any) -> Fields | None:
    found = _json_list(text)
    if not found:
        return None
    if all(one["type"] == "tensor" for one in found):
        return TensorSchema(tuple(_tensor(one) for one in found))
    return ColumnSchema(
        tuple(Column(_column_name(one.get("name")), _type(one), _is_required(one)) for one in found)
    )


def _column_name(name: Any) -> str | int | None:
    return name if name is None or isinstance(name, int) else str(name)


def _tensor(document: dict[str, Any]) -> Tensor:
    name, spec = document.get("name"), document["tensor-spec"]
    shape = tuple(int(length) for length in spec["shape"])
    return Tensor(None if name is None else str(name), str(spec["dtype"]), shape)


def _param(document: dict[str, Any]) -> Param:
    is_list = document.get("shape") is not None
    return Param(str(document["name"]), _type(document), document.get("default"), is_list)


def _is_required(document: dict[str, Any]) -> bool:
    """Older versions of MLflow wrote `optional`, the oldest neither."""
    return bool(document.get("required", not document.get("optional", False)))


def _type(document: dict[str, Any]) -> Type:
    name = str(document["type"])
    if name in set(Scalar):
        return Scalar(name)
    if name == "array":
        return ArrayType(_type(document["items"]))
    if name == "map":
        return MapType(_type(document["values"]))
    if name == "any":
        return AnyType()
    if name == "object":
        properties = document["properties"].items()
        return ObjectType(tuple(Property(str(key), _type(one), _is_required(one)) for key, one in properties))
    return UnknownType(name)


def _input_example(folder: Path, info: Any) -> InputExample | None:
    """The example in the file that `saved_input_example_info` names."""
    if not isinstance(info, dict) or not isinstance(info.get("artifact_path"), str):
        return None
    name = info["artifact_path"]
    # The file is named by the model's author, and what it holds is shown to whoever may see the endpoint.
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ModelFilesError("the input example that MLmodel names lies outside of the model's folder")
    try:
        if path.stat().st_size > _MOST_EXAMPLE_BYTES:
            return None
        # JSON has no NaN; it is what missing values look like to pandas.
        document = json.loads(path.read_bytes(), parse_constant=lambda _: None)
    except FileNotFoundError:
        raise ModelFilesError(f"the input example {name} that MLmodel names is missing") from None
    except (OSError, RecursionError, ValueError) as error:
        raise ModelFilesError(f"the input example {name} cannot be read: {type(error).__name__}") from error
    return _example(document, info)


def _example(document: Any, info: dict[str, Any]) -> InputExample | None:
    params = None
    if info.get("params") and isinstance(document, dict) and document.keys() == {"inputs", "params"}:
        params = document["params"] if isinstance(document["params"], dict) else None
        document = document["inputs"]
    kind = info.get("type")
    if kind == "dataframe":
        in_split_form = isinstance(document, dict) and isinstance(document.get("data"), list)
        return InputExample(document, is_frame=True, params=params) if in_split_form else None
    if kind in ("ndarray", "json_object"):
        return InputExample(document, is_frame=False, params=params)
    return None


def _unwrapped(example: InputExample, signature: Signature | None) -> InputExample:
    """MLflow before 2.14 wrote an array as the body of a request, `{"inputs": ...}`."""
    inputs = signature.inputs if signature is not None else None
    is_one_array = isinstance(inputs, TensorSchema) and inputs.tensors[0].name is None
    if is_one_array and isinstance(example.data, dict) and example.data.keys() == {"inputs"}:
        return replace(example, data=example.data["inputs"])
    return example
