"""Models served by stage where one thing happens beside another: who reads, who leaves, and in which order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from control_harness import ADMIN, ANN, BOB, ENDPOINTS, ControlPlane, control_plane
from test_reconciler import Running, running

from moorage.api.errors import InvalidParameterValue, TemporarilyUnavailable
from moorage.api.registry_access import RegistryRequest
from moorage.api.routing import Principal
from moorage.control.legacy import stages as watching
from moorage.control.legacy.stages import StageWatcher, model_gone
from moorage.control.notification_texts import Outcome
from moorage.control.notifications import Outbox
from moorage.control.reconciler.records import Records
from moorage.control.registry_access import RegistryAccess
from moorage.control.store import legacy, registered_models
from moorage.control.store.engine import reading
from moorage.control.store.models import Deployment, Endpoint, Notification
from moorage.gateway.registry_access import gated_operation
from moorage.registry.client import ModelVersion

V2 = "/api/2.0/preview/mlflow/endpoints-v2"
TRANSITION = "/api/2.0/mlflow/databricks/model-versions/transition-stage"
MODEL, OTHER = "ads1", "prod.ml.fraud"
SERVICE = Principal(id="service", user_name="moorage-control-plane", reads_every_model=True)


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        with plane.sessions.begin() as session:
            registered_models.record_owner(session, MODEL, ANN.id)
        yield plane


def enable(plane: ControlPlane, model: str = MODEL) -> str:
    """Serve the model by stage; the id of its endpoint."""
    answer = plane.request("POST", f"{V2}/enable", ADMIN, json={"registered_model_name": model})
    assert answer.status_code == 200, answer.text
    with reading(plane.sessions) as session:
        found = legacy.find(session, model)
        assert found is not None
        return found[1].id


def tell(plane: ControlPlane, method: str, operation: str, who: Principal = BOB, **given: str) -> None:
    """The registry has done it for that user."""
    access: RegistryAccess = plane.client.app.state.registry_access  # type: ignore[attr-defined]
    body = json.dumps(given).encode()
    decision = access.decide(RegistryRequest(principal=who, method=method, operation=operation, query="", body=body))
    assert decision.ticket is not None
    access.review(decision.ticket, b"{}")


def served_models(plane: ControlPlane) -> dict[str, str]:
    """The ids of endpoints by the model that they serve by stage."""
    with reading(plane.sessions) as session:
        return {row.registered_model_name: endpoint.id for row, endpoint in legacy.all_models(session)}


def test_who_has_no_right_is_not_told_which_versions_there_are(plane: ControlPlane) -> None:
    answers = [
        plane.request("POST", TRANSITION, BOB, json={"name": MODEL, "version": version, "stage": "Staging"})
        for version in ("1", "99")
    ]
    assert [one.status_code for one in answers] == [403, 403]
    assert answers[0].json()["message"] == answers[1].json()["message"]


def test_who_is_no_administrator_moves_versions_through_the_gate_alone() -> None:
    path = "/api/2.0/mlflow/model-versions/transition-stage"
    for caller in (SERVICE, BOB):
        assert gated_operation(caller, "POST", path) == "model-versions/transition-stage"
    assert gated_operation(SERVICE, "POST", "/api/2.0/mlflow/registered-models/alias") == "registered-models/alias"


@pytest.mark.parametrize("operation", ["create", "rename"])
def test_another_model_of_the_same_name_does_not_inherit_the_serving(plane: ControlPlane, operation: str) -> None:
    """It would run as the user who enabled the earlier one, though nobody has enabled it."""
    plane.registry.add(MODEL, "1", stage="Production")
    left = enable(plane)
    with plane.sessions.begin() as session:
        registered_models.record_owner(session, "bobs", BOB.id)
    if operation == "create":
        tell(plane, "POST", "registered-models/create", name=MODEL)
    else:
        tell(plane, "POST", "registered-models/rename", name="bobs", new_name=MODEL)
    assert served_models(plane) == {}
    assert plane.notifier.endpoints[-1] == left
    with reading(plane.sessions) as session:
        assert session.get_one(Endpoint, left).deleting


def test_a_served_model_renamed_to_a_name_that_was_served_keeps_its_own_endpoint(plane: ControlPlane) -> None:
    left, own = enable(plane, OTHER), enable(plane)
    plane.notifier.endpoints.clear()
    tell(plane, "POST", "registered-models/rename", ANN, name=MODEL, new_name=OTHER)
    assert served_models(plane) == {OTHER: own}
    assert plane.notifier.endpoints == sorted([left, own])


def test_what_was_wrong_with_the_old_name_is_not_wrong_with_the_new_one(plane: ControlPlane) -> None:
    """The registry may be looked at between its rename and the word of it."""
    enable(plane)
    with plane.sessions.begin() as session:
        found = legacy.find(session, MODEL)
        assert found is not None
        found[0].problem = model_gone(MODEL)
    tell(plane, "POST", "registered-models/rename", ANN, name=MODEL, new_name="better")
    status = plane.request("GET", f"{V2}/get-status", ADMIN, params={"registered_model_name": "better"}).json()
    assert status["endpoint_status"]["state"] == "PENDING"


def test_a_model_that_was_moved_while_serving_was_enabled_is_looked_at(plane: ControlPlane) -> None:
    """The registry's newest change may be another model's by then, and this one's of an answer before."""
    enable(plane, OTHER)
    told: list[str] = []
    watcher = StageWatcher(plane.sessions, plane.registry, told.append, plane.clock)
    watcher.poll()
    endpoint_id = enable(plane)
    plane.registry.add(MODEL, "1", stage="Staging")
    plane.registry.changes = {OTHER: plane.clock() + 5}
    watcher.poll()
    assert told == [endpoint_id]
    watcher.poll()
    assert told == [endpoint_id]


