"""Replicas as processes of this machine, forked by the template of their environment."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from dataclasses import asdict
from pathlib import Path

import psutil

from moorage import unix
from moorage.compute import reach
from moorage.compute.base import (
    ComputeError,
    EngineStart,
    Interpreter,
    Memory,
    Observation,
    ReplicaPhase,
    ReplicaProcess,
    ReplicaSpec,
)
from moorage.compute.memory_watch import MemoryWatch
from moorage.compute.processes import belongs_to, end_all, family, is_alive, send
from moorage.compute.statements import modules, observation, text
from moorage.compute.template_client import Templates, base_environment, user_of
from moorage.datadir import DataDirectory
from moorage.replica import frames
from moorage.replica.process import start_ticks
from moorage.separation import make_bytecode_readable
from moorage.settings import Settings
from moorage.untrusted import read_document, whole_number

_logger = logging.getLogger(__name__)

BATCHING_VARIABLE = "MOORAGE_BATCHING"
"""Environment variable of a served entity: `on` lets a Python model be called with the rows of many requests."""

ENGINE_CONFIG = "engine.json"
PACKAGE = Path(frames.__file__).parent.parent
_THREADS = 4  # one replica is four units of provisioned concurrency
_HANDSHAKE_SECONDS = 10.0
_TIMES_TO_CLEAR = 4  # the template may be writing down there how the replica ended
_KEPT_LOGS = 16  # of replicas of a deployment that are gone
_HARD_LIMIT = 1.5  # times its memory: beyond, the kernel refuses, however fast a replica grows between two looks
_RESERVES = 2 * 1024**3  # and what libraries reserve and never use, which the kernel counts: pyarrow a gigabyte


class LocalCompute:
    """Implements `compute.base.Compute`."""

    def __init__(self, settings: Settings, data: DataDirectory) -> None:
        self._settings = settings
        self._data = data
        self._templates = Templates(data, settings.replica_log_bytes)
        self._memory = MemoryWatch(settings.replica_memory_bytes)
        self._engines: dict[str, subprocess.Popen[bytes]] = {}

    async def start_replica(self, spec: ReplicaSpec, interpreter: Interpreter) -> ReplicaProcess:
        """Fork it, or start its engine. The process group is its own, so that all it starts can be ended with it."""
        if spec.engine is not None:
            return await self._start_engine(spec, spec.engine, user_of(interpreter))
        uid, folder = user_of(interpreter), self._data.replica(spec.replica_id)
        limit = self._settings.replica_memory_bytes
        await asyncio.to_thread(self._make_place, spec, uid)
        address = str(self._data.replica_socket(spec.replica_id))
        batching = spec.variables.get(BATCHING_VARIABLE, "auto").lower()
        config = {
            **self._common_config(spec),
            "model_path": str(spec.model_path),
            "chosen_variables": sorted(spec.variables),
            "batching": {"true": "on", "1": "on", "on": "on", "auto": "auto"}.get(batching, "off"),
            "threads": _THREADS,
            "strict_json": self._settings.strict_json,
            "client_uid": os.getuid(),
            "memory_bytes": int(_HARD_LIMIT * limit) + _RESERVES if limit else 0,
        }
        warm = [spec.loader_module, *self._imports(interpreter)] if spec.loader_module else self._imports(interpreter)
        try:
            environment = {**base_environment(uid, folder / "work", folder / "tmp"), **spec.variables}
            answer = await self._templates.spawn(interpreter, config, environment, warm)
            pid, started_at = whole_number(answer.get("pid")), whole_number(answer.get("started_at"))
            # A library in the template may answer what it likes, and this process will be signalled by us.
            if is_alive(pid, started_at) and not belongs_to(pid, started_at, uid):
                raise ComputeError(f"a replica could not be started: process {pid} is none of a model")
        except ComputeError:
            self._forget(spec.replica_id)
            raise
        if not belongs_to(pid, started_at, uid):
            started_at = 0  # it has ended; no process begins then
        replica = ReplicaProcess(spec.replica_id, address, pid, started_at)
        self._memory.watch(replica)
        return replica

    async def _start_engine(self, spec: ReplicaSpec, engine: EngineStart, uid: int) -> ReplicaProcess:
        """An engine is no fork of a template: it is started anew, and has no environment but the server's own."""
        folder = self._data.replica(spec.replica_id)
        await asyncio.to_thread(self._make_place, spec, uid)
        address = str(self._data.replica_socket(spec.replica_id))
        config = {
            **self._common_config(spec),
            **asdict(engine),
            "tokenizer": str(engine.tokenizer) if engine.tokenizer is not None else None,
            "weights": str(spec.model_path),
            "threads": os.cpu_count() or 1,
            **_supervisor(),
        }
        reached = [spec.model_path.parent, *([engine.tokenizer.parent] if engine.tokenizer is not None else [])]
        try:
            process = await asyncio.to_thread(self._spawn_engine, folder, config, uid, reached)
            started_at = start_ticks(process.pid)
        except OSError as error:
            self._forget(spec.replica_id)
            raise ComputeError(f"the engine cannot be started: {error.strerror}") from error
        except reach.OutOfReach as error:
            self._forget(spec.replica_id)
            raise ComputeError(str(error)) from error
        self._engines[spec.replica_id] = process
        replica = ReplicaProcess(spec.replica_id, address, process.pid, started_at)
        self._memory.watch(replica)
        return replica

    def _common_config(self, spec: ReplicaSpec) -> dict[str, object]:
        """What every kind of replica is told."""
        return {
            "replica_id": spec.replica_id,
            "endpoint": spec.endpoint,
            "served_name": spec.served_name,
            "folder": str(self._data.replica(spec.replica_id)),
            "socket": str(self._data.replica_socket(spec.replica_id)),
            "log": str(self._data.replica_log(spec.deployment_id, spec.replica_id)),
            "log_bytes": self._settings.replica_log_bytes,
            "orphan_seconds": self._settings.replica_orphan_seconds,
        }

    def _spawn_engine(
        self, folder: Path, config: dict[str, object], uid: int, reached: list[Path]
    ) -> subprocess.Popen[bytes]:
        work, temporary, path = folder / "work", folder / "tmp", folder / ENGINE_CONFIG
        for place in (work, temporary):
            place.mkdir(mode=0o700, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(json.dumps(config))
        command = [sys.executable, "-m", "moorage.engines", str(path)]
        if uid != os.getuid():
            for place in (work, temporary, path):
                os.chown(place, uid, uid)
            make_bytecode_readable(Path(sysconfig.get_path("purelib")))
            others = (*reach.places(self._data), PACKAGE, *reached)
            command = [*reach.as_user(uid, Path(sys.executable), others), *command]
        return subprocess.Popen(
            command,
            env={**base_environment(uid, work, temporary), "PYTHONPATH": str(PACKAGE.parent)},
            cwd=work,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def observe(self, replica: ReplicaProcess) -> Observation:
        """From its status file and the kernel."""
        folder = self._data.replica(replica.replica_id)
        # The process first: what a dead one says is its last word, which may be the reason why it ended.
        alive = is_alive(replica.pid, replica.started_at)
        said = observation(read_document(folder / "status.json"))
        if alive or said.phase in (ReplicaPhase.FAILED, ReplicaPhase.STOPPED):
            return said
        words = self._memory.ending(replica.replica_id) or text(read_document(folder / "exit.json").get("words"))
        return Observation(ReplicaPhase.GONE, words or "the process ended")

    async def ended(self, replica: ReplicaProcess) -> None:
        """Wait on a pidfd: it works for a process that is nobody's child here."""
        if not is_alive(replica.pid, replica.started_at):
            return
        try:
            descriptor = os.pidfd_open(replica.pid)
        except ProcessLookupError:
            return
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        loop.add_reader(descriptor, _settle, done)
        try:
            # Between the look and the open the pid may have gone to another process.
            if is_alive(replica.pid, replica.started_at):
                await done
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    async def adopt(self, replica: ReplicaProcess) -> bool:
        """Same pid, same start ticks, and it says its name on its socket."""
        if not is_alive(replica.pid, replica.started_at):
            return False
        if self.observe(replica).phase is not ReplicaPhase.READY:
            return False
        if (self._data.replica(replica.replica_id) / ENGINE_CONFIG).is_file():
            return await self._adopt_engine(replica)
        try:
            async with asyncio.timeout(_HANDSHAKE_SECONDS):
                reader, writer = await asyncio.open_unix_connection(sock=await unix.connect(replica.address))
                try:
                    writer.write(frames.encode(frames.HELLO, 1))
                    decoder = frames.Decoder()
                    arrived: list[frames.Frame] = []
                    while not arrived:
                        data = await reader.read(4096)
                        if not data:
                            return False
                        arrived = decoder.feed(data)
                finally:
                    writer.close()
            name = json.loads(arrived[0][2])["replica_id"]
        except TimeoutError:
            name = replica.replica_id  # busy predicting: alive, and its name is in the path of its socket
        except (OSError, frames.FrameError, ValueError, LookupError, TypeError, RecursionError):
            return False
        if name == replica.replica_id:
            self._memory.watch(replica)
        return bool(name == replica.replica_id)

    async def _adopt_engine(self, replica: ReplicaProcess) -> bool:
        """It takes connections at the path of its socket, which has its name. Without its supervisor it would end: it
        is told of the one that there is now."""
        try:
            async with asyncio.timeout(_HANDSHAKE_SECONDS):
                sock = await unix.connect(replica.address)
            sock.close()
            await asyncio.to_thread(_tell_supervisor, self._data.replica(replica.replica_id) / ENGINE_CONFIG)
        except (OSError, TimeoutError, ValueError):
            return False
        self._memory.watch(replica)
        return True

    async def stop_replica(self, replica: ReplicaProcess, drain_seconds: float) -> None:
        """SIGTERM, wait, SIGKILL; then what it started, and the folder."""
        owner = await asyncio.to_thread(self._owner, replica.replica_id)
        known = await asyncio.to_thread(family, replica.pid, replica.started_at)
        if send(replica.pid, replica.started_at, signal.SIGTERM):
            try:
                async with asyncio.timeout(drain_seconds):
                    await self.ended(replica)
            except TimeoutError:
                _logger.warning("replica %s did not stop within %.0f s", replica.replica_id, drain_seconds)
                if send(replica.pid, replica.started_at, signal.SIGKILL):
                    await self.ended(replica)
        if owner is not None:
            await asyncio.to_thread(end_all, replica.pid, replica.started_at, owner, known)
        await asyncio.to_thread(self._forget, replica.replica_id)

    async def stop_strangers(self, known: frozenset[str]) -> list[str]:
        """Replicas that a crashed control plane started and had not yet written down."""
        found = []
        if not self._data.replicas.is_dir():
            return []
        for folder in sorted(self._data.replicas.iterdir()):
            if folder.name in known:
                continue
            status = read_document(folder / "status.json")
            pid, started_at = whole_number(status.get("pid")), whole_number(status.get("started_at"))
            if is_alive(pid, started_at) and belongs_to(pid, started_at, self._owner(folder.name)):
                await self.stop_replica(ReplicaProcess(folder.name, "", pid, started_at), 1.0)
                found.append(folder.name)
            self._forget(folder.name)
        return found

    async def release(self, in_use: frozenset[tuple[str, int | None]]) -> None:
        """Stop templates of environments that no deployment uses."""
        used = {(key, os.getuid() if uid is None else uid) for key, uid in in_use}
        for key, uid in self._templates.running():
            if (key, uid) not in used:
                await self._templates.stop(key, uid)

    async def remember_imports(self, interpreter: Interpreter, modules: tuple[str, ...]) -> None:
        """Kept on disk for the next template, and imported by this one now, before another replica is wanted."""
        known = set(self._imports(interpreter))
        if set(modules) <= known:
            return
        path = self._imports_file(interpreter)
        path.with_suffix(".tmp").write_text(json.dumps(sorted(known | set(modules))))
        path.with_suffix(".tmp").replace(path)
        await self._templates.warm(interpreter, self._imports(interpreter))

    async def memory(self, replica: ReplicaProcess) -> Memory | None:
        """By the kernel's `smaps`, in a thread: that takes a while for a large process."""
        if not is_alive(replica.pid, replica.started_at):
            return None
        return await asyncio.to_thread(_memory, replica.pid)

    def log_tail(self, deployment_id: str, replica_id: str, size: int) -> str:
        """The end of the replica's log, or nothing when it never wrote one."""
        try:
            with self._data.replica_log(deployment_id, replica_id).open("rb") as file:
                file.seek(0, os.SEEK_END)
                length = file.tell()
                file.seek(max(0, length - size))
                data = file.read()
        except FileNotFoundError:
            return ""
        text = data.decode(errors="replace")
        return text.partition("\n")[2] if length > size else text

    def _imports(self, interpreter: Interpreter) -> list[str]:
        try:
            return list(modules(json.loads(self._imports_file(interpreter).read_text())))
        except (FileNotFoundError, ValueError):
            return []

    def _imports_file(self, interpreter: Interpreter) -> Path:
        """For each user a file of its own: models say what stands in it."""
        return self._data.environments / f"imports-{interpreter.key[:32]}-{user_of(interpreter)}.json"

    def _make_place(self, spec: ReplicaSpec, uid: int) -> None:
        """The replica's folder and its log, as far as that user may have them."""
        folder, log = self._data.replica(spec.replica_id), self._data.replica_log(spec.deployment_id, spec.replica_id)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._drop_old_logs(spec.deployment_id)
        if uid != os.getuid():
            log.touch(mode=0o600)
            os.chown(log, uid, uid)
            log.parent.chmod(0o711)
            os.chown(folder, uid, uid)

    def _owner(self, replica_id: str) -> int | None:
        """The user that a replica runs as: its folder was given to that one. None when it is gone."""
        try:
            return self._data.replica(replica_id).lstat().st_uid
        except FileNotFoundError:
            return None

    def _drop_old_logs(self, deployment_id: str) -> None:
        """Keep the newest logs of replicas that are gone; one that is restarted for ever must not fill the disk."""
        build = self._data.build_log(deployment_id)
        written = []
        for path in self._data.deployment(deployment_id).glob("*.log"):
            if path != build and not self._data.replica(path.stem).is_dir():
                with contextlib.suppress(FileNotFoundError):
                    written.append((path.stat().st_mtime_ns, path))
        for _, path in sorted(written, reverse=True)[_KEPT_LOGS:]:
            path.unlink(missing_ok=True)

    def _forget(self, replica_id: str) -> None:
        folder = self._data.replica(replica_id)
        for _ in range(_TIMES_TO_CLEAR):
            try:
                shutil.rmtree(folder, ignore_errors=True)
            except RecursionError:  # a model has made folders in folders, deeper than Python goes
                subprocess.run(["rm", "-rf", "--", str(folder)], check=False)
            if not folder.exists():
                break
        self._memory.forget(replica_id)
        process = self._engines.pop(replica_id, None)
        if process is not None:
            process.poll()  # so that it is no zombie


def _supervisor() -> dict[str, int]:
    """The process that this server ends with."""
    return {"supervisor_pid": os.getppid(), "supervisor_started_at": start_ticks(os.getppid())}


def _tell_supervisor(config: Path) -> None:
    document = json.loads(config.read_text())
    changed = config.with_suffix(".tmp")
    changed.touch(mode=0o600)
    os.chown(changed, config.stat().st_uid, config.stat().st_gid)
    changed.write_text(json.dumps({**document, **_supervisor()}))
    changed.replace(config)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _memory(pid: int) -> Memory | None:
    try:
        replica = psutil.Process(pid)
        processes = [replica, *replica.children(recursive=True)]
    except psutil.NoSuchProcess:
        return None
    resident = own = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            taken = process.memory_info().rss
            resident += taken
            with contextlib.suppress(psutil.AccessDenied):  # another user's, and this root may not look into it
                taken = process.memory_full_info().uss
            own += taken
    return Memory(resident, own)


__all__ = ["BATCHING_VARIABLE", "ComputeError", "LocalCompute", "is_alive"]
