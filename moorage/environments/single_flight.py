"""Work that several callers want at once is done once."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")
_LOCK_POLL_SECONDS = 0.1


class SingleFlight(Generic[T]):
    """Runs one piece of work for a name at a time; who asks meanwhile gets the same result or exception."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Future[_Outcome[T] | None]] = {}

    async def run(self, name: str, work: Callable[[], Awaitable[T]], on_wait: Callable[[], None]) -> T:
        """The result of `work`, or of the work that runs under `name` already, after a call of `on_wait`.

        When the caller whose work runs is cancelled, one of those who wait starts its own.
        """
        while (running := self._running.get(name)) is not None:
            on_wait()
            outcome = await asyncio.shield(running)
            if outcome is not None:
                return outcome.get()
        future: asyncio.Future[_Outcome[T] | None] = asyncio.get_running_loop().create_future()
        self._running[name] = future
        outcome = None
        try:
            outcome = _Outcome(value=await work())
        except Exception as error:  # noqa: BLE001 - handed to every caller
            outcome = _Outcome(error=error)
        finally:
            del self._running[name]
            future.set_result(outcome)
        return outcome.get()


class _Outcome(Generic[T]):
    def __init__(self, value: T | None = None, error: Exception | None = None) -> None:
        self._value = value
        self._error = error

    def get(self) -> T:
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]


@contextlib.asynccontextmanager
async def file_lock(path: Path, on_wait: Callable[[], None]) -> AsyncIterator[None]:
    """Hold the lock on the file `path` against other processes; `on_wait` is called when it is not free."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        waiting = False
        while not _try_lock(descriptor):
            if not waiting:
                waiting = True
                on_wait()
            await asyncio.sleep(_LOCK_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
