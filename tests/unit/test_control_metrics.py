"""What the API tells of how endpoints do, and the minutes it keeps."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_harness import ADMIN, ANN, BOB, ENDPOINTS, ControlPlane, control_plane, entity
from metric_reports import report, served_counts
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from sqlalchemy import insert

from moorage.api.routing import (
    INTERNAL_HEADER,
    Availability,
    EndpointRoute,
    LoadReport,
    ReplicaRoute,
    ServedLoad,
    ServedRoute,
)
from moorage.compute.base import ReplicaPhase
from moorage.control.app import add_routes
from moorage.control.routers import internal
from moorage.control.store import metric_minutes
from moorage.control.store.engine import make_sessions, open_database, reading
from moorage.control.store.models import Endpoint, MetricMinute, Replica
from moorage.control.telemetry import Telemetry
from moorage.telemetry.minutes import MINUTE_MS, Minute, MinuteKey

NOON = 1_700_000_040_000  # the beginning of a minute
DAY_MS = 24 * 60 * MINUTE_MS
SERVED = "ads1-1"
OPENMETRICS = "application/openmetrics-text"


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        plane.clock.now = NOON
        add_routes(plane.client.app, internal.router)  # type: ignore[arg-type]
        yield plane


@pytest.fixture
def ads(plane: ControlPlane) -> str:
    """The id of a READY endpoint with two replicas."""
    return serving(plane, "ads", replicas=2)


def serving(plane: ControlPlane, name: str, replicas: int = 1) -> str:
    endpoint_id = str(plane.create(name)["id"])
    plane.activate(endpoint_id)
    [deployment] = plane.deployment_ids(endpoint_id).values()
    routes = []
    with plane.sessions.begin() as session:
        for number in range(replicas):
            replica_id = f"{endpoint_id[:10]}-{number}"
            session.add(
                Replica(
                    id=replica_id, deployment_id=deployment, address="/run/r", pid=100 + number, started_at=1,
                    created_at=NOON - 5000 + number,
                )
            )  # fmt: skip
            routes.append(ReplicaRoute(id=replica_id, address="/run/r"))
    served = ServedRoute(name=SERVED, traffic_percentage=100, replicas=tuple(routes))
    plane.routes[name] = EndpointRoute(
        name=name, id=endpoint_id, availability=Availability.SERVING, served=(served,)
    )
    return endpoint_id


def metrics(plane: ControlPlane, path: str = f"{ENDPOINTS}/ads/metrics", caller: Any = ADMIN) -> dict[Any, float]:
    answer = plane.request("GET", path, caller)
    assert answer.status_code == 200, answer.text
    found: dict[Any, float] = {}
    for family in parse_text(answer.text):
        for sample in family.samples:
            labels = {k: v for k, v in sample.labels.items() if k not in ("endpoint_name", "endpoint")}
            found[(sample.name, *sorted(labels.values()))] = sample.value
    return found


def history(plane: ControlPlane, **query: int) -> dict[str, Any]:
    answer = plane.request("GET", f"{ENDPOINTS}/ads/metrics-history", params=query)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    for one in document["series"]:
        lengths = {len(values) for field, values in one.items() if field != "served_entity_name"}
        assert lengths == {len(document["timestamps"])}
    return document


def stored(plane: ControlPlane) -> list[tuple[str, int, int]]:
    with reading(plane.sessions) as session:
        rows = session.query(MetricMinute).order_by(MetricMinute.minute, MetricMinute.served_name)
        return [(row.served_name, row.minute, row.requests) for row in rows]


def read(plane: ControlPlane, endpoint_id: str) -> Minute:
    """The only minute in the database, at noon."""
    found: dict[MinuteKey, Minute] = {}
    with reading(plane.sessions) as session:
        metric_minutes.read(session, endpoint_id, NOON, NOON + 1, lambda key: found.setdefault(key, Minute()))
    [minute] = found.values()
    return minute


def post(plane: ControlPlane, kind: str, body: Any) -> Any:
    return plane.request(
        "POST", f"/internal/{kind}", None, content=body.model_dump_json(), headers={INTERNAL_HEADER: "1"}
    )


def test_a_gateways_report_shows_in_the_endpoints_metrics_once(plane: ControlPlane, ads: str) -> None:
    body = report(1, served_counts(ads, SERVED, statuses={200: 4, 400: 1}, latency=[3] * 5, queue=[1] * 4))
    for _ in range(2):
        assert post(plane, "metrics", body).status_code == 200
    found = metrics(plane, caller=ANN)
    assert found["request_count_total", SERVED] == 5
    assert found["request_4xx_count_total", SERVED] == 1
    assert found["request_latency_ms_count", SERVED] == 5
    assert found["model_queue_time_ms_count", SERVED] == 4
    assert found["provisioned_concurrent_requests_total", SERVED] == 8


def test_reports_come_from_gateways_only(plane: ControlPlane) -> None:
    answer = plane.request("POST", "/internal/metrics", ADMIN, content=report(1).model_dump_json())
    assert answer.status_code == 404


def test_cpu_and_memory_are_of_the_replicas(plane: ControlPlane, ads: str) -> None:
    plane.telemetry.look()
    plane.telemetry.look()
    found = metrics(plane)
    assert found["mem_usage_percentage", SERVED] == 25.0  # each has 1 GiB of 4
    assert found["cpu_usage_percentage", SERVED] == 0.0
    assert metrics(plane, "/metrics")["moorage_replica_memory_bytes", SERVED] == 2 * 2**30


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8"),
        (f"{OPENMETRICS}; version=1.0.0", f"{OPENMETRICS}; version=1.0.0; charset=utf-8"),
        (f"{OPENMETRICS}; version=nonsense", f"{OPENMETRICS}; version=1.0.0; charset=utf-8"),
    ],
)
@pytest.mark.parametrize("path", ["/metrics", f"{ENDPOINTS}/ads/metrics"])
def test_the_format_is_the_one_asked_for(
    plane: ControlPlane, ads: str, path: str, accept: str, content_type: str
) -> None:
    answer = plane.request("GET", path, ADMIN, headers={"accept": accept})
    assert answer.headers["content-type"] == content_type
    assert list((parse_openmetrics if "openmetrics" in accept else parse_text)(answer.text))


@pytest.mark.parametrize("path", ["metrics", "metrics-history", "replicas"])
def test_others_may_not_look(plane: ControlPlane, ads: str, path: str) -> None:
    answer = plane.request("GET", f"{ENDPOINTS}/ads/{path}", BOB)
    assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")


def test_the_servers_metrics_are_for_administrators(plane: ControlPlane) -> None:
    answer = plane.request("GET", "/metrics", ANN)
    assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")


def test_the_servers_metrics_are_of_all_endpoints(plane: ControlPlane, ads: str) -> None:
    other = serving(plane, "other", replicas=0)
    plane.routes["other"] = plane.routes["other"].model_copy(update={"availability": Availability.STOPPED})
    plane.telemetry.add(report(1, served_counts(ads, SERVED, statuses={200: 2, 500: 1}, latency=[1, 2, 3])))
    plane.telemetry.add(report(2, served_counts("", "", "", statuses={404: 6})))
    plane.telemetry.observe_load(
        LoadReport(gateway="g", loads=(ServedLoad(endpoint="ads", served=SERVED, concurrency=3, requests=9),))
    )
    plane.telemetry.cold_start(other, SERVED, 0.37)
    answer = plane.request("GET", "/metrics", ADMIN).text
    assert 'moorage_requests_total{code="500",endpoint="ads",served_entity="ads1-1"} 1.0' in answer
    assert 'moorage_requests_total{code="404",endpoint="",served_entity=""} 6.0' in answer
    assert 'moorage_requests_in_flight{endpoint="ads",served_entity="ads1-1"} 3.0' in answer
    assert 'moorage_replicas{endpoint="ads",served_entity="ads1-1"} 2.0' in answer
    assert 'moorage_replicas{endpoint="other",served_entity="ads1-1"} 0.0' in answer
    assert 'moorage_cold_starts_total{endpoint="other",served_entity="ads1-1"} 1.0' in answer
    assert 'moorage_endpoints{state="serving"} 1.0' in answer
    assert 'moorage_endpoints{state="stopped"} 1.0' in answer


def test_a_new_endpoint_of_the_same_name_does_not_show_the_old_ones_counts(plane: ControlPlane, ads: str) -> None:
    plane.telemetry.add(report(1, served_counts(ads, SERVED, statuses={200: 7})))
    assert plane.request("DELETE", f"{ENDPOINTS}/ads").status_code == 200
    new = serving(plane, "ads")
    plane.telemetry.add(report(2, served_counts(new, SERVED, statuses={200: 1})))
    assert metrics(plane)["request_count_total", SERVED] == 1
    assert metrics(plane, "/metrics")["moorage_requests_total", "200", SERVED] == 1


def test_a_thousand_idle_endpoints_write_nothing_and_are_all_scraped(plane: ControlPlane) -> None:
    served = (ServedRoute(name="m", traffic_percentage=100),)
    for number in range(1000):
        name = f"endpoint-{number}"
        plane.routes[name] = EndpointRoute(
            name=name, id=str(number), availability=Availability.SERVING, served=served
        )
    plane.telemetry.look()
    plane.telemetry.write_minutes(NOON + MINUTE_MS)
    assert stored(plane) == []
    assert plane.request("GET", "/metrics", ADMIN).text.count("moorage_replicas{") == 1000


def test_minutes_are_written_once_they_are_over(plane: ControlPlane, ads: str) -> None:
    plane.telemetry.add(report(1, served_counts(ads, SERVED, statuses={200: 3})))
    plane.telemetry.write_minutes(NOON)
    assert stored(plane) == []
    plane.telemetry.write_minutes(NOON + MINUTE_MS)
    plane.telemetry.write_minutes(NOON + MINUTE_MS)
    assert stored(plane) == [(SERVED, NOON, 3)]


def test_a_restart_within_a_minute_adds_to_its_row(plane: ControlPlane, ads: str) -> None:
    for number in (1, 2):
        telemetry = Telemetry(plane.sessions, lambda: plane.routes, plane.telemetry._sampler, plane.clock)
        telemetry.add(report(1, served_counts(ads, SERVED, statuses={200: number}, latency=[3] * number)))
        asyncio.run(telemetry.close())
    assert stored(plane) == [(SERVED, NOON, 3)]
    minute = read(plane, ads)
    assert (minute.latency.count, minute.latency.total) == (3, 9)


def test_every_field_of_a_minute_survives_the_database(plane: ControlPlane, ads: str) -> None:
    minute = Minute(replicas=2, provisioned_concurrency=8, used_concurrency=5, cold_starts=1)
    minute.add_statuses({200: 1, 302: 1, 404: 1, 503: 1})
    for position, one in enumerate((minute.latency, minute.queue, minute.prediction)):
        one.observe(10.0**position)
    minute.batch_total, minute.batch_count = 6, 2
    minute.cpu.add(12.5)
    minute.memory.add(25.0)
    with plane.sessions.begin() as session:
        metric_minutes.add(session, {MinuteKey(ads, SERVED, NOON): minute})
    same = read(plane, ads)
    for field in Minute.__dataclass_fields__:
        before, after = getattr(minute, field), getattr(same, field)
        assert getattr(after, "counts", after) == getattr(before, "counts", before), field
        assert getattr(after, "total", None) == getattr(before, "total", None), field


def test_a_locked_database_loses_no_minute(
    plane: ControlPlane, ads: str, caplog: pytest.LogCaptureFixture
) -> None:
    plane.telemetry.add(report(1, served_counts(ads, SERVED, statuses={200: 3})))
    other = sqlite3.connect(plane.data.database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with caplog.at_level(logging.WARNING):
        plane.telemetry.write_minutes(NOON + MINUTE_MS)
    assert "database is locked" in caplog.text
    other.execute("ROLLBACK")
    other.close()
    plane.clock.now += MINUTE_MS
    assert sum(history(plane)["series"][0]["requests"]) == 3
    plane.telemetry.add(report(2, served_counts(ads, SERVED, statuses={200: 1})))
    plane.telemetry.write_minutes(NOON + 2 * MINUTE_MS)
    assert stored(plane) == [(SERVED, NOON, 3), (SERVED, NOON + MINUTE_MS, 1)]


def test_a_deleted_endpoint_takes_its_minutes_with_it_and_late_counts_are_dropped(
    plane: ControlPlane, ads: str
) -> None:
    plane.telemetry.add(report(1, served_counts(ads, SERVED, statuses={200: 3})))
    plane.telemetry.write_minutes(NOON + MINUTE_MS)
    plane.telemetry.add(report(2, served_counts(ads, SERVED, statuses={200: 1})))
    with plane.sessions.begin() as session:
        session.delete(session.get_one(Endpoint, ads))
    plane.telemetry.write_minutes(NOON + MINUTE_MS)  # its route is still there
    assert stored(plane) == []
    plane.telemetry.add(report(3, served_counts(ads, SERVED, statuses={200: 1})))
    del plane.routes["ads"]
    plane.telemetry.write_minutes(NOON + MINUTE_MS)
    assert plane.telemetry.aggregate.counts() == {}


def test_minutes_older_than_fourteen_days_leave_in_batches(plane: ControlPlane, ads: str) -> None:
    minutes = {MinuteKey(ads, SERVED, NOON - 15 * DAY_MS + i * MINUTE_MS): Minute(requests=i) for i in range(50)}
    minutes[MinuteKey(ads, SERVED, NOON - 14 * DAY_MS)] = Minute(requests=99)
    with plane.sessions.begin() as session:
        metric_minutes.add(session, minutes)
    with plane.sessions.begin() as session:
        metric_minutes.delete_before(session, NOON - 14 * DAY_MS, 20)
    assert [requests for _, _, requests in stored(plane)] == [*range(20, 50), 99]
    plane.telemetry.write_minutes(NOON)  # nothing to write
    assert [requests for _, _, requests in stored(plane)] == [99]


def test_history_has_written_and_unwritten_minutes(plane: ControlPlane, ads: str) -> None:
    plane.telemetry.add(report(1, served_counts(ads, SERVED, statuses={200: 3, 404: 1}, latency=[15] * 100)))
    plane.telemetry.look()
    plane.telemetry.cold_start(ads, SERVED, 0.5)
    plane.telemetry.write_minutes(NOON + MINUTE_MS)
    plane.clock.now = NOON + 2 * MINUTE_MS + 5000
    plane.telemetry.add(report(2, served_counts(ads, SERVED, statuses={503: 2}, prediction=[1.5, 800])))
    plane.telemetry.add(report(3, served_counts(ads, "", statuses={403: 7})))
    document = history(plane, start_time=NOON, step_seconds=60)
    assert document["step_seconds"] == 60
    assert document["timestamps"] == [NOON, NOON + MINUTE_MS, NOON + 2 * MINUTE_MS]
    [one, refused] = document["series"]
    assert one["served_entity_name"] == SERVED
    assert one["requests"] == [4, 0, 2]
    assert one["errors_4xx"] == [1, 0, 0]
    assert one["errors_5xx"] == [0, 0, 2]
    assert one["latency_p50_ms"] == [15.0, None, None]
    assert one["latency_p99_ms"] == [19.9, None, None]
    assert one["prediction_p99_ms"] == [None, None, 990.0]
    assert one["mem_usage_percentage"] == [25.0, None, None]
    assert one["provisioned_concurrency"] == [8, 0, 8]
    assert one["cold_starts"] == [1, 0, 0]
    assert refused["served_entity_name"] == ""
    assert refused["errors_4xx"] == [0, 0, 7]


def test_history_merges_minutes_to_wider_steps(plane: ControlPlane, ads: str) -> None:
    minutes = {}
    for number in range(10):
        minute = Minute(requests=1, used_concurrency=number)
        minutes[MinuteKey(ads, SERVED, NOON + number * MINUTE_MS)] = minute
        minute.latency.observe(15.0 if number < 9 else 750.0)
        minute.cpu.add(10.0 * number)
    with plane.sessions.begin() as session:
        metric_minutes.add(session, minutes)
    start = NOON - NOON % (10 * MINUTE_MS)
    document = history(plane, start_time=start, end_time=NOON + 10 * MINUTE_MS, step_seconds=541)
    assert document["step_seconds"] == 600
    assert document["timestamps"] == [start, start + 600_000]
    [one] = document["series"]
    late = (NOON - start) // MINUTE_MS  # of the ten minutes, so many lie in the second step
    assert one["requests"] == [10 - late, late]
    assert one["used_concurrency"] == [9 - late, 9]
    assert one["latency_p99_ms"][0] < 20
    assert 500 < one["latency_p99_ms"][1] <= 1000
    assert one["cpu_usage_percentage"] == [
        pytest.approx(sum(10.0 * n for n in range(10 - late)) / (10 - late), abs=0.001),
        pytest.approx(sum(10.0 * n for n in range(10 - late, 10)) / late, abs=0.001),
    ]


def test_history_is_the_last_hour_and_never_too_many_points(plane: ControlPlane, ads: str) -> None:
    plane.clock.now = NOON + 30_000
    document = history(plane)
    assert document["timestamps"][0] == NOON - 60 * MINUTE_MS
    assert document["timestamps"][-1] == NOON
    for days, step in ((1, 60), (2, 120), (14, 840)):
        document = history(plane, start_time=NOON - days * DAY_MS, end_time=NOON, step_seconds=1)
        assert document["step_seconds"] == step
        assert len(document["timestamps"]) <= 1500


def test_history_tells_when_the_configuration_was_changed(plane: ControlPlane, ads: str) -> None:
    plane.clock.now = NOON + 5 * MINUTE_MS
    body = {"served_entities": [entity(entity_version="2")]}
    assert plane.request("PUT", f"{ENDPOINTS}/ads/config", json=body).status_code == 200
    changes = history(plane, end_time=NOON + 10 * MINUTE_MS)["config_changes"]
    assert changes == [
        {"timestamp": NOON, "config_version": 1},
        {"timestamp": NOON + 5 * MINUTE_MS, "config_version": 2},
    ]
    assert history(plane, start_time=NOON + MINUTE_MS, end_time=NOON + 2 * MINUTE_MS)["config_changes"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"start_time": "soon"}, "start_time"),
        ({"end_time": "1.5"}, "end_time"),
        ({"start_time": "-1"}, "start_time"),
        ({"end_time": "9" * 30}, "end_time"),
        ({"start_time": "5", "end_time": "5"}, "start_time"),
        ({"start_time": str(NOON - 14 * DAY_MS - 1), "end_time": str(NOON)}, "start_time"),
        ({"end_time": "0"}, "start_time"),
        ({"step_seconds": "0"}, "step_seconds"),
        ({"step_seconds": "1209601"}, "step_seconds"),
        ({"step_seconds": "x"}, "step_seconds"),
    ],
)
def test_a_history_that_cannot_be_given_is_refused_by_the_parameter(
    plane: ControlPlane, ads: str, query: dict[str, str], field: str
) -> None:
    answer = plane.request("GET", f"{ENDPOINTS}/ads/metrics-history", params=query)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error_code"] in ("BAD_REQUEST", "INVALID_PARAMETER_VALUE")
    assert f"'{field}'" in answer.json()["message"]


def test_live_replicas_are_told_with_what_they_use(plane: ControlPlane, ads: str) -> None:
    plane.telemetry.look()
    plane.telemetry.look()
    ids = [one.id for one in plane.routes["ads"].served[0].replicas]
    answer = plane.request("GET", f"{ENDPOINTS}/ads/replicas").json()
    assert [one["id"] for one in answer["replicas"]] == ids
    assert answer["replicas"][0] == {
        "id": ids[0],
        "served_entity_name": SERVED,
        "state": "READY",
        "creation_timestamp": NOON - 5000,
        "age_seconds": 5.0,
        "memory_bytes": 2**30,
        "cpu_percentage": 0.0,
    }


def test_replicas_that_start_and_drain_say_so_and_the_gone_are_left_out(plane: ControlPlane, ads: str) -> None:
    route = plane.routes["ads"]
    first, second = (one.id for one in route.served[0].replicas)
    plane.phases[first] = ReplicaPhase.LOADING
    plane.routes["ads"] = route.model_copy(update={"served": ()})

    def states() -> dict[str, str]:
        answer = plane.request("GET", f"{ENDPOINTS}/ads/replicas").json()
        return {one["id"]: one["state"] for one in answer["replicas"]}

    assert states() == {first: "LOADING", second: "DRAINING"}
    plane.phases.update({first: ReplicaPhase.GONE, second: ReplicaPhase.FAILED})
    assert states() == {}


def test_a_fortnight_of_minutes_is_read_in_good_time(plane: ControlPlane, ads: str) -> None:
    minute = Minute(requests=60)
    for value in (2.0, 3.0, 8.0, 40.0):
        minute.latency.observe(value)
        minute.queue.observe(value)
        minute.prediction.observe(value)
    keys = [MinuteKey(ads, SERVED, NOON - number * MINUTE_MS) for number in range(14 * 24 * 60)]
    with plane.sessions.begin() as session:
        session.execute(insert(MetricMinute), [metric_minutes._row(key, minute) for key in keys])
    began = time.process_time()
    document = history(plane, start_time=NOON - 14 * DAY_MS + MINUTE_MS, end_time=NOON + MINUTE_MS)
    took = time.process_time() - began
    assert sum(document["series"][0]["requests"]) == 60 * len(keys)
    assert took < 3, took
    began = time.process_time()
    with plane.sessions.begin() as session:
        session.delete(session.get_one(Endpoint, ads))
    assert time.process_time() - began < 2
    engine = open_database(plane.data.database)
    with reading(make_sessions(engine)) as session:
        assert not metric_minutes.any_before(session, NOON + DAY_MS)
    engine.dispose()
