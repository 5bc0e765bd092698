"""Follows the control plane: takes routing changes in, sends reports of replicas back."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import aiohttp
from pydantic import TypeAdapter, ValidationError

from moorage.api.routing import INTERNAL_HEADER, ReplicaFault, ReplicaReport, RoutingChange, RoutingSnapshot
from moorage.gateway.routing import RoutingTable

_logger = logging.getLogger(__name__)

_WATCH = "http://localhost/internal/watch"
_REPORT = "http://localhost/internal/report"
_HEADERS = {INTERNAL_HEADER: "1"}
_RETRY_SECONDS = 0.2
_LONGEST_LINE = 256 * 1024 * 1024
_SILENCE_SECONDS = 30.0  # the control plane sends an empty line at least every 10 s

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

    def __init__(self, table: RoutingTable, session: aiohttp.ClientSession) -> None:
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

    async def run(self) -> None:
        """Follow and report until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._send_reports())

    async def _follow(self) -> None:
        connected = True
        while True:
            try:
                timeout = aiohttp.ClientTimeout(total=None, sock_read=_SILENCE_SECONDS)
                async with self._session.get(_WATCH, headers=_HEADERS, timeout=timeout) as stream:
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
                    self._table.apply(_changes.validate_json(line))

    async def _send_reports(self) -> None:
        while True:
            report = await self._reports.get()
            try:
                async with self._session.post(
                    _REPORT, headers=_HEADERS, json=report.model_dump(), timeout=aiohttp.ClientTimeout(total=5)
                ) as answer:
                    await answer.read()
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                _logger.warning("report of replica %s not delivered: %r", report.replica_id, error)
            self._recent.discard((report.replica_id, report.fault))
