"""From a request's JSON to rows of a known signature, and from predictions to JSON, without pandas where it can be.

Nothing here decides what is valid. Each decoder recognises the plain, common inputs and returns `None` for
all others, which then go through MLflow's own parser; what a decoder does accept it must turn into exactly
the values that MLflow's parser and schema enforcement would give (mlflow.utils.proto_json_utils,
mlflow.models.utils). The property tests hold the two against each other.
"""

from __future__ import annotations

import json
import math
from itertools import chain
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

try:
    import orjson
except ImportError:  # an environment without it is served all the same, more slowly
    orjson = None  # type: ignore[assignment]

Rows = List[List[Any]]

_FORMATS = ("dataframe_split", "dataframe_records", "inputs", "instances")
_UNIFIED_LLM_KEYS = ("messages", "prompt", "input")
_SPLIT_KEYS = {"columns", "data"}
_EXACT_INTEGER = 2.0**53  # above it a float64 no longer tells neighbouring integers apart


def parse_document(body: bytes) -> Optional[Dict[str, Any]]:
    """The body as a JSON object with exactly one input format, else `None`."""
    try:
        document = orjson.loads(body) if orjson is not None else json.loads(body)
    except (ValueError, RecursionError):
        return None
    if type(document) is not dict:
        return None
    found = 0
    for key in _FORMATS:
        if key in document:
            found += 1
    if found != 1:
        return None
    for key in _UNIFIED_LLM_KEYS:
        if key in document:
            return None
    return document


class RowDecoder:
    """Rows in the order of a signature's columns, from the JSON forms that name their columns."""

    def __init__(self, names: Sequence[str], dtypes: Sequence[Any] = ()) -> None:
        """With `dtypes`, those of all-numeric columns, `inputs` and `instances` are taken too.

        MLflow makes arrays of these two forms, and only numbers mean the same in an array as in a DataFrame.
        """
        self._names = list(names)
        self._width = len(self._names)
        self._accept_tensor_forms = bool(dtypes)
        # MLflow puts the records of `inputs` into a DataFrame that widens numbers, and then refuses narrower columns.
        self._accept_input_records = all(dtype.itemsize == 8 for dtype in dtypes)

    def rows(self, document: Dict[str, Any]) -> Optional[Rows]:
        """At least one row of the signature's width, or `None`."""
        split = document.get("dataframe_split")
        if split is not None:
            return self._from_split(split)
        records = document.get("dataframe_records")
        if records is not None:
            return self._from_records(records)
        if not self._accept_tensor_forms:
            return None
        instances = document.get("instances")
        if instances is not None:
            return self._from_exact_records(instances)
        inputs = document.get("inputs")
        if type(inputs) is dict:
            return self._from_columns(inputs)
        return self._from_exact_records(inputs) if self._accept_input_records else None

    def _from_split(self, split: Any) -> Optional[Rows]:
        if type(split) is not dict or split.keys() != _SPLIT_KEYS:
            return None
        columns, data = split["columns"], split["data"]
        if type(data) is not list or not data:
            return None
        if columns == self._names:
            width = self._width
            for row in data:
                if type(row) is not list or len(row) != width:
                    return None
            return data
        if type(columns) is not list:
            return None
        try:
            places = {name: at for at, name in enumerate(columns)}
            order = [places[name] for name in self._names]
        except (KeyError, TypeError):
            return None
        width = len(columns)
        if len(places) != width or not all(type(name) is str for name in columns):
            return None
        for row in data:
            if type(row) is not list or len(row) != width:
                return None
        return [[row[at] for at in order] for row in data]

    def _from_records(self, records: Any) -> Optional[Rows]:
        if type(records) is not list or not records:
            return None
        names = self._names
        try:
            for record in records:
                if type(record) is not dict:
                    return None
            return [[record[name] for name in names] for record in records]
        except KeyError:
            return None

    def _from_exact_records(self, records: Any) -> Optional[Rows]:
        # A column that the signature does not have is dropped only after it became an array, which may fail.
        rows = self._from_records(records)
        if rows is None or any(len(record) != self._width for record in records):
            return None
        return rows

    def _from_columns(self, columns: Dict[str, Any]) -> Optional[Rows]:
        try:
            lists = [columns[name] for name in self._names]
        except KeyError:
            return None
        if len(columns) != self._width or any(type(column) is not list for column in lists):
            return None
        if len({len(column) for column in lists}) != 1 or not lists[0]:
            return None
        return [list(row) for row in zip(*lists)]


