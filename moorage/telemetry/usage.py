"""CPU and memory of replicas, read from the kernel."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic

import psutil


@dataclass(frozen=True, slots=True)
class Process:
    """A replica's process. `started_at` is kernel start ticks."""

    replica_id: str
    pid: int
    started_at: int


@dataclass(frozen=True, slots=True)
class Reading:
    """`cpu_seconds` since the process began."""

    cpu_seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Usage:
    """`cpu_percentage` is of all CPUs that this server may use, None until a process was read twice.

    `memory_bytes` is what the process has for itself (USS): replicas of one environment share the libraries that
    their template has imported. It is the resident memory (RSS) where the kernel does not tell.
    """

    cpu_percentage: float | None
    memory_bytes: int


def read_process(pid: int) -> Reading | None:
    """The process alone, without what it started; None when it is gone."""
    try:
        process = psutil.Process(pid)
        times = process.cpu_times()
        try:
            memory = process.memory_full_info().uss
        except psutil.AccessDenied:
            memory = process.memory_info().rss
    except psutil.Error:
        return None
    return Reading(times.user + times.system, memory)


class UsageSampler:
    """Remembers each process from one look to the next.

    `is_running` says whether the process with that pid and those start ticks runs.
    """

    def __init__(
        self,
        is_running: Callable[[int, int], bool],
        read: Callable[[int], Reading | None] = read_process,
        cpus: int | None = None,
        elapsed: Callable[[], float] = monotonic,
    ) -> None:
        self._is_running = is_running
        self._read = read
        self._cpus = cpus or len(os.sched_getaffinity(0))
        self._elapsed = elapsed
        self._earlier: dict[tuple[int, int], tuple[float, float]] = {}

    def look(self, processes: Iterable[Process]) -> dict[str, Usage]:
        """Usage by replica id, of those that run; CPU since the look before."""
        found: dict[str, Usage] = {}
        seen: dict[tuple[int, int], tuple[float, float]] = {}
        for process in processes:
            identity = (process.pid, process.started_at)
            reading = self._read(process.pid)
            # Asked afterwards: the same process runs now, so that it was the one that was read.
            if reading is None or not self._is_running(*identity):
                continue
            now = self._elapsed()
            seen[identity] = (now, reading.cpu_seconds)
            share = None
            if identity in self._earlier:
                then, cpu_seconds = self._earlier[identity]
                if now > then:
                    share = max(0.0, reading.cpu_seconds - cpu_seconds) / (now - then) / self._cpus * 100
            found[process.replica_id] = Usage(share, reading.memory_bytes)
        self._earlier = seen
        return found
