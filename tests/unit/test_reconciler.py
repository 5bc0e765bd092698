"""The reconciler against a real database, with compute, registry and environments made up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from control_harness import ADMIN, ENCRYPTION_KEY, ENDPOINTS, ControlPlane, control_plane, entity

from moorage.api.routing import (
    Availability,
    EndpointRoute,
    LoadReport,
    ReplicaFault,
    ReplicaReport,
    ServedLoad,
)
from moorage.compute.base import ComputeError, Interpreter, Observation, ReplicaPhase, ReplicaProcess, ReplicaSpec
from moorage.compute.local import is_alive
from moorage.control.publisher import RoutingPublisher
from moorage.control.reconciler import deployment as deployment_module
from moorage.control.reconciler.context import Context
from moorage.control.reconciler.entity_table import EntityTable
from moorage.control.reconciler.reconciler import Reconciler
from moorage.control.reconciler.records import Records
from moorage.control.secret_references import SecretReader
from moorage.control.store.engine import reading
from moorage.control.store.models import Deployment, Endpoint, Event, Replica
from moorage.control.telemetry import Telemetry
from moorage.encryption import Encryption
from moorage.environments.builder import Environment, EnvironmentBuildError
from moorage.registry.client import ModelVersion
from moorage.settings import EnvManager
from moorage.telemetry.aggregate import EntityCounts, EntityKey
from moorage.telemetry.usage import UsageSampler

_PATIENCE = 10.0


class FakeCompute:
    """Replicas that are entries of a dictionary; a test moves them."""

    def __init__(self) -> None:
        self.started: list[ReplicaSpec] = []
        self.stopped: list[str] = []
        self.states: dict[str, Observation] = {}
        self.first_state = Observation(ReplicaPhase.READY, load_seconds=0.1, warm_up_seconds=0.0, batching=True)
        self.refusal: str | None = None
        self.adoptable: set[str] = set()
        self._ends: dict[str, asyncio.Event] = {}

    async def start_replica(self, spec: ReplicaSpec, interpreter: Interpreter) -> ReplicaProcess:
        if self.refusal is not None:
            raise ComputeError(self.refusal)
        self.started.append(spec)
        self.states[spec.replica_id] = self.first_state
        return ReplicaProcess(spec.replica_id, f"/run/{spec.replica_id}", 100 + len(self.started), 7)

    def observe(self, replica: ReplicaProcess) -> Observation:
        return self.states.get(replica.replica_id, Observation(ReplicaPhase.GONE, "killed by SIGKILL"))

    async def ended(self, replica: ReplicaProcess) -> None:
        await self._end(replica.replica_id).wait()

    async def adopt(self, replica: ReplicaProcess) -> bool:
        return replica.replica_id in self.adoptable

    async def stop_replica(self, replica: ReplicaProcess, drain_seconds: float) -> None:
        self.stopped.append(replica.replica_id)
        self.states.pop(replica.replica_id, None)
        self._end(replica.replica_id).set()

    async def stop_strangers(self, known: frozenset[str]) -> list[str]:
        return []

    async def release(self, keys_in_use: frozenset[str]) -> None: ...

    async def remember_imports(self, interpreter: Interpreter, modules: tuple[str, ...]) -> None: ...

    def log_tail(self, deployment_id: str, replica_id: str, size: int) -> str:
        return "Traceback: the last line"

    def kill(self, replica_id: str) -> None:
        self.states.pop(replica_id, None)
        self._end(replica_id).set()

    def _end(self, replica_id: str) -> asyncio.Event:
        return self._ends.setdefault(replica_id, asyncio.Event())


class FakeModels:
    """A registry whose models have an MLmodel file and nothing else."""

    def model_version(self, name: str, version: str) -> ModelVersion:
        return ModelVersion(name, version, source="s")

    def download(self, name: str, version: str, destination: Path) -> Path:
        destination.mkdir(parents=True)
        flavor = "loader_module: mlflow.sklearn\n    env: {virtualenv: python_env.yaml}\n"
        (destination / "MLmodel").write_text(f"flavors:\n  python_function:\n    {flavor}")
        (destination / "requirements.txt").write_text("mlflow\n")
        (destination / "python_env.yaml").write_text("python: 3.11.7\ndependencies: [-r requirements.txt]\n")
        return destination


@dataclass
class FakeBuilder:
    failure: str | None = None
    accident: Exception | None = None
    gate: asyncio.Event | None = None
    builds: int = field(default=0)

    async def ensure(self, spec: Any, log: Any) -> Environment:
        self.builds += 1
        accident, self.accident = self.accident, None
        if accident is not None:
            raise accident
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise EnvironmentBuildError(self.failure)
        return Environment("a" * 32, Path("/usr/bin/python3"), EnvManager.LOCAL)


@dataclass
class Running:
    plane: ControlPlane
    compute: FakeCompute
    builder: FakeBuilder
    publisher: RoutingPublisher
    context: Context
    reconciler: Reconciler
    telemetry: Telemetry

    def create(self, **fields: Any) -> str:
        answer = self.plane.create(**fields)
        self.reconciler.endpoint_changed(answer["id"])
        return str(answer["id"])

    def write(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """A change through the API, and its notice to the reconciler."""
        answer = self.plane.request(method, f"{ENDPOINTS}/ads/{path}", ADMIN, json=body)
        assert answer.status_code == 200, answer.text
        self.reconciler.endpoint_changed(self.detail()["id"])
        found: dict[str, Any] = answer.json()
        return found

    def detail(self, name: str = "ads") -> dict[str, Any]:
        answer: dict[str, Any] = self.plane.request("GET", f"{ENDPOINTS}/{name}", ADMIN).json()
        return answer

    def route(self, name: str = "ads") -> EndpointRoute | None:
        return self.publisher.snapshot().endpoints.get(name)

    def events(self, endpoint_id: str) -> list[str]:
        with reading(self.plane.sessions) as session:
            return [e.event_type for e in session.query(Event).filter_by(endpoint_id=endpoint_id).order_by(Event.id)]

    def messages(self, endpoint_id: str) -> list[str]:
        with reading(self.plane.sessions) as session:
            return [e.message for e in session.query(Event).filter_by(endpoint_id=endpoint_id).order_by(Event.id)]

    def counts(self, endpoint_id: str) -> EntityCounts | None:
        """What was counted of its served entity."""
        key = EntityKey(endpoint_id, "ads1-1")
        return self.telemetry.aggregate.counts([key]).get(key)

    def routed(self, name: str = "ads") -> list[str] | None:
        """Ids of the replicas that get the requests; None while no entity is routed to."""
        route = self.route(name)
        return [one.id for one in route.served[0].replicas] if route and route.served else None

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(_PATIENCE):
            while not condition():  # noqa: ASYNC110  another task's database writes
                await asyncio.sleep(0.01)

    async def ready(self, name: str = "ads") -> None:
        await self.until(lambda: self.detail(name)["state"]["ready"] == "READY")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment_module, "_POLL_SECONDS", 0.001)
    monkeypatch.setattr(deployment_module, "_FIRST_RETRY_SECONDS", 0.01)


@asynccontextmanager
async def running(plane: ControlPlane, compute: FakeCompute | None = None) -> AsyncIterator[Running]:
    compute, builder = compute or FakeCompute(), FakeBuilder()
    publisher = RoutingPublisher(plane.data.snapshot)
    settings = plane_settings(plane)
    telemetry = Telemetry(plane.sessions, publisher.routes, UsageSampler(is_alive), plane.clock)
    encryption = Encryption(ENCRYPTION_KEY)
    context = Context(
        settings, plane.data, Records(plane.sessions), FakeModels(), builder, compute, publisher, plane.clock,
        telemetry, SecretReader(plane.sessions, encryption), encryption, EntityTable(plane.data.spool, plane.clock),
    )  # type: ignore[arg-type]
    reconciler = Reconciler(context)
    await reconciler.start()
    one = Running(plane, compute, builder, publisher, context, reconciler, telemetry)
    try:
        yield one
    finally:
        await reconciler.close(0.0)


def plane_settings(plane: ControlPlane) -> Any:
    from moorage.settings import Settings

    return Settings(data_dir=plane.data.root, replica_restart_attempts=2, scale_to_zero_idle_seconds=0.2)


@pytest.fixture
def plane(tmp_path: Path) -> Any:
    with control_plane(tmp_path) as one:
        yield one


def test_a_created_endpoint_becomes_ready_and_gets_a_route(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            endpoint_id = run.create()
            await run.ready()
            detail = run.detail()
            assert detail["state"]["config_update"] == "NOT_UPDATING"
            assert "pending_config" not in detail
            assert detail["config"]["served_entities"][0]["state"]["deployment"] == "DEPLOYMENT_READY"
            route = run.route()
            assert route is not None
            assert route.availability is Availability.SERVING
            assert [r.id for r in route.served[0].replicas] == [run.compute.started[0].replica_id]
            assert route.served[0].traffic_percentage == 100
            await run.until(lambda: "CONFIG_UPDATE_SUCCEEDED" in run.events(endpoint_id))

    asyncio.run(scenario())


def test_medium_size_starts_two_replicas(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            run.create(config={"served_entities": [entity(workload_size="Medium")]})
            await run.ready()
            await run.until(lambda: len(run.routed() or ()) == 2)
            assert run.builder.builds == 1

    asyncio.run(scenario())


def test_a_failed_build_fails_the_update_and_aborts_the_sibling(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            run.builder.failure = "nosuchpackage==1 was not found"
            bad = {"served_entities": [entity(workload_type="GPU_SMALL"), entity(entity_version="2")]}
            bad["traffic_config"] = {  # type: ignore[assignment]
                "routes": [
                    {"served_model_name": "ads1-1", "traffic_percentage": 50},
                    {"served_model_name": "ads1-2", "traffic_percentage": 50},
                ]
            }
            run.builder.gate = asyncio.Event()  # the second never gets its environment
            run.create(config=bad)
            await run.until(lambda: run.detail()["state"]["config_update"] == "UPDATE_FAILED")
            pending = run.detail()["pending_config"]["served_entities"]
            assert [one["state"]["deployment"] for one in pending] == ["DEPLOYMENT_FAILED", "DEPLOYMENT_ABORTED"]
            assert "GPU_SMALL" in pending[0]["state"]["deployment_state_message"]
            assert run.detail()["state"]["ready"] == "NOT_READY"
            assert run.route().availability is Availability.NOT_READY  # type: ignore[union-attr]

    asyncio.run(scenario())


def test_a_model_that_does_not_load_fails_with_the_end_of_its_log(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            run.compute.first_state = Observation(ReplicaPhase.FAILED, "ValueError: no weights")
            run.create()
            await run.until(lambda: run.detail()["state"]["config_update"] == "UPDATE_FAILED")
            state = run.detail()["pending_config"]["served_entities"][0]["state"]
            assert "ValueError: no weights" in state["deployment_state_message"]
            assert "Traceback: the last line" in state["deployment_state_message"]
            assert run.compute.states == {}

    asyncio.run(scenario())


def test_a_lost_replica_is_replaced_and_the_endpoint_recovers(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            endpoint_id = run.create()
            await run.ready()
            first = run.compute.started[0].replica_id
            run.compute.kill(first)
            await run.until(lambda: len(run.compute.started) == 2)
            await run.ready()
            await run.until(lambda: run.routed() == [run.compute.started[1].replica_id])
            types = run.events(endpoint_id)
            assert "REPLICA_ENDED" in types
            assert "SERVED_ENTITY_RECOVERING" in types

    asyncio.run(scenario())


def test_a_replica_that_keeps_ending_makes_the_deployment_failed(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            run.create()
            await run.ready()
            run.compute.refusal = "no memory"
            run.compute.kill(run.compute.started[0].replica_id)

            def failed() -> bool:
                state = run.detail()["config"]["served_entities"][0]["state"]
                return state["deployment"] == "DEPLOYMENT_FAILED" and "no memory" in state["deployment_state_message"]

            await run.until(failed)
            assert run.detail()["state"]["ready"] == "NOT_READY"

    asyncio.run(scenario())


def test_a_hanging_replica_is_replaced_before_it_is_stopped(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            run.create()
            await run.ready()
            first = run.compute.started[0].replica_id
            run.reconciler.report(
                ReplicaReport(endpoint="ads", replica_id=first, fault=ReplicaFault.TIMED_OUT)
            )
            await run.until(lambda: first in run.compute.stopped and len(run.compute.started) == 2)
            await run.ready()

    asyncio.run(scenario())


def test_a_restarted_control_plane_adopts_the_living_and_replaces_the_dead(plane: ControlPlane) -> None:
    async def scenario(alive: bool) -> tuple[str, list[str]]:
        compute = FakeCompute()
        with plane.sessions.begin() as session:
            replica = session.query(Replica).one()
            compute.states[replica.id] = compute.first_state
            if alive:
                compute.adoptable.add(replica.id)
            known = replica.id
        async with running(plane, compute) as run:
            # The route that was left is that of the known one: what it becomes says whether it was adopted.
            await run.until(lambda: bool(rows := run.routed()) and (known in rows) == alive)
            await run.ready()
            # The test's server "crashes": the rows stay as they are.
            rows = run.routed() or []
            compute.stop_replica = _nothing  # type: ignore[method-assign]
            run.context.records.remove_replica = lambda _: None  # type: ignore[method-assign]
        return known, rows

    async def _nothing(*_: Any) -> None: ...

    async def first() -> None:
        async with running(plane) as run:
            run.create()
            await run.ready()
            run.compute.stop_replica = _nothing  # type: ignore[method-assign]
            run.context.records.remove_replica = lambda _: None  # type: ignore[method-assign]

    asyncio.run(first())
    known, routed = asyncio.run(scenario(alive=True))
    assert routed == [known]
    known, routed = asyncio.run(scenario(alive=False))
    assert known not in routed
    assert len(routed) == 1


def test_a_deleted_endpoint_leaves_nothing_and_frees_its_name_at_once(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            endpoint_id = run.create()
            await run.ready()
            replica = run.compute.started[0].replica_id
            assert plane.request("DELETE", f"{ENDPOINTS}/ads", ADMIN).status_code == 200
            second = run.create()
            run.reconciler.endpoint_changed(endpoint_id)

            def gone() -> bool:
                with reading(plane.sessions) as session:
                    return session.get(Endpoint, endpoint_id) is None

            await run.until(gone)
            await run.ready()
            assert replica in run.compute.stopped
            assert run.route().id == second  # type: ignore[union-attr]
            with reading(plane.sessions) as session:
                assert session.query(Deployment).filter_by(endpoint_id=endpoint_id).count() == 0
            assert "ENDPOINT_DELETED" in run.events(endpoint_id)

    asyncio.run(scenario())


def test_an_idle_endpoint_goes_to_zero_stays_ready_and_wakes_with_one_replica(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            run.create(config={"served_entities": [entity(scale_to_zero_enabled=True)]})
            await run.ready()
            await run.until(lambda: run.routed() == [])
            await run.until(lambda: run.compute.started[0].replica_id in run.compute.stopped)
            assert run.detail()["state"]["ready"] == "READY"
            assert run.route().availability is Availability.SERVING  # type: ignore[union-attr]
            waiting = ServedLoad(endpoint="ads", served="ads1-1", concurrency=500, requests=500)
            for _ in range(5):
                run.reconciler.observe_load(LoadReport(gateway="worker-0", loads=(waiting,)))
                await asyncio.sleep(0)
            await run.until(run.routed)
            assert len(run.compute.started) == 2

    asyncio.run(scenario())


def test_a_cold_start_is_counted_and_told_and_a_first_start_is_none(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            endpoint_id = run.create(config={"served_entities": [entity(scale_to_zero_enabled=True)]})
            await run.ready()
            await run.until(lambda: run.routed() == [])
            await run.until(lambda: run.compute.started[0].replica_id in run.compute.stopped)
            assert run.counts(endpoint_id) is None
            run.compute.first_state = Observation(ReplicaPhase.LOADING)
            waiting = ServedLoad(endpoint="ads", served="ads1-1", concurrency=1, requests=1)
            began = time.monotonic()
            while len(run.compute.started) < 2 or time.monotonic() - began < 0.3:  # how long the model loads
                run.reconciler.observe_load(LoadReport(gateway="worker-0", loads=(waiting,)))
                await asyncio.sleep(0.01)
            ready = Observation(ReplicaPhase.READY, load_seconds=0.2, warm_up_seconds=0.0)
            run.compute.states[run.compute.started[1].replica_id] = ready
            await run.until(lambda: run.counts(endpoint_id))
            cold_starts = run.counts(endpoint_id).cold_starts  # type: ignore[union-attr]
            assert cold_starts.count == 1
            assert 0.3 <= cold_starts.total < 5
            await run.until(lambda: any("; cold start 0." in words for words in run.messages(endpoint_id)))
            assert len([words for words in run.messages(endpoint_id) if "cold start" in words]) == 1

    asyncio.run(scenario())


def test_lost_replicas_are_counted_as_restarts_and_are_no_cold_starts(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            endpoint_id = run.create()
            await run.ready()
            waiting = ServedLoad(endpoint="ads", served="ads1-1", concurrency=1, requests=1)
            run.compute.kill(run.compute.started[0].replica_id)
            run.reconciler.observe_load(LoadReport(gateway="worker-0", loads=(waiting,)))
            await run.until(lambda: len(run.compute.started) == 2)
            await run.until(lambda: run.routed() == [run.compute.started[1].replica_id])
            hanging = run.compute.started[1].replica_id

            def replaced() -> bool:
                # As gateways do, with each request that times out.
                run.reconciler.report(ReplicaReport(endpoint="ads", replica_id=hanging, fault=ReplicaFault.TIMED_OUT))
                return hanging in run.compute.stopped

            await run.until(replaced)
            await run.until(lambda: run.routed() == [run.compute.started[2].replica_id])
            counts = run.counts(endpoint_id)
            assert counts is not None
            assert (counts.restarts, counts.cold_starts.count) == (2, 0)

    asyncio.run(scenario())


def test_an_update_serves_the_old_version_until_the_new_one_is_ready(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            run.create()
            await run.ready()
            old = run.compute.started[0].replica_id
            run.builder.gate = asyncio.Event()
            run.write("PUT", "config", served_entities=[entity(entity_version="2")])
            await run.until(lambda: run.builder.builds == 2)
            assert run.routed() == [old]
            assert run.detail()["state"] == {
                "ready": "READY",
                "config_update": "IN_PROGRESS",
                "update_state": "IN_PROGRESS",
            }
            run.builder.gate.set()
            await run.until(lambda: len(run.compute.started) == 2)
            await run.until(lambda: run.routed() == [run.compute.started[1].replica_id])
            await run.until(lambda: old in run.compute.stopped)
            assert run.detail()["config"]["config_version"] == 2

    asyncio.run(scenario())


def test_an_update_to_a_broken_version_leaves_the_old_one_serving(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            run.create()
            await run.ready()
            old = run.compute.started[0].replica_id
            run.builder.failure = "nosuchpackage==1 was not found"
            run.write("PUT", "config", served_entities=[entity(entity_version="2")])
            await run.until(lambda: run.detail()["state"]["config_update"] == "UPDATE_FAILED")
            assert run.detail()["state"]["ready"] == "READY"
            assert run.routed() == [old]
            assert old not in run.compute.stopped

    asyncio.run(scenario())


def test_a_change_of_traffic_alone_restarts_nothing(plane: ControlPlane) -> None:
    def routes(first: int) -> dict[str, Any]:
        shares = [("ads1-1", first), ("ads1-2", 100 - first)]
        return {"routes": [{"served_model_name": n, "traffic_percentage": p} for n, p in shares]}

    async def scenario() -> None:
        async with running(plane) as run:
            both = [entity(), entity(entity_version="2")]
            run.create(config={"served_entities": both, "traffic_config": routes(100)})
            await run.ready()
            run.write("PUT", "config", served_entities=both, traffic_config=routes(30))
            await run.until(
                lambda: [one.traffic_percentage for one in run.route().served] == [30, 70]  # type: ignore[union-attr]
            )
            assert len(run.compute.started) == 2
            assert run.compute.stopped == []

    asyncio.run(scenario())


def test_a_canceled_update_takes_its_replicas_down_and_keeps_the_old_ones(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            run.create()
            await run.ready()
            run.compute.first_state = Observation(ReplicaPhase.LOADING)
            run.write("PUT", "config", served_entities=[entity(entity_version="2")])
            await run.until(lambda: len(run.compute.started) == 2)
            run.write("POST", "config:cancel")
            await run.until(lambda: run.compute.stopped == [run.compute.started[1].replica_id])
            assert run.detail()["state"]["config_update"] == "UPDATE_CANCELED"
            assert run.routed() == [run.compute.started[0].replica_id]

    asyncio.run(scenario())


def test_a_stopped_endpoint_has_no_replicas_and_starts_with_a_new_version(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            run.create()
            await run.ready()
            run.write("POST", "config:stop")
            await run.until(lambda: run.compute.stopped == [run.compute.started[0].replica_id])
            assert run.route().availability is Availability.STOPPED  # type: ignore[union-attr]
            assert run.detail()["state"]["ready"] == "NOT_READY"
            run.write("POST", "config:start")
            await run.ready()
            assert run.detail()["config"]["config_version"] == 2
            await run.until(lambda: run.routed() == [run.compute.started[1].replica_id])

    asyncio.run(scenario())


def test_an_unforeseen_failure_is_recorded_and_the_deployment_tried_again(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            run.builder.accident = RuntimeError("import deadlock")
            endpoint_id = run.create()
            await run.ready()
            assert "SERVED_ENTITY_ERROR" in run.events(endpoint_id)

    asyncio.run(scenario())
