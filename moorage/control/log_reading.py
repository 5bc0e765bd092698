"""One log that is being written, read line by line from a place in it that outlives cuts and reconnections.

A position counts the bytes since the log began, those included that were dropped when it reached its limit.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from moorage.replica.process import MARKER, MARKER_BYTES

_CHUNK_BYTES = 16 * 1024
_UNFINISHED_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its end, and the position after it."""

    text: str
    position: int


@dataclass(frozen=True, slots=True)
class _Cut:
    """How many bytes were dropped, and how many the file begins with instead."""

    dropped: int
    head: int
    marker: bytes


class LogReader:
    """Reads one log. `more` says after a `read` that there was more than it gave; `position` is where it has got."""

    def __init__(
        self, path: Path, position: int = 0, *, clock: Callable[[], float] = time.time, chunk: int = _CHUNK_BYTES
    ) -> None:
        self.path = path
        self.position = position
        self.more = False
        self._clock = clock
        self._chunk = chunk
        self._seen: tuple[int, int, int] | None = None
        self._unfinished = False

    @classmethod
    def of_tail(cls, path: Path, limit: int) -> LogReader:
        """A reader of the last `limit` bytes, from the beginning of a line."""
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size <= limit:
                    return cls(path)
                cut = _cut(file)
                file.seek(size - limit)
                skipped = len(file.readline(limit))
                # Where the newest bytes are one line that has not ended, it is shown from its middle.
                start = size - limit + (skipped if skipped < limit else 0)
                return cls(path, max(cut.dropped, cut.dropped + start - cut.head))
        except FileNotFoundError:
            return cls(path)

    def read(self, *, to_the_end: bool = False) -> list[Line]:
        """The lines that have come since, some kilobytes of them at most; none when there is no file.

        The last line counts when it has ended, when nothing has been added to it for a while, or, with
        `to_the_end`, in any case. A line that is too long for one read comes in pieces.
        """
        self.more = False
        try:
            status = self.path.stat()
            if self._nothing_new(status, to_the_end):
                return []
            with self.path.open("rb") as file:
                return self._read(file, to_the_end)
        except FileNotFoundError:
            self._seen = None
            return []

    def _nothing_new(self, status: os.stat_result, to_the_end: bool) -> bool:
        if _identity(status) != self._seen:
            return False
        return not (self._unfinished and (to_the_end or self._is_old(status)))

    def _is_old(self, status: os.stat_result) -> bool:
        return self._clock() - status.st_mtime > _UNFINISHED_SECONDS

    def _read(self, file: BinaryIO, to_the_end: bool) -> list[Line]:
        status = os.fstat(file.fileno())
        if status.st_size == 0:
            self._seen = None
            return []  # it is being cut, perhaps: it is empty before what is kept is written
        cut, before = _cut(file), self.position
        lines = []
        if self.position < cut.dropped:
            self.position = cut.dropped
            lines.append(Line(_text(cut.marker.removesuffix(b"\n")), self.position))
        start = cut.head + self.position - cut.dropped
        if start > status.st_size:
            # What was written while the log was cut is lost; where nothing says that it was cut, it was emptied.
            start = status.st_size if cut.head else 0
            self.position = cut.dropped + start - cut.head
        file.seek(start)
        data = file.read(self._chunk)
        if _cut(file) != cut:
            # It was cut in between, so that these bytes are not those of that place.
            self.position, self._seen, self.more = before, None, True
            return []
        at_end = start + len(data) >= status.st_size
        self._seen = _identity(status) if at_end else None
        self.more = not at_end
        whole, newline, rest = data.rpartition(b"\n")
        if newline:
            for text in whole.split(b"\n"):
                self.position += len(text) + 1
                lines.append(Line(_text(text), self.position))
        self._unfinished = at_end and bool(rest)
        if at_end:
            if rest and (to_the_end or self._is_old(status)):
                lines.append(self._piece(rest))
                self._unfinished = False
        elif not newline:
            lines.append(self._piece(_whole_characters(rest)))
        return lines

    def _piece(self, data: bytes) -> Line:
        self.position += len(data)
        return Line(_text(data), self.position)


def _cut(file: BinaryIO) -> _Cut:
    file.seek(0)
    found = MARKER.search(file.read(MARKER_BYTES))
    return _Cut(int(found[1]), found.end(), found[0]) if found else _Cut(0, 0, b"")


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _whole_characters(data: bytes) -> bytes:
    """Without the beginning of a UTF-8 character whose rest is not there yet."""
    end = len(data)
    while end > len(data) - 4 and end > 1 and data[end - 1] & 0xC0 == 0x80:
        end -= 1
    if end > 1 and data[end - 1] >= 0xC0:
        return data[: end - 1]
    return data
