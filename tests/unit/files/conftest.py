"""A control plane with files of versions and runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from control_harness import ControlPlane, control_plane
from files_over_http import files_of, new_model, new_run, new_version, served
from mlflow_in_process import mlflow_api, mlflow_folder


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    folder = tmp_path_factory.mktemp("files")
    with control_plane(folder, mlflow=mlflow_api(), artifacts=mlflow_folder() / "artifacts") as plane:
        yield plane


@pytest.fixture
def pending(plane: ControlPlane) -> str:
    """The files of a version of Ann's model that waits for them."""
    name = new_model(plane)
    return files_of(name, new_version(name))


@pytest.fixture
def run_files() -> str:
    run, owner = new_run()
    return f"/WorkspaceInternal/Mlflow/Artifacts/{owner}/Runs/{run}/artifacts"


@pytest.fixture
def sessions() -> Path:
    return mlflow_folder() / "uploads" / "sessions"


@pytest.fixture(scope="module")
def host(plane: ControlPlane) -> Iterator[str]:
    with served(plane) as url:
        yield url
