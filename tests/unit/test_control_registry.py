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
from moorage.registry.client import MlflowRegistry, ModelVersion, discard_unfinished_downloads, load_mlflow

TOKEN = "dapi-service"


Query = dict[str, list[str]]


@dataclass
class StubMlflow:
    """Answers look-ups of versions, for the right token only. `folders` are what the versions' files are.

    `listed` are what searches find, `page` at a time; `asked` the queries of searches and the bodies of changes.
    """

    folders: dict[tuple[str, str], Path] = field(default_factory=dict)
    status: str = "READY"
    broken: bool = False
    uri: str = ""
    listed: list[dict[str, Any]] = field(default_factory=list)
    page: int = 2
    asked: list[dict[str, Any]] = field(default_factory=list)
    refusal: tuple[int, str] | None = None

    def answer(self, path: str, query: Query, token: str | None) -> tuple[int, dict[str, Any]]:
        if self.broken:
            return 500, {"error_code": "INTERNAL_ERROR", "message": "boom"}
        if token != f"Bearer {TOKEN}":
            return 403, {"error_code": "PERMISSION_DENIED", "message": "no"}
        if path.endswith("registered-models/get"):
            return 200, {"registered_model": {"name": query["name"][0]}}
        if path.endswith("/search"):
            return 200, self.search(path.split("/")[-2].replace("-", "_"), query)
        key = query["name"][0], query["version"][0]
        if key not in self.folders:
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "not found"}
        if path.endswith("get-download-uri"):
            return 200, {"artifact_uri": str(self.folders[key])}
        found = {"name": key[0], "version": key[1], "status": self.status, "source": "s", "run_id": "r"}
        return 200, {"model_version": found}

    def search(self, kind: str, query: Query) -> dict[str, Any]:
        self.asked.append({name: values[0] for name, values in query.items()})
        first = int(query.get("page_token", ["0"])[0])
        more = {"next_page_token": str(first + self.page)} if first + self.page < len(self.listed) else {}
        return {kind: self.listed[first : first + self.page], **more}

    def change(self, path: str, body: dict[str, Any], token: str | None) -> tuple[int, dict[str, Any]]:
        assert path.endswith("model-versions/transition-stage")
        if self.refusal is not None:
            return self.refusal[0], {"error_code": self.refusal[1], "message": "not so"}
        assert token == f"Bearer {TOKEN}"
        self.asked.append(body)
        found = {"name": body["name"], "version": body["version"], "current_stage": body["stage"], "status": "READY"}
        return 200, {"model_version": found}


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[StubMlflow]:
    stub = StubMlflow()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urllib.parse.urlsplit(self.path)
            token = self.headers.get("Authorization")
            self.say(*stub.answer(url.path, urllib.parse.parse_qs(url.query), token))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.say(*stub.change(self.path, body, self.headers.get("Authorization")))

        def say(self, status: int, document: dict[str, Any]) -> None:
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


def version(number: int, **fields: Any) -> dict[str, Any]:
    return {"name": "ads1", "version": str(number), "status": "READY", **fields}


def changed(name: str, when: int) -> dict[str, Any]:
    return {"name": name, "last_updated_timestamp": when}


def test_all_versions_of_a_model_are_found_page_by_page(mlflow: StubMlflow) -> None:
    mlflow.listed = [version(number, current_stage="Staging") for number in (5, 4, 3, 2)]
    whole = version(
        1, current_stage="Production", status="PENDING_REGISTRATION", status_message="soon", source="s3://b/x",
        run_id="r1", run_link="https://runs/1", description="first", user_id="ann", creation_timestamp=100,
        last_updated_timestamp=200, tags=[{"key": "team", "value": "blue"}], aliases=["champion"],
    )  # fmt: skip
    mlflow.listed.append(whole)
    found = registry(mlflow).model_versions("ads1")
    assert [(one.version, one.stage) for one in found[:-1]] == [(one, "Staging") for one in "5432"]
    assert found[-1] == ModelVersion(
        "ads1", "1", "PENDING_REGISTRATION", "soon", "s3://b/x", "r1", "Production", "https://runs/1", "first", "ann",
        100, 200, {"team": "blue"}, ("champion",),
    )  # fmt: skip
    assert [one.get("page_token") for one in mlflow.asked] == [None, "2", "4"]


def test_a_model_without_versions_has_none(mlflow: StubMlflow) -> None:
    assert registry(mlflow).model_versions("nosuch") == []


@pytest.mark.parametrize(
    ("name", "asked"),
    [("ads1", "name='ads1'"), ("it's", 'name="it\'s"'), ('say "x"', "name='say \"x\"'"), ("a b", "name='a b'")],
)
def test_a_name_is_quoted_as_it_has_to_be(mlflow: StubMlflow, name: str, asked: str) -> None:
    registry(mlflow).model_versions(name)
    [query] = mlflow.asked
    assert query["filter"] == asked


