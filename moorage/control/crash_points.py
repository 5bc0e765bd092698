"""Named places at which tests end the control plane, as a power cut would, to see what its successor makes of it.

Off unless `MOORAGE_CRASH_POINTS` is set when the process starts: names separated by commas, or `@FILE` for a file of
them that is read at each point, so that a running server can be told another one. Each point ends one process: it
leaves a marker, `crashed-NAME` in the data directory's `run` folder, and does nothing while that is there.
"""

from __future__ import annotations

import os
import signal
from enum import StrEnum
from pathlib import Path

from moorage.datadir import DataDirectory

VARIABLE = "MOORAGE_CRASH_POINTS"


class CrashPoint(StrEnum):
    """The part before the dot is the step of the lifecycle, the part after it how far that has come."""

    CREATE_WRITTEN = "create.written"  # in the transaction, which is lost
    CREATE_COMMITTED = "create.committed"  # nobody has been told
    UPDATE_WRITTEN = "update.written"
    UPDATE_COMMITTED = "update.committed"
    CANCEL_COMMITTED = "cancel.committed"
    STOP_COMMITTED = "stop.committed"
    START_COMMITTED = "start.committed"
    DELETE_WRITTEN = "delete.written"
    DELETE_COMMITTED = "delete.committed"

    PHASE_MOVED = "phase.moved"  # no event says so yet
    FETCH_DOWNLOADED = "fetch.downloaded"
    BUILD_BEGINS = "build.begins"
    BUILD_FINISHED = "build.finished"

    REPLICA_BEGINS = "replica.begins"
    REPLICA_FORKED = "replica.forked"  # a process that no row knows
    REPLICA_RECORDED = "replica.recorded"
    REPLICA_LOADED = "replica.loaded"
    REPLICA_PUBLISHED = "replica.published"
    REPLICA_LEAVES = "replica.leaves"
    REPLICA_STOPPED = "replica.stopped"  # its row is still there

    SWITCH_BEFORE = "switch.before"
    SWITCH_AFTER = "switch.after"  # the route of before is still in use
    ROUTE_PUBLISHED = "route.published"  # what it replaces still runs
    FAIL_BEFORE = "fail.before"
    FAIL_SIBLINGS = "fail.siblings"
    FAIL_AFTER = "fail.after"
    RETIRE_BEGINS = "retire.begins"
    RETIRE_SETTLED = "retire.settled"
    RETIRE_STOPPED = "retire.stopped"
    RETIRE_AFTER = "retire.after"
    DELETE_UNPUBLISHED = "delete.unpublished"
    DELETE_RETIRING = "delete.retiring"
    DELETE_STOPPED = "delete.stopped"
    DELETE_CLEARED = "delete.cleared"
    DELETE_REMOVED = "delete.removed"


def marker(data: DataDirectory, point: CrashPoint) -> Path:
    """What a point leaves when it has ended a process."""
    return data.run / f"crashed-{point.value}"


def crash_point(point: CrashPoint) -> None:
    """End this process here with SIGKILL when that is asked for."""
    if _ASKED_FOR:
        _crash(point, _ASKED_FOR)


def _crash(point: CrashPoint, asked_for: str) -> None:
    if asked_for.startswith("@"):
        try:
            asked_for = Path(asked_for[1:]).read_text()
        except FileNotFoundError:
            return
    if point.value not in (name.strip() for name in asked_for.split(",")):
        return
    left = marker(DataDirectory(Path(os.environ["MOORAGE_DATA_DIR"])), point)
    try:
        left.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


_ASKED_FOR = os.environ.get(VARIABLE, "")
