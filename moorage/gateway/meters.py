"""Counts of what this gateway worker answered, a meter for each served entity."""

from __future__ import annotations

from bisect import bisect_left

from moorage.api.metrics import BATCH_BUCKETS, DURATION_BUCKETS_MS, Distribution, ServedCounts

_DURATION_BUCKETS = len(DURATION_BUCKETS_MS) + 1
_SECONDS_TO_MS = 1000.0
_MICROSECONDS_TO_MS = 0.001


class Meter:
    """What was counted of one served entity since it was last read."""

    __slots__ = (
        "_batch", "_batch_total", "_endpoint", "_endpoint_id", "_latency", "_latency_total", "_meters",
        "_prediction", "_prediction_total", "_queue", "_queue_total", "_served", "_statuses", "_touched",
    )  # fmt: skip

    def __init__(self, meters: Meters, endpoint: str, endpoint_id: str, served: str) -> None:
        self._meters = meters
        self._endpoint = endpoint
        self._endpoint_id = endpoint_id
        self._served = served
        self._touched = False
        self._clear()

    def _clear(self) -> None:
        self._statuses: dict[int, int] = {}
        self._latency = [0] * _DURATION_BUCKETS
        self._latency_total = 0.0
        self._queue = [0] * _DURATION_BUCKETS
        self._queue_total = 0.0
        self._prediction = [0] * _DURATION_BUCKETS
        self._prediction_total = 0.0
        self._batch = [0] * (len(BATCH_BUCKETS) + 1)
        self._batch_total = 0

    def refused(self, status: int, seconds: float) -> None:
        """An answer that no model gave, `seconds` after its request came."""
        if not self._touched:
            self._touched = True
            self._meters.touched.append(self)
        self._statuses[status] = self._statuses.get(status, 0) + 1
        latency = seconds * _SECONDS_TO_MS
        self._latency[bisect_left(DURATION_BUCKETS_MS, latency)] += 1
        self._latency_total += latency

    def answered(
        self, status: int, seconds: float, waited: float, queue_us: int, predict_us: int, batch: int
    ) -> None:
        """An answer of a model.

        `seconds` is the whole request, `waited` the part of it before it was sent to the replica; the other times
        are the replica's, in microseconds.
        """
        self.refused(status, seconds)
        queue = waited * _SECONDS_TO_MS + queue_us * _MICROSECONDS_TO_MS
        prediction = predict_us * _MICROSECONDS_TO_MS
        self._queue[bisect_left(DURATION_BUCKETS_MS, queue)] += 1
        self._queue_total += queue
        self._prediction[bisect_left(DURATION_BUCKETS_MS, prediction)] += 1
        self._prediction_total += prediction
        self._batch[bisect_left(BATCH_BUCKETS, batch)] += 1
        self._batch_total += batch

    def read(self) -> ServedCounts:
        """What was counted since the last call."""
        counts = ServedCounts(
            endpoint=self._endpoint,
            endpoint_id=self._endpoint_id,
            served=self._served,
            statuses=self._statuses,
            latency=Distribution(counts=tuple(self._latency), total=self._latency_total),
            queue=Distribution(counts=tuple(self._queue), total=self._queue_total),
            prediction=Distribution(counts=tuple(self._prediction), total=self._prediction_total),
            batch=Distribution(counts=tuple(self._batch), total=self._batch_total),
        )
        self._touched = False
        self._clear()
        return counts


class Meters:
    """The meters that have counted something."""

    def __init__(self) -> None:
        self.touched: list[Meter] = []

    def meter(self, endpoint: str, endpoint_id: str, served: str) -> Meter:
        return Meter(self, endpoint, endpoint_id, served)

    def read(self) -> tuple[ServedCounts, ...]:
        """What was counted since the last call, also by meters of entities that have gone since."""
        touched, self.touched = self.touched, []
        return tuple(meter.read() for meter in touched)