class NumericColumns:
    """Turns rows into the one array that a DataFrame of these numeric columns would convert to.

    `dtypes` are the signature's numpy types in column order: float64, float32, int64 or int32.
    """

    def __init__(self, dtypes: Sequence[Any]) -> None:
        self.dtype = np.result_type(*dtypes)
        self._only_doubles = all(dtype == np.float64 for dtype in dtypes)
        self._nullable = all(dtype.kind == "f" for dtype in dtypes)
        self._integers = [(at, *self._limits(dtype)) for at, dtype in enumerate(dtypes) if dtype.kind == "i"]
        self._singles = [at for at, dtype in enumerate(dtypes) if dtype == np.float32]

    def array(self, rows: Rows) -> Optional[Any]:
        """An array of shape (rows, columns), or `None` when a value needs MLflow's own rules."""
        values: Any
        try:
            values = np.array(rows)
        except (ValueError, OverflowError):
            return None
        if values.dtype.kind == "O" and self._nullable:
            if not {type(value) for value in chain.from_iterable(rows)} <= {int, float, type(None)}:
                return None
            try:
                values = np.array(rows, dtype=np.float64)
            except (TypeError, ValueError, OverflowError):
                return None
        if values.ndim != 2:
            return None
        if self._only_doubles:
            if values.dtype.kind == "f":
                return values
            return values.astype(np.float64) if values.dtype.kind == "i" else None
        return self._cast(values)

    def _cast(self, values: Any) -> Optional[Any]:
        kind = values.dtype.kind
        if kind not in "fi":
            return None
        with np.errstate(over="ignore"):
            result = values.astype(self.dtype) if self.dtype.kind == "f" or kind == "i" else values
        for at, least, most in self._integers:
            column = values[:, at]
            if kind == "f":
                # `astype(int)` cuts the fraction off, and the sign of a zero with it.
                if not np.all(np.abs(column) < _EXACT_INTEGER):
                    return None
                column = np.trunc(column) + 0.0
                result[:, at] = column
            if column.min() < least or column.max() > most:
                return None
        for at in self._singles:
            # MLflow rounds some integers once, from 64 bits, and some twice, by way of a double.
            if (np.abs(values[:, at]) >= _EXACT_INTEGER).any():
                return None
            with np.errstate(over="ignore"):
                single = values[:, at].astype(np.float32)
            if np.isinf(single).any():
                return None
            result[:, at] = single
        return result if result.dtype == self.dtype else result.astype(self.dtype)

    def _limits(self, dtype: Any) -> Tuple[int, int]:
        limits = np.iinfo(dtype)
        if self.dtype.kind == "f":  # some libraries read a DataFrame by column, without the array's rounding
            return max(limits.min, -int(_EXACT_INTEGER)), min(limits.max, int(_EXACT_INTEGER))
        return limits.min, limits.max


Column = Callable[[List[Any]], Optional[Any]]


def _numbers(dtype: Any) -> Column:
    columns = NumericColumns([dtype])

    def convert(values: List[Any]) -> Optional[Any]:
        array = columns.array([[value] for value in values])
        return None if array is None else array[:, 0]

    return convert


def _booleans(values: List[Any]) -> Optional[Any]:
    return np.array(values, dtype=bool) if all(type(value) is bool for value in values) else None


def _strings(values: List[Any]) -> Optional[Any]:
    # The list itself: the DataFrame infers the column's type from it, as it does for MLflow's parser.
    return values if all(type(value) is str for value in values) else None


COLUMN_CONVERTERS: Dict[str, Column] = {
    "double": _numbers(np.dtype("float64")),
    "float": _numbers(np.dtype("float32")),
    "long": _numbers(np.dtype("int64")),
    "integer": _numbers(np.dtype("int32")),
    "boolean": _booleans,
    "string": _strings,
}
"""How a column of JSON values becomes what MLflow would put into the DataFrame, by signature type."""

NUMERIC_TYPES: Dict[str, Any] = {
    "double": np.dtype("float64"),
    "float": np.dtype("float32"),
    "long": np.dtype("int64"),
    "integer": np.dtype("int32"),
}


