"""The query schema: from signatures as MLflow writes them to an OpenAPI document, and the route that answers it."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml
from control_harness import ANN, BOB, ENDPOINTS, ControlPlane, control_plane, entity
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.models.utils import _enforce_schema
from mlflow.pyfunc.scoring_server import infer_and_parse_data
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import AnyType, Array, Map, Object, Property
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from moorage.control.json_types import DATETIME_PATTERN
from moorage.control.model_signature import ModelFilesError, read_model
from moorage.control.query_schema import ServedSignature, open_api_document
from moorage.control.store.models import Deployment

BASE = "https://models.example.com"
MINUTE = "2024-02-29T12:30:00"
EXAMPLE_INFO = {"artifact_path": "input_example.json", "type": "dataframe", "pandas_orient": "split"}


def columns(*specs: tuple[Any, ...]) -> Schema:
    """Of (type, name) or (type, name, required)."""
    return Schema([ColSpec(kind, *name[:1], required=False not in name) for kind, *name in specs])


def write_model(
    folder: Path, signature: ModelSignature | dict[str, Any] | None, example: Any = None, **fields: Any
) -> Path:
    """A model's folder as MLflow lays it out. `example` is what its file holds."""
    document: dict[str, Any] = {"flavors": {}, **fields}
    if signature is not None:
        document["signature"] = signature if isinstance(signature, dict) else signature.to_dict()
    folder.mkdir(exist_ok=True)
    if example is not None:
        (folder / "input_example.json").write_text(json.dumps(example))
        document.setdefault("saved_input_example_info", EXAMPLE_INFO)
    (folder / "MLmodel").write_text(yaml.safe_dump(document))
    return folder


@pytest.fixture
def described(tmp_path: Path) -> Any:
    """The operation of one served entity's path, in a document that is valid."""

    def operation(inputs: Schema, outputs: Schema | None = None, params: Any = None, **rest: Any) -> Any:
        signature = ModelSignature(inputs, outputs, ParamSchema(params) if params else None)
        model = read_model(write_model(tmp_path / "model", signature, **rest))
        assert model.signature is not None
        document = open_api_document(
            "ads", 2, BASE, [ServedSignature("ads-1", model.signature, model.input_example)]
        )
        check_document(document)
        return document["paths"]["/served-models/ads-1/invocations"]["post"]

    return operation


def check_document(document: dict[str, Any]) -> None:
    """As the validator has it; it does not look into the schemas of bodies, so these are checked here."""
    validate(json.loads(json.dumps(document, allow_nan=False)), cls=OpenAPIV31SpecValidator)
    for path in document["paths"].values():
        contents = [path["post"]["requestBody"]["content"], path["post"]["responses"]["200"]["content"]]
        for content in contents:
            jsonschema.Draft202012Validator.check_schema(content["application/json"]["schema"])


def request_schema(operation: Any) -> Any:
    return operation["requestBody"]["content"]["application/json"]["schema"]


def members(operation: Any) -> dict[str, Any]:
    """The formats by the key that a body of them must have."""
    return {member["required"][0]: member for member in request_schema(operation)["oneOf"]}


def predictions(operation: Any) -> Any:
    return operation["responses"]["200"]["content"]["application/json"]["schema"]["properties"]["predictions"]


def permits(operation: Any, body: Any) -> bool:
    return jsonschema.Draft202012Validator(request_schema(operation)).is_valid(body)


