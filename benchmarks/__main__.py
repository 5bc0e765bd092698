"""`python -m benchmarks`: measure, print a table, write JSON.

Exit status 0 when every goal is met, 1 when one is not or a scenario failed, 2 when nothing can be measured.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.load import Timing, wrk_path
from benchmarks.models import Models
from benchmarks.processes import BenchmarkFailed
from benchmarks.profiling import profile
from benchmarks.report import Row, table, write_json
from benchmarks.scenarios import SCENARIOS

RESULTS = Path(__file__).parent / "results"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure Moorage side by side")
    parser.add_argument("--seconds", type=_positive, default=10.0, help="measured length of a cell (default 10)")
    parser.add_argument("--warm-up", type=_positive, default=3.0, help="load before each cell in seconds (default 3)")
    parser.add_argument("--only", nargs="+", choices=list(SCENARIOS), metavar="NAME", help=", ".join(SCENARIOS))
    parser.add_argument("--output", type=Path, help="JSON file (default benchmarks/results/TIMESTAMP.json)")
    parser.add_argument("--profile", action="store_true", help="sample gateway and replica with py-spy instead")
    return parser.parse_args(arguments)


def _positive(text: str) -> float:
    value = float(text)
    if not 1 <= value <= 600:
        raise argparse.ArgumentTypeError("must be 1 to 600 seconds")
    return value


def main() -> int:
    """Run what was asked for."""
    options = parse_arguments()
    if wrk_path() is None:
        print("error: wrk is not installed; on Debian install it with: apt-get install wrk", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    with tempfile.TemporaryDirectory(prefix="moorage-bench-") as name:
        folder = Path(name)
        bench = Bench(folder, Models(folder), Timing(options.warm_up, options.seconds), _print_line)
        try:
            if options.profile:
                print(f"\n{profile(bench, RESULTS, stamp)}")
                return 0
            return _measure(bench, options.only or list(SCENARIOS), options.output or RESULTS / f"{stamp}.json")
        except BenchmarkFailed as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            return 130


def _measure(bench: Bench, names: list[str], output: Path) -> int:
    rows: list[Row] = []
    document: dict[str, Any] = {"machine": machine(), "seconds": bench.timing.seconds, "scenarios": {}, "failed": {}}
    for name in names:
        bench.say(f"scenario {name}")
        try:
            outcome = SCENARIOS[name](bench)
        except BenchmarkFailed as error:
            bench.say(f"scenario {name} failed: {error}")
            document["failed"][name] = str(error)
        else:
            rows += outcome.rows
            found = {"rows": [row.document() for row in outcome.rows], "cells": outcome.cells}
            document["scenarios"][name] = found
        write_json(output, document)
    print(f"\n{table(rows)}\n\n+- is half the difference between Moorage's first and last run. Written to {output}")
    missed = [row for row in rows if row.met is False]
    print(f"{sum(row.met is True for row in rows)} goals met, {len(missed)} missed, {len(document['failed'])} failed")
    return 1 if missed or document["failed"] else 0


def machine() -> dict[str, Any]:
    """What the figures depend on. `load_average` is that of the minute before the run."""
    return {
        "cores": os.cpu_count(),
        "architecture": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": os.getloadavg()[0],
    }


def _print_line(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
