"""The life that all engines share: load, serve, finish what is under way when told to stop, end.

SIGTERM while loading, or for the second time, ends the process at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import NoReturn, Protocol

import psutil

from moorage.compute.processes import is_alive
from moorage.engines import sockets
from moorage.engines.config import EngineConfig, Supervisor, read_config
from moorage.replica.guard import fence, give_up_privileges
from moorage.replica.process import BoundedLog, Status, log, write_json

LOAD_FAILED = 3
"""Exit status of an engine that could not be started; the reason is in its status file."""
DIED = 1
"""Exit status of one whose engine ended by itself; the reason is in `exit.json`."""

_LONGEST_REASON = 1500
_LOOK_SECONDS = 0.5
_DRAIN_LOOK_SECONDS = 0.05
_ROUNDS = 5  # what is being ended may be starting more
_KILL_SECONDS = 5.0
_KEPT_SECONDS = 5.0  # how long a connection that asks for nothing holds up a stop


class EngineError(Exception):
    """An engine cannot be started; the message says why."""


class Engine(Protocol):
    """What runs a model. It listens at `sockets.first_name` in the working directory once `load` has returned."""

    def load(self) -> None:
        """Return when requests can be answered. Raises `EngineError`."""
        ...

    def working(self) -> bool:
        """Whether a request is worked on, or waits for that."""
        ...

    def ended(self) -> str:
        """Why it has ended by itself; nothing while it runs."""
        ...

    def close(self) -> None:
        """Let it end in order, which may take some seconds. What it leaves is killed."""
        ...


class Process:
    """An engine's process, from its start to its end."""

    def __init__(self, config_path: Path, make: Callable[[EngineConfig], Engine]) -> None:
        self._config_path = config_path
        self._config = read_config(config_path)
        self._make = make
        self._status = Status(str(self._config.folder / "status.json"), self._config.replica_id)
        self._loading = True
        self._asked = 0
        self._wake_read, self._wake_write = os.pipe()

    def run(self) -> int:
        """Returns the exit status."""
        give_up_privileges()
        fence()
        output = BoundedLog(str(self._config.log), self._config.log_bytes)
        output.redirect()
        output.watch()
        os.umask(0o077)
        os.chdir(self._config.folder)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked_to_stop)
        self._status.update(phase="loading")
        began = time.monotonic()
        engine = self._load()
        if engine is None:
            return LOAD_FAILED
        for number in (signal.SIGTERM, signal.SIGINT):  # loading may have changed them
            signal.signal(number, self._asked_to_stop)
        self._loading = False
        seconds = time.monotonic() - began
        log("INFO", f"ready after {seconds:.2f} s")
        self._status.update(phase="ready", load_seconds=round(seconds, 3))
        return self._serve(engine)

    def _load(self) -> Engine | None:
        config = self._config
        log("INFO", f"replica {config.replica_id} of {config.endpoint}/{config.served_name} starts {config.engine}")
        try:
            engine = self._make(config)
            engine.load()
            sockets.publish(config)
        except EngineError as error:
            reason = str(error)[:_LONGEST_REASON]
        except Exception as error:  # noqa: BLE001  libraries raise what they like
            reason = f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
        else:
            return engine
        log("ERROR", f"the model could not be loaded: {reason}")
        end_children()
        self._status.update(phase="failed", message=reason)
        return None

    def _serve(self, engine: Engine) -> int:
        orphanhood = Orphanhood(self._config_path, self._config, time.monotonic)
        while not self._asked and not orphanhood.over():
            self._wait(_LOOK_SECONDS)
            died = engine.ended()
            if died:
                log("ERROR", died)
                end_children()
                write_json(str(self._config.folder / "exit.json"), {"words": died[:_LONGEST_REASON]})
                return DIED
        self._drain(engine)
        engine.close()
        end_children()
        log("INFO", "stopped")
        self._status.update(phase="stopped")
        return 0

    def _drain(self, engine: Engine) -> None:
        """Until nothing is under way; then out of sight, and again for who came in between."""
        log("INFO", "stopping: requests that are under way are finished")
        for _ in range(2):
            quiet_since = time.monotonic()
            while not engine.ended():
                now = time.monotonic()
                if engine.working():
                    quiet_since = now
                elif not sockets.connections(sockets.first_name(self._config)) or now - quiet_since > _KEPT_SECONDS:
                    break
                self._wait(_DRAIN_LOOK_SECONDS)
            sockets.withdraw(self._config)

    def _wait(self, seconds: float) -> None:
        """At most so long, less when a signal comes."""
        if select.select([self._wake_read], [], [], seconds)[0]:
            os.read(self._wake_read, 4096)

    def _asked_to_stop(self, number: int, _frame: FrameType | None) -> None:
        self._asked += 1
        if self._loading or self._asked > 1:
            self._leave(number)
        os.write(self._wake_write, b"\0")

    def _leave(self, number: int) -> NoReturn:
        log("INFO", f"ended by signal {number}")
        end_children()
        os._exit(128 + number)


class Orphanhood:
    """Whether the server that the engine belongs to has been gone for too long.

    A new server that takes the engine over writes itself into the engine's configuration.
    """

    def __init__(self, path: Path, config: EngineConfig, clock: Callable[[], float]) -> None:
        self._path = path
        self._supervisor = config.supervisor
        self._patience = config.orphan_seconds
        self._clock = clock
        self._seen = clock()

    def over(self) -> bool:
        """To be asked again and again."""
        now = self._clock()
        if not _is_there(self._supervisor):
            self._supervisor = self._named_now()
        if _is_there(self._supervisor):
            self._seen = now
        if now - self._seen < self._patience:
            return False
        log("INFO", f"the server has been gone for {self._patience:.0f} s; stopping")
        return True

    def _named_now(self) -> Supervisor:
        try:
            return read_config(self._path).supervisor
        except (OSError, ValueError, KeyError):  # being written, or removed
            return self._supervisor


def _is_there(supervisor: Supervisor) -> bool:
    return is_alive(supervisor.pid, supervisor.started_at)


def end_children() -> None:
    """SIGKILL to everything that this process has started and that is still there, and collect it."""
    for _ in range(_ROUNDS):
        children = psutil.Process().children(recursive=True)
        if not children:
            return
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(children, timeout=_KILL_SECONDS)


def exit_with(status: int) -> NoReturn:
    """Leave without the destructors of engines: they wait for connections."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
