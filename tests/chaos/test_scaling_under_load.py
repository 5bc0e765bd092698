"""Replicas added, taken away, killed and started from zero while clients query: no request may fail."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from load import connections_on, grows_by, many_connections
from models import Registered, Registry
from server import Server, running_server, wait_for

pytestmark = pytest.mark.alone

NAME = "elastic"
PREDICTIONS = [1.5, 2.25, 13.0]
IDLE = 2  # seconds until an endpoint that may is at zero
BURST = 500


@pytest.fixture(scope="module")
def elastic() -> Iterator[Server]:
    """A server that no other module uses, which gives replicas up soon."""
    settings = {
        "MOORAGE_ENV_MANAGER": "local",
        "MOORAGE_SCALE_DOWN_SECONDS": "1",
        "MOORAGE_SCALE_TO_ZERO_IDLE_SECONDS": str(IDLE),
    }
    with running_server(settings=settings) as server:
        yield server


@pytest.fixture(scope="module")
def model(elastic: Server) -> Registered:
    found = Registry(elastic).register("as_told")
    elastic.create(NAME, found.name, found.version)
    elastic.ready(NAME)
    return found


def scale(server: Server, model: Registered, least: int, most: int, **variables: str) -> None:
    """Update the endpoint to that provisioned concurrency, and wait until it serves so."""
    entity: dict[str, Any] = {
        "entity_name": model.name,
        "entity_version": model.version,
        "min_provisioned_concurrency": least,
        "max_provisioned_concurrency": most,
        "environment_vars": variables,
    }
    answer = server.http.put(f"/api/2.0/serving-endpoints/{NAME}/config", json={"served_entities": [entity]})
    assert answer.status_code == 200, answer.text
    assert server.ready(NAME)["state"]["config_update"] == "NOT_UPDATING"


def wait_for_replicas(server: Server, count: int) -> dict[str, int]:
    """Replica id to pid, once there are that many."""
    return wait_for(f"{count} replicas", lambda: len(found := server.replicas()) == count and found, 30)


def happened(server: Server, name: str, event_type: str) -> int:
    events = server.http.get(f"/api/2.0/serving-endpoints/{name}/events").json()["events"]
    return sum(event["event_type"] == event_type for event in events)


def test_no_request_fails_while_updates_change_the_number_of_replicas(elastic, model):
    with connections_on(elastic, NAME, model, right=PREDICTIONS, count=64, pace_seconds=0.2) as load:
        for concurrency, replicas in ((4, 1), (8, 2), (4, 1)):
            scale(elastic, model, concurrency, concurrency)
            wait_for_replicas(elastic, replicas)
            grows_by(load, 100, 30)
    assert load.failures == []


def test_no_request_fails_while_replicas_follow_the_load(elastic, model):
    """Four requests a replica at once: one client needs one, and twelve need three."""
    scale(elastic, model, 4, 12, PREDICT_SECONDS="0.1")
    with connections_on(elastic, NAME, model, right=PREDICTIONS, count=1) as little:
        wait_for_replicas(elastic, 1)
        with connections_on(elastic, NAME, model, right=PREDICTIONS, count=11) as much:
            wait_for_replicas(elastic, 3)
            grows_by(much, 100, 30)
        wait_for_replicas(elastic, 1)
        grows_by(little, 10, 30)
    assert little.failures == []
    assert much.failures == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_no_request_fails_when_one_of_two_replicas_ends(elastic, model, number):
    """What the dead one was working on is asked again of the other."""
    scale(elastic, model, 8, 8, PREDICT_SECONDS="0.02")
    wait_for_replicas(elastic, 2)
    with connections_on(elastic, NAME, model, right=PREDICTIONS, count=8) as load:
        for _ in range(2):
            before = elastic.replicas()
            victim = min(before)
            os.kill(before[victim], number)

            def restored(lost: str = victim) -> bool:
                found = elastic.replicas()
                return len(found) == 2 and lost not in found

            wait_for("two replicas again", restored, 30)
            grows_by(load, 100, 30)
    assert load.failures == []


def test_burst_on_an_endpoint_at_zero_starts_one_replica_and_all_are_answered(elastic, model):
    name = "asleep"
    entity = {
        "entity_name": model.name,
        "entity_version": model.version,
        "min_provisioned_concurrency": 0,
        "max_provisioned_concurrency": 4,
        "scale_to_zero_enabled": True,
    }
    body = {"name": name, "config": {"served_entities": [entity]}}
    answer = elastic.http.post("/api/2.0/serving-endpoints", json=body)
    assert answer.status_code == 200, answer.text
    elastic.ready(name)
    wait_for("it is at zero", lambda: happened(elastic, name, "REPLICA_SCALED_DOWN") == 1, 30)
    rows = {"dataframe_records": model.rows.to_dict("records")}

    async def burst() -> list[tuple[int, Any]]:
        async with many_connections(elastic) as http:

            async def ask() -> tuple[int, Any]:
                async with http.post(f"/serving-endpoints/{name}/invocations", json=rows) as answer:
                    return answer.status, await answer.json()

            return await asyncio.gather(*(ask() for _ in range(BURST)))

    answers = asyncio.run(burst())
    wrong = [answer for answer in answers if answer != (200, {"predictions": PREDICTIONS})]
    assert wrong == [], wrong[:3]
    assert happened(elastic, name, "REPLICA_READY") == 2
