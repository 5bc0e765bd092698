"""Logs and events as they come, for any number of followers, as server-sent events.

Source: WHATWG HTML, server-sent events. A follower is a coroutine that looks at its files a few times a second; one
task looks into the database for all of them. The id of an event says how far the follower has got, so that a new
connection with `Last-Event-ID` goes on after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from fastapi.sse import format_sse_event
from sqlalchemy.exc import SQLAlchemyError

from moorage.control import endpoint_views as views
from moorage.control.lifecycle import DeploymentPhase, wire_state
from moorage.control.log_reading import Line, LogReader
from moorage.control.logs import LOG_BYTES, replica_logs, tag
from moorage.control.store import following as store
from moorage.control.store.endpoints import EventFilter
from moorage.control.store.engine import Sessions, reading
from moorage.control.store.following import Standing
from moorage.control.store.models import Event
from moorage.datadir import DataDirectory

_logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.25
_DATABASE_SECONDS = 0.5
_KEEPALIVE_SECONDS = 10.0
_RETRY_MILLISECONDS = 1000
_EVENTS_AT_ONCE = 200
_MOST_PLACES = 256
_CLOCK_TICK_NANOSECONDS = 1_000_000_000
_KEEPALIVE = format_sse_event(comment="")
_REPLICA_PLACE = re.compile(r"([0-9A-Za-z_-]{1,64}):(\d{1,18})")
_BUILDING = frozenset({
    DeploymentPhase.PENDING, DeploymentPhase.FETCHING, DeploymentPhase.BUILDING, DeploymentPhase.STARTING,
})  # fmt: skip


class Followers:
    """Everybody who follows something. Used from the event loop only.

    Each of the three methods that follow answers the bytes of an event stream: `event: line` with a line of a log,
    or `event: event` with an event as JSON, then `event: end` when there will be no more. A stream that stops
    without that one stops because the server does.
    """

    def __init__(self, data: DataDirectory, sessions: Sessions) -> None:
        self._data = data
        self._sessions = sessions
        self._closing = asyncio.Event()
        self._deployments: Counter[str] = Counter()
        self._endpoints: Counter[str] = Counter()
        # By id; None when there is no such row any more, missing until the first look.
        self._standings: dict[str, Standing | None] = {}
        self._newest: dict[str, int | None] = {}
        self._looking: asyncio.Task[None] | None = None

    @property
    def count(self) -> int:
        """How many streams are open."""
        return self._deployments.total() + self._endpoints.total()

    def close(self) -> None:
        """End every stream; the server stops."""
        self._closing.set()

    async def build_log(self, deployment_id: str, last_event_id: str) -> AsyncIterator[bytes]:
        """The build log, until the deployment has left building."""
        path = self._data.build_log(deployment_id)
        place = re.fullmatch(rf"{re.escape(deployment_id)}:(\d{{1,18}})", last_event_id)
        reader = LogReader(path, int(place[1])) if place else LogReader.of_tail(path, LOG_BYTES)
        beat = _Beat()
        with self._registered(self._deployments, self._standings, deployment_id):
            yield _begin()
            while True:
                # Looked at before the log is read: what was written before the end is in it then.
                ended = self._has_ended(deployment_id, _is_built)
                lines = reader.read(to_the_end=ended)
                if lines:
                    yield beat.of(_encoded(line.text, f"{deployment_id}:{line.position}") for line in lines)
                if ended and not reader.more:
                    yield _end(self._standings[deployment_id])
                    return
                if await self._stops(0 if reader.more else _POLL_SECONDS):
                    return
                if beat.is_due():
                    yield beat.of([_KEEPALIVE])

    async def service_log(
        self, deployment_id: str, replica_id: str | None, last_event_id: str
    ) -> AsyncIterator[bytes]:
        """What the replicas print, or one of them, until the deployment is gone.

        First what is there, a replica after the other; then lines in the order in which they are seen. Those of
        several replicas begin with the replica's tag.
        """
        logs = _ReplicaLogs(self._data, deployment_id, replica_id, _places(last_event_id))
        beat = _Beat()
        with self._registered(self._deployments, self._standings, deployment_id):
            yield _begin()
            while True:
                ended = self._has_ended(deployment_id, _is_gone)
                more = False
                for reader in logs.readers():
                    lines = reader.read(to_the_end=ended)
                    if lines:
                        yield beat.of(logs.encoded(reader, lines))
                    # The older logs come whole before the newer ones begin, as far as they were there at first.
                    while reader.more and logs.is_catching_up(reader):
                        if await self._stops(0):
                            return
                        yield beat.of(logs.encoded(reader, reader.read()))
                    more = more or reader.more
                if (ended or logs.is_lost) and not more:
                    yield _end(self._standings.get(deployment_id))
                    return
                if await self._stops(0 if more else _POLL_SECONDS):
                    return
                if beat.is_due():
                    yield beat.of([_KEEPALIVE])

    async def events(self, endpoint_id: str, after: int, wanted: EventFilter) -> AsyncIterator[bytes]:
        """The endpoint's events after the one with the id `after`, until the endpoint is gone."""
        beat = _Beat()
        with self._registered(self._endpoints, self._newest, endpoint_id):
            # An event without data is none for the client, which still remembers its id.
            yield _begin(str(after))
            while True:
                newest = self._newest.get(endpoint_id, after)
                if newest is None or newest > after:
                    found = await asyncio.to_thread(self._events_after, endpoint_id, after)
                    taken = [event for event in found if wanted.takes(event)]
                    if taken:
                        yield beat.of(_encoded_event(event) for event in taken)
                    if found:
                        after = found[-1].id
                        continue
                    if newest is None:
                        yield _end(None)
                        return
                if await self._stops(_POLL_SECONDS):
                    return
                if beat.is_due():
                    yield beat.of([_KEEPALIVE])

    def _events_after(self, endpoint_id: str, after: int) -> list[Event]:
        with reading(self._sessions) as session:
            return list(store.events_after(session, endpoint_id, after, _EVENTS_AT_ONCE))

    def _has_ended(self, deployment_id: str, test: Callable[[Standing | None], bool]) -> bool:
        return deployment_id in self._standings and test(self._standings[deployment_id])

    async def _stops(self, seconds: float) -> bool:
        """Wait that long. Whether the server stops."""
        if seconds == 0:
            await asyncio.sleep(0)
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):  # `wait_for` would make a task every time
                    await self._closing.wait()
        return self._closing.is_set()

    @contextlib.contextmanager
    def _registered(self, followed: Counter[str], known: dict[str, Any], identifier: str) -> Iterator[None]:
        followed[identifier] += 1
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_for_all(), name="look for followers")
        try:
            yield
        finally:
            followed[identifier] -= 1
            if not followed[identifier]:
                del followed[identifier]
                known.pop(identifier, None)

    async def _look_for_all(self) -> None:
        """Keep what is followed known, for as long as something is."""
        while self.count and not self._closing.is_set():
            deployments, endpoints = set(self._deployments), set(self._endpoints)
            try:
                standings, newest = await asyncio.to_thread(self._look, deployments, endpoints)
            except SQLAlchemyError as error:
                _logger.warning("followers hear nothing new: the database does not answer: %s", error)
            else:
                self._standings.update((one, standings.get(one)) for one in deployments & self._deployments.keys())
                self._newest.update((one, newest.get(one)) for one in endpoints & self._endpoints.keys())
            await self._stops(_DATABASE_SECONDS)

    def _look(self, deployments: set[str], endpoints: set[str]) -> tuple[dict[str, Standing], dict[str, int]]:
        with reading(self._sessions) as session:
            return store.standings(session, deployments), store.newest_events(session, endpoints)


