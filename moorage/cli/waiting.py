"""Waiting until an update of an endpoint has ended, and telling meanwhile what happens."""

from __future__ import annotations

import time
from collections.abc import Callable

from moorage.cli import endpoint_text
from moorage.cli.client import ApiClient, ApiRefused, Json, Unreachable, endpoint_path

_FIRST_PAUSE_SECONDS = 0.3
_LONGEST_PAUSE_SECONDS = 2.0
_PATIENCE_SECONDS = 60.0
_OVERLAP = 4096
_EVENTS = 100


class UpdateFailed(Exception):
    """The update that was waited for did not succeed; `detail` is the endpoint as it was then."""

    def __init__(self, reason: str, detail: Json) -> None:
        super().__init__(reason)
        self.detail = detail


class Progress:
    """Tells what is new about one endpoint: its state, its events, the lines of its build logs.

    `say` gets each line. What was there at `skip_past` is not told.
    """

    def __init__(self, client: ApiClient, name: str, say: Callable[[str], None]) -> None:
        self._client = client
        self._name = name
        self._say = say
        self._state = ""
        self._events: set[tuple[object, ...]] = set()
        self._logs: dict[str, str] = {}

    def skip_past(self) -> None:
        """Take the events so far as known."""
        self._new_events()

    def tell(self, detail: Json) -> None:
        """Say what has changed since the last call."""
        for event in self._new_events():
            # The first line of its message: what went wrong is told whole at the end.
            self._say(endpoint_text.event_line(event).partition("\n")[0])
        if detail["state"]["config_update"] == "IN_PROGRESS":
            pending = detail.get("pending_config", {})
            for entity in pending.get("served_entities", []):
                self._tell_build(str(entity.get("name")), pending.get("config_version"))
        state = endpoint_text.state(detail)
        if state != self._state:
            self._state = state
            self._say(f"{self._name}: {state}")

    def _new_events(self) -> list[Json]:
        try:
            found = self._client.get(endpoint_path(self._name, "events"), {"page_size": _EVENTS})
        except ApiRefused:
            # Without them there is less to tell; whether the endpoint is there is not asked here.
            return []
        new = []
        for event in reversed(found.get("events", [])):
            identity = tuple(event.get(key) for key in ("id", "timestamp", "event_type", "served_entity_name"))
            if identity not in self._events:
                self._events.add(identity)
                new.append(event)
        return new

    def _tell_build(self, served: str, version: int | None) -> None:
        try:
            path = endpoint_path(self._name, "served-models", served, "build-logs")
            log = str(self._client.get(path, {"config_version": version} if version else None).get("logs", ""))
        except ApiRefused:
            return
        # The last line may be half written.
        whole = log[: log.rfind("\n") + 1]
        for line in added(self._logs.get(served, ""), whole).splitlines():
            self._say(f"{served} | {line}")
        self._logs[served] = whole


def added(before: str, now: str) -> str:
    """What a log that forgets its oldest lines has got since `before`."""
    if now.startswith(before):
        return now[len(before) :]
    known = before[-_OVERLAP:]
    place = now.rfind(known)
    return now[place + len(known) :] if place >= 0 else now


def wait_for_update(
    client: ApiClient,
    accepted: Json,
    seconds: float,
    progress: Progress,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Json:
    """The endpoint once the update that `accepted`, the answer of the API, began has ended well.

    Raises:
        UpdateFailed: it failed, was cancelled or replaced, or has not ended within `seconds`.
        ApiRefused: the endpoint is gone.
        Unreachable: the server has not answered for a minute, or since `seconds` are over.
    """
    name = str(accepted["name"])
    version = accepted.get("pending_config", {}).get("config_version", 0)
    deadline = clock() + seconds
    patience = clock() + _PATIENCE_SECONDS
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            detail = client.get(endpoint_path(name))
            progress.tell(detail)
            patience = clock() + _PATIENCE_SECONDS
        except (ApiRefused, Unreachable) as error:
            passing = error.passing if isinstance(error, ApiRefused) else True
            if not passing or clock() > min(patience, deadline):
                raise
        else:
            if detail["state"]["config_update"] != "IN_PROGRESS":
                return _outcome(detail, version)
            if clock() > deadline:
                raise UpdateFailed(f"not within {seconds:g} s; the update goes on", detail)
        sleep(pause)
        pause = min(_LONGEST_PAUSE_SECONDS, pause * 1.5)


def _outcome(detail: Json, version: int) -> Json:
    update = detail["state"]["config_update"]
    if update == "UPDATE_FAILED":
        raise UpdateFailed(endpoint_text.failure(detail), detail)
    if update != "NOT_UPDATING":
        raise UpdateFailed("the update was canceled", detail)
    if detail.get("config", {}).get("config_version", 0) < version:
        raise UpdateFailed("the update was canceled or rolled back", detail)
    return detail
