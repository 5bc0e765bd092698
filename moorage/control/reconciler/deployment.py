"""One deployment: its replicas started, watched, replaced, and made more or fewer."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Coroutine
from time import monotonic
from typing import Any, Protocol

from moorage.api.routing import ReplicaFault, ReplicaRoute
from moorage.api.served_entities import ExternalModelSpec
from moorage.compute.base import ComputeError, Interpreter, Observation, ReplicaPhase, ReplicaProcess, ReplicaSpec
from moorage.control.crash_points import CrashPoint, crash_point
from moorage.control.lifecycle import DeploymentPhase, Trigger
from moorage.control.reconciler.backoff import RestartPolicy
from moorage.control.reconciler.context import Context, in_thread, seen_through
from moorage.control.reconciler.journal import DeploymentJournal
from moorage.control.reconciler.loading import until_loaded
from moorage.control.reconciler.preparation import Preparation, StepFailed
from moorage.control.reconciler.records import DeploymentRecord, EndpointRecord
from moorage.control.reconciler.scaling import ScalingLimits, ScalingPolicy

_logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.02
_LOOK_SECONDS = 5.0
_LOG_TAIL_BYTES = 3000
_FIRST_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 60.0
_HAS_SERVED = (DeploymentPhase.READY, DeploymentPhase.RECOVERING, DeploymentPhase.FAILED)


class _Slot:
    """One replica's place: the task that keeps it filled, and the two ways in which its replica may leave."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.replica: ReplicaProcess | None = None
        self.replace = asyncio.Event()
        self.retire = asyncio.Event()


class Routing(Protocol):
    """Who publishes where requests go."""

    def wake(self) -> None:
        """The deployment's replicas or its phase have changed."""
        ...

    async def routed(self) -> bool:
        """Return when every gateway works by what the deployment's replicas are now. False: one was silent."""
        ...


