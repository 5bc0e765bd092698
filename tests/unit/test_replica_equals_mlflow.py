"""The replica's fast paths against MLflow itself: the same data for the model, and the same answer for the caller."""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import mlflow
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.pyfunc import PyFuncModel, scoring_server
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from moorage.replica import codec
from moorage.replica.model import ServedModel

NAMES = ("a", "b", "c", "index", "é")
NUMERIC = ("double", "float", "long", "integer")
FORMATS = ("dataframe_split", "dataframe_records", "inputs", "instances")
Columns = list[tuple[str, str]]

moderately = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


INTEGERS = st.one_of(
    st.integers(-5, 5),
    st.sampled_from([2**24 + 1, 2**31 - 1, 2**31, -(2**31) - 1, 2**53, 2**53 + 1, 2**60 + 2**36 + 1]),
    st.sampled_from([2**63 - 1, -(2**63), 2**63, 2**64, -(2**63) - 1, 10**30]),
)
FLOATS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([-0.0, -0.5, 1.5, 0.1, 1e39, 3.4028235e38, 2.0**53, 2.0**31, 1e-320]),
)
PLAIN = {
    "double": st.floats(-100, 100) | st.integers(-9, 9),
    "float": st.floats(-100, 100) | st.integers(-9, 9),
    "long": st.integers(-(2**40), 2**40),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "boolean": st.booleans(),
    "string": st.sampled_from(["", "x", "1", "1.5", "nan", "é", "None", "true"]),
}
ODD = st.one_of(
    INTEGERS,
    FLOATS,
    st.booleans(),
    st.none(),
    st.sampled_from(["1", "1.5", "x", "", [], [1], [1, 2], [[1]], {}, {"x": 1}, float("nan"), float("inf")]),
)


def cells(kind: str) -> st.SearchStrategy[st.SearchStrategy[Any]]:
    """A strategy for the values of one column: mostly what its type expects, else stranger and stranger ones."""
    plain = PLAIN[kind]
    return st.sampled_from(
        [plain, plain, plain, plain | st.none(), INTEGERS, INTEGERS | FLOATS, FLOATS, plain | ODD, ODD, st.booleans()]
    )


@st.composite
def documents(draw: Any, columns: Columns, formats: Sequence[str] = FORMATS) -> dict[str, Any]:
    """A request for a model with these columns, more or less."""
    names = [name for name, _ in columns]
    values = {name: draw(cells(kind)) for name, kind in columns}
    twist = draw(st.sampled_from(["none"] * 6 + ["missing", "extra", "extra", "duplicate", "ragged", "index"]))
    if twist == "missing":
        names.remove(draw(st.sampled_from(names)))
    if twist == "extra":
        names.append("extra")
        values["extra"] = ODD
    names = draw(st.permutations(names))
    count = draw(st.integers(0 if twist == "ragged" else 1, 4))
    rows = [{name: draw(values[name]) for name in names} for _ in range(count)]
    form = draw(st.sampled_from(formats))
    document: dict[str, Any] = {form: _shaped(draw, form, twist, list(names), rows)}
    other = draw(st.sampled_from([None] * 8 + ["params", "client_request_id", "prompt"]))
    if other == "params":
        document["params"] = draw(st.sampled_from([None, {}, {"k": 1}, {"k": "x"}, {"k": 1.5}, {"other": 1}, []]))
    elif other is not None:
        document[other] = "x"
    return document


def _shaped(draw: Any, form: str, twist: str, names: list[str], rows: list[dict[str, Any]]) -> Any:
    if form == "dataframe_split":
        data = [list(row.values()) for row in rows]
        split: dict[str, Any] = {"columns": names, "data": data}
        if twist == "duplicate":
            split = {"columns": [*names, names[0]], "data": [[*row, row[0]] for row in data]}
        if twist == "ragged" and data:
            data[-1] = data[-1][:-1]
        if twist == "index":
            split["index"] = list(range(len(data)))[::-1]
        return split
    if twist == "ragged" and rows and len(names) > 1:
        del rows[draw(st.integers(0, len(rows) - 1))][names[0]]
    if form == "inputs" and draw(st.booleans()):
        return {name: [row[name] for row in rows if name in row] for name in names}
    if form in ("inputs", "instances") and twist == "index":
        return [list(row.values()) for row in rows]
    return rows


