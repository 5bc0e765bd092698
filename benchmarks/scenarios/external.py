"""External models: what Moorage adds to a provider that answers at once, and MLflow's gateway before the same one.

Everything goes through a whole server with endpoints made through its API: one where callers are only authenticated,
and one with rate limits, usage tracking and payload logging on.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import httpx

from benchmarks import providers
from benchmarks.bench import Bench, keep
from benchmarks.load import Load, Target, Timing, load
from benchmarks.moorage_server import MoorageServer, running_moorage
from benchmarks.processes import BenchmarkFailed
from benchmarks.providers import FakeProvider
from benchmarks.report import Bound, Goal, Measure, Outcome, Row, at_least_times, middle, number, spread
from benchmarks.streams import at_once, closed_loop, open_loop
from moorage.api.inference_tables import TablesReport
from moorage.tables.status import read_report

_CONNECTIONS = (1, 16, 64, 500)
_FEW = (1, 64)
_BUSY = 64
_ROUNDS = 2
_RATE = 200
_RATE_ROUNDS = 3
_STREAMS = 500
_SLOW_SECONDS = 6.0
_WORKERS = (1, 2)
_NO_LIMIT = 10**12
_OPENAI = {"name": "gpt-4o", "provider": "openai", "task": "llm/v1/chat"}
_ANTHROPIC = {"name": "claude-sonnet-4-5", "provider": "anthropic", "task": "llm/v1/chat"}


class Kind(StrEnum):
    """How an answer comes."""

    PLAIN = "plain"
    STREAM = f"stream of {providers.CHUNKS}"


class Way(StrEnum):
    """Whom is asked. OFF is authentication alone, ON is with everything."""

    DIRECT = "direct"
    OFF = "off"
    ON = "on"


Cells = dict[tuple[Kind, Way, int], list[Load]]
_DONE = {Kind.PLAIN: b"}", Kind.STREAM: b"[DONE]"}
_STOPPED = {Kind.PLAIN: b"}", Kind.STREAM: b'{"type":"message_stop"}'}


@dataclass
class Run:
    """The server, the provider, and what was found so far. `errors` counts failed requests in all cells."""

    bench: Bench
    server: MoorageServer
    fake: FakeProvider
    outcome: Outcome = field(default_factory=Outcome)
    errors: int = 0

    def target(self, url: str, kind: Kind, token: str | None, model: str, pids: tuple[int, ...] = ()) -> Target:
        """A target with a chat of one message; an empty `model` is not named in the body."""
        body: dict[str, Any] = {"messages": providers.MESSAGES, "max_tokens": providers.MAX_TOKENS}
        if model:
            body["model"] = model
        if kind is Kind.STREAM:
            body["stream"] = True
        file = self.bench.folder / f"chat-{model or 'unnamed'}-{kind.name}.json"
        file.write_text(json.dumps(body))
        return Target(url, file, token, pids)

    def endpoint(self, name: str, kind: Kind) -> Target:
        """One of the server's endpoints; the CPU time that counts is its gateway worker's."""
        url = f"{self.server.url}/serving-endpoints/{name}/invocations"
        return self.target(url, kind, self.server.token, name, (self.server.gateway(),))

    def cell(self, name: str, target: Target, kind: Kind, connections: int, ending: bytes) -> Load:
        """Load a target, with `wrk` or, where first chunks are of interest, from this process."""
        timing = Timing(1.0, max(1.0, self.bench.timing.seconds / 5))
        if kind is Kind.PLAIN:
            found = load(target, connections, timing)
        else:
            found = closed_loop(target, connections, replace(timing, warm_up=0.5), ending)
        self.note(f"{name}, {connections}", found)
        return found

    def note(self, name: str, cell: Load) -> None:
        """Say and keep a cell."""
        self.errors += cell.errors
        self.bench.say(f"{name}: {cell.summary()}")
        keep(self.outcome, name, cell)

    def in_turns(
        self,
        name: str,
        ways: Mapping[Way, Callable[[Kind], Target]],
        counts: Sequence[int],
        direct_ending: Mapping[Kind, bytes],
    ) -> Cells:
        """Each way's cells, in turns, so that what else the machine does weighs on all.

        `direct_ending` is how the provider's own answers end.
        """
        found: Cells = {}
        for kind in Kind:
            for turn in range(_ROUNDS):
                for count in counts:
                    for way in list(ways)[:: -1 if turn % 2 else 1]:
                        target = ways[way](kind)
                        end = direct_ending[kind] if way is Way.DIRECT else _DONE[kind]
                        cell = self.cell(f"{name}, {kind}, {way}", target, kind, count, end)
                        found.setdefault((kind, way, count), []).append(cell)
        return found

    def table(self, name: str, cells: Cells) -> None:
        """Say all cells in few lines, as a table in Markdown."""
        head = "connections", "req/s direct", "req/s", "ratio", "added p50 ms", "added p99 ms"
        columns = "answers", "features", *head, "added first p50, p99 ms"
        lines = [f"{name}, what Moorage adds:", f"| {' | '.join(columns)} |"]
        lines.append("|---" * 9 + "|")
        for (kind, way, count), ours in cells.items():
            if way is Way.DIRECT:
                continue
            direct = cells[kind, Way.DIRECT, count]
            rates = _mean(direct, "rate"), _mean(ours, "rate")
            words = [kind, way, str(count), f"{rates[0]:,.0f}", f"{rates[1]:,.0f}", f"{rates[1] / rates[0]:.2f}x"]
            words += [number(_added(ours, direct, quantity)) for quantity in ("p50_ms", "p99_ms")]
            if kind is Kind.STREAM:
                first = [number(_added(ours, direct, f"first_{quantity}_ms")) for quantity in ("p50", "p99")]
                words.append(", ".join(first))
            else:
                words.append("")
            lines.append(f"| {' | '.join(words)} |")
        self.bench.say("\n".join(lines))

    def row(
        self,
        what: str,
        unit: str,
        figure: float,
        goal: Goal | None = None,
        versus: str = "",
        baseline: float | None = None,
    ) -> None:
        """Add a row."""
        self.outcome.rows.append(Row(what, unit, figure, versus, baseline, goal))


def external(bench: Bench) -> Outcome:
    """Time and throughput through Moorage against the provider itself and against MLflow's gateway."""
    with providers.fake_provider(bench) as fake, running_moorage(bench) as server:
        run = Run(bench, server, fake)
        openai = {**_OPENAI, "openai_config": _openai_config(fake)}
        with (
            providers.canned_anthropic(bench, fake) as canned,
            _endpoints(server, openai, canned),
        ):
            _fixed_rate(run)
            _openai(run)
            _translated(run, canned)
            _mlflow(run)
            _many_streams(run)
            _delivered(run)
        run.row("external, failed requests in all cells", "", run.errors, Goal(Measure.FIGURE, Bound.AT_MOST, 0))
        return run.outcome


