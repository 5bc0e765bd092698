"""Files of registered versions are read by who may read the model, whichever way they are asked for."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_harness import ADMIN, ANN, BOB, ControlPlane, control_plane
from mlflow_in_process import mlflow_api, mlflow_folder

from moorage.api.errors import PermissionDenied
from moorage.api.registry_access import REGISTERED_FILES, RegistryRequest
from moorage.api.routing import Principal
from moorage.control.registry_access import RegistryAccess

UNITY_CATALOG = "/api/2.0/mlflow/unity-catalog"
INTERNAL = "/WorkspaceInternal/Mlflow/Artifacts/registered-models/LoggedModels"


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path, mlflow=mlflow_api(), artifacts=mlflow_folder() / "artifacts") as plane:
        yield plane


@pytest.fixture
def access(plane: ControlPlane) -> RegistryAccess:
    found: RegistryAccess = plane.client.app.state.registry_access  # type: ignore[attr-defined]
    return found


@pytest.fixture
def backing(plane: ControlPlane) -> str:
    """The id of the logged model with the files of a version of Ann's."""
    name = f"main.default.m{secrets.token_hex(4)}"
    made = plane.request("POST", f"{UNITY_CATALOG}/registered-models/create", ANN, json={"name": name})
    assert made.status_code == 200, made.text
    body = {"name": name, "source": "runs:/abc/model"}
    made = plane.request("POST", f"{UNITY_CATALOG}/model-versions/create", ANN, json=body)
    assert made.status_code == 200, made.text
    found = mlflow_api().call("GET", "model-versions/get", query={"name": name, "version": "1"})
    return str(found["model_version"]["source"].split("/")[3])


def reads(access: RegistryAccess, caller: Principal, files: str) -> bool:
    asked = RegistryRequest(principal=caller, method="GET", operation=REGISTERED_FILES, query=files)
    try:
        access.decide(asked)
    except PermissionDenied:
        return False
    return True


def test_past_the_files_api_only_readers_of_the_model_read_its_files(access: RegistryAccess, backing: str) -> None:
    for files in (f"registered-models/models/{backing}/artifacts/MLmodel", f"logged-models/{backing}"):
        assert reads(access, ANN, files)
        assert reads(access, ADMIN, files)
        assert not reads(access, BOB, files)
    for files in ("registered-models", "registered-models/models", "registered-models/models/m-unknown/artifacts"):
        assert not reads(access, ANN, files)
        assert reads(access, ADMIN, files)
    assert reads(access, BOB, "7/run/artifacts/x")
    assert reads(access, BOB, "logged-models/m-unknown")


def test_the_files_api_has_no_way_round_the_model(plane: ControlPlane, backing: str) -> None:
    path = f"/api/2.0/fs/files{INTERNAL}/{backing}/artifacts/MLmodel"
    assert plane.request("GET", path, ANN).status_code == 404
    assert plane.request("GET", path, BOB).status_code == 403
    url = f"/api/2.0/mlflow/logged-models/{backing}/artifacts/credentials-for-download"
    assert plane.request("POST", url, ANN, json={"paths": ["MLmodel"]}).status_code == 200
    assert plane.request("POST", url, BOB, json={"paths": ["MLmodel"]}).status_code == 403


def test_the_backing_model_is_no_source_of_another_version(access: RegistryAccess, backing: str) -> None:
    for source in (f"models:/{backing}", f"MLFLOW-ARTIFACTS:/registered-models/models/{backing}/artifacts"):
        with pytest.raises(PermissionDenied, match="models:/NAME/VERSION"):
            access.require_source(BOB, source)
    access.require_source(BOB, "models:/m-unknown")
