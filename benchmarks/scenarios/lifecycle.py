"""What one more replica and one more endpoint cost: memory and time."""

from __future__ import annotations

import statistics
import time

import httpx

from benchmarks import peers
from benchmarks.bench import Bench
from benchmarks.load import Timing, load
from benchmarks.models import Prepared
from benchmarks.moorage_server import MoorageServer, running_moorage
from benchmarks.processes import BenchmarkFailed, memory_of
from benchmarks.report import Bound, Goal, Measure, Outcome, Row

_MB = 1_000_000
_MLFLOW = "mlflow models serve"
_ENDPOINTS = 5
_COLD_STARTS = 3
_WARM = Timing(0, 2)
_WITHIN_ONE_REPLICA = 4  # connections: more would make the autoscaler start replicas while memory is measured


def memory(bench: Bench) -> Outcome:
    """What the whole server's proportional set size grows by with one more replica of a known environment."""
    outcome = Outcome()
    model = bench.models.iris
    with running_moorage(bench) as server, server.serving(model, size="Medium") as target:
        load(target, _WITHIN_ONE_REPLICA, _WARM)
        replicas = server.replicas()
        if len(replicas) < 2:
            raise BenchmarkFailed(f"an endpoint of size Medium has {len(replicas)} replicas, not 2 or more")
        before = _proportional(server)
        with server.serving(model, endpoint="one-more", size="Small") as another:
            load(another, _WITHIN_ONE_REPLICA, _WARM)
            whole = _proportional(server)
            found = [memory_of(pid) for pid in server.replicas()]
    grown = whole - before
    ours = [each.proportional / _MB for each in found]
    private = max(each.private for each in found) / _MB
    each = ", ".join(f"{one:.0f} MB" for one in ours)
    bench.say(f"Moorage, {len(ours)} replicas: {each}; all of it {whole:.0f} MB, {grown:.0f} MB of it the last one")
    with peers.mlflow_serve(bench, model) as target:
        load(target, 16, _WARM)
        mlflow = sum(memory_of(pid).proportional for pid in target.pids) / _MB
    bench.say(f"mlflow: {mlflow:.0f} MB")
    outcome.cells["memory"] = {
        "replicas_mb": ours,
        "replica_private_mb": private,
        "server_mb": whole,
        "one_more_mb": grown,
        "mlflow_mb": mlflow,
    }
    limit = Goal(Measure.FIGURE, Bound.AT_MOST, 60)
    outcome.rows.append(Row("memory of one more replica (growth of PSS)", "MB", grown, _MLFLOW, mlflow, limit))
    outcome.rows.append(Row("PSS of one of three replicas", "MB", max(ours), _MLFLOW, mlflow))
    return outcome


def _proportional(server: MoorageServer) -> float:
    """The server's memory with all its processes, shared pages counted once, in MB."""
    return sum(memory_of(pid).proportional for pid in server.pids()) / _MB


def start(bench: Bench) -> Outcome:
    """From create to READY and to the first answer, environment known, against MLflow's server from cold."""
    outcome = Outcome()
    model = bench.models.iris
    ready, answered = [], []
    with running_moorage(bench) as server, server.serving(model):
        for number in range(_ENDPOINTS):
            times = _create_and_ask(server, model, f"second-{number}")
            words = f"READY after {times[0]:.2f} s, first answer after {times[1]:.2f} s"
            bench.say(f"Moorage, endpoint {number + 1}: {words}")
            ready.append(times[0])
            answered.append(times[1])
    cold = []
    for number in range(_COLD_STARTS):
        began = time.monotonic()
        with peers.mlflow_serve(bench, model):
            cold.append(time.monotonic() - began)
        bench.say(f"mlflow, start {number + 1}: first answer after {cold[-1]:.2f} s")
    outcome.cells["start"] = {"ready_s": ready, "first_answer_s": answered, "mlflow_first_answer_s": cold}
    baseline = statistics.median(cold)
    limit = Goal(Measure.FIGURE, Bound.AT_MOST, 3)
    outcome.rows += [
        Row("start, create to READY, median", "s", statistics.median(ready), _MLFLOW, baseline, limit),
        Row("start, create to first answer, median", "s", statistics.median(answered), _MLFLOW, baseline),
    ]
    return outcome


def _create_and_ask(server: MoorageServer, model: Prepared, endpoint: str) -> tuple[float, float]:
    """Seconds from the request to create an endpoint until it is READY, and until it has answered."""
    url = f"{server.url}/serving-endpoints/{endpoint}/invocations"
    began = time.monotonic()
    server.create(endpoint, model, "Small")
    try:
        server.wait_ready(endpoint)
        ready = time.monotonic() - began
        answer: httpx.Response = server.http.post(
            url, content=model.body(1), headers={"content-type": "application/json"}
        )
        if not answer.is_success:
            words = f"is READY and answers {answer.status_code}: {answer.text[:300]}"
            raise BenchmarkFailed(f"endpoint {endpoint} {words}")
        return ready, time.monotonic() - began
    finally:
        server.http.delete(f"/api/2.0/serving-endpoints/{endpoint}")
