"""One deployment: its model fetched, its environment built, its replicas started and kept."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Callable
from pathlib import Path

import yaml

from moorage.api.errors import ApiError, TemporarilyUnavailable
from moorage.api.routing import ReplicaFault, ReplicaRoute
from moorage.api.served_entities import CustomModelSpec
from moorage.api.workloads import CONCURRENCY_PER_REPLICA
from moorage.compute.base import (
    ComputeError,
    Interpreter,
    Observation,
    ReplicaPhase,
    ReplicaProcess,
    ReplicaSpec,
)
from moorage.control.lifecycle import DeploymentPhase, Trigger
from moorage.control.reconciler.backoff import RestartPolicy
from moorage.control.reconciler.context import Context, in_thread
from moorage.control.reconciler.records import DeploymentRecord, EndpointRecord
from moorage.environments.builder import EnvironmentBuildError
from moorage.environments.log import BuildLog
from moorage.environments.requirements import EnvironmentSpecError, read_environment_spec

_logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.02
_LOOK_SECONDS = 5.0
_LOG_TAIL_BYTES = 1500
_REGISTRY_RETRY_SECONDS = 2.0
_REGISTRY_PATIENCE = 30


class StepFailed(Exception):
    """A step cannot succeed by being repeated; the message says why."""


class DeploymentRunner:
    """Brings one deployment up and keeps it up until it is stopped. `changed` is called when its route or
    phase has changed."""

    def __init__(
        self,
        context: Context,
        endpoint: EndpointRecord,
        record: DeploymentRecord,
        changed: Callable[[], None],
    ) -> None:
        self._context = context
        self._endpoint = endpoint
        self._id = record.id
        self._name = record.served_name
        self._spec = CustomModelSpec.model_validate(record.spec)
        self._phase = record.phase
        self._model_path = Path(record.model_path) if record.model_path else None
        self._changed = changed
        self._log = BuildLog(context.data.build_log(record.id))
        self._prepared: tuple[Path, Interpreter, str] | None = None
        self._preparing = asyncio.Lock()
        self._ready: dict[str, ReplicaProcess] = {}
        self._running: dict[str, ReplicaProcess] = {}
        self._condemned: dict[str, asyncio.Event] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    @property
    def replicas(self) -> tuple[ReplicaRoute, ...]:
        """Where requests may go now."""
        return tuple(ReplicaRoute(id=one.replica_id, address=one.address) for one in self._ready.values())

    def start(self) -> None:
        """Begin; returns at once."""
        self._task = asyncio.create_task(self._run(), name=f"deployment {self._id}")

    async def stop(self, drain_seconds: float) -> None:
        """End the work and the replicas. The caller has taken the route away before."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._leaving:
            await asyncio.wait(self._leaving)
        replicas = list(self._running.values())
        self._ready.clear()
        await asyncio.gather(*(self._stop_replica(one, drain_seconds) for one in replicas))

    def report(self, replica_id: str, fault: ReplicaFault) -> None:
        """A gateway has had trouble with a replica: one that hangs or cannot be reached is replaced."""
        condemned = self._condemned.get(replica_id)
        if condemned is None:
            return
        if fault is ReplicaFault.TIMED_OUT:
            condemned.set()

    async def _run(self) -> None:
        slots = max(1, -(-self._spec.concurrency.minimum // CONCURRENCY_PER_REPLICA))
        adopted = await self._adopt()
        if self._phase is DeploymentPhase.READY and not adopted:
            await self._advance(Trigger.REPLICAS_LOST, "Recovering: no replica survived the restart.")
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(max(slots, len(adopted))):
                    group.create_task(self._keep(adopted.pop() if adopted else None))
        except* StepFailed as failures:
            await self._fail(str(failures.exceptions[0]))

    async def _fail(self, reason: str) -> None:
        self._log.conclude(f"deployment failed: {reason}")
        self._ready.clear()
        await asyncio.gather(*(self._stop_replica(one, 1.0) for one in list(self._running.values())))
        await self._advance(Trigger.STEP_FAILED, reason)

    async def _adopt(self) -> list[ReplicaProcess]:
        """Take over the replicas that an earlier control plane started."""
        adopted = []
        for replica in await in_thread(self._context.records.replicas, self._id):
            if await self._context.compute.adopt(replica):
                self._running[replica.replica_id] = self._ready[replica.replica_id] = replica
                adopted.append(replica)
                await self._event("REPLICA_ADOPTED", "SUCCESS", "RESTART", f"Replica {replica.replica_id} goes on.")
            else:
                await self._stop_replica(replica, 1.0)
        if adopted:
            await self._advance(Trigger.REPLICAS_READY, "")
            self._changed()
        return adopted

    async def _keep(self, replica: ReplicaProcess | None) -> None:
        """Keep one replica running, for as long as this task lives."""
        policy = RestartPolicy(self._context.settings.replica_restart_attempts)
        while True:
            if replica is None:
                await self._prepare()
                try:
                    replica = await self._start()
                    policy.became_ready()
                except ComputeError as error:
                    await self._after_failed_start(str(error), policy)
                    continue
            replaced = await self._watch(replica)
            ending = self._context.compute.observe(replica)
            self._ready.pop(replica.replica_id, None)
            self._changed()
            if replaced:
                self._let_go(replica)
            else:
                await self._after_ending(replica, ending, policy)
            replica = None

    async def _after_failed_start(self, reason: str, policy: RestartPolicy) -> None:
        """Wait for the next try, unless the deployment has not served yet: then it has failed."""
        if self._phase not in (DeploymentPhase.READY, DeploymentPhase.RECOVERING, DeploymentPhase.FAILED):
            raise StepFailed(reason)
        wait = policy.ended()
        await self._event("REPLICA_FAILED", "FAILED", "REPLICA_ENDED", reason)
        if policy.exhausted:
            await self._advance(Trigger.STEP_FAILED, reason)
        await asyncio.sleep(wait)

    async def _after_ending(self, replica: ReplicaProcess, ending: Observation, policy: RestartPolicy) -> None:
        tail = self._context.compute.log_tail(self._id, replica.replica_id, _LOG_TAIL_BYTES)
        words = f"Replica {replica.replica_id}: {ending.message or ending.phase.value}."
        reason = f"{words} Last lines of its log:\n{tail}".rstrip()
        await self._stop_replica(replica, 0.0)
        await self._event("REPLICA_ENDED", "FAILED", "REPLICA_ENDED", reason)
        wait = policy.ended()
        if not self._ready:
            await self._advance(Trigger.REPLICAS_LOST, f"Recovering. {reason}")
            if policy.exhausted:
                await self._advance(Trigger.STEP_FAILED, reason)
        await asyncio.sleep(wait)

    async def _prepare(self) -> None:
        """Fetch the model and build its environment, once; every replica of the deployment waits for it."""
        async with self._preparing:
            if self._prepared is not None:
                return
            if self._phase is DeploymentPhase.PENDING:
                await self._advance(Trigger.RECONCILED, "Fetching the model.")
            self._check_hardware()
            self._check_variables()
            model_path = await self._fetch()
            if self._phase is DeploymentPhase.FETCHING:
                await self._advance(Trigger.MODEL_FETCHED, "Building the environment.")
            try:
                spec = await asyncio.to_thread(read_environment_spec, model_path)
                if spec.uses_defaults_channel:
                    await self._event(
                        "CONDA_DEFAULTS_CHANNEL",
                        "WARNING",
                        "ENVIRONMENT_READ",
                        "conda.yaml lists the channel 'defaults', which has licence terms of its own. Channels are"
                        " not used here: packages come from the Python package index.",
                    )
                environment = await self._context.builder.ensure(spec, self._log)
            except (EnvironmentBuildError, EnvironmentSpecError) as error:
                raise StepFailed(f"The environment could not be built: {error}") from error
            await in_thread(self._context.records.set_environment, self._id, environment.key)
            loader = await asyncio.to_thread(_loader_module, model_path)
            self._prepared = (model_path, Interpreter(environment.key, environment.python), loader)
            if self._phase is DeploymentPhase.BUILDING:
                await self._advance(Trigger.ENVIRONMENT_READY, "Starting replicas.")

    async def _fetch(self) -> Path:
        """The folder of the model's files; asks the registry only when they are not here yet."""
        if self._model_path is not None and (self._model_path / "MLmodel").is_file():
            return self._model_path
        name, version = self._spec.entity_name, self._spec.entity_version
        folder = hashlib.sha256(f"{name}\0{version}".encode()).hexdigest()[:32]
        for attempt in range(_REGISTRY_PATIENCE):
            try:
                found = await asyncio.to_thread(self._context.registry.model_version, name, version)
                source = hashlib.sha256(f"{found.source}\0{found.run_id}".encode()).hexdigest()[:16]
                destination = self._context.data.models / f"{folder}-{source}"
                if not (destination / "MLmodel").is_file():
                    with self._log.step(f"download model {name} version {version}"):
                        await asyncio.to_thread(self._context.registry.download, name, version, destination)
                await in_thread(self._context.records.set_model_path, self._id, str(destination))
                self._model_path = destination
                return destination
            except TemporarilyUnavailable as error:
                self._log.line(f"the model registry does not answer (try {attempt + 1}): {error.message}")
                await asyncio.sleep(_REGISTRY_RETRY_SECONDS)
            except ApiError as error:
                raise StepFailed(f"The model could not be fetched: {error.message}") from error
        raise StepFailed("The model could not be fetched: the model registry does not answer.")

    def _check_hardware(self) -> None:
        kind = self._spec.workload_type
        if kind.needs_gpu and not Path("/dev/nvidiactl").exists():
            raise StepFailed(f"Workload type {kind.value} needs an NVIDIA GPU, and this machine has none.")

    def _check_variables(self) -> None:
        for name, value in self._spec.environment_vars.items():
            if value.startswith("{{secrets/") and value.endswith("}}"):
                raise StepFailed(f"The secret {value} of environment variable {name} cannot be read.")

    async def _start(self) -> ReplicaProcess:
        """Start a replica and see it through loading.

        Raises:
            ComputeError: it could not be started, or ended or took too long while loading.
        """
        assert self._prepared is not None
        model_path, interpreter, loader = self._prepared
        replica_id = secrets.token_hex(6)
        step = self._log.begin(f"load model (replica {replica_id})")
        spec = ReplicaSpec(
            replica_id=replica_id,
            deployment_id=self._id,
            endpoint=self._endpoint.name,
            served_name=self._name,
            model_path=model_path,
            loader_module=loader,
            variables=self._spec.environment_vars,
        )
        try:
            replica = await self._context.compute.start_replica(spec, interpreter)
            self._running[replica_id] = replica
            await in_thread(self._context.records.add_replica, self._id, replica, self._context.clock())
            state = await self._loaded(replica)
            if state.phase is not ReplicaPhase.READY:
                tail = self._context.compute.log_tail(self._id, replica_id, _LOG_TAIL_BYTES)
                await self._stop_replica(replica, 1.0)
                reason = f"The model could not be loaded: {state.message}."
                self._log.conclude(reason)
                raise ComputeError(f"{reason} Last lines of its log:\n{tail}".rstrip())
        except BaseException as error:
            step.broken_off(error)
            raise
        step.done()
        self._log.conclude(
            f"replica {replica_id} is ready: model loaded in {state.load_seconds:.2f} s, warmed up in"
            f" {state.warm_up_seconds:.2f} s"
        )
        self._context.compute.remember_imports(interpreter, state.imports)
        self._ready[replica_id] = replica
        self._condemned[replica_id] = asyncio.Event()
        await self._event("REPLICA_READY", "SUCCESS", "REPLICA_STARTED", f"Replica {replica_id} is ready.")
        await self._advance(Trigger.REPLICAS_READY, "")
        self._changed()
        return replica

    async def _loaded(self, replica: ReplicaProcess) -> Observation:
        limit = self._context.settings.replica_load_timeout_seconds
        try:
            async with asyncio.timeout(limit):
                while True:
                    state = self._context.compute.observe(replica)
                    if state.phase in (
                        ReplicaPhase.READY,
                        ReplicaPhase.FAILED,
                        ReplicaPhase.STOPPED,
                        ReplicaPhase.GONE,
                    ):
                        return state
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            return Observation(ReplicaPhase.FAILED, f"loading took longer than {limit:.0f} s")

    async def _watch(self, replica: ReplicaProcess) -> bool:
        """Return when the replica has ended, or is to be replaced (then True)."""
        condemned = self._condemned.setdefault(replica.replica_id, asyncio.Event())
        ended = asyncio.ensure_future(self._context.compute.ended(replica))
        verdict = asyncio.ensure_future(condemned.wait())
        batching = self._context.compute.observe(replica).batching
        try:
            while not ended.done() and not verdict.done():
                await asyncio.wait({ended, verdict}, timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                now = self._context.compute.observe(replica).batching
                if batching and now is False:
                    await self._event(
                        "BATCHING_OFF",
                        "WARNING",
                        "OUTPUT_LENGTH",
                        f"Replica {replica.replica_id}: an answer had not one entry per input row.",
                    )
                batching = now
            return not ended.done()
        finally:
            ended.cancel()
            verdict.cancel()
            self._condemned.pop(replica.replica_id, None)

    def _let_go(self, replica: ReplicaProcess) -> None:
        """Have a replica that hangs finish what else it has, beside its successor."""

        async def leave() -> None:
            await self._event(
                "REPLICA_REPLACED", "WARNING", "REQUEST_TIMED_OUT", f"Replica {replica.replica_id} hangs."
            )
            await self._stop_replica(replica, self._context.settings.drain_seconds)

        task = asyncio.create_task(leave())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _stop_replica(self, replica: ReplicaProcess, drain_seconds: float) -> None:
        await self._context.compute.stop_replica(replica, drain_seconds)
        self._running.pop(replica.replica_id, None)
        await in_thread(self._context.records.remove_replica, replica.replica_id)

    async def _advance(self, trigger: Trigger, message: str) -> None:
        phase = await in_thread(self._context.records.advance, self._id, trigger, message)
        if phase is None or phase is self._phase:
            return
        self._phase = phase
        status = "FAILED" if phase is DeploymentPhase.FAILED else "SUCCESS"
        await self._event(f"SERVED_ENTITY_{phase.value}", status, trigger.value, message or phase.value)
        self._changed()

    async def _event(self, event_type: str, status: str, trigger: str, message: str) -> None:
        _logger.info("%s/%s: %s: %s", self._endpoint.name, self._name, event_type, message.partition("\n")[0])
        await in_thread(
            self._context.records.add_event,
            self._endpoint,
            self._name,
            event_type,
            status,
            trigger,
            message,
            self._context.clock(),
        )


def _loader_module(model_path: Path) -> str:
    """The module that loads the model, from its MLmodel file; nothing when it has no python_function flavor."""
    document = yaml.safe_load((model_path / "MLmodel").read_text())
    flavor = (document.get("flavors") or {}).get("python_function") or {}
    return str(flavor.get("loader_module", ""))
