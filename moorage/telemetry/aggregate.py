"""What the gateways and the reconciler counted, added up: since the start, in the last minute, minute by minute."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple

from moorage.api.metrics import BATCH_BUCKETS, DURATION_BUCKETS_MS, MetricsReport, ServedCounts
from moorage.telemetry.histograms import Histogram
from moorage.telemetry.minutes import MINUTE_MS, Minute, MinuteKey

_logger = logging.getLogger(__name__)

COLD_START_BUCKETS_SECONDS: tuple[float, ...] = (
    0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600,
)  # fmt: skip

_LAST_SECONDS = 60
_LOAD_LASTS_SECONDS = 10.0  # a gateway that says nothing for so long has no requests, or is gone
_KNOWN_GATEWAYS = 256
_KNOWN_REPORTS = 256  # of a gateway; it sends one at a time, so that far older ones do not come
_UNWRITTEN_MINUTES = 60


class EntityKey(NamedTuple):
    """A served entity. `served` is empty for requests refused before one was drawn, and then `endpoint_id` too
    for those that named no endpoint."""

    endpoint_id: str
    served: str


class LastMinute(NamedTuple):
    """Requests of the last 60 s."""

    requests: int = 0
    errors_4xx: int = 0
    errors_5xx: int = 0


@dataclass(slots=True)
class EntityCounts:
    """Since the start. `latency`, `queue` and `prediction` are milliseconds, `cold_starts` seconds."""

    statuses: dict[int, int] = field(default_factory=dict)
    latency: Histogram = field(default_factory=lambda: Histogram(DURATION_BUCKETS_MS))
    queue: Histogram = field(default_factory=lambda: Histogram(DURATION_BUCKETS_MS))
    prediction: Histogram = field(default_factory=lambda: Histogram(DURATION_BUCKETS_MS))
    batch: Histogram = field(default_factory=lambda: Histogram(BATCH_BUCKETS))
    cold_starts: Histogram = field(default_factory=lambda: Histogram(COLD_START_BUCKETS_SECONDS))
    restarts: int = 0
    last_minute: LastMinute = field(default_factory=LastMinute)


class EntityGauges(NamedTuple):
    """What a look at an entity's replicas found. `cpu` and `memory` are averages in per cent."""

    cpu: float | None
    memory: float | None
    replicas: int
    provisioned_concurrency: int


class _Entity:
    """The counts of one served entity, and the seconds of its last minute: second, requests, 4xx, 5xx."""

    __slots__ = ("counts", "seconds", "touched")

    def __init__(self) -> None:
        self.counts = EntityCounts()
        self.seconds: deque[tuple[int, int, int, int]] = deque()
        self.touched = 0.0

    def last_minute(self, now: float) -> LastMinute:
        while self.seconds and self.seconds[0][0] <= int(now) - _LAST_SECONDS:
            self.seconds.popleft()
        return LastMinute(*(sum(one[column] for one in self.seconds) for column in (1, 2, 3)))

    def view(self, now: float) -> EntityCounts:
        counts = self.counts
        return EntityCounts(
            statuses=dict(counts.statuses),
            latency=counts.latency.copy(),
            queue=counts.queue.copy(),
            prediction=counts.prediction.copy(),
            batch=counts.batch.copy(),
            cold_starts=counts.cold_starts.copy(),
            restarts=counts.restarts,
            last_minute=self.last_minute(now),
        )