def signatures(kinds: Sequence[str]) -> st.SearchStrategy[Columns]:
    names = st.permutations(NAMES)
    types = st.lists(st.sampled_from(kinds), min_size=1, max_size=4)
    return st.tuples(names, types).map(lambda pair: list(zip(pair[0], pair[1], strict=False)))


@st.composite
def requests(draw: Any, kinds: Sequence[str], formats: Sequence[str] = FORMATS) -> tuple[Columns, bytes]:
    columns = draw(signatures(kinds))
    return columns, json.dumps(draw(documents(columns, formats))).encode()


class Recorder:
    """A flavor's wrapper that keeps what it was asked to predict on."""

    def predict(self, data: Any, params: Any = None) -> Any:
        self.seen, self.params = data, params
        return np.zeros(len(data))


class Estimator:
    """Passes for a scikit-learn estimator."""

    def predict(self, data: Any) -> Any:
        self.seen = data
        return np.zeros(len(data))


Estimator.__module__ = "sklearn.recorder"


class EstimatorWrapper:
    def __init__(self) -> None:
        self.estimator = Estimator()

    @property
    def seen(self) -> Any:
        return self.estimator.seen

    def get_raw_model(self) -> Estimator:
        return self.estimator

    def predict(self, data: Any, params: Any = None) -> Any:
        return self.estimator.predict(data)


PARAMS = ParamSchema([ParamSpec("k", DataType.long, 7), ParamSpec("f", DataType.double, 0.5)])


def serve(implementation: Any, schema: Schema, params: ParamSchema | None = None) -> ServedModel:
    """The implementation as a served model with that signature, without saving it first."""
    metadata = Model(
        signature=ModelSignature(inputs=schema, params=params),
        flavors={"python_function": {"loader_module": "mlflow.sklearn"}},
    )
    model = PyFuncModel(metadata, implementation)
    with mock.patch.object(scoring_server, "load_model_with_mlflow_config", return_value=model):
        return ServedModel("/nonexistent", strict_json=False, batching="auto")


def column_schema(columns: Columns) -> Schema:
    return Schema([ColSpec(DataType[kind], name) for name, kind in columns])


@contextmanager
def quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def fast_and_slow(model: ServedModel, implementation: Any, body: bytes) -> tuple[Any, Any] | None:
    """What the model is given by the fast path and by MLflow's own, or `None` where the fast path steps aside."""
    decoded = model.decode(body)
    if decoded is None:
        return None
    assert model.predict_batch([decoded[0]], [decoded[1]], decoded[2]) is not None
    fast = implementation.seen
    answer = model.predict_one(body, "application/json", "a-request", True)
    assert answer.status == 200, answer.body
    assert decoded[1] == len(implementation.seen)
    return fast, implementation.seen


def exactly(value: Any) -> str:
    """A form in which -0.0 differs from 0.0, 1 from 1.0, and NaN is NaN."""
    return repr(value)


PARSERS = st.sampled_from(["orjson", "json"])


def parser(name: str) -> Any:
    return mock.patch.object(codec, "orjson", codec.orjson if name == "orjson" else None)


@settings(moderately, max_examples=350)
@given(requests((*NUMERIC, "boolean", "string"), FORMATS), PARSERS)
def test_frame_is_the_one_that_mlflow_would_make(request_, parser_name):
    columns, body = request_
    recorder = Recorder()
    with quietly(), parser(parser_name):
        model = serve(recorder, column_schema(columns))
        assert model.fast_path.name == "frame"
        pair = fast_and_slow(model, recorder, body)
    if pair is not None:
        fast, slow = pair
        pd.testing.assert_frame_equal(
            fast, slow, check_exact=True, check_index_type="exact", check_column_type="exact"
        )
        assert exactly(fast.to_dict("list")) == exactly(slow.to_dict("list"))


