"""What the API does with model checks. They live in memory: a restart of the control plane forgets them."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from moorage.api.errors import InvalidParameterValue, RequestLimitExceeded, ResourceDoesNotExist
from moorage.api.model_checks import CheckState, CreateModelCheck, ModelCheck
from moorage.api.routing import Principal
from moorage.api.served_entities import CustomModelSpec
from moorage.control import configurations
from moorage.control.checks.run import CheckRun
from moorage.control.reconciler.context import Context, in_thread
from moorage.identity.ids import new_object_id

_logger = logging.getLogger(__name__)

_AT_ONCE = 2
_MOST_WAITING = 50
_MOST_FINISHED = 50
_RETRY_SECONDS = 30
_CANCEL_SECONDS = 5.0


@dataclass(slots=True)
class _Check:
    """A check, whose it is, and the task that does it."""

    id: str
    spec: CustomModelSpec
    creator: Principal
    created: int
    run: CheckRun
    state: CheckState = CheckState.PENDING
    task: asyncio.Task[None] | None = None

    def view(self, build_log: str | None = None) -> ModelCheck:
        words = {CheckState.PENDING: "Waiting for other checks.", CheckState.RUNNING: "Running."}
        return ModelCheck(
            check_id=self.id,
            entity_name=self.spec.entity_name,
            entity_version=self.spec.entity_version,
            state=self.state,
            message=words.get(self.state) or self.run.message,
            creator=self.creator.user_name,
            creation_timestamp=self.created,
            steps=self.run.progress.view(),
            build_log=build_log,
        )


class ModelChecks:
    """All checks. Every method is called on the event loop; a check is its creator's and the administrators'."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._checks: dict[str, _Check] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def create(self, caller: Principal, request: CreateModelCheck) -> ModelCheck:
        """Accept a check; it begins at once unless others run.

        Raises:
            ResourceDoesNotExist, InvalidParameterValue, PermissionDenied, TemporarilyUnavailable:
                as for a new endpoint that serves this.
            RequestLimitExceeded: too many checks wait.
        """
        if request.external_model is not None:
            raise InvalidParameterValue("'external_model' cannot be checked: a model check is of a registered model")
        if request.provisions_throughput:
            raise InvalidParameterValue("A model with provisioned throughput has no environment to be checked")
        spec = CustomModelSpec.of(request)
        await in_thread(self._context.secrets.require, [spec], caller)
        await in_thread(configurations.require_models, self._context.registry, [spec])
        waiting = [check for check in self._checks.values() if check.state is CheckState.PENDING]
        if len(waiting) >= _MOST_WAITING:
            raise RequestLimitExceeded(
                f"{_MOST_WAITING} model checks are waiting already", retry_after_seconds=_RETRY_SECONDS
            )
        check_id = new_object_id()
        run = CheckRun(self._context, check_id, spec, caller.id)
        check = _Check(check_id, spec, caller, self._context.clock(), run)
        self._checks[check.id] = check
        check.task = asyncio.create_task(self._follow(check), name=f"model check {check.id}")
        self._tasks.add(check.task)
        check.task.add_done_callback(self._tasks.discard)
        return check.view()

    async def get(self, caller: Principal, check_id: str) -> ModelCheck:
        """How far it has come.

        Raises:
            ResourceDoesNotExist: no such check, or somebody else's.
        """
        check = self._find(caller, check_id)
        return check.view(await in_thread(check.run.build_log))

    async def delete(self, caller: Principal, check_id: str) -> None:
        """Cancel it, take down what it has started, and forget it; raises as `get` does."""
        check = self._find(caller, check_id)
        del self._checks[check_id]
        if check.task is not None:
            check.task.cancel()
            # A template that is just importing a large library is not waited for; the check sees to it alone.
            await asyncio.wait({check.task}, timeout=_CANCEL_SECONDS)

    async def close(self, seconds: float) -> None:
        """Cancel all checks and wait so long for what they have started to be taken down."""
        for task in self._tasks:
            if not task.cancelling():
                task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)

    async def _follow(self, check: _Check) -> None:
        async with self._turns:
            check.state = CheckState.RUNNING
            try:
                await check.run.run()
            except Exception:
                name, version = check.spec.entity_name, check.spec.entity_version
                _logger.exception("check of %s version %s: an unforeseen failure", name, version)
            check.state = check.run.verdict
        finished = [one for one in self._checks.values() if one.state.finished]
        for old in finished[:-_MOST_FINISHED]:
            del self._checks[old.id]

    def _find(self, caller: Principal, check_id: str) -> _Check:
        check = self._checks.get(check_id)
        if check is None or not (caller.admin or caller.id == check.creator.id):
            raise ResourceDoesNotExist(f"Model check '{check_id}' not found.")
        return check