def _openai(run: Run) -> None:
    direct = f"{run.fake.url}/v1/chat/completions"
    ways = {
        Way.DIRECT: lambda kind: run.target(direct, kind, providers.OPENAI_KEY, "gpt-4o"),
        Way.OFF: lambda kind: run.endpoint("openai-off", kind),
        Way.ON: lambda kind: run.endpoint("openai-on", kind),
    }
    cells = run.in_turns("openai", ways, _CONNECTIONS, _DONE)
    run.table("openai", cells)
    for kind in Kind:
        for way in (Way.OFF, Way.ON):
            for count in _FEW:
                _against_direct(run, "openai", cells, kind, way, count)


def _translated(run: Run, canned: str) -> None:
    """A provider whose answers have to be made into OpenAI's; the one asked directly is asked in its own dialect."""
    ways = {
        Way.DIRECT: lambda kind: run.target(f"{canned}/v1/messages", kind, None, "claude-sonnet-4-5"),
        Way.ON: lambda kind: run.endpoint("anthropic-on", kind),
    }
    cells = run.in_turns("anthropic", ways, _FEW, _STOPPED)
    run.table("anthropic", cells)
    for kind in Kind:
        for count in _FEW:
            _against_direct(run, "anthropic", cells, kind, Way.ON, count)


