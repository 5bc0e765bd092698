"""Servers as child processes: started, waited for, measured, ended by their ids."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from moorage.supervisor.linux import children_of, die_with_parent

_STOP_SECONDS = 40.0
_POLL_SECONDS = 0.02
_TICKS = os.sysconf("SC_CLK_TCK")
_LOG_TAIL = 2000


class BenchmarkFailed(Exception):
    """A measurement could not be made; the message says why in one line or with a log's tail."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. `proportional` is the private pages and of each shared page its share (PSS)."""

    proportional: int
    private: int


def free_port() -> int:
    """A port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(
    command: Sequence[str],
    log: Path,
    environment: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, output in `log`; the group ends with the block, or with this process."""
    here = os.getpid()
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(command),
            env=own_environment() if environment is None else dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=tuple(descriptors),
            preexec_fn=lambda: die_with_parent(here),
        )
    try:
        yield process
    finally:
        _stop(process)


def own_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment with its interpreter's programs first, and no client's or server's settings."""
    unwanted = ("DATABRICKS_", "MLFLOW_", "MOORAGE_", "UVICORN_", "BENCHMARK_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
    environment["MLFLOW_DISABLE_TELEMETRY"] = "true"
    return {**environment, **(extra or {})}


def _stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the process, SIGKILL to what is left of its group."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def tail(log: Path) -> str:
    """The end of a log, for a message."""
    with contextlib.suppress(OSError):
        return log.read_text(errors="replace")[-_LOG_TAIL:].strip()
    return ""


def wait_for_answer(
    process: subprocess.Popen[bytes],
    log: Path,
    url: str,
    seconds: float,
    body: bytes | None = None,
    token: str | None = None,
) -> httpx.Response:
    """Ask until the answer is a success: GET, or POST of a JSON `body`. `seconds` bounds the whole wait.

    Raises:
        BenchmarkFailed: the process ended or did not answer in time.
    """
    headers = {"content-type": "application/json"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    until = time.monotonic() + seconds
    last = "no connection"
    with httpx.Client(trust_env=False, headers=headers, timeout=seconds) as client:
        while time.monotonic() < until:
            if process.poll() is not None:
                raise BenchmarkFailed(f"{url}: its process ended with status {process.returncode}: {tail(log)}")
            try:
                answer = client.get(url) if body is None else client.post(url, content=body)
                if answer.is_success:
                    return answer
                last = f"{answer.status_code} {answer.text[:500]}"
            except httpx.TransportError as error:
                last = repr(error)
            time.sleep(_POLL_SECONDS)
    raise BenchmarkFailed(f"{url} did not answer within {seconds:g} s ({last}): {tail(log)}")


def family(root: int) -> tuple[int, ...]:
    """A process and everything below it now."""
    found, at = [root], 0
    while at < len(found):
        found.extend(child.pid for child in children_of(found[at]))
        at += 1
    return tuple(found)


def command_line(pid: int) -> list[str]:
    """The arguments of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def cpu_seconds(pids: Iterable[int]) -> float:
    """User and system time the processes have used so far, seconds; those that are gone count nothing."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def memory_of(pid: int) -> Memory:
    """What a process takes now.

    Raises:
        BenchmarkFailed: the process is gone or not ours to look at.
    """
    try:
        return parse_memory(Path(f"/proc/{pid}/smaps_rollup").read_text())
    except OSError as error:
        raise BenchmarkFailed(f"cannot read the memory of process {pid}: {error.strerror}") from error


def parse_memory(smaps_rollup: str) -> Memory:
    """Read `/proc/PID/smaps_rollup`, whose values are in kB (proc(5)).

    Raises:
        ValueError: there is no `Pss:` line.
    """
    sizes = {}
    for line in smaps_rollup.splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            sizes[name] = int(value.split()[0]) * 1024
    if "Pss" not in sizes:
        raise ValueError("no Pss line")
    return Memory(sizes["Pss"], sizes.get("Private_Clean", 0) + sizes.get("Private_Dirty", 0))
