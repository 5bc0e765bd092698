"""The Files API: which path is which file, who may, uploads whole and in parts, downloads and their ranges."""

from __future__ import annotations

import asyncio
import io
import os
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
import pytest
from control_harness import ADMIN, ANN, BOB, ControlPlane, control_plane
from databricks.sdk import WorkspaceClient
from databricks.sdk.config import Config
from databricks.sdk.errors import AlreadyExists, NotFound, PermissionDenied
from files_over_http import (
    experiment,
    files_of,
    new_logged_model,
    new_model,
    new_run,
    new_version,
    register,
    served,
)
from mlflow_in_process import mlflow_api, mlflow_folder

from moorage.api.principal import encode_principal
from moorage.api.routing import PRINCIPAL_HEADER, Principal
from moorage.control.files.uploads import LEFT_AFTER_SECONDS, Uploads
from moorage.control.store import permissions
from moorage.control.store.models import AuditRecord
from moorage.control.store.permissions import ObjectType
from moorage.registry.artifacts import LocalArtifacts
from moorage.registry.unity_catalog import CatalogModels, CatalogVersion

FILES = "/api/2.0/fs/files"
DIRECTORIES = "/api/2.0/fs/directories"
CONTENT = bytes(range(256)) * 40


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


def url(root: str, path: str, /, **query: Any) -> str:
    return f"{root}{quote(path)}" + (f"?{urlencode(query)}" if query else "")


def put(plane: ControlPlane, path: str, content: bytes = CONTENT, caller: Principal = ANN, **query: Any) -> Any:
    return plane.request("PUT", url(FILES, path, **query), caller, content=content)


def get(plane: ControlPlane, path: str, caller: Principal | None = ANN, **headers: str) -> Any:
    return plane.request("GET", url(FILES, path), caller, headers=headers)


def names(plane: ControlPlane, path: str, caller: Principal = ANN) -> list[str]:
    answer = plane.request("GET", url(DIRECTORIES, path), caller)
    assert answer.status_code == 200, answer.text
    return [one["name"] for one in answer.json().get("contents", ())]


def staged() -> list[Path]:
    return list((mlflow_folder() / "uploads" / "files").glob("*"))


def assert_error(answer: Any, status: int, code: str, words: str = "") -> None:
    assert (answer.status_code, answer.json()["error_code"]) == (status, code), answer.text
    assert words in answer.json()["message"]


# Whole files


def test_a_version_gets_its_files_and_gives_them(plane: ControlPlane, pending: str) -> None:
    assert put(plane, f"{pending}/data/model.pkl").status_code == 204
    answer = get(plane, f"{pending}/data/model.pkl")
    assert (answer.status_code, answer.content) == (200, CONTENT)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert answer.headers["last-modified"].endswith("GMT")
    head = plane.request("HEAD", url(FILES, f"{pending}/data/model.pkl"))
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "last-modified", "etag", "content-type", "accept-ranges"):
        assert head.headers[name] == answer.headers[name]
    assert plane.request("DELETE", url(FILES, f"{pending}/data/model.pkl")).status_code == 204
    assert_error(get(plane, f"{pending}/data/model.pkl"), 404, "NOT_FOUND")
    assert_error(plane.request("DELETE", url(FILES, f"{pending}/data/model.pkl")), 404, "NOT_FOUND")
    assert staged() == []


def test_a_file_is_overwritten_unless_the_client_says_otherwise(plane: ControlPlane, pending: str) -> None:
    assert put(plane, f"{pending}/f", b"1", overwrite="false").status_code == 204
    assert_error(put(plane, f"{pending}/f", b"2", overwrite="false"), 409, "ALREADY_EXISTS")
    assert get(plane, f"{pending}/f").content == b"1"
    assert put(plane, f"{pending}/f", b"3", overwrite="true").status_code == 204
    assert get(plane, f"{pending}/f").content == b"3"
    assert put(plane, f"{pending}/f", b"").status_code == 204
    assert get(plane, f"{pending}/f").content == b""
    assert_error(put(plane, f"{pending}/f", b"", overwrite="perhaps"), 400, "BAD_REQUEST", "overwrite")


def test_a_file_is_not_put_where_a_directory_is(plane: ControlPlane, pending: str, run_files: str) -> None:
    """Also not where one will be: what has its files there has none yet."""
    for root in (pending, run_files, run_files.removesuffix("/artifacts")):
        assert_error(put(plane, root), 400, "INVALID_PARAMETER_VALUE", "is a directory")
    assert put(plane, f"{pending}/folder/file").status_code == 204
    assert_error(put(plane, f"{pending}/folder"), 400, "INVALID_PARAMETER_VALUE", "is a directory")
    assert_error(put(plane, f"{pending}/folder/file/below"), 400, "INVALID_PARAMETER_VALUE", "is a file")
    for path in (pending, f"{pending}/folder"):
        assert_error(get(plane, path), 404, "NOT_FOUND")
        assert_error(plane.request("DELETE", url(FILES, path)), 404, "NOT_FOUND")
    assert names(plane, f"{pending}/folder") == ["file"]


@pytest.mark.parametrize(
    "path",
    ["../x", "a/../../b", "a//b", "./a", "a/..", "a/%00b", "x" * 256],
)
def test_no_path_leads_elsewhere(plane: ControlPlane, pending: str, run_files: str, path: str) -> None:
    for root in (pending, run_files):
        encoded = f"{FILES}{root}/{path}".replace("..", "%2E%2E").replace("/./", "/%2E/")
        for method in ("GET", "PUT", "DELETE"):
            answer = plane.request(method, encoded, content=b"" if method == "PUT" else None)
            assert_error(answer, 400, "INVALID_PARAMETER_VALUE", "path")


@pytest.mark.parametrize(
    "path",
    [
        "/Volumes/main/default/v/f",
        "/Models",
        "/Models/main/ml/m",
        "/Models/main/ml//1/f",
        "/Models/main.ml/x/m/1/f",
        "/Models/main/ml/m.n/1/f",
        "/models/main/ml/m/1/f",
        "/WorkspaceInternal/Mlflow/Artifacts",
        "/WorkspaceInternal/Mlflow/Artifacts/7",
        "/WorkspaceInternal/Mlflow/Artifacts/7/Runs",
        "/WorkspaceInternal/Mlflow/Artifacts/7/runs/r/f",
        "/WorkspaceInternal/Other/7/Runs/r/f",
    ],
)
def test_every_other_path_is_not_found_and_says_which_are(plane: ControlPlane, path: str) -> None:
    ways = [("GET", FILES), ("PUT", FILES), ("DELETE", FILES), ("GET", DIRECTORIES), ("PUT", DIRECTORIES)]
    for method, root in ways:
        answer = plane.request(method, url(root, path), ADMIN)
        assert_error(answer, 404, "NOT_FOUND", "/Models/CATALOG/SCHEMA/MODEL/VERSION")
        assert "/WorkspaceInternal/Mlflow/Artifacts/" in answer.json()["message"]


