"""All endpoints' controllers, woken by the API and by what happens to replicas."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any

from moorage.api.routing import LoadReport, Principal, ReplicaReport, ServedLoad
from moorage.control.model_accounts import model_uid
from moorage.control.reconciler.context import Context, in_thread
from moorage.control.reconciler.endpoint import EndpointController
from moorage.control.reconciler.records import EndpointRecord

_logger = logging.getLogger(__name__)

_RELEASE_SECONDS = 60.0
_TAKEN_SECONDS = 2.0
_ROUTED_SECONDS = 0.5


class Reconciler:
    """Implements the API's `Notifier`: those methods may be called from any thread."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._controllers: dict[str, EndpointController] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._background: list[asyncio.Task[None]] = []
        self._reading_principals = asyncio.Lock()
        self._loaded: dict[str, set[str]] = {}  # names of the endpoints in a gateway's last report

    async def start(self) -> None:
        """Pick up every endpoint where an earlier control plane left it."""
        context = self._context
        records = await in_thread(context.records.endpoints)
        tokens = await in_thread(context.records.tokens, context.clock())
        context.publisher.begin(tokens, [record.id for record in records])
        await in_thread(context.entities.write, records)
        known = await in_thread(context.records.replica_ids)
        for replica_id in await context.compute.stop_strangers(known):
            _logger.warning("replica %s was not written down; it is stopped", replica_id)
        for record in records:
            self._wake(record.id, record)
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

    def wait_until_routed(self, endpoint_id: str) -> None:
        """The endpoint's rows were written: block until every gateway works by them, half a second at most."""
        self._wait_for(self._routed([endpoint_id]))

    def secrets_changed(self, scope: str) -> None:
        """Read the credentials of that scope again, and block until every gateway works by them."""
        self._wait_for(self._read_secrets(scope))

    def token_changed(self, digest: str, principal: Principal | None) -> None:
        """A token was made or revoked."""
        self._loop.call_soon_threadsafe(self._context.publisher.publish_token, digest, principal)

    def principals_changed(self) -> None:
        """Read again whom every token stands for, and block until every gateway works by it."""
        self._wait_for(self._read_principals())

    def wait_until_taken(self) -> None:
        """Block until every gateway works by what was told so far; one that is silent is waited for half a second."""
        self._wait_for(self._context.publisher.all_taken())

    async def _read_principals(self) -> bool:
        async with self._reading_principals:  # one after the other, so that the newest is told last
            context = self._context
            context.publisher.begin_reading()
            context.publisher.replace_tokens(await in_thread(context.records.tokens, context.clock()))
        for controller in self._controllers.values():
            if controller.names_principals or controller.secret_scopes:  # or on what its creator may read
                controller.wake()
        return await context.publisher.all_taken()

    async def _read_secrets(self, scope: str) -> bool:
        concerned = [one for one, controller in self._controllers.items() if scope in controller.secret_scopes]
        return await self._routed(concerned) if concerned else True

    async def _routed(self, endpoint_ids: Iterable[str]) -> bool:
        """Have a pass of each. False: one has not come to its end, or a gateway not taken it in, in time."""
        try:
            async with asyncio.timeout(_ROUTED_SECONDS):
                return all(await asyncio.gather(*(self._wake(one).routed() for one in endpoint_ids)))
        except TimeoutError:
            return False

    def _wait_for(self, taken: Coroutine[Any, Any, bool]) -> None:
        try:
            done = asyncio.run_coroutine_threadsafe(taken, self._loop).result(_TAKEN_SECONDS)
        except TimeoutError:  # this process is stopping
            done = False
        if not done:
            _logger.warning("a gateway is slow to take changes of the routing in")

    def report(self, report: ReplicaReport) -> None:
        """A gateway's word on a replica."""
        for controller in self._controllers.values():
            controller.report(report.replica_id, report.fault)

    def observe_load(self, report: LoadReport) -> None:
        """A gateway's word on the requests it has."""
        by_endpoint: dict[str, dict[str, ServedLoad]] = {}
        for one in report.loads:
            by_endpoint.setdefault(one.endpoint, {})[one.served] = one
        concerned = by_endpoint.keys() | self._loaded.get(report.gateway, set())
        for controller in self._controllers.values():
            if controller.name in concerned:
                controller.observe_load(report.gateway, by_endpoint.get(controller.name, {}))
        self._loaded[report.gateway] = set(by_endpoint)

    def _wake(self, endpoint_id: str, record: EndpointRecord | None = None) -> EndpointController:
        """Have a pass; `record` is what the database says now, where that is known."""
        controller = self._controllers.get(endpoint_id)
        if controller is None:
            controller = self._controllers[endpoint_id] = EndpointController(self._context, endpoint_id, record)
            task = asyncio.create_task(controller.run(), name=f"endpoint {endpoint_id}")
            self._tasks[endpoint_id] = task
            task.add_done_callback(lambda _: self._forget(endpoint_id))
        controller.wake()
        return controller

    def _forget(self, endpoint_id: str) -> None:
        if not self._tasks[endpoint_id].cancelled():
            del self._controllers[endpoint_id], self._tasks[endpoint_id]

    async def _release_for_ever(self) -> None:
        """Let templates go that no deployment needs any more."""
        while True:
            await asyncio.sleep(_RELEASE_SECONDS)
            used = await in_thread(self._context.records.environments)
            users = {creator: await model_uid(self._context, creator) for creator in {one for _, one in used}}
            await self._context.compute.release(frozenset((key, users[creator]) for key, creator in used))
