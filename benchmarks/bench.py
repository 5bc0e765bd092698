"""What every scenario works with: the models, a folder, the length of a cell, a place for progress lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.load import Load, Target, Timing, load
from benchmarks.models import Models
from benchmarks.report import Outcome, middle, spread


@dataclass
class Bench:
    """One run. `registered` holds the versions of models that the run's Moorage already knows, by name."""

    folder: Path
    models: Models
    timing: Timing
    print_line: Callable[[str], None]
    registered: dict[str, str] = field(default_factory=dict)
    _began: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """One line of progress, with the seconds since the start."""
        self.print_line(f"[{time.monotonic() - self._began:6.1f} s] {text}")

    def cells(self, name: str, target: Target, connections: Sequence[int], outcome: Outcome) -> dict[int, Load]:
        """Load a target at each number of connections, say and keep what came out."""
        measured = {}
        for count in connections:
            measured[count] = load(target, count, self.timing)
            self.say(f"{name}, {count} connection{'s' if count > 1 else ''}: {measured[count].summary()}")
            keep(outcome, f"{name}, {count}", measured[count])
        return measured


def keep(outcome: Outcome, name: str, cell: Load) -> None:
    """Record a cell; a second one of the same name gets a number."""
    number, key = 1, name
    while key in outcome.cells:
        number += 1
        key = f"{name} (run {number})"
    outcome.cells[key] = asdict(cell)


@dataclass(frozen=True, slots=True)
class Twice:
    """The same cells measured at the beginning and at the end of a scenario."""

    first: dict[int, Load]
    last: dict[int, Load]

    def rate(self, connections: int) -> tuple[float, float]:
        """Requests a second: mean and spread."""
        return _both(self.first[connections].rate, self.last[connections].rate)

    def p50(self, connections: int) -> tuple[float, float]:
        """Median latency in milliseconds: mean and spread."""
        return _both(self.first[connections].p50_ms, self.last[connections].p50_ms)

    def p99(self, connections: int) -> tuple[float, float]:
        """99th percentile of latency in milliseconds: mean and spread."""
        return _both(self.first[connections].p99_ms, self.last[connections].p99_ms)


def _both(first: float, last: float) -> tuple[float, float]:
    return middle((first, last)), spread((first, last))
