"""Serverless Real-Time Inference from enable to disable, with the clients and the bodies of its documentation."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest
import requests
import yaml
from databricks.sdk import WorkspaceClient
from mlflow import MlflowClient
from mlflow.pyfunc import PyFuncModel, PythonModel
from models import pins
from server import OTHER_TOKEN, OTHER_USER, Json, Server, is_alive, running_server, wait_for
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from staged_models import ROWS, TRANSITION, V2, Gates, Log, Sources, StagedModel, answering, gates

ADMIN = "admin@localhost"
OTHER_ID = "4242424242424242"
BARE = "/preview/mlflow/endpoints-v2"
PREFIXES = (BARE, V2, "/ajax-api/2.0/preview/mlflow/endpoints-v2")
FAMILIES = ("model-endpoint", "model")
SMALL = {"workload_size_id": "Small", "scale_to_zero_enabled": False}
UP = ("READY", "READY")

COLUMNS = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"]
SETOSAS = [[5.1, 3.5, 1.4, 0.2], [4.9, 3.0, 1.4, 0.2]]
FORMATS: dict[str, tuple[Json, Any]] = {
    "dataframe_split": (
        {"dataframe_split": {"index": [0, 1], "columns": COLUMNS, "data": SETOSAS}},
        pd.DataFrame(SETOSAS, columns=COLUMNS),
    ),
    "dataframe_records": (
        {"dataframe_records": [dict(zip(COLUMNS, row, strict=True)) for row in [*SETOSAS, [6.3, 3.3, 6.0, 2.5]]]},
        pd.DataFrame([*SETOSAS, [6.3, 3.3, 6.0, 2.5]], columns=COLUMNS),
    ),
    "instances": ({"instances": SETOSAS}, np.array(SETOSAS)),
    "inputs": ({"inputs": [[5.1, 3.5, 1.4, 0.2]]}, np.array([[5.1, 3.5, 1.4, 0.2]])),
}
TENSORS = {
    "strings": {"instances": ["a", "b", "c"]},
    "instances": {
        "instances": [
            {"t1": "a", "t2": [1, 2, 3, 4, 5], "t3": [[1, 2], [3, 4], [5, 6]]},
            {"t1": "b", "t2": [6, 7, 8, 9, 10], "t3": [[7, 8], [9, 10], [11, 12]]},
        ]
    },
    "inputs": {
        "inputs": {
            "t1": ["a", "b"],
            "t2": [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10], [11, 12, 13, 14, 15]],
            "t3": [[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 10], [11, 12]]],
        }
    },
}
SHAPES = {
    "strings": {"": [3]},
    "instances": {"t1": [2], "t2": [2, 5], "t3": [2, 3, 2]},
    "inputs": {"t1": [2], "t2": [3, 5], "t3": [2, 3, 2]},
}
CURL = {
    "dataframe records": r"""
curl -X POST -u token:$DATABRICKS_API_TOKEN $MODEL_VERSION_URI \
  -H 'Content-Type: application/json' \
  -d '{"dataframe_records": [
    {
      "sepal_length": 5.1,
      "sepal_width": 3.5,
      "petal_length": 1.4,
      "petal_width": 0.2
    }
  ]}'
""",
    "tensors": r"""
curl -X POST -u token:$DATABRICKS_API_TOKEN $MODEL_VERSION_URI \
   -H 'Content-Type: application/json' \
   -d '{"inputs": [[5.1, 3.5, 1.4, 0.2]]}'
""",
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """What may go to zero does so soon."""
    with running_server(with_other_user=True, settings={"MOORAGE_SCALE_TO_ZERO_IDLE_SECONDS": "1"}) as running:
        yield running


@pytest.fixture(scope="module")
def doors() -> Iterator[Gates]:
    with gates() as made:
        yield made


@pytest.fixture(scope="module")
def sources(server: Server) -> Sources:
    return Sources(server)


@pytest.fixture(scope="module")
def iris(server: Server, sources: Sources) -> StagedModel:
    """Version 1 in Production, version 2 in Staging, 3 in no stage and 4 archived."""
    model = StagedModel(server, "iris-classifier")
    sources.register(model.name, ("iris", flowers(0)), *[("other iris", flowers(10))] * 3)
    model.enable()
    model.move(1, "Production")
    model.move(2, "Staging")
    model.move(4, "Archived")
    model.become({"1": UP, "2": UP})
    return model


@pytest.fixture(scope="module")
def own(server: Server, iris: StagedModel) -> dict[str, PyFuncModel]:
    """Each version as MLflow loads it, by where it is served."""
    with server.as_client():
        first, second = (mlflow.pyfunc.load_model(f"models:/{iris.name}/{version}") for version in (1, 2))
    return {"Production": first, "1": first, "Staging": second, "2": second}


@pytest.fixture
def numbered(server: Server, sources: Sources, doors: Gates, request: pytest.FixtureRequest) -> Iterator[StagedModel]:
    """A model of the test's own, enabled, whose versions 1, 2 and 3 answer their number; none is in a stage."""
    name = request.node.name.removeprefix("test_")[:60]
    sources.register(name, *((f"answers {one}", answering(one, doors)) for one in (1, 2, 3)))
    model = StagedModel(server, name)
    model.enable()
    yield model
    model.disable()


@pytest.fixture
def other(server: Server) -> Iterator[httpx.Client]:
    """A user who is no administrator and owns nothing."""
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {OTHER_TOKEN}"}, timeout=60) as http:
        yield http


