"""What a deployment needs before its first replica: the model's files and a ready environment."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from moorage.api.errors import ApiError, TemporarilyUnavailable
from moorage.api.served_entities import CustomModelSpec, EngineModelSpec
from moorage.api.workloads import WorkloadType
from moorage.compute.base import EngineStart, Interpreter
from moorage.control.crash_points import CrashPoint, crash_point
from moorage.control.lifecycle import DeploymentPhase, Trigger
from moorage.control.model_accounts import interpreter_of, model_uid
from moorage.control.reconciler.context import Context, in_thread
from moorage.control.reconciler.journal import DeploymentJournal
from moorage.control.reconciler.records import DeploymentRecord
from moorage.control.secret_references import SecretUnreadable
from moorage.engines import weights
from moorage.environments.builder import Environment, EnvironmentBuildError
from moorage.environments.log import BuildLog
from moorage.environments.requirements import EnvironmentSpec, EnvironmentSpecError, read_environment_spec

_REGISTRY_RETRY_SECONDS = 2.0
_REGISTRY_PATIENCE = 30
REGISTRY_SCHEME = "models:/"
DEFAULTS_CHANNEL = (
    "conda.yaml lists the channel 'defaults', which has licence terms of its own. Channels are not used here:"
    " packages come from the Python package index."
)


class StepFailed(Exception):
    """A step cannot succeed by being repeated; the message says why."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """`loader_module` is the module that loads the model, as its MLmodel file names it.

    With an `engine` the path is that of the weights.
    """

    model_path: Path
    interpreter: Interpreter
    loader_module: str = ""
    engine: EngineStart | None = None


class Preparation:
    """Done once for a deployment; every replica of it waits for the same."""

    def __init__(
        self,
        context: Context,
        record: DeploymentRecord,
        spec: CustomModelSpec | EngineModelSpec,
        journal: DeploymentJournal,
        creator_id: str,
    ) -> None:
        """`creator_id` is the user who created the endpoint, by whose right secrets are read."""
        self._context = context
        self._id = record.id
        self._spec = spec
        self._journal = journal
        self._creator_id = creator_id
        self._model_path = Path(record.model_path) if record.model_path else None
        self._result: Prepared | None = None
        self._lock = asyncio.Lock()

    async def result(self) -> Prepared:
        """Fetch and build what is not there yet.

        Raises:
            StepFailed: the model cannot be fetched, or its environment not built, or not on this machine, or a
                secret not read.
        """
        async with self._lock:
            if self._result is None:
                self._result = await self._prepare()
            return self._result

    async def variables(self) -> dict[str, str]:
        """The environment variables of a replica that starts now, with the secrets' values.

        Raises:
            StepFailed: a secret cannot be read.
        """
        if isinstance(self._spec, EngineModelSpec):
            return {}
        try:
            return await in_thread(self._context.secrets.variables, self._spec.environment_vars, self._creator_id)
        except SecretUnreadable as error:
            raise StepFailed(str(error)) from error

    async def _prepare(self) -> Prepared:
        journal = self._journal
        if journal.phase is DeploymentPhase.PENDING:
            await journal.advance(Trigger.RECONCILED, "Fetching the model.")
        if isinstance(self._spec, EngineModelSpec):
            return await self._prepare_engine(self._spec)
        require_hardware(self._spec.workload_type)
        await self.variables()  # what cannot be had need not wait for a build to fail
        model_path = await self._fetch(self._spec)
        if journal.phase is DeploymentPhase.FETCHING:
            await journal.advance(Trigger.MODEL_FETCHED, "Building the environment.")
        spec = await read_environment(model_path)
        if spec.uses_defaults_channel:
            await journal.event("CONDA_DEFAULTS_CHANNEL", "WARNING", "ENVIRONMENT_READ", DEFAULTS_CHANNEL)
        crash_point(CrashPoint.BUILD_BEGINS)
        environment = await make_environment(self._context, spec, journal.log)
        crash_point(CrashPoint.BUILD_FINISHED)
        await in_thread(self._context.records.set_environment, self._id, environment.key)
        loader = await asyncio.to_thread(loader_module, model_path)
        if journal.phase is DeploymentPhase.BUILDING:
            await journal.advance(Trigger.ENVIRONMENT_READY, "Starting replicas.")
        interpreter = await interpreter_of(self._context, environment, self._creator_id)
        return Prepared(model_path, interpreter, loader)

    async def _prepare_engine(self, spec: EngineModelSpec) -> Prepared:
        """The weights, and what the engine is started with; there is no environment to build."""
        context, journal, model = self._context, self._journal, spec.model
        files, tokenizer = await find_engine_files(context, spec, journal.log)
        if journal.phase is DeploymentPhase.FETCHING:
            await journal.advance(Trigger.MODEL_FETCHED, "Building the environment.")
        if journal.phase is DeploymentPhase.BUILDING:
            await journal.advance(Trigger.ENVIRONMENT_READY, "Starting replicas.")
        engine = EngineStart(
            engine=model.engine.value,
            task=model.task.value,
            tokenizer=tokenizer,
            context=model.context,
            slots=model.slots,
            pooling=model.pooling,
            chat_template=model.chat_template,
        )
        interpreter = Interpreter("engine", Path(sys.executable), await model_uid(context, self._creator_id))
        return Prepared(files, interpreter, engine=engine)

    async def _fetch(self, spec: CustomModelSpec) -> Path:
        """The folder of the model's files; asks the registry only when they are not here yet."""
        if self._model_path is not None and (self._model_path / "MLmodel").is_file():
            return self._model_path
        path = await fetch_model(self._context, spec, self._journal.log)
        crash_point(CrashPoint.FETCH_DOWNLOADED)
        await in_thread(self._context.records.set_model_path, self._id, str(path))
        self._model_path = path
        return path