class Aggregate:
    """May be used from any thread. `clock` is milliseconds since the epoch, `elapsed` monotonic seconds."""

    def __init__(self, clock: Callable[[], int], elapsed: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._elapsed = elapsed
        self._lock = threading.Lock()
        self._entities: dict[EntityKey, _Entity] = {}
        self._minutes: dict[MinuteKey, Minute] = {}
        self._reports: OrderedDict[str, deque[int]] = OrderedDict()
        self._loads: dict[str, tuple[float, dict[EntityKey, int]]] = {}

    def add(self, report: MetricsReport) -> bool:
        """Add a report; False when it was added before."""
        with self._lock:
            numbers = self._reports.setdefault(report.gateway, deque(maxlen=_KNOWN_REPORTS))
            self._reports.move_to_end(report.gateway)
            while len(self._reports) > _KNOWN_GATEWAYS:
                self._reports.popitem(last=False)
            if report.number in numbers:
                return False
            numbers.append(report.number)
            for counts in report.counts:
                self._add_counts(counts)
            return True

    def cold_start(self, endpoint_id: str, served: str, seconds: float) -> None:
        """A request found no replica, and `seconds` later there was one."""
        with self._lock:
            self._entity(EntityKey(endpoint_id, served)).counts.cold_starts.observe(seconds)
            self._minute(EntityKey(endpoint_id, served)).cold_starts += 1

    def replica_ended(self, endpoint_id: str, served: str) -> None:
        """A replica ended, or hung, and is started again."""
        with self._lock:
            self._entity(EntityKey(endpoint_id, served)).counts.restarts += 1

    def observe_load(self, gateway: str, loads: Mapping[EntityKey, int]) -> None:
        """A gateway's requests in flight or waiting; an entity that is missing has none."""
        with self._lock:
            now = self._elapsed()
            self._loads = {name: one for name, one in self._loads.items() if now - one[0] <= _LOAD_LASTS_SECONDS}
            self._loads[gateway] = (now, dict(loads))
            together = self._in_flight(now)
            for key, concurrency in loads.items():
                if concurrency:
                    self._minute(key).observe(0, 0, together[key])

    def observe_gauges(self, gauges: Mapping[EntityKey, EntityGauges]) -> None:
        """What a look at the replicas found; entities without any are left out."""
        with self._lock:
            for key, one in gauges.items():
                minute = self._minute(key)
                minute.cpu.add(one.cpu)
                minute.memory.add(one.memory)
                minute.observe(one.replicas, one.provisioned_concurrency, 0)

    def in_flight(self) -> dict[EntityKey, int]:
        """Requests in flight or waiting now, of all gateways."""
        with self._lock:
            return self._in_flight(self._elapsed())

    def counts(self, keys: Iterable[EntityKey] | None = None) -> dict[EntityKey, EntityCounts]:
        """Copies of the counts of these entities, or of all; one that was never counted is left out."""
        with self._lock:
            now = self._elapsed()
            wanted = self._entities if keys is None else [key for key in keys if key in self._entities]
            return {key: self._entities[key].view(now) for key in wanted}

    def take_minutes(self, before: int) -> dict[MinuteKey, Minute]:
        """Hand out the minutes that began before that time (milliseconds since the epoch), to be written."""
        with self._lock:
            taken = {key: minute for key, minute in self._minutes.items() if key.minute < before}
            for key in taken:
                del self._minutes[key]
            return taken

    def put_back(self, minutes: Mapping[MinuteKey, Minute]) -> None:
        """Keep minutes that could not be written, to be taken again; the oldest are let go beyond an hour's."""
        with self._lock:
            for key, minute in minutes.items():
                kept = self._minutes.setdefault(key, minute)
                if kept is not minute:
                    kept.add(minute)
            times = sorted({key.minute for key in self._minutes})
            for late in times[:-_UNWRITTEN_MINUTES]:
                _logger.warning("metrics of the minute at %d could not be written for an hour; they are lost", late)
                self._minutes = {key: minute for key, minute in self._minutes.items() if key.minute != late}

    def unwritten(self, endpoint_id: str) -> dict[MinuteKey, Minute]:
        """Copies of an endpoint's minutes that were not taken yet, the present one among them."""
        with self._lock:
            return {
                key: minute.copy() for key, minute in self._minutes.items() if key.endpoint_id == endpoint_id
            }

    def retain(self, served: Mapping[str, Collection[str]]) -> None:
        """Forget endpoints that are not among these ids, and idle served entities that their endpoint has no more."""
        with self._lock:
            idle = self._elapsed() - _LAST_SECONDS

            def stays(key: EntityKey, touched: float) -> bool:
                if not key.endpoint_id:
                    return True
                names = served.get(key.endpoint_id)
                return names is not None and (not key.served or key.served in names or touched > idle)

            self._entities = {key: one for key, one in self._entities.items() if stays(key, one.touched)}
            self._minutes = {key: one for key, one in self._minutes.items() if key.endpoint_id in served}

    def _add_counts(self, counts: ServedCounts) -> None:
        key = EntityKey(counts.endpoint_id, counts.served)
        entity = self._entity(key)
        total = entity.counts
        for status, count in counts.statuses.items():
            total.statuses[status] = total.statuses.get(status, 0) + count
        measured = (
            (total.latency, counts.latency),
            (total.queue, counts.queue),
            (total.prediction, counts.prediction),
            (total.batch, counts.batch),
        )
        fit = all(histogram.fits(one) for histogram, one in measured)
        if fit:
            for histogram, one in measured:
                histogram.add(one)
        else:
            # Refused, the report would be sent again for ever.
            _logger.warning("a gateway of another version counts in other buckets; its times are left out")
        seen = Minute()
        seen.add_statuses(counts.statuses)
        entity.seconds.append((int(self._elapsed()), seen.requests, seen.errors_4xx, seen.errors_5xx))
        entity.last_minute(self._elapsed())
        if key.endpoint_id:
            minute = self._minute(key)
            minute.add_statuses(counts.statuses)
            if fit:
                minute.latency.add(counts.latency)
                minute.queue.add(counts.queue)
                minute.prediction.add(counts.prediction)
                minute.batch_total += counts.batch.total
                minute.batch_count += counts.batch.count

    def _entity(self, key: EntityKey) -> _Entity:
        entity = self._entities.get(key)
        if entity is None:
            entity = self._entities[key] = _Entity()
        entity.touched = self._elapsed()
        return entity

    def _minute(self, key: EntityKey) -> Minute:
        """The present minute of an entity."""
        now = self._clock()
        position = MinuteKey(*key, now - now % MINUTE_MS)
        minute = self._minutes.get(position)
        if minute is None:
            minute = self._minutes[position] = Minute()
        return minute

    def _in_flight(self, now: float) -> dict[EntityKey, int]:
        together: dict[EntityKey, int] = {}
        for at, loads in self._loads.values():
            if now - at <= _LOAD_LASTS_SECONDS:
                for key, concurrency in loads.items():
                    together[key] = together.get(key, 0) + concurrency
        return together
