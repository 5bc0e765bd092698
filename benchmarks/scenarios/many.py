"""A thousand registered endpoints: what they cost the one that is busy, the gateway, the list and a start."""

from __future__ import annotations

import contextlib
import shutil
import statistics
import time
from collections.abc import Iterator

from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

from benchmarks.bench import Bench, keep
from benchmarks.load import Load, Target, Timing, load
from benchmarks.moorage_server import MoorageServer, running_moorage
from benchmarks.processes import BenchmarkFailed, cpu_seconds, memory_of
from benchmarks.report import Bound, Goal, Measure, Outcome, Row, at_least_times, at_most_times
from moorage.control.store.engine import make_sessions, open_database
from moorage.control.store.models import Base, Config, Deployment, Endpoint
from moorage.datadir import DataDirectory
from moorage.identity.ids import new_object_id

_ENDPOINTS = 1000
_CONNECTIONS = 64
_ROUNDS = 6
_ASLEEP = "asleep"
_CROWD = "moorage-many"
_LISTS = 20
_REST_SECONDS = 10.0
_MB = 1_000_000


def many(bench: Bench) -> Outcome:
    """One busy endpoint alone on its server, and on another one among a thousand that are scaled to zero.

    Both servers run and are loaded in turns, so that what else the machine does weighs on both.
    """
    outcome = Outcome()
    model = bench.models.iris
    with running_moorage(bench) as server:
        server.create(_ASLEEP, model, "Small", scale_to_zero=True)
        server.wait_ready(_ASLEEP)
    shutil.copytree(bench.folder / "moorage", bench.folder / _CROWD, ignore=shutil.ignore_patterns("*.sock"))
    _multiply(DataDirectory(bench.folder / _CROWD), _ENDPOINTS - 2)
    with _started(bench, _CROWD) as (crowd, start), running_moorage(bench) as alone:
        alone.http.delete(f"/api/2.0/serving-endpoints/{_ASLEEP}")
        rest = _cpu_at_rest(crowd)
        with crowd.serving(model) as ours, alone.serving(model) as theirs:
            cells = _in_turns(bench, outcome, ours, theirs)
        lists = _lists(crowd)
        memory, least = (memory_of(one.gateway()).proportional / _MB for one in (crowd, alone))

    words = f"{_ENDPOINTS} endpoints"
    bench.say(f"gateway {memory:.1f} MB, {memory - least:.1f} MB of it for {words}; their list {lists:.0f} ms")
    bench.say(f"start {start:.1f} s; control plane at rest {rest:.1%} of a core")
    outcome.cells["many"] = {
        "gateway_mb": memory,
        "gateway_mb_with_one": least,
        "list_ms": lists,
        "start_s": start,
        "control_plane_cpu_at_rest": rest,
    }
    rates = [statistics.median(cell.rate for cell in cells[name]) for name in (words, "1 endpoint")]
    costs = [statistics.median(cell.cpu_ms or 0.0 for cell in cells[name]) for name in (words, "1 endpoint")]
    what, same = f"one of {words}, {{}}, {_CONNECTIONS} connections", "the only endpoint"
    outcome.rows += [
        Row(what.format("throughput"), "req/s", rates[0], same, rates[1], at_least_times(0.9)),
        Row(what.format("CPU of a request"), "ms", costs[0], same, costs[1], at_most_times(1.1)),
    ]
    limits = [
        ("growth of the gateway (PSS)", "MB", memory - least, 20.0),
        ("their list, median", "ms", lists, 300.0),
        ("start of the server", "s", start, 15.0),
        ("control plane at rest", "% of a core", rest * 100, 2.0),
    ]
    for quantity, unit, figure, limit in limits:
        goal = Goal(Measure.FIGURE, Bound.AT_MOST, limit)
        outcome.rows.append(Row(f"{words}, {quantity}", unit, figure, goal=goal))
    return outcome


@contextlib.contextmanager
def _started(bench: Bench, name: str) -> Iterator[tuple[MoorageServer, float]]:
    """A server, and the seconds from its command to its first answer."""
    began = time.monotonic()
    with running_moorage(bench, name) as server:
        yield server, time.monotonic() - began


def _in_turns(bench: Bench, outcome: Outcome, crowd: Target, alone: Target) -> dict[str, list[Load]]:
    """Short loads on each, the one first and then the other.

    Raises:
        BenchmarkFailed: a request failed.
    """
    targets = [(f"{_ENDPOINTS} endpoints", crowd), ("1 endpoint", alone)]
    found: dict[str, list[Load]] = {name: [] for name, _ in targets}
    timing = Timing(1, max(1.0, bench.timing.seconds / 3))
    for _ in range(_ROUNDS):
        for name, target in targets:
            cell = load(target, _CONNECTIONS, timing)
            if cell.errors:
                raise BenchmarkFailed(f"{cell.errors} requests failed with {name}")
            bench.say(f"Moorage, iris, {name}, {_CONNECTIONS} connections: {cell.summary()}")
            keep(outcome, f"Moorage, iris, {name}, {_CONNECTIONS}", cell)
            found[name].append(cell)
        targets.reverse()
    return found


def _lists(server: MoorageServer) -> float:
    """Milliseconds that the list of all endpoints takes, the median of some."""
    times = []
    for _ in range(_LISTS):
        began = time.monotonic()
        answer = server.http.get("/api/2.0/serving-endpoints")
        times.append((time.monotonic() - began) * 1000)
        if len(answer.json().get("endpoints", ())) != _ENDPOINTS - 1:
            raise BenchmarkFailed(f"the list has not all endpoints: {answer.text[:300]}")
    return statistics.median(times)


def _cpu_at_rest(server: MoorageServer) -> float:
    """The part of a core that the control plane takes while nothing is asked of it."""
    pids = (server.control_plane(),)
    before = cpu_seconds(pids)
    time.sleep(_REST_SECONDS)
    return (cpu_seconds(pids) - before) / _REST_SECONDS


def _multiply(data: DataDirectory, count: int) -> None:
    """Copy the rows of the endpoint that sleeps: to make a thousand by the API would take each a model's start.

    They are what the API and the reconciler leave of an endpoint that was READY and went to zero.
    """
    with _database(data) as session:
        [endpoint] = session.scalars(select(Endpoint).where(Endpoint.name == _ASLEEP))
        [config] = session.scalars(select(Config).where(Config.endpoint_id == endpoint.id))
        [deployment] = session.scalars(select(Deployment).where(Deployment.endpoint_id == endpoint.id))
        for number in range(count):
            one, its = new_object_id(), new_object_id()
            served = [{**entity, "deployment_id": its} for entity in config.body["served_entities"]]
            session.add(_copy(endpoint, id=one, name=f"{_ASLEEP}-{number}"))
            session.flush()
            session.add(_copy(deployment, id=its, endpoint_id=one))
            session.add(_copy(config, endpoint_id=one, body={**config.body, "served_entities": served}))


@contextlib.contextmanager
def _database(data: DataDirectory) -> Iterator[Session]:
    """A transaction on the database of a server that is stopped."""
    engine = open_database(data.database)
    try:
        with make_sessions(engine).begin() as session:
            yield session
    finally:
        engine.dispose()


def _copy(row: Base, **changes: object) -> Base:
    values = {column.key: getattr(row, column.key) for column in inspect(type(row)).column_attrs}
    return type(row)(**{**values, **changes})
