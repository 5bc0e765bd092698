import io
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mlflow.pyfunc.scoring_server import predictions_to_json

from moorage.replica import codec

DOUBLE, FLOAT, LONG, INTEGER = (np.dtype(name) for name in ("float64", "float32", "int64", "int32"))


def by_mlflow(output: object) -> object:
    """The predictions as MLflow writes them, parsed."""
    text = io.StringIO()
    predictions_to_json(output, text)
    return json.loads(text.getvalue())


def parsed(body: bytes) -> object:
    return json.loads(body)


def exactly(value: object) -> str:
    """A form in which -0.0 differs from 0.0, 1 from 1.0 and NaN is equal to NaN."""
    return repr(value)


class TestParseDocument:
    @pytest.mark.parametrize("key", ["dataframe_split", "dataframe_records", "inputs", "instances"])
    def test_object_with_one_input_format_is_taken(self, key):
        assert codec.parse_document(json.dumps({key: [1], "params": {}}).encode()) == {key: [1], "params": {}}

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"[]",
            b"1",
            b"{}",
            b'{"columns": []}',
            b'{"inputs": [1], "instances": [1]}',
            b'{"inputs": [1], "prompt": "x"}',
            b'{"inputs": [1], "messages": []}',
            b'{"inputs": [1], "input": []}',
            b'{"inputs": "\\ud800"',
            b"\xff",
            b"[" * 100_000,
        ],
    )
    def test_everything_else_is_left_to_mlflow(self, body):
        assert codec.parse_document(body) is None

    def test_standard_parser_does_where_the_fast_one_is_not_installed(self, monkeypatch):
        monkeypatch.setattr(codec, "orjson", None)
        assert codec.parse_document(b'{"inputs": [1]}') == {"inputs": [1]}
        assert codec.parse_document(b"[" * 100_000) is None


class TestRowDecoder:
    def rows(self, document, names=("a", "b"), dtypes=()):
        return codec.RowDecoder(names, dtypes).rows(document)

    def test_split_rows_are_put_in_the_order_of_the_signature_and_extra_columns_dropped(self):
        document = {"dataframe_split": {"columns": ["x", "b", "a"], "data": [[0, 1, 2], [3, 4, 5]]}}
        assert self.rows(document) == [[2, 1], [5, 4]]

    def test_records_are_put_in_the_order_of_the_signature_and_extra_columns_dropped(self):
        assert self.rows({"dataframe_records": [{"b": 1, "x": 0, "a": 2}]}) == [[2, 1]]

    @pytest.mark.parametrize(
        "split",
        [
            {"columns": ["a"], "data": [[1]]},
            {"columns": ["a", "a", "b"], "data": [[1, 2, 3]]},
            {"columns": ["a", "b"], "data": []},
            {"columns": ["a", "b"], "data": [[1]]},
            {"columns": ["a", "b"], "data": [[1, 2], [3]]},
            {"columns": ["b", "a"], "data": [[1, 2], [3, 4, 5]]},
            {"columns": ["a", "b"], "data": [{"a": 1, "b": 2}]},
            {"columns": ["a", "b"], "data": {"a": [1], "b": [2]}},
            {"columns": ["a", "b", 3], "data": [[1, 2, 3]]},
            {"columns": ["a", "b", ["c"]], "data": [[1, 2, 3]]},
            {"columns": "ab", "data": [[1, 2]]},
            {"columns": ["a", "b"], "data": [[1, 2]], "index": [7]},
            {"data": [[1, 2]]},
            [[1, 2]],
        ],
    )
    def test_unusual_split_is_left_to_mlflow(self, split):
        assert self.rows({"dataframe_split": split}) is None

    @pytest.mark.parametrize("records", [[], {}, [[1, 2]], [{"a": 1}], [{"a": 1, "b": 2}, {"a": 1}], None])
    def test_unusual_records_are_left_to_mlflow(self, records):
        assert self.rows({"dataframe_records": records}) is None

    def test_tensor_forms_are_taken_for_numbers_only(self):
        for document in ({"instances": [{"b": 1, "a": 2}]}, {"inputs": {"b": [1], "a": [2]}}):
            assert self.rows(document) is None
            assert self.rows(document, dtypes=(LONG, DOUBLE)) == [[2, 1]]

    def test_records_of_inputs_are_taken_for_wide_numbers_only(self):
        document = {"inputs": [{"a": 1, "b": 2}]}
        assert self.rows(document, dtypes=(LONG, DOUBLE)) == [[1, 2]]
        assert self.rows(document, dtypes=(LONG, FLOAT)) is None

    @pytest.mark.parametrize(
        "document",
        [
            {"instances": [{"a": 1, "b": 2, "x": 3}]},
            {"instances": [{"a": 1, "b": 2}, {"a": 1, "b": 2, "x": [[1], [2, 3]]}]},
            {"inputs": [{"a": 1, "b": 2, "x": 3}]},
            {"inputs": {"a": [1], "b": [2], "x": [3]}},
            {"inputs": {"a": [1], "b": [2, 3]}},
            {"inputs": {"a": [], "b": []}},
            {"inputs": {"a": 1, "b": 2}},
            {"inputs": {"a": [1]}},
            {"inputs": [1, 2]},
            {"inputs": None},
            {"instances": [[1, 2]]},
        ],
    )
    def test_unusual_tensor_forms_are_left_to_mlflow(self, document):
        assert self.rows(document, dtypes=(LONG, LONG)) is None


