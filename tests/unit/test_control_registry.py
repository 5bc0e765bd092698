"""The MLflow registry client against a server of the few MLflow routes that it needs."""

from __future__ import annotations

import http.server
import json
import os
import socket
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from moorage.api.errors import InternalError, InvalidParameterValue, ResourceDoesNotExist, TemporarilyUnavailable
from moorage.registry.client import MlflowRegistry, ModelVersion, discard_unfinished_downloads

TOKEN = "dapi-service"


@dataclass
class StubMlflow:
    """Answers look-ups of versions, for the right token only. `folders` are what the versions' files are."""

    folders: dict[tuple[str, str], Path] = field(default_factory=dict)
    status: str = "READY"
    broken: bool = False
    uri: str = ""

    def answer(self, path: str, query: dict[str, list[str]], token: str | None) -> tuple[int, dict[str, Any]]:
        if self.broken:
            return 500, {"error_code": "INTERNAL_ERROR", "message": "boom"}
        if token != f"Bearer {TOKEN}":
            return 403, {"error_code": "PERMISSION_DENIED", "message": "no"}
        if path.endswith("registered-models/get"):
            return 200, {"registered_model": {"name": query["name"][0]}}
        key = query["name"][0], query["version"][0]
        if key not in self.folders:
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "not found"}
        if path.endswith("get-download-uri"):
            return 200, {"artifact_uri": str(self.folders[key])}
        found = {"name": key[0], "version": key[1], "status": self.status, "source": "s", "run_id": "r"}
        return 200, {"model_version": found}


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubMlflow]:
    stub = StubMlflow()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            token = self.headers.get("Authorization")
            status, document = stub.answer(url.path, urllib.parse.parse_qs(url.query), token)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    stub.uri = f"http://127.0.0.1:{server.server_port}"
    for variable in ("MLFLOW_TRACKING_TOKEN", "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(variable, "1")
        monkeypatch.delenv(variable)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    yield stub
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "logged" / "model"
    (folder / "code").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}\n")
    (folder / "code" / "x.py").write_text("X = 1\n")
    return folder


def registry(mlflow: StubMlflow) -> MlflowRegistry:
    return MlflowRegistry(mlflow.uri, lambda: TOKEN)


@pytest.mark.parametrize("name", ["ads1", "prod.ml.fraud", "my model"])
def test_a_version_is_found_by_either_kind_of_name(mlflow: StubMlflow, model: Path, name: str) -> None:
    mlflow.folders[name, "3"] = model
    found = registry(mlflow).model_version(name, "3")
    assert found == ModelVersion(name, "3", status="READY", source="s", run_id="r")
    found.require_ready()
    assert os.environ["MLFLOW_TRACKING_TOKEN"] == TOKEN
    assert float(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]) <= 30


def test_a_version_that_is_not_ready_is_refused_with_its_status(mlflow: StubMlflow, model: Path) -> None:
    mlflow.folders["ads1", "1"] = model
    mlflow.status = "FAILED_REGISTRATION"
    with pytest.raises(InvalidParameterValue, match=r"Version 1 of registered model 'ads1'.*FAILED_REGISTRATION"):
        registry(mlflow).model_version("ads1", "1").require_ready()


def test_an_unknown_version_is_named(mlflow: StubMlflow, tmp_path: Path) -> None:
    with pytest.raises(ResourceDoesNotExist, match="Version 8 of registered model 'ads1' does not exist"):
        registry(mlflow).model_version("ads1", "8")
    with pytest.raises(ResourceDoesNotExist):
        registry(mlflow).download("ads1", "8", tmp_path / "models" / "x")
    assert list((tmp_path / "models").iterdir()) == []


def test_a_registry_that_does_not_work_can_be_tried_again(mlflow: StubMlflow) -> None:
    mlflow.broken = True
    with pytest.raises(TemporarilyUnavailable):
        registry(mlflow).model_version("ads1", "1")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(TemporarilyUnavailable):
            MlflowRegistry(address, lambda: None).model_version("ads1", "1")
    assert "MLFLOW_TRACKING_TOKEN" not in os.environ


def test_a_refused_credential_is_the_servers_own_fault(mlflow: StubMlflow) -> None:
    with pytest.raises(InternalError) as caught:
        MlflowRegistry(mlflow.uri, lambda: "stale").model_version("ads1", "1")
    assert "stale" not in caught.value.message


def test_a_download_is_complete_and_leaves_nothing_else(mlflow: StubMlflow, model: Path, tmp_path: Path) -> None:
    mlflow.folders["prod.ml.fraud", "3"] = model
    destination = tmp_path / "models" / "fraud-3"
    assert registry(mlflow).download("prod.ml.fraud", "3", destination) == destination
    assert (destination / "MLmodel").read_text() == "flavors: {}\n"
    assert (destination / "code" / "x.py").is_file()
    assert [path.name for path in destination.parent.iterdir()] == ["fraud-3"]
    assert (model / "MLmodel").is_file()


def test_what_is_there_is_not_downloaded_again(mlflow: StubMlflow, tmp_path: Path) -> None:
    destination = tmp_path / "models" / "x"
    destination.mkdir(parents=True)
    assert registry(mlflow).download("nosuch", "1", destination) == destination


def test_two_downloads_at_once_both_succeed(mlflow: StubMlflow, model: Path, tmp_path: Path) -> None:
    mlflow.folders["ads1", "1"] = model
    destination = tmp_path / "models" / "x"
    results: list[Path] = []
    threads = [
        threading.Thread(target=lambda: results.append(registry(mlflow).download("ads1", "1", destination)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [destination] * 4
    assert [path.name for path in destination.parent.iterdir()] == ["x"]


def test_a_folder_that_is_no_model_is_refused(mlflow: StubMlflow, tmp_path: Path) -> None:
    (plain := tmp_path / "plain").mkdir()
    (plain / "readme.txt").write_text("x")
    mlflow.folders["ads1", "1"] = plain
    with pytest.raises(InvalidParameterValue, match="holds no MLmodel file"):
        registry(mlflow).download("ads1", "1", tmp_path / "models" / "x")
    assert list((tmp_path / "models").iterdir()) == []


def test_what_killed_downloads_left_can_be_removed(tmp_path: Path) -> None:
    (tmp_path / ".unfinished-fraud-3-abc" / "x").mkdir(parents=True)
    (tmp_path / "fraud-2").mkdir()
    discard_unfinished_downloads(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["fraud-2"]
