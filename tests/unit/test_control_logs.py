"""Build logs and service logs of served entities."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_harness import ENDPOINTS, ControlPlane, control_plane, entity

from moorage.compute.local import LocalCompute
from moorage.control.logs import LOG_BYTES, tail
from moorage.control.store.models import Config, Deployment, Endpoint
from moorage.settings import Settings

LOGS = f"{ENDPOINTS}/ads/served-models/ads1-1"


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        yield plane


@pytest.fixture
def deployment_id(plane: ControlPlane) -> str:
    identifier = plane.deployment_ids(plane.create()["id"])["ads1-1"]
    plane.data.deployment(identifier).mkdir(parents=True)
    return identifier


def test_logs_are_empty_before_anything_was_written(plane: ControlPlane) -> None:
    plane.create()
    assert plane.request("GET", f"{LOGS}/build-logs").json() == {"logs": ""}
    assert plane.request("GET", f"{LOGS}/logs").json() == {"logs": ""}


def test_the_build_log_can_be_read_while_it_grows(plane: ControlPlane, deployment_id: str) -> None:
    log = plane.data.build_log(deployment_id)
    log.write_text("resolve 1.2 s\n")
    assert plane.request("GET", f"{LOGS}/build-logs").json() == {"logs": "resolve 1.2 s\n"}
    log.write_bytes(log.read_bytes() + b"caf\xc3")
    assert plane.request("GET", f"{LOGS}/build-logs").json() == {"logs": "resolve 1.2 s\ncaf\ufffd"}


def test_service_logs_tag_every_line_with_its_replica(plane: ControlPlane, deployment_id: str) -> None:
    plane.data.build_log(deployment_id).write_text("not this\n")
    for age, (replica, text) in enumerate({"aaaaaaaa": "one\ntwo\n", "bbbbbbbb": "three"}.items()):
        path = plane.data.replica_log(deployment_id, replica)
        path.write_text(text)
        os.utime(path, (age, age))
    assert plane.request("GET", f"{LOGS}/logs").json() == {"logs": "[aaaaa] one\n[aaaaa] two\n[bbbbb] three\n"}


def test_service_logs_are_bounded_and_show_every_replica(plane: ControlPlane, deployment_id: str) -> None:
    plane.data.replica_log(deployment_id, "quiet").write_text("ready\n")
    plane.data.replica_log(deployment_id, "loud-").write_text("x" * 99 + "\n" + "noise\n" * 300_000)
    logs = plane.request("GET", f"{LOGS}/logs").json()["logs"]
    assert len(logs.encode()) <= LOG_BYTES
    assert "[quiet] ready\n" in logs
    assert set(logs.splitlines()) == {"[quiet] ready", "[loud-] noise"}


def test_a_tail_begins_with_a_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text("first\nsecond\nthird\n")
    assert tail(path, 10) == "third\n"
    assert tail(path, 100) == "first\nsecond\nthird\n"
    path.write_text("y" * 50)
    assert tail(path, 10) == "y" * 10


def test_logs_of_replicas_that_are_gone_are_bounded_in_number(plane: ControlPlane, deployment_id: str) -> None:
    plane.data.build_log(deployment_id).write_text("kept\n")
    for age in range(30):
        path = plane.data.replica_log(deployment_id, f"{age:012d}")
        path.write_text("x\n")
        os.utime(path, (age, age))
    plane.data.replica("000000000003").mkdir(parents=True)  # the oldest but three is still alive
    compute = LocalCompute(Settings(data_dir=plane.data.root), plane.data)
    compute._drop_old_logs(deployment_id)
    left = sorted(path.stem for path in plane.data.deployment(deployment_id).iterdir())
    assert left == ["000000000003", *(f"{age:012d}" for age in range(14, 30)), "build"]


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("", {"params": {"config_version": "2"}, "content": b'{"config_version": 1}'}),
        ("", {"content": b'{"config_version": 2}'}),
        ("", {"content": b'{"config_version": "2"}', "headers": {"content-type": "text/plain"}}),
        ("/", {"params": {"config_version": 2}}),
    ],
)
def test_a_version_is_taken_from_the_query_then_from_the_body(
    plane: ControlPlane, path: str, options: dict[str, Any]
) -> None:
    created = plane.create()
    _add_version_two(plane, created["id"])
    (folder := plane.data.deployment("second")).mkdir(parents=True)
    (folder / "build.log").write_text("second\n")
    assert plane.request("GET", f"{LOGS}/build-logs{path}", **options).json() == {"logs": "second\n"}
    assert plane.request("GET", f"{LOGS}/build-logs").json() == {"logs": ""}


def test_without_a_version_a_new_entity_of_the_pending_config_is_found(plane: ControlPlane) -> None:
    created = plane.create()
    plane.activate(created["id"])
    _add_version_two(plane, created["id"], name="challenger")
    (folder := plane.data.deployment("second")).mkdir(parents=True)
    (folder / "build.log").write_text("second\n")
    path = f"{ENDPOINTS}/ads/served-models/challenger/build-logs"
    assert plane.request("GET", path).json() == {"logs": "second\n"}


@pytest.mark.parametrize(
    ("path", "options", "status", "code"),
    [
        (LOGS.replace("ads1-1", "nosuch"), {}, 404, "RESOURCE_DOES_NOT_EXIST"),
        (LOGS.replace("/ads/", "/nosuch/"), {}, 404, "RESOURCE_DOES_NOT_EXIST"),
        (LOGS, {"params": {"config_version": 7}}, 404, "RESOURCE_DOES_NOT_EXIST"),
        (LOGS, {"params": {"config_version": "x"}}, 400, "INVALID_PARAMETER_VALUE"),
        (LOGS, {"params": {"config_version": "-1"}}, 400, "INVALID_PARAMETER_VALUE"),
        (LOGS, {"content": b'{"config_version": true}'}, 400, "INVALID_PARAMETER_VALUE"),
        (LOGS, {"content": b"{nope"}, 400, "BAD_REQUEST"),
        (LOGS, {"content": b"[1]"}, 400, "BAD_REQUEST"),
    ],
)
@pytest.mark.parametrize("kind", ["logs", "build-logs"])
def test_what_cannot_be_read_is_said(
    plane: ControlPlane, kind: str, path: str, options: dict[str, Any], status: int, code: str
) -> None:
    plane.create()
    response = plane.request("GET", f"{path}/{kind}", **options)
    assert (response.status_code, response.json()["error_code"]) == (status, code)


def _add_version_two(plane: ControlPlane, endpoint_id: str, name: str = "ads1-1") -> None:
    with plane.sessions.begin() as session:
        session.add(
            Deployment(
                id="second",
                endpoint_id=endpoint_id,
                served_name=name,
                spec={**entity(), "name": name},
                creator="ann",
                creation_timestamp=1,
            )
        )
        body = {
            "served_entities": [{"name": name, "deployment_id": "second"}],
            "traffic_config": {"routes": []},
        }
        session.add(Config(endpoint_id=endpoint_id, version=2, body=body, start_time=1, created_by="ann"))
        endpoint = session.get_one(Endpoint, endpoint_id)
        if endpoint.active_version is not None:
            endpoint.pending_version = 2