@settings(moderately, max_examples=500)
@given(requests(NUMERIC), PARSERS)
def test_array_is_the_one_that_the_frame_of_mlflow_converts_to(request_, parser_name):
    columns, body = request_
    wrapper = EstimatorWrapper()
    with quietly(), parser(parser_name):
        model = serve(wrapper, column_schema(columns))
        assert model.fast_path.name == "array"
        pair = fast_and_slow(model, wrapper, body)
    if pair is not None:
        fast, slow = pair
        expected = slow.to_numpy()
        assert fast.dtype == expected.dtype
        assert exactly(fast.tolist()) == exactly(expected.tolist())


@pytest.mark.parametrize("value", [-(2**63) - 1, 2**63, 2**64, -(2**63), 2**63 - 1])
@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_tensor_of_integers_at_the_end_of_their_range_is_the_one_that_mlflow_would_make(dtype, value):
    recorder = Recorder()
    with quietly():
        model = serve(recorder, Schema([TensorSpec(np.dtype(dtype), (-1,))]))
        pair = fast_and_slow(model, recorder, json.dumps({"inputs": [value]}).encode())
    if pair is not None:
        assert exactly(pair[0].tolist()) == exactly(pair[1].tolist())


TENSOR_TYPES = ("float64", "float32", "int64", "int32", "uint8", "bool")


@settings(moderately, max_examples=300)
@given(st.data(), st.sampled_from(TENSOR_TYPES), st.sampled_from([(-1,), (-1, 1), (-1, 3), (-1, 2, 2)]), PARSERS)
def test_tensor_is_the_one_that_mlflow_would_make(data, dtype, shape, parser_name):
    cell = data.draw(st.sampled_from([st.integers(0, 9), st.integers(0, 9), FLOATS, INTEGERS, st.booleans(), ODD]))
    rows: Any = cell
    for size in shape[:0:-1]:
        slack = data.draw(st.sampled_from([0, 0, 0, 1]))
        rows = st.lists(rows, min_size=max(0, size - slack), max_size=size)
    value = data.draw(st.lists(rows, max_size=4))
    form = data.draw(st.sampled_from(["inputs", "instances"]))
    recorder = Recorder()
    with quietly(), parser(parser_name):
        model = serve(recorder, Schema([TensorSpec(np.dtype(dtype), shape)]))
        assert model.fast_path.name == "tensor"
        pair = fast_and_slow(model, recorder, json.dumps({form: value}).encode())
    if pair is not None:
        fast, slow = pair
        assert (fast.dtype, fast.shape) == (slow.dtype, slow.shape)
        assert exactly(fast.tolist()) == exactly(slow.tolist())


@settings(moderately, max_examples=100)
@given(
    st.dictionaries(st.sampled_from(["k", "f", "other"]), ODD, max_size=3)
    | st.sampled_from([None, [], "x", {"k": 2**64, "f": 2**64}, {"f": -0.0}])
)
def test_params_reach_the_model_as_mlflow_enforces_them(params):
    recorder = Recorder()
    columns = [("a", "long"), ("b", "string")]
    body = json.dumps({"dataframe_records": [{"a": 1, "b": "x"}], "params": params}).encode()
    with quietly():
        model = serve(recorder, column_schema(columns), PARAMS)
        decoded = model.decode(body)
        if decoded is None:
            return
        slow = recorder.params if model.predict_one(body, "", "", True).status == 200 else "refused"
        try:
            model.predict_batch([decoded[0]], [1], decoded[2])
        except MlflowException:  # the server then asks MLflow, which has the last word
            return
        assert exactly(recorder.params) == exactly(slow)


