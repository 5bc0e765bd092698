"""Engines as the processes that they are, and a client for their sockets."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from moorage.replica.process import start_ticks

REPOSITORY = Path(__file__).parents[3]
IMPATIENT = """
import sys
from moorage.engines import process
from moorage.engines.__main__ import main
process._KEPT_SECONDS = 0.3
process.exit_with(main(sys.argv[1:]))
"""
"""An engine that does not wait long for a connection whose request it does not know of."""
SECONDS = 60.0


@dataclass
class RunningEngine:
    """One engine's process, with what it writes down."""

    folder: Path
    config: dict[str, Any]
    process: subprocess.Popen[bytes]
    started: float
    _clients: list[httpx.Client] = field(default_factory=list)

    @property
    def status(self) -> dict[str, Any]:
        try:
            return json.loads((self.folder / "status.json").read_bytes())
        except FileNotFoundError:
            return {}

    @property
    def log(self) -> str:
        path = Path(self.config["log"])
        return path.read_text(errors="replace") if path.exists() else ""

    def ready(self) -> float:
        """Seconds since the start, when it is."""
        wait_until(lambda: self.status.get("phase") in ("ready", "failed") or self.process.poll() is not None, self)
        assert self.status["phase"] == "ready", self.status["message"] + self.log
        return time.monotonic() - self.started

    def reason(self) -> str:
        """Why it failed to start."""
        assert self.process.wait(SECONDS) == 3, self.log
        assert self.status["phase"] == "failed"
        return self.status["message"]

    def client(self) -> httpx.Client:
        """Each request has a connection of its own, as those of gateways."""
        transport = httpx.HTTPTransport(uds=self.config["socket"])
        headers = {"Connection": "close"}
        client = httpx.Client(transport=transport, base_url="http://engine", timeout=SECONDS, headers=headers)
        self._clients.append(client)
        return client

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.client().post(path, json=body)

    def metric(self, name: str) -> float:
        text = self.client().get("/metrics").text
        [line] = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(line.split()[1])

    def resident(self) -> int:
        """Bytes."""
        return psutil.Process(self.process.pid).memory_info().rss

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def exit_status(self) -> int:
        return self.process.wait(SECONDS)

    def clean_up(self) -> None:
        for client in self._clients:
            client.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def wait_until(condition: Callable[[], bool], engine: RunningEngine, seconds: float = SECONDS) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, engine.log
        time.sleep(0.01)


def config_of(folder: Path, weights: Path, **changes: Any) -> dict[str, Any]:
    """What compute would write."""
    return {
        "replica_id": f"r{os.getpid()}x{time.monotonic_ns()}",
        "endpoint": "an-endpoint",
        "served_name": "a-model",
        "folder": str(folder),
        "socket": str(folder / "s"),
        "log": str(folder / "engine.log"),
        "log_bytes": 1 << 20,
        "engine": "llama.cpp",
        "weights": str(weights),
        "tokenizer": None,
        "task": "llm/v1/chat",
        "context": 512,
        "slots": 4,
        "threads": 1,  # others may want the second core, for which llama.cpp's threads would wait at every step
        "pooling": None,
        "chat_template": None,
        "supervisor_pid": os.getpid(),
        "supervisor_started_at": start_ticks(os.getpid()),
        "orphan_seconds": 600,
        **changes,
    }


@contextlib.contextmanager
def started(
    folder: Path,
    weights: Path,
    *,
    command: list[str] | None = None,
    env: dict[str, str] | None = None,
    **changes: Any,
) -> Iterator[RunningEngine]:
    """An engine whose start has begun; it is killed in the end. `changes` are of its configuration."""
    folder.mkdir(exist_ok=True)
    (folder / "work").mkdir(exist_ok=True)
    config = config_of(folder, weights, **changes)
    path = folder / "engine.json"
    path.write_text(json.dumps(config))
    began = time.monotonic()
    process = subprocess.Popen(
        [*(command or [sys.executable, "-m", "moorage.engines"]), str(path)],
        cwd=folder / "work",
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    engine = RunningEngine(folder, config, process, began)
    try:
        yield engine
    finally:
        engine.clean_up()
