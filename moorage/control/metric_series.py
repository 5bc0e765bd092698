"""Minutes of metrics put together to the points of a picture. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from moorage.api.errors import InvalidParameterValue
from moorage.api.metrics_history import ServedEntitySeries
from moorage.telemetry.histograms import Histogram
from moorage.telemetry.minutes import MINUTE_MS, Minute, MinuteKey

_HOUR_MS = 60 * MINUTE_MS
_LONGEST_DAYS = 14
_LONGEST_MS = _LONGEST_DAYS * 24 * _HOUR_MS
_MOST_POINTS = 1500
_DIGITS = 3


@dataclass(frozen=True, slots=True)
class Span:
    """From `start` to before `end` in steps; milliseconds since the epoch, and milliseconds. `start` lies on a
    step, and a step is whole minutes."""

    start: int
    end: int
    step: int

    @classmethod
    def of(cls, start_time: int | None, end_time: int | None, step_seconds: int | None, now: int) -> Span:
        """What is asked for, the last hour by default. The step is widened to at most 1,500 points.

        Raises:
            InvalidParameterValue: it ends before it starts, or is longer than 14 days.
        """
        if end_time is None:
            end_time = now if start_time is None else max(now, start_time + 1)
        if start_time is None:
            start_time = max(0, end_time - _HOUR_MS)
        if start_time >= end_time:
            raise InvalidParameterValue(
                "Invalid value for 'start_time': must be before 'end_time', both in milliseconds since the epoch"
            )
        if end_time - start_time > _LONGEST_MS:
            raise InvalidParameterValue(
                f"Invalid value for 'start_time': must be at most {_LONGEST_DAYS} days before 'end_time'"
            )
        # One point less, because the first may begin before the start.
        narrowest = max((step_seconds or 0) * 1000, (end_time - start_time) / (_MOST_POINTS - 1), MINUTE_MS)
        step = -int(-narrowest // MINUTE_MS) * MINUTE_MS
        return cls(start_time - start_time % step, end_time, step)

    @property
    def timestamps(self) -> range:
        return range(self.start, self.end, self.step)

    def holds(self, time: int) -> bool:
        return self.start <= time < self.end


class Steps:
    """The steps of a span by served name, those of `names` first."""

    def __init__(self, span: Span, names: Iterable[str]) -> None:
        self._span = span
        self._steps: dict[str, dict[int, Minute]] = {name: {} for name in names}

    def step(self, key: MinuteKey) -> Minute:
        """What a minute within the span is to be added to."""
        steps = self._steps.setdefault(key.served, {})
        time = key.minute - key.minute % self._span.step
        known = steps.get(time)
        if known is None:
            known = steps[time] = Minute()
        return known

    def series(self) -> tuple[ServedEntitySeries, ...]:
        """Every step of every served entity; one that nothing was added to is empty."""
        nothing, times = Minute(), self._span.timestamps
        return tuple(
            _series(served, [steps.get(time, nothing) for time in times]) for served, steps in self._steps.items()
        )


def _series(served: str, points: Sequence[Minute]) -> ServedEntitySeries:

    def percentiles(share: float, histograms: list[Histogram]) -> tuple[float | None, ...]:
        return tuple(_rounded(one.percentile(share)) for one in histograms)

    latency, queue = [one.latency for one in points], [one.queue for one in points]
    prediction = [one.prediction for one in points]
    return ServedEntitySeries(
        served_entity_name=served,
        requests=tuple(one.requests for one in points),
        errors_4xx=tuple(one.errors_4xx for one in points),
        errors_5xx=tuple(one.errors_5xx for one in points),
        latency_p50_ms=percentiles(0.5, latency),
        latency_p99_ms=percentiles(0.99, latency),
        queue_p50_ms=percentiles(0.5, queue),
        queue_p99_ms=percentiles(0.99, queue),
        prediction_p50_ms=percentiles(0.5, prediction),
        prediction_p99_ms=percentiles(0.99, prediction),
        cpu_usage_percentage=tuple(_rounded(one.cpu.value) for one in points),
        mem_usage_percentage=tuple(_rounded(one.memory.value) for one in points),
        provisioned_concurrency=tuple(one.provisioned_concurrency for one in points),
        used_concurrency=tuple(one.used_concurrency for one in points),
        cold_starts=tuple(one.cold_starts for one in points),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
