"""Custom models under load: one replica and one gateway worker against servers that do the same."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import peers
from benchmarks.bench import Bench, Twice, keep
from benchmarks.load import Load
from benchmarks.models import Prepared
from benchmarks.moorage_server import running_moorage
from benchmarks.report import Bound, Goal, Measure, Outcome, Row, at_least_times, at_most_times

_CONNECTIONS = (1, 16, 64)
_MLFLOW = "mlflow models serve"
_UVLOOP = "mlflow with uvloop, best of 1 and 2 workers"
_BY_HAND = "hand-written FastAPI, 2 workers"
_WORKERS = (1, 2)
_ROWS = 1000
_ROWS_CONNECTIONS = 16


def iris(bench: Bench) -> Outcome:
    """Logistic regression, one row a request."""
    outcome = Outcome()
    model = bench.models.iris
    first = _moorage(bench, model, _CONNECTIONS, outcome)
    with peers.mlflow_serve(bench, model) as target:
        mlflow = bench.cells("mlflow", target, _CONNECTIONS, outcome)
    uvloop: list[Load] = []
    for workers in _WORKERS:
        with peers.mlflow_serve(bench, model, peers.FAST, workers) as target:
            uvloop.append(bench.cells(f"mlflow with uvloop, --workers {workers}", target, (64,), outcome)[64])
    with peers.hand_written(bench, model) as target:
        by_hand = bench.cells("hand-written FastAPI", target, _CONNECTIONS, outcome)
    loop = peers.in_process(model, bench.timing.seconds)
    bench.say(f"pyfunc.predict in a loop: {loop.summary()}")
    keep(outcome, "pyfunc.predict in a loop", loop)
    ours = Twice(first, _moorage(bench, model, _CONNECTIONS, outcome))

    best_uvloop = max(uvloop, key=lambda each: each.rate).rate
    rates = [
        (_MLFLOW, mlflow[64].rate, at_least_times(30)),
        (_UVLOOP, best_uvloop, at_least_times(10)),
        (_BY_HAND, by_hand[64].rate, at_least_times(1.5)),
    ]
    for name, baseline, goal in rates:
        outcome.rows.append(_rate_row("iris", ours, 64, name, baseline, goal))
    for connections in (16, 1):
        outcome.rows.append(_rate_row("iris", ours, connections, _BY_HAND, by_hand[connections].rate, None))
    near_loop = Goal(Measure.DIFFERENCE, Bound.AT_MOST, 0.5)
    figure, drift = ours.p50(1)
    for name, baseline, goal in (
        (_MLFLOW, mlflow[1].p50_ms, at_most_times(0.4)),
        ("pyfunc.predict in a loop", loop.p50_ms, near_loop),
        (_BY_HAND, by_hand[1].p50_ms, at_most_times(2)),
    ):
        outcome.rows.append(Row("iris, p50, 1 connection", "ms", figure, name, baseline, goal, drift))
    figure, drift = ours.p99(16)
    goal = at_most_times(0.1)
    outcome.rows.append(Row("iris, p99, 16 connections", "ms", figure, _MLFLOW, mlflow[16].p99_ms, goal, drift))
    outcome.rows += _error_rows("iris", ours)
    return outcome


def forest(bench: Bench) -> Outcome:
    """Random forest of 100 trees on 30 columns, one row a request."""
    outcome = Outcome()
    model = bench.models.forest
    first = _moorage(bench, model, (64,), outcome)
    with peers.mlflow_serve(bench, model) as target:
        mlflow = bench.cells("mlflow, forest", target, (64,), outcome)
    with peers.hand_written(bench, model) as target:
        by_hand = bench.cells("hand-written FastAPI, forest", target, (64,), outcome)
    ours = Twice(first, _moorage(bench, model, (64,), outcome))
    outcome.rows.append(_rate_row("forest", ours, 64, _MLFLOW, mlflow[64].rate, None))
    goal = at_least_times(6.8, "2x LitServe, which made 3.4x this")
    outcome.rows.append(_rate_row("forest", ours, 64, _BY_HAND, by_hand[64].rate, goal))
    outcome.rows += _error_rows("forest", ours)
    return outcome


def thousand_rows(bench: Bench) -> Outcome:
    """Bodies of 1000 rows."""
    outcome = Outcome()
    model = bench.models.iris
    connections = (_ROWS_CONNECTIONS,)
    first = _moorage(bench, model, connections, outcome, _ROWS)
    with peers.mlflow_serve(bench, model, rows=_ROWS) as target:
        mlflow = bench.cells("mlflow, 1000 rows", target, connections, outcome)[_ROWS_CONNECTIONS]
    ours = Twice(first, _moorage(bench, model, connections, outcome, _ROWS))
    figure, drift = ours.rate(_ROWS_CONNECTIONS)
    what = f"1000-row bodies, {_ROWS_CONNECTIONS} connections"
    row = Row(what, "rows/s", figure * _ROWS, _MLFLOW, mlflow.rate * _ROWS, at_least_times(3), drift)
    outcome.rows.append(row)
    outcome.rows += _error_rows("1000-row bodies", ours)
    return outcome


def _moorage(
    bench: Bench, model: Prepared, connections: Sequence[int], outcome: Outcome, rows: int = 1
) -> dict[int, Load]:
    with running_moorage(bench) as server, server.serving(model, rows=rows) as target:
        name = f"Moorage, {model.name}" + (f", {rows} rows" if rows > 1 else "")
        return bench.cells(name, target, connections, outcome)


def _rate_row(what: str, ours: Twice, connections: int, name: str, baseline: float, goal: Goal | None) -> Row:
    figure, drift = ours.rate(connections)
    words = f"{what}, throughput, {connections} connection{'s' if connections > 1 else ''}"
    return Row(words, "req/s", figure, name, baseline, goal, drift)


def _error_rows(what: str, ours: Twice) -> list[Row]:
    """A row when Moorage failed requests: a fast error is no answer."""
    failed = sum(each.errors for side in (ours.first, ours.last) for each in side.values())
    none = Goal(Measure.FIGURE, Bound.AT_MOST, 0)
    return [Row(f"{what}, failed requests", "", float(failed), goal=none)] if failed else []
