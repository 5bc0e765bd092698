"""A loaded MLflow model: which fast path its requests may take, and MLflow's own path for all others."""

from __future__ import annotations

import json
import math
import os
import traceback
import warnings
from dataclasses import dataclass
from io import StringIO
from itertools import chain
from typing import Any, Callable, Dict, Generator, List, Optional, Sequence, Tuple

import numpy as np

from . import codec
from .answers import UNEXPECTED_ERROR, Answer, error_answer, failure
from .process import log

ROW_WISE_FLAVORS = {
    "mlflow.sklearn",
    "mlflow.xgboost",
    "mlflow.lightgbm",
    "mlflow.catboost",
    "mlflow.onnx",
    "mlflow.pytorch",
    "mlflow.tensorflow",
    "mlflow.keras",
    "mlflow.statsmodels",
    "mlflow.spark",
}
"""Loader modules whose predictions are one entry per input row, each from its own row alone."""

_ARRAY_FLAVORS = {"mlflow.sklearn", "mlflow.xgboost", "mlflow.lightgbm"}
_ARRAY_ESTIMATOR_PACKAGES = ("sklearn.", "xgboost.", "lightgbm.")
_NEEDS_COLUMN_NAMES = {"ColumnTransformer", "FunctionTransformer"}
_SAMPLE_ROWS = 3


CANNOT_STREAM = (
    "The model does not support streaming: it has no predict_stream method. Send the request without 'stream'."
)


@dataclass
class FastPath:
    """How one kind of model is called without MLflow's parser: decode, predict a batch, cut it up.

    `decode` gives what `predict` takes a list of, with the number of rows; `predict` may raise what it likes.
    """

    name: str
    decode: Callable[[Dict[str, Any]], Optional[Tuple[Any, int]]]
    predict: Callable[[List[Any], Any], Any]


class _Reader:
    """Stands for the model where MLflow's code reads a request, and keeps what the model would be called with."""

    def __init__(self, metadata: Any) -> None:
        self.metadata = metadata
        self.data: Any = None
        self.params: Any = None

    def predict(self, data: Any, params: Any = None) -> List[Any]:
        self.data, self.params = data, params
        return []


