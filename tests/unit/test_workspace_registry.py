"""The workspace's view of MLflow's registered models, on a real MLflow."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_harness import ADMIN, ANN, BOB, ControlPlane, control_plane
from mlflow_in_process import mlflow_api, mlflow_folder

from moorage.api.routing import Principal
from moorage.control.store import permissions, registered_models
from moorage.control.store.permissions import ObjectType
from moorage.registry.tags import PENDING, REGISTRATION, USER

ROOT = "/api/2.0/mlflow"
_numbers = itertools.count()


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path, mlflow=mlflow_api(), artifacts=mlflow_folder() / "artifacts") as plane:
        yield plane


@pytest.fixture
def model(plane: ControlPlane) -> str:
    """Ann's model with two versions, the second in Staging. Others have made models in the same MLflow."""
    api, name = mlflow_api(), f"workspace-{next(_numbers)}"
    tags = [{"key": "team", "value": "ads"}, {"key": "moorage.something", "value": "1"}]
    api.call("POST", "registered-models/create", {"name": name, "description": "what it does", "tags": tags})
    experiment = api.call("POST", "experiments/create", {"name": name})["experiment_id"]
    run = api.call("POST", "runs/create", {"experiment_id": experiment})["run"]["info"]
    source = f"{run['artifact_uri']}/model"
    given = {"name": name, "source": source, "run_id": run["run_id"], "run_link": "https://example.com/run"}
    for hidden in ({USER: BOB.user_name}, {REGISTRATION: PENDING}):
        tags = [{"key": key, "value": value} for key, value in {"stage": "first", **hidden}.items()]
        api.call("POST", "model-versions/create", {**given, "description": "a version", "tags": tags})
    moved = {"name": name, "version": "2", "stage": "Staging", "archive_existing_versions": False}
    api.call("POST", "model-versions/transition-stage", moved)
    with plane.sessions.begin() as session:
        registered_models.record_owner(session, name, ANN.id)
    return name


def get(plane: ControlPlane, name: str, caller: Principal = ANN) -> Any:
    return plane.request("GET", f"{ROOT}/databricks/registered-models/get", caller, params={"name": name})


def grant(plane: ControlPlane, name: str, level: str) -> None:
    with plane.sessions.begin() as session:
        permissions.grant(session, ObjectType.REGISTERED_MODEL, name, BOB.id, level)


def listed(plane: ControlPlane, caller: Principal, size: int = 100) -> list[dict[str, Any]]:
    """Every model of every page."""
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"max_results": size}
    while True:
        answer = plane.request("GET", f"{ROOT}/registered-models/list", caller, params=query)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["registered_models"]) <= size
        found += page["registered_models"]
        if "next_page_token" not in page:
            return found
        query["page_token"] = page["next_page_token"]


def test_a_model_with_what_mlflow_does_not_know_of_it(plane: ControlPlane, model: str) -> None:
    answer = get(plane, model)
    assert answer.status_code == 200, answer.text
    found = answer.json()["registered_model_databricks"]
    versions = {one["version"]: one for one in found.pop("latest_versions")}
    assert found["last_updated_timestamp"] >= found["creation_timestamp"] > 1_600_000_000_000
    assert {key: value for key, value in found.items() if not key.endswith("_timestamp")} == {
        "id": model,
        "name": model,
        "description": "what it does",
        "user_id": ANN.user_name,
        "permission_level": "CAN_MANAGE",
        "tags": [{"key": "team", "value": "ads"}],
    }
    first, second = versions["1"], versions["2"]
    assert first["creation_timestamp"] > 1_600_000_000_000
    assert first["source"].startswith("dbfs:/databricks/mlflow-tracking/")
    assert first["source"].endswith(f"/{first['run_id']}/artifacts/model")
    told = ("name", "current_stage", "description", "run_link", "status", "user_id", "tags")
    assert {key: first[key] for key in told} == {
        "name": model,
        "current_stage": "None",
        "description": "a version",
        "run_link": "https://example.com/run",
        "status": "READY",
        "user_id": BOB.user_name,
        "tags": [{"key": "stage", "value": "first"}],
    }
    assert (second["current_stage"], second["status"]) == ("Staging", "PENDING_REGISTRATION")
    assert "user_id" not in second
    assert "moorage." not in answer.text