class _ReplicaLogs:
    """The logs of a deployment's replicas, or of one, each with its reader; new ones appear by themselves."""

    def __init__(
        self, data: DataDirectory, deployment_id: str, replica_id: str | None, places: dict[str, int]
    ) -> None:
        self._data = data
        self._deployment_id = deployment_id
        self._only = replica_id
        self._places = places
        self._looked = 0
        self._readers: dict[str, LogReader] = {}
        self._there_at_first: dict[str, int] = {}

    @property
    def is_lost(self) -> bool:
        """Whether one replica is followed whose log is no more."""
        return self._only is not None and not self._readers

    def readers(self) -> list[LogReader]:
        """Those of the logs that there are now; at first the one that was written to last is last."""
        try:
            changed = self._data.deployment(self._deployment_id).stat().st_mtime_ns
        except FileNotFoundError:
            changed = 0
        # A file may have come in the same tick of the folder's clock as the look.
        if changed > self._looked - _CLOCK_TICK_NANOSECONDS or not changed:
            self._looked = time.time_ns()
            self._find()
        return list(self._readers.values())

    def is_catching_up(self, reader: LogReader) -> bool:
        """Whether the reader has not yet given what its log had when it was found."""
        return reader.position < self._there_at_first[reader.path.stem]

    def encoded(self, reader: LogReader, lines: list[Line]) -> Iterator[bytes]:
        """The lines as events, each with the places in all logs after it."""
        name = reader.path.stem
        prefix = f"[{tag(name)}] " if self._only is None else ""
        others = "".join(f"{one}:{other.position}," for one, other in self._readers.items() if one != name)
        for line in lines:
            yield _encoded(prefix + line.text, f"{others}{name}:{line.position}")

    def _find(self) -> None:
        paths = replica_logs(self._data, self._deployment_id)
        if self._only is not None:
            paths = [path for path in paths if path.stem == self._only]
        limit = LOG_BYTES // max(1, len(paths))
        found: dict[str, LogReader] = {}
        for path in paths:
            name = path.stem
            if name in self._readers:
                found[name] = self._readers[name]
            elif name in self._places:
                found[name] = LogReader(path, self._places.pop(name))
            else:
                found[name] = LogReader.of_tail(path, limit)
            if name not in self._there_at_first:
                self._there_at_first[name] = found[name].position + _size(path)
        self._readers = found


