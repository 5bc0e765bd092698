"""Takes in what gateways and the reconciler count, looks at replicas, and writes each minute down."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from moorage.api.metrics import MetricsReport
from moorage.api.routing import EndpointRoute, LoadReport
from moorage.api.workloads import CONCURRENCY_PER_REPLICA, DEFAULT_REPLICA_MEMORY_BYTES
from moorage.control.reconciler.context import in_thread
from moorage.control.store import metric_minutes
from moorage.control.store.engine import Sessions, reading
from moorage.control.store.models import Deployment, Replica
from moorage.telemetry.aggregate import Aggregate, EntityGauges, EntityKey
from moorage.telemetry.minutes import MINUTE_MS
from moorage.telemetry.usage import Process, Usage, UsageSampler

_logger = logging.getLogger(__name__)

_LOOK_SECONDS = 10.0
_USAGE_LASTS_SECONDS = 60.0
_KEPT_MS = 14 * 24 * 3600 * 1000
_DELETED_AT_A_TIME = 5000


class Telemetry:
    """Implements the reconciler's `Telemetry`. Its methods may be called from any thread.

    `routes` answers every endpoint's route by name, `clock` milliseconds since the epoch, `elapsed` monotonic
    seconds.
    """

    def __init__(
        self,
        sessions: Sessions,
        routes: Callable[[], Mapping[str, EndpointRoute]],
        sampler: UsageSampler,
        clock: Callable[[], int],
        elapsed: Callable[[], float] = monotonic,
        replica_memory_bytes: int = DEFAULT_REPLICA_MEMORY_BYTES,
    ) -> None:
        self._sessions = sessions
        self.routes = routes
        self._sampler = sampler
        self._clock = clock
        self._elapsed = elapsed
        self._room = replica_memory_bytes
        self.aggregate = Aggregate(clock, elapsed)
        self._usage: dict[str, Usage] = {}
        self._gauges: dict[EntityKey, EntityGauges] = {}
        self._memory: dict[EntityKey, int] = {}
        self._looked_at = elapsed()
        self._written = threading.Lock()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Look at replicas and write minutes from now on; returns at once."""
        self._tasks = [asyncio.create_task(self._look_for_ever()), asyncio.create_task(self._write_for_ever())]

    async def close(self) -> None:
        """Write what the present minute has so far."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await in_thread(self.write_minutes, self._clock() + MINUTE_MS)

    def add(self, report: MetricsReport) -> None:
        """A gateway's counts; a report that was added before is ignored."""
        self.aggregate.add(report)
        ready = self._ready_replicas({one.endpoint for one in report.counts})
        counted = {EntityKey(one.endpoint_id, one.served) for one in report.counts}
        # A replica may be gone again before the next look.
        self.aggregate.observe_gauges({key: self._gauges_of((), ready[key]) for key in counted & ready.keys()})

    def observe_load(self, report: LoadReport) -> None:
        """A gateway's word on the requests it has."""
        routes = self.routes()
        loads: dict[EntityKey, int] = {}
        for one in report.loads:
            route = routes.get(one.endpoint)
            if route is not None:
                loads[EntityKey(route.id, one.served)] = one.concurrency
        self.aggregate.observe_load(report.gateway, loads)

    def cold_start(self, endpoint_id: str, served_name: str, seconds: float) -> None:
        self.aggregate.cold_start(endpoint_id, served_name, seconds)

    def replica_ended(self, endpoint_id: str, served_name: str) -> None:
        self.aggregate.replica_ended(endpoint_id, served_name)

    def usage(self) -> Mapping[str, Usage]:
        """By replica id, as the last look found it."""
        return self._usage if self._is_recent() else {}

    def gauges(self) -> Mapping[EntityKey, EntityGauges]:
        """Of the entities that had a replica at the last look."""
        return self._gauges if self._is_recent() else {}

    def memory_bytes(self) -> Mapping[EntityKey, int]:
        """Of all replicas of an entity together, as the last look found it."""
        return self._memory if self._is_recent() else {}

    @contextmanager
    def nothing_written(self) -> Iterator[None]:
        """For the time of the block each minute is either in the database or in the aggregate."""
        with self._written:
            yield

    def look(self) -> None:
        """Look once at CPU and memory of every live replica."""
        with reading(self._sessions) as session:
            rows = session.execute(
                select(
                    Replica.id, Replica.pid, Replica.started_at, Deployment.endpoint_id, Deployment.served_name
                )
                .join(Deployment, Deployment.id == Replica.deployment_id)
                .where(Replica.pid.is_not(None), Replica.started_at.is_not(None))
            ).all()
        usage = self._sampler.look(Process(row.id, row.pid, row.started_at) for row in rows)
        found: dict[EntityKey, list[Usage]] = {}
        for row in rows:
            if row.id in usage:
                found.setdefault(EntityKey(row.endpoint_id, row.served_name), []).append(usage[row.id])
        ready = self._ready_replicas()
        gauges = {key: self._gauges_of(found.get(key, ()), ready.get(key, 0)) for key in found.keys() | ready.keys()}
        self.aggregate.observe_gauges(gauges)
        self._usage, self._gauges, self._looked_at = usage, gauges, self._elapsed()
        self._memory = {key: sum(one.memory_bytes for one in of_entity) for key, of_entity in found.items()}

    def write_minutes(self, before: int) -> None:
        """Write the minutes that began before that time, and delete those that are kept no longer.

        What cannot be written is kept for the next time. With nothing to write or delete the database is not
        locked.
        """
        self.aggregate.retain({route.id: {one.name for one in route.served} for route in self.routes().values()})
        horizon = self._clock() - _KEPT_MS
        with self._written:
            minutes = self.aggregate.take_minutes(before)
            try:
                with reading(self._sessions) as session:
                    old = metric_minutes.any_before(session, horizon)
                if minutes or old:
                    with self._sessions.begin() as session:
                        metric_minutes.add(session, minutes)
                        metric_minutes.delete_before(session, horizon, _DELETED_AT_A_TIME)
            except Exception as error:
                self.aggregate.put_back(minutes)
                if not isinstance(error, SQLAlchemyError):
                    raise
                reason = getattr(error, "orig", None) or error
                _logger.warning("metrics cannot be written; they are tried again in a minute: %s", reason)

    async def _look_for_ever(self) -> None:
        while True:
            try:
                await in_thread(self.look)
            except Exception:
                _logger.exception("replicas cannot be looked at; it is tried again")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _write_for_ever(self) -> None:
        while True:
            now = self._clock()
            await asyncio.sleep((MINUTE_MS - now % MINUTE_MS) / 1000)
            now = self._clock()
            try:
                await in_thread(self.write_minutes, now - now % MINUTE_MS)
            except Exception:
                _logger.exception("metrics cannot be written; they are tried again")

    def _ready_replicas(self, names: Collection[str] | None = None) -> dict[EntityKey, int]:
        """How many replicas take requests, by entity with any, of these endpoints or of all."""
        routes = self.routes()
        wanted = routes.values() if names is None else [routes[name] for name in names if name in routes]
        return {
            EntityKey(route.id, served.name): len(served.replicas)
            for route in wanted
            for served in route.served
            if served.replicas
        }

    def _is_recent(self) -> bool:
        return self._elapsed() - self._looked_at <= _USAGE_LASTS_SECONDS

    def _gauges_of(self, usage: Sequence[Usage], ready: int) -> EntityGauges:
        shares = [one.cpu_percentage for one in usage if one.cpu_percentage is not None]
        memory = [one.memory_bytes / self._room * 100 for one in usage]
        return EntityGauges(
            cpu=sum(shares) / len(shares) if shares else None,
            memory=sum(memory) / len(memory) if memory else None,
            replicas=ready,
            provisioned_concurrency=ready * CONCURRENCY_PER_REPLICA,
        )