def test_the_document_has_the_form_of_the_published_example(tmp_path: Path) -> None:
    signature = ModelSignature(
        columns((DataType.long, "int_col"), (DataType.double, "float_col", False), (DataType.string, "string_col")),
        Schema([ColSpec(DataType.string)]),
        ParamSchema([ParamSpec("sentiment", DataType.double, 0.5)]),
    )
    example = {"columns": ["int_col", "float_col", "string_col"], "data": [[3, 10.4, "abc"], [2, 20.4, "xyz"]]}
    model = read_model(write_model(tmp_path / "model", signature, example))
    assert model.signature is not None
    served = [ServedSignature(name, model.signature, model.input_example) for name in ("a-1", "b-1")]
    document = open_api_document("example-endpoint", 2, BASE, served)
    check_document(document)
    assert document["openapi"] == "3.1.0"
    assert document["info"] == {"title": "example-endpoint", "version": "2"}
    assert document["servers"] == [{"url": f"{BASE}/serving-endpoints/example-endpoint"}]
    assert list(document["paths"]) == ["/served-models/a-1/invocations", "/served-models/b-1/invocations"]

    operation = document["paths"]["/served-models/a-1/invocations"]["post"]
    split, records = request_schema(operation)["oneOf"]
    params = {"type": "object", "properties": {"sentiment": {"type": "number", "format": "double", "default": "0.5"}}}
    assert split["properties"]["params"] == records["properties"]["params"] == params
    frame = split["properties"]["dataframe_split"]["properties"]
    assert frame["columns"]["description"] == "required fields: int_col, string_col"
    assert frame["columns"]["items"] == {"type": "string", "enum": ["int_col", "float_col", "string_col"]}
    types = [{"type": "integer", "format": "int64"}, {"type": "number", "format": "double"}, {"type": "string"}]
    assert frame["data"]["items"]["prefixItems"] == types
    assert split["examples"] == [example]
    record = records["properties"]["dataframe_records"]["items"]
    assert record["required"] == ["int_col", "string_col"]
    assert record["properties"] == dict(zip(frame["columns"]["items"]["enum"], types, strict=True))
    assert operation["responses"]["200"]["description"] == "Successful operation"
    assert predictions(operation) == {"type": "array", "items": {"type": "string"}}
    assert operation["requestBody"]["content"]["application/json"]["example"] == {"dataframe_split": example}


@pytest.mark.parametrize(
    ("kind", "schema"),
    [
        (DataType.long, {"type": "integer", "format": "int64"}),
        (DataType.integer, {"type": "integer", "format": "int32"}),
        (DataType.double, {"type": "number", "format": "double"}),
        (DataType.float, {"type": "number", "format": "float"}),
        (DataType.boolean, {"type": "boolean"}),
        (DataType.string, {"type": "string"}),
        (DataType.binary, {"type": "string", "format": "byte"}),
        (DataType.datetime, {"type": "string", "format": "date-time-local", "pattern": DATETIME_PATTERN}),
        (Array(DataType.long), {"type": "array", "items": {"type": "integer", "format": "int64"}}),
        (Map(DataType.string), {"type": "object", "additionalProperties": {"type": "string"}}),
        (AnyType(), {}),
        (
            Object([Property("x", DataType.string), Property("y", DataType.boolean, required=False)]),
            {
                "type": "object",
                "properties": {"x": {"type": "string"}, "y": {"type": "boolean"}},
                "required": ["x"],
                "additionalProperties": False,
            },
        ),
    ],
)
def test_every_type_has_its_schema(described: Any, kind: Any, schema: dict[str, Any]) -> None:
    records = members(described(columns((kind, "a"))))["dataframe_records"]["properties"]["dataframe_records"]
    assert records["items"]["properties"] == {"a": schema}


def test_a_type_that_is_not_known_is_an_object_of_unknown_format(tmp_path: Path) -> None:
    inputs = json.dumps([{"type": "hologram", "name": "becx_col", "required": True}])
    model = read_model(write_model(tmp_path / "model", {"inputs": inputs, "outputs": inputs, "params": None}))
    assert model.signature is not None
    document = open_api_document("ads", 1, BASE, [ServedSignature("a", model.signature)])
    check_document(document)
    operation = document["paths"]["/served-models/a/invocations"]["post"]
    record = members(operation)["dataframe_records"]["properties"]["dataframe_records"]["items"]
    assert record["properties"] == {"becx_col": {"type": "object", "format": "unknown"}}


def test_signatures_of_older_versions_of_mlflow_are_understood(tmp_path: Path) -> None:
    inputs = json.dumps([{"name": "a", "type": "long"}, {"name": "b", "type": "long", "optional": True}])
    model = read_model(write_model(tmp_path / "model", {"inputs": inputs, "outputs": None}))
    assert model.signature is not None
    assert [column.required for column in model.signature.inputs.columns] == [True, False]  # type: ignore[union-attr]


