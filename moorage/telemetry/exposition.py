"""Metrics as text for Prometheus and what reads its formats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from moorage.telemetry.aggregate import EntityCounts
from moorage.telemetry.histograms import Histogram

_OPENMETRICS = "application/openmetrics-text"
_OPENMETRICS_VERSION = "1.0.0"
_MILLISECONDS = 1000.0  # in a second
_PERCENT = 0.01


@dataclass(frozen=True, slots=True)
class EntityMetrics:
    """A served entity as it is shown. `cpu` and `memory` are averages over its replicas in per cent, None when none
    was looked at yet; `memory_bytes` is their sum. `served` is empty for requests refused before one was drawn."""

    endpoint: str
    served: str
    counts: EntityCounts = field(default_factory=EntityCounts)
    replicas: int = 0
    provisioned_concurrency: int = 0
    in_flight: int = 0
    cpu: float | None = None
    memory: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ServerMetrics:
    """The server as a whole. `endpoints` counts them by state."""

    endpoints: Mapping[str, int]
    environments: int


@dataclass(frozen=True, slots=True)
class Exposition:
    content: bytes
    content_type: str


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def render(families: Iterable[Metric], accept: str) -> Exposition:
    """In OpenMetrics when the Accept header names it, otherwise in the Prometheus text format 0.0.4."""
    collector = _Families(families)
    # The names are plain ASCII; escaping them as if they could be more takes most of the time.
    if any(_wants_openmetrics(one) for one in accept.split(",")):
        content = openmetrics.generate_latest(  # type: ignore[no-untyped-call]
            collector, openmetrics.ALLOWUTF8, _OPENMETRICS_VERSION
        )
        return Exposition(content, openmetrics.CONTENT_TYPE_LATEST)
    return Exposition(generate_latest(collector, openmetrics.ALLOWUTF8), CONTENT_TYPE_PLAIN_0_0_4)


def _wants_openmetrics(accepted: str) -> bool:
    media_type, *parameters = (part.strip().lower() for part in accepted.split(";"))
    return media_type == _OPENMETRICS and not any(one.replace(" ", "") in ("q=0", "q=0.0") for one in parameters)


def endpoint_families(entities: Sequence[EntityMetrics]) -> Iterator[Metric]:
    """One endpoint's, under the names that Databricks has for them.

    Names ending in `_total` are gauges there, of what is now or of the last minute. Source: Databricks
    documentation, export metrics of serving endpoints.
    """
    labels = ("endpoint_name", "served_model_name")
    named = [(one, (one.endpoint, one.served)) for one in entities]
    serving = [(one, values) for one, values in named if one.served]
    answered = [(one, values) for one, values in named if one.served or one.counts.latency.count]

    cpu = GaugeMetricFamily("cpu_usage_percentage", "CPU in use, average over the replicas", labels=labels)
    memory = GaugeMetricFamily("mem_usage_percentage", "Memory in use, average over the replicas", labels=labels)
    provisioned = GaugeMetricFamily(
        "provisioned_concurrent_requests_total", "Requests that may be answered at a time", labels=labels
    )
    for one, values in serving:
        if one.cpu is not None:
            cpu.add_metric(values, one.cpu)
        if one.memory is not None:
            memory.add_metric(values, one.memory)
        provisioned.add_metric(values, one.provisioned_concurrency)
    yield from (cpu, memory, provisioned)

    requests = GaugeMetricFamily("request_count_total", "Requests in the last minute", labels=labels)
    client_errors = GaugeMetricFamily(
        "request_4xx_count_total", "Requests answered with a 4xx status in the last minute", labels=labels
    )
    server_errors = GaugeMetricFamily(
        "request_5xx_count_total", "Requests answered with a 5xx status in the last minute", labels=labels
    )
    for one, values in answered:
        minute = one.counts.last_minute
        requests.add_metric(values, minute.requests)
        client_errors.add_metric(values, minute.errors_4xx)
        server_errors.add_metric(values, minute.errors_5xx)
    yield from (requests, client_errors, server_errors)

    latency = HistogramMetricFamily("request_latency_ms", "Time of a request at the server", labels=labels)
    queue = HistogramMetricFamily(
        "model_queue_time_ms", "Time that a request waited for a replica and in it", labels=labels
    )
    prediction = HistogramMetricFamily(
        "model_prediction_latency_ms", "Time that the model worked on a request", labels=labels
    )
    for one, values in answered:
        _add(latency, values, one.counts.latency)
    for one, values in serving:
        _add(queue, values, one.counts.queue)
        _add(prediction, values, one.counts.prediction)
    yield from (latency, queue, prediction)


def server_families(entities: Sequence[EntityMetrics], server: ServerMetrics) -> Iterator[Metric]:
    """The whole server's, in base units; histograms only of entities that had requests."""
    labels = ("endpoint", "served_entity")
    named = [(one, (one.endpoint, one.served)) for one in entities]
    serving = [(one, values) for one, values in named if one.served]

    endpoints = GaugeMetricFamily("moorage_endpoints", "Serving endpoints by state", labels=("state",))
    for state, count in server.endpoints.items():
        endpoints.add_metric((state,), count)
    yield endpoints
    yield GaugeMetricFamily("moorage_environments", "Built environments that are kept", value=server.environments)

    requests = CounterMetricFamily(
        "moorage_requests", "Requests answered, by HTTP status", labels=(*labels, "code")
    )
    for one, values in named:
        for status, count in sorted(one.counts.statuses.items()):
            requests.add_metric((*values, str(status)), count)
    yield requests

    yield from _histograms(named, labels)

    restarts = CounterMetricFamily(
        "moorage_replica_restarts", "Replicas that ended or hung and were started again", labels=labels
    )
    replicas = GaugeMetricFamily("moorage_replicas", "Replicas that take requests", labels=labels)
    provisioned = GaugeMetricFamily(
        "moorage_provisioned_concurrency", "Requests that may be answered at a time", labels=labels
    )
    in_flight = GaugeMetricFamily("moorage_requests_in_flight", "Requests in flight or waiting", labels=labels)
    cpu = GaugeMetricFamily("moorage_replica_cpu_usage_ratio", "CPU in use, average over the replicas", labels=labels)
    memory = GaugeMetricFamily("moorage_replica_memory_bytes", "Memory of all replicas together", labels=labels)
    for one, values in serving:
        if one.counts.restarts:
            restarts.add_metric(values, one.counts.restarts)
        replicas.add_metric(values, one.replicas)
        provisioned.add_metric(values, one.provisioned_concurrency)
        in_flight.add_metric(values, one.in_flight)
        if one.cpu is not None:
            cpu.add_metric(values, one.cpu * _PERCENT)
        if one.memory_bytes is not None:
            memory.add_metric(values, one.memory_bytes)
    yield from (restarts, replicas, provisioned, in_flight, cpu, memory)
    # Of the control plane's own process, under the names that every Prometheus client has for them.
    yield from ProcessCollector(registry=None).collect()