def flowers(first: int) -> Log:
    """Logs a classifier whose classes are counted from `first`; without a signature, as it was done at that time."""
    features, target = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=500).fit(features, target + first)
    return lambda: mlflow.sklearn.log_model(
        model, name="model", serialization_format="cloudpickle", pip_requirements=pins("scikit-learn", "cloudpickle")
    )


def shapes() -> Any:
    """Logs a model that answers the shapes of the tensors that it gets."""

    class Shapes(PythonModel):
        def predict(self, context, model_input, params=None):
            tensors = model_input if isinstance(model_input, dict) else {"": model_input}
            return {name: list(tensor.shape) for name, tensor in tensors.items()}

    return mlflow.pyfunc.log_model(name="model", python_model=Shapes(), pip_requirements=pins())


def milliseconds_ago(timestamp: int) -> float:
    return time.time() * 1000 - timestamp


def compute(stage: str, timestamp: int, size: str = "Small", *, to_zero: bool = False) -> Json:
    return {
        "stage": stage,
        "creation_timestamp": timestamp,
        "user_id": ADMIN,
        "workload_spec": {"workload_size_id": size, "scale_to_zero_enabled": to_zero},
    }


def service(state: str, message: str, config: Json) -> Json:
    return {"state": f"SERVICE_STATE_{state}", "message": message, "config": config}


def error_of(answer: httpx.Response | requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error_code"]


def curl(commands: str, token: str, uri: str) -> tuple[int, Json]:
    """The status and the answer of a command line as the documentation has it."""
    script = f'curl() {{ command curl -sS -w "\\n%{{http_code}}" "$@"; }}\n{commands}'
    environment = {"PATH": os.environ["PATH"], "DATABRICKS_API_TOKEN": token, "MODEL_VERSION_URI": uri}
    ran = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    body, _, status = ran.stdout.rpartition("\n")
    return int(status), json.loads(body)


def create_tf_serving_json(data):
    return {"inputs": {name: data[name].tolist() for name in data} if isinstance(data, dict) else data.tolist()}


def score_model(model_uri, databricks_token, data, argument):
    """The documentation's function, in which `argument` is `json` though it has made a text of it already."""
    headers = {"Authorization": f"Bearer {databricks_token}", "Content-Type": "application/json"}
    data_json = (
        json.dumps({"dataframe_records": data.to_dict(orient="records")})
        if isinstance(data, pd.DataFrame)
        else create_tf_serving_json(data)
    )
    response = requests.request(method="POST", headers=headers, url=model_uri, timeout=60, **{argument: data_json})
    if response.status_code != 200:
        raise Exception(f"Request failed with status {response.status_code}, {response.text}")
    return response.json()


def large(version: Json) -> bool:
    return version["service_status"]["config"]["workload_spec"] == {
        "workload_size_id": "Large",
        "scale_to_zero_enabled": False,
    }


class granted:
    """The other user has a level on a registered model for the time of the block."""

    def __init__(self, server: Server, name: str, level: str) -> None:
        self._server, self._level = server, level
        self._path = f"/api/2.0/permissions/registered-models/{name}"

    def __enter__(self) -> None:
        entry = {"user_name": OTHER_USER, "permission_level": self._level}
        answer = self._server.http.patch(self._path, json={"access_control_list": [entry]})
        assert answer.status_code == 200, answer.text

    def __exit__(self, *raised: object) -> None:
        answer = self._server.http.put(self._path, json={"access_control_list": []})
        assert answer.status_code == 200, answer.text


def entitle(server: Server, operation: str) -> None:
    """Give the other user the right to create clusters, or take it."""
    change: Json = {"op": operation, "path": "entitlements"}
    if operation == "add":
        change["value"] = [{"value": "allow-cluster-create"}]
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [change]}
    answer = server.http.patch(f"/api/2.0/preview/scim/v2/Users/{OTHER_ID}", json=body)
    assert answer.status_code in (200, 204), answer.text


def old_model() -> Json:
    """Logs what MLflow before 1.18 did: an environment in conda.yaml alone, from the channel `defaults`."""
    folder = Path(tempfile.mkdtemp())
    features, target = load_iris(return_X_y=True)
    mlflow.sklearn.save_model(
        LogisticRegression(max_iter=500).fit(features, target), folder / "model", serialization_format="cloudpickle"
    )
    for name in ("python_env.yaml", "requirements.txt"):
        (folder / "model" / name).unlink()
    packages = [f"{name}=={importlib.metadata.version(name)}" for name in ("mlflow", "scikit-learn", "cloudpickle")]
    environment = {
        "channels": ["defaults"],
        "dependencies": [f"python={platform.python_version()}", "pip", {"pip": packages}],
        "name": "mlflow-env",
    }
    (folder / "model" / "conda.yaml").write_text(yaml.safe_dump(environment))
    described = yaml.safe_load((folder / "model" / "MLmodel").read_text())
    described["flavors"]["python_function"]["env"] = "conda.yaml"
    (folder / "model" / "MLmodel").write_text(yaml.safe_dump(described))
    mlflow.log_artifacts(str(folder / "model"), "model")
    shutil.rmtree(folder)
    return mlflow.active_run().info


