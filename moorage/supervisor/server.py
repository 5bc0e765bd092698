"""The supervisor: all children of one server, from start to ready to an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from moorage.supervisor import linux
from moorage.supervisor.child import Child, ChildGaveUp, ChildSpec, Timing, describe_exit
from moorage.supervisor.health import Health
from moorage.untrusted import read_document, whole_number

logger = logging.getLogger("moorage.supervisor")

SHUTDOWN_SECONDS = 30.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_POLL_SECONDS = 0.1
_STILL_WAITING_SECONDS = 30.0
_SWEEP_SECONDS = 2.0
_REAP_AGAIN_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Group:
    """Children that stop together, and how many seconds they have for it."""

    children: Sequence[ChildSpec]
    stop_seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. Groups start together and stop one after the other, in the order given.

    `listeners` are inherited by children and held open here, so that connections wait while one restarts.
    `replicas` is the folder where each replica's `status.json` names its process.
    """

    groups: Sequence[Group]
    logs: Path
    replicas: Path
    listeners: Sequence[socket.socket] = ()


def stop_budgets(drain_seconds: float) -> tuple[float, float, float]:
    """Seconds that gateways, control plane and MLflow have to stop: 30 together for drains up to 20 s.

    A drain that is set longer than that is the operator's wish and comes on top.
    """
    drain = drain_seconds + 1
    rest = max(SHUTDOWN_SECONDS - 1 - drain, 8.0)
    return drain, rest * 0.75, rest * 0.25


class Supervisor:
    """Runs a `Plan`. `probe` asks whether the server is ready; `announce` is called once when it is."""

    def __init__(
        self,
        plan: Plan,
        probe: Callable[[], Awaitable[Health]],
        announce: Callable[[], None],
        timing: Timing | None = None,
    ) -> None:
        self.ready = False
        self._plan = plan
        self._probe = probe
        self._announce = announce
        self._timing = timing or Timing()
        self._stop_asked = asyncio.Event()
        self._kill_asked = asyncio.Event()
        self.groups = [
            [Child(spec, plan.logs / f"{spec.name}.log", lambda: self.ready, self._timing) for spec in group.children]
            for group in plan.groups
        ]

    @property
    def children(self) -> list[Child]:
        """All of them, in the order in which they stop."""
        return [child for group in self.groups for child in group]

    def child(self, name: str) -> Child:
        """The child of that name."""
        return next(child for child in self.children if child.spec.name == name)

    async def run(self) -> int:
        """Until a signal ends it: 0. Until a child gives up at its first start: 1, with the reason logged."""
        linux.become_subreaper()
        self._install_signals()
        lives = [asyncio.create_task(child.run()) for child in self.children]
        readiness = asyncio.create_task(self._wait_until_ready())
        stop = asyncio.create_task(self._stop_asked.wait())
        status = 0
        try:
            await asyncio.wait({stop, *lives}, return_when=asyncio.FIRST_COMPLETED)
            for life in lives:
                if life.done() and (error := life.exception()) is not None:
                    if not isinstance(error, ChildGaveUp):
                        raise error
                    logger.error("%s", error)
                    status = 1
        finally:
            readiness.cancel()
            stop.cancel()
            await self._shut_down()
            await asyncio.gather(*lives, readiness, stop, return_exceptions=True)
            self._remove_signals()
        return status

    def request_stop(self) -> None:
        """What a signal does: the first asks for an orderly end, the second for an immediate one."""
        if self._stop_asked.is_set():
            self._kill_asked.set()
        self._stop_asked.set()

    async def _wait_until_ready(self) -> None:
        last_word = self._timing.clock()
        while not (health := await self._probe()).ready:
            if self._timing.clock() - last_word >= _STILL_WAITING_SECONDS:
                last_word = self._timing.clock()
                logger.info("still starting: %s", health.reason)
            await self._timing.sleep(_POLL_SECONDS)
        self.ready = True
        self._announce()

    async def _shut_down(self) -> None:
        """Group after group; on a second signal everything at once."""
        logger.info("stopping")
        for listener in self._plan.listeners:
            listener.close()
        orderly = asyncio.create_task(self._stop_groups())
        killed = asyncio.create_task(self._kill_asked.wait())
        await asyncio.wait({orderly, killed}, return_when=asyncio.FIRST_COMPLETED)
        killed.cancel()
        if self._kill_asked.is_set():
            logger.warning("stopping at once")
            orderly.cancel()
            for child in self.children:
                child.kill()
            kill_recorded_replicas(self._plan.replicas)
        await asyncio.gather(orderly, killed, return_exceptions=True)
        await self._sweep()
        logger.info("stopped")

    async def _stop_groups(self) -> None:
        for group, children in zip(self._plan.groups, self.groups, strict=True):
            await asyncio.gather(*(child.stop(group.stop_seconds) for child in children))

    async def _sweep(self) -> None:
        """Kill what the children left behind, and replicas that a dead control plane could not stop."""
        kill_recorded_replicas(self._plan.replicas)
        deadline = self._timing.clock() + _SWEEP_SECONDS
        while self._timing.clock() < deadline:
            left = [stat for stat in linux.children_of(os.getpid()) if stat.state != "Z"]
            if not left:
                break
            for stat in left:
                linux.kill_verified(stat.pid, stat.started_at)
            await asyncio.sleep(0.02)
        self._reap()

    def _reap(self) -> None:
        if any(child.starting for child in self.children):
            # Its process id is not known yet, so that it could be taken for an orphan.
            asyncio.get_running_loop().call_later(_REAP_AGAIN_SECONDS, self._reap)
            return
        watched = {child.process_id for child in self.children}
        for pid, status in linux.reap_orphans(watched.__contains__):
            logger.info("process %d, left by a child, %s", pid, describe_exit(os.waitstatus_to_exitcode(status)))

    def _install_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            # Started with `nohup`, the server stays when its terminal goes.
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue
            loop.add_signal_handler(number, self.request_stop)
        loop.add_signal_handler(signal.SIGCHLD, self._reap)

    def _remove_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (*_STOP_SIGNALS, signal.SIGCHLD):
            loop.remove_signal_handler(number)


def kill_recorded_replicas(folder: Path) -> list[int]:
    """SIGKILL the model processes that `FOLDER/*/status.json` names: `{"pid", "started_at"}`, the latter in
    kernel ticks, which keeps a process safe that got the id of a dead one. Returns the ids that were hit.

    The model may have written what it liked: only processes of the user who owns the folder are hit.
    """
    killed = []
    for path in folder.glob("*/status.json"):
        record = read_document(path)
        pid, started_at = whole_number(record.get("pid")), whole_number(record.get("started_at"))
        with contextlib.suppress(FileNotFoundError):
            if linux.kill_verified(pid, started_at, path.parent.lstat().st_uid):
                killed.append(pid)
    if killed:
        logger.info("killed %d model processes that were left", len(killed))
    return killed
