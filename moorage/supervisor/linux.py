"""What Linux offers to keep track of processes: parent-death signals, subreaping, identities that last."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """Fields 1, 3, 4 and 22 of `/proc/PID/stat` (proc(5)). `started_at` counts kernel ticks since boot."""

    pid: int
    state: str
    parent: int
    started_at: int


def read_stat(pid: int) -> ProcessStat | None:
    """The process as the kernel sees it now; None when there is none with this id."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return ProcessStat(pid=pid, state=fields[0], parent=int(fields[1]), started_at=int(fields[19]))


def is_running(pid: int) -> bool:
    """Whether a process with this id lives; a zombie does not."""
    stat = read_stat(pid) if pid > 0 else None
    return stat is not None and stat.state not in "ZX"


def children_of(parent: int) -> Iterator[ProcessStat]:
    """Direct children of `parent`, zombies too."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            stat = read_stat(int(entry))
            if stat is not None and stat.parent == parent:
                yield stat


def kill_verified(pid: int, started_at: int, uid: int | None = None) -> bool:
    """SIGKILL to the process that had this id when it started at `started_at`; False when it is gone, or is not
    that user's where one is given.

    A pidfd is taken before the start time is compared, so that an id given out anew is never hit.
    """
    try:
        handle = os.pidfd_open(pid)
    except (OSError, ValueError, OverflowError):
        return False
    try:
        stat = read_stat(pid)
        if stat is None or stat.started_at != started_at or (uid is not None and _real_user(pid) != uid):
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _real_user(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("Uid:"):
                return int(line.split()[1])
    return None


def reap_orphans(watched: Callable[[int], bool]) -> list[tuple[int, int]]:
    """Collect the exit status of dead children that nobody here waits for: (pid, status as of waitpid)."""
    reaped = []
    for stat in children_of(os.getpid()):
        if stat.state == "Z" and not watched(stat.pid):
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(stat.pid, os.WNOHANG)
                if pid:
                    reaped.append((pid, status))
    return reaped


def become_subreaper() -> None:
    """Take over processes whose parent dies, so that they are reaped here and stay in sight."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int | None = None) -> None:
    """Have the kernel send SIGTERM when the thread that started this process ends.

    With `parent`, a process whose parent died before this call ends at once.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
