"""Moorage as a whole, under load: `moorage serve` with one gateway worker, endpoints made through its API."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.bench import Bench
from benchmarks.load import Target
from benchmarks.models import Prepared, quiet_mlflow
from benchmarks.processes import (
    BenchmarkFailed,
    command_line,
    family,
    free_port,
    own_environment,
    running,
    tail,
    wait_for_answer,
)
from moorage.control.admin_env import read_admin_env
from moorage.datadir import DataDirectory

_START_SECONDS = 120.0
_READY_SECONDS = 300.0
_POLL_SECONDS = 0.01
_TOGETHER = 16


@dataclass
class MoorageServer:
    """A running server and its administrator's token."""

    bench: Bench
    url: str
    token: str
    data: DataDirectory
    process: subprocess.Popen[bytes]
    log: Path
    http: httpx.Client

    @contextlib.contextmanager
    def serving(self, model: Prepared, endpoint: str = "", size: str = "Small", rows: int = 1) -> Iterator[Target]:
        """An endpoint with that model, READY, warm and checked; deleted at the end. `rows` of the body.

        Raises:
            BenchmarkFailed: it does not become READY, or answers other than the model itself does.
        """
        endpoint = endpoint or model.name
        self.create(endpoint, model, size)
        try:
            self.wait_ready(endpoint)
            url = f"{self.url}/serving-endpoints/{endpoint}/invocations"
            check_answer(wait_for_answer(self.process, self.log, url, 30, model.body(rows), self.token), model, rows)
            self._check_together(url, model)
            yield Target(url, model.body_file(rows), self.token, self.pids())
        finally:
            self.http.delete(f"/api/2.0/serving-endpoints/{endpoint}")

    def _check_together(self, url: str, model: Prepared) -> None:
        """Different rows asked at once, so that they are predicted in batches, get their own answers."""
        headers = {"content-type": "application/json"}

        def ask(row: int) -> Any:
            return self.http.post(url, content=model.single(row), headers=headers).json().get("predictions")

        with ThreadPoolExecutor(_TOGETHER) as pool:
            answers = list(pool.map(ask, range(len(model.features))))
        if answers != [[each] for each in model.expected(len(model.features))]:
            raise BenchmarkFailed(f"{url} mixes up the answers of requests that are sent at once")

    def create(self, endpoint: str, model: Prepared, size: str, *, scale_to_zero: bool = False) -> None:
        """Ask for an endpoint; the model is registered first when the server does not know it."""
        version = self.register(model)
        entity = {
            "name": model.name,
            "entity_name": _registered_name(model),
            "entity_version": version,
            "workload_size": size,
            "scale_to_zero_enabled": scale_to_zero,
        }
        document = {"name": endpoint, "config": {"served_entities": [entity]}}
        answer = self.http.post("/api/2.0/serving-endpoints", json=document)
        if not answer.is_success:
            raise BenchmarkFailed(f"cannot create endpoint {endpoint}: {answer.text[:500]}")

    def wait_ready(self, endpoint: str) -> None:
        """Until the endpoint is READY.

        Raises:
            BenchmarkFailed: it failed, or took over five minutes.
        """
        until = time.monotonic() + _READY_SECONDS
        state: dict[str, Any] = {}
        while time.monotonic() < until:
            state = self.http.get(f"/api/2.0/serving-endpoints/{endpoint}").json().get("state", {})
            if state.get("ready") == "READY":
                return
            if state.get("config_update") == "UPDATE_FAILED":
                break
            time.sleep(_POLL_SECONDS)
        raise BenchmarkFailed(f"endpoint {endpoint} is not READY: {state}: {tail(self.log)}")

    def register(self, model: Prepared) -> str:
        """Log the model into the server's own MLflow, once a run. Returns the version."""
        if model.name in self.bench.registered:
            return self.bench.registered[model.name]
        quiet_mlflow()
        os.environ["MLFLOW_TRACKING_TOKEN"] = self.token
        import mlflow

        mlflow.set_tracking_uri(self.url)
        mlflow.set_experiment("benchmarks")
        with contextlib.redirect_stderr(io.StringIO()), mlflow.start_run():
            logged = mlflow.sklearn.log_model(
                model.estimator,
                name="model",
                signature=model.signature,
                input_example=model.features.head(2),
                skops_trusted_types=list(model.trusted) or None,
                registered_model_name=_registered_name(model),
            )
        version = str(logged.registered_model_version)
        self.bench.registered[model.name] = version
        return version

    def replicas(self) -> list[int]:
        """Process ids of the live replicas."""
        found = []
        for file in sorted(self.data.replicas.glob("*/status.json")):
            document = json.loads(file.read_text())
            if document.get("phase") == "ready":
                found.append(int(document["pid"]))
        return found

    def gateway(self) -> int:
        """Process id of the gateway worker.

        Raises:
            BenchmarkFailed: there is none.
        """
        return self._part("moorage.gateway")

    def control_plane(self) -> int:
        """Process id of the control plane; raises as `gateway` does."""
        return self._part("moorage.control")

    def _part(self, module: str) -> int:
        for pid in family(self.process.pid):
            if module in command_line(pid):
                return pid
        raise BenchmarkFailed(f"the server has no process of {module}")

    def pids(self) -> tuple[int, ...]:
        """Every process of the server."""
        return tuple(dict.fromkeys((*family(self.process.pid), *self.replicas())))


@contextlib.contextmanager
def running_moorage(bench: Bench, name: str = "moorage") -> Iterator[MoorageServer]:
    """A server on a data directory of the run; a second start on the same one finds its registered models again."""
    data = DataDirectory(bench.folder / name)
    log = bench.folder / f"{name}.log"
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moorage", "serve", "--data-dir", str(data.root)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--gateway-workers", "1"]
    with running(command, log, own_environment({"MOORAGE_ENV_MANAGER": "local"})) as process:
        wait_for_answer(process, log, f"{url}/health", _START_SECONDS)
        token = read_admin_env(data.admin_env)["DATABRICKS_TOKEN"]
        headers = {"authorization": f"Bearer {token}"}
        with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=30) as http:
            yield MoorageServer(bench, url, token, data, process, log, http)


def check_answer(answer: httpx.Response, model: Prepared, rows: int) -> None:
    """A server that is fast but wrong is not measured.

    Raises:
        BenchmarkFailed: the predictions are not the model's own.
    """
    if answer.json().get("predictions") != model.expected(rows):
        raise BenchmarkFailed(f"{answer.url} predicts something else than the model: {answer.text[:300]}")


def _registered_name(model: Prepared) -> str:
    return f"main.benchmarks.{model.name}"