def test_a_name_that_cannot_be_asked_for_holds_up_no_other_model(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    enable(plane)
    fraud = enable(plane, OTHER)
    plane.registry.add(OTHER, "3", stage="Staging")
    versions = plane.registry.model_versions

    def model_versions(name: str) -> list[ModelVersion]:
        if name == MODEL:  # the first of the two
            raise InvalidParameterValue("The model registry cannot be asked for that")
        return versions(name)

    monkeypatch.setattr(plane.registry, "model_versions", model_versions)
    told: list[str] = []
    StageWatcher(plane.sessions, plane.registry, told.append, plane.clock).poll()
    assert told == [fraud]


def test_a_look_at_all_models_that_failed_is_made_up_for_at_once(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(watching, "time", SimpleNamespace(monotonic=lambda: now))
    endpoint_id = enable(plane)
    told: list[str] = []
    watcher = StageWatcher(plane.sessions, plane.registry, told.append, plane.clock)
    watcher.poll()
    plane.registry.add(MODEL, "1", stage="Staging")  # past the list of changes, as at a registry that keeps none
    now += 100
    with monkeypatch.context() as silent:
        silent.setattr(plane.registry, "model_versions", Mock(side_effect=TemporarilyUnavailable("No answer")))
        with pytest.raises(TemporarilyUnavailable):
            watcher.poll()
    now += 1
    watcher.poll()
    assert told == [endpoint_id]


def test_reading_logs_is_no_change_for_the_audit_log(plane: ControlPlane) -> None:
    plane.registry.add(MODEL, "1", stage="Staging")
    enable(plane)
    of_version = {"registered_model_name": MODEL, "endpoint_version_name": "1"}
    for operation in ("get-version-logs", "get-version-build-logs"):
        assert plane.request("POST", f"{V2}/{operation}", ANN, json=of_version).status_code == 200
    answer = plane.request("GET", "/api/2.0/audit-log", ADMIN)
    found = [(one["action"], one["object_id"]) for one in answer.json()["entries"]]
    assert found == [("enable_serving", MODEL)]


@pytest.mark.parametrize(("phase", "outcome"), [("READY", Outcome.SUCCEEDED), ("FAILED", Outcome.FAILED)])
def test_the_end_of_a_transition_is_notified(plane: ControlPlane, phase: str, outcome: Outcome) -> None:
    plane.registry.add(MODEL, "1", stage="Staging")
    endpoint_id = enable(plane)
    records = Records(plane.sessions, Outbox(webhook=True))

    def follow() -> None:
        record = records.endpoint(endpoint_id)
        assert record is not None
        wanted = record.plan()
        assert wanted is not None
        assert records.follow_stages(record, wanted, plane.clock())

    def notified() -> list[tuple[str, str]]:
        with reading(plane.sessions) as session:
            return [(one.outcome, one.message) for one in session.query(Notification)]

    follow()
    assert notified() == []
    with plane.sessions.begin() as session:
        for one in session.query(Deployment).filter_by(endpoint_id=endpoint_id):
            one.phase, one.message = phase, "No weights."
    follow()
    words = "The configuration serves." if phase == "READY" else "ads1-1: No weights."
    assert notified() == [(outcome, words)]


def test_requests_move_before_the_change_is_shown(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads that version 2 answers for the stage can rely on it."""
    plane.registry.add(MODEL, "1", stage="Staging")

    def seen(run: Running) -> tuple[str, str, str]:
        """Who answers for the stage: as gateways are told, and as the API shows it, with its update."""
        detail: dict[str, Any] = plane.request("GET", f"{ENDPOINTS}/{MODEL}", ADMIN).json()
        [shown] = [one["endpoint_version_name"] for one in detail["legacy_serving"]["aliases"]] or [""]
        route = run.route(MODEL)
        told = route.legacy.aliases.get("Staging", "") if route is not None and route.legacy is not None else ""
        return told, shown, detail["state"]["config_update"]

    async def scenario() -> None:
        async with running(plane) as run:
            run.reconciler.endpoint_changed(enable(plane))
            await run.ready(MODEL)
            await run.until(lambda: seen(run) == ("ads1-1", "1", "NOT_UPDATING"))
            follow, before = Records.follow_stages, []

            def watched(records: Records, *given: Any) -> bool:
                before.append(seen(run))
                return follow(records, *given)

            monkeypatch.setattr(Records, "follow_stages", watched)
            plane.registry.add(MODEL, "2", stage="Staging")
            plane.registry.add(MODEL, "1", stage="Archived")
            plane.client.app.state.stage_watcher.look(MODEL)  # type: ignore[attr-defined]
            run.reconciler.endpoint_changed(served_models(plane)[MODEL])
            await run.until(lambda: seen(run) == ("ads1-2", "2", "NOT_UPDATING"))
            assert before == [("ads1-1", "1", "NOT_UPDATING"), ("ads1-2", "1", "IN_PROGRESS")]

    asyncio.run(scenario())
