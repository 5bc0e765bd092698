"""The MLflow registry client against a server of the few MLflow routes that it needs."""

from __future__ import annotations

import errno
import http.server
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mlflow_in_process import mlflow_api

from moorage.api.errors import (
    InternalError,
    InvalidParameterValue,
    ResourceDoesNotExist,
    TemporarilyUnavailable,
)
from moorage.registry.artifacts import CHUNK_BYTES, LocalArtifacts, OpenArtifact
from moorage.registry.client import MlflowRegistry, ModelVersion, discard_unfinished_downloads
from moorage.registry.mlflow_api import MlflowApi

TOKEN = "dapi-service"


Query = dict[str, list[str]]


@dataclass
class StubMlflow:
    """Answers look-ups of versions, for the right token only. `folders` are the URIs or paths of the versions' files.

    `listed` are what searches find, `page` at a time; `asked` the queries of searches and the bodies of changes.
    """

    folders: dict[tuple[str, str], str | Path] = field(default_factory=dict)
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


def fill(folder: Path) -> dict[str, bytes]:
    """Make that folder a model's; what is in it. One file is longer than the pieces that files are copied in."""
    whole = {"MLmodel": b"flavors: {}\n", "code/x.py": b"X = 1\n", "data/a/b/w.bin": os.urandom(CHUNK_BYTES + 7)}
    for path, data in whole.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    (folder / "empty").mkdir()
    return whole


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    fill(tmp_path / "logged" / "model")
    return tmp_path / "logged" / "model"


@pytest.fixture
def store(tmp_path: Path) -> LocalArtifacts:
    (tmp_path / "store").mkdir()
    return LocalArtifacts(tmp_path / "store")


def registry(mlflow: StubMlflow, store: LocalArtifacts | None = None, token: str = TOKEN) -> MlflowRegistry:
    api = MlflowApi.at(mlflow.uri, {"authorization": f"Bearer {token}"})
    return MlflowRegistry(api, store, mlflow.uri, token)


@pytest.mark.parametrize("name", ["ads1", "prod.ml.fraud", "my model"])
def test_a_version_is_found_by_either_kind_of_name(mlflow: StubMlflow, model: Path, name: str) -> None:
    mlflow.folders[name, "3"] = model
    found = registry(mlflow).model_version(name, "3")
    assert found == ModelVersion(name, "3", status="READY", source="s", run_id="r")
    found.require_ready()


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
    assert list((tmp_path / "models").glob("*")) == []


def test_a_registry_that_does_not_work_can_be_tried_again(mlflow: StubMlflow) -> None:
    mlflow.broken = True
    with pytest.raises(TemporarilyUnavailable):
        registry(mlflow).model_version("ads1", "1")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(TemporarilyUnavailable):
            registry(StubMlflow(uri=address)).model_version("ads1", "1")


def test_a_refused_credential_is_the_servers_own_fault(mlflow: StubMlflow) -> None:
    with pytest.raises(InternalError) as caught:
        registry(mlflow, token="stale").model_version("ads1", "1")
    assert "stale" not in caught.value.message


def test_a_download_is_complete_and_leaves_nothing_else(
    mlflow: StubMlflow, store: LocalArtifacts, tmp_path: Path
) -> None:
    whole = fill(store.root / "7" / "models" / "m-1" / "artifacts")
    mlflow.folders["prod.ml.fraud", "3"] = "mlflow-artifacts:/7/models/m-1/artifacts"
    destination = tmp_path / "models" / "fraud-3"
    assert registry(mlflow, store).download("prod.ml.fraud", "3", destination) == destination
    assert content(destination) == whole
    assert (destination / "empty").is_dir()
    assert [path.name for path in destination.parent.iterdir()] == ["fraud-3"]
    assert content(store.root / "7" / "models" / "m-1" / "artifacts") == whole


def test_a_download_from_elsewhere_is_mlflows(mlflow: StubMlflow, model: Path, tmp_path: Path) -> None:
    mlflow.folders["prod.ml.fraud", "3"] = model
    destination = tmp_path / "models" / "fraud-3"
    assert registry(mlflow).download("prod.ml.fraud", "3", destination) == destination
    assert content(destination) == content(model)
    assert [path.name for path in destination.parent.iterdir()] == ["fraud-3"]
    assert os.environ["MLFLOW_TRACKING_TOKEN"] == TOKEN
    assert float(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]) <= 30