def test_common_params_take_the_fast_path():
    recorder = Recorder()
    with quietly():
        model = serve(recorder, column_schema([("a", "long")]), PARAMS)
        data, count, params = model.decode(b'{"dataframe_records": [{"a": 1}], "params": {"f": 2}}')
        model.predict_batch([data], [count], params)
    assert exactly(recorder.params) == exactly({"f": 2.0, "k": 7})


def test_params_without_a_schema_are_left_to_mlflow():
    model = serve(Recorder(), column_schema([("a", "long")]))
    assert model.decode(b'{"dataframe_records": [{"a": 1}], "params": {"k": 1}}') is None
    assert model.decode(b'{"dataframe_records": [{"a": 1}], "params": null}') is not None


PLAIN_VALUES = {"double": [1.5, 2, None], "float": [0.1, 3, None], "long": [1, 2.5, 2**40], "integer": [1, 2, 3]}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", NUMERIC)
def test_plain_numbers_take_the_array_path(kind, form):
    columns: Columns = [("a", kind), ("b", kind)]
    rows = [{"b": value, "a": value} for value in PLAIN_VALUES[kind]]
    shaped: Any = rows
    if form == "dataframe_split":
        shaped = {"columns": ["b", "a"], "data": [list(row.values()) for row in rows]}
    elif form == "inputs":
        shaped = dict.fromkeys(("b", "a"), PLAIN_VALUES[kind])
    with quietly():
        model = serve(EstimatorWrapper(), column_schema(columns))
        decoded = model.decode(json.dumps({form: shaped}).encode())
    assert decoded is not None
    assert decoded[1] == 3


def test_plain_mixed_rows_take_the_frame_path():
    columns: Columns = [("n", "double"), ("i", "integer"), ("t", "string"), ("f", "boolean")]
    with quietly():
        model = serve(Recorder(), column_schema(columns))
        for document in (
            {"dataframe_records": [{"t": "x", "n": None, "i": 1, "f": True}]},
            {"dataframe_split": {"columns": ["t", "n", "i", "f"], "data": [["x", 1, 1, True]]}},
        ):
            assert model.decode(json.dumps(document).encode()) is not None


@pytest.mark.parametrize("columns", [[("a", "datetime")], [("a", "binary")], [("a", "double"), ("b", "datetime")]])
def test_columns_of_other_types_have_no_fast_path(columns):
    with quietly():
        assert serve(Recorder(), column_schema(columns)).fast_path is None


def test_optional_columns_and_unnamed_ones_have_no_fast_path():
    with quietly():
        optional = Schema([ColSpec(DataType.double, "a"), ColSpec(DataType.double, "b", required=False)])
        assert serve(Recorder(), optional).fast_path is None
        assert serve(Recorder(), Schema([ColSpec(DataType.double)])).fast_path is None


ARRAY_COLUMNS: Columns = [("a", "long"), ("b", "double"), ("c", "float"), ("index", "integer")]
FRAME_COLUMNS: Columns = [("a", "double"), ("b", "string"), ("c", "long"), ("f", "boolean")]


def training_frame(columns: Columns) -> pd.DataFrame:
    generator = np.random.default_rng(3)
    made: dict[str, Any] = {}
    for name, kind in columns:
        if kind == "string":
            made[name] = generator.choice(["x", "1", ""], 60)
        elif kind == "boolean":
            made[name] = generator.choice([True, False], 60)
        else:
            made[name] = (generator.normal(size=60) * 50).astype(DataType[kind].to_numpy())
    return pd.DataFrame(made)


def _tree(frame: pd.DataFrame) -> Any:
    from sklearn.tree import DecisionTreeRegressor

    return DecisionTreeRegressor(random_state=0).fit(frame, np.sin(frame["b"]) + frame["a"])


def _linear(frame: pd.DataFrame) -> Any:
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LinearRegression()).fit(frame, frame["a"] * 2.0 + frame["b"])


