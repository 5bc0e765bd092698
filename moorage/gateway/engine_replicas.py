"""The replicas of engines: one is chosen for each request, and waited for where there is none."""

from __future__ import annotations

import time
from typing import Protocol

from moorage.api.errors import TemporarilyUnavailable
from moorage.api.routing import Availability, ReplicaFault
from moorage.gateway.http_client import Origin
from moorage.gateway.routing import EngineLink, RoutingTable, Served
from moorage.settings import Settings


class Reports(Protocol):
    """What a gateway tells the control plane at once."""

    def report(self, endpoint: str, replica_id: str, fault: ReplicaFault) -> None:
        """A replica needs a look."""
        ...

    def report_load(self) -> None:
        """A request waits for a replica."""
        ...


class EngineReplicas:
    """Used by one gateway worker."""

    def __init__(self, settings: Settings, table: RoutingTable, reports: Reports) -> None:
        self._settings = settings
        self._table = table
        self._reports = reports

    async def pick(self, endpoint: str, served: Served, avoid: EngineLink | None) -> EngineLink:
        """The replica with the fewest requests, not `avoid`; one that comes up within the time that takes.

        Raises:
            TemporarilyUnavailable: none does.
        """
        link = served.pick_engine(avoid)
        if link is not None:
            return link
        self._reports.report_load()
        until = time.monotonic() + self._settings.replica_wait_seconds
        while (remaining := until - time.monotonic()) > 0:
            await self._table.change(remaining)
            current = self._table.endpoints.get(endpoint)
            if current is None or current.route.availability is not Availability.SERVING:
                break
            now = current.served.get(served.name)
            served = now or served
            link = now.pick_engine(avoid) if now is not None else None
            if link is not None:
                return link
        words = f"No replica of '{served.name}' is up at the moment. {served.route.not_ready or ''}"
        raise TemporarilyUnavailable(words.rstrip(), retry_after_seconds=5)

    def gone(self, endpoint: str, link: EngineLink) -> None:
        """The replica did not take a request: the control plane has a look at it."""
        self._reports.report(endpoint, link.replica_id, ReplicaFault.UNREACHABLE)


def origin_of(link: EngineLink) -> Origin:
    """Where its requests go."""
    return Origin(link.address, 0, False)
