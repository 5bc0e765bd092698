"""What is measured, by name, in the order of a whole run."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.bench import Bench
from benchmarks.report import Outcome
from benchmarks.scenarios import engines, external, gateway, lifecycle, many, models

Scenario = Callable[[Bench], Outcome]

SCENARIOS: dict[str, Scenario] = {
    "iris": models.iris,
    "forest": models.forest,
    "rows": models.thousand_rows,
    "gateway": gateway.gateway,
    "memory": lifecycle.memory,
    "start": lifecycle.start,
    "many": many.many,
    "external": external.external,
    "engines": engines.engines,
}