def test_defaults_of_params_are_text(described: Any) -> None:
    operation = described(
        columns((DataType.long, "a")),
        params=[
            ParamSpec("number", DataType.long, 7),
            ParamSpec("text", DataType.string, "seven"),
            ParamSpec("flag", DataType.boolean, True),
            ParamSpec("none", DataType.string, None),
            ParamSpec("numbers", DataType.double, [0.5, 1.0], shape=(-1,)),
            ParamSpec("when", DataType.datetime, np.datetime64("2024-01-01T00:00:00")),
            ParamSpec("map", Object([Property("z", DataType.string)]), {"z": "q"}),
        ],
    )
    found = members(operation)["dataframe_split"]["properties"]["params"]["properties"]
    defaults = {name: schema.get("default") for name, schema in found.items()}
    assert defaults == {
        "number": "7",
        "text": "seven",
        "flag": "true",
        "none": None,
        "numbers": "[0.5, 1.0]",
        "when": "2024-01-01T00:00:00",
        "map": '{"z": "q"}',
    }
    assert "default" not in found["none"]
    assert found["numbers"]["type"] == "array"


SCALARS = columns((DataType.double, "x"), (DataType.long, "n", False), (DataType.datetime, "t", False))
NAMED = Schema([TensorSpec(np.dtype("float32"), (-1, 2), "x"), TensorSpec(np.dtype("uint8"), (-1,), "y")])
ONE_TENSOR = Schema([TensorSpec(np.dtype("float32"), (-1, 2))])
FIXED = Schema([TensorSpec(np.dtype("float64"), (2,), "x")])
NESTED = columns(
    (Array(DataType.double), "a"), (Object([Property("x", DataType.string)]), "o"), (Map(DataType.long), "m", False)
)
UNNAMED = columns((DataType.long,), (DataType.string,))
NUMBERED = Schema([ColSpec(DataType.double, 0), ColSpec(DataType.long, 1)])

BODIES: list[tuple[Schema, Any, bool]] = [
    (SCALARS, {"dataframe_records": [{"x": 1}, {"x": 0.5}]}, True),
    (SCALARS, {"dataframe_records": [{"x": 1, "n": 3, "t": MINUTE}, {"x": 0.5, "n": 4}]}, True),
    (SCALARS, {"dataframe_records": [{"x": 1, "n": 3}, {"x": 0.5}]}, False),
    (SCALARS, {"dataframe_records": [{"x": 1, "t": f"{MINUTE}Z"}]}, False),
    (SCALARS, {"dataframe_records": [{"x": 1, "t": "2023-02-29T12:30:00"}]}, False),
    (SCALARS, {"dataframe_records": [{"x": 1, "t": "2300-01-01T00:00:00"}]}, False),
    (SCALARS, {"dataframe_records": [{"n": 3}]}, False),
    (SCALARS, {"dataframe_records": []}, False),
    (SCALARS, {"dataframe_records": [{"x": 1, "extra": [None]}]}, True),
    (SCALARS, {"dataframe_split": {"columns": ["x", "n", "t"], "data": [[1, 2, MINUTE], [2, 3, MINUTE]]}}, True),
    (SCALARS, {"dataframe_split": {"columns": ["x", "n", "t"], "data": [[1, 2]]}}, False),
    (SCALARS, {"dataframe_split": {"columns": ["t", "n", "x"], "data": [[1, 2, MINUTE]]}}, False),
    (SCALARS, {"dataframe_split": {"data": [[1, 2, MINUTE]]}}, False),
    (SCALARS, {"dataframe_split": {"columns": ["x", "n", "t"], "data": [[1, 2, MINUTE]], "rows": 1}}, False),
    (NESTED, {"dataframe_records": [{"a": [1, 2.5], "o": {"x": "q"}}]}, True),
    (NESTED, {"dataframe_records": [{"a": [], "o": {"x": "q"}, "m": {"k": 1}}]}, True),
    (NESTED, {"dataframe_records": [{"a": [1], "o": {"x": "q"}, "m": {}}, {"a": [], "o": {"x": "q"}}]}, False),
    (NESTED, {"dataframe_records": [{"a": [1], "o": {"x": "q", "y": 1}}]}, False),
    (NESTED, {"dataframe_records": [{"a": ["7"], "o": {"x": "q"}}]}, False),
    (UNNAMED, {"dataframe_split": {"data": [[1, "a"]]}}, True),
    (UNNAMED, {"dataframe_split": {"data": [["a", "a"]]}}, False),
    (UNNAMED, {"inputs": [[1, "a"]]}, False),
    (NUMBERED, {"dataframe_split": {"data": [[1, 2]]}}, True),
    (NUMBERED, {"dataframe_records": [{"0": 1, "1": 2}]}, False),
    (columns((DataType.string,)), {"inputs": ["a", "b"]}, True),
    (columns((Map(DataType.string),)), {"inputs": [{"a": "b"}]}, False),
    (columns((Map(DataType.string),)), {"dataframe_split": {"data": [[{"a": "b"}]]}}, True),
    (columns((DataType.binary, "b")), {"dataframe_records": [{"b": "aGk="}]}, True),
    (ONE_TENSOR, {"inputs": [[1, 2.5]]}, True),
    (ONE_TENSOR, {"instances": [[1, 2.5], [0, 0]]}, True),
    (ONE_TENSOR, {"inputs": [[1, 2, 3]]}, False),
    (ONE_TENSOR, {"inputs": []}, False),
    (NAMED, {"inputs": {"x": [[1, 2]], "y": [255]}}, True),
    (NAMED, {"inputs": {"x": [[1, 2]], "y": [256]}}, False),
    (NAMED, {"inputs": {"x": [[1, 2]]}}, False),
    (NAMED, {"instances": [{"x": [1, 2], "y": 0}, {"x": [3, 4], "y": 1}]}, True),
    (NAMED, {"instances": [{"x": [[1, 2]], "y": [0]}]}, False),
    (NAMED, {"instances": []}, False),
    (FIXED, {"inputs": {"x": [1, 2]}}, True),
    (FIXED, {"inputs": {"x": [1]}}, False),
    (FIXED, {"instances": [{"x": 1}]}, False),
]