def test_mlflow_is_imported_for_files_elsewhere_alone(mlflow: StubMlflow, store: LocalArtifacts) -> None:
    """It takes seconds, and as much memory again as the rest of the control plane."""
    fill(store.root / "m")
    mlflow.folders["ads1", "1"] = "mlflow-artifacts:/m"
    code = (
        "import sys\nfrom pathlib import Path\nimport moorage.control.__main__\n"
        "from moorage.registry.artifacts import LocalArtifacts\nfrom moorage.registry.client import MlflowRegistry\n"
        "from moorage.registry.mlflow_api import MlflowApi\n_, uri, token, root = sys.argv\n"
        "api = MlflowApi.at(uri, {'authorization': f'Bearer {token}'})\n"
        "registry = MlflowRegistry(api, LocalArtifacts(Path(root)), uri, token)\n"
        "registry.model_version('ads1', '1'), registry.files('ads1', '1')\n"
        "registry.download('ads1', '1', Path(root) / 'copy')\n"
        "print(sorted({'mlflow', 'pandas', 'numpy'} & sys.modules.keys()))\n"
    )
    command = [sys.executable, "-c", code, mlflow.uri, TOKEN, str(store.root)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("uri", ["mlflow-artifacts:/7/models/m-1/artifacts", "/nonexistent/model"])
def test_files_that_are_gone_are_said_to_be(
    mlflow: StubMlflow, store: LocalArtifacts, tmp_path: Path, uri: str
) -> None:
    mlflow.folders["ads1", "1"] = uri
    for ask in (
        lambda asked: asked.download("ads1", "1", tmp_path / "models" / "x"),
        lambda asked: asked.files("ads1", "1"),
    ):
        with pytest.raises(ResourceDoesNotExist, match="files of version 1 of registered model 'ads1' are gone"):
            ask(registry(mlflow, store))
    assert list((tmp_path / "models").glob("*")) == []


def test_a_file_that_goes_or_shrinks_while_it_is_copied(
    mlflow: StubMlflow, store: LocalArtifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store.root / "m")
    mlflow.folders["ads1", "1"] = "mlflow-artifacts:/m"
    whole, opened = store.open, LocalArtifacts.open

    def lose(self: LocalArtifacts, path: str) -> OpenArtifact | None:
        return None if path == "m/code/x.py" else opened(self, path)

    def shorten(self: LocalArtifacts, path: str) -> OpenArtifact | None:
        file = whole(path)
        if path == "m/code/x.py":
            os.truncate(store.root / path, 1)
        return file

    for broken, failure in ((lose, ResourceDoesNotExist), (shorten, TemporarilyUnavailable)):
        monkeypatch.setattr(LocalArtifacts, "open", broken)
        with pytest.raises(failure):
            registry(mlflow, store).download("ads1", "1", tmp_path / "models" / "x")
        assert list((tmp_path / "models").glob("*")) == []


@pytest.mark.parametrize(
    "uri",
    [
        "mlflow-artifacts:/7/my model",
        "mlflow-artifacts:/7/my%20model",
        "mlflow-artifacts:/7//my model/",
        "MLFLOW-ARTIFACTS:/7/my model",
        "mlflow-artifacts:///7/my model",
        "dbfs:/databricks/mlflow-tracking/7/my model",
    ],
)
def test_a_path_of_the_store_is_read_as_mlflow_reads_it(
    mlflow: StubMlflow, store: LocalArtifacts, tmp_path: Path, uri: str
) -> None:
    whole = fill(store.root / "7" / "my model")
    mlflow.folders["ads1", "1"] = uri
    assert content(registry(mlflow, store).download("ads1", "1", tmp_path / "x")) == whole


def test_a_folder_outside_the_store_is_refused(mlflow: StubMlflow, store: LocalArtifacts, tmp_path: Path) -> None:
    fill(tmp_path / "secret")
    fill(store.root / "m")
    (store.root / "link").symlink_to(tmp_path / "secret")
    (store.root / "m" / "more").symlink_to(tmp_path / "secret")
    refused = dict.fromkeys(("link", "m", ""), InvalidParameterValue)
    # To MLflow these are paths of the store, at which nothing is.
    missing = dict.fromkeys(("../secret", "m/../../secret", "..%2fsecret"), ResourceDoesNotExist)
    for path, failure in {**refused, **missing}.items():
        mlflow.folders["ads1", "1"] = f"mlflow-artifacts:/{path}"
        with pytest.raises(failure):
            registry(mlflow, store).download("ads1", "1", tmp_path / "models" / "x")
    assert list((tmp_path / "models").glob("*")) == []


@pytest.mark.parametrize("ask", ["download", "files"])
def test_a_disk_that_fails_is_named_and_nothing_is_left(
    mlflow: StubMlflow, store: LocalArtifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: str
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    fill(store.root / "m")
    mlflow.folders["ads1", "1"] = "mlflow-artifacts:/m"
    monkeypatch.setattr(LocalArtifacts, "open", fail)
    further = (tmp_path / "models" / "x",) if ask == "download" else ()
    with pytest.raises(InternalError, match=r"version 1 of registered model 'ads1'.*No space left on device"):
        getattr(registry(mlflow, store), ask)("ads1", "1", *further)
    assert list((tmp_path / "models").glob("*")) == []


@pytest.mark.parametrize("elsewhere", [False, True])
def test_files_are_listed_and_the_document_is_read(
    mlflow: StubMlflow, store: LocalArtifacts, tmp_path: Path, elsewhere: bool
) -> None:
    folder = tmp_path / "logged" if elsewhere else store.root / "m"
    mlflow.folders["ads1", "1"] = folder if elsewhere else "mlflow-artifacts:/m"
    whole = fill(folder)
    found = registry(mlflow, store).files("ads1", "1")
    assert set(found.paths) == set(whole)
    assert found.document == {"flavors": {}}
    (folder / "MLmodel").write_text("{")
    with pytest.raises(InvalidParameterValue, match="MLmodel of version 1 of 'ads1' is damaged"):
        registry(mlflow, store).files("ads1", "1")
    (folder / "MLmodel").unlink()
    with pytest.raises(InvalidParameterValue, match="holds no MLmodel file"):
        registry(mlflow, store).files("ads1", "1")


def test_what_is_there_is_not_downloaded_again(mlflow: StubMlflow, tmp_path: Path) -> None:
    destination = tmp_path / "models" / "x"
    destination.mkdir(parents=True)
    assert registry(mlflow).download("nosuch", "1", destination) == destination


def test_downloads_at_once_all_succeed(mlflow: StubMlflow, store: LocalArtifacts, tmp_path: Path) -> None:
    whole = fill(store.root / "m")
    mlflow.folders["ads1", "1"] = "mlflow-artifacts:/m"
    destination = tmp_path / "models" / "x"
    with ThreadPoolExecutor(4) as pool:
        tasks = [pool.submit(registry(mlflow, store).download, "ads1", "1", destination) for _ in range(4)]
    assert [task.result() for task in tasks] == [destination] * 4
    assert [path.name for path in destination.parent.iterdir()] == ["x"]
    assert content(destination) == whole


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_folder_that_is_no_model_is_refused(
    mlflow: StubMlflow, store: LocalArtifacts, tmp_path: Path, elsewhere: bool
) -> None:
    folder = tmp_path / "plain" if elsewhere else store.root / "plain"
    folder.mkdir()
    (folder / "readme.txt").write_text("x")
    mlflow.folders["ads1", "1"] = folder if elsewhere else "mlflow-artifacts:/plain"
    with pytest.raises(InvalidParameterValue, match="holds no MLmodel file"):
        registry(mlflow, store).download("ads1", "1", tmp_path / "models" / "x")
    assert list((tmp_path / "models").glob("*")) == []


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


def test_a_prompt_is_no_model() -> None:
    api = mlflow_api()
    name, tags = f"prompt-{secrets.token_hex(4)}", [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    api.call("POST", "registered-models/create", {"name": name, "tags": tags})
    api.call("POST", "model-versions/create", {"name": name, "source": "prompt-template", "tags": tags})
    asked = MlflowRegistry(api, None, "", None)
    assert not asked.has_model(name)
    assert asked.model_versions(name) == []
    assert name not in asked.changed_since(0)
    with pytest.raises(ResourceDoesNotExist, match="does not exist in the model registry"):
        asked.model_version(name, "1")


def test_fields_that_a_registry_leaves_empty(mlflow: StubMlflow) -> None:
    empty = dict.fromkeys(("tags", "aliases", "status_message", "run_id", "creation_timestamp"))
    mlflow.listed = [{"name": "ads1", "version": "1", **empty}]
    assert registry(mlflow).model_versions("ads1") == [ModelVersion("ads1", "1")]


def test_mlflow_itself_finds_and_moves_what_it_is_asked_for() -> None:
    """Its own store, with names that its filters and patterns might read otherwise."""
    api = mlflow_api()
    asked = MlflowRegistry(api, None, "", None)
    experiment = api.call("POST", "experiments/create", {"name": secrets.token_hex(4)})["experiment_id"]
    run = api.call("POST", "runs/create", {"experiment_id": experiment})["run"]["info"]

    def create_version(name: str) -> None:
        version = {"name": name, "source": f"{run['artifact_uri']}/model", "run_id": run["run_id"]}
        api.call("POST", "model-versions/create", version)

    mark = secrets.token_hex(4)
    names = ["a_b", "axb", "50%", "it's", 'say "x"', "name='x'", "x AND y", "a\\b", "prod.ml.fraud", "größe"]
    first, second, *_ = names = [f"{name}{mark}" for name in names]
    for name in names:
        api.call("POST", "registered-models/create", {"name": name})
        create_version(name)
    for name in names:
        assert [(one.name, one.version, one.stage) for one in asked.model_versions(name)] == [(name, "1", "None")]
        assert asked.has_model(name)
    assert not asked.has_model(f"nosuch{mark}")
    assert asked.changed_since(0).keys() >= set(names)
    since = max(asked.changed_since(0).values()) + 1
    assert asked.changed_since(since) == {}
    create_version(first)
    assert asked.transition_stage(first, "1", "Staging", False).stage == "Staging"
    assert asked.transition_stage(first, "2", "Staging", True).stage == "Staging"
    assert {one.version: one.stage for one in asked.model_versions(first)} == {"1": "Archived", "2": "Staging"}
    assert asked.changed_since(since).keys() == {first}
    api.call("DELETE", "model-versions/delete", {"name": second, "version": "1"})
    assert asked.changed_since(since).keys() == {first, second}
    with pytest.raises(ResourceDoesNotExist):
        asked.transition_stage(first, "3", "Staging", False)
    with pytest.raises(InvalidParameterValue):
        asked.transition_stage(first, "1", "Prod", False)