def test_a_version_that_is_not_there_is_not_found(plane: ControlPlane, pending: str) -> None:
    for path in (f"{pending[:-1]}99", "/Models/main/ml/nosuch/1"):
        for method in ("GET", "PUT"):
            answer = plane.request(method, url(FILES, f"{path}/f"), ADMIN)
            assert_error(answer, 404, "RESOURCE_DOES_NOT_EXIST")
        assert plane.request("HEAD", url(DIRECTORIES, path), ADMIN).status_code == 404


# Who may


def test_a_version_has_its_models_readers_and_editors(plane: ControlPlane) -> None:
    name = new_model(plane)
    root = files_of(name, new_version(name))
    assert put(plane, f"{root}/f").status_code == 204
    for method, address in (
        ("GET", url(FILES, f"{root}/f")),
        ("PUT", url(FILES, f"{root}/g")),
        ("DELETE", url(FILES, f"{root}/f")),
        ("GET", url(DIRECTORIES, root)),
        ("PUT", url(DIRECTORIES, f"{root}/d")),
        ("DELETE", url(DIRECTORIES, root)),
        ("POST", url(FILES, f"{root}/f", action="initiate-upload")),
        ("POST", url("/api/2.0/fs/create-download-url", "", path=f"{root}/f")),
    ):
        assert_error(plane.request(method, address, BOB), 403, "PERMISSION_DENIED")
        assert_error(plane.request(method, address, None), 401, "UNAUTHENTICATED")
    assert plane.request("HEAD", url(FILES, f"{root}/f"), BOB).status_code == 403
    with plane.sessions.begin() as session:
        permissions.grant(session, ObjectType.REGISTERED_MODEL, name, BOB.id, "CAN_READ")
    assert get(plane, f"{root}/f", BOB).content == CONTENT
    assert names(plane, root, BOB) == ["f"]
    assert_error(put(plane, f"{root}/g", caller=BOB), 403, "PERMISSION_DENIED")
    assert_error(plane.request("DELETE", url(FILES, f"{root}/f"), BOB), 403, "PERMISSION_DENIED")
    with plane.sessions.begin() as session:
        permissions.grant(session, ObjectType.REGISTERED_MODEL, name, BOB.id, "CAN_EDIT")
    assert put(plane, f"{root}/g", caller=BOB).status_code == 204
    assert get(plane, f"{root}/g", ADMIN).content == CONTENT


def test_the_files_of_a_registered_version_do_not_change(plane: ControlPlane) -> None:
    name = new_model(plane)
    version = new_version(name)
    root = files_of(name, version)
    assert put(plane, f"{root}/f").status_code == 204
    register(name, version)
    for method, address in (
        ("PUT", url(FILES, f"{root}/f")),
        ("PUT", url(FILES, f"{root}/new")),
        ("DELETE", url(FILES, f"{root}/f")),
        ("PUT", url(DIRECTORIES, f"{root}/d")),
        ("DELETE", url(DIRECTORIES, f"{root}/d")),
        ("POST", url(FILES, f"{root}/f", action="initiate-upload")),
    ):
        for caller in (ANN, ADMIN):
            answer = plane.request(method, address, caller)
            assert_error(answer, 403, "PERMISSION_DENIED", "is registered: its files do not change")
    assert get(plane, f"{root}/f").content == CONTENT


def test_files_registered_from_a_run_are_read_by_the_version(plane: ControlPlane) -> None:
    run, owner = new_run()
    root = f"/WorkspaceInternal/Mlflow/Artifacts/{owner}/Runs/{run}/artifacts"
    assert put(plane, f"{root}/model/MLmodel", b"flavors").status_code == 204
    name = new_model(plane)
    made = mlflow_api().call(
        "POST",
        "model-versions/create",
        {"name": name, "source": f"mlflow-artifacts:/{owner}/{run}/artifacts/model", "run_id": run},
    )
    version = files_of(name, made["model_version"]["version"])
    assert get(plane, f"{version}/MLmodel").content == b"flavors"
    assert names(plane, version) == ["MLmodel"]
    assert_error(put(plane, f"{version}/MLmodel"), 403, "PERMISSION_DENIED", "is registered")


def test_files_elsewhere_are_said_to_be_elsewhere(plane: ControlPlane) -> None:
    name = new_model(plane)
    root = files_of(name, new_version(name, source="s3://bucket/models/x"))
    for answer in (get(plane, f"{root}/f"), put(plane, f"{root}/f"), plane.request("GET", url(DIRECTORIES, root))):
        assert_error(answer, 400, "INVALID_PARAMETER_VALUE", "s3://bucket/models/x")


def test_files_of_runs_and_logged_models_are_everybodys(plane: ControlPlane, run_files: str) -> None:
    model, uri = new_logged_model(experiment("runs-of-files"))
    owner = uri.removeprefix("mlflow-artifacts:/").split("/")[0]
    for root in (run_files, f"/WorkspaceInternal/Mlflow/Artifacts/{owner}/LoggedModels/{model}/artifacts"):
        assert names(plane, root) == []
        assert put(plane, f"{root}/f", caller=ANN).status_code == 204
        assert put(plane, f"{root}/f", b"bob", caller=BOB).status_code == 204
        assert get(plane, f"{root}/f").content == b"bob"
        assert names(plane, root, BOB) == ["f"]
    assert (mlflow_folder() / "artifacts" / owner / "models" / model / "artifacts" / "f").read_bytes() == b"bob"


def test_files_of_registered_versions_are_read_one_version_at_a_time(plane: ControlPlane) -> None:
    name = new_model(plane)
    version = new_version(name)
    assert put(plane, f"{files_of(name, version)}/f").status_code == 204
    source = mlflow_api().call("GET", "model-versions/get", query={"name": name, "version": version})
    model = source["model_version"]["source"].split("/")[-2]
    top = "/WorkspaceInternal/Mlflow/Artifacts/registered-models"
    for root in (f"{top}/LoggedModels/{model}/artifacts", f"{top}/Runs/models/{model}/artifacts"):
        assert get(plane, f"{root}/f", ANN).content == CONTENT
        assert names(plane, root, ANN) == ["f"]
        assert get(plane, f"{root}/f", BOB).status_code == 403  # who may not read the model
        for method, address in (
            ("PUT", url(FILES, f"{root}/f")),
            ("DELETE", url(FILES, f"{root}/f")),
            ("PUT", url(DIRECTORIES, f"{root}/d")),
            ("DELETE", url(DIRECTORIES, root)),
            ("POST", url(FILES, f"{root}/f", action="initiate-upload")),
        ):
            assert_error(plane.request(method, address, ADMIN), 403, "PERMISSION_DENIED", "/Models/")
    many = ("Runs/models", f"LoggedModels/{model}", f"Runs/models/{model}", "Runs/other", "Runs/other/x/artifacts")
    for above in many:
        for root in (FILES, DIRECTORIES):
            answer = plane.request("GET", url(root, f"{top}/{above}"), ADMIN)
            assert_error(answer, 403, "PERMISSION_DENIED", "one version at a time")


