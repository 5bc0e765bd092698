"""Ends replicas that take more memory than one may. Looked at from outside: a busy model cannot put it off."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from moorage.compute.base import ReplicaProcess
from moorage.compute.processes import family, send

_PAGE = os.sysconf("SC_PAGE_SIZE")
_FASTEST = 4 * 1024**3
"""Bytes a second that a model may be expected to fill: the more room there is, the later the next look."""

_SOONEST_SECONDS = 0.05
_LATEST_SECONDS = 1.0


class MemoryWatch:
    """Looks at every replica that it is given until it ends.

    `limit` is in bytes of resident memory, with that of what the replica has started; 0 is none.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._due: list[tuple[float, int, ReplicaProcess]] = []
        self._order = itertools.count()
        self._watched: set[str] = set()
        self._words: dict[str, str] = {}
        self._task: asyncio.Task[None] | None = None
        self._more = asyncio.Event()

    def watch(self, replica: ReplicaProcess) -> None:
        """Begin; returns at once. Call it on the event loop."""
        if not self._limit or replica.replica_id in self._watched:
            return
        self._watched.add(replica.replica_id)
        self._look_in(_SOONEST_SECONDS, replica)
        self._more.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="memory of replicas")

    def ending(self, replica_id: str) -> str | None:
        """Why it was ended, where it was for its memory."""
        return self._words.get(replica_id)

    def forget(self, replica_id: str) -> None:
        """It is no more, and its ending was told."""
        self._watched.discard(replica_id)
        self._words.pop(replica_id, None)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._due:
            wait = self._due[0][0] - loop.time()
            if wait > 0:
                self._more.clear()
                try:
                    await asyncio.wait_for(self._more.wait(), wait)
                except TimeoutError:
                    pass
                continue
            _, _, replica = heapq.heappop(self._due)
            if replica.replica_id in self._watched:
                self._look(replica)

    def _look(self, replica: ReplicaProcess) -> None:
        taken = _taken(replica.pid, self._limit)
        if taken is None:
            self._watched.discard(replica.replica_id)
        elif taken <= self._limit:
            room = (self._limit - taken) / _FASTEST
            self._look_in(min(max(room, _SOONEST_SECONDS), _LATEST_SECONDS), replica)
        else:
            peak = max(taken, _field(replica.pid, "status", b"VmHWM:") or 0)
            kin = family(replica.pid, replica.started_at)
            if send(replica.pid, replica.started_at, signal.SIGKILL):
                for one in kin:
                    send(*one, signal.SIGKILL)
                words = f"killed: memory {in_gib(peak)} over the limit of {in_gib(self._limit)}"
                self._words[replica.replica_id] = words

    def _look_in(self, seconds: float, replica: ReplicaProcess) -> None:
        heapq.heappush(self._due, (asyncio.get_running_loop().time() + seconds, next(self._order), replica))


def in_gib(size: int) -> str:
    """Bytes as the user set them: in GiB, or MiB below one."""
    if size < 1024**3:
        return f"{size / 1024**2:.0f} MiB"
    return f"{size / 1024**3:.2f} GiB"


def _taken(pid: int, limit: int) -> int | None:
    """Bytes that a replica takes with what it has started; None when it is gone."""
    own = _resident(pid)
    if own is None or own > limit:
        return own
    others = list(_descendants(pid))
    together = own + sum(_resident(one) or 0 for one in others)
    if not others or together <= limit:
        return together
    # Forks share pages, which each counts in full; to divide them is the kernel's work, and takes a while.
    shares = [_field(one, "smaps_rollup", b"Pss:") for one in (pid, *others)]
    return max(own, sum(share or 0 for share in shares))


def _resident(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE
    except (OSError, IndexError):
        return None


def _descendants(pid: int) -> Iterator[int]:
    try:
        lists = [Path(task.path, "children").read_bytes() for task in os.scandir(f"/proc/{pid}/task")]
    except OSError:  # it is gone, or a thread of it just is; the next look comes soon
        return
    for child in (int(word) for words in lists for word in words.split()):
        yield child
        yield from _descendants(child)


def _field(pid: int, file: str, name: bytes) -> int | None:
    """Bytes by the line that begins with `name` and gives kB."""
    try:
        lines = Path(f"/proc/{pid}/{file}").read_bytes().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), None)
