"""The artifact store as a folder of this machine, and as an external MLflow server shows it: the same to a caller."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlflow_in_process import mlflow_api, mlflow_app, mlflow_folder

from moorage.api.errors import (
    ApiError,
    InternalError,
    InvalidParameterValue,
    NotImplementedHere,
    TemporarilyUnavailable,
)
from moorage.registry.artifacts import (
    CHUNK_BYTES,
    ArtifactStore,
    BrokenOff,
    LocalArtifacts,
    ResourceConflict,
    path_parts,
)
from moorage.registry.mlflow_api import MlflowRefusal
from moorage.registry.remote_artifacts import RemoteArtifacts

ODD_NAMES = ["a b.txt", "50%.txt", "q?a=b&c", "ünï😀.bin", "semi;colon", "plus+", ".hidden", "'\""]
CONTENT = os.urandom(3 * CHUNK_BYTES + 17)


def remote(handler: Callable[[httpx.Request], httpx.Response], folder: Path) -> RemoteArtifacts:
    client = httpx.Client(transport=httpx.MockTransport(handler), base_url="http://mlflow.example.com")
    return RemoteArtifacts(client, folder)


def mlflow_over_http() -> httpx.Client:
    """MLflow in this process with paths as a server gives them: httpx's own transport does not encode them."""
    mlflow_api()

    def served(environ: dict[str, Any], start_response: Any) -> Any:
        environ["PATH_INFO"] = environ["PATH_INFO"].encode().decode("latin-1")
        return mlflow_app(environ, start_response)

    return httpx.Client(transport=httpx.WSGITransport(app=served), base_url="http://localhost")