class _Beat:
    """Joins what is sent at once, and knows when nothing was sent for too long."""

    def __init__(self) -> None:
        self._sent = time.monotonic()

    def of(self, parts: Iterable[bytes]) -> bytes:
        self._sent = time.monotonic()
        return b"".join(parts)

    def is_due(self) -> bool:
        return time.monotonic() - self._sent >= _KEEPALIVE_SECONDS


def _is_built(standing: Standing | None) -> bool:
    return standing is None or standing.phase not in _BUILDING


def _is_gone(standing: Standing | None) -> bool:
    if standing is None or standing.phase is DeploymentPhase.RETIRED:
        return True
    return standing.phase is DeploymentPhase.ABORTED and not standing.has_replicas


def _places(last_event_id: str) -> dict[str, int]:
    """Positions by replica id; what cannot be read is left out, and begins anew."""
    found = (_REPLICA_PLACE.fullmatch(part) for part in last_event_id.split(",", _MOST_PLACES)[:_MOST_PLACES])
    return {match[1]: int(match[2]) for match in found if match}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _begin(identifier: str | None = None) -> bytes:
    return format_sse_event(retry=_RETRY_MILLISECONDS, id=identifier)


def _encoded(text: str, identifier: str) -> bytes:
    return format_sse_event(event="line", data_str=text, id=identifier)


def _encoded_event(event: Event) -> bytes:
    data = views.event_output(event).model_dump_json(exclude_none=True)
    return format_sse_event(event="event", data_str=data, id=str(event.id))


def _end(standing: Standing | None) -> bytes:
    """With the state that the deployment has come to, where there is one."""
    data = {"deployment": wire_state(standing.phase)} if standing else {}
    return format_sse_event(event="end", data_str=json.dumps(data))
