"""Processes killed with SIGKILL while clients query: what goes on, and what comes back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest
from load import CLIENTS, grows_by, load_on
from models import Registered, Registry
from server import Server, data_directory, is_alive, running_server, wait_for

pytestmark = pytest.mark.alone

NAME = "chaos-iris"


@pytest.fixture(scope="module")
def chaotic() -> Iterator[Server]:
    """A server that no other module uses."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="module")
def model(chaotic: Server) -> Registered:
    found = Registry(chaotic).register("iris")
    chaotic.create(NAME, found.name, found.version)
    chaotic.ready(NAME)
    return found


def replicas_of(server: Server) -> dict[str, int]:
    """All ready replicas, once there are any."""
    return wait_for("a replica is ready", server.replicas, 30)


def test_no_request_fails_while_the_control_plane_is_dead_and_replicas_are_kept(chaotic, model):
    replicas = replicas_of(chaotic)
    with load_on(chaotic, NAME, model) as load:
        dead = chaotic.part("moorage.control")
        os.kill(dead, signal.SIGKILL)
        died = time.monotonic()
        wait_for("its death", lambda: not is_alive(dead), 5)
        successor = wait_for("another control plane", lambda: chaotic.part("moorage.control"), 30)
        wait_for("the server is healthy", lambda: chaotic.http.get("/health").status_code == 200, 60)
        wait_for("5 s under load", lambda: time.monotonic() > died + 6, 10)
    assert successor != dead
    assert load.failures == []
    assert load.answered > 300
    assert chaotic.replicas() == replicas
    assert chaotic.detail(NAME)["state"] == {
        "ready": "READY",
        "config_update": "NOT_UPDATING",
        "update_state": "NOT_UPDATING",
    }
    events = chaotic.http.get(f"/api/2.0/serving-endpoints/{NAME}/events").json()["events"]
    assert any(event["event_type"] == "REPLICA_ADOPTED" for event in events)


def test_control_plane_that_is_away_is_503_and_says_so(chaotic, model):
    """Its successor may be there at once; until then the answer has the one shape and asks to come again."""
    dead = chaotic.part("moorage.control")
    os.kill(dead, signal.SIGKILL)
    codes = set()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        answer = chaotic.http.get(f"/api/2.0/serving-endpoints/{NAME}")
        codes.add(answer.status_code)
        if answer.status_code == 200 and chaotic.part("moorage.control") not in (0, dead):
            break
        if answer.status_code != 200:
            assert answer.json()["error_code"] == "TEMPORARILY_UNAVAILABLE"
            assert int(answer.headers["retry-after"]) > 0
        time.sleep(0.02)
    assert codes == {200, 503}


def test_endpoint_can_be_created_and_queried_after_the_control_plane_came_back(chaotic, model):
    wait_for("the server is healthy", lambda: chaotic.http.get("/health").status_code == 200, 60)
    chaotic.create("chaos-after", model.name, model.version)
    chaotic.ready("chaos-after")
    body = {"dataframe_records": model.rows.to_dict("records")}
    assert chaotic.query("chaos-after", body).status_code == 200
    chaotic.delete("chaos-after")
    wait_for("one replica is left", lambda: len(chaotic.replicas()) == 1, 30)


def test_creation_goes_on_when_the_control_plane_dies_in_the_middle(chaotic, model):
    chaotic.create("chaos-middle", model.name, model.version)
    dead = chaotic.part("moorage.control")
    os.kill(dead, signal.SIGKILL)
    wait_for("its death", lambda: not is_alive(dead), 5)
    wait_for("the server is healthy", lambda: chaotic.http.get("/health").status_code == 200, 60)
    chaotic.ready("chaos-middle", 60)
    assert len(chaotic.replicas()) == 2
    chaotic.delete("chaos-middle")
    wait_for("one replica is left", lambda: len(chaotic.replicas()) == 1, 30)


def test_killed_replica_costs_at_most_the_requests_in_flight_and_is_replaced(chaotic, model):
    [(replica, pid)] = replicas_of(chaotic).items()
    with load_on(chaotic, NAME, model) as load:
        os.kill(pid, signal.SIGKILL)
        new = wait_for("another replica", lambda: set(chaotic.replicas()) - {replica}, 15)
        grows_by(load, 100, 30)
    assert len(load.failures) <= CLIENTS, load.failures
    assert all(failure.startswith("5") for failure in load.failures), load.failures
    assert len(new) == 1
    wait_for("READY again", lambda: chaotic.detail(NAME)["state"]["ready"] == "READY", 10)


def test_killed_gateway_comes_back_on_the_same_port(chaotic, model):
    dead = chaotic.part("moorage.gateway")
    replicas = replicas_of(chaotic)
    os.kill(dead, signal.SIGKILL)
    body = {"dataframe_records": model.rows.to_dict("records")}

    def answers() -> bool:
        with suppress(httpx.HTTPError):
            return chaotic.query(NAME, body).status_code == 200
        return False

    wait_for("queries are answered again", answers, 30)
    assert chaotic.part("moorage.gateway") != dead
    assert chaotic.replicas() == replicas


def test_server_serves_again_from_its_data_directory_after_everything_was_killed():
    with data_directory() as data_dir:
        first = Server(data_dir)
        try:
            model = Registry(first).register("iris")
            first.create(NAME, model.name, model.version)
            before = first.ready(NAME)
            first.kill()
            assert first.processes() == []
            second = Server(data_dir)
        except BaseException:
            first.kill()
            raise
        try:
            assert second.token == first.token
            wait_for("the endpoint is READY", lambda: second.detail(NAME)["state"]["ready"] == "READY", 60)
            assert second.detail(NAME)["id"] == before["id"]
            body = {"dataframe_records": model.rows.to_dict("records")}
            assert second.query(NAME, body).json() == {"predictions": [0, 0, 0, 1, 1, 2, 2, 2]}
            assert len(second.replicas()) == 1
        except BaseException:
            second.kill()
            raise
        second.stop()
