"""One check: what a deployment goes through, once, up to an answer of the model; then all of it is taken down."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from moorage.api.errors import ApiError
from moorage.api.model_checks import CheckState, StepFigures, StepName, StepState
from moorage.api.served_entities import CustomModelSpec
from moorage.compute.base import ComputeError, Interpreter, ReplicaPhase, ReplicaProcess, ReplicaSpec
from moorage.control.checks import model_files
from moorage.control.checks.progress import Progress, Step
from moorage.control.checks.request import Answer, ask
from moorage.control.logs import tail
from moorage.control.model_accounts import interpreter_of
from moorage.control.model_signature import ModelFilesError, read_model
from moorage.control.reconciler.context import Context, in_thread
from moorage.control.reconciler.loading import until_loaded
from moorage.control.reconciler.preparation import (
    DEFAULTS_CHANNEL,
    StepFailed,
    fetch_model,
    loader_module,
    make_environment,
    read_environment,
    require_hardware,
)
from moorage.control.secret_references import SecretUnreadable
from moorage.datadir import DataDirectory
from moorage.environments.advice import warnings_about
from moorage.environments.local import satisfied_by_server
from moorage.environments.log import BuildLog
from moorage.replica.frames import FrameError
from moorage.settings import EnvManager

FOLDER_PREFIX = "check-"
_LOG_BYTES = 128 * 1024
_TAIL_BYTES = 3000
_STOP_SECONDS = 1.0
_ENDING_SECONDS = 1.0
_BATCHING_IN_WORDS = {
    "array": "Rows of requests that wait are predicted together, as one array.",
    "frame": "Rows of requests that wait are predicted together, as one DataFrame.",
    "tensor": "Rows of requests that wait are predicted together, as one tensor.",
    None: "Each request is predicted by itself, by MLflow's own scoring server.",
}


def discard_leftovers(data: DataDirectory) -> None:
    """Remove the logs of checks that a killed control plane left. Only when none runs."""
    for folder in data.deployments.glob(f"{FOLDER_PREFIX}*"):
        shutil.rmtree(folder, ignore_errors=True)


class CheckRun:
    """`run` does the check; the rest may be read at any time."""

    def __init__(self, context: Context, check_id: str, spec: CustomModelSpec, creator_id: str) -> None:
        self.progress = Progress()
        self._context = context
        self._spec = spec
        self._creator_id = creator_id
        self._folder = FOLDER_PREFIX + check_id
        self._replica_id = secrets.token_hex(6)
        self._starting: asyncio.Task[ReplicaProcess] | None = None
        self._kept_log = ""

    @property
    def verdict(self) -> CheckState:
        """What came out of it, once it has been run."""
        return CheckState.FAILED if self.progress.in_state(StepState.FAILED) else CheckState.SUCCEEDED

    @property
    def message(self) -> str:
        """The verdict in a sentence."""
        subject = f"{self._spec.entity_name} version {self._spec.entity_version}"
        failed, warnings = self.progress.in_state(StepState.FAILED), self.progress.in_state(StepState.WARNING)
        if failed:
            return f"{subject} cannot be served: it fails at '{failed[0].name}'."
        if not warnings:
            return f"{subject} can be served."
        names = ", ".join(f"'{step.name}'" for step in warnings)
        return f"{subject} can be served; see the warnings of {names}."

    def build_log(self) -> str:
        """What has been logged while the environment was made. Reads a file."""
        return tail(self._context.data.build_log(self._folder), _LOG_BYTES) or self._kept_log

    async def run(self) -> None:
        """Do every step until one fails. When it returns, or is canceled, nothing of the check runs any more."""
        try:
            await self._do_steps()
        except StepFailed:
            pass  # the step says it
        finally:
            self.progress.conclude()
            await _see_through(self._clean_up())

    async def _do_steps(self) -> None:
        with self.progress.step(StepName.REGISTRY).running() as step:
            log = BuildLog(self._context.data.build_log(self._folder), max_bytes=_LOG_BYTES)
            await self._look_up(step)
        with self.progress.step(StepName.FETCH).running() as step:
            model = await self._fetch(step, log)
        with self.progress.step(StepName.ENVIRONMENT).running() as step:
            interpreter = await self._make_environment(step, model, log)
        with self.progress.step(StepName.LOAD).running() as step:
            replica = await self._load(step, model, interpreter)
        with self.progress.step(StepName.SIGNATURE).running() as step:
            await _look_at_signature(step, model)
        with self.progress.step(StepName.EXAMPLE).running() as step:
            await self._answer_example(step, model, replica)
        with self.progress.step(StepName.BATCHING).running() as step:
            self._report_batching(step, replica)

    async def _look_up(self, step: Step) -> None:
        name, version = self._spec.entity_name, self._spec.entity_version
        try:
            found = await asyncio.to_thread(self._context.registry.model_version, name, version)
            found.require_ready()
        except ApiError as error:
            raise StepFailed(error.message) from error
        step.say(f"Version {version} is {found.status}.")

    async def _fetch(self, step: Step, log: BuildLog) -> Path:
        models = self._context.data.models
        here = await asyncio.to_thread(lambda: {path.name for path in models.glob("*")})
        path = await fetch_model(self._context, self._spec, log)
        size, count = await asyncio.to_thread(model_files.size, path)
        reused = path.name in here
        step.figures = StepFigures(size_bytes=size, reused=reused)
        step.say(f"{'Is here already' if reused else 'Downloaded'}: {in_words(size)} in {count} files.")
        return path

    async def _make_environment(self, step: Step, model: Path, log: BuildLog) -> Interpreter:
        context = self._context
        require_hardware(self._spec.workload_type)
        wanted = await read_environment(model)
        environment = await make_environment(context, wanted, log)
        local = environment.manager is EnvManager.LOCAL
        step.figures = StepFigures(environment_key=environment.key, reused=local or environment.reused)
        if local:
            step.say(f"The server's own environment is used: {environment.key}.")
        else:
            step.say(f"{'Reused' if environment.reused else 'Built'}: {environment.key}.")
        if local and context.settings.env_manager is EnvManager.LOCAL:
            for reason in await asyncio.to_thread(satisfied_by_server, wanted):
                step.warn(f"It is used although {reason}.")
        for warning in warnings_about(wanted):
            step.warn(warning)
        if wanted.uses_defaults_channel:
            step.warn(DEFAULTS_CHANNEL)
        return await interpreter_of(context, environment, self._creator_id)

    async def _load(self, step: Step, model: Path, interpreter: Interpreter) -> ReplicaProcess:
        context = self._context
        try:
            variables = await in_thread(context.secrets.variables, self._spec.environment_vars, self._creator_id)
        except SecretUnreadable as error:
            raise StepFailed(str(error)) from error
        spec = ReplicaSpec(
            replica_id=self._replica_id,
            deployment_id=self._folder,
            endpoint=self._folder,
            served_name=self._spec.name,
            model_path=model,
            loader_module=await asyncio.to_thread(loader_module, model),
            variables=variables,
        )
        # A start that is broken off in the middle would leave a process that nobody knows of.
        self._starting = asyncio.create_task(context.compute.start_replica(spec, interpreter))
        try:
            replica = await asyncio.shield(self._starting)
        except ComputeError as error:
            raise StepFailed(str(error)) from error
        state = await until_loaded(context.compute, replica, context.settings.replica_load_timeout_seconds)
        if state.phase is not ReplicaPhase.READY:
            what = state.message or state.phase.value
            raise StepFailed(self._with_log(f"The model could not be loaded: {what}."))
        memory = await context.compute.memory(replica)
        step.figures = StepFigures(
            load_seconds=state.load_seconds,
            warm_up_seconds=state.warm_up_seconds,
            resident_bytes=memory.resident if memory else None,
            own_bytes=memory.own if memory else None,
        )
        step.say(f"Loaded in {state.load_seconds or 0:.2f} s, warmed up in {state.warm_up_seconds or 0:.2f} s.")
        if memory:
            step.say(f"A replica takes {in_words(memory.resident)}, {in_words(memory.own)} of it for itself alone.")
        return replica

    async def _answer_example(self, step: Step, model: Path, replica: ReplicaProcess) -> None:
        body = await asyncio.to_thread(model_files.serving_example, model)
        settings = self._context.settings
        if body is None:
            step.skip("The model has no input example to be asked with; log it with input_example=.")
            return
        if len(body) > settings.max_request_bytes:
            has, limit = in_words(len(body)), in_words(settings.max_request_bytes)
            step.warn(f"The input example was not sent: it has {has}, and requests are limited to {limit}.")
            return
        limit_seconds = settings.request_timeout_seconds
        try:
            answer = await ask(replica.address, body, self._folder, limit_seconds)
        except TimeoutError:
            raise StepFailed(f"The model did not answer its input example within {limit_seconds:g} s.") from None
        except (OSError, FrameError) as error:
            ending = await self._ending(replica, error)
            raise StepFailed(self._with_log(f"The replica did not answer its input example: {ending}.")) from error
        step.figures = StepFigures(
            status=answer.status, predict_seconds=answer.predict_seconds, response_bytes=len(answer.body)
        )
        if answer.status >= 400:
            words = f"The model answers its own input example with status {answer.status}"
            raise StepFailed(f"{words}: {_reason(answer)}")
        size = in_words(len(answer.body))
        step.say(f"Status {answer.status} with {size}; the prediction took {answer.predict_seconds * 1000:.1f} ms.")

    async def _ending(self, replica: ReplicaProcess, error: Exception) -> str:
        """How the replica ended; it lets go of its connections a moment before it is gone."""
        compute = self._context.compute
        try:
            await asyncio.wait_for(compute.ended(replica), _ENDING_SECONDS)
        except TimeoutError:
            return str(error)
        state = compute.observe(replica)
        return state.message or state.phase.value

    def _report_batching(self, step: Step, replica: ReplicaProcess) -> None:
        state = self._context.compute.observe(replica)
        step.figures = StepFigures(path=state.fast_path or "mlflow")
        if state.fast_path is not None and state.batching is False:
            step.warn("Batching was switched off: an answer had not one entry per input row.")
        else:
            step.say(_BATCHING_IN_WORDS.get(state.fast_path, f"Requests are batched ({state.fast_path})."))

    def _with_log(self, reason: str) -> str:
        end = self._context.compute.log_tail(self._folder, self._replica_id, _TAIL_BYTES)
        return f"{reason} Last lines of its log:\n{end}".rstrip()

    async def _clean_up(self) -> None:
        if self._starting is not None:
            try:
                replica = await self._starting
            except ComputeError:
                pass  # it has not started, which its step says
            else:
                await self._context.compute.stop_replica(replica, _STOP_SECONDS)
        self._kept_log = await in_thread(self.build_log)
        folder = self._context.data.deployment(self._folder)
        await in_thread(shutil.rmtree, folder, ignore_errors=True)


async def _look_at_signature(step: Step, model: Path) -> None:
    try:
        described = await asyncio.to_thread(read_model, model)
    except ModelFilesError as error:
        step.warn(f"What the model says of its input cannot be shown: {error}.")
        return
    if described.signature is None:
        step.warn(
            "The model has no signature: input goes to it unchecked and with the types that JSON gives, and requests"
            " are not batched. Log it with signature= or input_example=."
        )
    else:
        step.say(model_files.in_a_sentence(described.signature))


async def _see_through(work: Coroutine[Any, Any, None]) -> None:
    """Do it to its end, also when the caller is canceled meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


def _reason(answer: Answer) -> str:
    """What an error answer says, with the end of the model's traceback where it has one."""
    try:
        document = json.loads(answer.body)
    except ValueError:
        document = {}
    if not isinstance(document, dict):
        document = {}
    message, trace = str(document.get("message", "")), str(document.get("stack_trace", ""))
    return f"{message}\n{trace[-_TAIL_BYTES:]}".strip()


def in_words(size: int) -> str:
    """Bytes in the unit that suits them."""
    if size < 1024:
        return f"{size} bytes"
    amount, unit = size / 1024, "KiB"
    for larger in ("MiB", "GiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.1f} {unit}"