def test_a_name_that_cannot_be_quoted_is_refused(mlflow: StubMlflow) -> None:
    with pytest.raises(InvalidParameterValue, match="both quotes"):
        registry(mlflow).model_versions("it's \"x\"")
    assert mlflow.asked == []


def test_models_that_were_changed_are_read_until_an_older_one(mlflow: StubMlflow) -> None:
    mlflow.listed = [changed(f"m{when}", when) for when in (900, 800, 700, 600, 500, 400)]
    assert registry(mlflow).changed_since(700) == {"m900": 900, "m800": 800, "m700": 700}
    assert [one.get("page_token") for one in mlflow.asked] == [None, "2"]
    assert mlflow.asked[0]["order_by"] == "last_updated_timestamp DESC"


def test_every_model_may_have_been_changed_and_none(mlflow: StubMlflow) -> None:
    mlflow.listed = [changed(f"m{when}", when) for when in (900, 800, 700)]
    assert registry(mlflow).changed_since(0) == {"m900": 900, "m800": 800, "m700": 700}
    assert registry(mlflow).changed_since(901) == {}
    mlflow.listed = []
    assert registry(mlflow).changed_since(0) == {}


@pytest.mark.parametrize("archive", [True, False])
def test_a_version_is_moved_to_a_stage(mlflow: StubMlflow, archive: bool) -> None:
    moved = registry(mlflow).transition_stage("my model", "3", "Production", archive)
    assert (moved.name, moved.version, moved.stage) == ("my model", "3", "Production")
    assert mlflow.asked == [
        {"name": "my model", "version": "3", "stage": "Production", "archive_existing_versions": archive}
    ]


@pytest.mark.parametrize(
    ("refusal", "failure", "words"),
    [
        ((404, "RESOURCE_DOES_NOT_EXIST"), ResourceDoesNotExist, "Version 3 of registered model 'ads1' does not"),
        ((400, "INVALID_PARAMETER_VALUE"), InvalidParameterValue, "refused version 3 of model 'ads1'"),
        ((403, "PERMISSION_DENIED"), InternalError, "refused the server's credential"),
        ((500, "INTERNAL_ERROR"), TemporarilyUnavailable, "does not answer"),
    ],
)
def test_a_move_that_the_registry_refuses(
    mlflow: StubMlflow, refusal: tuple[int, str], failure: type[Exception], words: str
) -> None:
    mlflow.refusal = refusal
    with pytest.raises(failure, match=words):
        registry(mlflow).transition_stage("ads1", "3", "Staging", False)


def test_a_registry_that_is_silent_says_nothing_of_stages(mlflow: StubMlflow) -> None:
    mlflow.broken = True
    with pytest.raises(TemporarilyUnavailable):
        registry(mlflow).model_versions("ads1")
    with pytest.raises(TemporarilyUnavailable):
        registry(mlflow).changed_since(0)


def test_mlflow_itself_finds_and_moves_what_it_is_asked_for(tmp_path: Path) -> None:
    """Its own store, with names that its filters and patterns might read otherwise."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    asked = MlflowRegistry(uri, lambda: None)
    client = load_mlflow().MlflowClient(tracking_uri=uri, registry_uri=uri)
    names = ["a_b", "axb", "50%", "it's", 'say "x"', "name='x'", "x AND y", "a\\b", "prod.ml.fraud", "größe"]
    for name in names:
        client.create_registered_model(name)
        client.create_model_version(name, str(tmp_path))
    for name in names:
        assert [(one.name, one.version, one.stage) for one in asked.model_versions(name)] == [(name, "1", "None")]
    assert asked.changed_since(0).keys() == set(names)
    since = max(asked.changed_since(0).values()) + 1
    assert asked.changed_since(since) == {}
    client.create_model_version("a_b", str(tmp_path))
    assert asked.transition_stage("a_b", "1", "Staging", False).stage == "Staging"
    assert asked.transition_stage("a_b", "2", "Staging", True).stage == "Staging"
    assert {one.version: one.stage for one in asked.model_versions("a_b")} == {"1": "Archived", "2": "Staging"}
    assert asked.changed_since(since).keys() == {"a_b"}
    client.delete_model_version("axb", "1")
    assert asked.changed_since(since).keys() == {"a_b", "axb"}
    with pytest.raises(ResourceDoesNotExist):
        asked.transition_stage("a_b", "3", "Staging", False)
    with pytest.raises(InvalidParameterValue):
        asked.transition_stage("a_b", "1", "Prod", False)
