"""Signed addresses of files of registered versions, runs, logged models and traces, as MLflow's client uses them."""

from __future__ import annotations

import io
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from control_harness import ADMIN, ANN, BOB, ControlPlane, control_plane
from databricks.sdk import WorkspaceClient
from files_over_http import (
    experiment,
    files_of,
    new_logged_model,
    new_model,
    new_run,
    new_version,
    served,
)
from mlflow.protos.databricks_artifacts_pb2 import ArtifactCredentialType, DatabricksMlflowArtifactsService
from mlflow.store.artifact.databricks_artifact_repo import DatabricksArtifactRepository
from mlflow.store.artifact.databricks_logged_model_artifact_repo import DatabricksLoggedModelArtifactRepository
from mlflow.store.artifact.databricks_models_artifact_repo import DatabricksModelsArtifactRepository
from mlflow.store.artifact.databricks_run_artifact_repo import DatabricksRunArtifactRepository
from mlflow.store.artifact.databricks_sdk_models_artifact_repo import DatabricksSDKModelsArtifactRepository
from mlflow.utils.rest_utils import _REST_API_PATH_PREFIX, extract_api_info_for_service
from mlflow_in_process import mlflow_api, mlflow_folder

from moorage.api.artifact_uris import databricks_uri

ROOT = "/api/2.0/mlflow"
DATABRICKS = "dbfs:/databricks/mlflow-tracking"
NEEDS_AWS = {"CreateMultipartUpload", "CompleteMultipartUpload", "GetPresignedUploadPartUrl"}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    folder = tmp_path_factory.mktemp("credentials")
    with control_plane(folder, mlflow=mlflow_api(), artifacts=mlflow_folder() / "artifacts") as plane:
        yield plane


@pytest.fixture(scope="module")
def host(plane: ControlPlane) -> Iterator[str]:
    with served(plane) as url:
        yield url