def _against_direct(run: Run, name: str, cells: Cells, kind: Kind, way: Way, count: int) -> None:
    ours, direct = cells[kind, way, count], cells[kind, Way.DIRECT, count]
    what = f"{name}, {kind}, {way}, {{}}, {count} connection{'s' if count > 1 else ''}"
    aimed = count == 1 and way is Way.ON
    if count == 1:
        p50 = Goal(Measure.FIGURE, Bound.AT_MOST, 1.0) if aimed and kind is Kind.PLAIN else None
        run.row(what.format("added p50"), "ms", _added(ours, direct, "p50_ms"), p50)
        if kind is Kind.STREAM:
            first = Goal(Measure.FIGURE, Bound.AT_MOST, 2.0) if aimed else None
            run.row(what.format("added p50 of the first chunk"), "ms", _added(ours, direct, "first_p50_ms"), first)
    else:
        rate, drift = _mean(ours, "rate"), spread([one.rate for one in ours])
        base = _mean(direct, "rate")
        run.outcome.rows.append(Row(what.format("throughput"), "req/s", rate, "direct", base, None, drift))


def _fixed_rate(run: Run) -> None:
    """p99 at a rate that is far below what anything here can do.

    It comes first: after the other cells the process that writes the tables is busy with what they left.
    """
    direct = f"{run.fake.url}/v1/chat/completions"
    targets = {
        Way.DIRECT: run.target(direct, Kind.PLAIN, providers.OPENAI_KEY, "gpt-4o"),
        Way.OFF: run.endpoint("openai-off", Kind.PLAIN),
        Way.ON: run.endpoint("openai-on", Kind.PLAIN),
    }
    timing = Timing(1.0, max(1.0, run.bench.timing.seconds / 3))
    found: dict[Way, list[float]] = {way: [] for way in Way}
    for turn in range(_RATE_ROUNDS):
        for way in list(Way)[:: -1 if turn % 2 else 1]:
            cell = open_loop(targets[way], _RATE, _BUSY, timing, _DONE[Kind.PLAIN])
            run.note(f"openai, plain, {way}, {_RATE} req/s", cell)
            found[way].append(cell.p99_ms)
    base = statistics.median(found[Way.DIRECT])
    for way, goal in ((Way.OFF, None), (Way.ON, Goal(Measure.FIGURE, Bound.AT_MOST, 5.0))):
        what = f"openai, plain, {way}, p99 at {_RATE} req/s, median of {_RATE_ROUNDS}"
        figure, drift = statistics.median(found[way]), spread(found[way])
        run.outcome.rows.append(Row(what, "ms", figure, "direct", base, goal, drift))


def _mlflow(run: Run) -> None:
    """MLflow's gateway does not authenticate, limit or log here: what it has on is less than Moorage's OFF.

    Moorage is measured right after it, so that both see the same machine.
    """
    for workers in _WORKERS:
        # One worker each is like with like; two are MLflow's default.
        name = f"MLflow's gateway, {workers} worker{'s' if workers > 1 else ''}"
        theirs, ours = {}, {}
        with providers.mlflow_gateway(run.bench, run.fake, workers) as url:
            for kind, count in itertools.product(Kind, _FEW):
                target = run.target(url, kind, None, "")
                theirs[kind, count] = run.cell(f"{name}, {kind}", target, kind, count, b"")
        for kind, count in itertools.product(Kind, _FEW):
            target = run.endpoint("openai-on", kind)
            ours[kind, count] = run.cell(f"openai, {kind}, on, after {name}", target, kind, count, _DONE[kind])
        for kind in Kind:
            what, rate = f"openai, {kind}, on, throughput, {_BUSY} connections", ours[kind, _BUSY].rate
            run.row(what, "req/s", rate, at_least_times(3), name, theirs[kind, _BUSY].rate)
            what, p50 = f"openai, {kind}, on, p50, 1 connection", ours[kind, 1].p50_ms
            run.row(what, "ms", p50, None, name, theirs[kind, 1].p50_ms)


