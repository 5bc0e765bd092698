"""What a minute, or several of them, saw of one served entity. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from moorage.api.metrics import DURATION_BUCKETS_MS
from moorage.telemetry.histograms import Histogram

MINUTE_MS = 60_000


class MinuteKey(NamedTuple):
    """`minute` is its beginning in milliseconds since the epoch."""

    endpoint_id: str
    served: str
    minute: int


def _durations() -> Histogram:
    return Histogram(DURATION_BUCKETS_MS)


@dataclass(slots=True)
class Mean:
    """The average of what it is given, None of nothing."""

    total: float = 0.0
    samples: int = 0

    def add(self, value: float | None) -> None:
        if value is not None:
            self.total += value
            self.samples += 1

    @property
    def value(self) -> float | None:
        return self.total / self.samples if self.samples else None


@dataclass(slots=True)
class Minute:
    """Counts are of the time; `cpu` and `memory` (per cent) averages; the last three the most at a time."""

    requests: int = 0
    ok_2xx: int = 0
    errors_4xx: int = 0
    errors_5xx: int = 0
    latency: Histogram = field(default_factory=_durations)
    queue: Histogram = field(default_factory=_durations)
    prediction: Histogram = field(default_factory=_durations)
    batch_total: float = 0.0
    batch_count: int = 0
    cold_starts: int = 0
    cpu: Mean = field(default_factory=Mean)
    memory: Mean = field(default_factory=Mean)
    replicas: int = 0
    provisioned_concurrency: int = 0
    used_concurrency: int = 0

    def add_statuses(self, statuses: Mapping[int, int]) -> None:
        """Count answers by HTTP status."""
        for status, count in statuses.items():
            self.requests += count
            if status // 100 == 2:
                self.ok_2xx += count
            elif status // 100 == 4:
                self.errors_4xx += count
            elif status // 100 == 5:
                self.errors_5xx += count

    def add(self, other: Minute) -> None:
        """Take in another one: of the same time, or of another that is to be shown together with this one."""
        self.requests += other.requests
        self.ok_2xx += other.ok_2xx
        self.errors_4xx += other.errors_4xx
        self.errors_5xx += other.errors_5xx
        self.latency.add(other.latency)
        self.queue.add(other.queue)
        self.prediction.add(other.prediction)
        self.batch_total += other.batch_total
        self.batch_count += other.batch_count
        self.cold_starts += other.cold_starts
        self.cpu.add(other.cpu.value)
        self.memory.add(other.memory.value)
        self.observe(other.replicas, other.provisioned_concurrency, other.used_concurrency)

    def observe(self, replicas: int, provisioned_concurrency: int, used_concurrency: int) -> None:
        """Look at what there is now."""
        self.replicas = max(self.replicas, replicas)
        self.provisioned_concurrency = max(self.provisioned_concurrency, provisioned_concurrency)
        self.used_concurrency = max(self.used_concurrency, used_concurrency)

    def copy(self) -> Minute:
        same = Minute()
        same.add(self)
        return same
