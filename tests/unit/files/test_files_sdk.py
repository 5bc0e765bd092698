"""The Files API as the SDK's client uses it."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.config import Config
from databricks.sdk.errors import AlreadyExists, NotFound, PermissionDenied
from files_requests import FILES


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
def test_the_sdk_uploads_and_downloads(host: str, pending: str, tmp_path: Path, size: int, parallel: bool) -> None:
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
