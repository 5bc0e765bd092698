"""The Files API: which path is which file, who may, whole uploads, downloads and their ranges."""

from __future__ import annotations

import os
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from control_harness import ADMIN, ANN, BOB, ControlPlane
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
from files_requests import CONTENT, DIRECTORIES, FILES, Sender, assert_error, body, get, names, put, staged, url
from mlflow_in_process import mlflow_api, mlflow_folder

from moorage.control.store import permissions
from moorage.control.store.permissions import ObjectType
from moorage.registry.artifacts import LocalArtifacts
from moorage.registry.unity_catalog import CatalogModels, CatalogVersion


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
