"""What becomes of a deployment whose secrets change, with compute made up."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import test_reconciler
from control_harness import ANN, ControlPlane, control_plane, entity
from test_reconciler import _quick, running  # noqa: F401  (the fixture is used by being here)

WORDS = "The secret {{secrets/team/token}} of environment variable KEY cannot be read: it does not exist."


@pytest.fixture
def plane(tmp_path: Path) -> Any:
    with control_plane(tmp_path) as one:
        post(one, "scopes/create", scope="team")
        put(one, "first")
        yield one


def post(plane: ControlPlane, path: str, **body: str) -> None:
    answer = plane.request("POST", f"/api/2.0/secrets/{path}", ANN, json=body)
    assert answer.status_code == 200, answer.text


def put(plane: ControlPlane, value: str) -> None:
    post(plane, "put", scope="team", key="token", string_value=value)


def uses_a_secret(**more: Any) -> dict[str, Any]:
    return {"served_entities": [entity(environment_vars={"KEY": "{{secrets/team/token}}", "MODE": "x"}, **more)]}


def test_each_replica_gets_the_value_of_its_start_and_its_spec_does_not_show_it(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            run.create(config=uses_a_secret())
            await run.ready()
            put(plane, "second")
            [first] = run.compute.started
            run.compute.kill(first.replica_id)
            await run.until(lambda: len(run.compute.started) == 2)
            values = [spec.variables for spec in run.compute.started]
            assert values == [{"KEY": "first", "MODE": "x"}, {"KEY": "second", "MODE": "x"}]
            assert "first" not in repr(first)

    asyncio.run(scenario())


def test_a_secret_that_is_gone_fails_a_new_deployment_before_anything_is_built(plane: ControlPlane) -> None:
    async def scenario() -> None:
        async with running(plane) as run:
            created = plane.create(config=uses_a_secret())
            post(plane, "delete", scope="team", key="token")
            run.reconciler.endpoint_changed(created["id"])
            await run.until(lambda: run.detail()["state"]["config_update"] == "UPDATE_FAILED")
            assert (run.builder.builds, run.compute.started) == (0, [])
            assert any(WORDS in message for message in run.messages(created["id"]))

    asyncio.run(scenario())


def test_a_deployment_that_served_recovers_once_its_secret_is_back(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    # After the last of these it would try once a minute.
    patient = test_reconciler.plane_settings(plane).model_copy(update={"replica_restart_attempts": 20})
    monkeypatch.setattr(test_reconciler, "plane_settings", lambda _: patient)

    async def scenario() -> None:
        async with running(plane) as run:
            endpoint_id = run.create(config=uses_a_secret())
            await run.ready()
            post(plane, "delete", scope="team", key="token")
            run.compute.kill(run.compute.started[0].replica_id)
            await run.until(lambda: any(WORDS in message for message in run.messages(endpoint_id)))
            assert len(run.compute.started) == 1
            put(plane, "again")
            await run.until(lambda: len(run.compute.started) == 2)
            await run.ready()
            assert run.compute.started[1].variables["KEY"] == "again"

    asyncio.run(scenario())
