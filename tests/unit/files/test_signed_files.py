"""Files by their signed addresses, which need no credential."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from control_harness import ANN, ControlPlane
from files_requests import CONTENT, FILES, InParts, assert_error, get, path_of, put, signed, url

from moorage.control.store.models import AuditRecord


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