async def find_engine_files(context: Context, spec: EngineModelSpec, log: BuildLog) -> tuple[Path, Path | None]:
    """The weights and, where the engine needs it, the tokenizer; fetched when they are not here.

    Raises:
        StepFailed: they cannot be had.
    """
    model = spec.model
    try:
        with log.step(f"find weights {model.weights}"):
            if model.weights.startswith(REGISTRY_SCHEME):
                folder = await fetch_model(context, spec, log)
                found = await asyncio.to_thread(weights.in_folder, folder, model.engine)
            else:
                found = await asyncio.to_thread(
                    weights.find, model.weights, weights.KIND_OF[model.engine], context.data.weights, log.line
                )
            tokenizer = None
            if model.tokenizer is not None:
                tokenizer = await asyncio.to_thread(
                    weights.find, model.tokenizer, weights.Kind.TOKENIZER, context.data.weights, log.line
                )
    except weights.WeightsError as error:
        raise StepFailed(f"The model could not be fetched: {error}") from error
    return found, tokenizer


def require_hardware(kind: WorkloadType) -> None:
    """
    Raises:
        StepFailed: this machine has not what the workload type promises.
    """
    if kind.needs_gpu and not Path("/dev/nvidiactl").exists():
        raise StepFailed(f"Workload type {kind.value} needs an NVIDIA GPU, and this machine has none.")


async def fetch_model(context: Context, spec: CustomModelSpec | EngineModelSpec, log: BuildLog) -> Path:
    """The folder of the model's files, downloaded when it is not here. The registry may be away for a while.

    Raises:
        StepFailed: it does not come back, or has no such version, or no files of it.
    """
    name, version = spec.entity_name, spec.entity_version
    folder = hashlib.sha256(f"{name}\0{version}".encode()).hexdigest()[:32]
    for attempt in range(_REGISTRY_PATIENCE):
        try:
            found = await asyncio.to_thread(context.registry.model_version, name, version)
            source = hashlib.sha256(f"{found.source}\0{found.run_id}".encode()).hexdigest()[:16]
            destination = context.data.models / f"{folder}-{source}"
            if not (destination / "MLmodel").is_file():
                with log.step(f"download model {name} version {version}"):
                    await asyncio.to_thread(context.registry.download, name, version, destination)
            return destination
        except TemporarilyUnavailable as error:
            log.line(f"the model registry does not answer (try {attempt + 1}): {error.message}")
            await asyncio.sleep(_REGISTRY_RETRY_SECONDS)
        except ApiError as error:
            raise StepFailed(f"The model could not be fetched: {error.message}") from error
    raise StepFailed("The model could not be fetched: the model registry does not answer.")


async def read_environment(model_path: Path) -> EnvironmentSpec:
    """What environment the model in that folder asks for.

    Raises:
        StepFailed: its files do not say it.
    """
    try:
        return await asyncio.to_thread(read_environment_spec, model_path)
    except EnvironmentSpecError as error:
        raise StepFailed(f"The environment could not be built: {error}") from error


async def make_environment(context: Context, spec: EnvironmentSpec, log: BuildLog) -> Environment:
    """The ready environment.

    Raises:
        StepFailed: it cannot be built.
    """
    try:
        return await context.builder.ensure(spec, log)
    except EnvironmentBuildError as error:
        raise StepFailed(f"The environment could not be built: {error}") from error


def loader_module(model_path: Path) -> str:
    """The module that loads the model, from its MLmodel file; nothing when it has no python_function flavor."""
    document = yaml.safe_load((model_path / "MLmodel").read_text())
    flavor = (document.get("flavors") or {}).get("python_function") or {}
    return str(flavor.get("loader_module", ""))
