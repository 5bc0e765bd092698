"""The build log of a served entity: a text file, appended line by line so that it can be read as it grows."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from moorage.replica.process import BoundedLog

MAX_LOG_BYTES = 1024 * 1024
_MAX_LINE_CHARACTERS = 4000
_CREDENTIALS = re.compile(r"(?<=://)[^/\s'\"]+@")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def mask_credentials(text: str) -> str:
    """`text` with the `user:password@` of every URL replaced by `***@`."""
    return _CREDENTIALS.sub("***@", text)


class BuildLog:
    """An append-only log of `max_bytes`; beyond that only steps and the conclusion are written.

    Those come again with every replica that starts, for as long as the deployment lives: when they have filled as
    much again, the older half of the file is dropped, and a first line says so.

    Every line starts with its UTC time: `[2026-11-21 03:44:00 +0000] resolve: started`. Credentials in URLs
    are masked whatever wrote them.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = MAX_LOG_BYTES,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._clock = clock
        self._monotonic = monotonic
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        self._bytes = path.stat().st_size
        self._full = self._bytes >= max_bytes

    def line(self, text: str) -> None:
        """Append `text`, one stamped line for each of its lines; nothing once the log is full."""
        for part in text.splitlines():
            if self._full:
                return
            entry = self._entry(part)
            if self._bytes + len(entry) > self._max_bytes:
                self._full = True
                entry = self._entry(f"this log has reached {self._max_bytes} bytes; only steps follow")
            self._append(entry)

    def conclude(self, text: str) -> None:
        """Append how the build ended, in words; written to a full log too."""
        for part in text.splitlines():
            self._append(self._entry(part))

    def begin(self, name: str) -> Step:
        """Log `name: started`; the caller ends the step it gets."""
        self.conclude(f"{name}: started")
        return Step(name, self.conclude, self._monotonic)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Log the start of the block and how it ended, with its duration in seconds."""
        step = self.begin(name)
        try:
            yield
        except BaseException as error:
            step.broken_off(error)
            raise
        step.done()

    def _entry(self, text: str) -> bytes:
        text = mask_credentials(_ESCAPES.sub("", text).rstrip())
        if len(text) > _MAX_LINE_CHARACTERS:
            text = text[:_MAX_LINE_CHARACTERS] + " ..."
        return f"[{self._clock().astimezone(UTC):%Y-%m-%d %H:%M:%S %z}] {text}\n".encode(errors="replace")

    def _append(self, entry: bytes) -> None:
        with self.path.open("ab", buffering=0) as file:
            file.write(entry)
            self._bytes = file.tell()
        if self._bytes > 2 * self._max_bytes:
            BoundedLog(str(self.path), 2 * self._max_bytes).trim()
            self._bytes = self.path.stat().st_size


class Step:
    """A step of a build that has started and whose end is not yet logged."""

    def __init__(self, name: str, write: Callable[[str], None], monotonic: Callable[[], float]) -> None:
        self.name = name
        self._write = write
        self._monotonic = monotonic
        self._started = monotonic()

    def done(self) -> None:
        self._write(f"{self.name}: done in {self._seconds():.2f} s")

    def broken_off(self, error: BaseException) -> None:
        """Log that the step ended with `error`: canceled, or failed."""
        how = "canceled" if isinstance(error, asyncio.CancelledError) else "failed"
        self._write(f"{self.name}: {how} after {self._seconds():.2f} s")

    def _seconds(self) -> float:
        return self._monotonic() - self._started