def _histograms(
    named: Sequence[tuple[EntityMetrics, tuple[str, str]]], labels: tuple[str, str]
) -> Iterator[Metric]:
    latency = HistogramMetricFamily(
        "moorage_request_duration_seconds", "Time of a request at the server", labels=labels
    )
    queue = HistogramMetricFamily(
        "moorage_queue_duration_seconds", "Time that a request waited for a replica and in it", labels=labels
    )
    prediction = HistogramMetricFamily(
        "moorage_prediction_duration_seconds", "Time that the model worked on a request", labels=labels
    )
    batch = HistogramMetricFamily(
        "moorage_batch_size", "Requests that were predicted together with a request", labels=labels
    )
    cold_starts = HistogramMetricFamily(
        "moorage_cold_start_duration_seconds", "Time from a request at no replica to the first one", labels=labels
    )
    started = CounterMetricFamily(
        "moorage_cold_starts", "Starts of a first replica because a request waited", labels=labels
    )
    for one, values in named:
        counts = one.counts
        for family, histogram, divisor in (
            (latency, counts.latency, _MILLISECONDS),
            (queue, counts.queue, _MILLISECONDS),
            (prediction, counts.prediction, _MILLISECONDS),
            (batch, counts.batch, 1.0),
            (cold_starts, counts.cold_starts, 1.0),
        ):
            if histogram.count:
                _add(family, values, histogram, divisor)
        if counts.cold_starts.count:
            started.add_metric(values, counts.cold_starts.count)
    yield from (latency, queue, prediction, batch, started, cold_starts)


def _add(family: HistogramMetricFamily, labels: Sequence[str], histogram: Histogram, divisor: float = 1.0) -> None:
    buckets = list(zip(_bounds(histogram.bounds, divisor), histogram.cumulative(), strict=True))
    family.add_metric(labels, buckets, histogram.total / divisor)


@cache
def _bounds(bounds: tuple[float, ...], divisor: float) -> tuple[str, ...]:
    return tuple(str(floatToGoString(bound / divisor)) for bound in (*bounds, math.inf))  # type: ignore[no-untyped-call]
