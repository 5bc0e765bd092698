"""Processes of models, told apart from others that have got their ids."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ROUNDS = 20  # what is being ended may be starting more


@dataclass(frozen=True, slots=True)
class _Process:
    """Of /proc/PID/stat: the state letter, parent, process group, and start in kernel ticks since boot."""

    state: str
    parent: int
    group: int
    started_at: int


def is_alive(pid: int, started_at: int) -> bool:
    """Whether that very process still runs; a zombie does not."""
    found = _read(pid)
    return found is not None and found.state != "Z" and found.started_at == started_at


def belongs_to(pid: int, started_at: int, uid: int | None) -> bool:
    """Whether there is that very process, dead but not yet collected or alive, and is that user's."""
    found = _read(pid)
    return found is not None and found.started_at == started_at and _user(pid) == uid


def send(pid: int, started_at: int, number: signal.Signals) -> bool:
    """Send a signal to that very process; whether it was there."""
    try:
        handle = os.pidfd_open(pid)
    except (OSError, ValueError, OverflowError):
        return False
    try:
        # With the handle in hand the id cannot go to another process unseen.
        if not is_alive(pid, started_at):
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


Family = frozenset[tuple[int, int]]
"""Ids of processes with their starts."""


def family(pid: int, started_at: int) -> Family:
    """That process, its process group, and what these have started; nothing when the id is another's now.

    One that has left the group and whose parent has ended is not seen.
    """
    leader = _read(pid)
    if pid <= 1 or (leader is not None and leader.started_at != started_at):
        return frozenset()
    found = dict(_processes())
    members = {one for one, process in found.items() if process.group == pid or one == pid}
    while more := {one for one, process in found.items() if process.parent in members} - members:
        members |= more
    return frozenset((one, found[one].started_at) for one in members if found[one].state != "Z")


def end_all(pid: int, started_at: int, uid: int, known: Family = frozenset()) -> None:
    """SIGKILL to the family of that process, and to what was `known` to be of it, as far as it is that user's."""
    for _ in range(_ROUNDS):
        left = [one for one in family(pid, started_at) | known if one[0] != os.getpid() and belongs_to(*one, uid)]
        # Nothing that was signalled is left unless it is being started at this moment, or is in the kernel's hands.
        if not [one for one in left if send(*one, signal.SIGKILL)]:
            return


def _processes() -> Iterator[tuple[int, _Process]]:
    for name in os.listdir("/proc"):
        if name.isdigit() and (found := _read(int(name))) is not None:
            yield int(name), found


def _read(pid: int) -> _Process | None:
    try:
        words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    if len(words) < 20:
        return None
    return _Process(words[0].decode(), int(words[1]), int(words[2]), int(words[19]))


def _user(pid: int) -> int | None:
    """The real user of a process. Who owns its folder in /proc is another matter: root, where it hides itself."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_bytes().splitlines():
            if line.startswith(b"Uid:"):
                return int(line.split()[1])
    return None
