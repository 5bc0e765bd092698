"""Load by `wrk`, and what it measured."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import BenchmarkFailed, cpu_seconds

_SCRIPT = Path(__file__).parent / "post.lua"
_ANSWER_TIMEOUT_SECONDS = 30
_GRACE_SECONDS = 60.0
_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0, "h": 3_600_000.0}
_PERCENTILE = re.compile(r"^\s+(50|99)(?:\.0+)?%\s+([\d.]+)(us|ms|s|m|h)\s*$", re.MULTILINE)
_TOTAL = re.compile(r"^\s*(\d+) requests in ([\d.]+)(us|ms|s|m|h),", re.MULTILINE)
_SOCKET_ERRORS = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
_BAD_STATUS = re.compile(r"Non-2xx or 3xx responses: (\d+)")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a load goes: a URL on 127.0.0.1, the file with the JSON body, a token or None.

    `pids` are the processes of the server, whose CPU time is counted.
    """

    url: str
    body: Path
    token: str | None = None
    pids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Load:
    """One cell. Latencies are milliseconds, `cpu_ms` the server's CPU milliseconds a request, `rate` requests/s."""

    connections: int
    requests: int
    seconds: float
    rate: float
    p50_ms: float
    p99_ms: float
    errors: int
    cpu_ms: float | None = None

    def summary(self) -> str:
        """The figures in one line."""
        text = f"{self.rate:,.0f} req/s, p50 {self.p50_ms:.2f} ms, p99 {self.p99_ms:.2f} ms"
        if self.cpu_ms is not None:
            text += f", CPU {self.cpu_ms:.2f} ms/req"
        return text + (f", {self.errors} ERRORS" if self.errors else "")


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a cell takes: seconds of unmeasured load, then seconds of measured load."""

    warm_up: float
    seconds: float


def wrk_path() -> str | None:
    """The load generator, or None where it is not installed."""
    return shutil.which("wrk")


def parse_wrk(text: str, connections: int) -> Load:
    """What `wrk --latency` printed.

    Raises:
        ValueError: it is not such a report.
    """
    total = _TOTAL.search(text)
    if total is None:
        raise ValueError(f"no report of wrk: {text.strip()[:200]!r}")
    requests, seconds = int(total[1]), float(total[2]) * _UNITS_MS[total[3]] / 1000
    latencies = {each[1]: float(each[2]) * _UNITS_MS[each[3]] for each in _PERCENTILE.finditer(text)}
    if requests and latencies.keys() != {"50", "99"}:
        raise ValueError("the report of wrk has no latencies; --latency is missing")
    sockets, status = _SOCKET_ERRORS.search(text), _BAD_STATUS.search(text)
    errors = (sum(map(int, sockets.groups())) if sockets else 0) + (int(status[1]) if status else 0)
    return Load(
        connections=connections,
        requests=requests,
        seconds=seconds,
        rate=requests / seconds if seconds else 0.0,
        p50_ms=latencies.get("50", float("nan")),
        p99_ms=latencies.get("99", float("nan")),
        errors=errors,
    )


def load(target: Target, connections: int, timing: Timing) -> Load:
    """Warm up, then measure.

    Raises:
        BenchmarkFailed: `wrk` failed, or nothing was answered.
    """
    if timing.warm_up > 0:
        _run_wrk(target, connections, timing.warm_up)
    before = cpu_seconds(target.pids)
    measured = parse_wrk(_run_wrk(target, connections, timing.seconds), connections)
    if measured.requests == 0:
        raise BenchmarkFailed(f"{target.url} answered nothing within {timing.seconds:g} s")
    if not target.pids:
        return measured
    spent = cpu_seconds(target.pids) - before
    return Load(
        connections=measured.connections,
        requests=measured.requests,
        seconds=measured.seconds,
        rate=measured.rate,
        p50_ms=measured.p50_ms,
        p99_ms=measured.p99_ms,
        errors=measured.errors,
        cpu_ms=spent * 1000 / measured.requests,
    )


def wrk_command(target: Target, connections: int, seconds: float) -> list[str]:
    """The command line of one run of `wrk`; whole seconds, one thread, which loads far more than any server here."""
    whole = max(1, round(seconds))
    options = ["-t1", f"-c{connections}", f"-d{whole}s", "--latency", "--timeout", f"{_ANSWER_TIMEOUT_SECONDS}s"]
    return [wrk_path() or "wrk", *options, "-s", str(_SCRIPT), target.url]


def wrk_environment(target: Target) -> dict[str, str]:
    """What the Lua script reads."""
    environment = {**os.environ, "BENCHMARK_BODY": str(target.body)}
    environment.pop("BENCHMARK_TOKEN", None)
    if target.token is not None:
        environment["BENCHMARK_TOKEN"] = target.token
    return environment


def _run_wrk(target: Target, connections: int, seconds: float) -> str:
    try:
        done = subprocess.run(
            wrk_command(target, connections, seconds),
            env=wrk_environment(target),
            capture_output=True,
            text=True,
            timeout=seconds + _ANSWER_TIMEOUT_SECONDS + _GRACE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BenchmarkFailed(f"wrk did not end: {target.url}") from error
    if done.returncode != 0:
        raise BenchmarkFailed(f"wrk failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout
