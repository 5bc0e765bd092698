"""One child of the supervisor: started, its output taken, started again when it dies, stopped on request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from moorage.supervisor import linux
from moorage.supervisor.logs import LINE_LIMIT, BoundedLog, OutputPump
from moorage.supervisor.restart import GiveUp, RestartLimits, after_death, first_state

logger = logging.getLogger("moorage.supervisor")

_LAST_OUTPUT_SECONDS = 0.2
_CANNOT_START = 127


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to start. `environment` is all the child sees; `descriptors` are inherited under their numbers."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    descriptors: tuple[int, ...] = ()


class ChildGaveUp(Exception):
    """A child died at its start again and again; the message names it, its status and its log."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Clock and sleep, for tests that need no waiting."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    limits: RestartLimits = field(default_factory=RestartLimits)


class Child:
    """Keeps one program running until `stop` or `kill`. `run` is its whole life."""

    def __init__(
        self, spec: ChildSpec, log: Path, was_ready: Callable[[], bool], timing: Timing | None = None
    ) -> None:
        self.spec = spec
        self.starts = 0
        self.starting = False
        self._was_ready = was_ready
        self._timing = timing or Timing()
        self._log = BoundedLog(log)
        self._pump = OutputPump(spec.name, self._log)
        self._process: asyncio.subprocess.Process | None = None
        self._outputs: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Of the live process, None between two."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def process_id(self) -> int | None:
        """Of the newest process, dead or alive: the one whose exit status is collected here."""
        return None if self._process is None else self._process.pid

    async def run(self) -> None:
        """Start, wait, start again with growing delays; returns once stopped.

        Raises:
            ChildGaveUp: see there.
        """
        state = first_state(self._timing.limits)
        while not self._stopping.is_set():
            born = self._timing.clock()
            status = await self._run_once()
            if self._stopping.is_set():
                break
            lived = self._timing.clock() - born
            state, decision = after_death(state, lived, self._timing.limits, server_was_ready=self._was_ready())
            if isinstance(decision, GiveUp):
                raise ChildGaveUp(self._give_up_message(decision, status))
            logger.warning(
                "%s %s after %.1f s; starting it again in %.1f s",
                self.spec.name, describe_exit(status), lived, decision.delay,
            )  # fmt: skip
            await self._pause(decision.delay)
        self._log.close()

    async def stop(self, grace: float) -> None:
        """SIGTERM, up to `grace` seconds, SIGKILL to what is left of its process group."""
        self._stopping.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), grace)
        except TimeoutError:
            logger.warning("%s did not stop within %.0f s and is killed", self.spec.name, grace)
        self.kill()
        await process.wait()

    def kill(self) -> None:
        """SIGKILL to its whole process group, now."""
        self._stopping.set()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _run_once(self) -> int:
        supervisor = os.getpid()
        # A pipe of our own: a process transport with pipes is not done before the last holder of them is.
        read_end, write_end = os.pipe()
        self.starting = True
        try:
            process = await asyncio.create_subprocess_exec(
                *self.spec.command,
                env=self.spec.environment,
                pass_fds=self.spec.descriptors,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_end,
                stderr=write_end,
                start_new_session=True,
                preexec_fn=lambda: linux.die_with_parent(supervisor),
            )
        except OSError as error:
            os.close(read_end)
            logger.error("cannot start %s: %s", self.spec.name, error.strerror)
            return _CANNOT_START
        finally:
            self.starting = False
            os.close(write_end)
        self._process = process
        self.starts += 1
        logger.info("%s runs as process %d", self.spec.name, process.pid)
        if self._stopping.is_set():
            self.kill()
        output = asyncio.create_task(self._take_output(read_end))
        self._outputs.add(output)
        output.add_done_callback(self._outputs.discard)
        status = await process.wait()
        # A process that outlives the child may hold the pipe; its output is taken on while the child runs anew.
        await asyncio.wait({output}, timeout=_LAST_OUTPUT_SECONDS)
        return status

    async def _take_output(self, read_end: int) -> None:
        reader = asyncio.StreamReader(limit=LINE_LIMIT)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", buffering=0)
        )
        try:
            await self._pump.run(reader)
        finally:
            transport.close()

    async def _pause(self, seconds: float) -> None:
        sleep = asyncio.ensure_future(self._timing.sleep(seconds))
        stopped = asyncio.create_task(self._stopping.wait())
        _, left = await asyncio.wait({sleep, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()

    def _give_up_message(self, decision: GiveUp, status: int) -> str:
        last = f"; its last line: {self._pump.tail[-1]}" if self._pump.tail else ""
        return (
            f"{self.spec.name} died {decision.deaths} times at its start, "
            f"at last it {describe_exit(status)}; its log is {self._log.path}{last}"
        )


def describe_exit(status: int) -> str:
    """A return code as `subprocess` gives it, in words."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"
