"""What a control plane makes of rows that a killed one has left, and of a database that refuses a write."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from control_harness import ADMIN, ENDPOINTS, ControlPlane, control_plane, entity
from sqlalchemy.exc import OperationalError
from test_reconciler import FakeCompute, Running, running

from moorage.compute.base import Observation, ReplicaPhase, ReplicaProcess
from moorage.control.lifecycle import DeploymentPhase
from moorage.control.reconciler import endpoint as endpoint_module
from moorage.control.store.engine import reading
from moorage.control.store.models import Deployment, Endpoint, Replica


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "_FIRST_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(endpoint_module, "_GATEWAYS_COME_BACK_SECONDS", 0.01)


@pytest.fixture
def plane(tmp_path: Path) -> Any:
    with control_plane(tmp_path) as one:
        yield one


def serve_in_rows(plane: ControlPlane, *phases: str, **endpoint: Any) -> list[str]:
    """An endpoint of as many entities as there are phases, each with a replica, as rows. Ids of the replicas."""
    versions = ["1", "2"][: len(phases)]
    share = 100 // len(phases)
    routes = [{"served_model_name": f"ads1-{one}", "traffic_percentage": share} for one in versions]
    entities = [entity(entity_version=one) for one in versions]
    config = {"served_entities": entities, "traffic_config": {"routes": routes}}
    endpoint_id = plane.create(config=config)["id"]
    names = plane.deployment_ids(endpoint_id)
    replicas = []
    with plane.sessions.begin() as session:
        row = session.get_one(Endpoint, endpoint_id)
        for name, value in endpoint.items():
            setattr(row, name, value)
        for number, (version, phase) in enumerate(zip(versions, phases, strict=True)):
            deployment = session.get_one(Deployment, names[f"ads1-{version}"])
            deployment.phase = phase
            replicas.append(f"r{number}")
            replica = Replica(id=f"r{number}", deployment_id=deployment.id, address="/r", pid=9, started_at=7)
            replica.created_at = 1
            session.add(replica)
    return replicas


def replicas_left(plane: ControlPlane) -> list[str]:
    with reading(plane.sessions) as session:
        return sorted(one.id for one in session.query(Replica))


def phases(plane: ControlPlane) -> list[str]:
    with reading(plane.sessions) as session:
        return [one.phase for one in session.query(Deployment).order_by(Deployment.served_name)]


def test_replica_of_a_sibling_that_was_aborted_is_stopped(plane: ControlPlane) -> None:
    serve_in_rows(plane, "FAILED", "ABORTED", config_update="UPDATE_FAILED")

    async def scenario() -> None:
        async with running(plane) as run:
            await run.until(lambda: not replicas_left(plane))
            assert sorted(run.compute.stopped) == ["r0", "r1"]
            assert phases(plane) == ["FAILED", "ABORTED"]

    asyncio.run(scenario())


def test_replica_of_a_creation_that_was_canceled_is_stopped(plane: ControlPlane) -> None:
    [replica] = serve_in_rows(plane, "ABORTED", config_update="UPDATE_CANCELED", pending_version=None)

    async def scenario() -> None:
        async with running(plane) as run:
            await run.until(lambda: phases(plane) == [DeploymentPhase.RETIRED])
            assert run.compute.stopped == [replica]
            assert replicas_left(plane) == []

    asyncio.run(scenario())


def test_update_is_switched_to_only_when_its_replicas_are_known_to_live(plane: ControlPlane) -> None:
    """Both deployments are READY in the database, and the replica of the new one has died meanwhile."""

    async def first() -> tuple[str, str]:
        async with running(plane) as run:
            run.create()
            await run.ready()
            serving = run.compute.started[0].replica_id
            run.context.records.switch = lambda *_: False  # type: ignore[method-assign]
            run.write("PUT", "config", served_entities=[entity(entity_version="2")])
            await run.until(lambda: phases(plane) == ["READY", "READY"])
            run.compute.stop_replica = _nothing  # type: ignore[method-assign]
            run.context.records.remove_replica = lambda _: None  # type: ignore[method-assign]
            return serving, run.compute.started[1].replica_id

    async def second(serving: str) -> None:
        compute = FakeCompute()
        compute.states[serving] = compute.first_state
        compute.adoptable.add(serving)
        compute.first_state = Observation(ReplicaPhase.LOADING)
        async with running(plane, compute) as run:
            await run.until(lambda: run.compute.started)
            assert run.detail()["state"] == {
                "ready": "READY",
                "config_update": "IN_PROGRESS",
                "update_state": "IN_PROGRESS",
            }
            assert run.routed() == [serving]
            assert serving not in compute.stopped

    serving, _ = asyncio.run(first())
    asyncio.run(second(serving))


async def _nothing(*_: Any) -> None: ...


class Refuses:
    """A write that fails the first times: the database is locked."""

    def __init__(self, times: int, write: Any) -> None:
        self._left, self._write = times, write

    def __call__(self, *arguments: Any) -> Any:
        if self._left:
            self._left -= 1
            raise OperationalError("DELETE", {}, Exception("database is locked"))
        return self._write(*arguments)


def replace_version(run: Running) -> None:
    run.write("PUT", "config", served_entities=[entity(entity_version="2")])


def test_deployment_retires_also_when_the_database_refuses_at_first(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            run.create()
            await run.ready()
            run.context.records.remove_replica = Refuses(2, run.context.records.remove_replica)  # type: ignore[method-assign]
            replace_version(run)
            await run.until(lambda: phases(plane) == ["RETIRED", "READY"])
            assert replicas_left(plane) == [run.compute.started[1].replica_id]

    asyncio.run(scenario())


def test_endpoint_is_deleted_also_when_the_database_refuses_at_first(plane: ControlPlane) -> None:
    """A replica that ends while the deletion is repeated is not started again."""

    async def scenario() -> None:
        async with running(plane) as run:
            endpoint_id = run.create()
            await run.ready()
            run.context.records.advance = Refuses(2, run.context.records.advance)  # type: ignore[method-assign]
            assert plane.request("DELETE", f"{ENDPOINTS}/ads", ADMIN).status_code == 200
            run.reconciler.endpoint_changed(endpoint_id)

            def gone() -> bool:
                with reading(plane.sessions) as session:
                    return session.get(Endpoint, endpoint_id) is None

            await run.until(gone)
            assert [one.replica_id for one in run.compute.started] == run.compute.stopped

    asyncio.run(scenario())


def test_replica_that_starts_while_its_update_is_canceled_is_stopped_too(plane: ControlPlane) -> None:
    class SlowCompute(FakeCompute):
        def __init__(self) -> None:
            super().__init__()
            self.forking, self.forked = asyncio.Event(), asyncio.Event()

        async def start_replica(self, *arguments: Any) -> ReplicaProcess:
            self.forking.set()
            await self.forked.wait()
            return await super().start_replica(*arguments)

    async def scenario() -> None:
        compute = SlowCompute()
        async with running(plane, compute) as run:
            endpoint_id = run.create()
            await compute.forking.wait()
            run.write("POST", "config:cancel")
            run.reconciler.endpoint_changed(endpoint_id)
            await asyncio.sleep(0.05)
            compute.forked.set()
            await run.until(lambda: compute.stopped and not replicas_left(plane))
            assert compute.stopped == [one.replica_id for one in compute.started]

    asyncio.run(scenario())


def test_many_endpoints_at_zero_are_picked_up_with_as_many_queries_as_one(plane: ControlPlane) -> None:
    def pick_up() -> int:
        """How often a control plane that starts asks for endpoints."""
        asked = 0

        async def scenario() -> None:
            nonlocal asked
            async with running(plane) as run:
                records = run.context.records
                one_by_one = records.endpoint

                def counted(endpoint_id: str) -> Any:
                    nonlocal asked
                    asked += 1
                    return one_by_one(endpoint_id)

                records.endpoint = counted  # type: ignore[method-assign]
                await run.until(lambda: len(run.publisher.snapshot().endpoints) == count)

        asyncio.run(scenario())
        return asked

    count = 20
    for number in range(count):
        body = {"served_entities": [entity(scale_to_zero_enabled=True)]}
        plane.activate(plane.create(name=f"ads-{number}", config=body)["id"])
    assert pick_up() == 0
