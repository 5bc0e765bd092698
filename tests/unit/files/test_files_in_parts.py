"""Uploads of the Files API in parts."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from control_harness import BOB, ControlPlane
from files_over_http import files_of, new_model, new_version, register, served
from files_requests import CONTENT, FILES, InParts, Sender, assert_error, body, get, names, path_of, put, staged, url
from mlflow_in_process import mlflow_folder

from moorage.control.files.uploads import LEFT_AFTER_SECONDS, Uploads


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
