"""Server-sent events, from bytes cut anywhere to events.

Source: WHATWG HTML, section 9.2, server-sent events.
"""

from __future__ import annotations

from typing import NamedTuple

_LONGEST_EVENT = 16 * 1024 * 1024


class SseEvent(NamedTuple):
    """One event; `name` is empty where the stream gave none."""

    name: str
    data: bytes


class EventTooLong(Exception):
    """An event that does not end within 16 MiB."""


class SseParser:
    """Collects events. Comments, ids and retry hints are dropped."""

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""
        self._data: list[bytes] = []

    def feed(self, data: bytes) -> list[SseEvent]:
        """The events that these bytes complete.

        Raises:
            EventTooLong: see there.
        """
        if b"\r" in data or self._rest.endswith(b"\r"):
            return self._feed_any(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return self._take(lines)

    def _feed_any(self, data: bytes) -> list[SseEvent]:
        """Lines may end in CRLF, LF or CR; a CR that comes last may be the first half of a CRLF."""
        text = self._rest + data
        held = text.endswith(b"\r")
        if held:
            text = text[:-1]
        *lines, rest = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = rest + b"\r" if held else rest
        return self._take(lines)

    def _take(self, lines: list[bytes]) -> list[SseEvent]:
        if len(self._rest) + sum(map(len, self._data)) > _LONGEST_EVENT:
            raise EventTooLong("an event of the stream is longer than 16 MiB")
        events = []
        for line in lines:
            if not line:
                if self._data:
                    events.append(SseEvent(self._name, b"\n".join(self._data)))
                self._name, self._data = "", []
                continue
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                self._data.append(value)
            elif field == b"event":
                self._name = value.decode("utf-8", "replace")
        return events

    def end(self) -> list[SseEvent]:
        """The event that was not closed by an empty line; some servers leave that out after the last one."""
        line, self._rest = self._rest.rstrip(b"\r"), b""
        return self._take([line, b""])
