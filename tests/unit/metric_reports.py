"""Gateways' reports made up."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from moorage.api.metrics import BATCH_BUCKETS, DURATION_BUCKETS_MS, Distribution, MetricsReport, ServedCounts


def distribution(bounds: Sequence[float], values: Sequence[float]) -> Distribution:
    counts = [0] * (len(bounds) + 1)
    for value in values:
        counts[bisect_left(bounds, value)] += 1
    return Distribution(counts=tuple(counts), total=sum(values))


def served_counts(
    endpoint_id: str = "e1",
    served: str = "a",
    endpoint: str = "ads",
    statuses: dict[int, int] | None = None,
    latency: Sequence[float] = (),
    queue: Sequence[float] = (),
    prediction: Sequence[float] = (),
    batch: Sequence[float] = (),
) -> ServedCounts:
    return ServedCounts(
        endpoint=endpoint,
        endpoint_id=endpoint_id,
        served=served,
        statuses=statuses or {},
        latency=distribution(DURATION_BUCKETS_MS, latency),
        queue=distribution(DURATION_BUCKETS_MS, queue),
        prediction=distribution(DURATION_BUCKETS_MS, prediction),
        batch=distribution(BATCH_BUCKETS, batch),
    )


def report(number: int, *counts: ServedCounts, gateway: str = "g1") -> MetricsReport:
    return MetricsReport(gateway=gateway, number=number, counts=counts)