def _classifier(frame: pd.DataFrame) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    labels = np.where(frame["a"] > 0, "höher", "low")
    return RandomForestClassifier(3, random_state=0).fit(frame, labels)


def _pipeline(frame: pd.DataFrame) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder
    from sklearn.tree import DecisionTreeClassifier

    encode = ColumnTransformer([("text", OneHotEncoder(), ["b"])], remainder="passthrough")
    return make_pipeline(encode, DecisionTreeClassifier(random_state=0)).fit(frame, (frame["a"] > 0).astype(int))


def _multi(frame: pd.DataFrame) -> Any:
    from sklearn.tree import DecisionTreeRegressor

    return DecisionTreeRegressor(random_state=0).fit(frame, np.stack([frame["a"], frame["b"]], axis=1))


def _matrix(frame: pd.DataFrame) -> Any:
    from sklearn.tree import DecisionTreeRegressor

    return DecisionTreeRegressor(random_state=0).fit(frame.to_numpy(), frame["b"])


Load = Callable[[str], ServedModel]
BUILDERS = {
    "tree": (_tree, ARRAY_COLUMNS, "array"),
    "linear": (_linear, ARRAY_COLUMNS, "array"),
    "classifier": (_classifier, ARRAY_COLUMNS, "array"),
    "multi": (_multi, ARRAY_COLUMNS, "array"),
    "pipeline": (_pipeline, FRAME_COLUMNS, "frame"),
    "matrix": (_matrix, ARRAY_COLUMNS, "tensor"),
}


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Saves and loads the model of `BUILDERS` with that name, once."""
    loaded: dict[str, ServedModel] = {}

    def load_once(name: str) -> ServedModel:
        if name not in loaded:
            build, columns, fast_path = BUILDERS[name]
            path = str(tmp_path_factory.mktemp("models") / name)
            schema = column_schema(columns)
            if name == "matrix":
                schema = Schema([TensorSpec(np.dtype("float64"), (-1, len(columns)))])
            save_sklearn(build(training_frame(columns)), path, ModelSignature(inputs=schema))
            with quietly():
                loaded[name] = ServedModel(path, strict_json=False, batching="auto")
            assert loaded[name].fast_path.name == fast_path
        return loaded[name]

    return load_once


def save_sklearn(estimator: Any, path: str, signature: ModelSignature, **options: Any) -> None:
    with quietly():
        mlflow.sklearn.save_model(
            estimator,
            path,
            signature=signature,
            serialization_format="cloudpickle",
            pip_requirements=["mlflow"],
            **options,
        )


def answer(model: ServedModel, body: bytes) -> tuple[int, Any]:
    """Status and JSON of the replica's answer to a request that came alone."""
    decoded = model.decode(body)
    if decoded is not None:
        try:
            return 200, json.loads(model.predict_batch([decoded[0]], [decoded[1]], decoded[2])[0])
        except Exception:  # noqa: BLE001  as the server does: then MLflow answers
            pass
    one = model.predict_one(body, "application/json", "a-request", False)
    return one.status, json.loads(one.body)


def answer_of_mlflow(model: ServedModel, body: bytes) -> tuple[int, Any]:
    """Status and JSON of MLflow's scoring server; a failure of its own is what it would log."""
    try:
        result = scoring_server.invocations(body, "application/json", model.pyfunc, model.input_schema)
    except MlflowException as error:
        return error.get_http_status_code(), json.loads(error.serialize_as_json())
    return result.status, json.loads(result.response)


def the_same(got: tuple[int, Any], wanted: tuple[int, Any], relative: float) -> bool:
    if got[0] != wanted[0]:
        return False
    if got[0] != 200:
        message = wanted[1]["message"].partition("\nInput: \n")[0][:4096]
        return got[1]["error_code"] == wanted[1]["error_code"] and got[1]["message"].startswith(message)
    if not relative:
        return exactly(got[1]) == exactly(wanted[1])
    return np.allclose(got[1]["predictions"], wanted[1]["predictions"], rtol=relative, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in BUILDERS if name != "matrix"])
