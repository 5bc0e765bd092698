"""Follows the control plane: takes routing changes in, sends reports of replicas back."""

from __future__ import annotations

import asyncio
import logging
import secrets
from pathlib import Path

import aiohttp
from pydantic import TypeAdapter, ValidationError

from moorage.api.metrics import MetricsReport
from moorage.api.routing import (
    INTERNAL_HEADER,
    LoadReport,
    ReplicaFault,
    ReplicaReport,
    RoutingChange,
    RoutingSnapshot,
    RoutingTaken,
)
from moorage.gateway.meters import Meters
from moorage.gateway.routing import RoutingTable

_logger = logging.getLogger(__name__)

_WATCH = "http://localhost/internal/watch"
_TAKEN = "http://localhost/internal/taken"
_REPORT = "http://localhost/internal/report"
_LOAD = "http://localhost/internal/load"
_METRICS = "http://localhost/internal/metrics"
_HEADERS = {INTERNAL_HEADER: "1"}
_RETRY_SECONDS = 0.2
_LOAD_SECONDS = 1.0
_METRICS_SECONDS = 1.0
_LONGEST_LINE = 256 * 1024 * 1024
_SILENCE_SECONDS = 30.0  # the control plane sends an empty line at least every 10 s

_Report = ReplicaReport | LoadReport | MetricsReport | RoutingTaken

_changes: TypeAdapter[RoutingChange] = TypeAdapter(RoutingChange)


def load_snapshot(path: Path, table: RoutingTable) -> None:
    """Begin with the newest snapshot on disk, when there is one."""
    try:
        table.apply(RoutingSnapshot.model_validate_json(path.read_bytes()))
    except FileNotFoundError:
        return
    except (OSError, ValidationError) as error:
        _logger.warning("cannot read the routing snapshot %s: %s", path, error)


class ControlPlaneFollower:
    """Keeps a routing table current for as long as it runs; without the control plane the table stays as it is."""

    def __init__(self, table: RoutingTable, meters: Meters, session: aiohttp.ClientSession, worker: str) -> None:
        self._worker = worker
        self._life = f"{worker}-{secrets.token_hex(4)}"
        self._meters = meters
        self._undelivered: MetricsReport | None = None
        self._metrics_number = 0
        self._load_wanted = asyncio.Event()
        self._taken = RoutingTaken(gateway=self._life, life="", number=-1)
        self._taken_told = asyncio.Event()
        self._table = table
        self._session = session
        self._reports: asyncio.Queue[ReplicaReport] = asyncio.Queue(maxsize=1000)
        self._recent: set[tuple[str, ReplicaFault]] = set()

    def report(self, endpoint: str, replica_id: str, fault: ReplicaFault) -> None:
        """Queue a report; the same one is not queued twice while it waits."""
        key = (replica_id, fault)
        if key in self._recent or self._reports.full():
            return
        self._recent.add(key)
        self._reports.put_nowait(ReplicaReport(endpoint=endpoint, replica_id=replica_id, fault=fault))

    def report_load(self) -> None:
        """Tell the control plane soon, not only at the next second: a request waits for a replica."""
        self._load_wanted.set()

    async def run(self) -> None:
        """Follow and report until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._say_taken())
            group.create_task(self._send_reports())
            group.create_task(self._send_loads())
            group.create_task(self._send_metrics())

    async def _follow(self) -> None:
        connected = True
        while True:
            try:
                timeout = aiohttp.ClientTimeout(total=None, sock_read=_SILENCE_SECONDS)
                async with self._session.get(
                    _WATCH, params={"gateway": self._life}, headers=_HEADERS, timeout=timeout
                ) as stream:
                    stream.raise_for_status()
                    if not connected:
                        _logger.info("the control plane is back")
                    connected = True
                    await self._take_lines(stream)
            except (aiohttp.ClientError, OSError, TimeoutError, ValidationError) as error:
                if connected:
                    cause = type(error).__name__
                    _logger.warning("the control plane is away (%s); serving from the newest snapshot", cause)
                connected = False
            await asyncio.sleep(_RETRY_SECONDS)

    async def _take_lines(self, stream: aiohttp.ClientResponse) -> None:
        rest = bytearray()
        async for chunk in stream.content.iter_any():
            rest += chunk
            if len(rest) > _LONGEST_LINE:
                raise aiohttp.ClientPayloadError("a routing change is too long")
            if b"\n" not in chunk:
                continue
            *lines, last = bytes(rest).split(b"\n")
            rest = bytearray(last)
            for line in lines:
                if line:
                    change = _changes.validate_json(line)
                    self._table.apply(change)
                    life = change.life if isinstance(change, RoutingSnapshot) else self._taken.life
                    self._taken = RoutingTaken(gateway=self._life, life=life, number=change.number)
            self._taken_told.set()

    async def _say_taken(self) -> None:
        """Say how far the routing is taken in; once for all changes that came while the last word was on its way."""
        while True:
            await self._taken_told.wait()
            self._taken_told.clear()
            await self._post(_TAKEN, self._taken)

    async def _send_reports(self) -> None:
        while True:
            report = await self._reports.get()
            await self._post(_REPORT, report)
            self._recent.discard((report.replica_id, report.fault))

    async def _send_loads(self) -> None:
        """What there is to do here, every second in which there is something; once more when it has ended."""
        said = False
        while True:
            try:
                await asyncio.wait_for(self._load_wanted.wait(), _LOAD_SECONDS)
            except TimeoutError:
                pass
            self._load_wanted.clear()
            loads = self._table.loads()
            if loads or said:
                await self._post(_LOAD, LoadReport(gateway=self._worker, loads=tuple(loads)))
            said = bool(loads)

    async def _send_metrics(self) -> None:
        while True:
            await asyncio.sleep(_METRICS_SECONDS)
            await self.send_metrics()

    async def send_metrics(self) -> None:
        """What was counted since the last report; one that was not taken is sent again before anything new."""
        report = self._undelivered
        if report is None:
            counts = self._meters.read()
            if not counts:
                return
            self._metrics_number += 1
            report = MetricsReport(gateway=self._life, number=self._metrics_number, counts=counts)
        self._undelivered = report  # also when this is cancelled on the way
        if await self._post(_METRICS, report):
            self._undelivered = None

    async def _post(self, url: str, report: _Report) -> bool:
        """Whether the control plane has taken the report."""
        timeout = aiohttp.ClientTimeout(total=5)
        body, headers = report.model_dump_json().encode(), {**_HEADERS, "content-type": "application/json"}
        try:
            async with self._session.post(url, headers=headers, data=body, timeout=timeout) as answer:
                await answer.read()
                if answer.status == 200:
                    return True
                _logger.warning("the control plane answers a report with %d", answer.status)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            _logger.warning("a report to the control plane was not delivered: %s", type(error).__name__)
        return False
