"""Server-sent events, read from the bytes of an answer. Source: WHATWG HTML, server-sent events, 9.2.6."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

MOST_LINE_BYTES = 4 * 1024 * 1024
_LINE_END = re.compile(rb"\r\n|\n|\r")


class BadStream(Exception):
    """What arrives cannot be an event stream; the message says why."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event: `name` is `message` where the server gives none; `id` is the newest id of the stream so far."""

    name: str
    data: str
    id: str = ""


@dataclass(slots=True)
class EventReader:
    """Feeds on chunks as they arrive, split anywhere. Keeps what a reconnection needs: the id and the wait.

    `retry_seconds` is what the server asked to wait before connecting again, None when it did not. `heard` says
    that bytes have come since it was last set to False, `begun` that the server has ever agreed to stream.
    """

    last_id: str = ""
    heard: bool = False
    begun: bool = False
    retry_seconds: float | None = None
    _id: str = ""
    _name: str = ""
    _data: list[str] = field(default_factory=list)

    def events(self, chunks: Iterable[bytes]) -> Iterator[Event]:
        """The complete events of one connection; an unfinished one at its end is dropped, as the standard says.

        Raises:
            BadStream: a line is longer than `MOST_LINE_BYTES`.
        """
        self._id, self._name, self._data = self.last_id, "", []
        for line in _lines(self._noticed(chunks)):
            event = self._take(line.decode(errors="replace"))
            if event is not None:
                yield event

    def _noticed(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.heard = True
            yield chunk

    def _take(self, line: str) -> Event | None:
        if not line:
            return self._dispatch()
        field_name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field_name == "event":
            self._name = value
        elif field_name == "data":
            self._data.append(value)
        elif field_name == "id" and "\0" not in value:
            self._id = value
        elif field_name == "retry" and value.isascii() and value.isdigit():
            self.retry_seconds = int(value) / 1000
        return None

    def _dispatch(self) -> Event | None:
        # Not before the event is whole: one that is cut off must come again. One without data counts too.
        self.last_id = self._id
        name, data = self._name or "message", self._data
        self._name, self._data = "", []
        return Event(name, "\n".join(data), self.last_id) if data else None


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    parts: list[bytes] = []
    size = 0
    for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if _LINE_END.search(chunk) is None:
            if size > MOST_LINE_BYTES:
                raise BadStream(f"a line of more than {MOST_LINE_BYTES} bytes")
            continue
        kept = b"".join(parts)
        # A carriage return at the very end may be the first half of a line's end.
        whole = kept[:-1] if kept.endswith(b"\r") else kept
        *lines, rest = _LINE_END.split(whole)
        yield from lines
        parts = [rest + kept[len(whole) :]]
        size = len(parts[0])