@settings(moderately, max_examples=60)
@given(data=st.data())
def test_whole_answer_is_the_one_of_mlflow(load, name, data):
    _, columns, _ = BUILDERS[name]
    body = json.dumps(data.draw(documents(columns))).encode()
    model = load(name)
    with quietly():
        got, wanted = answer(model, body), answer_of_mlflow(model, body)
    assert the_same(got, wanted, 1e-12 if name == "linear" else 0.0), (got, wanted)


@settings(moderately, max_examples=60)
@given(
    st.lists(st.lists(FLOATS | INTEGERS | st.booleans() | st.none(), min_size=3, max_size=5), max_size=3) | ODD,
    st.sampled_from(FORMATS),
)
def test_whole_answer_to_a_tensor_is_the_one_of_mlflow(load, value, form):
    model = load("matrix")
    body = json.dumps({form: value}).encode()
    with quietly():
        got, wanted = answer(model, body), answer_of_mlflow(model, body)
    assert the_same(got, wanted, 0.0), (got, wanted)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"1", b"\xff", b"{}", b'{"inputs": [1], "instances": [1]}'])
def test_unreadable_bodies_are_refused_in_the_words_of_mlflow(load, body):
    model = load("tree")
    assert the_same(answer(model, body), answer_of_mlflow(model, body), 0.0)


def random_bodies(columns: Columns, seed: int, count: int) -> list[bytes]:
    generator = random.Random(seed)

    def value(kind: str) -> Any:
        if kind in ("double", "float"):
            return generator.choice([generator.gauss(0, 60), generator.randint(-60, 60)])
        if kind == "boolean":
            return generator.random() < 0.5
        return generator.choice(["x", "1", ""]) if kind == "string" else generator.randint(-90, 90)

    bodies = []
    for _ in range(count):
        rows = [{name: value(kind) for name, kind in columns} for _ in range(generator.randint(1, 5))]
        bodies.append(json.dumps({"dataframe_records": rows}).encode())
    return bodies


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("name", ["tree", "classifier", "multi", "pipeline", "linear"])
def test_batched_answers_equal_single_answers_in_any_grouping(load, name):
    model = load(name)
    _, columns, _ = BUILDERS[name]
    decoded = [model.decode(body) for body in random_bodies(columns, 5, 40)]
    single = [model.predict_batch([data], [count], None)[0] for data, count, _ in decoded]
    generator = random.Random(7)
    for _ in range(5):
        order = generator.sample(range(len(decoded)), len(decoded))
        while order:
            group, order = order[: (size := generator.randint(1, 12))], order[size:]
            batched = model.predict_batch([decoded[at][0] for at in group], [decoded[at][1] for at in group], None)
            for at, body in zip(group, batched, strict=True):
                if name == "linear":
                    assert the_same((200, json.loads(body)), (200, json.loads(single[at])), 1e-12)
                else:
                    assert body == single[at]


def served(path: Path) -> ServedModel:
    with quietly():
        return ServedModel(str(path), strict_json=False, batching="auto")


def test_estimator_fitted_on_columns_in_another_order_is_not_given_arrays(tmp_path):
    frame = training_frame(ARRAY_COLUMNS)
    save_sklearn(
        _linear(frame[["b", "a", "c", "index"]]),
        str(tmp_path / "m"),
        ModelSignature(inputs=column_schema(ARRAY_COLUMNS)),
    )
    model = served(tmp_path / "m")
    assert model.fast_path is None or model.fast_path.name != "array"
    body = json.dumps({"dataframe_records": [{"a": 1, "b": 2.5, "c": 0.5, "index": 3}]}).encode()
    with quietly():
        assert the_same(answer(model, body), answer_of_mlflow(model, body), 0.0)


