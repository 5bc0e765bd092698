"""Follows the stages of registered models: what the registry says of those that are served by stage."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable

from moorage.api.errors import ApiError, InvalidParameterValue
from moorage.api.legacy import Stage
from moorage.control.endpoint_rows import change_event
from moorage.control.legacy.rows import NO_ROOM
from moorage.control.store import endpoints as endpoint_store
from moorage.control.store import legacy as store
from moorage.control.store.engine import Sessions, reading
from moorage.registry.client import ModelRegistry

_logger = logging.getLogger(__name__)

_READY = "READY"
_SERVED = frozenset(Stage)
_LOOK_AT_ALL_SECONDS = 60.0


def model_gone(model: str) -> str:
    """What an endpoint says of a model that has left the registry."""
    return f"Registered model '{model}' is no longer in the registry."


class StageWatcher:
    """Writes down the stages and has the endpoint reconciled. Usable from any thread."""

    def __init__(
        self,
        sessions: Sessions,
        registry: ModelRegistry,
        changed: Callable[[str], None],
        clock: Callable[[], int],
    ) -> None:
        """`changed` is told the id of an endpoint whose stages are others than before."""
        self._sessions = sessions
        self._registry = registry
        self._changed = changed
        self._clock = clock
        self._looking = threading.Lock()  # what was read first is written first
        self._newest = 0  # when the registry's newest change was that has been looked at
        self._all_looked_at = 0.0
        self._served: set[str] = set()  # at the last poll
        self._silent = False

    def stages(self, model: str) -> dict[str, str]:
        """The stage of each version that is to be served.

        Raises:
            TemporarilyUnavailable: the registry does not answer.
        """
        return {
            one.version: one.stage
            for one in self._registry.model_versions(model)
            if one.stage in _SERVED and one.status == _READY
        }

    def look(self, model: str) -> None:
        """Take in what the registry says of a model now, where that is served by stage.

        Raises:
            TemporarilyUnavailable: the registry does not answer.
        """
        with self._looking:
            try:
                stages = self.stages(model)
            except InvalidParameterValue as error:
                # It has been renamed to a name that cannot be asked for. That is no matter of the other models.
                _logger.warning("the stages of a registered model cannot be read: %s", error.message)
                return
            gone = not stages and not self._registry.has_model(model)
            with self._sessions.begin() as session:
                found = store.find_for_change(session, model)
                if found is None:
                    return
                row, endpoint = found
                problem = row.problem if not gone and row.problem != model_gone(model) else ""
                problem = model_gone(model) if gone else problem
                if row.stages == stages and row.problem == problem != NO_ROOM:
                    return  # where there was no room there may be by now
                row.problem = problem
                if row.stages != stages:
                    row.stages = stages
                    listed = ", ".join(f"version {one} in {stages[one]}" for one in sorted(stages, key=int))
                    words = f"The registry has {listed or 'no version in a served stage'}."
                    event = change_event(endpoint, "STAGES_CHANGED", "REGISTRY_READ", words, self._clock())
                    endpoint_store.add_event(session, event)
                endpoint_id = endpoint.id
        self._changed(endpoint_id)

    def poll(self) -> None:
        """Look at the models that the registry has changed since the last time, and at all of them now and then.

        Raises:
            TemporarilyUnavailable: the registry does not answer.
        """
        with reading(self._sessions) as session:
            served = {row.registered_model_name for row, _ in store.all_models(session)}
        if not served:
            return
        now = time.monotonic()
        newest = self._newest or self._clock()
        changed = self._registry.changed_since(newest)
        all_of_them = not self._newest or now - self._all_looked_at > _LOOK_AT_ALL_SECONDS
        # What was changed while serving was enabled, or the model renamed, may have been in an answer before.
        concerned = served if all_of_them else (served & changed.keys()) | (served - self._served)
        for model in sorted(concerned):
            self.look(model)
        self._served = served
        if all_of_them:
            self._all_looked_at = now
        # What was changed in the same millisecond may not have been in the answer: it is looked at again.
        self._newest = max(changed.values(), default=newest)

    async def watch_for_ever(self, seconds: float) -> None:
        """Poll again and again. A registry that is away changes nothing: what serves goes on."""
        while True:
            try:
                await asyncio.to_thread(self.poll)
                self._silent = False
            except ApiError as error:
                if not self._silent:
                    _logger.warning("stages of registered models cannot be read: %s", error.message)
                self._silent = True
            except Exception:
                _logger.exception("stages of registered models cannot be followed; it is tried again")
            await asyncio.sleep(seconds)