def taken_by_mlflow(inputs: Schema, body: Any) -> bool:
    try:
        _enforce_schema(infer_and_parse_data(body, inputs), inputs)
    except MlflowException:
        return False
    return True


@pytest.mark.parametrize(("inputs", "body", "good"), BODIES, ids=[json.dumps(body) for _, body, _ in BODIES])
def test_the_schema_and_mlflow_agree_on_a_body(described: Any, inputs: Schema, body: Any, good: bool) -> None:
    operation = described(inputs)
    assert permits(operation, body) is good
    assert taken_by_mlflow(inputs, body) is good


def test_a_body_of_two_formats_is_of_neither(described: Any) -> None:
    operation = described(ONE_TENSOR)
    assert not permits(operation, {"inputs": [[1, 2]], "instances": [[1, 2]]})
    assert not permits(operation, {"inputs": [], "instances": [[1, 2]]})
    assert not permits(operation, {})
    assert not permits(operation, {"params": {}})


def test_a_model_typed_by_hints_takes_inputs_alone(described: Any) -> None:
    operation = described(columns((Map(DataType.string),)), is_signature_from_type_hint=True)
    assert list(members(operation)) == ["inputs"]
    assert permits(operation, {"inputs": [{"a": "b"}]})
    assert not permits(operation, {"inputs": [{"a": 1}]})


def test_the_pattern_of_times_has_every_day_that_nanoseconds_can_tell() -> None:
    pattern = re.compile(DATETIME_PATTERN)
    days = range(datetime.date(1678, 1, 1).toordinal(), datetime.date(2262, 1, 1).toordinal())
    real = {datetime.date.fromordinal(day).isoformat() for day in days}
    written = {
        f"{year}-{month:02}-{day:02}" for year in range(1676, 2265) for month in range(14) for day in range(33)
    }
    assert {day for day in written if pattern.match(f"{day}T23:59:59")} == real
    for text in ("2024-01-01", "2024-01-01T24:00:00", "2024-01-01T00:60:00", "2024-01-01T00:00:60", f"{MINUTE}.5"):
        assert not pattern.match(text), text