def are_exact(integers: Any) -> bool:
    """Whether none of them can come from a number of more than 64 bits, which the fast parser reads as a float."""
    if not integers.size:
        return True
    return bool(integers.min() >= -_EXACT_INTEGER and integers.max() <= _EXACT_INTEGER)


def split_predictions(output: Any, counts: Sequence[int]) -> Optional[List[Any]]:
    """A batch's output cut into one piece a request, or `None` when it has not one entry per input row."""
    total = sum(counts)
    if hasattr(output, "iloc"):
        if len(output) != total:
            return None
        cut = output.iloc.__getitem__
    elif isinstance(output, np.ndarray):
        if output.ndim == 0 or len(output) != total:
            return None
        cut = output.__getitem__
    elif type(output) is list:
        if len(output) != total or _is_one_array_a_target(output):
            return None
        cut = output.__getitem__
    elif type(output) is dict and output:
        pieces = [split_predictions(value, counts) for value in output.values()]
        if any(piece is None for piece in pieces):
            return None
        return [dict(zip(output, values)) for values in zip(*pieces)]
    else:
        return None
    result, at = [], 0
    for count in counts:
        result.append(cut(slice(at, at + count)))
        at += count
    return result


def _is_one_array_a_target(output: List[Any]) -> bool:
    """Whether the list may be the `predict_proba` of several targets: an array each, with an entry per row."""
    return all(isinstance(entry, np.ndarray) and entry.ndim > 1 and len(entry) == len(output) for entry in output)


def same_params(one: Any, other: Any) -> bool:
    """Whether two requests' raw params are one. To Python 1, 1.0 and True are equal; to a schema they are not."""
    return one is other or (one == other and repr(one) == repr(other))


def encode_predictions(output: Any, strict: bool) -> Optional[bytes]:
    """`{"predictions": ...}` for the outputs whose JSON is beyond doubt, else `None`.

    `strict` writes NaN and the infinities as `null`; otherwise they must be written by the general encoder.
    """
    if orjson is None:
        return None
    if type(output) is np.ndarray:
        kind = output.dtype.kind
        if output.ndim == 0 or (output.dtype.itemsize > 8 and kind == "f"):
            return None
        if kind == "f":
            if not strict and not np.isfinite(output).all():
                return None
            # A float32 prints as the float64 that Python makes of it.
            plain = output.astype(np.float64) if output.dtype != np.float64 else output
            plain = np.ascontiguousarray(plain)
        elif kind in "iub":
            plain = np.ascontiguousarray(output)
        elif kind == "U":
            plain = output.tolist()
        elif kind == "O":
            plain = output.tolist()
            if not _plain(plain, strict):
                return None
        else:
            return None
        return orjson.dumps({"predictions": plain}, option=orjson.OPT_SERIALIZE_NUMPY)
    if type(output) is dict and output and all(type(value) is np.ndarray for value in output.values()):
        parts: Dict[str, Any] = {}
        for key, value in output.items():
            if type(key) is not str or value.dtype.kind not in "fiub" or value.dtype.itemsize > 8 or value.ndim == 0:
                return None
            if value.dtype.kind == "f" and not strict and not np.isfinite(value).all():
                return None
            wide = value.astype(np.float64) if value.dtype.kind == "f" else value
            parts[key] = np.ascontiguousarray(wide)
        return orjson.dumps({"predictions": parts}, option=orjson.OPT_SERIALIZE_NUMPY)
    if type(output) is list and _plain(output, strict):
        try:
            return orjson.dumps({"predictions": output})
        except TypeError:  # an integer beyond 64 bits
            return None
    return None


def _plain(values: List[Any], strict: bool) -> bool:
    """Whether the list holds only text, numbers, booleans and nulls."""
    for value in values:
        kind = type(value)
        if kind is float:
            if not strict and not math.isfinite(value):
                return False
        elif kind is int:
            if not -(1 << 63) <= value < 1 << 64:
                return False
        elif kind is not str and kind is not bool and value is not None:
            return False
    return True


def without_special_floats(text: str) -> str:
    """The JSON text with `NaN` and the infinities as `null`."""
    if "NaN" not in text and "Infinity" not in text:
        return text
    return json.dumps(json.loads(text, parse_constant=lambda _: None))
