"""The servers Moorage is compared with, each started alone: `mlflow models serve`, and ones written by hand."""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.load import Load, Target
from benchmarks.models import Prepared
from benchmarks.moorage_server import check_answer
from benchmarks.processes import family, free_port, own_environment, running, wait_for_answer

_START_SECONDS = 120.0
# A plain installation of MLflow has neither uvloop nor httptools, which Moorage brings along.
PLAIN = {"UVICORN_LOOP": "asyncio", "UVICORN_HTTP": "h11"}
FAST = {"UVICORN_LOOP": "uvloop", "UVICORN_HTTP": "httptools"}


@contextlib.contextmanager
def mlflow_serve(
    bench: Bench, model: Prepared, options: dict[str, str] | None = None, workers: int | None = None, rows: int = 1
) -> Iterator[Target]:
    """`mlflow models serve --env-manager local`. `options` are uvicorn's; without `workers` MLflow's default."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    command += ["--model-uri", str(model.folder), "--host", "127.0.0.1", "--port", str(port)]
    if workers is not None:
        command += ["--workers", str(workers)]
    url = f"http://127.0.0.1:{port}/invocations"
    log = bench.folder / "mlflow-serve.log"
    with running(command, log, own_environment(PLAIN if options is None else options)) as process:
        check_answer(wait_for_answer(process, log, url, _START_SECONDS, model.body(rows)), model, rows)
        yield Target(url, model.body_file(rows), pids=family(process.pid))


@contextlib.contextmanager
def hand_written(bench: Bench, model: Prepared, workers: int = 2, rows: int = 1) -> Iterator[Target]:
    """FastAPI around the bare scikit-learn model."""
    environment = {"BENCHMARK_MODEL": str(model.bare)}
    with uvicorn(bench.folder, "benchmarks.baselines.fastapi_app:app", environment, workers) as (base, pids):
        yield Target(f"{base}/invocations", model.body_file(rows), pids=pids)


@contextlib.contextmanager
def uvicorn(
    folder: Path, app: str, environment: dict[str, str], workers: int, ready: str = "/ping"
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """An ASGI application under uvicorn with uvloop and httptools. Yields its URL and process ids."""
    port = free_port()
    command: Sequence[str] = (
        *(sys.executable, "-m", "uvicorn", app, "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", str(workers), "--loop", "uvloop", "--http", "httptools", "--no-access-log"),
    )
    log = folder / f"{app.partition(':')[0].rpartition('.')[2]}.log"
    base = f"http://127.0.0.1:{port}"
    with running(command, log, own_environment(environment)) as process:
        body = None if ready == "/ping" else b"{}"
        wait_for_answer(process, log, f"{base}{ready}", _START_SECONDS, body)
        time.sleep(1.0 if workers > 1 else 0.0)  # the other worker may still be importing
        yield base, family(process.pid)


def in_process(model: Prepared, seconds: float) -> Load:
    """`pyfunc.predict` of one row in a loop in this process, on a data frame that is already built."""
    import mlflow.pyfunc

    loaded: Any = mlflow.pyfunc.load_model(str(model.folder))
    row = model.frame(1)
    for _ in range(50):
        loaded.predict(row)
    times = []
    cpu, began = time.process_time(), time.perf_counter()
    last = began
    while last - began < seconds:
        loaded.predict(row)
        now = time.perf_counter()
        times.append((now - last) * 1000)
        last = now
    cuts = statistics.quantiles(times, n=100)
    return Load(
        connections=1,
        requests=len(times),
        seconds=last - began,
        rate=len(times) / (last - began),
        p50_ms=cuts[49],
        p99_ms=cuts[98],
        errors=0,
        cpu_ms=(time.process_time() - cpu) * 1000 / len(times),
    )