# Ranges and conditions


@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, len(CONTENT)),
        ("bytes=10-19", 10, 20),
        ("bytes=100-", 100, len(CONTENT)),
        ("bytes=-7", len(CONTENT) - 7, len(CONTENT)),
        ("bytes=-99999999", 0, len(CONTENT)),
        (f"bytes=5-{10**17}", 5, len(CONTENT)),
        ("Bytes = 3 - 4", 3, 5),
    ],
)
def test_a_range_is_answered(plane: ControlPlane, pending: str, asked: str, first: int, end: int) -> None:
    put(plane, f"{pending}/f")
    answer = get(plane, f"{pending}/f", Range=asked)
    assert answer.status_code == 206
    assert answer.content == CONTENT[first:end]
    assert answer.headers["content-range"] == f"bytes {first}-{end - 1}/{len(CONTENT)}"
    assert answer.headers["content-length"] == str(end - first)


@pytest.mark.parametrize("asked", ["bytes=", "bytes=-", "bytes=5-4", "items=0-1", "bytes=0-1,5-6", "x", "bytes=a-b"])
def test_a_range_in_another_form_is_none(plane: ControlPlane, pending: str, asked: str) -> None:
    put(plane, f"{pending}/f")
    answer = get(plane, f"{pending}/f", Range=asked)
    assert (answer.status_code, answer.content) == (200, CONTENT)


@pytest.mark.parametrize(("content", "asked"), [(CONTENT, "bytes=10240-"), (CONTENT, "bytes=-0"), (b"", "bytes=0-")])
def test_a_range_behind_the_end_is_refused(plane: ControlPlane, pending: str, content: bytes, asked: str) -> None:
    put(plane, f"{pending}/f", content)
    answer = get(plane, f"{pending}/f", Range=asked)
    assert_error(answer, 416, "RANGE_NOT_SATISFIABLE")
    assert answer.headers["content-range"] == f"bytes */{len(content)}"


def test_a_changed_file_is_not_continued(plane: ControlPlane, pending: str) -> None:
    put(plane, f"{pending}/f")
    modified = get(plane, f"{pending}/f").headers["last-modified"]
    earlier = "Wed, 21 Oct 2015 07:28:00 GMT"
    held = {"Range": "bytes=5-", "If-Unmodified-Since": modified}
    assert get(plane, f"{pending}/f", **held).status_code == 206
    for method in ("GET", "HEAD"):
        answer = plane.request(method, url(FILES, f"{pending}/f"), headers={"If-Unmodified-Since": earlier})
        assert answer.status_code == 412
    assert get(plane, f"{pending}/f", **{"If-Unmodified-Since": "no date"}).status_code == 200
    assert get(plane, f"{pending}/f", **{"If-Unmodified-Since": "Wed, 21 Oct 2015"}).status_code == 200
    etag = get(plane, f"{pending}/f").headers["etag"]
    for condition, status in ((modified, 206), (etag, 206), (earlier, 200), ('"other"', 200)):
        assert get(plane, f"{pending}/f", **{"Range": "bytes=5-", "If-Range": condition}).status_code == status
    put(plane, f"{pending}/f", CONTENT + b"x")
    assert get(plane, f"{pending}/f", **{"Range": "bytes=5-", "If-Range": etag}).status_code == 200


# Uploads that break off


class Sender:
    """A request straight to the application, whose body comes as this says."""

    def __init__(self, plane: ControlPlane, path: str, caller: Principal | None = ANN, **headers: str) -> None:
        self._app: Any = plane.client.app
        sent = {**headers, "host": "localhost"}
        if caller is not None:
            sent[PRINCIPAL_HEADER.lower()] = encode_principal(caller)
        path, _, query = path.partition("?")
        self._scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "PUT", "scheme": "http",
            "path": path, "raw_path": path.encode(), "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        }  # fmt: skip
        self.status = 0
        self.received = 0
        self.longest = 0

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.received += len(message.get("body", b""))
            self.longest = max(self.longest, len(message.get("body", b"")))

    def run(self, messages: Iterator[Any], method: str = "PUT") -> Sender:
        async def receive() -> Any:
            message = next(messages, None)
            if message is None:
                await asyncio.sleep(60)
            return message

        self._scope["method"] = method
        asyncio.run(self._app(self._scope, receive, self._send))
        return self


def body(*chunks: bytes, last: bool = True) -> Iterator[Any]:
    for chunk in chunks:
        yield {"type": "http.request", "body": chunk, "more_body": True}
    yield {"type": "http.request", "body": b"", "more_body": False} if last else {"type": "http.disconnect"}


def test_an_upload_that_breaks_off_leaves_nothing(plane: ControlPlane, pending: str) -> None:
    put(plane, f"{pending}/old", b"old")
    for name in ("old", "folder/new"):
        assert Sender(plane, f"{FILES}{pending}/{name}").run(body(CONTENT, CONTENT, last=False)).status == 400
    assert names(plane, pending) == ["old"]
    assert get(plane, f"{pending}/old").content == b"old"
    assert staged() == []


@pytest.mark.parametrize("announced", ["0", "1", str(len(CONTENT) * 2 + 1)])
def test_an_upload_of_another_length_leaves_nothing(plane: ControlPlane, pending: str, announced: str) -> None:
    sender = Sender(plane, f"{FILES}{pending}/f", **{"content-length": announced})
    assert sender.run(body(CONTENT, CONTENT)).status == 400
    assert names(plane, pending) == []
    assert staged() == []


def test_a_version_registered_during_an_upload_stays_as_it_was(plane: ControlPlane) -> None:
    name = new_model(plane)
    version = new_version(name)

    def body_with_registration() -> Iterator[Any]:
        yield {"type": "http.request", "body": CONTENT, "more_body": True}
        register(name, version)
        yield {"type": "http.request", "body": b"", "more_body": False}

    root = files_of(name, version)
    assert Sender(plane, f"{FILES}{root}/f").run(body_with_registration()).status == 403
    assert names(plane, root) == []
    assert staged() == []


def with_meanwhile(what: Callable[[], None]) -> Iterator[Any]:
    """A body during which something happens."""
    yield {"type": "http.request", "body": CONTENT, "more_body": True}
    what()
    yield {"type": "http.request", "body": b"", "more_body": False}


