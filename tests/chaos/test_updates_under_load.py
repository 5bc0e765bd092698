"""Configurations changed while clients query: no request may fail."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from load import grows_by, load_on
from models import Registered, Registry
from server import Server, running_server, wait_for

pytestmark = pytest.mark.alone

NAME = "busy-iris"
PATH = f"/api/2.0/serving-endpoints/{NAME}"
BURST = 200


@pytest.fixture(scope="module")
def busy():
    """A server that no other module uses, whose idle endpoints go to zero soon."""
    with running_server(settings={"MOORAGE_SCALE_TO_ZERO_IDLE_SECONDS": "1"}) as server:
        yield server


@pytest.fixture(scope="module")
def model(busy: Server) -> Registered:
    found = Registry(busy).register("iris")
    busy.create(NAME, found.name, found.version)
    busy.ready(NAME)
    return found


def entity(model: Registered, **fields: Any) -> dict[str, Any]:
    return {"entity_name": model.name, "entity_version": model.version, **fields}


def update(server: Server, **config: Any) -> dict[str, Any]:
    """Update and wait for the outcome."""
    answer = server.http.put(f"{PATH}/config", json=config)
    assert answer.status_code == 200, answer.text
    return server.settled(NAME)


def split(first: int) -> dict[str, Any]:
    shares = {"a": first, "b": 100 - first}
    return {"routes": [{"served_model_name": n, "traffic_percentage": p} for n, p in shares.items()]}


def test_no_request_fails_while_configurations_change(busy, model):
    with load_on(busy, NAME, model) as load:
        for value in ("1", "2"):
            detail = update(busy, served_entities=[entity(model, environment_vars={"VALUE": value})])
            assert detail["state"]["config_update"] == "NOT_UPDATING"
            grows_by(load, 50, 30)
        broken = update(busy, served_entities=[entity(model, workload_type="GPU_SMALL")])
        assert broken["state"] == {
            "ready": "READY",
            "config_update": "UPDATE_FAILED",
            "update_state": "UPDATE_FAILED",
        }
        both = [entity(model, name="a"), entity(model, name="b", environment_vars={"VALUE": "3"})]
        update(busy, served_entities=both, traffic_config=split(50))
        replicas = wait_for("both serve alone", lambda: len(busy.replicas()) == 2 and busy.replicas(), 30)
        update(busy, served_entities=both, traffic_config=split(10))
        assert busy.replicas() == replicas
        grows_by(load, 50, 30)
        version = busy.detail(NAME)["config"]["config_version"]
        answer = busy.http.post(f"{PATH}/config:rollback", json={"config_version": 2})
        assert answer.status_code == 200, answer.text
        assert busy.settled(NAME)["config"]["config_version"] == version + 1
        grows_by(load, 50, 30)
    assert load.failures == []


def test_stopped_endpoint_refuses_and_serves_again_after_its_start(busy, model):
    body = {"dataframe_records": model.rows.to_dict("records")}
    assert busy.http.post(f"{PATH}/config:stop").status_code == 200
    refused = wait_for("it refuses", lambda: (a := busy.query(NAME, body)).status_code == 400 and a, 10)
    assert "is stopped" in refused.json()["message"]
    wait_for("its replicas are gone", lambda: not busy.replicas(), 30)
    assert busy.http.post(f"{PATH}/config:start").status_code == 200
    busy.ready(NAME)
    assert busy.query(NAME, body).status_code == 200


def test_burst_on_an_endpoint_at_zero_starts_one_replica_and_all_are_answered(busy, model):
    name = "sleepy-iris"
    busy.create(name, model.name, model.version, scale_to_zero_enabled=True)
    busy.ready(name)
    events = f"/api/2.0/serving-endpoints/{name}/events"

    def happened(event_type: str) -> int:
        return sum(one["event_type"] == event_type for one in busy.http.get(events).json()["events"])

    wait_for("it is at zero", lambda: happened("REPLICA_SCALED_DOWN") == 1, 30)
    body = {"dataframe_records": model.rows.to_dict("records")}
    with ThreadPoolExecutor(BURST) as clients:
        answers = list(clients.map(lambda _: busy.query(name, body).status_code, range(BURST)))
    assert answers == [200] * BURST
    assert happened("REPLICA_READY") == 2