class TestNumericColumns:
    def array(self, rows, *dtypes):
        return codec.NumericColumns(dtypes).array(rows)

    def same(self, got, expected, dtype):
        assert got.dtype == dtype
        assert exactly(got.tolist()) == exactly(expected)

    def test_integers_and_floats_become_doubles(self):
        self.same(self.array([[1, 2.5], [3, -0.0]], DOUBLE, DOUBLE), [[1.0, 2.5], [3.0, -0.0]], DOUBLE)

    def test_null_is_nan_where_all_columns_are_floats(self):
        self.same(self.array([[1, None], [None, 2]], DOUBLE, DOUBLE), [[1.0, np.nan], [np.nan, 2.0]], DOUBLE)
        self.same(self.array([[0.1], [None]], FLOAT), [[float(np.float32(0.1))], [np.nan]], FLOAT)

    def test_floats_in_an_integer_column_lose_their_fraction_and_the_sign_of_zero(self):
        self.same(self.array([[1.9], [-1.9], [-0.5]], LONG), [[1], [-1], [0]], LONG)
        self.same(self.array([[-0.5, 0.5], [-0.0, -0.0]], LONG, DOUBLE), [[0.0, 0.5], [0.0, -0.0]], DOUBLE)

    def test_mixed_columns_have_the_type_that_a_dataframe_of_them_converts_to(self):
        for dtypes in ((LONG, INTEGER), (LONG, FLOAT), (INTEGER, FLOAT), (FLOAT, DOUBLE), (FLOAT, FLOAT)):
            frame = pd.DataFrame({str(at): np.ones(1, dtype) for at, dtype in enumerate(dtypes)})
            assert self.array([[1, 1]], *dtypes).dtype == frame.to_numpy().dtype

    def test_single_precision_is_rounded_even_where_the_array_is_double(self):
        self.same(self.array([[0.1, 0.1]], FLOAT, DOUBLE), [[float(np.float32(0.1)), 0.1]], DOUBLE)

    @pytest.mark.parametrize(
        ("rows", "dtypes"),
        [
            ([["1"]], [DOUBLE]),
            ([["a"]], [LONG]),
            ([[True]], [DOUBLE]),
            ([[True], [None]], [DOUBLE]),
            ([[[1]]], [DOUBLE]),
            ([[[1, 2]], [3]], [DOUBLE]),
            ([[{}]], [DOUBLE]),
            ([[None]], [LONG]),
            ([[None, 1]], [DOUBLE, LONG]),
            ([[2**31]], [INTEGER]),
            ([[-(2**31) - 1.0]], [INTEGER]),
            ([[2**63]], [LONG]),
            ([[2**53, 0.5]], [LONG, DOUBLE]),
            ([[2**53 + 1, 1]], [LONG, DOUBLE]),
            ([[2.0**53]], [LONG]),
            ([[float("nan")]], [LONG]),
            ([[float("inf")]], [INTEGER]),
            ([[1e39]], [FLOAT]),
            ([[2**60 + 2**36 + 1]], [FLOAT]),
            ([[2**60 + 2**36 + 1, 0.5]], [FLOAT, DOUBLE]),
        ],
    )
    def test_values_with_rules_of_their_own_are_left_to_mlflow(self, rows, dtypes):
        assert self.array(rows, *dtypes) is None

    def test_largest_integers_stay_exact(self):
        self.same(self.array([[2**63 - 1], [-(2**63)]], LONG), [[2**63 - 1], [-(2**63)]], LONG)
        self.same(self.array([[2**31 - 1, 2**53]], INTEGER, DOUBLE), [[2.0**31 - 1, 2.0**53]], DOUBLE)

    def test_column_converters_know_only_values_of_their_type(self):
        assert codec.COLUMN_CONVERTERS["boolean"]([True, False]).dtype == bool
        assert codec.COLUMN_CONVERTERS["boolean"]([True, 1]) is None
        assert codec.COLUMN_CONVERTERS["string"](["a", ""]) == ["a", ""]
        assert codec.COLUMN_CONVERTERS["string"](["a", None]) is None
        assert codec.COLUMN_CONVERTERS["float"]([0.5, None]).dtype == FLOAT