@pytest.fixture
def as_ann(host: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What MLflow's client reads of its environment."""
    monkeypatch.setenv("DATABRICKS_HOST", host)
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-ann")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "databricks")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return host


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files as a model has them."""
    source = tmp_path / "source"
    (source / "data").mkdir(parents=True)
    (source / "MLmodel").write_text("flavors: {}")
    (source / "empty").write_bytes(b"")
    (source / "data" / "model ü.pkl").write_bytes(os.urandom(300_000))
    return source


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def new_trace() -> str:
    """A trace whose data is not there yet."""
    trace_id = f"tr-{uuid.uuid4().hex}"
    info = {
        "trace_id": trace_id,
        "trace_location": {
            "type": "MLFLOW_EXPERIMENT",
            "mlflow_experiment": {"experiment_id": experiment("runs-of-files")},
        },
        "request_time": "2026-01-01T00:00:00Z",
        "state": "OK",
    }
    answer = mlflow_api().http.post("/api/3.0/mlflow/traces", json={"trace": {"trace_info": info}})
    assert answer.status_code == 200, answer.text
    return trace_id


def path_of(address: str) -> str:
    return urlsplit(address).path


def assert_error(answer: Any, status: int, code: str, words: str = "") -> None:
    assert (answer.status_code, answer.json()["error_code"]) == (status, code), answer.text
    assert words in answer.json()["message"]


def test_the_routes_are_those_that_mlflow_asks(plane: ControlPlane) -> None:
    """All but those of AWS's uploads in parts: the addresses are of another type."""
    asked = extract_api_info_for_service(DatabricksMlflowArtifactsService, _REST_API_PATH_PREFIX)
    wanted = {info for message, info in asked.items() if message.__name__ not in NEEDS_AWS}
    paths = plane.client.app.openapi()["paths"]  # type: ignore[attr-defined]
    served = {(path, method.upper()) for path, methods in paths.items() for method in methods}
    assert len(wanted) == 6
    assert wanted <= served


# MLflow's own repositories


@pytest.mark.usefixtures("as_ann")
def test_mlflow_moves_the_files_of_a_run(folder: Path, tmp_path: Path) -> None:
    run, owner = new_run()
    uri = f"{DATABRICKS}/{owner}/{run}/artifacts"
    DatabricksArtifactRepository(uri).log_artifacts(str(folder), "model")
    stored = mlflow_folder() / "artifacts" / owner / run / "artifacts" / "model"
    assert contents(stored) == contents(folder)
    reader = DatabricksRunArtifactRepository(f"{uri}/model")
    assert [one.path for one in reader.list_artifacts()] == ["MLmodel", "data", "empty"]
    for repository, path, name in ((reader, "", "whole"), (DatabricksArtifactRepository(uri), "model/data", "part")):
        (tmp_path / name).mkdir()
        repository.download_artifacts(path, str(tmp_path / name))
    assert contents(tmp_path / "whole") == contents(folder)
    assert contents(tmp_path / "part" / "model" / "data") == contents(folder / "data")


@pytest.mark.usefixtures("as_ann")
def test_mlflow_moves_the_files_of_a_logged_model(folder: Path, tmp_path: Path) -> None:
    model, uri = new_logged_model(experiment("runs-of-files"))
    (tmp_path / "down").mkdir()
    DatabricksArtifactRepository(databricks_uri(uri)).log_artifacts(str(folder))
    both = (DatabricksLoggedModelArtifactRepository, DatabricksArtifactRepository)
    for number, repository in enumerate(both):
        down = tmp_path / "down" / str(number)
        down.mkdir()
        repository(databricks_uri(uri))._download_file("data/model ü.pkl", str(down / "f"))
        assert (down / "f").read_bytes() == (folder / "data" / "model ü.pkl").read_bytes()
    assert model in uri


@pytest.mark.usefixtures("as_ann")
def test_mlflow_moves_the_data_of_a_trace() -> None:
    trace = new_trace()
    repository = DatabricksArtifactRepository(f"{DATABRICKS}/{experiment('runs-of-files')}/{trace}/artifacts")
    from mlflow.exceptions import MlflowException, MlflowTraceDataNotFound

    with pytest.raises(MlflowTraceDataNotFound):
        repository.download_trace_data()
    data = {"spans": [{"name": "s" * 1000}]}
    repository.upload_trace_data(json.dumps(data))
    assert repository.download_trace_data() == data
    attachment = str(uuid.uuid4())
    with pytest.raises(MlflowException):
        repository.download_trace_attachment(attachment)
    repository.upload_attachment(attachment, b"picture")
    assert repository.download_trace_attachment(attachment) == b"picture"
    stored = mlflow_folder() / "artifacts" / experiment("runs-of-files") / "traces" / trace / "artifacts"
    assert set(contents(stored)) == {"traces.json", f"attachments/{attachment}"}


@pytest.mark.usefixtures("as_ann")
def test_mlflow_registers_files_and_gets_them(plane: ControlPlane, folder: Path, tmp_path: Path) -> None:
    name = new_model(plane)
    version = new_version(name)
    repository = DatabricksSDKModelsArtifactRepository(name, version, registry_uri="databricks-uc")
    assert repository.list_artifacts() == []
    repository.log_artifacts(str(folder))
    assert [(one.path, one.is_dir, one.file_size) for one in repository.list_artifacts()] == [
        ("MLmodel", False, 11),
        ("data", True, None),
        ("empty", False, 0),
    ]
    assert repository.list_artifacts("MLmodel") == []
    assert [one.path for one in repository.list_artifacts("data")] == ["data/model ü.pkl"]
    (tmp_path / "down").mkdir()
    repository.download_artifacts("", str(tmp_path / "down"))
    assert contents(tmp_path / "down") == contents(folder)


@pytest.mark.parametrize("parallel", [True, False])
def test_mlflow_gets_files_of_the_workspace_registry(
    plane: ControlPlane, as_ann: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parallel: bool
) -> None:
    monkeypatch.setenv("MLFLOW_MULTIPART_DOWNLOAD_CHUNK_SIZE", "70000" if parallel else "1000000")
    name = new_model(plane)
    version = new_version(name)
    files = WorkspaceClient(host=as_ann, token="dapi-ann").files
    for path, content in contents(folder).items():
        files.upload(f"{files_of(name, version)}/{path}", io.BytesIO(content))
    repository = DatabricksModelsArtifactRepository(f"models:/{name}/{version}", registry_uri="databricks")
    assert repository.list_artifacts("MLmodel") == []
    (tmp_path / "down").mkdir()
    repository.download_artifacts("", str(tmp_path / "down"))
    assert contents(tmp_path / "down") == contents(folder)


# What answers say


def test_the_files_of_a_version_are_listed(plane: ControlPlane) -> None:
    name = new_model(plane)
    version = new_version(name)
    query = {"name": name, "version": version}

    def listed(path: str = "") -> Any:
        return plane.request("GET", f"{ROOT}/model-versions/list-artifacts", params={**query, "path": path})

    assert listed().json() == {"files": []}
    for path in ("MLmodel", "data/a", "data/deep/b"):
        answer = plane.request("PUT", f"/api/2.0/fs/files{files_of(name, version)}/{path}", content=b"abc")
        assert answer.status_code == 204
    assert listed().json() == {
        "files": [{"path": "MLmodel", "is_dir": False, "file_size": 3}, {"path": "data", "is_dir": True}]
    }
    for path in ("data", "data/"):
        assert listed(path).json() == {
            "files": [
                {"path": "data/a", "is_dir": False, "file_size": 3},
                {"path": "data/deep", "is_dir": True},
            ]
        }
    assert listed("data/a").json() == {"files": [{"path": "data/a", "is_dir": False, "file_size": 3}]}
    assert_error(listed("nosuch"), 404, "NOT_FOUND")
    assert_error(listed("../x"), 400, "INVALID_PARAMETER_VALUE")


def test_the_files_of_a_version_are_its_readers(plane: ControlPlane) -> None:
    name = new_model(plane)
    version = new_version(name)
    plane.request("PUT", f"/api/2.0/fs/files{files_of(name, version)}/f", content=b"abc")
    query = {"name": name, "version": version, "path": "f"}
    for route in ("list-artifacts", "get-signed-download-uri"):
        address = f"{ROOT}/model-versions/{route}"
        assert_error(plane.request("GET", address, BOB, params=query), 403, "PERMISSION_DENIED")
        assert plane.request("GET", address, ANN, params=query).status_code == 200
        assert plane.request("GET", address, ADMIN, params=query).status_code == 200
        for missing in ("name", "version"):
            given = {key: value for key, value in query.items() if key != missing}
            assert_error(plane.request("GET", address, params=given), 400, "INVALID_PARAMETER_VALUE", missing)
    for path in ("", "nosuch"):
        address = f"{ROOT}/model-versions/get-signed-download-uri"
        answer = plane.request("GET", address, params={**query, "path": path})
        assert_error(answer, 404, "NOT_FOUND")


def test_credentials_are_in_the_order_of_the_paths(plane: ControlPlane) -> None:
    run, owner = new_run()
    paths = [f"folder/{number}" for number in range(50)]
    answer = plane.request("POST", f"{ROOT}/artifacts/credentials-for-write", json={"run_id": run, "path": paths})
    infos = answer.json()["credential_infos"]
    assert [(one["run_id"], one["path"]) for one in infos] == [(run, path) for path in paths]
    assert {one["type"] for one in infos} == {ArtifactCredentialType.Name(ArtifactCredentialType.GCP_SIGNED_URL)}
    for number in (0, 49):
        sent = plane.request("PUT", path_of(infos[number]["signed_uri"]), None, content=str(number).encode())
        assert sent.status_code == 200
    stored = mlflow_folder() / "artifacts" / owner / run / "artifacts" / "folder"
    assert contents(stored) == {"0": b"0", "49": b"49"}


def test_an_address_to_read_does_not_write_nor_the_other_way(plane: ControlPlane) -> None:
    run, owner = new_run()
    stored = mlflow_folder() / "artifacts" / owner / run / "artifacts" / "f"

    def address(kind: str) -> str:
        answer = plane.request("POST", f"{ROOT}/artifacts/{kind}", BOB, json={"run_id": run, "path": ["f"]})
        return path_of(answer.json()["credential_infos"][0]["signed_uri"])

    read, write = address("credentials-for-read"), address("credentials-for-write")
    assert_error(plane.request("PUT", read, None, content=b"x"), 403, "PERMISSION_DENIED")
    assert not stored.exists()
    assert plane.request("PUT", write, None, content=b"x").status_code == 200
    assert stored.read_bytes() == b"x"
    assert_error(plane.request("GET", write, None), 403, "PERMISSION_DENIED")
    assert_error(plane.request("DELETE", write, None), 404, "ENDPOINT_NOT_FOUND")
    assert plane.request("GET", read, None).content == b"x"


def test_files_of_registered_versions_are_only_read(plane: ControlPlane) -> None:
    name = new_model(plane)
    version = new_version(name)
    plane.request("PUT", f"/api/2.0/fs/files{files_of(name, version)}/f", content=b"abc")
    found = mlflow_api().call("GET", "model-versions/get", query={"name": name, "version": version})
    model = found["model_version"]["source"].split("/")[-2]
    root = f"{ROOT}/logged-models/{model}/artifacts"
    for caller in (ANN, ADMIN):
        answer = plane.request("POST", f"{root}/credentials-for-upload", caller, json={"paths": ["f"]})
        assert_error(answer, 403, "PERMISSION_DENIED", "/Models/")
    answer = plane.request("POST", f"{root}/credentials-for-download", json={"paths": ["f"]})
    info = answer.json()["credentials"][0]
    assert info["model_id"] == model
    assert plane.request("GET", path_of(info["credential_info"]["signed_uri"]), None).content == b"abc"


def test_a_run_beside_registered_versions_has_no_credentials(plane: ControlPlane) -> None:
    """Anybody may make an experiment whose artifacts are to be there."""
    owner = experiment(f"beside-{uuid.uuid4().hex}", "mlflow-artifacts:/registered-models")
    run = mlflow_api().call("POST", "runs/create", {"experiment_id": owner})["run"]["info"]["run_id"]
    for what in ("read", "write"):
        address = f"{ROOT}/artifacts/credentials-for-{what}"
        answer = plane.request("POST", address, ADMIN, json={"run_id": run, "path": ["f"]})
        assert_error(answer, 403, "PERMISSION_DENIED", "one version at a time")


@pytest.mark.parametrize("path", ["", "..", "a/../../b", "a//b", "a\x00b"])
def test_no_path_leads_out_of_what_has_the_files(plane: ControlPlane, path: str) -> None:
    run, owner = new_run()
    model, _ = new_logged_model(owner)
    for route, document in (
        ("artifacts/credentials-for-read", {"run_id": run, "path": ["ok", path]}),
        ("artifacts/credentials-for-write", {"run_id": run, "path": [path]}),
        (f"logged-models/{model}/artifacts/credentials-for-upload", {"paths": [path]}),
        (f"logged-models/{model}/artifacts/credentials-for-download", {"paths": [path]}),
    ):
        assert plane.request("POST", f"{ROOT}/{route}", ADMIN, json=document).status_code == 400
    if path:
        trace = new_trace()
        for kind in ("download", "upload"):
            address = f"{ROOT}/traces/{trace}/credentials-for-data-{kind}"
            assert plane.request("GET", address, params={"path": path}).status_code == 400


def test_what_is_not_there_has_no_credentials(plane: ControlPlane) -> None:
    for method, route, document in (
        ("POST", "artifacts/credentials-for-read", {"run_id": "nosuch", "path": ["f"]}),
        ("POST", "artifacts/credentials-for-write", {"run_id": "nosuch", "path": ["f"]}),
        ("POST", "logged-models/m-nosuch/artifacts/credentials-for-upload", {"paths": ["f"]}),
        ("POST", "logged-models/..%2F..%2Fx/artifacts/credentials-for-upload", {"paths": ["f"]}),
        ("GET", "traces/tr-nosuch/credentials-for-data-download", None),
    ):
        answer = plane.request(method, f"{ROOT}/{route}", json=document)
        assert answer.status_code == 404, (route, answer.text)


@pytest.mark.parametrize(
    ("method", "route"),
    [
        ("POST", "logged-models/%2e%2e/artifacts/credentials-for-upload"),
        ("GET", "traces/%2e%2e/credentials-for-data-download"),
    ],
)
def test_an_id_does_not_lead_elsewhere(plane: ControlPlane, method: str, route: str) -> None:
    answer = plane.request(method, f"{ROOT}/{route}", json={"paths": ["f"]})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE"), answer.text


@pytest.mark.parametrize(
    "document",
    [
        {"path": ["f"]},
        {"run_id": "r"},
        {"run_id": "r", "path": []},
        {"run_id": "r", "path": "f"},
        {"run_id": "r", "path": [1]},
        {"run_id": "r", "path": ["f"] * 2001},
        {"run_id": "r", "path": ["x" * 5000]},
    ],
)
def test_a_request_must_say_what_for(plane: ControlPlane, document: Any) -> None:
    answer = plane.request("POST", f"{ROOT}/artifacts/credentials-for-read", json=document)
    assert answer.status_code == 400, answer.text
    assert "'path" in answer.json()["message"] or "'run_id'" in answer.json()["message"]


def test_files_of_runs_elsewhere_are_said_to_be_elsewhere(plane: ControlPlane) -> None:
    owner = experiment(f"elsewhere-{uuid.uuid4().hex}", "s3://bucket/there")
    run = mlflow_api().call("POST", "runs/create", {"experiment_id": owner})["run"]["info"]["run_id"]
    answer = plane.request("POST", f"{ROOT}/artifacts/credentials-for-read", json={"run_id": run, "path": ["f"]})
    assert_error(answer, 400, "INVALID_PARAMETER_VALUE", "s3://bucket/there")
