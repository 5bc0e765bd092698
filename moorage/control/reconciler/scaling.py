"""How many replicas a deployment should have now. Pure: fed with what gateways report, asked for a number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from moorage.api.workloads import replicas_for

_REPORT_LASTS_SECONDS = 10.0  # a gateway that says nothing for so long has no requests, or is gone


@dataclass(frozen=True, slots=True)
class ScalingLimits:
    """`minimum` and `maximum` are replicas; at `minimum` 0 the deployment may scale to zero.

    `idle_seconds` is how long without any request before it does; `down_seconds` how long fewer replicas
    must have been enough before one is taken away.
    """

    minimum: int
    maximum: int
    idle_seconds: float
    down_seconds: float


@dataclass(slots=True)
class ScalingPolicy:
    """Up at once, down slowly, to zero when idle."""

    limits: ScalingLimits
    clock: Callable[[], float] = monotonic
    _reports: dict[str, tuple[int, float]] = field(default_factory=dict)
    _last_request: float = field(default=0.0)
    _enough_since: float | None = field(default=None)

    def __post_init__(self) -> None:
        self._last_request = self.clock()

    def observe(self, gateway: str, concurrency: int, requests: int) -> None:
        """A gateway's word: requests in flight or waiting now, and how many came since its last report."""
        now = self.clock()
        self._reports[gateway] = (concurrency, now)
        if concurrency or requests:
            self._last_request = now

    def target(self, current: int) -> int:
        """How many replicas there should be, given how many there are. A step down is due once for each answer."""
        now = self.clock()
        limits = self.limits
        wanted = self._enough(current, now)
        if wanted == 0:
            return 0
        if wanted >= current:
            self._enough_since = None
            return wanted
        if self._enough_since is None:
            self._enough_since = now
        if now - self._enough_since < limits.down_seconds:
            return current
        self._enough_since = now
        return current - 1

    def wants_more(self, current: int) -> bool:
        """Whether there should be more replicas than there are. Unlike `target` it may be asked at any time."""
        return self._enough(current, self.clock()) > current

    def _enough(self, current: int, now: float) -> int:
        """Replicas that suffice for the requests of now."""
        limits = self.limits
        concurrency = sum(count for count, at in self._reports.values() if now - at <= _REPORT_LASTS_SECONDS)
        if limits.minimum == 0 and now - self._last_request >= limits.idle_seconds:
            return 0
        if current == 0 and limits.minimum == 0 and not concurrency:
            return 0
        return min(max(replicas_for(concurrency), limits.minimum, 1), limits.maximum)

    def seconds_to_next_look(self, current: int) -> float | None:
        """When time alone may change the target; None when only requests can, as at zero."""
        if current <= self.limits.minimum:
            return None
        return max(0.05, min(1.0, self.limits.idle_seconds / 4, self.limits.down_seconds / 4))
