"""Where the time goes: `py-spy` samples of the gateway worker and the replica under 64 connections."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.load import Timing, load
from benchmarks.moorage_server import running_moorage
from benchmarks.processes import BenchmarkFailed

_SAMPLE_SECONDS = 8
_RATE = 200
_CONNECTIONS = 64
_EXTRA_SECONDS = 6.0
_TOP = 15


def profile(bench: Bench, results: Path, stamp: str) -> str:
    """Sample under load, write collapsed stacks, and return the frames with the most time of their own.

    Raises:
        BenchmarkFailed: `py-spy` is missing or may not look at the processes.
    """
    program = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if program is None:
        raise BenchmarkFailed("py-spy is not installed; install it with: pip install py-spy")
    results.mkdir(parents=True, exist_ok=True)
    parts = []
    with (
        running_moorage(bench) as server,
        server.serving(bench.models.iris) as target,
        contextlib.ExitStack() as stack,
    ):
        load(target, _CONNECTIONS, Timing(0, max(1.0, bench.timing.warm_up)))
        samplers = []
        for name, pid in (("gateway", server.gateway()), ("replica", server.replicas()[0])):
            file = results / f"{stamp}-{name}.collapsed"
            sampler = _sampler(program, pid, file)
            stack.callback(_end, sampler)
            samplers.append((name, file, sampler))
        measured = load(target, _CONNECTIONS, Timing(0, _SAMPLE_SECONDS + _EXTRA_SECONDS))
        bench.say(f"Moorage while it is sampled: {measured.summary()}")
        for name, file, sampler in samplers:
            output, _ = sampler.communicate(timeout=60)
            if sampler.returncode != 0 or not file.is_file():
                raise BenchmarkFailed(f"py-spy cannot sample the {name}: {output.strip()[-500:]}")
            parts.append(format_frames(name, file.read_text()) + f"\n  all stacks: {file}")
    return "\n\n".join(parts)


def self_times(collapsed: str) -> Counter[str]:
    """Samples by innermost frame, of collapsed stacks (`outer;inner COUNT`)."""
    counts: Counter[str] = Counter()
    for line in collapsed.splitlines():
        stack, _, count = line.rpartition(" ")
        if stack and count.isdigit():
            counts[stack.rpartition(";")[2]] += int(count)
    return counts


def format_frames(name: str, collapsed: str) -> str:
    """The frames with the most time of their own, as parts of all samples."""
    counts = self_times(collapsed)
    total = sum(counts.values())
    lines = [f"{name}: {total} samples of {_SAMPLE_SECONDS * _RATE} ({_SAMPLE_SECONDS} s at {_RATE} Hz)"]
    lines += [f"  {count / total:6.1%}  {frame}" for frame, count in counts.most_common(_TOP)]
    return "\n".join(lines)


def _sampler(program: str, pid: int, file: Path) -> subprocess.Popen[str]:
    command = [program, "record", "-d", str(_SAMPLE_SECONDS), "-r", str(_RATE), "-f", "raw", "-o", str(file)]
    return subprocess.Popen(
        [*command, "--pid", str(pid)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()
