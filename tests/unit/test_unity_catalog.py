"""Registered models in Unity Catalog as MLflow's client asks for them, on a real MLflow."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pytest
from catalog_clients import registry_store
from control_harness import ADMIN, ANN, BOB, ControlPlane, control_plane
from mlflow.entities.model_registry import ModelVersionTag, RegisteredModelTag
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow_in_process import mlflow_api, mlflow_folder
from sklearn.linear_model import LinearRegression

from moorage.api.routing import Principal
from moorage.control.store import permissions, registered_models
from moorage.control.store.engine import reading
from moorage.control.store.permissions import ObjectType
from moorage.identity.model_access import ModelRights
from moorage.registry.client import MlflowRegistry
from moorage.registry.mlflow_api import MlflowApi, MlflowRefusal

U1 = "/api/2.0/mlflow/unity-catalog"
EXPERIMENT = "registered-models"
_numbers = itertools.count()


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    artifacts = mlflow_folder() / "artifacts"
    with control_plane(tmp_path_factory.mktemp("plane"), mlflow=mlflow_api(), artifacts=artifacts) as plane:
        yield plane


@pytest.fixture
def name() -> str:
    """Of a model that there is not."""
    return f"main.ml.model{next(_numbers)}"


def ask(plane: ControlPlane, method: str, path: str, caller: Principal = ANN, **fields: Any) -> Any:
    """The answer of a U1 route: GETs have parameters, all others a body, as MLflow's client sends them."""
    given = {"params": fields} if method == "GET" else {"json": fields}
    return plane.request(method, f"{U1}/{path}", caller, **given)


def done(plane: ControlPlane, method: str, path: str, caller: Principal = ANN, **fields: Any) -> Any:
    response = ask(plane, method, path, caller, **fields)
    assert response.status_code == 200, response.text
    return response.json()


def refused(response: Any, status: int, code: str) -> str:
    assert (response.status_code, response.json()["error_code"]) == (status, code), response.text
    return str(response.json()["message"])


def create(plane: ControlPlane, name: str, **fields: Any) -> Any:
    return done(plane, "POST", "registered-models/create", name=name, **fields)["registered_model"]


def create_version(plane: ControlPlane, name: str, **fields: Any) -> Any:
    given = {"source": "models:/m-00ff", **fields}
    return done(plane, "POST", "model-versions/create", name=name, **given)["model_version"]


def stored(name: str, version: str = "1") -> dict[str, Any]:
    """The version as MLflow itself has it."""
    query = {"name": name, "version": version}
    found: dict[str, Any] = mlflow_api().call("GET", "model-versions/get", query=query)["model_version"]
    return found


def files_of(name: str, version: str = "1") -> Path:
    """The folder of the version's files, with a file in it, as if it had been uploaded."""
    source = stored(name, version)["source"]
    assert source.startswith("mlflow-artifacts:/registered-models/models/m-"), source
    folder = mlflow_folder() / "artifacts" / source.removeprefix("mlflow-artifacts:/")
    folder.mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}")
    return folder


def logged_model(model_id: str) -> dict[str, Any]:
    found: dict[str, Any] = mlflow_api().call("GET", f"logged-models/{model_id}")["model"]["info"]
    return found


def backing_models() -> set[str]:
    """The ids of the logged models in the experiment for files of versions."""
    query = {"experiment_name": EXPERIMENT}
    experiment = mlflow_api().call("GET", "experiments/get-by-name", query=query)["experiment"]
    wanted = {"experiment_ids": [experiment["experiment_id"]], "max_results": 50}
    found: set[str] = set()
    while True:
        page = mlflow_api().call("POST", "logged-models/search", wanted)
        found |= {one["info"]["model_id"] for one in page.get("models", [])}
        if not page.get("next_page_token"):
            return found
        wanted["page_token"] = page["next_page_token"]


def grant(plane: ControlPlane, name: str, principal: Principal, level: str) -> None:
    with plane.sessions.begin() as session:
        permissions.grant(session, ObjectType.REGISTERED_MODEL, name, principal.id, level)