@pytest.fixture(params=["local", "remote"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ArtifactStore]:
    """Both have their files in one folder, below a name of the test's own."""
    if request.param == "local":
        (tmp_path / "artifacts").mkdir()
        yield LocalArtifacts(tmp_path / "artifacts")
    else:
        yield RemoteArtifacts(mlflow_over_http(), tmp_path)


@pytest.fixture
def top(tmp_path: Path) -> str:
    return tmp_path.name


def put(store: ArtifactStore, path: str, content: bytes, *, replace: bool = True) -> None:
    store.staging.mkdir(parents=True, exist_ok=True)
    source = store.staging / "source"
    source.write_bytes(content)
    store.put(source, path, replace=replace)
    assert not source.exists()


def read(store: ArtifactStore, path: str, start: int = 0, length: int | None = None) -> bytes:
    file = store.open(path)
    assert file is not None
    try:
        chunks = list(file.chunks(start, file.entry.size if length is None else length))
    finally:
        file.close()
    assert all(len(chunk) <= CHUNK_BYTES for chunk in chunks)
    return b"".join(chunks)


def test_a_file_comes_back_as_it_was_put(store: ArtifactStore, top: str) -> None:
    put(store, f"{top}/a/b/model.pkl", CONTENT)
    assert read(store, f"{top}/a/b/model.pkl") == CONTENT
    found = store.find(f"{top}/a/b/model.pkl")
    assert found is not None
    assert (found.name, found.is_folder, found.size) == ("model.pkl", False, len(CONTENT))
    put(store, f"{top}/a/b/model.pkl", b"")
    assert read(store, f"{top}/a/b/model.pkl") == b""


@pytest.mark.parametrize(
    ("start", "length"),
    [(0, 1), (5, 10), (CHUNK_BYTES - 1, 2), (CHUNK_BYTES, CHUNK_BYTES), (len(CONTENT) - 1, 1), (7, 2 * CHUNK_BYTES)],
)
def test_a_range_of_a_file_is_read(store: ArtifactStore, top: str, start: int, length: int) -> None:
    put(store, f"{top}/big", CONTENT)
    assert read(store, f"{top}/big", start, length) == CONTENT[start : start + length]


def test_less_than_there_should_be_breaks_off(store: ArtifactStore, top: str) -> None:
    put(store, f"{top}/f", b"abc")
    with pytest.raises(BrokenOff):
        read(store, f"{top}/f", 0, 4)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_is_a_name(store: ArtifactStore, top: str, name: str) -> None:
    put(store, f"{top}/{name}/{name}", name.encode())
    assert read(store, f"{top}/{name}/{name}") == name.encode()
    assert [entry.path for entry in store.entries(f"{top}/{name}")] == [f"{top}/{name}/{name}"]
    store.delete(f"{top}/{name}/{name}")
    assert store.find(f"{top}/{name}/{name}") is None


def test_entries_are_files_and_folders_by_name(store: ArtifactStore, top: str) -> None:
    for path, content in (("c", b"1"), ("a", b"22"), ("b/x", b"333")):
        put(store, f"{top}/{path}", content)
    assert [(one.path, one.is_folder, one.size) for one in store.entries(top)] == [
        (f"{top}/a", False, 2),
        (f"{top}/b", True, 0),
        (f"{top}/c", False, 1),
    ]
    assert store.entries(f"{top}/nosuch") == []
    assert store.entries(f"{top}/a") == []


def test_what_is_not_there_is_not_found(store: ArtifactStore, top: str) -> None:
    put(store, f"{top}/folder/file", b"x")
    for path in (f"{top}/nosuch", f"{top}/folder/file/below", f"{top}/folder/nosuch/below"):
        assert store.find(path) is None
        assert store.open(path) is None
        store.delete(path)
    assert store.open(f"{top}/folder") is None
    assert read(store, f"{top}/folder/file") == b"x"


def test_a_file_is_replaced_only_where_it_may(store: ArtifactStore, top: str) -> None:
    put(store, f"{top}/f", b"first", replace=False)
    with pytest.raises(ApiError) as refused:
        put(store, f"{top}/f", b"second", replace=False)
    assert (refused.value.status, refused.value.error_code) == (409, "ALREADY_EXISTS")
    assert read(store, f"{top}/f") == b"first"
    put(store, f"{top}/f", b"third")
    assert read(store, f"{top}/f") == b"third"


def test_a_folder_is_not_replaced_by_a_file(store: ArtifactStore, top: str) -> None:
    put(store, f"{top}/folder/file", b"x")
    with pytest.raises(InvalidParameterValue, match="directory"):
        put(store, f"{top}/folder", b"y")
    assert read(store, f"{top}/folder/file") == b"x"


def test_folders_with_something_in_them_stay(store: ArtifactStore, top: str) -> None:
    put(store, f"{top}/folder/file", b"x")
    store.make_folder(f"{top}/folder")
    with pytest.raises(InvalidParameterValue, match="not empty"):
        store.delete_folder(f"{top}/folder")
    with pytest.raises(InvalidParameterValue):
        store.delete_folder(f"{top}/folder/file")
    with pytest.raises(InvalidParameterValue):
        store.make_folder(f"{top}/folder/file")
    store.delete_folder(f"{top}/nosuch")
    assert read(store, f"{top}/folder/file") == b"x"


def test_all_below_a_folder_is_deleted(store: ArtifactStore, top: str) -> None:
    put(store, f"{top}/folder/a/b", b"x")
    put(store, f"{top}/other", b"y")
    store.delete(f"{top}/folder")
    assert [one.name for one in store.entries(top)] == ["other"]


@pytest.mark.parametrize(
    "path", ["", "/", "..", "../x", "a/../b", "a//b", "a/./b", "a/..", "a\0b", "\ud800", "x" * 256, "y/" * 2000]
)
def test_no_path_leads_elsewhere(store: ArtifactStore, path: str) -> None:
    for method in (store.find, store.entries, store.open, store.delete, store.delete_folder, store.make_folder):
        with pytest.raises(InvalidParameterValue):
            method(path)
    with pytest.raises(InvalidParameterValue):
        put_anywhere(store, path)


def put_anywhere(store: ArtifactStore, path: str) -> None:
    store.staging.mkdir(parents=True, exist_ok=True)
    source = store.staging / "source"
    source.write_bytes(b"")
    store.put(source, path, replace=True)


def test_path_parts_are_those_between_slashes() -> None:
    assert path_parts("/7/run/artifacts/a b/") == ("7", "run", "artifacts", "a b")


# The folder of this machine


@pytest.fixture
def local(tmp_path: Path) -> LocalArtifacts:
    (tmp_path / "artifacts").mkdir()
    return LocalArtifacts(tmp_path / "artifacts")


def test_a_link_that_leads_out_is_followed_by_nothing(local: LocalArtifacts, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("s")
    (local.root / "folder").symlink_to(outside)
    (local.root / "file").symlink_to(outside / "secret")
    (local.root / "loop").symlink_to(local.root / "loop")
    for path in ("folder", "folder/secret", "file", "folder/new"):
        for method in (local.find, local.open, local.entries, local.make_folder, local.delete_folder):
            with pytest.raises(InvalidParameterValue, match="leads out"):
                method(path)
        with pytest.raises(InvalidParameterValue, match="leads out"):
            put_anywhere(local, path)
    with pytest.raises(InvalidParameterValue, match="leads out"):
        local.delete("folder/secret")
    local.delete("folder")
    local.delete("file")
    assert (outside / "secret").read_text() == "s"
    assert [path.name for path in local.root.iterdir()] == ["loop"]


def test_a_link_inside_is_followed(local: LocalArtifacts) -> None:
    put(local, "a/f", b"x")
    (local.root / "b").symlink_to(local.root / "a")
    assert read(local, "b/f") == b"x"


def test_the_store_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "artifacts").symlink_to(tmp_path / "elsewhere")
    store = LocalArtifacts(tmp_path / "artifacts")
    put(store, "a/f", b"x")
    assert read(store, "a/f") == b"x"


def test_names_that_mlflow_does_not_take_are_names_too(local: LocalArtifacts) -> None:
    put(local, "100%25/%2e%2e/x#y", b"x")
    assert read(local, "100%25/%2e%2e/x#y") == b"x"


def test_names_that_are_no_text_are_left_out(local: LocalArtifacts) -> None:
    put(local, "a/f", b"x")
    (local.root / "a" / os.fsdecode(b"\xff")).write_bytes(b"")
    assert [entry.name for entry in local.entries("a")] == ["f"]


def test_a_store_on_another_file_system_is_filled_as_well(
    local: LocalArtifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`rename` and `link` do not go from one file system to another; both ends of a copy are on one."""
    really = {"replace": os.replace, "link": os.link}

    def across(name: str) -> Callable[[Path, Path], None]:
        def move(source: Path, target: Path) -> None:
            if Path(source).is_relative_to(local.staging):
                raise OSError(errno.EXDEV, "another file system")
            really[name](source, target)

        return move

    for name in really:
        monkeypatch.setattr(os, name, across(name))
    put(local, "a/f", b"first", replace=False)
    put(local, "a/f", b"second")
    with pytest.raises(ApiError, match="already exists"):
        put(local, "a/f", b"third", replace=False)
    assert read(local, "a/f") == b"second"
    assert [path.name for path in (local.root / "a").iterdir()] == ["f"]


def test_a_reader_keeps_the_file_that_it_opened(local: LocalArtifacts) -> None:
    put(local, "f", b"first")
    file = local.open("f")
    assert file is not None
    put(local, "f", b"and the second")
    assert b"".join(file.chunks(0, file.entry.size)) == b"first"
    file.close()


def test_a_folder_deleted_under_an_upload_is_a_conflict(
    local: LocalArtifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(source: Path, target: Path) -> None:
        raise FileNotFoundError(errno.ENOENT, "no such folder")

    monkeypatch.setattr(os, "replace", gone)
    with pytest.raises(ResourceConflict):
        put(local, "a/f", b"x")


def test_empty_folders_are_made_and_removed(local: LocalArtifacts) -> None:
    local.make_folder("a/b")
    local.make_folder("a/b")
    found = local.find("a/b")
    assert found is not None
    assert found.is_folder
    local.delete_folder("a/b")
    assert local.find("a/b") is None


def test_a_file_is_where_a_folder_would_have_to_be(local: LocalArtifacts) -> None:
    put(local, "f", b"x")
    for path in ("f/below", "f/far/below"):
        with pytest.raises(InvalidParameterValue, match="is a file"):
            put_anywhere(local, path)
        with pytest.raises(InvalidParameterValue, match="is a file"):
            local.make_folder(path)


# The external server


def test_both_see_the_same_files(tmp_path: Path, top: str) -> None:
    far, near = RemoteArtifacts(mlflow_over_http(), tmp_path), LocalArtifacts(mlflow_folder() / "artifacts")
    put(far, f"{top}/a/f", b"far")
    assert read(near, f"{top}/a/f") == b"far"
    put(near, f"{top}/a/g", b"near")
    assert read(far, f"{top}/a/g") == b"near"


@pytest.mark.parametrize("path", ["registered%2Dmodels/x", "a/%2e%2e/b", "a%2Fb", "a/%252e"])
def test_a_name_that_the_server_would_decode_is_refused(tmp_path: Path, path: str) -> None:
    store = RemoteArtifacts(mlflow_over_http(), tmp_path)
    for method in (store.find, store.entries, store.open, store.delete):
        with pytest.raises(InvalidParameterValue, match="percent-encoded"):
            method(path)
    with pytest.raises(InvalidParameterValue, match="percent-encoded"):
        put_anywhere(store, path)


def test_a_server_that_is_away_is_said_so(tmp_path: Path) -> None:
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    store = remote(away, tmp_path)
    for method in (store.find, store.entries, store.open, store.delete):
        with pytest.raises(TemporarilyUnavailable):
            method("a/b")


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, b"no", InternalError),
        (403, b"no", InternalError),
        (500, b"<html>", MlflowRefusal),
        (502, b"<html>", TemporarilyUnavailable),
        (503, b"<html>", TemporarilyUnavailable),
        (503, b'{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "y"}', MlflowRefusal),
        (503, b"disabled due to the mlflow server running with `--no-serve-artifacts`", NotImplementedHere),
        (400, b'{"error_code": "X", "message": "y"}', MlflowRefusal),
        (200, b"[]", InternalError),
        (200, b'{"files": [{}]}', InternalError),
        (200, b"<html>", InternalError),
    ],
)
def test_what_the_server_refuses_is_an_error(
    tmp_path: Path, status: int, body: bytes, error: type[ApiError]
) -> None:
    store = remote(lambda _request: httpx.Response(status, content=body), tmp_path)
    with pytest.raises(error):
        store.find("a/b")


def test_a_file_that_cannot_be_downloaded_is_an_error_before_its_first_byte(tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/artifacts"):
            return httpx.Response(200, json={"files": [{"path": "f", "is_dir": False, "file_size": "3"}]})
        return httpx.Response(500, json={"error_code": "INTERNAL_ERROR", "message": "broken"})

    file = remote(answer, tmp_path).open("a/f")
    assert file is not None
    with pytest.raises(MlflowRefusal, match="broken"):
        list(file.chunks(0, 3))
    file.close()


def of_one_file(
    answer: Callable[[httpx.Request], httpx.Response], size: int
) -> Callable[[httpx.Request], httpx.Response]:
    """A server that has the file `f` of that size, and gives it as `answer` says."""

    def served(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/artifacts"):
            return httpx.Response(200, json={"files": [{"path": "f", "is_dir": False, "file_size": size}]})
        return answer(request)

    return served


def test_a_server_that_has_ranges_sends_no_more_than_is_wanted(tmp_path: Path) -> None:
    asked: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("range"))
        if asked[-1] is None:
            return httpx.Response(200, content=b"0123456789")
        return httpx.Response(206, headers={"content-range": "bytes 3-6/10"}, content=b"3456")

    store = remote(of_one_file(answer, 10), tmp_path)
    assert read(store, "f", 3, 4) == b"3456"
    assert read(store, "f") == b"0123456789"
    assert asked == ["bytes=3-6", None]


@pytest.mark.parametrize(
    ("status", "headers"), [(206, {"content-range": "bytes 4-6/10"}), (206, {}), (416, {})],
)
def test_another_range_than_the_wanted_one_breaks_off(tmp_path: Path, status: int, headers: dict[str, str]) -> None:
    served = of_one_file(lambda _request: httpx.Response(status, headers=headers, content=b"4567"), 10)
    with pytest.raises(BrokenOff):
        read(remote(served, tmp_path), "f", 3, 4)


def test_a_download_does_not_pass_through_memory(tmp_path: Path) -> None:
    """What is asked for at the end of a long file has what is before it dropped piece by piece."""
    size, sent = 64 * CHUNK_BYTES, 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(64):
            sent += CHUNK_BYTES
            yield bytes(CHUNK_BYTES)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/artifacts"):
            return httpx.Response(200, json={"files": [{"path": "f", "is_dir": False, "file_size": size}]})
        return httpx.Response(200, content=pieces())

    file = remote(answer, tmp_path).open("f")
    assert file is not None
    chunks = file.chunks(CHUNK_BYTES, 10)
    assert next(chunks) == bytes(10)
    assert sent <= 3 * CHUNK_BYTES
    assert next(chunks, None) is None
    file.close()
