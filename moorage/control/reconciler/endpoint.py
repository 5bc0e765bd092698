"""One endpoint: which deployments are wanted, when the pending configuration takes over, where requests go."""

from __future__ import annotations

import asyncio
import logging
import shutil

from moorage.api.routing import Availability, EndpointRoute, ReplicaFault, ServedLoad, ServedRoute
from moorage.control.lifecycle import DeploymentPhase, Trigger
from moorage.control.reconciler.context import Context, in_thread
from moorage.control.reconciler.deployment import DeploymentRunner
from moorage.control.reconciler.records import EndpointRecord

_logger = logging.getLogger(__name__)

_LONGEST_RETRY_SECONDS = 30.0
_ROUTE_SETTLES_SECONDS = 0.5  # by then every gateway has taken a change of the routing in

_UP = (DeploymentPhase.READY, DeploymentPhase.RECOVERING)
_LEFT = (DeploymentPhase.RETIRING, DeploymentPhase.RETIRED)
_ENDED = (DeploymentPhase.FAILED, DeploymentPhase.ABORTED, *_LEFT)


class EndpointController:
    """Reconciles one endpoint whenever it is woken, one pass at a time."""

    def __init__(self, context: Context, endpoint_id: str) -> None:
        self._context = context
        self._id = endpoint_id
        self._woken = asyncio.Event()
        self._runners: dict[str, DeploymentRunner] = {}
        self._active: dict[str, DeploymentRunner] = {}
        self._stopping: dict[str, asyncio.Task[None]] = {}
        self._name: str | None = None

    def wake(self) -> None:
        """Have another pass, soon."""
        self._woken.set()

    def report(self, replica_id: str, fault: ReplicaFault) -> None:
        """A gateway's word on a replica."""
        for runner in self._runners.values():
            runner.report(replica_id, fault)

    @property
    def name(self) -> str | None:
        """The endpoint's name, once a pass has read it."""
        return self._name

    def observe_load(self, gateway: str, loads: dict[str, ServedLoad]) -> None:
        """A gateway's counts by served name; one that is missing has no requests."""
        for runner in self._active.values():
            load = loads.get(runner.served_name)
            runner.observe_load(gateway, load.concurrency if load else 0, load.requests if load else 0)

    async def run(self) -> None:
        """Reconcile until the endpoint is gone. A pass that fails is repeated, more and more rarely."""
        retry = 0.5
        while True:
            self._woken.clear()
            try:
                if await self._reconcile():
                    return
                retry = 0.5
            except Exception:
                _logger.exception("endpoint %s: the pass failed; again in %.1f s", self._name or self._id, retry)
                await asyncio.sleep(retry)
                retry = min(2 * retry, _LONGEST_RETRY_SECONDS)
                continue
            await self._woken.wait()

    async def close(self, drain_seconds: float) -> None:
        """Stop every replica; the database keeps what is wanted."""
        for task in self._stopping.values():
            task.cancel()
        await asyncio.gather(*self._stopping.values(), return_exceptions=True)
        await asyncio.gather(*(runner.stop(drain_seconds) for runner in self._runners.values()))

    async def _reconcile(self) -> bool:
        """One pass. True when the endpoint is no more."""
        record = await in_thread(self._context.records.endpoint, self._id)
        if record is None:
            self._publish_none()
            return True
        self._name = record.name
        if record.deleting:
            return await self._delete(record)
        if await self._settle(record):
            record = await in_thread(self._context.records.endpoint, self._id)
            if record is None:
                return False
        wanted = _wanted(record)
        for deployment_id in wanted - self._runners.keys():
            runner = DeploymentRunner(self._context, record, record.deployments[deployment_id], self.wake)
            self._runners[deployment_id] = runner
            runner.start()
        self._publish(record)
        for deployment_id in record.deployments.keys() - wanted:
            await self._leave(record, deployment_id)
        return False

    async def _leave(self, record: EndpointRecord, deployment_id: str) -> None:
        """Take down a deployment that is not wanted; that of a failed update stays to be looked at."""
        phase = record.deployments[deployment_id].phase
        if deployment_id not in record.pending.values() and phase not in _LEFT:
            await in_thread(self._context.records.advance, deployment_id, Trigger.CONFIG_REPLACED)
        if deployment_id in self._runners:
            self._retire(deployment_id)
        elif phase is DeploymentPhase.RETIRING and deployment_id not in self._stopping:
            # An earlier control plane was about to.
            for replica in await in_thread(self._context.records.replicas, deployment_id):
                await self._context.compute.stop_replica(replica, self._context.settings.drain_seconds)
                await in_thread(self._context.records.remove_replica, replica.replica_id)
            await in_thread(self._context.records.advance, deployment_id, Trigger.REPLICAS_GONE)

    async def _settle(self, record: EndpointRecord) -> bool:
        """Finish the update in progress when its outcome is known. Whether it was."""
        if record.config_update != "IN_PROGRESS" or not record.pending:
            return False
        now = self._context.clock()
        pending = [record.deployments[one] for one in record.pending.values()]
        failed = [one for one in pending if one.phase is DeploymentPhase.FAILED]
        if failed:
            for one in pending:
                if one.phase not in _ENDED and one.id not in record.active.values():
                    why = f"Aborted: served entity '{failed[0].served_name}' failed."
                    await in_thread(self._context.records.advance, one.id, Trigger.SIBLING_FAILED, why)
            await in_thread(self._context.records.fail_update, self._id, now)
            words = f"The update failed. {failed[0].served_name}: {failed[0].message}"
            await self._event(record, "CONFIG_UPDATE_FAILED", "FAILED", Trigger.STEP_FAILED, words)
            return True
        if all(one.phase is DeploymentPhase.READY for one in pending):
            if await in_thread(self._context.records.switch, self._id, now):
                words = "The configuration serves."
                await self._event(record, "CONFIG_UPDATE_SUCCEEDED", "SUCCESS", Trigger.REPLICAS_READY, words)
            return True
        return False

    def _publish(self, record: EndpointRecord) -> None:
        if any(one in self._runners and not self._runners[one].adopted for one in record.active.values()):
            return  # it is still asking who is alive; the route of before holds, and it wakes this when it knows
        served = tuple(
            ServedRoute(
                name=name,
                traffic_percentage=record.active_traffic.get(name, 0),
                replicas=self._runners[deployment_id].replicas if deployment_id in self._runners else (),
            )
            for name, deployment_id in record.active.items()
        )
        self._active = {
            one: self._runners[one] for one in record.active.values() if one in self._runners
        }
        phases = [record.deployments[one].phase for one in record.active.values()]
        serving = any(phase in _UP for phase in phases) or any(one.replicas for one in served)
        message = ""
        if not serving:
            blamed = [*record.pending.values(), *record.active.values()]
            message = next((record.deployments[one].message for one in blamed if record.deployments[one].message), "")
        availability = Availability.SERVING if serving else Availability.NOT_READY
        if record.stopped:
            availability = Availability.STOPPED
        route = EndpointRoute(
            name=record.name,
            id=record.id,
            availability=availability,
            message=message.partition("\n")[0],
            served=served,
            managers=frozenset({record.creator_id}),
            queriers=frozenset({record.creator_id}),
        )
        self._context.publisher.publish_endpoint(record.name, route)

    def _publish_none(self) -> None:
        """Take the route away, unless a new endpoint of the same name has it already."""
        if self._name is not None and self._context.publisher.owner_of(self._name) == self._id:
            self._context.publisher.publish_endpoint(self._name, None)

    def _retire(self, deployment_id: str) -> None:
        """Stop a deployment that no request is sent to any more, beside whatever else goes on."""
        runner = self._runners.pop(deployment_id)

        async def stop() -> None:
            await asyncio.sleep(_ROUTE_SETTLES_SECONDS)
            await runner.stop(self._context.settings.drain_seconds)
            await in_thread(self._context.records.advance, deployment_id, Trigger.REPLICAS_GONE)
            del self._stopping[deployment_id]

        self._stopping[deployment_id] = asyncio.create_task(stop())

    async def _delete(self, record: EndpointRecord) -> bool:
        self._publish_none()
        runners, self._runners = self._runners, {}
        for deployment_id in record.deployments:
            await in_thread(self._context.records.advance, deployment_id, Trigger.ENDPOINT_DELETED)
        if runners:
            await asyncio.sleep(_ROUTE_SETTLES_SECONDS)
        drain = self._context.settings.drain_seconds
        await asyncio.gather(*(runner.stop(drain) for runner in runners.values()), *self._stopping.values())
        for deployment_id in record.deployments:
            for replica in await in_thread(self._context.records.replicas, deployment_id):
                await self._context.compute.stop_replica(replica, 1.0)
            folder = self._context.data.deployment(deployment_id)
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        words = "The endpoint and its replicas are gone."
        await self._event(record, "ENDPOINT_DELETED", "SUCCESS", Trigger.ENDPOINT_DELETED, words)
        await in_thread(self._context.records.remove_endpoint, self._id)
        return True

    async def _event(
        self, record: EndpointRecord, event_type: str, status: str, trigger: Trigger, message: str
    ) -> None:
        _logger.info("%s: %s: %s", record.name, event_type, message.partition("\n")[0])
        await in_thread(
            self._context.records.add_event,
            record,
            None,
            event_type,
            status,
            trigger.value,
            message,
            self._context.clock(),
        )


def _wanted(record: EndpointRecord) -> set[str]:
    """The deployments that are to run: those of the serving configuration and of an update in progress."""
    if record.stopped:
        return set()
    ids = set(record.active.values())
    if record.config_update == "IN_PROGRESS":
        ids |= set(record.pending.values())
    return {one for one in ids if record.deployments[one].phase not in (DeploymentPhase.ABORTED, *_LEFT)}