def test_enable_is_pending_until_a_version_is_in_a_stage_and_disable_ends_it(server, sources, doors):
    elastic = StagedModel(server, "ElasticNet")
    missing = server.http.post(f"{V2}/enable", json=elastic.given)
    assert error_of(missing) == (404, "RESOURCE_DOES_NOT_EXIST")
    sources.register("ElasticNet", ("answers 1", answering(1, doors)))
    for prefix in PREFIXES:  # the second and the third time it does nothing
        answer = server.http.post(f"{prefix}/enable", json={"registered_model_name": "ElasticNet"})
        assert (answer.status_code, answer.json()) == (200, {}), answer.text
    status = elastic.status()
    enabled_at = status["compute_config"][0]["creation_timestamp"]
    assert 0 <= milliseconds_ago(enabled_at) < 10_000
    assert status == {
        "registered_model_name": "ElasticNet",
        "state": "PENDING",
        "state_message": "No version is in Staging or Production.",
        "compute_config": [compute("Staging", enabled_at), compute("Production", enabled_at)],
        "endpoint_name": "ElasticNet",
    }
    assert elastic.read("list-versions") == {"endpoint_statuses": []}
    assert elastic.read("list-version-aliases") == {"aliases": []}
    assert elastic.refused("Staging")[:2] == elastic.refused("1")[:2] == (404, "RESOURCE_DOES_NOT_EXIST")

    elastic.move(1, "Staging")
    elastic.become({"1": UP})
    assert elastic.status() == {**status, "state": "READY", "state_message": "Ready"}
    assert elastic.answer("Staging") == elastic.answer("staging") == elastic.answer(1) == 1

    elastic.disable()
    gone = {"registered_model_name": "ElasticNet", "endpoint_version_name": "1"}
    for what in ("get-status", "list-versions", "get-version-status", "list-version-aliases", "get-event-history"):
        assert error_of(server.http.get(f"{V2}/{what}", params=gone)) == (404, "RESOURCE_DOES_NOT_EXIST"), what
    assert error_of(server.http.post(f"{V2}/disable", json=elastic.given)) == (404, "RESOURCE_DOES_NOT_EXIST")
    wait_for("it is not served", lambda: elastic.ask("Staging").status_code == 404, 10)
    assert "not enabled for serving" in elastic.refused("Staging")[2]
    assert server.http.get("/api/2.0/serving-endpoints/ElasticNet").status_code == 404
    wait_for("its replica is gone", lambda: len(server.replicas()) == 0, 30)


def test_model_that_is_enabled_again_at_once_serves_as_before(numbered):
    numbered.move(1, "Production")
    numbered.become({"1": UP})
    numbered.disable()
    numbered.enable()
    numbered.become({"1": UP})
    assert numbered.answer("Production") == 1
    assert numbered.status()["endpoint_name"] == numbered.name


