"""What a deployment goes through, written down: its phase in the database, its events, its build log."""

from __future__ import annotations

import logging
from collections.abc import Callable

from moorage.control.crash_points import CrashPoint, crash_point
from moorage.control.lifecycle import DeploymentPhase, Trigger
from moorage.control.reconciler.context import Context, in_thread
from moorage.control.reconciler.records import DeploymentRecord, EndpointRecord
from moorage.environments.log import BuildLog

_logger = logging.getLogger(__name__)


class DeploymentJournal:
    """One deployment's. `changed` is called when its phase has moved."""

    def __init__(
        self, context: Context, endpoint: EndpointRecord, record: DeploymentRecord, changed: Callable[[], None]
    ) -> None:
        self._context = context
        self._endpoint = endpoint
        self._record = record
        self._changed = changed
        self.phase = record.phase
        self.log = BuildLog(context.data.build_log(record.id))

    async def advance(self, trigger: Trigger, message: str = "") -> None:
        """Move the phase; a trigger that means nothing in it is ignored, as the result of a stale task."""
        phase = await in_thread(self._context.records.advance, self._record.id, trigger, message)
        if phase is None or phase is self.phase:
            return
        self.phase = phase
        crash_point(CrashPoint.PHASE_MOVED)
        status = "FAILED" if phase is DeploymentPhase.FAILED else "SUCCESS"
        await self.event(f"SERVED_ENTITY_{phase.value}", status, trigger.value, message or phase.value)
        self._changed()

    async def event(self, event_type: str, status: str, trigger: str, message: str) -> None:
        """Record something that happened."""
        name = self._record.served_name
        _logger.info("%s/%s: %s: %s", self._endpoint.name, name, event_type, message.partition("\n")[0])
        await in_thread(
            self._context.records.add_event,
            self._endpoint,
            name,
            event_type,
            status,
            trigger,
            message,
            self._context.clock(),
        )