class TestModels:
    def test_a_model_is_made_and_read_back(self, plane: ControlPlane, name: str) -> None:
        tags = [{"key": "team", "value": "ads"}, {"key": "empty", "value": ""}]
        made = create(plane, name, description="of ads", tags=tags)
        assert made["name"] == name
        assert made["description"] == "of ads"
        assert made["user_id"] == ANN.user_name
        assert sorted(made["tags"], key=str) == sorted(tags, key=str)
        assert made["aliases"] == []
        assert 1_600_000_000_000 < made["creation_timestamp"] == made["last_updated_timestamp"]
        found = done(plane, "GET", "registered-models/get", name=name)
        assert sorted(found["registered_model"].pop("tags"), key=str) == sorted(made.pop("tags"), key=str)
        assert found == {"registered_model": made}

    def test_parameters_of_get_may_be_in_the_body_and_of_delete_in_the_query(
        self, plane: ControlPlane, name: str
    ) -> None:
        create(plane, name)
        got = plane.request("GET", f"{U1}/registered-models/get", json={"name": name})
        assert got.json()["registered_model"]["name"] == name
        gone = plane.request("DELETE", f"{U1}/registered-models/delete", params={"name": name})
        assert (gone.status_code, gone.json()) == (200, {})
        refused(ask(plane, "GET", "registered-models/get", name=name), 404, "RESOURCE_DOES_NOT_EXIST")

    def test_a_name_is_given_once(self, plane: ControlPlane, name: str) -> None:
        create(plane, name)
        again = ask(plane, "POST", "registered-models/create", BOB, name=name)
        assert name in refused(again, 409, "RESOURCE_ALREADY_EXISTS")
        assert done(plane, "GET", "registered-models/get", name=name)["registered_model"]["user_id"] == ANN.user_name

    @pytest.mark.parametrize("bad", ["model", "schema.model", "a.b.c.d", "a..c", ".b.c", "a.b.", ".."])
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "registered-models/create"),
            ("GET", "registered-models/get"),
            ("PATCH", "registered-models/update"),
            ("DELETE", "registered-models/delete"),
        ],
    )
    def test_a_name_has_three_levels(self, plane: ControlPlane, bad: str, method: str, path: str) -> None:
        message = refused(ask(plane, method, path, name=bad), 400, "INVALID_PARAMETER_VALUE")
        assert "specify all three levels" in message
        assert "catalog.schema.model" in message

    @pytest.mark.parametrize(
        "bad", ["a.b.c d", "a.b.c/d", "a.b.c:d", "a.b.c\x01", "a.b.c\n", "a.b.\"'", f"a.b.{'c' * 252}", "a.'.\""]
    )
    def test_a_name_that_the_registry_cannot_keep_is_refused(self, plane: ControlPlane, bad: str) -> None:
        message = refused(ask(plane, "POST", "registered-models/create", name=bad), 400, "INVALID_PARAMETER_VALUE")
        assert message.startswith("Invalid value for 'name': must ")

    @pytest.mark.parametrize("part", ["it's", 'say"so"', "münchen", "100%_sure", "a\\b", "x" * 240, "-", "é;--"])
    def test_any_other_name_does(self, plane: ControlPlane, part: str) -> None:
        name = f"{part[:5]}.{next(_numbers)}.{part}"
        create(plane, name)
        create_version(plane, name)
        assert done(plane, "GET", "registered-models/get", name=name)["registered_model"]["name"] == name
        quote = '"' if "'" in name else "'"
        found = done(plane, "GET", "model-versions/search", filter=f"name = {quote}{name}{quote}")
        assert [one["name"] for one in found["model_versions"]] == [name]
        done(plane, "DELETE", "registered-models/delete", name=name)

    @pytest.mark.parametrize("field", ["name", "description", "tags"])
    def test_a_field_of_the_wrong_type_is_named(self, plane: ControlPlane, name: str, field: str) -> None:
        response = ask(plane, "POST", "registered-models/create", **{"name": name, field: 7})
        assert f"'{field}'" in refused(response, 400, "BAD_REQUEST")

    @pytest.mark.parametrize("key", ["moorage.registration", "moorage.x", "mlflow.prompt.is_prompt"])
    def test_the_server_s_own_tags_are_nobody_s_to_set(self, plane: ControlPlane, name: str, key: str) -> None:
        tag = {"key": key, "value": "true"}
        response = ask(plane, "POST", "registered-models/create", name=name, tags=[tag])
        assert "'tags[0].key'" in refused(response, 400, "INVALID_PARAMETER_VALUE")
        create(plane, name)
        create_version(plane, name)
        for path, fields in (
            ("registered-models/set-tag", {"name": name, **tag}),
            ("model-versions/set-tag", {"name": name, "version": "1", **tag}),
            ("model-versions/create", {"name": name, "source": "s", "tags": [tag]}),
        ):
            assert "key': must not " in refused(ask(plane, "POST", path, **fields), 400, "INVALID_PARAMETER_VALUE")
        for path in ("registered-models/delete-tag", "model-versions/delete-tag"):
            response = ask(plane, "DELETE", path, name=name, version="1", key=key)
            assert "'key': must not " in refused(response, 400, "INVALID_PARAMETER_VALUE")

    def test_jobs_of_deployment_are_refused(self, plane: ControlPlane, name: str) -> None:
        response = ask(plane, "POST", "registered-models/create", name=name, deployment_job_id="7")
        assert "deployment_job_id" in refused(response, 400, "INVALID_PARAMETER_VALUE")
        create(plane, name, deployment_job_id="")

    def test_a_description_is_changed_and_what_is_not_given_stays(self, plane: ControlPlane, name: str) -> None:
        create(plane, name, description="old")
        kept = done(plane, "PATCH", "registered-models/update", name=name)["registered_model"]
        assert kept["description"] == "old"
        changed = done(plane, "PATCH", "registered-models/update", name=name, description="new")["registered_model"]
        assert changed["description"] == "new"
        assert done(plane, "GET", "registered-models/get", name=name)["registered_model"]["description"] == "new"

    def test_a_renamed_model_keeps_everything(self, plane: ControlPlane, name: str) -> None:
        create(plane, name, tags=[{"key": "k", "value": "v"}])
        create_version(plane, name)
        done(plane, "POST", "registered-models/alias", name=name, alias="champion", version="1")
        grant(plane, name, BOB, "CAN_READ")
        new_name = f"{name}-new"
        renamed = done(plane, "PATCH", "registered-models/update", name=name, new_name=new_name, description="d")
        assert renamed["registered_model"]["name"] == new_name
        assert renamed["registered_model"]["description"] == "d"
        assert renamed["registered_model"]["aliases"] == [{"alias": "champion", "version": "1"}]
        assert renamed["registered_model"]["tags"] == [{"key": "k", "value": "v"}]
        refused(ask(plane, "GET", "registered-models/get", name=name), 404, "RESOURCE_DOES_NOT_EXIST")
        for caller in (ANN, BOB):
            version = done(plane, "GET", "model-versions/get", caller, name=new_name, version="1")["model_version"]
            assert version["status"] == "PENDING_REGISTRATION"
        refused(ask(plane, "DELETE", "registered-models/delete", BOB, name=new_name), 403, "PERMISSION_DENIED")

    def test_a_rename_onto_another_model_changes_nothing(self, plane: ControlPlane, name: str) -> None:
        create(plane, name, description="mine")
        done(plane, "POST", "registered-models/create", BOB, name=f"{name}-2")
        for caller in (ANN, ADMIN):
            response = ask(plane, "PATCH", "registered-models/update", caller, name=name, new_name=f"{name}-2")
            message = refused(response, 409, "RESOURCE_ALREADY_EXISTS")
            assert message == f"Registered model '{name}-2' already exists"
        assert done(plane, "GET", "registered-models/get", name=name)["registered_model"]["description"] == "mine"
        refused(ask(plane, "GET", "registered-models/get", name=f"{name}-2"), 403, "PERMISSION_DENIED")

    def test_a_rename_to_its_own_name_does_nothing(self, plane: ControlPlane, name: str) -> None:
        create(plane, name)
        assert done(plane, "PATCH", "registered-models/update", name=name, new_name=name)
        assert done(plane, "GET", "registered-models/get", name=name)["registered_model"]["user_id"] == ANN.user_name

    def test_a_rename_needs_three_levels(self, plane: ControlPlane, name: str) -> None:
        create(plane, name)
        response = ask(plane, "PATCH", "registered-models/update", name=name, new_name="plain")
        message = refused(response, 400, "INVALID_PARAMETER_VALUE")
        assert "'new_name'" in message
        assert "specify all three levels" in message

    def test_a_search_leads_through_all_pages(self, plane: ControlPlane, name: str) -> None:
        made = {f"{name}-{number}" for number in range(5)}
        for one in made:
            create(plane, one)
        done(plane, "POST", "registered-models/create", BOB, name=f"{name}-bobs")
        mlflow_api().call("POST", "registered-models/create", {"name": f"plain{next(_numbers)}"})
        found: list[str] = []
        token: str | None = ""
        pages = 0
        while token is not None:
            page = done(plane, "GET", "registered-models/search", max_results=2, page_token=token)
            assert len(page["registered_models"]) <= 2
            found += [one["name"] for one in page["registered_models"]]
            token = page.get("next_page_token")
            pages += 1
        assert pages >= 3
        assert made <= set(found)
        assert len(found) == len(set(found))
        assert all(one.count(".") == 2 for one in found)
        assert f"{name}-bobs" not in found

    @pytest.mark.parametrize("token", ["x", "e30=", "W10=", "eyJvZmZzZXQiOiAtM30=", "eyJvZmZzZXQiOiB0cnVlfQ==", "é"])
    def test_a_token_that_no_page_had_is_refused(self, plane: ControlPlane, token: str) -> None:
        for path in ("registered-models/search", "model-versions/search"):
            response = ask(plane, "GET", path, page_token=token)
            assert "'page_token'" in refused(response, 400, "INVALID_PARAMETER_VALUE")

    def test_how_much_of_a_list_is_a_number(self, plane: ControlPlane) -> None:
        for path in ("registered-models/search", "model-versions/search"):
            refused(ask(plane, "GET", path, max_results=-1), 400, "INVALID_PARAMETER_VALUE")
            refused(ask(plane, "GET", path, max_results="many"), 400, "BAD_REQUEST")
            assert done(plane, "GET", path, max_results=10**9)

    def test_prompts_are_no_models(self, plane: ControlPlane, name: str) -> None:
        tag = {"key": "mlflow.prompt.is_prompt", "value": "true"}
        mlflow_api().call("POST", "registered-models/create", {"name": name, "tags": [tag]})
        tags = [tag, {"key": "mlflow.prompt.text", "value": "x"}]
        document = {"name": name, "source": "dummy-source", "tags": tags}
        mlflow_api().call("POST", "model-versions/create", document)
        mlflow_api().call("POST", "registered-models/alias", {"name": name, "alias": "a", "version": "1"})
        version = {"name": name, "version": "1"}
        for method, path, fields in (
            ("GET", "registered-models/get", {"name": name}),
            ("PATCH", "registered-models/update", {"name": name, "description": "d"}),
            ("DELETE", "registered-models/delete", {"name": name}),
            ("POST", "registered-models/set-tag", {"name": name, "key": "k", "value": "v"}),
            ("DELETE", "registered-models/delete-tag", {"name": name, "key": "k"}),
            ("POST", "registered-models/alias", {**version, "alias": "b"}),
            ("GET", "registered-models/alias", {"name": name, "alias": "a"}),
            ("DELETE", "registered-models/alias", {"name": name, "alias": "a"}),
            ("POST", "model-versions/create", {"name": name, "source": "s"}),
            ("GET", "model-versions/get", version),
            ("PATCH", "model-versions/update", {**version, "description": "d"}),
            ("DELETE", "model-versions/delete", version),
            ("GET", "model-versions/get-download-uri", version),
            ("POST", "model-versions/finalize", version),
            ("POST", "model-versions/set-tag", {**version, "key": "k", "value": "v"}),
            ("DELETE", "model-versions/delete-tag", {**version, "key": "k"}),
        ):
            refused(ask(plane, method, path, ADMIN, **fields), 404, "RESOURCE_DOES_NOT_EXIST")
        assert stored(name)["tags"] == tags
        found = done(plane, "GET", "model-versions/search", ADMIN, filter=f"name = '{name}'")
        assert found["model_versions"] == []
        token: str | None = ""
        while token is not None:
            page = done(plane, "GET", "registered-models/search", ADMIN, page_token=token)
            assert name not in [one["name"] for one in page["registered_models"]]
            token = page.get("next_page_token")