class TestSplitPredictions:
    @pytest.mark.parametrize(
        "output",
        [
            np.arange(6),
            np.arange(12).reshape(6, 2),
            list("abcdef"),
            pd.DataFrame({"y": range(6)}),
            pd.Series(range(6), index=[9, 8, 7, 6, 5, 4]),
            {"y": np.arange(6), "p": np.arange(12).reshape(6, 2)},
        ],
        ids=["array", "matrix", "list", "frame", "series", "dict"],
    )
    def test_each_request_gets_the_entries_of_its_own_rows(self, output):
        pieces = codec.split_predictions(output, [1, 3, 2])
        whole = by_mlflow(output)["predictions"]
        got = [by_mlflow(piece)["predictions"] for piece in pieces]
        if isinstance(output, dict):
            expected = [
                {key: value[begin:end] for key, value in whole.items()} for begin, end in ((0, 1), (1, 4), (4, 6))
            ]
        else:
            expected = [whole[0:1], whole[1:4], whole[4:6]]
        assert got == expected

    @pytest.mark.parametrize(
        "output",
        [
            np.arange(5),
            np.float64(1),
            np.array(1.0),
            [1, 2],
            pd.Series([1]),
            {},
            {"y": np.arange(6), "z": np.arange(5)},
            {"y": np.arange(6), "z": "abcdef"},
            "abcdef",
            tuple(range(6)),
            None,
        ],
    )
    def test_output_without_one_entry_per_row_is_not_cut(self, output):
        assert codec.split_predictions(output, [1, 3, 2]) is None

    def test_one_array_per_target_is_not_taken_for_one_entry_per_row(self):
        probabilities = [np.full((2, 3), target) for target in range(2)]
        assert codec.split_predictions(probabilities, [1, 1]) is None

    def test_list_of_one_vector_per_row_is_cut(self):
        assert codec.split_predictions([np.zeros(2), np.ones(2)], [1, 1])[1][0].tolist() == [1, 1]


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4)
SCALARS = st.one_of(st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), st.text(), st.none())
ARRAYS = st.one_of(
    *[
        hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3))
        for dtype in ("f8", "f4", "f2", "i8", "i4", "i2", "u8", "u1", "?", ">f8", ">i4")
    ],
    hnp.arrays("U4", 3, elements=TEXT),
    st.lists(SCALARS, min_size=1, max_size=3).map(lambda values: np.array([*values, None], dtype=object)),
)
OUTPUTS = st.one_of(ARRAYS, st.lists(SCALARS, max_size=4), st.dictionaries(st.text(max_size=3), ARRAYS, max_size=3))


