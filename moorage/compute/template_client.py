"""Talks to template processes: one per environment, kept while a deployment uses it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from moorage.compute.base import ComputeError, Interpreter
from moorage.datadir import DataDirectory
from moorage.settings import scrubbed_environment

_logger = logging.getLogger(__name__)

REPLICA_CODE = Path(__file__).parent.parent / "replica"
_START_SECONDS = 60.0
_OPERATION_SECONDS = 300.0  # the first import of a large library on a slow disk
_POLL_SECONDS = 0.02
_MOST_RESTARTS = 20


def code_version() -> str:
    """Names the replica code, so that a template of another release is not asked to fork."""
    digest = hashlib.sha256()
    for file in sorted(REPLICA_CODE.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def base_environment() -> dict[str, str]:
    """What templates and replicas see of the environment: nothing of the server's own.

    OpenBLAS gets one thread: it would start its pool on import, and a fork cannot take threads along.
    """
    return {**scrubbed_environment(), "OPENBLAS_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}


class Templates:
    """The templates of this machine."""

    def __init__(self, data: DataDirectory, log_bytes: int) -> None:
        self._data = data
        self._log_bytes = log_bytes
        self._version = code_version()
        self._locks: dict[str, asyncio.Lock] = {}
        self._ready: set[str] = set()

    async def spawn(self, interpreter: Interpreter, replica: dict[str, Any], warm: list[str]) -> dict[str, Any]:
        """Have the environment's template start a replica; the template is started when there is none.

        Raises:
            ComputeError: it cannot be started, or refuses.
        """
        async with self._lock(interpreter.key):
            await self._ensure(interpreter)
            await self._warm(interpreter, warm)
            return await self._call(interpreter, {"op": "spawn", "replica": replica})

    async def warm(self, interpreter: Interpreter, modules: list[str]) -> None:
        """Have the environment's template import these, when there is one.

        Raises:
            ComputeError: it does not answer.
        """
        async with self._lock(interpreter.key):
            if interpreter.key in self._ready:
                await self._warm(interpreter, modules)

    async def _warm(self, interpreter: Interpreter, modules: list[str]) -> None:
        for _ in range(_MOST_RESTARTS):
            if not (await self._call(interpreter, {"op": "warm", "modules": modules})).get("restarting"):
                return
            await self._wait_until_up(interpreter)

    async def stop(self, key: str) -> None:
        """End a template; its replicas stay."""
        async with self._lock(key):
            self._ready.discard(key)
            with contextlib.suppress(ComputeError):
                await self._call(Interpreter(key, Path()), {"op": "stop"})

    def running(self) -> list[str]:
        """Keys of the environments whose templates this control plane uses."""
        return sorted(self._ready)

    async def _ensure(self, interpreter: Interpreter) -> None:
        hello = await self._hello(interpreter)
        if hello is not None and hello["version"] == self._version:
            self._ready.add(interpreter.key)
            return
        if hello is not None:
            _logger.info("template %s runs other code; it is replaced", interpreter.key[:16])
            await self._call(interpreter, {"op": "stop"})
        await asyncio.to_thread(self._start, interpreter)
        await self._wait_until_up(interpreter)
        self._ready.add(interpreter.key)

    def _start(self, interpreter: Interpreter) -> None:
        self._data.logs.mkdir(mode=0o700, exist_ok=True)
        log = self._data.logs / f"template-{interpreter.key[:16]}.log"
        with log.open("ab") as output:
            try:
                subprocess.Popen(
                    [
                        str(interpreter.python),
                        str(REPLICA_CODE / "launch.py"),
                        "template",
                        str(self._data.template_socket(interpreter.key)),
                        self._version,
                        str(log),
                        str(self._log_bytes),
                    ],
                    env=base_environment(),
                    cwd=self._data.run,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            except OSError as error:
                raise ComputeError(f"cannot start {interpreter.python}: {error.strerror}") from error

    async def _wait_until_up(self, interpreter: Interpreter) -> None:
        try:
            async with asyncio.timeout(_START_SECONDS):
                while await self._hello(interpreter) is None:  # noqa: ASYNC110  it is another process that changes
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise ComputeError(f"the template process of environment {interpreter.key[:16]} did not start") from None

    async def _hello(self, interpreter: Interpreter) -> dict[str, Any] | None:
        try:
            return await self._call(interpreter, {"op": "hello"})
        except ComputeError:
            return None

    async def _call(self, interpreter: Interpreter, request: dict[str, Any]) -> dict[str, Any]:
        path = self._data.template_socket(interpreter.key)
        try:
            async with asyncio.timeout(_OPERATION_SECONDS):
                reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 22)
                try:
                    writer.write(json.dumps(request).encode() + b"\n")
                    await writer.drain()
                    line = await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise ComputeError(f"the template process of environment {interpreter.key[:16]}: {error!r}") from error
        if not line:
            raise ComputeError(f"the template process of environment {interpreter.key[:16]} ended")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ComputeError(f"a replica could not be started: {answer['error']}")
        return answer

    def _lock(self, key: str) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())


def kill_group(pid: int) -> None:
    """End whatever is left of a replica's process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
