"""Where the output of children goes: this process's stderr with their name in front, and bounded files."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from pathlib import Path
from typing import BinaryIO, TextIO

LINE_LIMIT = 64 * 1024
_TAIL_LINES = 20


class BoundedLog:
    """A log file of at most `limit` bytes and one older one beside it, `NAME.1`.

    A disk that is full loses lines, never the caller.
    """

    def __init__(self, path: Path, limit: int = 5 * 1024 * 1024) -> None:
        self.path = path
        self._limit = limit
        self._file: BinaryIO | None = None
        self._size = 0

    def write(self, line: bytes) -> None:
        """Append one line, its newline included."""
        try:
            if self._file is None:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._file = self.path.open("ab", buffering=0)
                self._size = self._file.tell()
            if self._size and self._size + len(line) > self._limit:
                self._file.close()
                self._file = None
                self.path.replace(self.path.with_name(self.path.name + ".1"))
                self._file = self.path.open("ab", buffering=0)
                self._size = 0
            self._file.write(line)
            self._size += len(line)
        except OSError:
            self.close()

    def close(self) -> None:
        """Close the file; a later `write` opens it again."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None


class OutputPump:
    """Takes a child's output line by line. `tail` holds the last lines, for the message when it dies."""

    def __init__(self, name: str, log: BoundedLog, stream: TextIO | None = None) -> None:
        self._prefix = f"[{name}] "
        self._log = log
        self._stream = stream
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)

    async def run(self, reader: asyncio.StreamReader) -> None:
        """Until the end of the output. A line longer than the reader's limit arrives in pieces."""
        while True:
            try:
                line = await reader.readuntil(b"\n")
            except asyncio.IncompleteReadError as rest:
                if rest.partial:
                    self._take(rest.partial)
                return
            except asyncio.LimitOverrunError as overrun:
                line = await reader.read(max(overrun.consumed, 1))
            self._take(line)

    def _take(self, line: bytes) -> None:
        text = line.decode("utf-8", errors="replace").rstrip("\r\n")
        if text.strip():
            self.tail.append(text)
        self._log.write(line if line.endswith(b"\n") else line + b"\n")
        with contextlib.suppress(OSError, ValueError):
            print(self._prefix + text, file=self._stream or sys.stderr, flush=True)