def test_probabilities_of_several_targets_are_not_mixed_between_requests(tmp_path):
    from sklearn.tree import DecisionTreeClassifier

    frame = training_frame(ARRAY_COLUMNS)
    targets = np.stack([frame["a"] > 0, frame["b"] > 0, frame["c"] > 0], axis=1).astype(int)
    save_sklearn(
        DecisionTreeClassifier(random_state=0).fit(frame, targets),
        str(tmp_path / "m"),
        ModelSignature(inputs=column_schema(ARRAY_COLUMNS)),
        pyfunc_predict_fn="predict_proba",
    )
    assert not served(tmp_path / "m").batches


def test_model_whose_answer_depends_on_the_rows_beside_is_not_batched():
    class Centring(Recorder):
        def predict(self, data: Any, params: Any = None) -> Any:
            values = data["a"].to_numpy()
            return values - values.mean()

    with quietly():
        assert not serve(Centring(), column_schema([("a", "double")])).batches


def test_model_that_fails_on_made_up_rows_is_still_batched():
    class Choosy(Recorder):
        def predict(self, data: Any, params: Any = None) -> Any:
            if (data["t"] == "a").any():
                raise ValueError("unknown category")
            return np.zeros(len(data))

    with quietly():
        assert serve(Choosy(), column_schema([("t", "string")])).batches


def test_lightgbm_sees_large_integers_as_it_does_in_a_frame(tmp_path):
    from lightgbm import LGBMRegressor

    frame = pd.DataFrame({"a": np.arange(2**24, 2**24 + 64), "b": np.arange(64)})
    fitted = LGBMRegressor(n_estimators=3, min_child_samples=1, verbose=-1).fit(frame, frame["a"] % 2 * 100.0)
    schema = column_schema([("a", "long"), ("b", "long")])
    with quietly():
        mlflow.lightgbm.save_model(
            fitted, str(tmp_path / "m"), signature=ModelSignature(inputs=schema), pip_requirements=["mlflow"]
        )
    model = served(tmp_path / "m")
    assert model.batches
    body = json.dumps({"dataframe_split": {"columns": ["a", "b"], "data": frame.to_numpy().tolist()}}).encode()
    with quietly():
        assert model.decode(body) is not None
        assert the_same(answer(model, body), answer_of_mlflow(model, body), 0.0)


def test_params_reach_an_xgboost_estimator(tmp_path):
    from xgboost import XGBClassifier

    frame = training_frame([("a", "double"), ("b", "double")])
    fitted = XGBClassifier(n_estimators=2).fit(frame, (frame["a"] > 0).astype(int))
    signature = ModelSignature(
        inputs=column_schema([("a", "double"), ("b", "double")]),
        params=ParamSchema([ParamSpec("output_margin", DataType.boolean, False)]),
    )
    with quietly():
        mlflow.xgboost.save_model(fitted, str(tmp_path / "m"), signature=signature, pip_requirements=["mlflow"])
    model = served(tmp_path / "m")
    assert model.batches
    row = {"dataframe_records": [{"a": 1.5, "b": 2.5}]}
    for params in ({"output_margin": True}, {"output_margin": False}):
        body = json.dumps({**row, "params": params}).encode()
        with quietly():
            assert model.decode(body) is not None
            assert the_same(answer(model, body), answer_of_mlflow(model, body), 0.0)


def test_native_xgboost_model_is_batched_as_a_frame(tmp_path):
    import xgboost

    frame = training_frame([("a", "double"), ("b", "long")])
    fitted = xgboost.train({"verbosity": 0}, xgboost.DMatrix(frame, label=frame["a"]), 2)
    signature = ModelSignature(inputs=column_schema([("a", "double"), ("b", "long")]))
    with quietly():
        mlflow.xgboost.save_model(fitted, str(tmp_path / "m"), signature=signature, pip_requirements=["mlflow"])
    model = served(tmp_path / "m")
    assert model.fast_path.name == "frame"
    body = b'{"dataframe_records": [{"a": 1.5, "b": 2}]}'
    with quietly():
        assert the_same(answer(model, body), answer_of_mlflow(model, body), 0.0)
