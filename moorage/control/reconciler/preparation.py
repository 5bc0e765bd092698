"""What a deployment needs before its first replica: the model's files and a ready environment."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path

import yaml

from moorage.api.errors import ApiError, TemporarilyUnavailable
from moorage.api.served_entities import CustomModelSpec
from moorage.compute.base import Interpreter
from moorage.control.lifecycle import DeploymentPhase, Trigger
from moorage.control.reconciler.context import Context, in_thread
from moorage.control.reconciler.journal import DeploymentJournal
from moorage.control.reconciler.records import DeploymentRecord
from moorage.environments.builder import EnvironmentBuildError
from moorage.environments.requirements import EnvironmentSpecError, read_environment_spec

_REGISTRY_RETRY_SECONDS = 2.0
_REGISTRY_PATIENCE = 30
_DEFAULTS_CHANNEL = (
    "conda.yaml lists the channel 'defaults', which has licence terms of its own. Channels are not used here:"
    " packages come from the Python package index."
)


class StepFailed(Exception):
    """A step cannot succeed by being repeated; the message says why."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """`loader_module` is the module that loads the model, as its MLmodel file names it."""

    model_path: Path
    interpreter: Interpreter
    loader_module: str


class Preparation:
    """Done once for a deployment; every replica of it waits for the same."""

    def __init__(
        self, context: Context, record: DeploymentRecord, spec: CustomModelSpec, journal: DeploymentJournal
    ) -> None:
        self._context = context
        self._id = record.id
        self._spec = spec
        self._journal = journal
        self._model_path = Path(record.model_path) if record.model_path else None
        self._result: Prepared | None = None
        self._lock = asyncio.Lock()

    async def result(self) -> Prepared:
        """Fetch and build what is not there yet.

        Raises:
            StepFailed: the model cannot be fetched, or its environment not built, or not on this machine.
        """
        async with self._lock:
            if self._result is None:
                self._result = await self._prepare()
            return self._result

    async def _prepare(self) -> Prepared:
        journal = self._journal
        if journal.phase is DeploymentPhase.PENDING:
            await journal.advance(Trigger.RECONCILED, "Fetching the model.")
        self._check_hardware()
        self._check_variables()
        model_path = await self._fetch()
        if journal.phase is DeploymentPhase.FETCHING:
            await journal.advance(Trigger.MODEL_FETCHED, "Building the environment.")
        try:
            spec = await asyncio.to_thread(read_environment_spec, model_path)
            if spec.uses_defaults_channel:
                await journal.event("CONDA_DEFAULTS_CHANNEL", "WARNING", "ENVIRONMENT_READ", _DEFAULTS_CHANNEL)
            environment = await self._context.builder.ensure(spec, journal.log)
        except (EnvironmentBuildError, EnvironmentSpecError) as error:
            raise StepFailed(f"The environment could not be built: {error}") from error
        await in_thread(self._context.records.set_environment, self._id, environment.key)
        loader = await asyncio.to_thread(_loader_module, model_path)
        if journal.phase is DeploymentPhase.BUILDING:
            await journal.advance(Trigger.ENVIRONMENT_READY, "Starting replicas.")
        return Prepared(model_path, Interpreter(environment.key, environment.python), loader)

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
                    with self._journal.log.step(f"download model {name} version {version}"):
                        await asyncio.to_thread(self._context.registry.download, name, version, destination)
                await in_thread(self._context.records.set_model_path, self._id, str(destination))
                self._model_path = destination
                return destination
            except TemporarilyUnavailable as error:
                self._journal.log.line(f"the model registry does not answer (try {attempt + 1}): {error.message}")
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


def _loader_module(model_path: Path) -> str:
    """The module that loads the model, from its MLmodel file; nothing when it has no python_function flavor."""
    document = yaml.safe_load((model_path / "MLmodel").read_text())
    flavor = (document.get("flavors") or {}).get("python_function") or {}
    return str(flavor.get("loader_module", ""))
