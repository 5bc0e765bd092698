"""What gateways count of each served entity, as they tell it to the control plane.

Every report holds what was counted since the one before it. A report that could not be delivered is sent again with
its number, so that the control plane adds it once.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

DURATION_BUCKETS_MS: tuple[float, ...] = (
    0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000, 120_000, 300_000,
)  # fmt: skip
BATCH_BUCKETS: tuple[float, ...] = (1, 2, 4, 8, 16, 32, 64, 128)


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Distribution(_Wire):
    """Observations by bucket: `counts[i]` of those at most `bounds[i]`, above the bound before; the last is the rest.

    Not cumulative. `total` is the sum of the observations.
    """

    counts: tuple[int, ...]
    total: float

    @property
    def count(self) -> int:
        return sum(self.counts)


class ServedCounts(_Wire):
    """Requests to one served entity.

    `served` is empty for requests that were refused before an entity was drawn, and `endpoint_id` too for those
    that name no endpoint. `statuses` counts answers by HTTP status. Times are milliseconds: `latency` of the whole
    request at the server, `queue` of its waiting for a replica and in it, `prediction` of the model's work, which
    requests of one batch share. `batch` is the number of requests that were predicted together. Those three are of
    requests that a model answered.
    """

    endpoint: str
    endpoint_id: str
    served: str
    statuses: dict[int, int] = Field(default_factory=dict)
    latency: Distribution
    queue: Distribution
    prediction: Distribution
    batch: Distribution


class MetricsReport(_Wire):
    """A gateway worker's counts. `gateway` names one life of a worker; `number` rises by one with each report."""

    gateway: str
    number: int
    counts: tuple[ServedCounts, ...]