class TestEncodePredictions:
    @settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
    @given(OUTPUTS)
    def test_what_it_writes_is_what_mlflow_writes(self, output):
        for strict in (True, False):
            try:
                body = codec.encode_predictions(output, strict)
            except TypeError:  # the caller writes it with MLflow's encoder
                continue
            if body is None:
                continue
            wanted = by_mlflow(output)
            if strict:
                wanted = json.loads(codec.without_special_floats(json.dumps(wanted)))
            assert exactly(parsed(body)) == exactly(wanted)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("make", [np.array, np.float32, list, lambda values: {"y": np.array(values)}])
    def test_special_floats_are_null_in_strict_json_and_else_left_to_mlflow(self, value, make):
        output = make([1.0, value])
        assert b"[1.0,null]" in codec.encode_predictions(output, True)
        assert codec.encode_predictions(output, False) is None

    @pytest.mark.parametrize(
        "output",
        [
            np.array([1.5]),
            np.array([[1, 2]]),
            np.array(["a"]),
            np.array(["a", 1, None], dtype=object),
            np.array([True]),
            [1, "a", None],
            {"y": np.array([1.5])},
        ],
    )
    def test_common_outputs_take_the_fast_way(self, output):
        assert codec.encode_predictions(output, True) is not None

    @pytest.mark.parametrize(
        "output",
        [
            np.array(1.5),
            {"y": np.array(1.5)},
            np.array([1.5], dtype=np.longdouble),
            np.ma.masked_array([1, 2], [True, False]),
            np.array([1j]),
            np.array([b"a"]),
            np.array(["2020-01-01"], dtype="M8[s]"),
            np.array([[1], None], dtype=object),
            [2**64],
            [np.float64(1)],
            [[1]],
            ["\ud800"],
            {"y": [1]},
            {1: np.array([1])},
            pd.Series([1]),
            {},
            "text",
        ],
        ids=repr,
    )
    def test_unusual_outputs_are_left_to_mlflow(self, output):
        assert codec.encode_predictions(output, True) is None

    def test_everything_is_left_to_mlflow_without_the_fast_encoder(self, monkeypatch):
        monkeypatch.setattr(codec, "orjson", None)
        assert codec.encode_predictions(np.array([1.0]), True) is None


class TestWithoutSpecialFloats:
    def test_special_floats_become_null_and_text_stays(self):
        text = '{"a": [NaN, Infinity, -Infinity, 1.5], "b": "NaN and Infinity", "c": 12345678901234567890}'
        assert json.loads(codec.without_special_floats(text)) == {
            "a": [None, None, None, 1.5],
            "b": "NaN and Infinity",
            "c": 12345678901234567890,
        }

    def test_text_without_them_is_not_touched(self):
        text = '{"a":   1.50}'
        assert codec.without_special_floats(text) is text


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (None, None, True),
        ({"k": 1}, {"k": 1}, True),
        ({"k": 1}, {"k": True}, False),
        ({"k": 1}, {"k": 1.0}, False),
        ({"k": 0.0}, {"k": -0.0}, False),
        ({"k": [1]}, {"k": [1.0]}, False),
        ({}, None, False),
        ({"k": 1}, {"j": 1}, False),
    ],
)
def test_params_that_a_schema_can_tell_apart_are_not_the_same(one, other, same):
    assert codec.same_params(one, other) is same