@pytest.mark.parametrize(
    ("outputs", "answers", "never"),
    [
        (None, [1, {"a": [None]}, "text"], []),
        (columns((DataType.double,)), [[1.5, None], [], [3]], ["x", ["x"], None]),
        (columns((DataType.string,)), [["a"]], [[None], [1]]),
        (columns((DataType.binary,)), [["aGk=\n"]], [[1]]),
        (columns((DataType.datetime,)), [["2024-01-01T00:00:00", "NaT"]], [[1]]),
        (columns((DataType.long, "y")), [[{"y": 1}], [1, 2], {"y": 1}], [[{"y": "a"}], ["a"], [{}]]),
        (
            columns((DataType.float, "score"), (DataType.string, "label", False)),
            [[{"score": None, "label": None}, {"score": 1}], {"score": 0.5, "label": "a"}],
            [[1], [{"label": "a"}], {"score": "a"}],
        ),
        (columns((Array(DataType.double), "y")), [{"y": [1, None]}, [{"y": [1]}]], [{"y": ["a"]}]),
        (Schema([TensorSpec(np.dtype("int64"), (-1,))]), [[1, 2], []], [[1.5], [None], 1]),
        (Schema([TensorSpec(np.dtype("float32"), (-1, 2))]), [[[1, None]]], [[[1]], [[1, 2, 3]]]),
        (Schema([TensorSpec(np.dtype("str"), (-1,))]), [["a"]], [[1]]),
        (Schema([TensorSpec(np.dtype("object"), (-1,))]), [["a", None, 1]], ["a"]),
        (Schema([TensorSpec(np.dtype("float64"), (-1,), "y")]), [{"y": [1, None]}], [[1], {}]),
    ],
)
def test_answers_are_described_as_they_are(described: Any, outputs: Any, answers: Any, never: Any) -> None:
    schema = predictions(described(columns((DataType.long, "a")), outputs))
    validator = jsonschema.Draft202012Validator(schema)
    assert [answer for answer in answers if not validator.is_valid(answer)] == []
    assert [answer for answer in never if validator.is_valid(answer)] == []


@pytest.mark.parametrize(
    ("inputs", "info", "example", "body"),
    [
        (
            columns((DataType.long, "a"), (DataType.string, "b")),
            {},
            {"columns": ["b", "a", "c"], "data": [["x", 1, 0], ["y", 2, 0]]},
            {"dataframe_split": {"columns": ["a", "b"], "data": [[1, "x"], [2, "y"]]}},
        ),
        (
            columns((DataType.double, "a")),
            {"params": "true"},
            {"inputs": {"columns": ["a"], "data": [[float("nan")]]}, "params": {"p": 2}},
            {"dataframe_split": {"columns": ["a"], "data": [[None]]}, "params": {"p": 2}},
        ),
        (
            columns((DataType.long, "a"), (DataType.long, "b", False)),
            {"type": "json_object"},
            [{"a": 1}, {"a": 2}],
            {"dataframe_split": {"columns": ["a"], "data": [[1], [2]]}},
        ),
        (
            columns((DataType.long, "a"), (Array(DataType.long), "b")),
            {"type": "json_object"},
            {"a": 1, "b": [1, 2]},
            {"dataframe_split": {"columns": ["a", "b"], "data": [[1, [1, 2]]]}},
        ),
        (NUMBERED, {"pandas_orient": "values"}, {"data": [[1.0, 2]]}, {"dataframe_split": {"data": [[1.0, 2]]}}),
        (ONE_TENSOR, {"type": "ndarray"}, [[1.0, 2.0]], {"inputs": [[1.0, 2.0]]}),
        (ONE_TENSOR, {"type": "ndarray"}, {"inputs": [[1.0, 2.0]]}, {"inputs": [[1.0, 2.0]]}),
        (NAMED, {"type": "ndarray"}, {"x": [[1.0, 2.0]], "y": [1]}, {"inputs": {"x": [[1.0, 2.0]], "y": [1]}}),
        (columns((DataType.long, "a")), {"type": "json_object"}, ["a"], None),
        (columns((DataType.long, "a")), {"type": "sparse_matrix_csr"}, {"data": []}, None),
    ],
)
def test_the_example_is_that_of_the_model(described: Any, inputs: Any, info: Any, example: Any, body: Any) -> None:
    rest = {"example": example, "saved_input_example_info": {**EXAMPLE_INFO, **info}}
    operation = described(inputs, params=[ParamSpec("p", DataType.long, 1)], **rest)
    assert operation["requestBody"]["content"]["application/json"].get("example") == body
    split = (body or {}).get("dataframe_split")
    first = request_schema(operation)["oneOf"][0]
    assert first.get("examples") == (None if split is None else [split])


