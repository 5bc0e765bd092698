"""What a run found: rows with goals, a table for people, JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any


class Measure(Enum):
    """What of a row its goal looks at."""

    RATIO = "ratio"
    DIFFERENCE = "difference"
    FIGURE = "figure"


class Bound(Enum):
    """Which side of the limit is good."""

    AT_LEAST = ">="
    AT_MOST = "<="


@dataclass(frozen=True, slots=True)
class Goal:
    """A limit. `note` says where it comes from when that is not plain."""

    measure: Measure
    bound: Bound
    limit: float
    note: str = ""

    def met(self, figure: float, baseline: float | None) -> bool:
        """Whether the figures reach it; a missing or impossible value never does."""
        value = self._value(figure, baseline)
        if value is None or math.isnan(value):
            return False
        return value >= self.limit if self.bound is Bound.AT_LEAST else value <= self.limit

    def text(self, unit: str) -> str:
        """For the table, such as `>= 30x` or `<= 60 MB`."""
        if self.measure is Measure.RATIO:
            words = f"{self.bound.value} {self.limit:g}x"
        elif self.measure is Measure.DIFFERENCE:
            words = f"{self.bound.value} baseline + {self.limit:g} {unit}"
        else:
            words = f"{self.bound.value} {self.limit:,g} {unit}"
        return f"{words} ({self.note})" if self.note else words

    def _value(self, figure: float, baseline: float | None) -> float | None:
        if self.measure is Measure.FIGURE:
            return figure
        if baseline is None:
            return None
        return ratio_of(figure, baseline) if self.measure is Measure.RATIO else figure - baseline


def at_least_times(limit: float, note: str = "") -> Goal:
    """Moorage's figure is to be that many times the baseline's, or more."""
    return Goal(Measure.RATIO, Bound.AT_LEAST, limit, note)


def at_most_times(limit: float, note: str = "") -> Goal:
    """Moorage's figure is to be that many times the baseline's, or less."""
    return Goal(Measure.RATIO, Bound.AT_MOST, limit, note)


def ratio_of(figure: float, baseline: float) -> float:
    """`figure / baseline`; not a number without a baseline."""
    return figure / baseline if baseline else math.nan


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison. `spread` is the part of the figure by which Moorage's first and last run differ."""

    what: str
    unit: str
    figure: float
    baseline_name: str = ""
    baseline: float | None = None
    goal: Goal | None = None
    spread: float | None = None

    @property
    def ratio(self) -> float | None:
        return None if self.baseline is None else ratio_of(self.figure, self.baseline)

    @property
    def met(self) -> bool | None:
        """None for a row without a goal."""
        return None if self.goal is None else self.goal.met(self.figure, self.baseline)

    def document(self) -> dict[str, Any]:
        """The row as JSON, without values JSON does not have."""
        goal = None if self.goal is None else self.goal.text(self.unit)
        values = {**asdict(self), "goal": goal, "ratio": self.ratio, "met": self.met}
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


@dataclass(slots=True)
class Outcome:
    """What one scenario found: rows, and every cell behind them by name."""

    rows: list[Row] = field(default_factory=list)
    cells: dict[str, Any] = field(default_factory=dict)


def middle(values: Sequence[float]) -> float:
    """The mean."""
    return sum(values) / len(values)


def spread(values: Sequence[float]) -> float:
    """Largest minus smallest, as a part of the mean."""
    mean = middle(values)
    return (max(values) - min(values)) / mean if mean else 0.0


_HEADINGS = ("What", "Moorage", "+-", "Baseline", "", "Ratio", "Goal", "Met")
_LEFT = {0, 4, 6, 7}


def table(rows: Sequence[Row]) -> str:
    """The rows with aligned columns, readable without colour."""
    lines = [_HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    rule = tuple("-" * width for width in widths)
    return "\n".join(
        "  ".join(
            text.ljust(width) if column in _LEFT else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (lines[0], rule, *lines[1:])
    )


def _cells(row: Row) -> tuple[str, ...]:
    met = {None: "", True: "yes", False: "NO"}[row.met]
    return (
        row.what,
        f"{number(row.figure)} {row.unit}",
        "" if row.spread is None else f"{row.spread / 2:.0%}",
        "" if row.baseline is None else number(row.baseline),
        row.baseline_name,
        "" if row.ratio is None else f"{number(row.ratio)}x",
        "" if row.goal is None else row.goal.text(row.unit),
        met,
    )


def number(value: float) -> str:
    """Three digits that matter; thousands with commas."""
    if not math.isfinite(value):
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write the run's record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2, default=str) + "\n")