class DeploymentRunner:
    """Brings one deployment up and keeps it up until it is stopped."""

    def __init__(
        self, context: Context, endpoint: EndpointRecord, record: DeploymentRecord, routing: Routing
    ) -> None:
        self._context = context
        self._endpoint = endpoint
        self._record = record
        assert not isinstance(record.spec, ExternalModelSpec)  # those have nothing to run
        self._spec = record.spec
        self._routing = routing
        self._changed = routing.wake
        self._journal = DeploymentJournal(context, endpoint, record, routing.wake)
        self._preparation = Preparation(context, record, self._spec, self._journal, endpoint.creator_id)
        settings, size = context.settings, self._spec.replicas
        self._scaling = ScalingPolicy(
            ScalingLimits(
                minimum=size.minimum,
                maximum=size.maximum,
                idle_seconds=settings.scale_to_zero_idle_seconds,
                down_seconds=settings.scale_down_seconds,
            )
        )
        self._slots: list[_Slot] = []
        self._ready: dict[str, ReplicaProcess] = {}
        self._running: dict[str, ReplicaProcess] = {}
        self._beside_tasks: set[asyncio.Task[None]] = set()
        self._look = asyncio.Event()
        self._cold_since: float | None = None  # when a request came and no replica was up
        self._replicas_left = record.id in endpoint.with_replicas
        # Whether it knows which replicas of an earlier control plane live: at once when there can be none.
        at_rest = self._scaling.limits.minimum == 0 or record.phase is not DeploymentPhase.READY
        self.adopted = at_rest and not self._replicas_left
        self._task: asyncio.Task[None] | None = None

    @property
    def replicas(self) -> tuple[ReplicaRoute, ...]:
        """Where requests may go now."""
        return tuple(ReplicaRoute(id=one.replica_id, address=one.address) for one in self._ready.values())

    @property
    def served_name(self) -> str:
        return self._record.served_name

    def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.create_task(self._run(), name=f"deployment {self._record.id}")

    async def stop(self, drain_seconds: float) -> None:
        """End the work and the replicas. The caller has taken the route away before."""
        tasks = [slot.task for slot in self._slots if slot.task is not None]
        if self._task is not None:
            tasks.append(self._task)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._beside_tasks:
            await asyncio.wait(self._beside_tasks)
        self._ready.clear()
        await asyncio.gather(*(self._stop_replica(one, drain_seconds) for one in list(self._running.values())))

    def report(self, replica_id: str, fault: ReplicaFault) -> None:
        """A gateway has had trouble with a replica. One that hangs is replaced; one that died is seen to end."""
        for slot in self._slots:
            if slot.replica is not None and slot.replica.replica_id == replica_id:
                if fault is ReplicaFault.TIMED_OUT:
                    slot.replace.set()
                return

    def observe_load(self, gateway: str, concurrency: int, requests: int) -> None:
        """A gateway's count of requests in flight or waiting, and of those that came since its last word."""
        self._scaling.observe(gateway, concurrency, requests)
        if concurrency and self._cold_since is None and self._at_zero():
            self._cold_since = monotonic()
        if self._scaling.wants_more(len(self._slots)):
            self._look.set()

    async def _run(self) -> None:
        """Work until stopped. A failure that nobody foresaw is logged, and the work begins anew."""
        wait = _FIRST_RETRY_SECONDS
        while True:
            try:
                await self._work()
                return
            except Exception as error:
                _logger.exception("deployment %s of %s: an unforeseen failure", self.served_name, self._endpoint.name)
                self._replicas_left = True
                try:
                    await self._drop_slots()
                    words = f"The server failed: {type(error).__name__}. It tries again."
                    await self._journal.event("SERVED_ENTITY_ERROR", "FAILED", "SERVER_FAILED", words)
                except Exception:
                    _logger.exception("deployment %s: that could not be recorded either", self.served_name)
                await asyncio.sleep(wait)
                wait = min(2 * wait, _LONGEST_RETRY_SECONDS)

    async def _work(self) -> None:
        adopted = await self._adopt() if self._replicas_left else []
        can_be_at_zero = self._scaling.limits.minimum == 0
        if self._journal.phase is DeploymentPhase.READY and not adopted and not can_be_at_zero:
            await self._journal.advance(Trigger.REPLICAS_LOST, "Recovering: no replica survived the restart.")
        if self._replicas_left or not self.adopted:
            self.adopted, self._replicas_left = True, False
            self._changed()
        for replica in adopted:
            self._open_slot(replica)
        while True:
            target = self._scaling.target(len(self._slots))
            if target == 0:
                self._cold_since = None
            if self._journal.phase is not DeploymentPhase.READY:
                target = max(1, target)  # not served yet, or to be recovered: one must show that it can
            while len(self._slots) < target:
                self._open_slot(None)
            for slot in self._slots[target:]:
                slot.retire.set()
            failure = await self._next_look()
            if failure is not None:
                await self._fail(failure)
                return

    async def _next_look(self) -> str | None:
        """Wait until the number of replicas may have to change. The reason when a slot found a lasting failure."""
        look = asyncio.ensure_future(self._look.wait())
        tasks = {slot.task for slot in self._slots if slot.task is not None}
        seconds = self._scaling.seconds_to_next_look(len(self._slots))
        try:
            await asyncio.wait({look, *tasks}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            look.cancel()
        self._look.clear()
        for slot in [slot for slot in self._slots if slot.task is not None and slot.task.done()]:
            self._slots.remove(slot)
            assert slot.task is not None
            error = slot.task.exception()
            if isinstance(error, StepFailed):
                return str(error)
            if error is not None:
                raise error
        return None

    async def _fail(self, reason: str) -> None:
        self._journal.log.conclude(f"deployment failed: {reason}")
        await self._drop_slots()
        await self._journal.advance(Trigger.STEP_FAILED, reason)

    async def _drop_slots(self) -> None:
        tasks = [slot.task for slot in self._slots if slot.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._slots.clear()
        self._ready.clear()
        await asyncio.gather(*(self._stop_replica(one, 1.0) for one in list(self._running.values())))

    async def _adopt(self) -> list[ReplicaProcess]:
        """Take over the replicas that an earlier control plane started."""
        adopted = []
        for replica in await in_thread(self._context.records.replicas, self._record.id):
            if await self._context.compute.adopt(replica):
                self._running[replica.replica_id] = self._ready[replica.replica_id] = replica
                adopted.append(replica)
                words = f"Replica {replica.replica_id} goes on."
                await self._journal.event("REPLICA_ADOPTED", "SUCCESS", "RESTART", words)
            else:
                await self._stop_replica(replica, 1.0)
        if adopted:
            await self._journal.advance(Trigger.REPLICAS_READY)
        return adopted

    def _open_slot(self, replica: ReplicaProcess | None) -> None:
        slot = _Slot()
        slot.task = asyncio.create_task(self._keep(slot, replica))
        self._slots.append(slot)

    async def _keep(self, slot: _Slot, replica: ReplicaProcess | None) -> None:
        """Keep one replica running, until the slot is to be given up."""
        policy = RestartPolicy(self._context.settings.replica_restart_attempts)
        while not slot.retire.is_set():
            if replica is None:
                try:
                    replica = await self._start(slot)
                    policy.became_ready()
                except (ComputeError, StepFailed) as error:
                    await self._after_failed_start(error, policy)
                    continue
            slot.replica = replica
            await self._watch(slot, replica)
            ending = self._context.compute.observe(replica)
            self._ready.pop(replica.replica_id, None)
            slot.replica = None
            self._changed()
            if ending.phase is not ReplicaPhase.READY:
                await self._after_ending(replica, ending, policy)
            elif slot.retire.is_set():
                words = f"Replica {replica.replica_id} is no longer needed."
                self._let_go(replica, "REPLICA_SCALED_DOWN", "SUCCESS", "LOAD", words)
            else:
                slot.replace.clear()
                self._context.telemetry.replica_ended(self._endpoint.id, self.served_name)
                words = f"Replica {replica.replica_id} let a request time out."
                self._let_go(replica, "REPLICA_REPLACED", "WARNING", "REQUEST_TIMED_OUT", words)
            replica = None

    async def _after_failed_start(self, error: ComputeError | StepFailed, policy: RestartPolicy) -> None:
        """Wait for the next try, unless the deployment has not served yet: then it has failed."""
        if self._journal.phase not in _HAS_SERVED:
            raise error if isinstance(error, StepFailed) else StepFailed(str(error))
        wait = policy.ended()
        self._context.telemetry.replica_ended(self._endpoint.id, self.served_name)
        await self._journal.event("REPLICA_FAILED", "FAILED", "REPLICA_ENDED", str(error))
        if not self._ready:
            await self._journal.advance(Trigger.REPLICAS_LOST, f"Recovering. {error}")
        if policy.exhausted and not self._ready:
            await self._journal.advance(Trigger.STEP_FAILED, str(error))
        await asyncio.sleep(wait)

    async def _after_ending(self, replica: ReplicaProcess, ending: Observation, policy: RestartPolicy) -> None:
        tail = self._context.compute.log_tail(self._record.id, replica.replica_id, _LOG_TAIL_BYTES)
        words = f"Replica {replica.replica_id}: {ending.message or ending.phase.value}."
        reason = f"{words} Last lines of its log:\n{tail}".rstrip()
        self._context.telemetry.replica_ended(self._endpoint.id, self.served_name)
        await self._stop_replica(replica, 0.0)
        await self._journal.event("REPLICA_ENDED", "FAILED", "REPLICA_ENDED", reason)
        wait = policy.ended()
        if not self._ready:
            await self._journal.advance(Trigger.REPLICAS_LOST, f"Recovering. {reason}")
            if policy.exhausted:
                await self._journal.advance(Trigger.STEP_FAILED, reason)
        await asyncio.sleep(wait)

    async def _start(self, slot: _Slot) -> ReplicaProcess:
        """Start a replica and see it through loading. It is the slot's from the moment it may get requests.

        Raises:
            StepFailed: there is nothing to start it from, or a secret that it needs cannot be read.
            ComputeError: it could not be started, or ended or took too long while loading.
        """
        prepared = await self._preparation.result()
        variables = await self._preparation.variables()
        replica_id = secrets.token_hex(6)
        log = self._journal.log
        step = log.begin(f"load model (replica {replica_id})")
        spec = ReplicaSpec(
            replica_id=replica_id,
            deployment_id=self._record.id,
            endpoint=self._endpoint.name,
            served_name=self._record.served_name,
            model_path=prepared.model_path,
            loader_module=prepared.loader_module,
            variables=variables,
            engine=prepared.engine,
        )
        try:
            replica = await seen_through(self._begin(spec, prepared.interpreter))
            state = await self._loaded(replica)
            crash_point(CrashPoint.REPLICA_LOADED)
            if state.phase is not ReplicaPhase.READY:
                tail = self._context.compute.log_tail(self._record.id, replica_id, _LOG_TAIL_BYTES)
                await self._stop_replica(replica, 1.0)
                reason = f"The model could not be loaded: {state.message}."
                log.conclude(reason)
                raise ComputeError(f"{reason} Last lines of its log:\n{tail}".rstrip())
        except BaseException as error:
            step.broken_off(error)
            raise
        step.done()
        seconds = f"{state.load_seconds:.2f} s, warmed up in {state.warm_up_seconds:.2f} s"
        log.conclude(f"replica {replica_id} is ready: model loaded in {seconds}")
        self._beside(self._remember(prepared.interpreter, state.imports))
        slot.replica = self._ready[replica_id] = replica
        self._changed()
        crash_point(CrashPoint.REPLICA_PUBLISHED)
        words = f"Replica {replica_id} is ready: model loaded in {seconds}{self._cold_start()}."
        await self._journal.event("REPLICA_READY", "SUCCESS", "REPLICA_STARTED", words)
        await self._journal.advance(Trigger.REPLICAS_READY)
        return replica

    async def _begin(self, spec: ReplicaSpec, interpreter: Interpreter) -> ReplicaProcess:
        """Start a replica and write it down."""
        crash_point(CrashPoint.REPLICA_BEGINS)
        replica = await self._context.compute.start_replica(spec, interpreter)
        self._running[replica.replica_id] = replica
        crash_point(CrashPoint.REPLICA_FORKED)
        await in_thread(self._context.records.add_replica, self._record.id, replica, self._context.clock())
        crash_point(CrashPoint.REPLICA_RECORDED)
        return replica

    def _at_zero(self) -> bool:
        """Whether it has no replica because it needed none."""
        may_be = self._scaling.limits.minimum == 0 and self._journal.phase is DeploymentPhase.READY
        return may_be and self.adopted and not self._ready and all(slot.retire.is_set() for slot in self._slots)

    def _cold_start(self) -> str:
        """Count the cold start that has just ended, if one has: the words for it."""
        if self._cold_since is None:
            return ""
        seconds, self._cold_since = monotonic() - self._cold_since, None
        self._context.telemetry.cold_start(self._endpoint.id, self.served_name, seconds)
        return f"; cold start {seconds:.2f} s"

    async def _loaded(self, replica: ReplicaProcess) -> Observation:
        limit = self._context.settings.replica_load_timeout_seconds
        return await until_loaded(self._context.compute, replica, limit, poll_seconds=_POLL_SECONDS)

    async def _watch(self, slot: _Slot, replica: ReplicaProcess) -> None:
        """Return when the replica has ended, or is to be replaced or retired."""
        waits: tuple[Coroutine[Any, Any, Any], ...] = (
            self._context.compute.ended(replica),
            slot.replace.wait(),
            slot.retire.wait(),
        )
        tasks = {asyncio.ensure_future(one) for one in waits}
        batching = self._context.compute.observe(replica).batching
        try:
            while not any(task.done() for task in tasks):
                await asyncio.wait(tasks, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                now = self._context.compute.observe(replica).batching
                if batching and now is False:
                    words = f"Replica {replica.replica_id}: an answer had not one entry per input row."
                    await self._journal.event("BATCHING_OFF", "WARNING", "OUTPUT_LENGTH", words)
                batching = now
        finally:
            for task in tasks:
                task.cancel()

    def _let_go(self, replica: ReplicaProcess, *event: str) -> None:
        """Have a replica that gets no more requests finish those it has, beside whatever else goes on."""

        async def leave() -> None:
            await self._routing.routed()
            await self._journal.event(*event)
            await self._stop_replica(replica, self._context.settings.drain_seconds)

        self._beside(leave())

    async def _remember(self, interpreter: Interpreter, imports: tuple[str, ...]) -> None:
        """Have the libraries that this model needed imported for the next replica of its environment."""
        try:
            await self._context.compute.remember_imports(interpreter, imports)
        except ComputeError as error:
            _logger.warning("environment %s: %s", interpreter.key[:16], error)

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Run beside everything else; `stop` waits for it."""
        task = asyncio.create_task(work)
        self._beside_tasks.add(task)
        task.add_done_callback(self._beside_tasks.discard)
        task.add_done_callback(_log_failure)

    async def _stop_replica(self, replica: ReplicaProcess, drain_seconds: float) -> None:
        crash_point(CrashPoint.REPLICA_LEAVES)
        await self._context.compute.stop_replica(replica, drain_seconds)
        self._running.pop(replica.replica_id, None)
        crash_point(CrashPoint.REPLICA_STOPPED)
        await in_thread(self._context.records.remove_replica, replica.replica_id)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _logger.error("work beside a deployment failed", exc_info=error)