def test_an_example_of_megabytes_is_left_out(described: Any) -> None:
    operation = described(columns((DataType.string, "a")), example={"columns": ["a"], "data": [["x" * 1_000_000]]})
    assert "example" not in operation["requestBody"]["content"]["application/json"]


scalar_types = st.sampled_from(list(DataType))
column_types = st.recursive(
    scalar_types | st.builds(AnyType),
    lambda inner: st.one_of(
        st.builds(Array, inner),
        st.builds(Map, inner),
        st.builds(
            Object,
            st.lists(
                st.builds(Property, st.text(min_size=1, max_size=5), inner, required=st.booleans()),
                min_size=1,
                max_size=3,
                unique_by=lambda one: one.name,
            ),
        ),
    ),
    max_leaves=5,
)
names = st.text(max_size=8)
column_schemas = st.one_of(
    st.lists(st.tuples(column_types, names, st.booleans()), min_size=1, max_size=4, unique_by=lambda one: one[1]).map(
        lambda specs: Schema([ColSpec(kind, name, required) for kind, name, required in specs])
    ),
    st.lists(column_types, min_size=1, max_size=4).map(lambda kinds: Schema([ColSpec(kind) for kind in kinds])),
)
integers = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
others = ["bool", "float16", "float32", "float64", "str", "object", "datetime64[ns]", "complex64"]
dtypes = st.sampled_from(integers + others).map(np.dtype)
shapes = st.lists(st.sampled_from([-1, 0, 1, 3]), max_size=3).map(tuple)
tensor_schemas = st.one_of(
    st.builds(TensorSpec, dtypes, shapes).map(lambda spec: Schema([spec])),
    st.lists(
        st.builds(TensorSpec, dtypes, shapes, names.filter(bool)),
        min_size=1,
        max_size=3,
        unique_by=lambda spec: spec.name,
    ).map(Schema),
)
param_schemas = st.lists(
    st.one_of(
        st.builds(lambda name, value: ParamSpec(name, DataType.double, value), names, st.floats()),
        st.builds(lambda name, value: ParamSpec(name, DataType.string, value), names, st.none() | st.text()),
        st.builds(
            lambda name, value: ParamSpec(name, DataType.long, value, shape=(-1,)), names, st.lists(st.integers(0, 9))
        ),
    ),
    max_size=3,
    unique_by=lambda spec: spec.name,
).map(lambda specs: ParamSchema(specs) if specs else None)


@settings(max_examples=60, deadline=None)
@given(
    inputs=column_schemas | tensor_schemas,
    outputs=st.none() | column_schemas | tensor_schemas,
    params=param_schemas,
    hinted=st.booleans(),
)
def test_the_document_of_any_signature_is_valid(
    tmp_path_factory: pytest.TempPathFactory, inputs: Any, outputs: Any, params: Any, hinted: bool
) -> None:
    signature = ModelSignature(inputs, outputs, params)
    folder = write_model(tmp_path_factory.mktemp("model"), signature, is_signature_from_type_hint=hinted)
    model = read_model(folder)
    assert model.signature is not None
    check_document(open_api_document("ads", 1, BASE, [ServedSignature("ads-1", model.signature)]))


