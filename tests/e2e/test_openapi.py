"""Query schemas of real served models: valid documents, and true of what the endpoints take and answer."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature, infer_signature
from mlflow.pyfunc import PythonModel
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from models import pins
from openapi_spec_validator import OpenAPIV31SpecValidator, validate
from server import Json, Server

ROWS = pd.DataFrame(
    {
        "price": [0.5, 12.25],
        "rooms": [2, 3],
        "city": pd.Series(["Bergen", "Oslo"], dtype=object),
        "sold": [True, False],
        "listed": pd.to_datetime(["2024-02-29 08:30:00", "2025-01-01 00:00:00"]),
    }
)
TENSOR_ROWS = np.array([[1, 2, 3], [0.5, 0, -1]], dtype="float32")


def columns(name: str) -> None:
    """Answers every input that its signature permits, with a figure that may overflow and text that may lack."""

    class Scores(PythonModel):
        def predict(self, context, model_input, params=None):
            rooms = model_input.get("rooms", 1)
            with np.errstate(all="ignore"):
                score = model_input["price"] * params["factor"] * rooms
            label = model_input["city"].astype(str).where(model_input["sold"], None)
            day = model_input["listed"].dt.dayofyear.fillna(0).astype("int32")
            return pd.DataFrame({"score": score, "day": day, "label": label})

    signature = ModelSignature(
        Schema(
            [
                ColSpec(DataType.double, "price"),
                ColSpec(DataType.long, "rooms", required=False),
                ColSpec(DataType.string, "city"),
                ColSpec(DataType.boolean, "sold"),
                ColSpec(DataType.datetime, "listed"),
            ]
        ),
        Schema(
            [
                ColSpec(DataType.double, "score"),
                ColSpec(DataType.integer, "day"),
                ColSpec(DataType.string, "label", required=False),
            ]
        ),
        ParamSchema([ParamSpec("factor", DataType.double, 0.5), ParamSpec("tags", DataType.string, ["a"], (-1,))]),
    )
    log(name, Scores(), signature, (ROWS, {"factor": 2.0}))


def tensor(name: str) -> None:
    class Sums(PythonModel):
        def predict(self, context, model_input, params=None):
            with np.errstate(all="ignore"):
                return model_input.sum(axis=1, keepdims=True)

    log(name, Sums(), infer_signature(TENSOR_ROWS, TENSOR_ROWS.sum(axis=1, keepdims=True)), TENSOR_ROWS)


def log(name: str, model: PythonModel, signature: ModelSignature, example: Any) -> None:
    mlflow.pyfunc.log_model(
        name="model",
        python_model=model,
        signature=signature,
        input_example=example,
        registered_model_name=name,
        pip_requirements=pins(),
    )


@dataclass(frozen=True)
class Served:
    """A READY endpoint, its document and that document's one operation."""

    endpoint: str
    document: Json

    @property
    def operation(self) -> Json:
        [path] = self.document["paths"].values()
        return path["post"]

    @property
    def media(self) -> Json:
        return self.operation["requestBody"]["content"]["application/json"]

    def check_answer(self, answer: Json) -> None:
        schema = self.operation["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.Draft202012Validator(schema).validate(answer)


@pytest.fixture(scope="module")
def endpoints(server: Server, registered) -> Iterator[dict[str, str]]:
    """The names of the endpoints: one of columns with params, one of a tensor, one of plain columns."""
    names = {"columns": "openapi-columns", "tensor": "openapi-tensor", "iris": "openapi-iris"}
    with server.as_client(), warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        experiment = mlflow.get_experiment_by_name("openapi")
        identifier = experiment.experiment_id if experiment else mlflow.create_experiment("openapi")
        with mlflow.start_run(experiment_id=identifier):
            columns("main.openapi.columns")
            tensor("main.openapi.tensor")
    server.create(names["columns"], "main.openapi.columns")
    server.create(names["tensor"], "main.openapi.tensor")
    server.create(names["iris"], registered("iris").name)
    for name in names.values():
        server.ready(name)
    yield names
    for name in names.values():
        server.delete(name)


@pytest.fixture(params=["columns", "tensor", "iris"])
def served(request: pytest.FixtureRequest, server: Server, endpoints: dict[str, str]) -> Served:
    name = endpoints[request.param]
    answer = server.http.get(f"/api/2.0/serving-endpoints/{name}/openapi")
    assert answer.status_code == 200, answer.text
    return Served(name, answer.json())


def test_the_document_is_valid_and_of_this_endpoint(server: Server, served: Served) -> None:
    validate(served.document, cls=OpenAPIV31SpecValidator)
    jsonschema.Draft202012Validator.check_schema(served.media["schema"])
    assert served.document["servers"] == [{"url": f"{server.url}/serving-endpoints/{served.endpoint}"}]


def test_the_example_is_taken_and_its_answer_is_as_described(server: Server, served: Served) -> None:
    [server_entry], [path] = served.document["servers"], served.document["paths"]
    example = served.media["example"]
    jsonschema.Draft202012Validator(served.media["schema"]).validate(example)
    answer = server.http.post(server_entry["url"] + path, json=example)
    assert answer.status_code == 200, answer.text
    served.check_answer(answer.json())


def test_what_overflows_is_null_as_described(server: Server, endpoints: dict[str, str]) -> None:
    name = endpoints["columns"]
    document = server.http.get(f"/api/2.0/serving-endpoints/{name}/openapi").json()
    record = {"price": 1e308, "city": "", "sold": False, "listed": "2024-01-01T00:00:00"}
    answer = server.query(name, {"dataframe_records": [record], "params": {"factor": 10}})
    assert answer.json() == {"predictions": [{"score": None, "day": 1, "label": None}]}
    Served(name, document).check_answer(answer.json())


# MLflow takes more than a schema can promise, such as text for a number, so what breaks the schema may be taken too.
# A method that a path does not have is answered with 404.
LENIENT = "negative_data_rejection,unsupported_method"


def test_schemathesis_finds_nothing(server: Server, served: Served, tmp_path: Path) -> None:
    location = f"{server.url}/api/2.0/serving-endpoints/{served.endpoint}/openapi"
    command = [sys.executable, "-m", "schemathesis.cli", "run", location]
    options = ["--header", f"Authorization: Bearer {server.token}", "--exclude-checks", LENIENT]
    bounds = ["--phases", "examples,coverage,fuzzing", "--max-examples", "30", "--seed", "1"]
    run = subprocess.run(
        [*command, *options, *bounds, "--continue-on-failure", "--request-timeout", "20"],
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
