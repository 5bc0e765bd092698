"""Metrics as text, read back by the parsers of prometheus_client."""

from __future__ import annotations

import time
from typing import Any

import pytest
from metric_reports import report, served_counts
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from moorage.telemetry.aggregate import Aggregate, EntityCounts, EntityKey
from moorage.telemetry.exposition import EntityMetrics, ServerMetrics, endpoint_families, render, server_families

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
SERVER = ServerMetrics({"serving": 2, "stopped": 0}, environments=3)


def counts() -> EntityCounts:
    aggregate = Aggregate(lambda: 0)
    aggregate.add(
        report(
            1,
            served_counts(
                statuses={200: 3, 400: 1, 503: 1},
                latency=[0.4, 3, 3, 7, 400_000],
                queue=[0.1, 0.1, 0.1],
                prediction=[2, 2, 2],
                batch=[1, 2, 2],
            ),
        )
    )
    aggregate.cold_start("e1", "a", 0.37)
    aggregate.replica_ended("e1", "a")
    return aggregate.counts()[EntityKey("e1", "a")]


def entities() -> list[EntityMetrics]:
    refused = Aggregate(lambda: 0)
    refused.add(report(1, served_counts(served="", statuses={403: 2}, latency=[1, 1])))
    return [
        EntityMetrics("ads", "a", counts(), 2, 8, 5, cpu=12.5, memory=50.0, memory_bytes=2**31),
        EntityMetrics("ads", "idle"),
        EntityMetrics("ads", "", refused.counts()[EntityKey("e1", "")]),
    ]


def samples(text: str, *, openmetrics: bool) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    found: dict[Any, float] = {}
    for family in (parse_openmetrics if openmetrics else parse_text)(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


@pytest.mark.parametrize("accept", ["", "text/plain", "*/*", OPENMETRICS, "Application/OpenMetrics-Text"])
def test_the_endpoints_metrics_have_databricks_names(accept: str) -> None:
    openmetrics = "openmetrics" in accept.lower()
    exposition = render(endpoint_families(entities()), accept)
    version = "application/openmetrics-text; version=1.0.0" if openmetrics else "text/plain; version=0.0.4"
    assert exposition.content_type == f"{version}; charset=utf-8"
    found = samples(exposition.content.decode(), openmetrics=openmetrics)

    def of(name: str, served: str = "a", **labels: str) -> float | None:
        given = {"endpoint_name": "ads", "served_model_name": served, **labels}
        return found.get((name, tuple(sorted(given.items()))))

    assert of("cpu_usage_percentage") == 12.5
    assert of("mem_usage_percentage") == 50.0
    assert of("provisioned_concurrent_requests_total") == 8
    assert (of("request_count_total"), of("request_4xx_count_total"), of("request_5xx_count_total")) == (5, 1, 1)
    assert of("request_latency_ms_bucket", le="0.5") == 1
    assert of("request_latency_ms_bucket", le="5.0") == 3
    assert of("request_latency_ms_bucket", le="300000.0") == 4
    assert of("request_latency_ms_bucket", le="+Inf") == of("request_latency_ms_count") == 5
    assert of("request_latency_ms_sum") == pytest.approx(400_013.4)
    assert of("model_queue_time_ms_count") == of("model_prediction_latency_ms_count") == 3
    assert of("model_prediction_latency_ms_sum") == 6
    assert of("cpu_usage_percentage", "idle") is None
    assert of("request_count_total", "idle") == 0
    assert of("request_latency_ms_count", "idle") == 0
    assert of("request_4xx_count_total", "") == 2
    assert of("provisioned_concurrent_requests_total", "") is None
    assert not any("gpu" in name for name, _ in found)


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_the_servers_metrics_are_in_base_units(accept: str) -> None:
    text = render(server_families(entities(), SERVER), accept).content.decode()
    found = samples(text, openmetrics=bool(accept))

    def of(name: str, served: str = "a", **labels: str) -> float | None:
        given = {"endpoint": "ads", "served_entity": served, **labels}
        return found.get((name, tuple(sorted(given.items()))))

    assert of("moorage_requests_total", code="200") == 3
    assert of("moorage_requests_total", "", code="403") == 2
    assert of("moorage_request_duration_seconds_bucket", le="0.005") == 3
    assert of("moorage_request_duration_seconds_sum") == pytest.approx(400.0134)
    assert of("moorage_request_duration_seconds_count", "idle") is None
    assert of("moorage_batch_size_bucket", le="1.0") == 1
    assert of("moorage_cold_starts_total") == 1
    assert of("moorage_cold_start_duration_seconds_bucket", le="0.5") == 1
    assert of("moorage_replica_restarts_total") == 1
    assert of("moorage_replicas") == 2
    assert of("moorage_replicas", "idle") == 0
    assert of("moorage_provisioned_concurrency") == 8
    assert of("moorage_requests_in_flight") == 5
    assert of("moorage_replica_cpu_usage_ratio") == 0.125
    assert found["moorage_endpoints", (("state", "serving"),)] == 2
    assert found["moorage_environments", ()] == 3
    assert found["process_resident_memory_bytes", ()] > 2**20


def test_a_refused_media_type_is_not_given() -> None:
    accept = "application/openmetrics-text;q=0, text/plain"
    assert render(endpoint_families([]), accept).content_type.startswith("text/plain")


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_a_thousand_idle_endpoints_are_told_quickly(accept: str) -> None:
    idle = [EntityMetrics(f"endpoint-{number}", f"served-{number}") for number in range(1000)]
    began = time.process_time()
    render(server_families(idle, SERVER), accept)
    assert time.process_time() - began < 0.3
