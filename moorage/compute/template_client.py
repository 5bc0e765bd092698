"""Talks to template processes: one per environment, kept while a deployment uses it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moorage import unix
from moorage.compute import reach
from moorage.compute.base import ComputeError, Interpreter
from moorage.compute.reach import REPLICA_CODE
from moorage.datadir import DataDirectory
from moorage.separation import make_bytecode_readable
from moorage.settings import scrubbed_environment

_logger = logging.getLogger(__name__)

_START_SECONDS = 60.0
_OPERATION_SECONDS = 300.0  # the first import of a large library on a slow disk
_POLL_SECONDS = 0.02
_MOST_RESTARTS = 20
_LAST_WORDS = 2000

_Place = tuple[str, int]
"""A template is for the environment of a key and the user that runs it."""


def code_version() -> str:
    """Names the replica code, so that a template of another release is not asked to fork."""
    digest = hashlib.sha256()
    for file in sorted(REPLICA_CODE.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def base_environment(uid: int, home: Path, temporary: Path) -> dict[str, str]:
    """What templates and replicas see of the environment: nothing of the server's own.

    A user of its own has those two folders instead of the server's, and a name that stands in no list.
    OpenBLAS gets one thread: it would start its pool on import, and a fork cannot take threads along.
    """
    seen = {**scrubbed_environment(), "OPENBLAS_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    if uid == os.getuid():
        return seen
    seen.pop("SHELL", None)
    own = {"HOME": str(home), "TMPDIR": str(temporary), "USER": "model", "LOGNAME": "model"}
    return {**seen, **own, "PYTHONNOUSERSITE": "1"}


class Templates:
    """The templates of this machine."""

    def __init__(self, data: DataDirectory, log_bytes: int) -> None:
        self._data = data
        self._log_bytes = log_bytes
        self._version = code_version()
        self._locks: dict[_Place, asyncio.Lock] = {}
        self._ready: set[_Place] = set()
        self._started: dict[_Place, subprocess.Popen[bytes]] = {}

    async def spawn(
        self, interpreter: Interpreter, replica: dict[str, Any], environment: dict[str, str], warm: list[str]
    ) -> dict[str, Any]:
        """Have the environment's template start a replica; the template is started when there is none.

        `environment` may hold secrets. It goes by in a file in memory that only the replica reads.

        Raises:
            ComputeError: it cannot be started, or refuses.
        """
        async with self._lock(_place(interpreter)):
            await self._ensure(interpreter)
            await self._warm(interpreter, warm)
            with _in_memory(environment) as descriptor:
                return await self._call(interpreter, {"op": "spawn", "replica": replica}, descriptor)

    async def warm(self, interpreter: Interpreter, modules: list[str]) -> None:
        """Have the environment's template import these, when there is one.

        Raises:
            ComputeError: it does not answer.
        """
        async with self._lock(_place(interpreter)):
            if _place(interpreter) in self._ready:
                await self._warm(interpreter, modules)

    async def _warm(self, interpreter: Interpreter, modules: list[str]) -> None:
        for _ in range(_MOST_RESTARTS):
            if not (await self._call(interpreter, {"op": "warm", "modules": modules})).get("restarting"):
                return
            await self._wait_until_up(interpreter)

    async def stop(self, key: str, uid: int) -> None:
        """End a template; its replicas stay."""
        async with self._lock((key, uid)):
            self._ready.discard((key, uid))
            with contextlib.suppress(ComputeError):
                await self._call(Interpreter(key, Path(), uid), {"op": "stop"})

    def running(self) -> list[tuple[str, int]]:
        """The templates that this control plane uses: keys of environments, and the users that run them."""
        return sorted(self._ready)

    async def _ensure(self, interpreter: Interpreter) -> None:
        hello = await self._hello(interpreter)
        if hello is not None and hello.get("version") == self._version:
            self._ready.add(_place(interpreter))
            return
        if hello is not None:
            _logger.info("template %s runs other code; it is replaced", interpreter.key[:16])
            await self._call(interpreter, {"op": "stop"})
        self._started[_place(interpreter)] = await asyncio.to_thread(self._start, interpreter)
        await self._wait_until_up(interpreter)
        self._ready.add(_place(interpreter))

    def _start(self, interpreter: Interpreter) -> subprocess.Popen[bytes]:
        key, uid = _place(interpreter)
        folder, log = self._data.template_socket(key, uid).parent, self._log(interpreter)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        log.parent.mkdir(mode=0o700, exist_ok=True)
        command = [
            str(interpreter.python),
            str(REPLICA_CODE / "launch.py"),
            "template",
            str(self._data.template_socket(key, uid)),
            self._version,
            str(log),
            str(self._log_bytes),
            str(os.getuid()),
        ]
        with log.open("ab") as output:
            try:
                if uid != os.getuid():
                    os.chown(folder, uid, uid)
                    os.fchown(output.fileno(), uid, uid)
                    if interpreter.python == Path(sys.executable):
                        make_bytecode_readable(Path(sysconfig.get_path("purelib")))
                    command = [*reach.as_user(uid, interpreter.python, reach.places(self._data)), *command]
                return subprocess.Popen(
                    command,
                    env=base_environment(uid, folder, folder),
                    cwd=folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            except OSError as error:
                raise ComputeError(f"cannot start {interpreter.python}: {error.strerror}") from error
            except reach.OutOfReach as error:
                raise ComputeError(str(error)) from error

    async def _wait_until_up(self, interpreter: Interpreter) -> None:
        try:
            async with asyncio.timeout(_START_SECONDS):
                while await self._hello(interpreter) is None:
                    started = self._started.get(_place(interpreter))
                    if started is not None and started.poll() is not None:
                        raise ComputeError(f"the template process ended: {self._last_words(interpreter)}")
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise ComputeError(f"the template process of environment {interpreter.key[:16]} did not start") from None

    async def _hello(self, interpreter: Interpreter) -> dict[str, Any] | None:
        try:
            return await self._call(interpreter, {"op": "hello"})
        except ComputeError:
            return None

    async def _call(
        self, interpreter: Interpreter, request: dict[str, Any], descriptor: int | None = None
    ) -> dict[str, Any]:
        """The answer to a request, with which a descriptor may go."""
        try:
            async with asyncio.timeout(_OPERATION_SECONDS):
                sock = await unix.connect(str(self._data.template_socket(*_place(interpreter))))
                line = json.dumps(request).encode() + b"\n"
                try:
                    # A new socket's buffer is empty: it takes the beginning at once, and the descriptor with that.
                    sent = socket.send_fds(sock, [line], [descriptor]) if descriptor is not None else 0
                except OSError:
                    sock.close()
                    raise
                reader, writer = await asyncio.open_unix_connection(sock=sock, limit=1 << 22)
                try:
                    writer.write(line[sent:])
                    await writer.drain()
                    line = await reader.readline()
                finally:
                    writer.close()
            answer = json.loads(line) if line else None
        except (OSError, TimeoutError, ValueError, RecursionError) as error:
            raise ComputeError(f"the template process of environment {interpreter.key[:16]}: {error!r}") from error
        if not isinstance(answer, dict):
            raise ComputeError(f"the template process of environment {interpreter.key[:16]} ended")
        if "error" in answer:
            raise ComputeError(f"a replica could not be started: {answer['error']}")
        return answer

    def _lock(self, place: _Place) -> asyncio.Lock:
        return self._locks.setdefault(place, asyncio.Lock())

    def _log(self, interpreter: Interpreter) -> Path:
        key, uid = _place(interpreter)
        return self._data.logs / f"template-{key[:16]}-{uid}.log"

    def _last_words(self, interpreter: Interpreter) -> str:
        lines = self._log(interpreter).read_text(errors="replace")[-_LAST_WORDS:].strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def _place(interpreter: Interpreter) -> _Place:
    return interpreter.key, user_of(interpreter)


def user_of(interpreter: Interpreter) -> int:
    """The user that runs it."""
    return os.getuid() if interpreter.uid is None else interpreter.uid


@contextlib.contextmanager
def _in_memory(document: dict[str, str]) -> Iterator[int]:
    """A descriptor of a file with that JSON that no file system knows."""
    descriptor = os.memfd_create("moorage-environment", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(json.dumps(document).encode())
        yield descriptor
    finally:
        os.close(descriptor)
