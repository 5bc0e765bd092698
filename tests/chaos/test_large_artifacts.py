"""Artifacts of 2 GB, through MLflow with the tracking URI `databricks`, and never through the server's memory."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from server import Server, running_server

pytestmark = pytest.mark.alone

SIZE = 2 << 30
BLOCK = 16 << 20
MOST_GROWTH = 100 << 20
PARTS = ("moorage.gateway", "moorage.control", "moorage.supervisor.mlflow_server")
CLIENT = """
import sys, mlflow
mlflow.set_tracking_uri("databricks")
mlflow.set_experiment("large")
with mlflow.start_run() as run:
    mlflow.log_artifact(sys.argv[1], "weights")
(found,) = mlflow.MlflowClient().list_artifacts(run.info.run_id, "weights")
print(found.file_size)
print(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path="weights", dst_path=sys.argv[2]))
"""


class Peaks:
    """The most memory that each part of the server had at once, while it is watched; bytes of resident memory."""

    def __init__(self, server: Server) -> None:
        self._processes = {name: psutil.Process(server.part(name)) for name in PARTS}
        self.before = self._now()
        self.most = dict(self.before)

    def _now(self) -> dict[str, int]:
        return {name: process.memory_info().rss for name, process in self._processes.items()}

    @contextmanager
    def watched(self) -> Iterator[None]:
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.05):
                for name, size in self._now().items():
                    self.most[name] = max(self.most[name], size)

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()

    def growth(self) -> dict[str, int]:
        return {name: self.most[name] - self.before[name] for name in PARTS}


def write_large(path: Path) -> str:
    """A file of `SIZE` bytes in which no two blocks are alike; its digest."""
    block, digest = random.Random(7).randbytes(BLOCK), hashlib.sha256()
    with path.open("wb") as file:
        for number in range(SIZE // BLOCK):
            piece = number.to_bytes(8, "big") + block[8:]
            file.write(piece)
            digest.update(piece)
    return digest.hexdigest()


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def run_client(server: Server, folder: Path, *arguments: str) -> list[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DATABRICKS_", "MLFLOW_", "MOORAGE_"))}
    env = {**kept, "DATABRICKS_HOST": server.url, "DATABRICKS_TOKEN": server.token, "HOME": str(folder)}
    command = [sys.executable, "-c", CLIENT, *arguments]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{server.log_tail()}"
    return done.stdout.splitlines()


def test_two_gigabytes_go_up_and_come_back_and_the_server_does_not_grow(tmp_path: Path) -> None:
    sent, back = tmp_path / "model.bin", tmp_path / "back"
    digest = write_large(sent)
    with running_server() as server:
        # What the first artifact loads is not what a large one costs.
        small = tmp_path / "small.bin"
        small.write_bytes(b"x")
        run_client(server, tmp_path, str(small), str(tmp_path / "first"))
        peaks = Peaks(server)
        with peaks.watched():
            printed = run_client(server, tmp_path, str(sent), str(back))
        assert str(SIZE) in printed
        sent.unlink()
        assert digest_of(back / "weights" / "model.bin") == digest
        left = [path for path in server.data_dir.rglob("*") if path.is_file() and path.stat().st_size >= BLOCK]
        assert [path.stat().st_size for path in left] == [SIZE], left
        assert sum(peaks.growth().values()) < MOST_GROWTH, peaks.growth()
