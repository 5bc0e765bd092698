"""One endpoint: which deployments are wanted, when the pending configuration takes over, where requests go."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from moorage.api.ai_gateway import AiGateway
from moorage.api.endpoints import PermissionLevel
from moorage.api.engines import Engine
from moorage.api.external_models import ExternalTask
from moorage.api.routing import (
    Availability,
    EndpointRoute,
    ExternalRoute,
    LegacyRoute,
    ReplicaFault,
    ServedLoad,
    ServedRoute,
)
from moorage.api.served_entities import CustomModelSpec, EngineModelSpec, EntityKind, EntitySpec, ExternalModelSpec
from moorage.control.captures import captures
from moorage.control.crash_points import CrashPoint, crash_point
from moorage.control.lifecycle import DeploymentPhase, Trigger
from moorage.control.reconciler.context import Context, in_thread
from moorage.control.reconciler.deployment import DeploymentRunner
from moorage.control.reconciler.external import ExternalRoutes, external_models, secret_scopes
from moorage.control.reconciler.records import DeploymentRecord, EndpointRecord

_logger = logging.getLogger(__name__)

_FIRST_RETRY_SECONDS = 0.5
_LONGEST_RETRY_SECONDS = 30.0
_GATEWAYS_COME_BACK_SECONDS = 0.5  # after a restart of the control plane

_NO_EXTERNAL: Mapping[str, ExternalRoute] = MappingProxyType({})
_UP = (DeploymentPhase.READY, DeploymentPhase.RECOVERING)
_LEFT = (DeploymentPhase.RETIRING, DeploymentPhase.RETIRED)
_ENDED = (DeploymentPhase.FAILED, DeploymentPhase.ABORTED, *_LEFT)


class EndpointController:
    """Reconciles one endpoint whenever it is woken, one pass at a time."""

    def __init__(self, context: Context, endpoint_id: str, record: EndpointRecord | None = None) -> None:
        """`record`, where it is given, is what the first pass works on instead of asking the database."""
        self._context = context
        self._id = endpoint_id
        self._first_record = record
        self._woken = asyncio.Event()
        self._runners: dict[str, DeploymentRunner] = {}
        self._active: dict[str, DeploymentRunner] = {}
        self._stopping: dict[str, asyncio.Task[None]] = {}
        self._name: str | None = None
        self.names_principals = False  # whether what it publishes depends on what principals are called
        self.secret_scopes: frozenset[str] = frozenset()  # whose secrets it publishes
        self._external = ExternalRoutes(context.secrets, context.encryption)
        self._passes_begun = 0
        self._passes_ended = 0
        self._pass_ended = asyncio.Event()
        self._leaving = False

    def wake(self) -> None:
        """Have another pass, soon."""
        self._woken.set()

    async def routed(self) -> bool:
        """Have a pass, and return when every gateway works by what it published. False: one was silent."""
        wanted = self._passes_begun + 1  # one that has begun may have looked too early
        self.wake()
        while self._passes_ended < wanted and not self._leaving:
            await self._pass_ended.wait()
        return await self._context.publisher.all_taken()

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
        retry = _FIRST_RETRY_SECONDS
        while True:
            self._woken.clear()
            self._passes_begun += 1
            try:
                if await self._reconcile():
                    return
                retry = _FIRST_RETRY_SECONDS
                self._passes_ended = self._passes_begun
                self._tell_pass_ended()
            except Exception:
                _logger.exception("endpoint %s: the pass failed; again in %.1f s", self._name or self._id, retry)
                await asyncio.sleep(retry)
                retry = min(2 * retry, _LONGEST_RETRY_SECONDS)
                continue
            await self._woken.wait()

    def _tell_pass_ended(self) -> None:
        self._pass_ended.set()
        self._pass_ended = asyncio.Event()

    async def close(self, drain_seconds: float) -> None:
        """Stop every replica; the database keeps what is wanted."""
        self._leaving = True
        self._tell_pass_ended()
        for task in self._stopping.values():
            task.cancel()
        await asyncio.gather(*self._stopping.values(), return_exceptions=True)
        await asyncio.gather(*(runner.stop(drain_seconds) for runner in self._runners.values()))

    async def _reconcile(self) -> bool:
        """One pass. True when the endpoint is no more."""
        record, self._first_record = self._first_record, None
        if record is None:
            record = await in_thread(self._context.records.endpoint, self._id)
        if record is None:
            self._publish_none()
            return True
        self._name = record.name
        self.names_principals = record.limits_name_principals
        self.secret_scopes = secret_scopes(record)
        if record.deleting:
            return await self._delete(record)
        if await self._settle(record) or await self._follow_stages(record):
            record = await in_thread(self._context.records.endpoint, self._id)
            if record is None:
                return False
        wanted = _wanted(record)
        for deployment_id in wanted - self._runners.keys() - external_models(record).keys():
            runner = DeploymentRunner(self._context, record, record.deployments[deployment_id], self)
            self._runners[deployment_id] = runner
            runner.start()
        external = await in_thread(self._external.read, record) if external_models(record) else {}
        if not self._publish(record, external):
            return False  # what is not wanted may still have the route
        if not self._context.entities.knows(record):
            await in_thread(self._context.entities.write, [record])
        await self._tell_problems(record, external)
        for deployment_id in record.deployments.keys() - wanted:
            await self._leave(record, deployment_id)
        return False

    async def _leave(self, record: EndpointRecord, deployment_id: str) -> None:
        """Take down a deployment that is not wanted; that of a failed update stays to be looked at."""
        phase = record.deployments[deployment_id].phase
        retires = deployment_id not in record.pending.served.values()
        if retires and phase not in _LEFT:
            crash_point(CrashPoint.ROUTE_PUBLISHED)
            await in_thread(self._context.records.advance, deployment_id, Trigger.CONFIG_REPLACED)
            crash_point(CrashPoint.RETIRE_BEGINS)
        if deployment_id in self._stopping:
            return
        runner = self._runners.pop(deployment_id, None)
        unfinished = retires and phase is not DeploymentPhase.RETIRED
        if runner is not None or unfinished or deployment_id in record.with_replicas:
            self._stopping[deployment_id] = asyncio.create_task(self._take_down(deployment_id, runner))

    async def _follow_stages(self, record: EndpointRecord) -> bool:
        """Have the versions that are in a served stage, and let the ones answer that can. Whether that changes it."""
        wanted = record.plan()
        if wanted is None:
            return False
        ids = {one.name: one.deployment_id for one in wanted.entities if one.deployment_id is not None}
        if len(ids) == len(wanted.entities) and all(map(self._is_known, ids.values())):
            # Requests move first: whoever reads who answers can rely on it.
            traffic = {wanted.drawn: 100} if wanted.drawn is not None else {}
            active = replace(record.active, served=ids, traffic=traffic, aliases=wanted.aliases)
            self._publish(replace(record, active=active))
            await self._context.publisher.all_taken()
        return await in_thread(self._context.records.follow_stages, record, wanted, self._context.clock())

    async def _settle(self, record: EndpointRecord) -> bool:
        """Finish the update in progress when its outcome is known. Whether it was."""
        if record.config_update != "IN_PROGRESS" or not record.pending.served:
            return False
        now = self._context.clock()
        pending = [record.deployments[one] for one in record.pending.served.values()]
        failed = [one for one in pending if one.phase is DeploymentPhase.FAILED]
        if failed:
            crash_point(CrashPoint.FAIL_BEFORE)
            for one in pending:
                if one.phase not in _ENDED and one.id not in record.active.served.values():
                    why = f"Aborted: served entity '{failed[0].served_name}' failed."
                    await in_thread(self._context.records.advance, one.id, Trigger.SIBLING_FAILED, why)
            crash_point(CrashPoint.FAIL_SIBLINGS)
            reason = f"{failed[0].served_name}: {failed[0].message}"
            await in_thread(self._context.records.fail_update, self._id, reason, now)
            crash_point(CrashPoint.FAIL_AFTER)
            words = f"The update failed. {reason}"
            await self._event(record, "CONFIG_UPDATE_FAILED", "FAILED", Trigger.STEP_FAILED, words)
            return True
        if all(one.phase is DeploymentPhase.READY and self._is_known(one.id) for one in pending):
            # Requests move first: whoever reads that the new configuration serves can rely on it.
            self._publish(replace(record, active=record.pending))
            await self._context.publisher.all_taken()
            crash_point(CrashPoint.SWITCH_BEFORE)
            if await in_thread(self._context.records.switch, self._id, now):
                crash_point(CrashPoint.SWITCH_AFTER)
                words = "The configuration serves."
                await self._event(record, "CONFIG_UPDATE_SUCCEEDED", "SUCCESS", Trigger.REPLICAS_READY, words)
            return True
        return False

    def _is_known(self, deployment_id: str) -> bool:
        """Whether this control plane has seen for itself what runs of a deployment."""
        return deployment_id in self._runners and self._runners[deployment_id].adopted

    def _publish(self, record: EndpointRecord, external: Mapping[str, ExternalRoute] = _NO_EXTERNAL) -> bool:
        """Tell where requests go; `external` are the models of providers. False while that is not known."""
        active = record.active.served
        if any(one in self._runners and not self._is_known(one) for one in active.values()):
            return False  # it is still asking who is alive; the route of before holds, and it wakes this then
        served = tuple(
            ServedRoute(
                name=name,
                traffic_percentage=record.active.traffic.get(name, 0),
                replicas=self._runners[deployment_id].replicas if deployment_id in self._runners else (),
                external=external.get(deployment_id),
                id=deployment_id,
                entity=_model(record.deployments[deployment_id].spec),
                version=_version(record.deployments[deployment_id].spec),
                engine=_engine(record.deployments[deployment_id].spec),
                not_ready=_not_ready(record, record.deployments[deployment_id]),
            )
            for name, deployment_id in active.items()
        )
        self._active = {one: self._runners[one] for one in active.values() if one in self._runners}
        phases = [record.deployments[one].phase for one in active.values()]
        serving = any(phase in _UP for phase in phases) or any(one.replicas for one in served)
        message = ""
        if not serving:
            blamed = [*record.pending.served.values(), *active.values()]
            message = next((record.deployments[one].message for one in blamed if record.deployments[one].message), "")
        availability = Availability.SERVING if serving else Availability.NOT_READY
        if record.stopped:
            availability = Availability.STOPPED
        gateway = record.gateway or AiGateway()
        route = EndpointRoute(
            name=record.name,
            id=record.id,
            availability=availability,
            message=message.partition("\n")[0],
            served=served,
            managers=_holders(record, PermissionLevel.CAN_MANAGE),
            queriers=_holders(record, PermissionLevel.CAN_QUERY),
            limits=record.limits,
            task=_task(record),
            captures=captures(record.name, record.active.auto_capture, gateway, record.telemetry),
            usage=_tracks_usage(record, gateway),
            fallback=gateway.fallback_config is not None and gateway.fallback_config.enabled,
            guardrails=gateway.guardrails,
            config_version=record.active.version,
            legacy=LegacyRoute(model=record.staged.model, aliases=record.active.aliases) if record.staged else None,
        )
        self._context.publisher.publish_endpoint(record.name, route)
        self._context.publisher.looked_at(record.id)
        return True

    async def _tell_problems(self, record: EndpointRecord, external: Mapping[str, ExternalRoute]) -> None:
        """Write down what has changed about whether the credentials of external models can be had."""
        for deployment_id, route in external.items():
            deployment = record.deployments[deployment_id]
            if route.problem == deployment.message:
                continue
            await in_thread(self._context.records.say, deployment_id, route.problem)
            words = route.problem or "The credentials can be read again."
            kind, status = ("UNREADABLE", "FAILED") if route.problem else ("READABLE", "SUCCESS")
            name = deployment.served_name
            await self._event(record, f"CREDENTIALS_{kind}", status, "SECRETS_READ", words, served_name=name)

    def _publish_none(self) -> None:
        """Take the route away, unless a new endpoint of the same name has it already."""
        if self._name is not None and self._context.publisher.owner_of(self._name) == self._id:
            self._context.publisher.publish_endpoint(self._name, None)
        self._context.publisher.looked_at(self._id)

    async def _take_down(self, deployment_id: str, runner: DeploymentRunner | None) -> None:
        """Stop a deployment that no request is sent to any more, beside whatever else goes on.

        `runner` is None for one that an earlier control plane has left. Repeated until it is done.
        """
        retry = _FIRST_RETRY_SECONDS
        if runner is None:
            await asyncio.sleep(_GATEWAYS_COME_BACK_SECONDS)
        await self._context.publisher.all_taken()
        while True:
            try:
                crash_point(CrashPoint.RETIRE_SETTLED)
                if runner is not None:
                    await runner.stop(self._context.settings.drain_seconds)
                for replica in await in_thread(self._context.records.replicas, deployment_id):
                    await self._context.compute.stop_replica(replica, self._context.settings.drain_seconds)
                    await in_thread(self._context.records.remove_replica, replica.replica_id)
                crash_point(CrashPoint.RETIRE_STOPPED)
                await in_thread(self._context.records.advance, deployment_id, Trigger.REPLICAS_GONE)
                crash_point(CrashPoint.RETIRE_AFTER)
                break
            except Exception:
                _logger.exception("deployment %s is not down yet; again in %.1f s", deployment_id, retry)
                await asyncio.sleep(retry)
                retry = min(2 * retry, _LONGEST_RETRY_SECONDS)
        del self._stopping[deployment_id]

    async def _delete(self, record: EndpointRecord) -> bool:
        self._publish_none()
        self._leaving = True
        self._tell_pass_ended()
        crash_point(CrashPoint.DELETE_UNPUBLISHED)
        for deployment_id in record.deployments:
            await in_thread(self._context.records.advance, deployment_id, Trigger.ENDPOINT_DELETED)
        crash_point(CrashPoint.DELETE_RETIRING)
        if self._runners:
            await self._context.publisher.all_taken()
        drain = self._context.settings.drain_seconds
        # They stay known until they have stopped: a pass that fails here is repeated.
        await asyncio.gather(*(runner.stop(drain) for runner in self._runners.values()), *self._stopping.values())
        self._runners.clear()
        crash_point(CrashPoint.DELETE_STOPPED)
        for deployment_id in record.deployments:
            for replica in await in_thread(self._context.records.replicas, deployment_id):
                await self._context.compute.stop_replica(replica, 1.0)
            folder = self._context.data.deployment(deployment_id)
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        crash_point(CrashPoint.DELETE_CLEARED)
        await in_thread(self._context.entities.delete, self._id)
        words = "The endpoint and its replicas are gone."
        await self._event(record, "ENDPOINT_DELETED", "SUCCESS", Trigger.ENDPOINT_DELETED, words)
        await in_thread(self._context.records.remove_endpoint, self._id)
        crash_point(CrashPoint.DELETE_REMOVED)
        return True

    async def _event(
        self,
        record: EndpointRecord,
        event_type: str,
        status: str,
        trigger: str,
        message: str,
        *,
        served_name: str | None = None,
    ) -> None:
        _logger.info("%s: %s: %s", record.name, event_type, message.partition("\n")[0])
        await in_thread(
            self._context.records.add_event,
            record,
            served_name,
            event_type,
            status,
            str(trigger),
            message,
            self._context.clock(),
        )


def _model(spec: EntitySpec) -> str:
    """The registered model's name, or the provider's."""
    return spec.model if isinstance(spec, ExternalModelSpec) else spec.entity_name


def _version(spec: EntitySpec) -> str:
    return "" if isinstance(spec, ExternalModelSpec) else spec.entity_version


def _engine(spec: EntitySpec) -> Engine | None:
    return spec.model.engine if isinstance(spec, EngineModelSpec) else None


def _task(record: EndpointRecord) -> ExternalTask | None:
    """What the language models of the endpoint do, all the same."""
    specs = (record.deployments[one].spec for one in record.active.served.values())
    return next((spec.task for spec in specs if not isinstance(spec, CustomModelSpec)), None)


def _tracks_usage(record: EndpointRecord, gateway: AiGateway) -> bool:
    """Models of the catalogue are everybody's: what is used of them is always written down."""
    if record.kind is EntityKind.FOUNDATION_MODEL:
        return True
    return gateway.usage_tracking_config is not None and gateway.usage_tracking_config.enabled


def _holders(record: EndpointRecord, needed: PermissionLevel) -> frozenset[str]:
    """Who has at least that level."""
    return frozenset(one for one, level in record.grants.items() if PermissionLevel(level).allows(needed))


def _not_ready(record: EndpointRecord, deployment: DeploymentRecord) -> str | None:
    """Why a deployment takes no requests, None for one that does or is expected to.

    A model of the catalogue counts as ready before it was ever tried: if it then cannot start, this is the place that
    says why.
    """
    words = deployment.message.partition("\n")[0]
    if isinstance(deployment.spec, EngineModelSpec):
        return words or None
    if record.staged is None or deployment.phase in _UP:
        return None
    return words or "It is being created."


def _wanted(record: EndpointRecord) -> set[str]:
    """The deployments that are to run: those of the serving configuration and of an update in progress."""
    if record.stopped:
        return set()
    ids = set(record.active.served.values())
    if record.config_update == "IN_PROGRESS":
        ids |= set(record.pending.served.values())
    return {one for one in ids if record.deployments[one].phase not in (DeploymentPhase.ABORTED, *_LEFT)}