def test_an_upload_writes_to_the_version_that_has_the_name_in_the_end(plane: ControlPlane) -> None:
    """Not to that which had it, and has another name and is registered by now."""
    name = new_model(plane)
    root = files_of(name, new_version(name))
    put(plane, f"{root}/f", b"registered")

    def rename_and_make_another() -> None:
        mlflow_api().call("POST", "registered-models/rename", {"name": name, "new_name": f"{name}x"})
        access = plane.client.app.state.registry_access  # type: ignore[attr-defined]
        access.renamed(name, f"{name}x", access.owner(name))
        register(f"{name}x", "1")
        mlflow_api().call("POST", "registered-models/create", {"name": name})
        plane.client.app.state.registry_access.created(ANN, name)  # type: ignore[attr-defined]
        assert new_version(name) == "1"

    assert Sender(plane, f"{FILES}{root}/f").run(with_meanwhile(rename_and_make_another)).status == 204
    assert get(plane, f"{files_of(f'{name}x', '1')}/f").content == b"registered"
    assert get(plane, f"{root}/f").content == CONTENT


def status_of(plane: ControlPlane, name: str, version: str) -> str:
    answer = plane.request("GET", f"/api/2.1/unity-catalog/models/{name}/versions/{version}")
    return str(answer.json()["status"])


def finalize(host: str, name: str, version: str) -> httpx.Response:
    headers = {"Authorization": "Bearer dapi-ann"}
    path = f"/api/2.1/unity-catalog/models/{name}/versions/{version}/finalize"
    return httpx.patch(f"{host}{path}", headers=headers, timeout=60)