def _many_streams(run: Run) -> None:
    """Streams that are all open at the same time on the one worker; they take seconds."""
    run.fake.slow(_SLOW_SECONDS)
    cell = at_once(run.endpoint("openai-on", Kind.STREAM), _STREAMS, _DONE[Kind.STREAM])
    run.note(f"openai, on, {_STREAMS} streams of {_SLOW_SECONDS:g} s at once", cell)
    together = run.fake.most_at_once()
    run.bench.say(f"the provider had {together} of them open at the same time")
    if together < _STREAMS and not cell.errors:
        raise BenchmarkFailed(f"only {together} of {_STREAMS} streams were open at the same time")
    failed = Goal(Measure.FIGURE, Bound.AT_MOST, 0)
    run.row(f"{_STREAMS} concurrent streams, on, failed", "", cell.errors, failed)
    run.row(f"{_STREAMS} concurrent streams, on, p99 of the first chunk", "ms", cell.first_p99_ms)


def _delivered(run: Run) -> None:
    """Say how far the tables are behind."""
    report: TablesReport = read_report(run.server.data.tables_status)
    run.bench.say(f"tables: {report.model_dump_json(exclude_none=True)[:600]}")


@contextlib.contextmanager
def _endpoints(server: MoorageServer, openai: Mapping[str, Any], canned: str) -> Iterator[None]:
    """`openai-off`, `openai-on` and `anthropic-on`, READY and checked."""
    keys = {"anthropic_api_key_plaintext": providers.ANTHROPIC_KEY, "anthropic_api_base": canned}
    anthropic = {**_ANTHROPIC, "anthropic_config": keys}
    made: list[str] = []
    try:
        for name, model, gateway in (
            ("openai-off", openai, None),
            ("openai-on", openai, _everything("openai")),
            ("anthropic-on", anthropic, _everything("anthropic")),
        ):
            _create(server, name, model, gateway)
            made.append(name)
            _check(server, name)
        yield
    finally:
        for name in made:
            server.http.delete(f"/api/2.0/serving-endpoints/{name}")


def _everything(prefix: str) -> dict[str, Any]:
    """Limits of calls and tokens for each user and for the endpoint, which are never reached, and both logs."""
    table = {"enabled": True, "catalog_name": "main", "schema_name": "benchmarks", "table_name_prefix": prefix}
    limits = [
        {what: _NO_LIMIT, "key": key, "renewal_period": "minute"}
        for what in ("calls", "tokens")
        for key in ("user", "endpoint")
    ]
    return {"usage_tracking_config": {"enabled": True}, "inference_table_config": table, "rate_limits": limits}


def _openai_config(fake: FakeProvider) -> dict[str, str]:
    return {"openai_api_key_plaintext": providers.OPENAI_KEY, "openai_api_base": f"{fake.url}/v1"}


def _create(server: MoorageServer, name: str, model: Mapping[str, Any], gateway: dict[str, Any] | None) -> None:
    entity = {"name": name, "external_model": model}
    document: dict[str, Any] = {"name": name, "config": {"served_entities": [entity]}}
    if gateway is not None:
        document["ai_gateway"] = gateway
    answer = server.http.post("/api/2.0/serving-endpoints", json=document)
    if not answer.is_success:
        raise BenchmarkFailed(f"cannot create endpoint {name}: {answer.text[:500]}")
    server.wait_ready(name)


def _check(server: MoorageServer, name: str) -> None:
    """What is measured answers, and streams all its chunks.

    Raises:
        BenchmarkFailed: it does not.
    """
    path = f"/serving-endpoints/{name}/invocations"
    body = {"messages": providers.MESSAGES, "max_tokens": providers.MAX_TOKENS}
    deadline = time.monotonic() + 10
    while (answer := server.http.post(path, json=body)).status_code == httpx.codes.NOT_FOUND:
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    if not answer.is_success or not answer.json()["choices"][0]["message"]["content"]:
        raise BenchmarkFailed(f"{name} does not answer: {answer.status_code} {answer.text[:500]}")
    stream = server.http.post(path, json={**body, "stream": True}).text
    if stream.count('"content":') < providers.CHUNKS or not stream.rstrip().endswith("[DONE]"):
        raise BenchmarkFailed(f"{name} does not stream {providers.CHUNKS} chunks: {stream[-500:]}")


def _mean(cells: Sequence[Load], quantity: str) -> float:
    return middle([getattr(one, quantity) for one in cells])


def _added(ours: Sequence[Load], direct: Sequence[Load], quantity: str) -> float:
    """Milliseconds that Moorage adds."""
    return _mean(ours, quantity) - _mean(direct, quantity)