def test_the_id_is_that_of_its_permissions(plane: ControlPlane, model: str) -> None:
    plane.registry.add(model, "1")
    found = get(plane, model).json()["registered_model_databricks"]
    path = f"/api/2.0/permissions/registered-models/{found['id']}"
    assert plane.request("GET", path, ANN).json()["object_id"] == f"/registered-models/{model}"


@pytest.mark.parametrize("level", ["CAN_READ", "CAN_EDIT", "CAN_MANAGE_STAGING_VERSIONS", "CAN_MANAGE"])
def test_the_level_is_the_callers(plane: ControlPlane, model: str, level: str) -> None:
    assert get(plane, model, BOB).status_code == 403
    grant(plane, model, level)
    assert get(plane, model, BOB).json()["registered_model_databricks"]["permission_level"] == level


def test_a_model_that_nobody_is_known_to_have_made(plane: ControlPlane, model: str) -> None:
    with plane.sessions.begin() as session:
        registered_models.forget(session, model)
    found = get(plane, model, BOB).json()["registered_model_databricks"]
    assert found["permission_level"] == "CAN_READ"
    assert "user_id" not in found


def test_a_model_that_is_none(plane: ControlPlane) -> None:
    answer = get(plane, "no-such-model", ADMIN)
    assert (answer.status_code, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    for query in ({}, {"name": ""}):
        answer = plane.request("GET", f"{ROOT}/databricks/registered-models/get", ANN, params=query)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
        assert "'name'" in answer.json()["message"]


def test_the_list_has_the_models_that_one_may_read(plane: ControlPlane, model: str) -> None:
    others = [f"{model}-other-{number}" for number in range(3)]
    for name in others:
        mlflow_api().call("POST", "registered-models/create", {"name": name})
        with plane.sessions.begin() as session:
            registered_models.record_owner(session, name, BOB.id)
    for size in (1, 2, 1000):
        named = {one["name"]: one for one in listed(plane, ANN, size)}
        assert model in named
        assert not named.keys() & set(others)
    found = get(plane, model).json()["registered_model_databricks"]
    assert named[model] == {key: value for key, value in found.items() if key not in ("id", "permission_level")}
    assert {one["name"] for one in listed(plane, ADMIN)} >= {model, *others}
    names = [one["name"] for one in listed(plane, BOB, 2)]
    assert set(others) <= set(names)
    assert model not in names


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"max_results": "0"}, "'max_results'"),
        ({"max_results": "1001"}, "'max_results'"),
        ({"max_results": "many"}, "'max_results'"),
        ({"page_token": "not a token"}, "page_token"),
        ({"page_token": "bnVsbA=="}, "page_token"),
    ],
)
def test_mistakes_are_named(plane: ControlPlane, query: dict[str, str], words: str) -> None:
    answer = plane.request("GET", f"{ROOT}/registered-models/list", ANN, params=query)
    assert answer.status_code == 400, answer.text
    assert words in answer.json()["message"]


@pytest.mark.parametrize(
    ("method", "operation"),
    [("POST", "create"), ("GET", "list"), ("PATCH", "update"), ("DELETE", "delete"), ("POST", "test")],
)
def test_registry_webhooks_are_not_implemented(plane: ControlPlane, method: str, operation: str) -> None:
    body = {"json": {"events": ["COMMENT_CREATED"], "id": "1"}} if method in ("POST", "PATCH") else {}
    answer = plane.request(method, f"{ROOT}/registry-webhooks/{operation}", ADMIN, **body)
    assert (answer.status_code, answer.json()["error_code"]) == (501, "NOT_IMPLEMENTED")
    assert "webhooks" in answer.json()["message"]


def test_without_mlflow_it_says_so(tmp_path: Path) -> None:
    with control_plane(tmp_path) as plane:
        for answer in (get(plane, "any"), plane.request("GET", f"{ROOT}/registered-models/list", ANN)):
            assert (answer.status_code, answer.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