def test_a_version_is_not_registered_before_its_last_file_is_in_its_place(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = new_model(plane)
    version = new_version(name)
    root = files_of(name, version)
    moving, go_on = threading.Event(), threading.Event()
    move = LocalArtifacts.put

    def slow(self: LocalArtifacts, source: Path, path: str, *, replace: bool) -> None:
        moving.set()
        assert go_on.wait(60)
        move(self, source, path, replace=replace)

    monkeypatch.setattr(LocalArtifacts, "put", slow)
    with served(plane) as host, ThreadPoolExecutor(2) as clients:
        headers = {"Authorization": "Bearer dapi-ann"}
        sent = clients.submit(httpx.put, f"{host}{FILES}{root}/f", headers=headers, content=CONTENT, timeout=60)
        try:
            assert moving.wait(20)
            registered = clients.submit(finalize, host, name, version)
            with pytest.raises(TimeoutError):
                registered.result(0.5)
            assert status_of(plane, name, version) == "PENDING_REGISTRATION"
        finally:
            go_on.set()
        assert sent.result(20).status_code == 204
        assert registered.result(20).json()["status"] == "READY"
    assert get(plane, f"{root}/f").content == CONTENT
    assert put(plane, f"{root}/f", b"later").status_code == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_files_do_not_change_while_their_version_is_registered(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    name = new_model(plane)
    version = new_version(name)
    root = files_of(name, version)
    put(plane, f"{root}/f")
    registering, go_on = threading.Event(), threading.Event()
    ready = CatalogModels.finalize

    def slow(self: CatalogModels, name: str, version: str) -> CatalogVersion:
        registering.set()
        assert go_on.wait(60)
        return ready(self, name, version)

    monkeypatch.setattr(CatalogModels, "finalize", slow)
    with served(plane) as host, ThreadPoolExecutor(1) as clients:
        registered = clients.submit(finalize, host, name, version)
        try:
            assert registering.wait(20)
            answer = plane.request(method, f"{FILES}{root}/f", content=b"late" if method == "PUT" else None)
            assert_error(answer, 409, "RESOURCE_CONFLICT", "is being registered")
        finally:
            go_on.set()
        assert registered.result(20).status_code == 200
    assert get(plane, f"{root}/f").content == CONTENT


def test_a_right_that_is_taken_away_during_an_upload_is_gone(plane: ControlPlane) -> None:
    name = new_model(plane)
    root = files_of(name, new_version(name))

    def let_bob(level: str) -> None:
        with plane.sessions.begin() as session:
            permissions.grant(session, ObjectType.REGISTERED_MODEL, name, BOB.id, level)

    let_bob("CAN_EDIT")
    upload = with_meanwhile(lambda: let_bob("CAN_READ"))
    assert Sender(plane, f"{FILES}{root}/f", BOB).run(upload).status == 403
    assert names(plane, root) == []
    assert staged() == []


def test_files_do_not_go_through_memory(plane: ControlPlane, run_files: str) -> None:
    """300 MB up and down, in the small pieces of a network and in pieces of a megabyte."""
    chunk, count = os.urandom(64 * 1024), 4800
    size = len(chunk) * count
    tracemalloc.start()
    try:
        sender = Sender(plane, f"{FILES}{run_files}/big", **{"content-length": str(size)})
        assert sender.run(body(*[chunk] * count)).status == 204
        up = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        receiver = Sender(plane, f"{FILES}{run_files}/big").run(body(), "GET")
        down = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (receiver.status, receiver.received) == (200, size)
    assert receiver.longest <= 1024 * 1024
    assert up < 12 * 2**20, up
    assert down < 12 * 2**20, down
    assert plane.request("DELETE", url(FILES, f"{run_files}/big")).status_code == 204


# Directories


def test_what_has_no_files_yet_is_an_empty_directory(plane: ControlPlane, pending: str, run_files: str) -> None:
    for path in (pending, run_files, run_files.removesuffix("/artifacts")):
        assert plane.request("HEAD", url(DIRECTORIES, path)).status_code == 200
        assert plane.request("GET", url(DIRECTORIES, path)).json() == {"contents": []}
    for path in (f"{pending}/nosuch", f"{run_files}/nosuch", run_files.replace("Runs/", "Runs/0")):
        assert plane.request("HEAD", url(DIRECTORIES, path)).status_code == 404
        assert_error(plane.request("GET", url(DIRECTORIES, path)), 404, "NOT_FOUND")


def test_a_file_is_no_directory(plane: ControlPlane, pending: str) -> None:
    put(plane, f"{pending}/f")
    assert plane.request("HEAD", url(DIRECTORIES, f"{pending}/f")).status_code == 404
    assert plane.request("GET", url(DIRECTORIES, f"{pending}/f")).status_code == 404
    assert_error(plane.request("PUT", url(DIRECTORIES, f"{pending}/f")), 400, "INVALID_PARAMETER_VALUE")


def test_directories_are_made_and_removed(plane: ControlPlane, pending: str) -> None:
    for _ in range(2):
        assert plane.request("PUT", url(DIRECTORIES, f"{pending}/a/b")).status_code == 204
    assert plane.request("HEAD", url(DIRECTORIES, f"{pending}/a/b")).status_code == 200
    answer = plane.request("DELETE", url(DIRECTORIES, f"{pending}/a"))
    assert_error(answer, 400, "INVALID_PARAMETER_VALUE", "not empty")
    for path in ("a/b", "a"):
        assert plane.request("DELETE", url(DIRECTORIES, f"{pending}/{path}")).status_code == 204
    assert plane.request("DELETE", url(DIRECTORIES, f"{pending}/a")).status_code == 404


def test_a_directory_is_listed_in_pages(plane: ControlPlane, pending: str) -> None:
    before = time.time() * 1000 - 2000
    for name in ("b", "a", "d/x", "c", "e"):
        put(plane, f"{pending}/{name}", name.encode())
    pages, token = [], ""
    while True:
        query = {"page_size": 2, **({"page_token": token} if token else {})}
        answer = plane.request("GET", url(DIRECTORIES, pending, **query)).json()
        pages.append([one["name"] for one in answer["contents"]])
        token = answer.get("next_page_token", "")
        if not token:
            break
    assert pages == [["a", "b"], ["c", "d"], ["e"]]
    entries = plane.request("GET", url(DIRECTORIES, pending, page_size=5000)).json()["contents"]
    assert [one["is_directory"] for one in entries] == [False, False, False, True, False]
    assert entries[0]["path"] == f"{pending}/a"
    assert entries[0]["file_size"] == 1
    assert "file_size" not in entries[3]
    assert all(before < one["last_modified"] < before + 600_000 for one in entries)
    assert_error(
        plane.request("GET", url(DIRECTORIES, pending, page_token="x")), 400, "INVALID_PARAMETER_VALUE", "page_token"
    )
    assert plane.request("GET", url(DIRECTORIES, pending, page_size=0)).status_code == 400


# Uploads in parts


class InParts:
    """An upload in parts as a client makes it."""

    def __init__(self, plane: ControlPlane, path: str, caller: Principal = ANN, **query: Any) -> None:
        self.plane, self.path, self.caller = plane, path, caller
        answer = plane.request("POST", url(FILES, path, action="initiate-upload", **query), caller)
        assert answer.status_code == 200, answer.text
        self.token = answer.json()["multipart_upload"]["session_token"]

    def urls(self, first: int, number: int, /, caller: Principal | None = None, **fields: Any) -> Any:
        body = {"path": self.path, "session_token": self.token, "start_part_number": first, "count": number, **fields}
        return self.plane.request("POST", "/api/2.0/fs/create-upload-part-urls", caller or self.caller, json=body)

    def send(self, number: int, content: bytes) -> str:
        one = self.urls(number, 1).json()["upload_part_urls"][0]
        assert one["part_number"] == number
        answer = self.plane.request("PUT", path_of(one["url"]), None, content=content)
        assert answer.status_code == 200, answer.text
        tag: str = answer.headers["ETag"]
        assert tag.startswith('"')
        return tag

    def complete(self, parts: dict[int, str], caller: Principal | None = None, **query: Any) -> Any:
        query = {"action": "complete-upload", "upload_type": "multipart", "session_token": self.token, **query}
        listed = [{"part_number": number, "etag": tag} for number, tag in parts.items()]
        address = url(FILES, self.path, **query)
        return self.plane.request("POST", address, caller or self.caller, json={"parts": listed})

    def abort(self) -> Any:
        body = {"path": self.path, "session_token": self.token}
        made = self.plane.request("POST", "/api/2.0/fs/create-abort-upload-url", self.caller, json=body).json()
        return self.plane.request("DELETE", path_of(made["abort_upload_url"]["url"]), None)


def path_of(address: str) -> str:
    """The part of a URL that goes to the test's client, which reaches the server under any name."""
    parts = urlsplit(address)
    assert parts.scheme == "https"
    return parts.path


@pytest.fixture
def sessions() -> Path:
    return mlflow_folder() / "uploads" / "sessions"


def test_parts_are_joined_by_their_numbers(plane: ControlPlane, pending: str, sessions: Path) -> None:
    upload = InParts(plane, f"{pending}/folder/big")
    pieces = {number: os.urandom(1000 + number) for number in (3, 1, 2)}
    tags = {number: upload.send(number, piece) for number, piece in pieces.items()}
    assert plane.request("HEAD", url(FILES, upload.path)).status_code == 404
    assert upload.complete(tags).status_code == 200
    assert get(plane, upload.path).content == b"".join(pieces[number] for number in (1, 2, 3))
    assert [path.name for folder in sessions.iterdir() for path in folder.iterdir()].count("done") >= 1
    assert not [path for folder in sessions.iterdir() for path in folder.iterdir() if path.name != "done"]
    assert staged() == []


def test_completing_again_changes_nothing(plane: ControlPlane, pending: str) -> None:
    """The client did not get the first answer."""
    upload = InParts(plane, f"{pending}/f")
    tags = {1: upload.send(1, b"abc")}
    assert upload.complete(tags).status_code == 200
    put(plane, f"{pending}/f", b"later")
    assert upload.complete(tags).status_code == 200
    assert get(plane, f"{pending}/f").content == b"later"
    assert_error(upload.urls(1, 1), 404, "NOT_FOUND")


def test_a_part_sent_again_replaces_the_first(plane: ControlPlane, pending: str) -> None:
    upload = InParts(plane, f"{pending}/f")
    first, second = upload.send(1, b"one"), upload.send(1, b"two")
    assert_error(upload.complete({1: first}), 400, "INVALID_PARAMETER_VALUE", "part 1 has another etag")
    assert upload.complete({1: second.strip('"')}).status_code == 200
    assert get(plane, f"{pending}/f").content == b"two"


def test_parts_must_be_those_that_were_sent(plane: ControlPlane, pending: str) -> None:
    upload = InParts(plane, f"{pending}/f")
    tags = {number: upload.send(number, b"x") for number in (1, 2, 3)}
    for parts in ({}, {1: tags[1], 3: tags[3]}, {2: tags[2], 3: tags[3]}):
        assert_error(upload.complete(parts), 400, "INVALID_PARAMETER_VALUE", "every part from 1 on")
    for tag in ("nosuch", tags[2], "../../x", '"*"', "a" * 300):
        assert_error(upload.complete({1: tag, 2: tags[2], 3: tags[3]}), 400, "INVALID_PARAMETER_VALUE")
    assert_error(upload.complete({**tags, 4: "f" * 32}), 400, "INVALID_PARAMETER_VALUE", "part 4")
    assert plane.request("HEAD", url(FILES, upload.path)).status_code == 404
    assert staged() == []
    assert upload.complete(tags).status_code == 200


def test_a_wrong_part_is_found_before_the_others_are_joined(
    plane: ControlPlane, pending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.control.files.uploads._append", lambda *_: pytest.fail("joined"))
    upload = InParts(plane, f"{pending}/f")
    tags = {1: upload.send(1, b"x"), 2: '"0"'}
    assert_error(upload.complete(tags), 400, "INVALID_PARAMETER_VALUE", "part 2 has another etag")
    assert staged() == []


def test_others_are_answered_while_many_uploads_are_completed(
    plane: ControlPlane, run_files: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as the framework has threads: a large upload, completed again and again by a client in a hurry."""
    put(plane, f"{run_files}/other")
    upload = InParts(plane, f"{run_files}/f")
    tags = {1: upload.send(1, b"x")}
    begun, go_on = threading.Semaphore(0), threading.Event()
    session, join = Uploads.session, Uploads.join

    def counted(self: Uploads, *given: Any) -> Any:
        begun.release()
        return session(self, *given)

    def slow(self: Uploads, *given: Any) -> Path:
        assert go_on.wait(60)
        return join(self, *given)

    monkeypatch.setattr(Uploads, "session", counted)
    monkeypatch.setattr(Uploads, "join", slow)
    with served(plane) as host, ThreadPoolExecutor(40) as clients:
        headers = {"Authorization": "Bearer dapi-ann"}
        query = {"action": "complete-upload", "session_token": upload.token}
        document = {"parts": [{"part_number": 1, "etag": tags[1]}]}

        def complete() -> int:
            address = f"{host}{url(FILES, upload.path, **query)}"
            return httpx.post(address, headers=headers, json=document, timeout=60).status_code

        try:
            completed = [clients.submit(complete) for _ in range(40)]
            assert all(begun.acquire(timeout=20) for _ in completed)
            # Sent after the others, and answered before any of them.
            found = httpx.get(f"{host}{url(FILES, f'{run_files}/other')}", headers=headers, timeout=20)
            assert (found.status_code, any(one.done() for one in completed)) == (200, False)
        finally:
            go_on.set()
        assert {one.result() for one in completed} == {200}
    assert get(plane, upload.path).content == b"x"


def test_an_aborted_upload_is_gone(plane: ControlPlane, pending: str, sessions: Path) -> None:
    before = set(sessions.glob("*"))
    upload = InParts(plane, f"{pending}/f")
    tag = upload.send(1, b"x")
    made = upload.urls(2, 1).json()["upload_part_urls"][0]["url"]
    assert len(set(sessions.iterdir()) - before) == 1
    for _ in range(2):
        assert upload.abort().status_code == 200
    assert set(sessions.iterdir()) == before
    assert_error(plane.request("PUT", path_of(made), None, content=b"y"), 404, "NOT_FOUND")
    assert_error(upload.complete({1: tag}), 404, "NOT_FOUND", "aborted")
    assert_error(upload.urls(1, 1), 404, "NOT_FOUND")


def test_an_upload_in_parts_overwrites_only_where_it_may(plane: ControlPlane, pending: str) -> None:
    early = InParts(plane, f"{pending}/f", overwrite="false")
    tags = {1: early.send(1, b"early")}
    put(plane, f"{pending}/f", b"first")
    assert_error(early.complete(tags), 409, "ALREADY_EXISTS")
    answer = plane.request("POST", url(FILES, f"{pending}/f", action="initiate-upload", overwrite="False"))
    assert_error(answer, 409, "ALREADY_EXISTS")
    upload = InParts(plane, f"{pending}/f", overwrite="True")
    assert upload.complete({1: upload.send(1, b"second")}).status_code == 200
    assert get(plane, f"{pending}/f").content == b"second"


def test_a_part_that_breaks_off_is_none(plane: ControlPlane, pending: str) -> None:
    upload = InParts(plane, f"{pending}/f")
    made = path_of(upload.urls(1, 1).json()["upload_part_urls"][0]["url"])
    assert Sender(plane, made, None).run(body(CONTENT, last=False)).status == 400
    assert Sender(plane, made, None, **{"content-length": "5"}).run(body(b"1234")).status == 400
    assert staged() == []
    assert upload.complete({1: upload.send(1, b"x")}).status_code == 200


def test_an_upload_is_its_users_and_its_files(plane: ControlPlane, run_files: str) -> None:
    upload = InParts(plane, f"{run_files}/f")
    tag = upload.send(1, b"x")
    other = InParts(plane, f"{run_files}/g", BOB)
    for answer in (
        upload.urls(1, 1, BOB),
        upload.urls(1, 1, path=f"{run_files}/g"),
        upload.urls(1, 1, session_token=other.token),
        upload.urls(1, 1, session_token="x"),
        upload.complete({1: tag}, BOB),
        upload.complete({1: tag}, session_token=other.token),
        upload.complete({1: tag}, session_token="moorage"),
    ):
        assert_error(answer, 400, "INVALID_PARAMETER_VALUE", "session_token")
    for fields in ({"start_part_number": 0}, {"start_part_number": 10_001}, {"count": 0}, {"count": 1001}):
        assert_error(upload.urls(1, 1, **fields), 400, "INVALID_PARAMETER_VALUE", next(iter(fields)))
    assert_error(upload.urls(10_000, 2), 400, "INVALID_PARAMETER_VALUE", "count")
    assert len(upload.urls(9_999, 2).json()["upload_part_urls"]) == 2
    address = url(FILES, upload.path, action="complete-upload")
    assert_error(plane.request("POST", address, json={}), 400, "INVALID_PARAMETER_VALUE", "session_token")
    assert_error(plane.request("POST", url(FILES, upload.path)), 400, "INVALID_PARAMETER_VALUE", "action")
    assert_error(plane.request("POST", url(FILES, upload.path, action="x")), 400, "INVALID_PARAMETER_VALUE", "action")


def test_a_version_registered_meanwhile_takes_no_parts_in(plane: ControlPlane) -> None:
    name = new_model(plane)
    version = new_version(name)
    upload = InParts(plane, f"{files_of(name, version)}/f")
    tags = {1: upload.send(1, b"x")}
    register(name, version)
    assert_error(upload.complete(tags), 403, "PERMISSION_DENIED", "is registered")
    assert names(plane, files_of(name, version)) == []


def test_uploads_that_were_left_are_removed_after_a_day(plane: ControlPlane, pending: str, sessions: Path) -> None:
    uploads: Uploads = plane.client.app.state.files.uploads  # type: ignore[attr-defined]
    left = InParts(plane, f"{pending}/left")
    left.send(1, b"x")
    folder = max(sessions.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    file = mlflow_folder() / "uploads" / "files" / "left"
    file.write_bytes(b"x")
    uploads.sweep(time.time() + LEFT_AFTER_SECONDS - 60)
    assert folder.exists()
    assert file.exists()
    young = InParts(plane, f"{pending}/young")
    for path in (folder, file):
        os.utime(path, (time.time() - LEFT_AFTER_SECONDS - 60,) * 2)
    uploads.sweep(time.time())
    assert not folder.exists()
    assert not file.exists()
    assert_error(left.urls(1, 1), 404, "NOT_FOUND", "more than a day")
    assert young.urls(1, 1).status_code == 200
    file.write_bytes(b"x")
    uploads.discard_files()
    assert not file.exists()
    assert young.complete({1: young.send(1, b"x")}).status_code == 200


@pytest.mark.parametrize("missing", [True, False])
def test_parts_are_joined_where_the_kernel_cannot_copy(
    plane: ControlPlane, pending: str, monkeypatch: pytest.MonkeyPatch, missing: bool
) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(38 if missing else 5, "no")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    upload = InParts(plane, f"{pending}/f")
    tags = {number: upload.send(number, CONTENT) for number in (1, 2)}
    answer = upload.complete(tags)
    if missing:
        assert answer.status_code == 200
        assert get(plane, f"{pending}/f").content == CONTENT * 2
    else:
        assert answer.status_code == 500
        assert names(plane, pending) == []
        assert staged() == []


# Signed addresses


def signed(plane: ControlPlane, path: str, caller: Principal = ANN, **query: Any) -> Any:
    return plane.request("POST", url("/api/2.0/fs/create-download-url", "", path=path, **query), caller)


def test_a_file_is_read_by_its_signed_address_without_a_credential(plane: ControlPlane, pending: str) -> None:
    put(plane, f"{pending}/a b#%.bin")
    answer = signed(plane, f"{pending}/a b#%.bin")
    assert answer.json()["headers"] == []
    address = path_of(answer.json()["url"])
    assert address.startswith("/api/2.0/fs/signed/")
    assert quote(address) == address.replace("=", "%3D")
    found = plane.request("GET", address, None, headers={"Range": "bytes=1-3"})
    assert (found.status_code, found.content) == (206, CONTENT[1:4])
    assert plane.request("GET", address, None).content == CONTENT
    head = plane.request("HEAD", address, None)
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(CONTENT)))
    for method in ("PUT", "DELETE", "POST"):
        assert plane.request(method, address, None, content=b"x").status_code in (403, 404)
    assert_error(plane.request("PUT", address, None, content=b"x"), 403, "PERMISSION_DENIED", "another method")
    assert get(plane, f"{pending}/a b#%.bin").content == CONTENT
    plane.request("DELETE", url(FILES, f"{pending}/a b#%.bin"))
    assert_error(plane.request("GET", address, None), 404, "NOT_FOUND")
    assert_error(signed(plane, f"{pending}/a b#%.bin"), 404, "NOT_FOUND")


def test_what_is_no_signed_address_opens_nothing(plane: ControlPlane, pending: str) -> None:
    put(plane, f"{pending}/f")
    address = path_of(signed(plane, f"{pending}/f").json()["url"])
    session = InParts(plane, f"{pending}/g").token
    spoilt = address[:-10] + ("A" if address[-10] != "A" else "B") + address[-9:]
    for wrong in (spoilt, address[:-4], "/api/2.0/fs/signed/x", f"/api/2.0/fs/signed/{session}"):
        for method in ("GET", "HEAD", "PUT"):
            answer = plane.request(method, wrong, None)
            assert answer.status_code == 403
        assert_error(plane.request("GET", wrong, None), 403, "PERMISSION_DENIED")
    parts = address.replace("/signed/", "/signed/parts/"), address.replace("/signed/", "/signed/uploads/")
    assert_error(plane.request("PUT", parts[0], None), 403, "PERMISSION_DENIED")
    assert_error(plane.request("DELETE", parts[1], None), 403, "PERMISSION_DENIED")


def test_a_signed_address_expires(plane: ControlPlane, pending: str) -> None:
    put(plane, f"{pending}/f")
    now = plane.clock.now

    def at(seconds: float) -> str:
        return (datetime.fromtimestamp(now / 1000, UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

    lifetimes = {at(60): 60, at(3600): 3600, at(10 * 3600): 3600, None: 3600}
    try:
        for wanted, seconds in lifetimes.items():
            plane.clock.now = now
            query = {} if wanted is None else {"expire_time": wanted}
            address = path_of(signed(plane, f"{pending}/f", **query).json()["url"])
            plane.clock.now = now + seconds * 1000 - 1
            assert plane.request("GET", address, None).status_code == 200
            plane.clock.now = now + seconds * 1000
            assert_error(plane.request("GET", address, None), 403, "PERMISSION_DENIED", "expired")
    finally:
        plane.clock.now = now
    for wrong in ("soon", at(-1), "2026", "9" * 60):
        answer = signed(plane, f"{pending}/f", expire_time=wrong)
        assert_error(answer, 400, "INVALID_PARAMETER_VALUE", "expire_time")


@pytest.mark.parametrize(
    ("headers", "begins"),
    [
        ({}, "https://testserver/api"),
        ({"host": "models.example.com"}, "https://models.example.com/api"),
        ({"host": "127.0.0.1:8080"}, "http://127.0.0.1:8080/api"),
        ({"host": "other.example.com"}, "https://other.example.com/api"),
        ({"host": "other.example.com", "x-forwarded-proto": "http"}, "http://other.example.com/api"),
        ({"host": "other:8080", "x-forwarded-proto": "https"}, "https://other:8080/api"),
        ({"host": "other.example.com", "x-forwarded-proto": "gopher"}, "https://other.example.com/api"),
        ({"host": "[::1]:8080"}, "http://[::1]:8080/api"),
        ({"host": "other/path?query"}, "https://models.example.com/api"),
        ({"host": "user@other"}, "https://models.example.com/api"),
        ({"host": "["}, "https://models.example.com/api"),
    ],
)
def test_an_address_begins_as_the_client_knows_the_server(
    plane: ControlPlane, run_files: str, headers: dict[str, str], begins: str
) -> None:
    put(plane, f"{run_files}/f")
    address = url("/api/2.0/fs/create-download-url", "", path=f"{run_files}/f")
    assert plane.request("POST", address, headers=headers).json()["url"].startswith(begins)


def test_the_audit_log_has_files_and_no_tokens(plane: ControlPlane, run_files: str) -> None:
    with plane.sessions.begin() as session:
        session.query(AuditRecord).delete()
    put(plane, f"{run_files}/f", b'{"name": "secret", "comment": "secret"}')
    signed(plane, f"{run_files}/f")
    upload = InParts(plane, f"{run_files}/g")
    upload.complete({1: upload.send(1, b"x")})
    plane.request("DELETE", url(FILES, f"{run_files}/g"))
    InParts(plane, f"{run_files}/h").abort()
    with plane.sessions.begin() as session:
        records = session.query(AuditRecord).order_by(AuditRecord.id).all()
        assert [record.action for record in records] == [
            "upload_file", "upload_in_parts", "upload_in_parts", "delete_file", "upload_in_parts", "abort_upload",
        ]  # fmt: skip
        assert records[0].details == {"path": f"{run_files}/f".removeprefix("/")}
        assert records[-1].details["signed_for"] == ANN.user_name
        assert len(records[-1].details["path"]) == 32


def test_the_audit_log_has_no_token_that_was_refused(plane: ControlPlane, run_files: str) -> None:
    """It may be refused for this and good for something else."""
    put(plane, f"{run_files}/f")
    address = path_of(signed(plane, f"{run_files}/f").json()["url"])
    assert plane.request("PUT", address, None, content=b"x").status_code == 403
    with plane.sessions.begin() as session:
        record = session.query(AuditRecord).order_by(AuditRecord.id.desc()).first()
        assert record is not None
        assert (record.action, record.object_id, record.details) == ("upload_signed_file", "", {})


# databricks-sdk


@pytest.fixture(scope="module")
def host(plane: ControlPlane) -> Iterator[str]:
    with served(plane) as url:
        yield url


def client(host: str, token: str = "dapi-ann") -> WorkspaceClient:
    config = Config(host=host, token=token, retry_timeout_seconds=2)
    made = WorkspaceClient(config=config)
    for config in (made.files._config,):  # type: ignore[attr-defined]
        config.files_ext_multipart_upload_min_stream_size = 100_000
        config.files_ext_multipart_upload_part_size_options = [40_000]
        config.files_ext_multipart_upload_default_part_size = 40_000
        config.files_ext_parallel_download_min_file_size = 50_000
        config.files_ext_parallel_download_default_part_size = 30_000
    return made


@pytest.mark.parametrize("size", [0, 10, 99_999, 100_000, 123_456])
@pytest.mark.parametrize("parallel", [True, False])
def test_the_sdk_uploads_and_downloads(
    host: str, pending: str, tmp_path: Path, size: int, parallel: bool
) -> None:
    files, content = client(host).files, os.urandom(size)
    path = f"{pending}/folder/file {size}.bin"
    files.upload(path, io.BytesIO(content), overwrite=True, use_parallel=parallel)
    answer = files.download(path)
    assert answer.contents is not None
    assert answer.contents.read() == content
    assert answer.content_length == size
    metadata = files.get_metadata(path)
    assert (metadata.content_length, metadata.content_type) == (size, "application/octet-stream")
    assert metadata.last_modified
    files.download_to(path, str(tmp_path / "down"), use_parallel=parallel)
    assert (tmp_path / "down").read_bytes() == content
    (tmp_path / "up").write_bytes(content)
    files.upload_from(f"{pending}/again", str(tmp_path / "up"), use_parallel=parallel)
    assert files.get_metadata(f"{pending}/again").content_length == size
    assert sorted(one.name or "" for one in files.list_directory_contents(pending)) == ["again", "folder"]


@pytest.mark.parametrize(
    "name", ["a b.txt", "50%.txt", "100%25", "x#y", "q?a=b&c", "ünï😀.bin", "semi;colon", "plus+", "'\"", "a\\b"]
)
def test_any_name_is_a_name(host: str, run_files: str, name: str) -> None:
    """Over HTTP: the framework's test client decodes paths twice."""
    files = client(host).files
    files.upload(f"{run_files}/{name}/{name}", io.BytesIO(name.encode()))
    contents = files.download(f"{run_files}/{name}/{name}").contents
    assert contents is not None
    assert contents.read() == name.encode()
    listed = list(files.list_directory_contents(f"{run_files}/{name}"))
    assert [(one.name, one.path) for one in listed] == [(name, f"{run_files}/{name}/{name}")]
    files.delete(f"{run_files}/{name}/{name}")


def test_the_sdk_uploads_a_stream_of_unknown_length(host: str, pending: str) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    files, content = client(host).files, os.urandom(250_001)
    for parallel in (True, False):
        files.upload(f"{pending}/f", Pipe(content), overwrite=True, use_parallel=parallel)
        contents = files.download(f"{pending}/f").contents
        assert contents is not None
        assert contents.read() == content


def test_the_sdk_continues_a_download_that_broke_off(
    host: str, pending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    files, content = client(host).files, os.urandom(3_000_000)
    files.upload(f"{pending}/f", io.BytesIO(content))
    really, broken = requests.Response.iter_content, []

    def breaking(self: Any, chunk_size: int = 1, decode_unicode: bool = False) -> Iterator[bytes]:
        for number, chunk in enumerate(really(self, 100_000, decode_unicode)):
            if number == 3 and not broken:
                broken.append(True)
                raise requests.exceptions.ChunkedEncodingError("broken")
            yield chunk

    monkeypatch.setattr(requests.Response, "iter_content", breaking)
    contents = files.download(f"{pending}/f").contents
    assert contents is not None
    assert contents.read() == content
    assert broken


def test_the_sdk_raises_what_went_wrong(host: str, pending: str) -> None:
    files = client(host).files
    files.upload(f"{pending}/f", io.BytesIO(b"x"))
    with pytest.raises(AlreadyExists):
        files.upload(f"{pending}/f", io.BytesIO(b"x"), overwrite=False)
    with pytest.raises(AlreadyExists):
        files.upload(f"{pending}/f", io.BytesIO(bytes(200_000)), overwrite=False)
    for call in (files.download, files.get_metadata, files.delete, files.get_directory_metadata):
        with pytest.raises(NotFound):
            call(f"{pending}/nosuch")
    for call in (files.download, files.delete):
        with pytest.raises(PermissionDenied):
            getattr(client(host, "dapi-bob").files, call.__name__)(f"{pending}/f")
    with pytest.raises(PermissionDenied):
        client(host, "dapi-bob").files.upload(f"{pending}/g", io.BytesIO(bytes(200_000)))
    files.create_directory(f"{pending}/d")
    files.get_directory_metadata(f"{pending}/d")
    files.delete_directory(f"{pending}/d")
    files.delete(f"{pending}/f")
    assert list(files.list_directory_contents(pending)) == []


def test_an_upload_aborted_by_the_sdk_leaves_nothing(host: str, pending: str, sessions: Path) -> None:
    before = set(sessions.glob("*"))

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 100_000:
                raise RuntimeError("the disk is gone")
            return super().read(size)

        def seekable(self) -> bool:
            return False

    with pytest.raises(RuntimeError):
        client(host).files.upload(f"{pending}/f", Failing(bytes(500_000)), use_parallel=False)
    assert set(sessions.glob("*")) == before


def test_a_server_without_credential_gives_nothing(host: str, pending: str) -> None:
    assert httpx.get(f"{host}{FILES}{pending}/f").status_code == 401
