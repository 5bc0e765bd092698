"""The audit log: what is written down, who reads it, how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_harness import ADMIN, ANN, BOB, ENDPOINTS, ControlPlane, control_plane, entity

from moorage.api.routing import CLIENT_HEADER
from moorage.control.audit import AuditLog
from moorage.control.store.engine import reading
from moorage.control.store.models import AuditRecord

LOG = "/api/2.0/audit-log"


def error(response: Any) -> tuple[int, str, str]:
    document = response.json()
    return response.status_code, document["error_code"], document["message"]


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        yield plane


def entries(plane: ControlPlane, **wanted: Any) -> list[dict[str, Any]]:
    answer = plane.request("GET", LOG, ADMIN, params=wanted)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["entries"]
    return found


def test_a_change_is_written_down_with_who_what_where_and_how_it_ended(plane: ControlPlane) -> None:
    headers = {CLIENT_HEADER: "203.0.113.7", "x-request-id": "an-id"}
    body = {"name": "ads", "config": {"served_entities": [entity(environment_vars={"A": "of-no-concern"})]}}
    assert plane.request("POST", ENDPOINTS, json=body, headers=headers).status_code == 200
    (entry,) = entries(plane)
    assert entry == {
        "id": entry["id"],
        "timestamp": plane.clock.now,
        "user_id": ANN.id,
        "user_name": ANN.user_name,
        "action": "create_endpoint",
        "object_type": "serving-endpoints",
        "object_id": "ads",
        "source_address": "203.0.113.7",
        "request_id": "an-id",
        "status": 200,
        "details": {"name": "ads"},
    }
    assert "of-no-concern" not in json.dumps(entry)


def test_refused_and_broken_requests_are_written_down_and_reads_are_not(plane: ControlPlane) -> None:
    plane.create()
    assert plane.request("DELETE", f"{ENDPOINTS}/ads", BOB).status_code == 403
    assert plane.request("POST", f"{ENDPOINTS}/nowhere/config:stop").status_code == 404
    assert plane.request("POST", ENDPOINTS, content=b"no JSON").status_code == 400
    assert plane.request("GET", f"{ENDPOINTS}/ads").status_code == 200
    found = [(one["user_name"], one["action"], one["object_id"], one["status"]) for one in entries(plane)]
    assert found == [
        (ANN.user_name, "create_endpoint", "", 400),
        (ANN.user_name, "stop_endpoint", "nowhere", 404),
        (BOB.user_name, "delete_endpoint", "ads", 403),
        (ANN.user_name, "create_endpoint", "ads", 200),
    ]


def test_a_failure_of_the_server_is_written_down(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    plane.create()

    def broken(*_: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("moorage.control.endpoints.EndpointService.delete", broken)
    assert plane.request("DELETE", f"{ENDPOINTS}/ads").status_code == 500
    newest = entries(plane)[0]
    assert (newest["action"], newest["status"]) == ("delete_endpoint", 500)


def test_entries_are_found_by_who_what_and_when_and_in_pages(plane: ControlPlane) -> None:
    for number in range(5):
        plane.clock.now += 10
        plane.create(f"e{number}", BOB if number % 2 else ANN)
    first = plane.clock.now - 40
    assert [one["object_id"] for one in entries(plane, user_name=BOB.user_name)] == ["e3", "e1"]
    assert [one["object_id"] for one in entries(plane, object_id="e2", action="create_endpoint")] == ["e2"]
    assert [one["object_id"] for one in entries(plane, start_time=first + 10, end_time=first + 30)] == ["e2", "e1"]
    seen, token = [], None
    while True:
        page = plane.request("GET", LOG, ADMIN, params={"page_size": 2, **({"page_token": token} if token else {})})
        seen += [one["object_id"] for one in page.json()["entries"]]
        token = page.json().get("next_page_token")
        if token is None:
            break
    assert seen == ["e4", "e3", "e2", "e1", "e0"]


def test_the_export_has_all_oldest_first(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moorage.control.audit._EXPORTED_AT_ONCE", 2)
    for number in range(5):
        plane.create(f"e{number}")
    answer = plane.request("GET", f"{LOG}/export", ADMIN)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line)["object_id"] for line in answer.text.splitlines()] == [f"e{n}" for n in range(5)]


@pytest.mark.parametrize("path", [LOG, f"{LOG}/export"])
def test_the_log_is_for_admins(plane: ControlPlane, path: str) -> None:
    assert error(plane.request("GET", path, ANN))[:2] == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize("wanted", [{"page_size": 0}, {"page_token": "x"}, {"start_time": -1}, {"end_time": "soon"}])
def test_a_bad_question_is_refused_by_the_name_of_the_parameter(plane: ControlPlane, wanted: dict[str, Any]) -> None:
    status, _, message = error(plane.request("GET", LOG, ADMIN, params=wanted))
    assert status == 400
    assert next(iter(wanted)) in message


def test_old_entries_leave_and_the_others_stay(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moorage.control.audit._FORGOTTEN_AT_ONCE", 2)
    for number in range(5):
        plane.clock.now += 10
        plane.create(f"e{number}")
    assert AuditLog(plane.sessions).forget_before(plane.clock.now - 10) == 3
    assert [one["object_id"] for one in entries(plane)] == ["e4", "e3"]


def test_names_that_no_database_keeps_are_written_all_the_same(plane: ControlPlane) -> None:
    assert plane.request("POST", ENDPOINTS, content=b'{"name": "a\\ud800\\u0000b"}').status_code == 400
    with reading(plane.sessions) as session:
        assert session.query(AuditRecord).one().object_id == "a?b"