@pytest.mark.parametrize("form", ["query string", "body"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_statuses_field_for_field(server, iris, prefix, form):
    def read(what: str, **given: str) -> Json:
        given |= iris.given
        how = {"params": given} if form == "query string" else {"json": given}
        answer = server.http.request("GET", f"{prefix}/{what}", **how)
        assert answer.status_code == 200, answer.text
        return answer.json()

    status = read("get-status")["endpoint_status"]
    enabled_at = status["compute_config"][0]["creation_timestamp"]
    assert status == {
        "registered_model_name": "iris-classifier",
        "state": "READY",
        "state_message": "Ready",
        "compute_config": [compute("Staging", enabled_at), compute("Production", enabled_at)],
        "endpoint_name": "iris-classifier",
    }
    versions = [
        {
            "registered_model_name": "iris-classifier",
            "endpoint_version_name": version,
            "service_status": service("READY", "Ready", compute(stage, enabled_at)),
            "config_update_status": service("READY", "Ready", compute(stage, enabled_at)),
            "served_entity_name": f"iris-classifier-{version}",
        }
        for version, stage in (("1", "Production"), ("2", "Staging"))
    ]
    assert read("list-versions") == {"endpoint_statuses": versions}
    for version in versions:
        name = version["endpoint_version_name"]
        assert read("get-version-status", endpoint_version_name=name) == {"endpoint_status": version}
    assert read("list-version-aliases") == {
        "aliases": [
            {"alias": "Staging", "endpoint_version_name": "2"},
            {"alias": "Production", "endpoint_version_name": "1"},
        ]
    }


@pytest.mark.parametrize("version", ["3", "4", "9"])
def test_version_that_is_in_no_served_stage_is_404(server, iris, version):
    given = {**iris.given, "endpoint_version_name": version}
    for what in ("get-version-status", "get-version-replicas", "get-version-metrics"):
        assert error_of(server.http.get(f"{V2}/{what}", params=given)) == (404, "RESOURCE_DOES_NOT_EXIST"), what
    for what in ("get-version-logs", "get-version-build-logs"):
        assert error_of(server.http.post(f"{V2}/{what}", json=given)) == (404, "RESOURCE_DOES_NOT_EXIST"), what
    for family in FAMILIES:
        assert error_of(iris.ask(version, family=family)) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert error_of(iris.ask("Archived")) == error_of(iris.ask("None")) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_model_that_is_not_enabled_is_404(server, iris):
    given = {"registered_model_name": "no-such-model"}
    for what in ("get-status", "list-versions", "list-version-aliases", "get-event-history"):
        assert error_of(server.http.get(f"{V2}/{what}", params=given)) == (404, "RESOURCE_DOES_NOT_EXIST"), what
    for family in FAMILIES:
        answer = server.http.post(f"/{family}/no-such-model/Production/invocations", json=ROWS)
        assert error_of(answer) == (404, "RESOURCE_DOES_NOT_EXIST")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("example", CURL)
def test_curl_as_documented(server, iris, own, example, family):
    uri = f"{server.url}/{family}/iris-classifier/Production/invocations"
    rows = np.array(SETOSAS[:1])
    assert curl(CURL[example], server.token, uri) == (200, {"predictions": own["Production"].predict(rows).tolist()})
    status, body = curl(CURL[example], "dapi" + "0" * 32, uri)
    assert (status, body["error_code"]) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("where", ["Production", "1", "Staging", "2"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_format_by_stage_and_by_version(server, iris, own, family, where, form):
    body, rows = FORMATS[form]
    uri = f"{server.url}/{family}/iris-classifier/{where}/invocations"
    right = {"predictions": own[where].predict(rows).tolist()}
    command = "curl -X POST -u token:$DATABRICKS_API_TOKEN $MODEL_VERSION_URI -H 'Content-Type: application/json' -d"
    assert curl(f"{command} '{json.dumps(body)}'", server.token, uri) == (200, right)
    answer = requests.post(uri, auth=("token", server.token), json=body, timeout=60)
    assert (answer.status_code, answer.json()) == (200, right)
    version = {"Production": "1", "Staging": "2"}.get(where, where)
    assert answer.headers["served-model-name"] == f"iris-classifier-{version}"


def test_tensors_as_documented(server, sources):
    model = StagedModel(server, "tensors")
    sources.register(model.name, ("shapes", shapes))
    model.enable()
    model.move(1, "Production")
    model.become({"1": UP})
    answers = {example: model.ask("Production", body).json() for example, body in TENSORS.items()}
    assert answers == {example: {"predictions": found} for example, found in SHAPES.items()}
    model.disable()


def test_requests_as_documented(server, iris, own):
    uri = f"{server.url}/model/iris-classifier/Production/invocations"
    tensor = np.asarray([[5.1, 3.5, 1.4, 0.2]])
    right = {"predictions": own["Production"].predict(tensor).tolist()}
    assert score_model(uri, server.token, tensor, "json") == right
    frame = pd.DataFrame([{"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}])
    with pytest.raises(Exception, match=r'^Request failed with status 400, .*"error_code": ?"BAD_REQUEST"'):
        score_model(uri, server.token, frame, "json")
    assert score_model(uri, server.token, frame, "data") == right


def test_power_query_in_slices(server, iris, own):
    generator = np.random.default_rng(3)
    table = pd.DataFrame(generator.uniform(0.1, 7.9, (600, 4)), columns=COLUMNS)
    predictions: list[int] = []
    for first in range(0, len(table), 256):
        answer = httpx.post(
            f"{server.url}/model-endpoint/iris-classifier/Staging/invocations",
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {server.token}"},
            content=json.dumps({"dataframe_records": table[first : first + 256].to_dict("records")}),
        )
        assert answer.status_code == 200, answer.text
        predictions += answer.json()["predictions"]
    assert predictions == own["Staging"].predict(table).tolist()
    assert set(predictions) == {10, 11, 12}


def test_bad_input_is_refused_as_everywhere(iris):
    bad = {"": 400, "[]": 400, '{"dataframe_records": 5}': 400, '{"rows": []}': 400, '{"instances": [': 400}
    headers = {"Content-Type": "application/json"}
    for body, status in bad.items():
        answer = iris.server.http.post(
            "/model-endpoint/iris-classifier/Production/invocations", content=body, headers=headers
        )
        assert answer.status_code == status, (body, answer.text)
        assert answer.json().keys() >= {"error_code", "message"}, body


def test_events_logs_replicas_metrics_and_sizes(server, iris):
    began = time.time() * 1000
    for _ in range(3):
        assert iris.ask("Production", FORMATS["instances"][0]).status_code == 200
    events = iris.events()
    assert all(one.keys() >= {"event_type", "status", "message", "timestamp"} for one in events)
    assert [one["timestamp"] for one in events] == sorted((one["timestamp"] for one in events), reverse=True)
    told = {(one["event_type"], one["message"]) for one in events}
    assert told >= {
        ("STAGE_TRANSITION", f"Version 1 moved to Production by {ADMIN}"),
        ("STAGE_TRANSITION", f"Version 2 moved to Staging by {ADMIN}"),
        ("STAGE_SWITCHED", "Version 1 answers for Production."),
        ("STAGE_SWITCHED", "Version 2 answers for Staging."),
    }
    of_first = iris.read("get-event-history", endpoint_version_name="1")["events"]
    assert {one["endpoint_version_name"] for one in of_first} == {"1"}
    assert {"SERVED_ENTITY_READY", "REPLICA_READY"} <= {one["event_type"] for one in of_first}
    page = iris.read("get-event-history", max_results="2")
    rest = iris.read("get-event-history", page_token=page["next_page_token"])
    assert [*page["events"], *rest["events"]] == events
    assert "next_page_token" not in rest

    version = {"endpoint_version_name": "1"}
    [replica] = iris.read("get-version-replicas", **version)["replicas"]
    assert (replica["served_entity_name"], replica["state"]) == ("iris-classifier-1", "READY")
    for form in (V2, BARE):
        logs = server.http.post(f"{form}/get-version-logs", json={**iris.given, **version}).json()
        assert logs.keys() == {"logs"}
        assert "of iris-classifier/iris-classifier-1 loads its model" in logs["logs"]
        assert "iris-classifier-2" not in logs["logs"]
    of_replica = {**iris.given, **version, "replica_name": replica["id"]}
    assert "loads its model" in server.http.post(f"{V2}/get-version-logs", json=of_replica).json()["logs"]
    of_replica["replica_name"] = "no-such-replica"
    answer = server.http.post(f"{V2}/get-version-logs", json=of_replica)
    assert error_of(answer) == (404, "RESOURCE_DOES_NOT_EXIST")
    build = server.http.post(f"{V2}/get-version-build-logs", json={**iris.given, **version}).json()
    assert build.keys() == {"logs"}
    assert "download model iris-classifier version 1: done" in build["logs"]

    def counted() -> Json | None:
        metrics = iris.read("get-version-metrics", **version)
        return metrics if metrics["series"] and sum(metrics["series"][0]["requests"]) >= 3 else None

    metrics = wait_for("the requests are counted", counted, 10)
    [series] = metrics["series"]
    assert series["served_entity_name"] == "iris-classifier-1"
    assert metrics["timestamps"][-1] + 1000 * metrics["step_seconds"] >= began
    assert len(series["requests"]) == len(metrics["timestamps"])

    sizes = server.http.get(f"{BARE}/get-supported-workload-sizes").json()["workload_sizes"]
    assert [one["workload_size_id"] for one in sizes[:3]] == ["Small", "Medium", "Large"]
    listed = server.http.get(f"{BARE}/list").json()["endpoint_statuses"]
    assert iris.status() in listed


def test_new_version_takes_over_when_it_is_ready_and_the_old_one_is_archived(server, numbered, doors):
    """The documentation's transition, on the documentation's path."""
    numbered.move(1, "Staging")
    numbered.become({"1": UP})
    body = {
        "name": numbered.name,
        "version": "2",
        "stage": "Staging",
        "archive_existing_versions": True,
        "comment": "Deploying version 1 to Staging endpoint!",
    }
    with doors.held(2):
        answer = server.http.post("/mlflow/databricks/model-versions/transition-stage", json=body)
        assert answer.status_code == 200, answer.text
        moved = answer.json()["model_version_databricks"]
        assert answer.json().keys() == {"model_version_databricks"}
        source, run_id = moved["source"], moved["run_id"]
        assert source.startswith("models:/m-")
        assert len(run_id) == 32
        assert 0 <= milliseconds_ago(moved["last_updated_timestamp"]) < 10_000
        assert moved == {
            "name": numbered.name,
            "version": "2",
            "creation_timestamp": moved["creation_timestamp"],
            "last_updated_timestamp": moved["last_updated_timestamp"],
            "user_id": ADMIN,
            "current_stage": "Staging",
            "description": "",
            "source": source,
            "run_id": run_id,
            "run_link": "",
            "status": "READY",
            "status_message": "",
            "tags": [],
            "aliases": [],
            "permission_level": "CAN_MANAGE",
        }
        numbered.become({"1": UP, "2": ("PENDING", "PENDING")})
        assert numbered.aliases() == {"Staging": "1"}
        assert numbered.answer("Staging") == 1
        status, code, message = numbered.refused(2)
        assert (status, code) == (400, "BAD_REQUEST")
        assert message.startswith(f"Version 2 of registered model '{numbered.name}' is not ready.")
        assert numbered.status()["state"] == "READY"
    wait_for("version 2 serves the stage", lambda: numbered.aliases() == {"Staging": "2"}, 30)
    assert numbered.states() == {"2": UP}
    assert numbered.answer("Staging") == numbered.answer(2) == 2
    assert numbered.refused(1)[:2] == (404, "RESOURCE_DOES_NOT_EXIST")
    comments = [one["message"] for one in numbered.events() if one["event_type"] == "STAGE_TRANSITION"]
    assert comments[0] == f"Version 2 moved to Staging by {ADMIN}: Deploying version 1 to Staging endpoint!"


def test_two_versions_in_one_stage_are_both_served_and_the_newest_has_its_url(server, numbered):
    numbered.move(2, "Staging")
    numbered.become({"2": UP})
    assert numbered.answer("Staging") == 2
    numbered.move(3, "Staging", archive=False)
    numbered.become({"2": UP, "3": UP})
    assert numbered.aliases() == {"Staging": "3"}
    assert (numbered.answer("Staging"), numbered.answer(3), numbered.answer(2)) == (3, 3, 2)
    numbered.move(1, "Staging", archive=False)  # an older version does not take the URL
    numbered.become({"1": UP, "2": UP, "3": UP})
    assert numbered.aliases() == {"Staging": "3"}
    assert [numbered.answer(one) for one in (1, 2, 3, "Staging")] == [1, 2, 3, 3]
    numbered.move(3, "None")
    wait_for("version 2 has the URL again", lambda: numbered.answer("Staging") == 2, 10)
    numbered.become({"1": UP, "2": UP})


def test_sdk_moves_versions(server, numbered):
    with server.as_client():
        registry = WorkspaceClient().model_registry
        moved = registry.transition_stage(numbered.name, "1", "Staging", archive_existing_versions=False)
        assert moved.model_version_databricks.current_stage == "Staging"
        assert moved.model_version_databricks.permission_level.value == "CAN_MANAGE"
        numbered.become({"1": UP})
        moved = registry.transition_stage(numbered.name, "1", "Production", True, comment="it has done well")
        assert moved.model_version_databricks.as_dict()["current_stage"] == "Production"
        with pytest.raises(Exception, match="must be one of None, Staging, Production, Archived"):
            registry.transition_stage(numbered.name, "1", "Live", archive_existing_versions=False)
    wait_for("it serves Production", lambda: numbered.aliases() == {"Production": "1"}, 10)
    assert numbered.answer("Production") == 1
    wait_for("it does not serve Staging", lambda: numbered.ask("Staging").status_code == 404, 10)
    assert "it has done well" in " ".join(one["message"] for one in numbered.events())


@pytest.mark.filterwarnings("ignore:.*transition_model_version_stage:FutureWarning")
def test_change_by_mlflows_own_client_is_noticed_within_five_seconds(server, numbered):
    numbered.move(1, "Production")
    numbered.become({"1": UP})
    with server.as_client():
        client = MlflowClient()
        client.transition_model_version_stage(numbered.name, "2", "Production", archive_existing_versions=True)
        wait_for("the stage is noticed", lambda: "2" in numbered.states(), 5)
        wait_for("it serves", lambda: numbered.answer("Production") == 2, 30)
        client.transition_model_version_stage(numbered.name, "2", "Archived")
        wait_for("it is served no more", lambda: numbered.ask("Production").status_code == 404, 5)
    # Who answers moves first, by design; then the versions go.
    wait_for("no version is listed", lambda: numbered.read("list-versions") == {"endpoint_statuses": []}, 5)
    status = numbered.status()
    assert (status["state"], status["state_message"]) == ("PENDING", "No version is in Staging or Production.")


def test_compute_configuration_of_each_stage_takes_over_when_it_is_ready(server, numbered, doors):
    numbered.move(1, "Production")
    numbered.move(2, "Staging")
    numbered.become({"1": UP, "2": UP})
    first = numbered.status()["compute_config"]
    before = {version: numbered.version(version) for version in (1, 2)}
    with doors.held(1):
        numbered.configure("Production", "Medium")
        asked = numbered.status()["compute_config"]
        assert asked[0] == first[0]
        assert asked[1] == compute("Production", asked[1]["creation_timestamp"], "Medium")
        assert asked[1]["creation_timestamp"] >= first[1]["creation_timestamp"]
        wait_for("it starts", lambda: numbered.states()["1"] == ("READY", "PENDING"), 10)
        coming = numbered.version(1)
        message = coming["config_update_status"]["message"]
        assert coming == {
            **before[1],
            "config_update_status": service("PENDING", message, asked[1]),
        }
        assert message
        assert numbered.answer("Production") == numbered.answer(1) == 1
    numbered.become({"1": UP, "2": UP})
    after = numbered.version(1)
    assert after == {
        **before[1],
        "service_status": service("READY", "Ready", asked[1]),
        "config_update_status": service("READY", "Ready", asked[1]),
        "served_entity_name": after["served_entity_name"],
    }
    assert numbered.version(2) == before[2]
    body = {
        **numbered.given,
        "stage": "Staging",
        "desired_workload_config_spec": {"workload_size_id": "Large", "scale_to_zero_enabled": False},
    }
    for path in (f"{BARE}/update-compute-config", f"{V2}/update-compute-config"):
        answer = server.http.put(path, json=body)
        assert (answer.status_code, answer.json()) == (200, {}), answer.text
    wait_for("Staging is Large", lambda: large(numbered.version(2)), 30)
    assert numbered.version(1) == after
    assert (numbered.answer("Staging"), numbered.answer("Production")) == (2, 1)
    body["desired_workload_config_spec"]["workload_size_id"] = "Huge"
    refused = server.http.put("/preview/model-serving-api/endpoints-v2/update-compute-config", json=body)
    assert error_of(refused) == (400, "INVALID_PARAMETER_VALUE")
    assert "workload_size_id" in refused.json()["message"]


def test_version_goes_to_zero_and_a_query_of_its_stage_wakes_it(numbered):
    numbered.move(1, "Staging")
    numbered.become({"1": UP})
    numbered.configure("Staging", to_zero=True)
    numbered.become({"1": UP})

    def replicas() -> list[Json]:
        return numbered.read("get-version-replicas", endpoint_version_name="1")["replicas"]

    wait_for("it is at zero", lambda: not replicas(), 30)
    assert numbered.states() == {"1": UP}
    assert numbered.status()["state"] == "READY"
    assert numbered.answer("Staging") == 1
    assert len(replicas()) == 1
    wait_for("it is at zero again", lambda: not replicas(), 30)
    assert numbered.answer(1) == 1


def test_version_that_cannot_be_loaded_disturbs_no_other_and_can_be_tried_again(server, numbered, doors):
    numbered.move(1, "Production")
    numbered.become({"1": UP})
    nothing = server.http.post(f"{V2}/restart-compute-config-update", json=numbered.given)
    assert error_of(nothing) == (400, "INVALID_PARAMETER_VALUE")
    with doors.broken(2), doors.broken(3):
        numbered.move(2, "Staging")
        numbered.move(3, "Production", archive=True)
        failed = ("FAILED", "FAILED")
        numbered.become({"1": UP, "2": failed, "3": failed})
        status = numbered.version(2)
        assert "RuntimeError: the weights are missing" in status["service_status"]["message"]
        assert status["config_update_status"] == status["service_status"]
        assert numbered.status()["state"] == "READY"
        assert numbered.aliases()["Production"] == "1"
        assert numbered.answer("Production") == 1
        assert numbered.refused(1)[:2] == (404, "RESOURCE_DOES_NOT_EXIST")  # it is archived
        for where in ("Staging", 2, 3):
            code, name, message = numbered.refused(where)
            assert (code, name) == (400, "BAD_REQUEST")
            assert "the weights are missing" in message
        logs = {**numbered.given, "endpoint_version_name": "2"}
        assert "the weights are missing" in server.http.post(f"{V2}/get-version-logs", json=logs).json()["logs"]
        state = server.detail(numbered.name)["state"]
        assert state == {"ready": "READY", "config_update": "UPDATE_FAILED", "update_state": "UPDATE_FAILED"}
        schema = server.http.get(f"/api/2.0/serving-endpoints/{numbered.name}/openapi")
        assert schema.status_code == 200, schema.text
        served = numbered.version(1)["served_entity_name"]
        named = [one for one in schema.json()["paths"] if "/served-models/" in one]
        assert named == [f"/served-models/{served}/invocations"]
    numbered.tell("restart-compute-config-update", stage="Staging")
    wait_for("version 2 serves", lambda: numbered.states()["2"] == UP, 30)
    assert numbered.states() == {"1": UP, "2": UP, "3": failed}
    assert (numbered.answer("Staging"), numbered.answer("Production")) == (2, 1)
    numbered.tell("restart-compute-config-update")
    numbered.become({"2": UP, "3": UP})
    assert (numbered.answer("Staging"), numbered.answer("Production")) == (2, 3)
    assert server.detail(numbered.name)["state"]["config_update"] == "NOT_UPDATING"


def test_compute_configuration_that_fails_leaves_the_old_one_serving(server, numbered, doors):
    numbered.move(1, "Production")
    numbered.become({"1": UP})
    before = numbered.version(1)
    with doors.broken(1):
        numbered.configure("Production", "Medium")
        numbered.become({"1": ("READY", "FAILED")})
        failed = numbered.version(1)
        assert failed["service_status"] == before["service_status"]
        assert failed["config_update_status"]["config"]["workload_spec"]["workload_size_id"] == "Medium"
        assert "the weights are missing" in failed["config_update_status"]["message"]
        assert numbered.answer("Production") == numbered.answer(1) == 1
        assert server.detail(numbered.name)["state"]["config_update"] == "UPDATE_FAILED"
    numbered.tell("restart-compute-config-update", stage="Production")
    numbered.become({"1": UP})
    assert numbered.version(1)["service_status"]["config"]["workload_spec"]["workload_size_id"] == "Medium"
    assert numbered.answer("Production") == 1


def test_death_of_the_control_plane_is_not_noticed_and_status_is_the_same_after_it(server, iris, own):
    reads = ("get-status", "list-versions", "list-version-aliases")
    before = [iris.read(one) for one in reads]

    def replicas() -> dict[str, int]:
        """Its own, by their ids with their processes: those of other models may be on their way out."""
        found = (iris.read("get-version-replicas", endpoint_version_name=one)["replicas"] for one in ("1", "2"))
        processes = server.replicas()
        return {one["id"]: processes[one["id"]] for some in found for one in some}

    there = replicas()
    assert len(there) == 2
    body, rows = FORMATS["inputs"]
    right = {"predictions": own["Production"].predict(rows).tolist()}
    answers: list[tuple[int, Any]] = []
    over = threading.Event()

    def score() -> None:
        with httpx.Client(base_url=server.url, auth=("token", server.token), timeout=60) as http:
            while not over.is_set():
                answer = http.post("/model-endpoint/iris-classifier/Production/invocations", json=body)
                answers.append((answer.status_code, answer.json()))
                over.wait(0.002)

    client = threading.Thread(target=score)
    client.start()
    try:
        wait_for("queries run", lambda: len(answers) > 10, 10)
        dead = server.part("moorage.control")
        os.kill(dead, signal.SIGKILL)
        wait_for("its death", lambda: not is_alive(dead), 5)
        wait_for("another control plane", lambda: server.part("moorage.control") not in (0, dead), 30)
        wait_for("the server is healthy", lambda: server.http.get("/health").status_code == 200, 60)
        known = wait_for("it has adopted what serves", lambda: iris.events()[0], 10)
        seen = len(answers)
        wait_for("queries go on", lambda: len(answers) > seen + 10, 10)
    finally:
        over.set()
        client.join(70)
    assert known
    assert [one for one in answers if one != (200, right)] == []
    assert [iris.read(one) for one in reads] == before
    assert replicas() == there


def test_rights_are_those_on_the_registered_model(server, iris, other, sources, doors):
    given = iris.given
    version = {**given, "endpoint_version_name": "1"}
    move = {"name": iris.name, "version": "3", "stage": "Staging"}
    resize = {**given, "stage": "Staging", "desired_workload_config_spec": SMALL}
    body = FORMATS["inputs"][0]
    reads = [
        *(("GET", f"{V2}/{what}", given) for what in ("get-status", "list-versions", "list-version-aliases")),
        *(("GET", f"{V2}/{what}", version) for what in ("get-version-status", "get-version-replicas")),
        ("POST", f"{V2}/get-version-logs", version),
        ("GET", f"{V2}/get-event-history", given),
        *(("POST", f"/{family}/{iris.name}/Production/invocations", body) for family in FAMILIES),
        ("POST", f"/serving-endpoints/{iris.name}/invocations", body),
    ]
    changes = [
        ("POST", f"{V2}/enable", given),
        ("PUT", f"{V2}/update-compute-config", resize),
        ("POST", f"{V2}/restart-compute-config-update", given),
        ("POST", f"{V2}/disable", given),
        ("POST", TRANSITION, move),
    ]

    def statuses(requested: list[tuple[str, str, Json]]) -> list[int]:
        return [other.request(method, path, json=document).status_code for method, path, document in requested]

    assert statuses(reads) == [403] * len(reads)
    assert statuses(changes) == [403] * len(changes)
    assert other.get(f"{V2}/list").json() == {"endpoint_statuses": []}

    with granted(server, iris.name, "CAN_READ"):
        assert statuses(reads) == [200] * len(reads)
        assert statuses(changes) == [403] * len(changes)
        listed = other.get(f"{V2}/list").json()["endpoint_statuses"]
        assert [one["registered_model_name"] for one in listed] == [iris.name]
        assert other.get(f"/api/2.0/serving-endpoints/{iris.name}").json()["permission_level"] == "CAN_QUERY"
    assert statuses(reads) == [403] * len(reads)

    sources.register("others-model", ("answers 1", answering(1, doors)))
    theirs = {"registered_model_name": "others-model"}
    with granted(server, "others-model", "CAN_MANAGE"):
        refused = other.post(f"{V2}/enable", json=theirs)
        assert error_of(refused) == (403, "PERMISSION_DENIED")
        assert "allow-cluster-create" in refused.json()["message"]
        entitle(server, "add")
        assert (other.post(f"{V2}/enable", json=theirs).status_code) == 200
        compute_config = other.get(f"{V2}/get-status", params=theirs).json()["endpoint_status"]["compute_config"]
        assert {one["user_id"] for one in compute_config} == {OTHER_USER}
        entitle(server, "remove")
        moved = other.post(TRANSITION, json={"name": "others-model", "version": "1", "stage": "Production"})
        assert moved.status_code == 200, moved.text
        mine = StagedModel(server, "others-model")
        mine.become({"1": UP})
        answer = other.post("/model-endpoint/others-model/Production/invocations", json=ROWS)
        assert answer.json() == {"predictions": [1, 1]}
        assert other.post(f"{V2}/disable", json=theirs).status_code == 200


def test_serving_endpoints_show_it_query_it_and_refuse_to_change_it(server, iris, own):
    path = f"/api/2.0/serving-endpoints/{iris.name}"
    shown = {
        "registered_model_name": iris.name,
        "aliases": [
            {"alias": "Staging", "endpoint_version_name": "2"},
            {"alias": "Production", "endpoint_version_name": "1"},
        ],
    }
    detail = server.detail(iris.name)
    [listed] = [
        one for one in server.http.get("/api/2.0/serving-endpoints").json()["endpoints"] if one["name"] == iris.name
    ]
    assert detail["legacy_serving"] == listed["legacy_serving"] == shown
    state = {"ready": "READY", "config_update": "NOT_UPDATING", "update_state": "NOT_UPDATING"}
    assert detail["state"] == listed["state"] == state
    served = {one["name"]: one for one in detail["config"]["served_entities"]}
    assert {name: one["entity_version"] for name, one in served.items()} == {
        "iris-classifier-1": "1",
        "iris-classifier-2": "2",
    }
    assert detail["config"]["traffic_config"]["routes"] == [
        {
            "served_entity_name": "iris-classifier-1",
            "served_model_name": "iris-classifier-1",
            "traffic_percentage": 100,
        }
    ]
    with server.as_client():
        assert WorkspaceClient().serving_endpoints.get(iris.name).state.ready.value == "READY"

    body, rows = FORMATS["dataframe_records"]
    answer = server.query(iris.name, body)
    assert answer.json() == {"predictions": own["Production"].predict(rows).tolist()}
    answer = server.http.post(
        f"/serving-endpoints/{iris.name}/served-models/iris-classifier-2/invocations", json=body
    )
    assert answer.json() == {"predictions": own["Staging"].predict(rows).tolist()}

    entity = {"entity_name": iris.name, "entity_version": "2", "workload_size": "Small"}
    refused = server.http.put(f"{path}/config", json={"served_entities": [{**entity, "scale_to_zero_enabled": True}]})
    assert error_of(refused) == (400, "INVALID_PARAMETER_VALUE")
    assert "serves registered model 'iris-classifier' by stage" in refused.json()["message"]
    assert server.detail(iris.name) == detail

    server.create("beside", iris.name, "2")
    server.ready("beside")
    assert server.query("beside", body).json() == answer.json()
    assert "legacy_serving" not in server.detail("beside")
    statuses = server.http.get(f"{V2}/list").json()["endpoint_statuses"]
    assert [one["registered_model_name"] for one in statuses].count(iris.name) == 1
    server.delete("beside")


def test_model_with_the_defaults_channel_is_served_with_a_warning(server, own):
    model = StagedModel(server, "old-model")
    with server.as_client():
        client = MlflowClient()
        with mlflow.start_run(experiment_id=mlflow.get_experiment_by_name("tests").experiment_id):
            run = old_model()
        client.create_registered_model(model.name)
        client.create_model_version(model.name, f"{run.artifact_uri}/model", run.run_id)
    model.enable()
    model.move(1, "Production")
    model.become({"1": UP})
    body, rows = FORMATS["instances"]
    assert model.ask("Production", body).json() == {"predictions": own["Production"].predict(rows).tolist()}
    [warning] = [one for one in model.events() if one["event_type"] == "CONDA_DEFAULTS_CHANNEL"]
    assert (warning["status"], warning["endpoint_version_name"]) == ("WARNING", "1")
    assert "'defaults'" in warning["message"]
    model.disable()