class ServedModel:
    """One model, loaded once. Not thread-safe by itself: `predict_one` is as safe as the model is."""

    def __init__(self, path: str, strict_json: bool, batching: str) -> None:
        """Load the model at `path` as MLflow's scoring server does.

        `batching` is `auto`, `on` (the user's word that predictions are row-wise) or `off`.

        Raises:
            Exception: whatever the model's own loading raises.
        """
        os.environ["_MLFLOW_IS_IN_SERVING_ENVIRONMENT"] = "true"
        from mlflow.pyfunc import scoring_server

        self._scoring_server = scoring_server
        loader = getattr(scoring_server, "load_model_with_mlflow_config", scoring_server.load_model)
        self._path = path
        self.pyfunc = loader(path)
        self.strict_json = strict_json
        self.input_schema = self.pyfunc.metadata.get_input_schema()
        get_params_schema = getattr(self.pyfunc.metadata, "get_params_schema", lambda: None)
        self.params_schema = get_params_schema()
        flavor = self.pyfunc.metadata.flavors.get("python_function", {})
        self.loader_module = str(flavor.get("loader_module", ""))
        self.row_wise = batching == "on" or (batching == "auto" and self.loader_module in ROW_WISE_FLAVORS)
        self.streams = getattr(self.pyfunc, "_predict_stream_fn", None) is not None
        self.fast_path = self._choose_fast_path()

    @property
    def batches(self) -> bool:
        """Whether requests to this model may be predicted together; not where an answer may take long to end."""
        return self.row_wise and self.fast_path is not None and not self.streams

    def input_example(self) -> Optional[bytes]:
        """The serving payload of the logged input example, when the model has one."""
        example = os.path.join(self._path, "serving_input_example.json")
        try:
            with open(example, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def decode(self, body: bytes) -> Optional[Tuple[Any, int, Any]]:
        """The request for the fast path: input, number of rows and raw params; `None` when it must not take it."""
        path = self.fast_path
        if path is None:
            return None
        document = codec.parse_document(body)
        if document is None:
            return None
        params = document.get("params")
        if params is not None and (self.params_schema is None or type(params) is not dict):
            return None
        try:
            decoded = path.decode(document)
        except Exception:  # noqa: BLE001  a defect of ours must cost speed only
            log("WARNING", f"the fast path cannot read a request:\n{traceback.format_exc()}")
            return None
        if decoded is None:
            return None
        return decoded[0], decoded[1], params

    def predict_batch(self, inputs: List[Any], counts: Sequence[int], params: Any) -> Optional[List[bytes]]:
        """The JSON answers of requests with equal params, predicted together.

        Returns:
            One body a request, or `None` when the output has not one entry per row.

        Raises:
            Exception: whatever the model raises.
        """
        assert self.fast_path is not None
        if self.params_schema is not None:
            params = _enforce_params(params, self.params_schema)
        output = self.fast_path.predict(inputs, params)
        pieces = [output] if len(inputs) == 1 else codec.split_predictions(output, counts)
        if pieces is None:
            return None
        return [self._encode(piece) for piece in pieces]

    def predict_one(
        self, body: bytes, content_type: str, request_id: str, with_stack_trace: bool
    ) -> Answer:
        """MLflow's own answer to one request. Never raises: every failure is an answer."""
        try:
            result = self._scoring_server.invocations(
                body, content_type or "application/json", self.pyfunc, self.input_schema
            )
        except BaseException as error:  # noqa: BLE001  a model may also call sys.exit
            return failure(error, request_id, with_stack_trace)
        if result.status != 200:
            return error_answer(result.status, "BAD_REQUEST", result.response)
        text = codec.without_special_floats(result.response) if self.strict_json else result.response
        return Answer(200, text.encode())

    def stream_one(
        self, body: bytes, content_type: str, request_id: str, with_stack_trace: bool
    ) -> Generator[bytes, None, Answer]:
        """One JSON document for each object that the model's `predict_stream` yields.

        It reads the request as MLflow's scoring server does. What it returns in the end is the error answer, or an
        empty one of status 200. Never raises: every failure is an answer. Closing it closes the model's generator.
        """
        if not self.streams:
            return error_answer(400, "BAD_REQUEST", CANNOT_STREAM)
        objects: Any = None
        try:
            asked = _Reader(self.pyfunc.metadata)
            result = self._scoring_server.invocations(
                body, content_type or "application/json", asked, self.input_schema
            )
            if result.status != 200:
                return error_answer(result.status, "BAD_REQUEST", result.response)
            objects = self._objects(asked)
            for one in objects:
                yield self._document(one)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001  a model may also call sys.exit
            return failure(error, request_id, with_stack_trace)
        finally:
            if objects is not None:
                _close(objects, request_id)
        return Answer(200, b"")

    def _objects(self, asked: _Reader) -> Generator[Any, None, None]:
        """What the model yields. Its exceptions become what MLflow's scoring server makes of them."""
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import BAD_REQUEST

        objects: Any = None
        try:
            objects = self.pyfunc.predict_stream(asked.data, params=asked.params)
            yield from objects
        except MlflowException as error:
            error.message = f"Failed to predict data '{asked.data}'. \nError: {error.message}"
            raise
        except Exception as error:
            trace = traceback.format_exc()
            raise MlflowException(UNEXPECTED_ERROR, error_code=BAD_REQUEST, stack_trace=trace) from error

    def _document(self, output: Any) -> bytes:
        text = StringIO()
        self._scoring_server.unwrapped_predictions_to_json(output, text)
        value = text.getvalue()
        return (codec.without_special_floats(value) if self.strict_json else value).encode()

    def _encode(self, output: Any) -> bytes:
        """The answer's JSON; the common outputs by the fast encoder, others by MLflow's own."""
        try:
            body = codec.encode_predictions(output, self.strict_json)
        except TypeError:  # text that is no valid Unicode
            body = None
        if body is not None:
            return body
        text = StringIO()
        self._scoring_server.predictions_to_json(output, text)
        value = text.getvalue()
        return (codec.without_special_floats(value) if self.strict_json else value).encode()

    def _choose_fast_path(self) -> Optional[FastPath]:
        try:
            return self._tensor_path() or self._array_path() or self._frame_path()
        except Exception:  # noqa: BLE001  an MLflow whose internals differ is served by its own parser alone
            log("WARNING", f"no fast path for this model:\n{traceback.format_exc()}")
            return None

    def _column_types(self) -> Optional[Dict[str, str]]:
        """Name to type of a signature whose columns are all named, required and scalar."""
        schema = self.input_schema
        if schema is None or schema.is_tensor_spec() or not schema.has_input_names():
            return None
        types: Dict[str, str] = {}
        for column in schema.inputs:
            kind = getattr(column.type, "name", None)
            if kind not in codec.COLUMN_CONVERTERS or not getattr(column, "required", True):
                return None
            types[column.name] = kind
        return types if len(types) == len(schema.inputs) else None

    def _typed_by_hints(self) -> bool:
        metadata = self.pyfunc.metadata
        for question in ("_is_signature_from_type_hint", "_is_type_hint_from_example"):
            if hasattr(metadata, question) and getattr(metadata, question)():
                return True
        return False

    def _array_path(self) -> Optional[FastPath]:
        """For estimators that take a plain numeric array as they take the DataFrame: proven on sample rows."""
        types = self._column_types()
        if self.loader_module not in _ARRAY_FLAVORS or types is None or not self.row_wise:
            return None
        if any(kind not in codec.NUMERIC_TYPES for kind in types.values()):
            return None
        estimator, predict = self._estimator()
        names = list(types)
        if predict is None or not _takes_arrays(estimator, names):
            return None
        if self.loader_module == "mlflow.xgboost" and self.params_schema is not None:
            return None  # that flavor hands the params to the estimator
        dtypes = [codec.NUMERIC_TYPES[kind] for kind in types.values()]
        columns = codec.NumericColumns(dtypes)
        if columns.dtype.kind == "i" and _reads_integers_as_singles(estimator):
            return None
        rows = codec.RowDecoder(names, dtypes)

        def decode(document: Dict[str, Any]) -> Optional[Tuple[Any, int]]:
            found = rows.rows(document)
            if found is None:
                return None
            values = columns.array(found)
            return None if values is None else (values, len(found))

        def predict_arrays(inputs: List[Any], params: Any) -> Any:
            values = inputs[0] if len(inputs) == 1 else np.concatenate(inputs)
            return predict(values)

        path = FastPath("array", decode, predict_arrays)
        return path if self._agrees(path, types) else None

    def _estimator(self) -> Tuple[Any, Optional[Callable[[Any], Any]]]:
        """The estimator behind the flavor's wrapper and the method of it that `predict` calls."""
        wrapper: Any = getattr(self.pyfunc, "_model_impl", None)
        name = getattr(getattr(self.pyfunc, "_predict_fn", None), "__name__", "predict")
        estimator = wrapper.get_raw_model() if hasattr(wrapper, "get_raw_model") else None
        return estimator, getattr(estimator, name, None)

    def _frame_path(self) -> Optional[FastPath]:
        """For any row-wise flavor with scalar columns: the DataFrame is built once for the whole batch."""
        types = self._column_types()
        if types is None or not self.row_wise or self._typed_by_hints():
            return None
        import pandas as pd

        names = list(types)
        converters = [codec.COLUMN_CONVERTERS[kind] for kind in types.values()]
        rows = codec.RowDecoder(names)
        call = self._enforced_call()

        def decode(document: Dict[str, Any]) -> Optional[Tuple[Any, int]]:
            found = rows.rows(document)
            if found is None:
                return None
            columns = []
            for values, convert in zip(zip(*found), converters):
                column = convert(list(values))
                if column is None:
                    return None
                columns.append(column)
            return columns, len(found)

        def predict(inputs: List[Any], params: Any) -> Any:
            if len(inputs) == 1:
                columns = inputs[0]
            else:
                columns = [
                    np.concatenate(parts) if isinstance(parts[0], np.ndarray) else list(chain(*parts))
                    for parts in zip(*inputs)
                ]
            return call(pd.DataFrame(dict(zip(names, columns))), params)

        path = FastPath("frame", decode, predict)
        return path if self._agrees(path, types) else None

    def _enforced_call(self) -> Callable[[Any, Any], Any]:
        """Predict on data that already satisfies the signature, so without enforcing it a second time."""
        if self.loader_module not in ROW_WISE_FLAVORS:
            # A Python model whose user opted in to batching: its context and tracing stay as MLflow sets them.
            def full(data: Any, params: Any) -> Any:
                return self.pyfunc.predict(data, params=params)

            return full
        import inspect

        function = self.pyfunc._predict_fn
        params_argument = inspect.signature(function).parameters.get("params")
        if params_argument is not None and params_argument.kind != inspect.Parameter.VAR_KEYWORD:
            return lambda data, params: function(data, params=params)
        return lambda data, params: function(data)

    def _tensor_path(self) -> Optional[FastPath]:
        """For one unnamed tensor of fixed row shape."""
        schema = self.input_schema
        if schema is None or not schema.is_tensor_spec() or schema.has_input_names() or not self.row_wise:
            return None
        spec = schema.inputs[0]
        dtype, shape = np.dtype(spec.type), tuple(spec.shape)
        if not shape or shape[0] != -1 or -1 in shape[1:] or dtype.kind not in "fiub":
            return None
        call = self._enforced_call()

        def decode(document: Dict[str, Any]) -> Optional[Tuple[Any, int]]:
            data = document.get("inputs")
            if data is None:
                data = document.get("instances")
            if type(data) is not list or not data or type(data[0]) is dict:
                return None
            try:
                values = np.array(data, dtype=dtype)
            except (TypeError, ValueError, OverflowError):
                return None
            if values.ndim != len(shape) or values.shape[1:] != shape[1:]:
                return None
            if dtype.kind in "iu" and not codec.are_exact(values):
                return None
            return values, len(values)

        def predict(inputs: List[Any], params: Any) -> Any:
            return call(inputs[0] if len(inputs) == 1 else np.concatenate(inputs), params)

        return FastPath("tensor", decode, predict)

    def _agrees(self, path: FastPath, types: Dict[str, str]) -> bool:
        """Whether the path answers sample rows as `predict` does, each alone and all together."""
        generator = np.random.default_rng(0)
        rows = [[_sample(kind, generator) for kind in types.values()] for _ in range(_SAMPLE_ROWS)]
        bodies = [{"dataframe_split": {"columns": list(types), "data": [row]}} for row in rows]
        example = self.input_example()
        if example is not None:
            document = codec.parse_document(example)
            decoded = None if document is None else path.decode(document)
            if decoded is not None:
                assert document is not None
                bodies = [document, document]
        try:
            expected = [self._by_mlflow(body) for body in bodies]
        except Exception:  # noqa: BLE001  made-up rows may be no valid input; then the samples prove nothing
            return path.name != "array"
        params = None if self.params_schema is None else _enforce_params(None, self.params_schema)
        samples = [decoded for decoded in map(path.decode, bodies) if decoded is not None]
        if len(samples) != len(bodies):
            return False
        inputs, counts = [data for data, _ in samples], [count for _, count in samples]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                alone = [path.predict([data], params) for data in inputs]
                together = codec.split_predictions(path.predict(inputs, params), counts)
        except Exception:  # noqa: BLE001  this estimator wants its data in another form
            return False
        wanted = [self._encode(output) for output in expected]
        if [self._encode(output) for output in alone] != wanted or together is None:
            return False
        return all(_alike(json.loads(self._encode(o)), json.loads(w)) for o, w in zip(together, wanted))

    def _by_mlflow(self, document: Dict[str, Any]) -> Any:
        data = {key: value for key, value in document.items() if key in codec._FORMATS}
        parsed = self._scoring_server.infer_and_parse_data(data, self.input_schema)
        return self.pyfunc.predict(parsed)


def _close(objects: Generator[Any, None, None], request_id: str) -> None:
    try:
        objects.close()
    except BaseException:  # noqa: BLE001  what a model does when it is told to stop is its own affair
        log("WARNING", f"request {request_id}: the model failed when it was stopped:\n{traceback.format_exc()}")


def _takes_arrays(estimator: Any, names: List[str]) -> bool:
    """Whether the estimator, and every one inside it, is of a known package and looks at positions alone."""
    known = getattr(estimator, "feature_names_in_", None)
    if known is not None and list(known) != names:
        return False
    parts = [estimator]
    if hasattr(estimator, "get_params"):
        parts += [p for p in estimator.get_params(deep=True).values() if hasattr(p, "get_params")]
    for part in parts:
        kind = type(part)
        if not f"{kind.__module__}.".startswith(_ARRAY_ESTIMATOR_PACKAGES):
            return False
        if kind.__name__ in _NEEDS_COLUMN_NAMES or getattr(part, "pandas_categorical", None):
            return False
    return True


def _reads_integers_as_singles(estimator: Any) -> bool:
    """LightGBM makes float32 of an integer array and float64 of an integer DataFrame."""
    parts = [estimator, *(estimator.get_params(deep=True).values() if hasattr(estimator, "get_params") else ())]
    return any(type(part).__module__.startswith("lightgbm.") for part in parts)


def _alike(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same but for the last digits, which may depend on the rows beside."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(value, other[key]) for key, value in one.items())
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-6) or (one != one and other != other)
    return bool(one == other)


def _sample(kind: str, generator: Any) -> Any:
    if kind in ("double", "float"):
        return round(float(generator.normal()), 3)
    if kind in ("long", "integer"):
        return int(generator.integers(0, 5))
    return bool(generator.integers(0, 2)) if kind == "boolean" else "a"


def _enforce_params(params: Any, schema: Any) -> Any:
    from mlflow.models.utils import _enforce_params_schema

    return _enforce_params_schema(params, schema)
