"""Real traffic is counted exactly, wherever it is told."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from server import OTHER_TOKEN, Server, running_server, wait_for

NAME = "metered"
API = f"/api/2.0/serving-endpoints/{NAME}"
ANSWERED, MALFORMED, FORBIDDEN = 200, 7, 5
_PATIENCE = 30.0

Labels = tuple[tuple[str, str], ...]


@pytest.fixture(scope="module")
def metered(server: Server, registered: Any) -> Iterator[str]:
    """The name of the served entity of an endpoint that has answered requests of each kind."""
    server.create(NAME, registered("iris").name)
    served = server.ready(NAME)["config"]["served_entities"][0]["name"]
    body = {"inputs": registered("iris").rows[:1].to_dict("list")}
    with ThreadPoolExecutor(8) as pool:
        good = list(pool.map(lambda _: server.query(NAME, body).status_code, range(ANSWERED)))
    assert set(good) == {200}
    for _ in range(MALFORMED):
        assert server.query(NAME, {"nonsense": 1}).status_code == 400
    for _ in range(FORBIDDEN):
        answer = server.query(NAME, body, authorization=f"Bearer {OTHER_TOKEN}")
        assert answer.status_code == 403
    yield served
    server.delete(NAME)


def scrape(server: Server, path: str, accept: str = "text/plain") -> dict[tuple[str, Labels], float]:
    answer = server.http.get(path, headers={"accept": accept})
    assert answer.status_code == 200, answer.text
    parse = parse_openmetrics if "openmetrics" in accept else parse_text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(answer.text)
        for sample in family.samples
    }


def labels(**given: str) -> Labels:
    return tuple(sorted(given.items()))


def test_the_endpoints_metrics_count_every_request(server: Server, metered: str) -> None:
    entity = labels(endpoint_name=NAME, served_model_name=metered)
    refused = labels(endpoint_name=NAME, served_model_name="")

    def look() -> dict[tuple[str, Labels], float] | None:
        found = scrape(server, f"{API}/metrics")
        enough = found.get(("request_latency_ms_count", entity)) == ANSWERED + MALFORMED
        return found if enough and found.get(("request_latency_ms_count", refused)) == FORBIDDEN else None

    found = wait_for("every request is counted", look, _PATIENCE)
    assert found["request_count_total", entity] == ANSWERED + MALFORMED
    assert found["request_4xx_count_total", entity] == MALFORMED
    assert found["request_5xx_count_total", entity] == 0
    assert found["request_4xx_count_total", refused] == FORBIDDEN
    assert found["model_prediction_latency_ms_count", entity] >= ANSWERED
    assert found["model_queue_time_ms_count", entity] == found["model_prediction_latency_ms_count", entity]
    assert found["request_latency_ms_sum", entity] >= found["model_prediction_latency_ms_sum", entity] > 0
    assert found["provisioned_concurrent_requests_total", entity] == 4
    assert scrape(server, f"{API}/metrics", "application/openmetrics-text") == found


def test_the_servers_metrics_count_them_too(server: Server, metered: str) -> None:
    def of(code: int, served: str) -> tuple[str, Labels]:
        return "moorage_requests_total", labels(endpoint=NAME, served_entity=served, code=str(code))

    def look() -> dict[tuple[str, Labels], float] | None:
        found = scrape(server, "/metrics")
        return found if found.get(of(403, "")) == FORBIDDEN else None

    found = wait_for("every request is counted", look, _PATIENCE)
    assert found[of(200, metered)] == ANSWERED
    assert found[of(400, metered)] == MALFORMED
    assert found["moorage_replicas", labels(endpoint=NAME, served_entity=metered)] == 1
    refused = server.http.get("/metrics", headers={"authorization": f"Bearer {OTHER_TOKEN}"})
    assert (refused.status_code, refused.json()["error_code"]) == (403, "PERMISSION_DENIED")


def test_the_history_counts_them_too(server: Server, metered: str) -> None:
    def look() -> dict[str, Any] | None:
        answer = server.http.get(f"{API}/metrics-history")
        assert answer.status_code == 200, answer.text
        series = {one["served_entity_name"]: one for one in answer.json()["series"]}
        return series if sum(series.get("", {"requests": [0]})["requests"]) == FORBIDDEN else None

    series = wait_for("every request is in the history", look, _PATIENCE)
    assert sum(series[metered]["requests"]) == ANSWERED + MALFORMED
    assert sum(series[metered]["errors_4xx"]) == MALFORMED
    assert sum(series[""]["errors_4xx"]) == FORBIDDEN
    assert max(series[metered]["provisioned_concurrency"]) == 4
    busy = [value for value in series[metered]["latency_p99_ms"] if value is not None]
    assert busy
    assert 0 < max(busy) < 60_000


def test_replicas_are_told_with_cpu_and_memory(server: Server, metered: str) -> None:
    def look() -> dict[str, Any] | None:
        [one] = server.http.get(f"{API}/replicas").json()["replicas"]
        return one if "cpu_percentage" in one else None

    one = wait_for("the replica was looked at twice", look, _PATIENCE)
    assert one["id"] in server.replicas()
    assert (one["served_entity_name"], one["state"]) == (metered, "READY")
    assert one["age_seconds"] > 0
    assert 2**20 < one["memory_bytes"] < 2**31
    assert "pid" not in one
    found = scrape(server, f"{API}/metrics")
    entity = labels(endpoint_name=NAME, served_model_name=metered)
    assert 0 < found["mem_usage_percentage", entity] < 50
    assert 0 <= found["cpu_usage_percentage", entity] <= 100


def test_history_survives_a_restart_and_a_cold_start_is_told() -> None:
    from models import Registry

    settings = {"MOORAGE_SCALE_TO_ZERO_IDLE_SECONDS": "2"}
    with running_server(settings=settings) as server:
        iris = Registry(server).register("iris")
        server.create("sleepy", iris.name, scale_to_zero_enabled=True)
        served = server.ready("sleepy")["config"]["served_entities"][0]["name"]
        wait_for("it is at zero", lambda: not server.replicas(), _PATIENCE)
        body = {"inputs": iris.rows[:1].to_dict("list")}
        began = time.monotonic()
        assert server.query("sleepy", body).status_code == 200
        took = time.monotonic() - began
        entity = labels(endpoint="sleepy", served_entity=served)
        key = ("moorage_cold_start_duration_seconds_sum", entity)
        found = wait_for("the cold start is counted", lambda: _with(scrape(server, "/metrics"), key), _PATIENCE)
        assert found["moorage_cold_starts_total", entity] == 1
        assert 0 < found[key] <= took
        events = server.http.get("/api/2.0/serving-endpoints/sleepy/events").json()["events"]
        assert any("cold start " in one["message"] for one in events if one["event_type"] == "REPLICA_READY")

        def requests() -> int:
            answer = server.http.get("/api/2.0/serving-endpoints/sleepy/metrics-history").json()
            return sum(sum(one["requests"]) for one in answer["series"])

        wait_for("the request is in the history", lambda: requests() == 1, _PATIENCE)
        old = server.part("moorage.control")
        os.kill(old, signal.SIGTERM)

        def answers() -> bool:
            new = server.part("moorage.control")
            return new not in (0, old) and server.http.get("/health").status_code == 200

        wait_for("the control plane is back", answers, _PATIENCE)
        assert requests() == 1
        assert server.query("sleepy", body).status_code == 200
        wait_for("both requests are in the history", lambda: requests() == 2, _PATIENCE)


def _with(found: dict[tuple[str, Labels], float], key: tuple[str, Labels]) -> dict[tuple[str, Labels], float] | None:
    return found if key in found else None
