"""How an endpoint has done over time, for the pages that draw it."""

from __future__ import annotations

from moorage.api.wire import WireOutput


class ServedEntitySeries(WireOutput):
    """One served entity's values, each of the time from its timestamp to the next.

    `served_entity_name` is empty for requests that were refused before an entity was drawn. Times are
    milliseconds. `cpu_usage_percentage` and `mem_usage_percentage` are averages; the concurrencies the most at
    a time. What nothing was recorded of is null, or 0 for counts and concurrencies.
    """

    served_entity_name: str
    requests: tuple[int, ...]
    errors_4xx: tuple[int, ...]
    errors_5xx: tuple[int, ...]
    latency_p50_ms: tuple[float | None, ...]
    latency_p99_ms: tuple[float | None, ...]
    queue_p50_ms: tuple[float | None, ...]
    queue_p99_ms: tuple[float | None, ...]
    prediction_p50_ms: tuple[float | None, ...]
    prediction_p99_ms: tuple[float | None, ...]
    cpu_usage_percentage: tuple[float | None, ...]
    mem_usage_percentage: tuple[float | None, ...]
    provisioned_concurrency: tuple[int, ...]
    used_concurrency: tuple[int, ...]
    cold_starts: tuple[int, ...]


class ConfigChange(WireOutput):
    """When a version of the configuration was given. `timestamp` is milliseconds since the epoch."""

    timestamp: int
    config_version: int


class MetricsHistory(WireOutput):
    """`timestamps` (milliseconds since the epoch) are `step_seconds` apart; every series has a value for each."""

    step_seconds: int
    timestamps: tuple[int, ...]
    series: tuple[ServedEntitySeries, ...]
    config_changes: tuple[ConfigChange, ...]
