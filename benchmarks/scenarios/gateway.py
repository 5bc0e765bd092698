"""What the gateway itself costs: a real gateway process, with authentication, before a replica that only echoes."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from benchmarks import peers
from benchmarks.bench import Bench, Twice
from benchmarks.load import Target
from benchmarks.processes import own_environment, running, wait_for_answer
from benchmarks.report import Bound, Goal, Measure, Outcome, Row, at_least_times
from moorage.api.routing import Availability, EndpointRoute, Principal, ReplicaRoute, RoutingSnapshot, ServedRoute
from moorage.datadir import DataDirectory
from moorage.identity.tokens import new_token, token_digest
from moorage.settings import Settings
from moorage.supervisor.programs import gateway_specs
from moorage.supervisor.sockets import listen

_CONNECTIONS = (1, 64)
_START_SECONDS = 60.0
_ENDPOINT = "echo"
_PROXY = "FastAPI + httpx proxy"
_PROXY_BEST = f"{_PROXY}, at its best number of connections"


def gateway(bench: Bench) -> Outcome:
    """Requests a second through one gateway worker, and through one worker of a proxy written by hand."""
    outcome = Outcome()
    with echo_gateway(bench) as target:
        first = bench.cells("Moorage's gateway, echo", target, _CONNECTIONS, outcome)
    with _proxy(bench) as target:
        proxy = bench.cells("FastAPI + httpx, echo", target, _CONNECTIONS, outcome)
    with echo_gateway(bench) as target:
        ours = Twice(first, bench.cells("Moorage's gateway, echo", target, _CONNECTIONS, outcome))
    figure, drift = ours.rate(64)
    floor = Goal(Measure.FIGURE, Bound.AT_LEAST, 10_000)
    words = "gateway alone, throughput, 64 connections"
    outcome.rows.append(Row(words, "req/s", figure, goal=floor, spread=drift))
    # httpx looks through its whole pool at every request and so gets slower with connections.
    best = max(each.rate for each in proxy.values())
    outcome.rows.append(Row(words, "req/s", figure, _PROXY_BEST, best, at_least_times(4), drift))
    figure, drift = ours.p50(1)
    outcome.rows.append(Row("gateway alone, p50, 1 connection", "ms", figure, _PROXY, proxy[1].p50_ms, None, drift))
    return outcome


@contextlib.contextmanager
def echo_gateway(bench: Bench) -> Iterator[Target]:
    """A gateway worker that finds its routing on disk, as it does while the control plane is away."""
    data = DataDirectory(bench.folder / "gateway")
    data.create()
    token = new_token()
    address = data.replica_socket(_ENDPOINT)
    address.parent.mkdir(exist_ok=True)
    address.unlink(missing_ok=True)
    data.snapshot.write_text(snapshot(token, str(address)).model_dump_json())
    listener = listen("127.0.0.1", 0, 1)[0]
    settings = Settings(data_dir=data.root, port=listener.getsockname()[1])
    spec = gateway_specs(settings, [listener.fileno()], own_environment())[0]
    echo = [sys.executable, "-m", "benchmarks.echo_replica", str(address)]
    body = bench.models.iris.body(1)
    url = f"{settings.local_url}/serving-endpoints/{_ENDPOINT}/invocations"
    log = bench.folder / "gateway.log"
    with (
        contextlib.closing(listener),
        running(echo, bench.folder / "echo-replica.log") as replica,
        running(spec.command, log, spec.environment, spec.descriptors) as process,
    ):
        answer = wait_for_answer(process, log, url, _START_SECONDS, body, token)
        assert answer.content == body
        yield Target(url, bench.models.iris.body_file(1), token, (process.pid, replica.pid))


def snapshot(token: str, address: str) -> RoutingSnapshot:
    """One endpoint with one replica, and one caller who may query it."""
    caller = Principal(id="1", user_name="benchmark@localhost")
    served = ServedRoute(
        name=_ENDPOINT, traffic_percentage=100, replicas=(ReplicaRoute(id=_ENDPOINT, address=address),)
    )
    route = EndpointRoute(
        name=_ENDPOINT,
        id=_ENDPOINT,
        availability=Availability.SERVING,
        served=(served,),
        queriers=frozenset({caller.id}),
    )
    return RoutingSnapshot(endpoints={_ENDPOINT: route}, tokens={token_digest(token): caller})


@contextlib.contextmanager
def _proxy(bench: Bench) -> Iterator[Target]:
    echo = peers.uvicorn(bench.folder, "benchmarks.baselines.echo_http:app", {}, 1, "/echo")
    with echo as (upstream, upstream_pids):
        environment = {"BENCHMARK_UPSTREAM": upstream}
        proxy = peers.uvicorn(bench.folder, "benchmarks.baselines.httpx_proxy:app", environment, 1, "/echo")
        with proxy as (base, pids):
            yield Target(f"{base}/echo", bench.models.iris.body_file(1), pids=(*pids, *upstream_pids))
