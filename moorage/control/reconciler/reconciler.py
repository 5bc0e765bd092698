"""All endpoints' controllers, woken by the API and by what happens to replicas."""

from __future__ import annotations

import asyncio
import logging

from moorage.api.routing import LoadReport, Principal, ReplicaReport, ServedLoad
from moorage.control.reconciler.context import Context, in_thread
from moorage.control.reconciler.endpoint import EndpointController

_logger = logging.getLogger(__name__)

_RELEASE_SECONDS = 60.0


class Reconciler:
    """Implements the API's `Notifier`: its two `*_changed` methods may be called from any thread."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._controllers: dict[str, EndpointController] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._background: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Pick up every endpoint where an earlier control plane left it."""
        context = self._context
        endpoint_ids = await in_thread(context.records.endpoint_ids)
        context.publisher.begin(await in_thread(context.records.tokens, context.clock()), endpoint_ids)
        known = await in_thread(context.records.replica_ids)
        for replica_id in await context.compute.stop_strangers(known):
            _logger.warning("replica %s was not written down; it is stopped", replica_id)
        for endpoint_id in endpoint_ids:
            self._wake(endpoint_id)
        self._background = [
            asyncio.create_task(context.publisher.write_for_ever()),
            asyncio.create_task(self._release_for_ever()),
        ]

    async def close(self, drain_seconds: float) -> None:
        """Stop all work and all replicas."""
        for task in (*self._tasks.values(), *self._background):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), *self._background, return_exceptions=True)
        await asyncio.gather(*(one.close(drain_seconds) for one in self._controllers.values()))
        await self._context.compute.release(frozenset())

    def endpoint_changed(self, endpoint_id: str) -> None:
        """The endpoint's rows were written."""
        self._loop.call_soon_threadsafe(self._wake, endpoint_id)

    def token_changed(self, digest: str, principal: Principal | None) -> None:
        """A token was made or revoked."""
        self._loop.call_soon_threadsafe(self._context.publisher.publish_token, digest, principal)

    def report(self, report: ReplicaReport) -> None:
        """A gateway's word on a replica."""
        for controller in self._controllers.values():
            controller.report(report.replica_id, report.fault)

    def observe_load(self, report: LoadReport) -> None:
        """A gateway's word on the requests it has."""
        by_endpoint: dict[str, dict[str, ServedLoad]] = {}
        for one in report.loads:
            by_endpoint.setdefault(one.endpoint, {})[one.served] = one
        for controller in self._controllers.values():
            controller.observe_load(report.gateway, by_endpoint.get(controller.name or "", {}))

    def _wake(self, endpoint_id: str) -> None:
        controller = self._controllers.get(endpoint_id)
        if controller is None:
            controller = self._controllers[endpoint_id] = EndpointController(self._context, endpoint_id)
            task = asyncio.create_task(controller.run(), name=f"endpoint {endpoint_id}")
            self._tasks[endpoint_id] = task
            task.add_done_callback(lambda _: self._forget(endpoint_id))
        controller.wake()

    def _forget(self, endpoint_id: str) -> None:
        if not self._tasks[endpoint_id].cancelled():
            del self._controllers[endpoint_id], self._tasks[endpoint_id]

    async def _release_for_ever(self) -> None:
        """Let templates go that no deployment needs any more."""
        while True:
            await asyncio.sleep(_RELEASE_SECONDS)
            keys = await in_thread(self._context.records.environment_keys)
            await self._context.compute.release(keys)