SIGNATURE = ModelSignature(columns((DataType.long, "a")))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "MLmodel").unlink(), "MLmodel is missing"),
        (lambda folder: (folder / "MLmodel").write_bytes(b"\xff\xfe{"), "MLmodel cannot be read"),
        (lambda folder: (folder / "MLmodel").write_text("a: [1"), "MLmodel cannot be read"),
        (lambda folder: (folder / "MLmodel").write_text("- 1"), "MLmodel holds no mapping"),
        (lambda folder: (folder / "MLmodel").write_text("signature: {inputs: '[{'}"), "the signature in MLmodel"),
        (lambda folder: (folder / "MLmodel").write_text("signature: {inputs: '[{}]'}"), "the signature in MLmodel"),
        (lambda folder: (folder / "MLmodel").write_text("signature: [1]"), "the signature in MLmodel"),
        (lambda folder: (folder / "MLmodel").write_text("signature: {inputs: '{}x'}"), "the signature in MLmodel"),
        (lambda folder: (folder / "input_example.json").unlink(), "input_example.json that MLmodel names is missing"),
        (lambda folder: (folder / "input_example.json").write_text("{"), "input_example.json cannot be read"),
        (
            lambda folder: write_model(folder, None, saved_input_example_info={"artifact_path": "../secret.json"}),
            "lies outside",
        ),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, damage: Any, words: str) -> None:
    (tmp_path / "secret.json").write_text("{}")
    folder = write_model(tmp_path / "model", SIGNATURE, {"columns": ["a"], "data": [[1]]})
    damage(folder)
    with pytest.raises(ModelFilesError, match=re.escape(words)):
        read_model(folder)


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        yield plane


def serve(plane: ControlPlane, models: dict[str, Path | None]) -> None:
    """An endpoint `ads` that is READY and serves these folders under these names."""
    shares = [100] + [0] * (len(models) - 1)
    routes = [
        {"served_model_name": name, "traffic_percentage": share} for name, share in zip(models, shares, strict=True)
    ]
    config = {"served_entities": [entity(name=name) for name in models], "traffic_config": {"routes": routes}}
    created = plane.create(config=config)
    plane.activate(created["id"])
    with plane.sessions.begin() as session:
        for deployment in session.query(Deployment):
            path = models[deployment.served_name]
            deployment.model_path = None if path is None else str(path)


def test_the_route_answers_the_document(plane: ControlPlane, tmp_path: Path) -> None:
    serve(plane, {"one": write_model(tmp_path / "a", SIGNATURE), "two": write_model(tmp_path / "b", SIGNATURE)})
    for path in ("openapi", "openapi/"):
        response = plane.request("GET", f"{ENDPOINTS}/ads/{path}", headers={"Accept": "text/plain"})
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/json"
        document = response.json()
        check_document(document)
        assert document["servers"] == [{"url": f"{BASE}/serving-endpoints/ads"}]
        assert list(document["paths"]) == [f"/served-models/{name}/invocations" for name in ("one", "two")]


def test_text_that_utf8_cannot_hold_does_not_break_the_answer(plane: ControlPlane, tmp_path: Path) -> None:
    inputs = json.dumps([{"type": "long", "name": "\ud800", "required": True}])
    serve(plane, {"one": write_model(tmp_path / "a", {"inputs": inputs})})
    response = plane.request("GET", f"{ENDPOINTS}/ads/openapi")
    assert response.status_code == 200
    assert "\\ud800" in response.text


def refusal(plane: ControlPlane, caller: Any = ANN, name: str = "ads") -> tuple[int, str, str]:
    response = plane.request("GET", f"{ENDPOINTS}/{name}/openapi", caller)
    body = response.json()
    return response.status_code, body["error_code"], body["message"]


def test_without_a_signature_the_served_entity_is_named(plane: ControlPlane, tmp_path: Path) -> None:
    serve(plane, {"good": write_model(tmp_path / "a", SIGNATURE), "bare": write_model(tmp_path / "b", None)})
    status, code, message = refusal(plane)
    assert (status, code) == (400, "BAD_REQUEST")
    assert "'bare'" in message
    assert "signature" in message


def test_damaged_files_are_an_error_that_names_the_served_entity(plane: ControlPlane, tmp_path: Path) -> None:
    serve(plane, {"lost": tmp_path / "nowhere"})
    status, code, message = refusal(plane)
    assert (status, code) == (500, "INTERNAL_ERROR")
    assert message == "The model files of served entity 'lost' are damaged: the file MLmodel is missing"


@pytest.mark.parametrize("phase", [None, "RECOVERING"])
def test_an_endpoint_that_is_not_ready_has_no_query_schema(plane: ControlPlane, phase: str | None) -> None:
    created = plane.create()
    if phase:
        plane.activate(created["id"], phase)
    status, code, message = refusal(plane)
    assert (status, code) == (400, "BAD_REQUEST")
    assert "not ready" in message