class TestVersions:
    def test_a_version_waits_for_its_files_and_is_ready_then(self, plane: ControlPlane, name: str) -> None:
        create(plane, name)
        api = mlflow_api()
        experiment = api.call("POST", "experiments/create", {"name": f"e{next(_numbers)}"})["experiment_id"]
        run = api.call("POST", "runs/create", {"experiment_id": experiment})["run"]["info"]["run_id"]
        made = create_version(
            plane,
            name,
            source="dbfs:/databricks/mlflow-tracking/1/logged_models/m-1/artifacts",
            run_id=run,
            description="d",
            tags=[{"key": "k", "value": "v"}],
            model_id="m-1",
            run_tracking_server_id="4711",
            feature_deps="",
            model_version_dependencies=[{"type": "DATABRICKS_TABLE", "name": "a.b.c"}],
        )
        backing = stored(name)["source"].split("/")[-2]
        location = f"dbfs:/databricks/mlflow-tracking/registered-models/logged_models/{backing}/artifacts"
        pending = {
            "name": name,
            "version": "1",
            "user_id": ANN.user_name,
            "description": "d",
            "source": "dbfs:/databricks/mlflow-tracking/1/logged_models/m-1/artifacts",
            "run_id": run,
            "run_experiment_id": experiment,
            "run_tracking_server_id": "4711",
            "status": "PENDING_REGISTRATION",
            "status_message": "",
            "storage_location": location,
            "aliases": [],
            "tags": [{"key": "k", "value": "v"}],
            "model_id": "m-1",
        }
        assert made.items() >= pending.items()
        assert set(made) - set(pending) == {"creation_timestamp", "last_updated_timestamp"}
        got = done(plane, "GET", "model-versions/get", name=name, version="1")["model_version"]
        assert got.items() >= pending.items()
        assert logged_model(backing)["status"] == "LOGGED_MODEL_PENDING"

        for _ in range(2):  # a client that has lost the answer asks again
            ready = done(plane, "POST", "model-versions/finalize", name=name, version="1")["model_version"]
            assert ready.items() >= {**pending, "status": "READY"}.items()
        assert logged_model(backing)["status"] == "LOGGED_MODEL_READY"
        tags = {tag["key"] for tag in stored(name)["tags"]}
        assert "moorage.registration" not in tags
        assert tags > {"k", "moorage.source", "moorage.user", "moorage.model_id"}

    def test_who_serves_a_version_sees_that_it_is_not_ready(self, plane: ControlPlane, name: str) -> None:
        create(plane, name)
        create_version(plane, name, tags=[{"key": "k", "value": "v"}])
        registry = MlflowRegistry(mlflow_api(), None, "", None)
        found = registry.model_version(name, "1")
        assert found.status == "PENDING_REGISTRATION"
        assert found.tags == {"k": "v"}
        assert found.user_id == ANN.user_name
        with pytest.raises(Exception, match="must have status READY to be served, it has PENDING_REGISTRATION"):
            found.require_ready()
        assert [one.status for one in registry.model_versions(name)] == ["PENDING_REGISTRATION"]
        done(plane, "POST", "model-versions/finalize", name=name, version="1")
        registry.model_version(name, "1").require_ready()

    def test_versions_of_other_ways_are_ready(self, plane: ControlPlane, name: str) -> None:
        create(plane, name)
        api = mlflow_api()
        experiment = api.call("POST", "experiments/create", {"name": f"e{next(_numbers)}"})["experiment_id"]
        model = api.call("POST", "logged-models", {"experiment_id": experiment})["model"]["info"]
        model_id = model["model_id"]
        document = {"name": name, "source": f"models:/{model_id}", "model_id": model_id}
        api.call("POST", "model-versions/create", document)
        found = done(plane, "GET", "model-versions/get", name=name, version="1")["model_version"]
        assert found["status"] == "READY"
        assert found["source"] == f"models:/{model_id}"
        assert found["model_id"] == model_id
        files = f"dbfs:/databricks/mlflow-tracking/{experiment}/logged_models/{model_id}/artifacts"
        assert found["storage_location"] == files
        uri = done(plane, "GET", "model-versions/get-download-uri", name=name, version="1")
        assert uri == {"artifact_uri": files}
        # They are the logged model's files, and stay when the version goes.
        folder = mlflow_folder() / "artifacts" / model["artifact_uri"].removeprefix("mlflow-artifacts:/")
        folder.mkdir(parents=True)
        done(plane, "DELETE", "model-versions/delete", name=name, version="1")
        assert folder.is_dir()
        assert logged_model(model_id)["model_id"] == model_id

    def test_the_logged_model_is_known_by_its_files_or_is_the_one_that_has_the_files(
        self, plane: ControlPlane, name: str
    ) -> None:
        create(plane, name)
        root = "dbfs:/databricks/mlflow-tracking"
        for source, model_id in (
            ("models:/m-0a1b", "m-0a1b"),
            (f"{root}/7/logged_models/m-0a1b/artifacts", "m-0a1b"),
            (f"{root}/a/folder/models/m-0a1b/artifacts", "m-0a1b"),
            ("mlflow-artifacts:/7/models/m-0a1b/artifacts", "m-0a1b"),
            ("mlflow-artifacts:/7/models/m-0a1b/artifacts/below", None),
            (f"{root}/7/0123/artifacts/model", None),
            ("models:/a.b.c/1", None),
            ("/tmp/model", None),
        ):
            made = create_version(plane, name, source=source, run_id="", model_id="", run_tracking_server_id="")
            backing = stored(name, made["version"])["source"].split("/")[-2]
            assert made["model_id"] == (model_id or backing)
            assert {"run_id", "run_experiment_id", "run_tracking_server_id"}.isdisjoint(made)
            assert not logged_model(backing).get("source_run_id")
        given = create_version(plane, name, source="models:/m-0a1b", model_id="m-other")
        assert given["model_id"] == "m-other"

    def test_the_files_of_a_version_are_known_as_those_of_its_run(self, plane: ControlPlane, name: str) -> None:
        create(plane, name)
        api = mlflow_api()
        experiment = api.call("POST", "experiments/create", {"name": f"e{next(_numbers)}"})["experiment_id"]
        run = api.call("POST", "runs/create", {"experiment_id": experiment})["run"]["info"]["run_id"]
        create_version(plane, name, run_id=run)
        assert logged_model(stored(name)["source"].split("/")[-2])["source_run_id"] == run
        create_version(plane, name, run_id="another servers")
        assert not logged_model(stored(name, "2")["source"].split("/")[-2]).get("source_run_id")

    def test_numbers_count_up_and_are_not_given_twice(self, plane: ControlPlane, name: str) -> None:
        create(plane, name)
        assert [create_version(plane, name)["version"] for _ in range(2)] == ["1", "2"]
        done(plane, "DELETE", "model-versions/delete", name=name, version="2")
        assert create_version(plane, name)["version"] == "3"

    def test_versions_made_at_once_have_folders_of_their_own(self, plane: ControlPlane, name: str) -> None:
        create(plane, name)
        together = threading.Barrier(4)

        def one(_number: int) -> str:
            together.wait(10)
            return str(create_version(plane, name)["version"])

        with ThreadPoolExecutor(4) as pool:
            versions = list(pool.map(one, range(4)))
        assert sorted(versions) == ["1", "2", "3", "4"]
        assert len({stored(name, version)["source"] for version in versions}) == 4

    @pytest.mark.parametrize("given", ["latest", "0", "-1", "1.5", "", "9" * 10, "١"])
    def test_a_version_is_a_number(self, plane: ControlPlane, name: str, given: str) -> None:
        create(plane, name)
        response = ask(plane, "GET", "model-versions/get", name=name, version=given)
        assert "'version'" in refused(response, 400, "INVALID_PARAMETER_VALUE")

    def test_a_version_given_as_a_number_is_taken(self, plane: ControlPlane, name: str) -> None:
        create(plane, name)
        create_version(plane, name)
        assert done(plane, "POST", "model-versions/finalize", name=name, version=1)["model_version"]["version"] == "1"
        assert done(plane, "GET", "model-versions/get", name=name, version="001")["model_version"]["version"] == "1"

    def test_what_is_not_there_is_not_found_whoever_asks(self, plane: ControlPlane, name: str) -> None:
        create(plane, name)
        for missing, caller in ((f"{name}-nosuch", ANN), (f"{name}-nosuch", ADMIN), (name, ANN)):
            version = {"name": missing, "version": "7"}
            for method, path, fields in (
                ("PATCH", "model-versions/update", {**version, "description": "d"}),
                ("DELETE", "model-versions/delete", version),
                ("GET", "model-versions/get", version),
                ("GET", "model-versions/get-download-uri", version),
                ("POST", "model-versions/finalize", version),
                ("POST", "model-versions/set-tag", {**version, "key": "k", "value": "v"}),
                ("DELETE", "model-versions/delete-tag", {**version, "key": "k"}),
                ("POST", "registered-models/alias", {**version, "alias": "a"}),
                ("GET", "registered-models/alias", {"name": missing, "alias": "a"}),
                ("DELETE", "registered-models/alias", {"name": missing, "alias": "a"}),
            ):
                refused(ask(plane, method, path, caller, **fields), 404, "RESOURCE_DOES_NOT_EXIST")
            if missing != name:
                for method, path, fields in (
                    ("POST", "model-versions/create", {"name": missing, "source": "s"}),
                    ("PATCH", "registered-models/update", {"name": missing, "description": "d"}),
                    ("PATCH", "registered-models/update", {"name": missing, "new_name": "a.b.c"}),
                    ("DELETE", "registered-models/delete", {"name": missing}),
                    ("POST", "registered-models/set-tag", {"name": missing, "key": "k", "value": "v"}),
                    ("DELETE", "registered-models/delete-tag", {"name": missing, "key": "k"}),
                ):
                    refused(ask(plane, method, path, caller, **fields), 404, "RESOURCE_DOES_NOT_EXIST")

    def test_a_version_of_no_model_leaves_no_backing_model(self, plane: ControlPlane, name: str) -> None:
        create(plane, name)
        create_version(plane, name)
        before = backing_models()
        response = ask(plane, "POST", "model-versions/create", name=f"{name}-nosuch", source="s")
        refused(response, 404, "RESOURCE_DOES_NOT_EXIST")
        assert backing_models() == before

    def test_a_version_that_the_registry_refuses_leaves_no_backing_model(
        self, tmp_path: Path, name: str
    ) -> None:
        """The model is deleted between the two calls."""

        class Refusing(MlflowApi):
            def call(self, method: str, path: str, *args: Any, **more: Any) -> dict[str, Any]:
                if path == "model-versions/create":
                    assert backing_models() > before
                    raise MlflowRefusal(404, "RESOURCE_DOES_NOT_EXIST", "no such model")
                return mlflow_api().call(method, path, *args, **more)

        with control_plane(tmp_path / "first", mlflow=mlflow_api()) as plane:
            create(plane, name)
            create_version(plane, name)
        before = backing_models()
        with control_plane(tmp_path / "second", mlflow=Refusing(mlflow_api().http)) as plane:
            response = ask(plane, "POST", "model-versions/create", ADMIN, name=name, source="s")
            refused(response, 404, "RESOURCE_DOES_NOT_EXIST")
        assert backing_models() == before

    def test_the_experiment_of_the_files_is_restored(self, plane: ControlPlane, name: str) -> None:
        create(plane, name)
        create_version(plane, name)
        query = {"experiment_name": EXPERIMENT}
        experiment = mlflow_api().call("GET", "experiments/get-by-name", query=query)["experiment"]
        assert experiment["artifact_location"] == "mlflow-artifacts:/registered-models"
        mlflow_api().call("POST", "experiments/delete", {"experiment_id": experiment["experiment_id"]})
        assert create_version(plane, name)["version"] == "2"
        found = mlflow_api().call("GET", "experiments/get-by-name", query=query)["experiment"]
        assert (found["experiment_id"], found["lifecycle_stage"]) == (experiment["experiment_id"], "active")

    def test_an_experiment_of_that_name_with_other_files_is_said(self, tmp_path: Path, name: str) -> None:
        class Elsewhere(MlflowApi):
            def call(self, method: str, path: str, *args: Any, **more: Any) -> dict[str, Any]:
                if path == "experiments/get-by-name":
                    more["query"] = {"experiment_name": "elsewhere"}
                return mlflow_api().call(method, path, *args, **more)

        mlflow_api().call("POST", "experiments/create", {"name": "elsewhere"})
        with control_plane(tmp_path, mlflow=Elsewhere(mlflow_api().http)) as plane:
            create(plane, name)
            response = ask(plane, "POST", "model-versions/create", name=name, source="s")
            assert "'registered-models'" in refused(response, 409, "RESOURCE_CONFLICT")

    def test_a_description_is_changed(self, plane: ControlPlane, name: str) -> None:
        create(plane, name)
        create_version(plane, name, description="old")
        changed = done(plane, "PATCH", "model-versions/update", name=name, version="1", description="new")
        assert changed["model_version"]["description"] == "new"
        kept = done(plane, "PATCH", "model-versions/update", name=name, version="1")
        assert kept["model_version"]["description"] == "new"

    def test_tags_come_and_go_while_it_is_pending_too(self, plane: ControlPlane, name: str) -> None:
        create(plane, name)
        create_version(plane, name)
        version = {"name": name, "version": "1"}
        for finalized in (False, True):
            if finalized:
                done(plane, "POST", "model-versions/finalize", **version)
            assert done(plane, "POST", "model-versions/set-tag", **version, key="k", value="v") == {}
            done(plane, "POST", "registered-models/set-tag", name=name, key="k", value="v")
            tags = [{"key": "k", "value": "v"}]
            found = done(plane, "GET", "model-versions/get", **version)["model_version"]
            assert found["tags"] == tags
            assert found["status"] == ("READY" if finalized else "PENDING_REGISTRATION")
            assert done(plane, "GET", "registered-models/get", name=name)["registered_model"]["tags"] == tags
            assert done(plane, "DELETE", "model-versions/delete-tag", **version, key="k") == {}
            done(plane, "DELETE", "registered-models/delete-tag", name=name, key="k")
            assert done(plane, "GET", "model-versions/get", **version)["model_version"]["tags"] == []
            assert done(plane, "GET", "registered-models/get", name=name)["registered_model"]["tags"] == []

    def test_aliases(self, plane: ControlPlane, name: str) -> None:
        create(plane, name)
        for _ in range(2):
            create_version(plane, name)
        assert done(plane, "POST", "registered-models/alias", name=name, alias="champion", version="1") == {}
        found = done(plane, "GET", "registered-models/alias", name=name, alias="champion")["model_version"]
        assert found["version"] == "1"
        assert found["aliases"] == [{"alias": "champion", "version": "1"}]
        assert found["storage_location"]
        done(plane, "POST", "registered-models/alias", name=name, alias="champion", version="2")
        found = done(plane, "GET", "registered-models/get", name=name)["registered_model"]
        assert found["aliases"] == [{"alias": "champion", "version": "2"}]
        assert done(plane, "DELETE", "registered-models/alias", name=name, alias="champion") == {}
        for method in ("GET", "DELETE"):
            response = ask(plane, method, "registered-models/alias", name=name, alias="champion")
            refused(response, 404, "RESOURCE_DOES_NOT_EXIST")
        for bad in ("latest", "Latest", "v12", "a b", "x" * 256, "a/b", ""):
            response = ask(plane, "POST", "registered-models/alias", name=name, alias=bad, version="1")
            refused(response, 400, "INVALID_PARAMETER_VALUE")

    def test_an_alias_goes_with_its_version(self, plane: ControlPlane, name: str) -> None:
        create(plane, name)
        create_version(plane, name)
        done(plane, "POST", "registered-models/alias", name=name, alias="champion", version="1")
        done(plane, "DELETE", "model-versions/delete", name=name, version="1")
        assert done(plane, "GET", "registered-models/get", name=name)["registered_model"]["aliases"] == []

    def test_a_search_by_name_and_by_run(self, plane: ControlPlane, name: str) -> None:
        create(plane, name)
        run = f"run{next(_numbers)}"
        for _ in range(3):
            create_version(plane, name, run_id=run)
        done(plane, "POST", "registered-models/create", BOB, name=f"{name}-2")
        done(plane, "POST", "model-versions/create", BOB, name=f"{name}-2", source="s", run_id=run)
        for wanted in (f"name = '{name}'", f'name="{name}"', f" run_id='{run}' "):
            found: list[str] = []
            token: str | None = ""
            while token is not None:
                page = done(plane, "GET", "model-versions/search", filter=wanted, max_results=2, page_token=token)
                found += [one["version"] for one in page["model_versions"]]
                assert {one["name"] for one in page["model_versions"]} <= {name}
                token = page.get("next_page_token")
            assert sorted(found) == ["1", "2", "3"]
        assert done(plane, "GET", "model-versions/search", filter=f"name = '{name}-2'")["model_versions"] == []
        assert done(plane, "GET", "model-versions/search", filter=f"name = '{name}-3'")["model_versions"] == []
        by_bob = done(plane, "GET", "model-versions/search", BOB, filter=f"run_id = '{run}'")["model_versions"]
        assert [one["name"] for one in by_bob] == [f"{name}-2"]
        assert done(plane, "GET", "model-versions/search")["model_versions"]

    @pytest.mark.parametrize(
        "wanted",
        [
            "name = 'plain'", "source_path = 'x'", "name LIKE 'a.b.%'", "name = 'a.b.c' AND run_id = 'x'",
            "tags.k = 'v'", "name = a.b.c", "name = 'a.b.c", "name = 'a.b.c' OR 1=1", "nonsense",
        ],
    )  # fmt: skip
    def test_another_filter_is_refused(self, plane: ControlPlane, wanted: str) -> None:
        response = ask(plane, "GET", "model-versions/search", filter=wanted)
        assert "'filter'" in refused(response, 400, "INVALID_PARAMETER_VALUE")

    def test_the_download_uri_is_where_its_files_are(self, plane: ControlPlane, name: str) -> None:
        create(plane, name)
        create_version(plane, name)
        backing = stored(name)["source"].split("/")[-2]
        uri = done(plane, "GET", "model-versions/get-download-uri", name=name, version="1")
        location = f"dbfs:/databricks/mlflow-tracking/registered-models/logged_models/{backing}/artifacts"
        assert uri == {"artifact_uri": location}


