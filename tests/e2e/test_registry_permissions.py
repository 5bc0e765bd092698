"""The model registry as several users of the real MLflow client, and of plain HTTP, find it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel
from models import pins
from server import Server, data_directory, wait_for

from moorage.control.store.engine import make_sessions, migrate, open_database
from moorage.control.store.identity import insert_token
from moorage.control.store.models import Token, User
from moorage.datadir import DataDirectory
from moorage.identity.tokens import token_digest

IDS = {"ann": "4242424242424201", "bob": "4242424242424202"}
TOKENS = {name: f"dapi{number:032x}" for number, name in enumerate(IDS, start=1)}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with data_directory() as data_dir:
        make_users(data_dir)
        running = Server(data_dir)
        try:
            yield running
        except BaseException:
            running.kill()
            raise
        running.stop()


def make_users(data_dir: Path) -> None:
    data = DataDirectory(data_dir)
    data.create()
    engine = open_database(data.database)
    migrate(engine)
    with make_sessions(engine).begin() as session:
        for name, user_id in IDS.items():
            session.add(User(id=user_id, user_name=f"{name}@example.com", display_name=name, created_at=1))
            session.flush()
            digest = token_digest(TOKENS[name])
            insert_token(session, Token(id=user_id.zfill(64), digest=digest, user_id=user_id, creation_time=1))
    engine.dispose()


@contextmanager
def acting_as(server: Server, who: str) -> Iterator[MlflowClient]:
    """The MLflow client of `ann`, `bob` or `admin`, and `mlflow` itself on the same server."""
    token = TOKENS.get(who, server.token)
    with server.as_client(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_TOKEN", token)
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        patch.setenv("DATABRICKS_TOKEN", token)
        yield MlflowClient(server.url, server.url)


def http(server: Server, who: str) -> httpx.Client:
    headers = {"Authorization": f"Bearer {TOKENS.get(who, server.token)}"}
    return httpx.Client(base_url=server.url, headers=headers, timeout=60)


def grant(server: Server, who: str, name: str, level: str, to: str) -> None:
    entry = {"user_name": f"{to}@example.com", "permission_level": level}
    with http(server, who) as client:
        answer = client.patch(f"/api/2.0/permissions/registered-models/{name}", json={"access_control_list": [entry]})
    assert answer.status_code == 200, answer.text


def log_model(name: str) -> Any:
    class Echo(PythonModel):  # pickled by value, being local: this file is not where the model is served
        def predict(self, model_input: list[str]) -> list[str]:
            return model_input

    experiment = mlflow.get_experiment_by_name("registry") or None
    experiment_id = experiment.experiment_id if experiment else mlflow.create_experiment("registry")
    with mlflow.start_run(experiment_id=experiment_id):
        return mlflow.pyfunc.log_model(
            name="model", python_model=Echo(), registered_model_name=name, pip_requirements=pins()
        )


def denied(error: pytest.ExceptionInfo[MlflowException]) -> bool:
    return error.value.error_code == "PERMISSION_DENIED"


@pytest.fixture(scope="module")
def run_id(server: Server) -> str:
    """The run in which Ann logged `anns.own.echo`."""
    with acting_as(server, "ann"):
        return str(log_model("anns.own.echo").run_id)


def test_a_logged_model_is_its_authors(server: Server, run_id: str) -> None:
    with acting_as(server, "ann") as client:
        assert client.get_model_version("anns.own.echo", "1").run_id == run_id
        client.set_registered_model_tag("anns.own.echo", "team", "a")
        assert log_model("anns.own.echo").registered_model_version in (2, "2")
    with acting_as(server, "bob") as client:
        for action in (
            lambda: client.get_registered_model("anns.own.echo"),
            lambda: client.get_model_version("anns.own.echo", "1"),
            lambda: client.get_latest_versions("anns.own.echo"),
            lambda: client.get_model_version_download_uri("anns.own.echo", "1"),
            lambda: mlflow.pyfunc.load_model("models:/anns.own.echo/1"),
            lambda: client.update_registered_model("anns.own.echo", "mine now"),
            lambda: client.set_model_version_tag("anns.own.echo", "1", "a", "b"),
            lambda: client.set_registered_model_alias("anns.own.echo", "champion", "1"),
            lambda: client.rename_registered_model("anns.own.echo", "bobs.own.echo"),
            lambda: client.delete_model_version("anns.own.echo", "1"),
            lambda: client.delete_registered_model("anns.own.echo"),
            lambda: client.create_model_version("anns.own.echo", "models:/anns.own.echo/1"),
        ):
            with pytest.raises(MlflowException) as error:
                action()
            assert denied(error), error.value
    with acting_as(server, "admin") as client:
        assert client.get_registered_model("anns.own.echo").tags == {"team": "a"}
        assert len(client.search_model_versions("name='anns.own.echo'")) == 2


def test_searches_show_what_one_may_read_page_by_page(server: Server, run_id: str) -> None:
    with acting_as(server, "admin") as client:
        for number in range(5):
            client.create_registered_model(f"page{number}-admin")
    with acting_as(server, "bob") as client:
        for number in range(5):
            client.create_registered_model(f"page{number}-bob")
        pages, token = [], None
        while True:
            page = client.search_registered_models("name LIKE 'page%'", max_results=3, page_token=token)
            pages.append([one.name for one in page])
            token = page.token
            if not token:
                break
        assert len(pages) == 4
        assert [name for page in pages for name in page] == [f"page{number}-bob" for number in range(5)]
        assert client.search_model_versions("name='anns.own.echo'") == []
        assert [one.name for one in mlflow.search_registered_models()] == [f"page{n}-bob" for n in range(5)]
    with acting_as(server, "admin") as client:
        assert len(client.search_registered_models("name LIKE 'page%'")) == 10


def test_a_reader_loads_and_serves_the_model_and_changes_nothing(server: Server, run_id: str) -> None:
    endpoint = {
        "name": "bobs-echo",
        "config": {"served_entities": [{"entity_name": "anns.own.echo", "entity_version": "1"}]},
    }
    with http(server, "bob") as client:
        refused = client.post("/api/2.0/serving-endpoints", json=endpoint)
        assert (refused.status_code, refused.json()["error_code"]) == (403, "PERMISSION_DENIED")
    grant(server, "ann", "anns.own.echo", "CAN_READ", to="bob")
    with acting_as(server, "bob") as client:
        assert mlflow.pyfunc.load_model("models:/anns.own.echo/1").predict(["a"]) == ["a"]
        assert "anns.own.echo" in [one.name for one in client.search_registered_models()]
        with pytest.raises(MlflowException) as error:
            client.set_registered_model_tag("anns.own.echo", "team", "b")
        assert denied(error)
        # A copy is a model of one's own; that takes the right to read the original.
        client.create_registered_model("bobs.copy")
        client.create_model_version("bobs.copy", "models:/anns.own.echo/1")
    with http(server, "bob") as client:
        assert client.post("/api/2.0/serving-endpoints", json=endpoint).status_code == 200
        # The control plane itself fetches the model, which is neither its own nor an administrator's.
        wait_for(
            "the endpoint is ready",
            lambda: client.get("/api/2.0/serving-endpoints/bobs-echo").json()["state"]["ready"] == "READY",
            120,
        )
        assert client.delete("/api/2.0/serving-endpoints/bobs-echo").status_code == 200
    with http(server, "ann") as client:
        assert client.put("/api/2.0/permissions/registered-models/anns.own.echo", json={}).status_code == 200
    with acting_as(server, "bob") as client, pytest.raises(MlflowException) as error:
        client.get_registered_model("anns.own.echo")
    assert denied(error)


def test_stages_have_levels_of_their_own(server: Server, run_id: str) -> None:
    grant(server, "ann", "anns.own.echo", "CAN_MANAGE_STAGING_VERSIONS", to="bob")

    def move(who: str, stage: str) -> int:
        body = {"name": "anns.own.echo", "version": "1", "stage": stage}
        with http(server, who) as client:
            return client.post("/api/2.0/mlflow/model-versions/transition-stage", json=body).status_code

    assert move("bob", "Staging") == 200
    assert move("bob", "Production") == 403
    assert move("ann", "Production") == 200
    assert move("bob", "Archived") == 403
    grant(server, "ann", "anns.own.echo", "CAN_MANAGE_PRODUCTION_VERSIONS", to="bob")
    assert move("bob", "Archived") == 200
    with http(server, "ann") as client:
        client.put("/api/2.0/permissions/registered-models/anns.own.echo", json={})


def test_grants_follow_a_rename_and_end_with_a_delete(server: Server) -> None:
    with acting_as(server, "ann") as client:
        client.create_registered_model("renamed.from")
        grant(server, "ann", "renamed.from", "CAN_READ", to="bob")
        client.rename_registered_model("renamed.from", "renamed.to")
    with acting_as(server, "bob") as client:
        assert client.get_registered_model("renamed.to").name == "renamed.to"
    # An administrator's deletion counts, too, though administrators pass without being asked.
    with acting_as(server, "admin") as client:
        client.delete_registered_model("renamed.to")
        client.create_registered_model("renamed.to")
    for who in ("ann", "bob"):
        with acting_as(server, who) as client, pytest.raises(MlflowException) as error:
            client.get_registered_model("renamed.to")
        assert denied(error)


def test_a_model_that_exists_stays_whose_it_is(server: Server) -> None:
    with acting_as(server, "ann") as client:
        client.create_registered_model("taken")
    with acting_as(server, "bob") as client:
        with pytest.raises(MlflowException) as error:
            client.create_registered_model("taken")
        assert error.value.error_code == "RESOURCE_ALREADY_EXISTS"
        with pytest.raises(MlflowException) as error:
            client.get_registered_model("taken")
        assert denied(error)
    with acting_as(server, "ann") as client:
        assert client.get_registered_model("taken").name == "taken"


def test_graphql_shows_no_versions_of_other_peoples_models(server: Server, run_id: str) -> None:
    query = (
        "query R($run: String!) { mlflowGetRun(input: {runId: $run}) { run { info { runUuid } "
        "linked: modelVersions { label: name version } } } "
        "mlflowSearchModelVersions(input: {}) { modelVersions { source } } }"
    )

    def asked(who: str) -> tuple[str, Any]:
        with http(server, who) as client:
            answer = client.post("/mlflow/graphql", json={"query": query, "variables": {"run": run_id}})
        assert answer.status_code == 200, answer.text
        assert "moorage" not in answer.text
        data = answer.json()["data"]
        return data["mlflowGetRun"]["run"]["info"]["runUuid"], data

    run, data = asked("ann")
    assert run == run_id
    assert data["mlflowGetRun"]["run"]["linked"] == [{"label": "anns.own.echo", "version": "1"}]
    assert data["mlflowSearchModelVersions"]["modelVersions"]
    run, hidden = asked("bob")
    assert run == run_id
    # Bob's own copy comes from the same run.
    assert {one["label"] for one in hidden["mlflowGetRun"]["run"]["linked"]} <= {"bobs.copy"}
    assert not any(
        one in hidden["mlflowSearchModelVersions"]["modelVersions"]
        for one in data["mlflowSearchModelVersions"]["modelVersions"]
        if one["source"] != "models:/anns.own.echo/1"
    )
    assert data["mlflowGetRun"]["run"]["linked"][0] in asked("admin")[1]["mlflowGetRun"]["run"]["linked"]


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("GET", "/ajax-api/2.0/mlflow/registered-models/get?name=anns.own.echo", {}),
        ("GET", "/mlflow/ajax-api/2.0/mlflow/registered-models/get?name=anns.own.echo", {}),
        ("GET", "/mlflow/api/2.0/mlflow/model-versions/get?version=1&name=anns.own.echo", {}),
        ("GET", "/mlflow/model-versions/get-artifact?path=MLmodel&version=1&name=anns.own.echo", {}),
        ("GET", "/api/2.0/mlflow/registered-models/get", {"json": {"name": "anns.own.echo"}}),
        ("GET", "/api/2.0/mlflow/registered%2Dmodels/get?name=anns.own.echo", {}),
        ("POST", "/api/2.0/mlflow/registered-models/set-tag", {"json": json.dumps({"name": "anns.own.echo"})}),
        ("GET", "/api/2.0/mlflow/webhooks", {}),
    ],
)
def test_no_way_leads_around(server: Server, run_id: str, method: str, path: str, options: dict[str, Any]) -> None:
    with http(server, "bob") as client:
        answer = client.request(method, path, **options)
        assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize(
    "path", ["//api/2.0/mlflow//registered-models/get", "/mlflow//api/2.0/mlflow/model-versions/get"]
)
def test_no_odd_path_leads_around(server: Server, run_id: str, path: str) -> None:
    with http(server, "bob") as client:
        answer = client.get(f"{server.url}{path}?name=anns.own.echo&version=1")
    assert answer.status_code in (403, 404)
    assert run_id not in answer.text


def test_what_the_gateway_refuses_before_it_asks(server: Server) -> None:
    path = "/api/2.0/mlflow/registered-models/create"
    with http(server, "bob") as client:
        long = client.post(path, content=b'{"name": "' + b"x" * (1 << 20) + b'"}')
        assert (long.status_code, long.json()["error_code"]) == (400, "BAD_REQUEST")
        packed = client.post(path, content=b"x", headers={"Content-Encoding": "gzip"})
        assert (packed.status_code, packed.json()["error_code"]) == (400, "BAD_REQUEST")
        plain = {"Content-Type": "application/json"}
        streamed = client.post(path, content=iter([b'{"name": ', b'"streamed"}']), headers=plain)
        assert streamed.status_code == 200, streamed.text
        assert client.get("/internal/registry-access").status_code == 404
    with acting_as(server, "bob") as mlflow_client:
        assert mlflow_client.get_registered_model("streamed").name == "streamed"