def test_who_may_not_see_the_endpoint_gets_nothing(plane: ControlPlane, tmp_path: Path) -> None:
    serve(plane, {"one": write_model(tmp_path / "a", SIGNATURE)})
    assert refusal(plane, BOB)[:2] == (403, "PERMISSION_DENIED")
    assert refusal(plane, name="nobody")[:2] == (404, "RESOURCE_DOES_NOT_EXIST")
    assert plane.request("GET", f"{ENDPOINTS}/ads/openapi", None).status_code == 401


# External models


def external(name: str, task: str) -> dict[str, Any]:
    model = {"name": "m", "provider": "openai", "task": task, "openai_config": {"openai_api_key_plaintext": "sk-1"}}
    return {"name": name, "external_model": model}


EXTERNAL_BODIES: dict[str, tuple[list[Any], list[Any]]] = {
    "llm/v1/chat": (
        [
            {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8, "temperature": 0.5, "stream": True},
            {
                "messages": [
                    {"role": "assistant", "content": None, "tool_calls": [
                        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                    ]},
                    {"role": "tool", "content": "1", "tool_call_id": "c"},
                    {"role": "user", "content": [{"type": "text", "text": "x"}]},
                ],
                "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
                "tool_choice": "auto",
                "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
                "reasoning_effort": "low",
                "client_request_id": "7",
            },
        ],
        [{}, {"messages": []}, {"messages": [{"content": "Hi"}]}, {"messages": "Hi"}, {"prompt": "Hi"}],
    ),
    "llm/v1/completions": ([{"prompt": "Hi", "stop": ["."]}, {"prompt": ["a", "b"], "n": 2}], [{}, {"prompt": 1}]),
    "llm/v1/embeddings": ([{"input": "Hi"}, {"input": ["a"], "instruction": "i"}], [{}, {"input": [1]}]),
}  # fmt: skip


@pytest.mark.parametrize("task", EXTERNAL_BODIES)
def test_an_external_model_is_queried_as_openai_is(plane: ControlPlane, task: str) -> None:
    config = {
        "served_entities": [external("a", task), external("b", task)],
        "traffic_config": {"routes": [{"served_model_name": "a", "traffic_percentage": 100}]},
    }
    plane.create("llm", config=config)
    response = plane.request("GET", f"{ENDPOINTS}/llm/openapi", headers={"Accept": "text/plain"})
    assert response.status_code == 200, response.text
    document = response.json()
    check_document(document)
    assert document["servers"] == [{"url": f"{BASE}/serving-endpoints/llm"}]
    paths = ["/invocations", "/served-models/a/invocations", "/served-models/b/invocations"]
    assert list(document["paths"]) == paths
    operation = document["paths"]["/invocations"]["post"]
    media = operation["requestBody"]["content"]["application/json"]
    good, bad = EXTERNAL_BODIES[task]
    for body in (*good, media["example"]):
        jsonschema.validate(body, media["schema"], cls=jsonschema.Draft202012Validator)
    assert not any(permits(operation, body) for body in bad)
    answers = operation["responses"]["200"]["content"]
    assert ("text/event-stream" in answers) == (task != "llm/v1/embeddings")


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        (
            "llm/v1/chat",
            {
                "id": "c", "object": "chat.completion", "created": 1, "model": "m",
                "choices": [
                    {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
                ],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            },
        ),
        (
            "llm/v1/completions",
            {
                "object": "text_completion", "model": "m",
                "choices": [{"index": 0, "text": "Hi", "finish_reason": None, "logprobs": None}],
            },
        ),
        (
            "llm/v1/embeddings",
            {"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 1]}]},
        ),
    ],
)  # fmt: skip
def test_an_answer_of_an_external_model_is_openais(plane: ControlPlane, task: str, answer: dict[str, Any]) -> None:
    plane.create("llm", config={"served_entities": [external("a", task)]})
    operation = plane.request("GET", f"{ENDPOINTS}/llm/openapi").json()["paths"]["/invocations"]["post"]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.validate(answer, schema, cls=jsonschema.Draft202012Validator)
    assert not jsonschema.Draft202012Validator(schema).is_valid({"predictions": []})