class TestDeletion:
    def test_a_version_goes_with_its_files_and_no_other(self, plane: ControlPlane, name: str) -> None:
        create(plane, name)
        for _ in range(2):
            create_version(plane, name)
        first, second = files_of(name, "1"), files_of(name, "2")
        gone, kept = (logged_model(folder.parent.name)["model_id"] for folder in (first, second))
        assert done(plane, "DELETE", "model-versions/delete", name=name, version="1") == {}
        assert not first.parent.exists()
        assert (second / "MLmodel").is_file()
        assert gone not in backing_models()
        assert kept in backing_models()
        refused(ask(plane, "GET", "model-versions/get", name=name, version="1"), 404, "RESOURCE_DOES_NOT_EXIST")
        refused(ask(plane, "DELETE", "model-versions/delete", name=name, version="1"), 404, "RESOURCE_DOES_NOT_EXIST")

    def test_a_model_goes_with_all_that_it_has(self, plane: ControlPlane, name: str) -> None:
        create(plane, name)
        for _ in range(3):
            create_version(plane, name)
        folders = [files_of(name, version) for version in ("1", "2", "3")]
        done(plane, "POST", "model-versions/finalize", name=name, version="1")
        grant(plane, name, BOB, "CAN_READ")
        assert done(plane, "DELETE", "registered-models/delete", name=name) == {}
        assert not [folder for folder in folders if folder.parent.exists()]
        assert not backing_models() & {folder.parent.name for folder in folders}
        refused(ask(plane, "GET", "registered-models/get", name=name), 404, "RESOURCE_DOES_NOT_EXIST")
        with reading(plane.sessions) as session:
            assert registered_models.rights(session, name) == ModelRights()
        # Another one of that name is another model: whoever could read the first cannot read it.
        create(plane, name)
        refused(ask(plane, "GET", "registered-models/get", BOB, name=name), 403, "PERMISSION_DENIED")
        assert create_version(plane, name)["version"] == "1"

    def test_files_that_a_copy_has_too_stay(self, plane: ControlPlane, name: str) -> None:
        """MLflow copies a version without its files."""
        create(plane, name)
        create_version(plane, name)
        create_version(plane, name)
        folders = [files_of(name, version) for version in ("1", "2")]
        copy = f"copies{next(_numbers)}"
        mlflow_api().call("POST", "registered-models/create", {"name": copy})
        mlflow_api().call("POST", "model-versions/create", {"name": copy, "source": f"models:/{name}/1"})
        backing = folders[1].parent.name
        document = {"name": copy, "source": f"models:/{backing}", "model_id": backing}
        mlflow_api().call("POST", "model-versions/create", document)
        done(plane, "PATCH", "registered-models/update", name=name, new_name=f"{name}-new")
        done(plane, "DELETE", "registered-models/delete", name=f"{name}-new")
        assert all((folder / "MLmodel").is_file() for folder in folders)

    def test_files_that_cannot_be_removed_do_not_keep_the_version(
        self, plane: ControlPlane, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        create(plane, name)
        create_version(plane, name)
        folder = files_of(name)

        def fails(*_args: Any) -> None:
            raise OSError("the disk is gone")

        monkeypatch.setattr("moorage.registry.artifacts.LocalArtifacts.delete", fails)
        done(plane, "DELETE", "registered-models/delete", name=name)
        assert folder.is_dir()
        assert f"version 1 of {name}" in caplog.text
        refused(ask(plane, "GET", "registered-models/get", name=name), 404, "RESOURCE_DOES_NOT_EXIST")

    def test_files_go_when_the_registry_has_the_version_no_more(
        self, plane: ControlPlane, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        create(plane, name)
        create_version(plane, name)
        files_of(name)
        seen = []

        def look(_self: Any, path: str) -> None:
            seen.append(path)
            with pytest.raises(MlflowRefusal):
                stored(name)

        monkeypatch.setattr("moorage.registry.artifacts.LocalArtifacts.delete", look)
        done(plane, "DELETE", "model-versions/delete", name=name, version="1")
        assert len(seen) == 1


class TestRights:
    NEEDED = (
        ("GET", "registered-models/get", {}, "CAN_READ"),
        ("GET", "model-versions/get", {"version": "1"}, "CAN_READ"),
        ("GET", "model-versions/get-download-uri", {"version": "1"}, "CAN_READ"),
        ("GET", "registered-models/alias", {"alias": "a"}, "CAN_READ"),
        ("PATCH", "registered-models/update", {"description": "d"}, "CAN_EDIT"),
        ("POST", "registered-models/set-tag", {"key": "k", "value": "v"}, "CAN_EDIT"),
        ("DELETE", "registered-models/delete-tag", {"key": "k"}, "CAN_EDIT"),
        ("POST", "model-versions/create", {"source": "s"}, "CAN_EDIT"),
        ("POST", "model-versions/finalize", {"version": "1"}, "CAN_EDIT"),
        ("PATCH", "model-versions/update", {"version": "1", "description": "d"}, "CAN_EDIT"),
        ("POST", "model-versions/set-tag", {"version": "1", "key": "k", "value": "v"}, "CAN_EDIT"),
        ("DELETE", "model-versions/delete-tag", {"version": "1", "key": "k"}, "CAN_EDIT"),
        ("POST", "registered-models/alias", {"version": "1", "alias": "b"}, "CAN_MANAGE_PRODUCTION_VERSIONS"),
        ("DELETE", "registered-models/alias", {"alias": "b"}, "CAN_MANAGE_PRODUCTION_VERSIONS"),
        ("DELETE", "model-versions/delete", {"version": "1"}, "CAN_MANAGE"),
        ("DELETE", "registered-models/delete", {}, "CAN_MANAGE"),
    )
    LEVELS = (None, "CAN_READ", "CAN_EDIT", "CAN_MANAGE_STAGING_VERSIONS", "CAN_MANAGE_PRODUCTION_VERSIONS")

    @pytest.mark.parametrize("level", LEVELS)
    def test_each_operation_has_its_level(self, plane: ControlPlane, name: str, level: str | None) -> None:
        create(plane, name)
        create_version(plane, name)
        done(plane, "POST", "registered-models/alias", name=name, alias="a", version="1")
        if level is not None:
            grant(plane, name, BOB, level)
        order = [*self.LEVELS, "CAN_MANAGE"]
        for method, path, fields, needed in self.NEEDED:
            response = ask(plane, method, path, BOB, name=name, **fields)
            if order.index(level) >= order.index(needed):
                assert response.status_code == 200, f"{method} {path}: {response.text}"
            else:
                assert f"does not have {needed}" in refused(response, 403, "PERMISSION_DENIED"), path
        response = ask(plane, "PATCH", "registered-models/update", BOB, name=name, new_name=f"{name}-x")
        assert "does not have CAN_MANAGE" in refused(response, 403, "PERMISSION_DENIED")
        found = done(plane, "GET", "registered-models/get", name=name)["registered_model"]
        assert found["name"] == name
        assert stored(name)

    def test_who_manages_it_may_do_everything(self, plane: ControlPlane, name: str) -> None:
        create(plane, name)
        grant(plane, name, BOB, "CAN_MANAGE")
        create_version(plane, name)
        done(plane, "PATCH", "registered-models/update", BOB, name=name, new_name=f"{name}-x")
        done(plane, "DELETE", "model-versions/delete", BOB, name=f"{name}-x", version="1")
        done(plane, "DELETE", "registered-models/delete", BOB, name=f"{name}-x")

    def test_a_model_that_nobody_is_noted_for_is_taken_back(
        self, plane: ControlPlane, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(*_args: Any) -> None:
            raise OSError("no space left")

        monkeypatch.setattr("moorage.control.registry_access.RegistryAccess.created", fails)
        response = ask(plane, "POST", "registered-models/create", name=name)
        assert response.status_code == 500
        refused(ask(plane, "GET", "registered-models/get", name=name), 404, "RESOURCE_DOES_NOT_EXIST")

    def test_a_rename_that_is_not_noted_is_taken_back(
        self, plane: ControlPlane, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        create(plane, name)

        def fails(*_args: Any) -> None:
            raise OSError("no space left")

        monkeypatch.setattr("moorage.control.registry_access.RegistryAccess.renamed", fails)
        response = ask(plane, "PATCH", "registered-models/update", name=name, new_name=f"{name}-x")
        assert response.status_code == 500
        assert done(plane, "GET", "registered-models/get", name=name)["registered_model"]["name"] == name


class TestClients:
    def test_no_credentials_are_given_out(self, plane: ControlPlane) -> None:
        fields = {"name": "a.b.c", "version": "1", "operation": "MODEL_VERSION_OPERATION_READ_WRITE"}
        response = ask(plane, "POST", "model-versions/generate-temporary-credentials", **fields)
        message = refused(response, 501, "NOT_IMPLEMENTED")
        assert "Files API" in message
        assert "MLFLOW_USE_DATABRICKS_SDK_MODEL_ARTIFACTS_REPO_FOR_UC" in message

    def test_lineage_is_taken(self, plane: ControlPlane) -> None:
        lineage = {"entities": [{"job": {"id": "7"}}], "direction": "DOWNSTREAM"}
        fields = {"name": "a.b.c", "version": "1", "model_version_lineage_info": lineage}
        assert done(plane, "POST", "model-versions/emit-lineage", **fields) == {}

    def test_a_registry_that_does_not_answer(self, tmp_path: Path) -> None:
        with control_plane(tmp_path) as plane:
            for method, path, fields, _ in TestRights.NEEDED:
                response = ask(plane, method, path, name="a.b.c", **fields)
                refused(response, 503, "TEMPORARILY_UNAVAILABLE")
                assert response.headers["Retry-After"]

    def test_what_mlflow_answers_is_never_shown_raw(self, tmp_path: Path) -> None:
        broken = httpx.Client(
            transport=httpx.MockTransport(lambda _request: httpx.Response(200, text="<html>")), base_url="http://x"
        )
        with control_plane(tmp_path, mlflow=MlflowApi(broken)) as plane:
            response = ask(plane, "GET", "registered-models/get", name="a.b.c")
            assert "html" not in refused(response, 500, "INTERNAL_ERROR")

    @pytest.mark.parametrize("native", [False, True])
    def test_mlflow_s_own_client(
        self, plane: ControlPlane, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, native: bool
    ) -> None:
        folder = tmp_path / "model"
        rows = np.array([[1.0], [2.0]])
        model = LinearRegression().fit(rows, rows[:, 0])
        signature = infer_signature(rows, model.predict(rows))
        mlflow.sklearn.save_model(model, str(folder), signature=signature, pip_requirements=[])
        store, uploaded = registry_store(monkeypatch, plane, ANN, native=native)

        made = store.create_registered_model(name, [RegisteredModelTag("team", "ads")], "of ads")
        assert (made.name, made.description, made.tags) == (name, "of ads", {"team": "ads"})
        version = store.create_model_version(
            name, str(folder), run_id="r1", tags=[ModelVersionTag("k", "v")], description="d",
            local_model_path=str(folder),
        )  # fmt: skip
        assert uploaded == [str(folder)]
        assert (version.name, version.version, version.status) == (name, "1", "READY")
        assert (version.source, version.run_id, version.user_id) == (str(folder), "r1", ANN.user_name)
        assert (version.description, version.tags, version.aliases) == ("d", {"k": "v"}, [])

        store.set_registered_model_alias(name, "champion", "1")
        assert store.get_registered_model(name).aliases == {"champion": "1"}
        by_alias = store.get_model_version_by_alias(name, "champion")
        assert (by_alias.version, by_alias.aliases) == ("1", ["champion"])
        store.set_model_version_tag(name, "1", ModelVersionTag("a", "b"))
        store.delete_model_version_tag(name, "1", "k")
        assert store.get_model_version(name, "1").tags == {"a": "b"}
        store.set_registered_model_tag(name, RegisteredModelTag("a", "b"))
        store.delete_registered_model_tag(name, "team")
        assert store.get_registered_model(name).tags == {"a": "b"}
        assert store.update_model_version(name, "1", "changed").description == "changed"
        assert store.update_registered_model(name, "changed").description == "changed"
        uri = store.get_model_version_download_uri(name, "1")
        assert uri.startswith("dbfs:/databricks/mlflow-tracking/registered-models/logged_models/m-")
        found = store.search_model_versions(f"name = '{name}'")
        assert [(one.name, one.version, one.status) for one in found] == [(name, "1", "READY")]
        assert not found.token
        page = store.search_registered_models(max_results=1)
        assert page.token
        store.delete_registered_model_alias(name, "champion")
        with pytest.raises(MlflowException) as missing:
            store.get_model_version_by_alias(name, "champion")
        assert missing.value.error_code == "RESOURCE_DOES_NOT_EXIST"
        renamed = store.rename_registered_model(name, f"{name}-new")
        assert renamed.name == f"{name}-new"
        store.delete_model_version(f"{name}-new", "1")
        store.delete_registered_model(f"{name}-new")
        with pytest.raises(MlflowException) as gone:
            store.get_registered_model(name)
        assert gone.value.error_code == "RESOURCE_DOES_NOT_EXIST"

    def test_mlflow_s_hint_for_names_of_the_workspace(
        self, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store, _ = registry_store(monkeypatch, plane, ANN)
        with pytest.raises(MlflowException, match="set the Model Registry URI to 'databricks' \\(legacy\\)"):
            store.create_registered_model("plain")

    def test_an_answer_holds_nothing_of_the_server_s_own(self, plane: ControlPlane, name: str) -> None:
        create(plane, name)
        create_version(plane, name, model_id="m-1")
        texts = [
            json.dumps(done(plane, "GET", path, **fields))
            for path, fields in (
                ("registered-models/get", {"name": name}),
                ("model-versions/get", {"name": name, "version": "1"}),
                ("model-versions/search", {"filter": f"name = '{name}'"}),
                ("registered-models/search", {"max_results": 1000}),
            )
        ]
        assert not [text for text in texts if "moorage." in text]
