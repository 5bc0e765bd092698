"""Replicas as processes of this machine, forked by the template of their environment."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
from pathlib import Path
from typing import Any

from moorage.compute.base import (
    ComputeError,
    Interpreter,
    Observation,
    ReplicaPhase,
    ReplicaProcess,
    ReplicaSpec,
)
from moorage.compute.template_client import Templates, base_environment, kill_group
from moorage.datadir import DataDirectory
from moorage.replica import frames
from moorage.settings import Settings

_logger = logging.getLogger(__name__)

BATCHING_VARIABLE = "MOORAGE_BATCHING"
"""Environment variable of a served entity: `on` lets a Python model be called with the rows of many requests."""

_THREADS = 4  # one replica is four units of provisioned concurrency
_HANDSHAKE_SECONDS = 10.0


class LocalCompute:
    """Implements `compute.base.Compute`."""

    def __init__(self, settings: Settings, data: DataDirectory) -> None:
        self._settings = settings
        self._data = data
        self._templates = Templates(data, settings.replica_log_bytes)

    async def start_replica(self, spec: ReplicaSpec, interpreter: Interpreter) -> ReplicaProcess:
        """Fork it. The process group is its own, so that all it starts can be ended with it."""
        self._data.replica(spec.replica_id).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._data.deployment(spec.deployment_id).mkdir(mode=0o700, parents=True, exist_ok=True)
        address = str(self._data.replica_socket(spec.replica_id))
        batching = spec.variables.get(BATCHING_VARIABLE, "auto").lower()
        config = {
            "replica_id": spec.replica_id,
            "endpoint": spec.endpoint,
            "served_name": spec.served_name,
            "folder": str(self._data.replica(spec.replica_id)),
            "socket": address,
            "log": str(self._data.replica_log(spec.deployment_id, spec.replica_id)),
            "log_bytes": self._settings.replica_log_bytes,
            "model_path": str(spec.model_path),
            "environment": {**base_environment(), **spec.variables},
            "chosen_variables": sorted(spec.variables),
            "batching": {"true": "on", "1": "on", "false": "off", "0": "off"}.get(batching, batching),
            "threads": _THREADS,
            "strict_json": self._settings.strict_json,
            "orphan_seconds": self._settings.replica_orphan_seconds,
        }
        warm = [spec.loader_module, *self._imports(interpreter)] if spec.loader_module else self._imports(interpreter)
        answer = await self._templates.spawn(interpreter, config, warm)
        return ReplicaProcess(spec.replica_id, address, int(answer["pid"]), int(answer["started_at"]))

    def observe(self, replica: ReplicaProcess) -> Observation:
        """From its status file and the kernel."""
        status = _read(self._data.replica(replica.replica_id) / "status.json")
        alive = is_alive(replica.pid, replica.started_at)
        if not alive and status.get("phase") not in ("failed", "stopped"):
            ending = _read(self._data.replica(replica.replica_id) / "exit.json")
            return Observation(ReplicaPhase.GONE, str(ending.get("words", "the process ended")))
        return Observation(
            phase=ReplicaPhase(status.get("phase", "starting")),
            message=str(status.get("message", "")),
            load_seconds=status.get("load_seconds"),
            warm_up_seconds=status.get("warm_up_seconds"),
            batching=status.get("batching"),
            imports=tuple(status.get("imports", ())),
        )

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
        try:
            async with asyncio.timeout(_HANDSHAKE_SECONDS):
                reader, writer = await asyncio.open_unix_connection(replica.address)
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
        except TimeoutError:
            return True  # busy predicting: alive, and its name is in the path of its socket
        except OSError:
            return False
        return bool(json.loads(arrived[0][2]).get("replica_id") == replica.replica_id)

    async def stop_replica(self, replica: ReplicaProcess, drain_seconds: float) -> None:
        """SIGTERM, wait, SIGKILL; then the group, the folder and the socket."""
        if is_alive(replica.pid, replica.started_at):
            with contextlib.suppress(ProcessLookupError):
                os.kill(replica.pid, signal.SIGTERM)
            try:
                async with asyncio.timeout(drain_seconds):
                    await self.ended(replica)
            except TimeoutError:
                _logger.warning("replica %s did not stop within %.0f s", replica.replica_id, drain_seconds)
                if is_alive(replica.pid, replica.started_at):
                    os.kill(replica.pid, signal.SIGKILL)
                    await self.ended(replica)
        kill_group(replica.pid)
        await asyncio.to_thread(self._forget, replica.replica_id)

    async def stop_strangers(self, known: frozenset[str]) -> list[str]:
        """Replicas that a crashed control plane started and had not yet written down."""
        found = []
        if not self._data.replicas.is_dir():
            return []
        for folder in sorted(self._data.replicas.iterdir()):
            if folder.name in known:
                continue
            status = _read(folder / "status.json")
            if "pid" in status and is_alive(status["pid"], status["started_at"]):
                stranger = ReplicaProcess(folder.name, "", status["pid"], status["started_at"])
                await self.stop_replica(stranger, 1.0)
                found.append(folder.name)
            self._forget(folder.name)
        return found

    async def release(self, keys_in_use: frozenset[str]) -> None:
        """Stop templates of environments that no deployment uses."""
        for key in self._templates.running():
            if key not in keys_in_use:
                await self._templates.stop(key)

    async def remember_imports(self, interpreter: Interpreter, modules: tuple[str, ...]) -> None:
        """Kept on disk for the next template, and imported by this one now, before another replica is wanted."""
        known = set(self._imports(interpreter))
        if set(modules) <= known:
            return
        path = self._imports_file(interpreter)
        path.with_suffix(".tmp").write_text(json.dumps(sorted(known | set(modules))))
        path.with_suffix(".tmp").replace(path)
        await self._templates.warm(interpreter, self._imports(interpreter))

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
            names = json.loads(self._imports_file(interpreter).read_text())
        except (FileNotFoundError, ValueError):
            return []
        return [str(name) for name in names]

    def _imports_file(self, interpreter: Interpreter) -> Path:
        return self._data.environments / f"imports-{interpreter.key[:32]}.json"

    def _forget(self, replica_id: str) -> None:
        shutil.rmtree(self._data.replica(replica_id), ignore_errors=True)
        self._data.replica_socket(replica_id).unlink(missing_ok=True)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def is_alive(pid: int, started_at: int) -> bool:
    """Whether that very process still runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return False
    return stat[0] != b"Z" and int(stat[19]) == started_at


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


__all__ = ["BATCHING_VARIABLE", "ComputeError", "LocalCompute", "is_alive"]
