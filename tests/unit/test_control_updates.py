"""Updating, canceling, stopping, starting and rolling back the configuration of an endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from control_harness import ADMIN, BOB, ENDPOINTS, ControlPlane, control_plane, entity
from databricks.sdk.service import serving
from sqlalchemy import text

from moorage.api.errors import TemporarilyUnavailable
from moorage.control import configurations
from moorage.control.store import engine as store_engine
from moorage.control.store.endpoints import add_event
from moorage.control.store.engine import open_database, reading
from moorage.control.store.models import Deployment, Endpoint, Event

CONFIG = f"{ENDPOINTS}/ads/config"
EXTERNAL = {
    "name": "gpt",
    "external_model": {
        "name": "gpt-4.1",
        "provider": "openai",
        "task": "llm/v1/chat",
        "openai_config": {"openai_api_key_plaintext": "sk-1"},
    },
}


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        yield plane


def error(response: Any) -> tuple[int, str, str]:
    document = response.json()
    assert set(document) == {"error_code", "message"}
    return response.status_code, document["error_code"], document["message"]


def ok(response: Any) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def served(*entities: dict[str, Any], **traffic: int) -> dict[str, Any]:
    """A body of a configuration; `traffic` gives the percentages of served names."""
    body: dict[str, Any] = {"served_entities": list(entities)}
    if traffic:
        body["traffic_config"] = {
            "routes": [{"served_model_name": name, "traffic_percentage": share} for name, share in traffic.items()]
        }
    return body


def running(plane: ControlPlane, **fields: Any) -> str:
    """The id of an endpoint 'ads' that serves its first configuration."""
    identifier: str = plane.create(**fields)["id"]
    plane.activate(identifier)
    plane.clock.now += 1000
    return identifier


def put(plane: ControlPlane, body: dict[str, Any], **options: Any) -> Any:
    return plane.request("PUT", CONFIG, json=body, **options)


def post(plane: ControlPlane, verb: str, **options: Any) -> Any:
    return plane.request("POST", f"{CONFIG}:{verb}", **options)


def set_phase(plane: ControlPlane, deployment_id: str, phase: str) -> None:
    with plane.sessions.begin() as session:
        session.get_one(Deployment, deployment_id).phase = phase


def phase(plane: ControlPlane, deployment_id: str) -> tuple[str, str]:
    with reading(plane.sessions) as session:
        deployment = session.get_one(Deployment, deployment_id)
        return deployment.phase, deployment.trigger


def fail_update(plane: ControlPlane, identifier: str) -> None:
    """What the reconciler does when an entity of the pending configuration fails."""
    with plane.sessions.begin() as session:
        session.get_one(Endpoint, identifier).config_update = "UPDATE_FAILED"


# Update


def test_an_update_is_pending_while_the_old_configuration_serves(plane: ControlPlane) -> None:
    identifier = running(plane)
    plane.notifier.endpoints.clear()
    answer = ok(put(plane, {"name": "ads", **served(entity(entity_version="2"))}))
    assert answer["state"] == {"ready": "READY", "config_update": "IN_PROGRESS", "update_state": "IN_PROGRESS"}
    assert answer["config"]["config_version"] == 1
    assert answer["config"]["served_entities"][0]["entity_version"] == "1"
    pending = answer["pending_config"]
    assert (pending["config_version"], pending["start_time"]) == (2, plane.clock.now)
    assert pending["served_entities"][0]["state"]["deployment"] == "DEPLOYMENT_CREATING"
    assert answer["last_updated_timestamp"] == plane.clock.now
    assert answer == ok(plane.request("GET", f"{ENDPOINTS}/ads"))
    assert plane.notifier.endpoints == [identifier]
    assert phase(plane, plane.deployment_ids(identifier, 2)["ads1-2"]) == ("PENDING", "CONFIG_ACCEPTED")
    parsed = serving.ServingEndpointDetailed.from_dict(answer)
    assert parsed.state is not None
    assert parsed.state.config_update is serving.EndpointStateConfigUpdate.IN_PROGRESS
    assert parsed.pending_config is not None
    assert parsed.pending_config.config_version == 2


def test_an_endpoint_without_configuration_gets_its_first_one(plane: ControlPlane) -> None:
    plane.create(config=None)
    answer = ok(put(plane, served(entity())))
    assert answer["pending_config"]["config_version"] == 1
    assert answer["state"]["ready"] == "NOT_READY"


@pytest.mark.parametrize("serving_phase", ["READY", "RECOVERING"])
def test_unchanged_entities_keep_their_deployments_and_authors(plane: ControlPlane, serving_phase: str) -> None:
    a, b = entity(name="a", environment_vars={"X": "1", "Y": "2"}), entity(name="b")
    identifier = running(plane, config=served(a, b, a=50, b=50))
    before = plane.deployment_ids(identifier, 1)
    set_phase(plane, before["a"], serving_phase)
    created = ok(plane.request("GET", f"{ENDPOINTS}/ads"))["config"]["served_entities"][0]
    same = {**a, "environment_vars": {"Y": "2", "X": "1"}, "workload_size": "Small", "scale_to_zero_enabled": "false"}
    body = served(entity(name="b", entity_version="2"), same, entity(name="c"), a=90, b=10)
    answer = ok(put(plane, body, caller=ADMIN))
    after = plane.deployment_ids(identifier, 2)
    assert after["a"] == before["a"]
    assert after["b"] != before["b"]
    assert list(after) == ["b", "a", "c"]
    shown = {one["name"]: one for one in answer["pending_config"]["served_entities"]}
    assert (shown["a"]["creator"], shown["a"]["creation_timestamp"]) == (
        "ann@example.com",
        created["creation_timestamp"],
    )
    assert (shown["b"]["creator"], shown["b"]["creation_timestamp"]) == ("admin@example.com", plane.clock.now)


def test_a_change_of_traffic_alone_restarts_nothing_and_asks_no_registry(plane: ControlPlane) -> None:
    a, b = entity(name="a"), entity(name="b", entity_version="2")
    identifier = running(plane, config=served(a, b, a=100))
    plane.registry.failure = TemporarilyUnavailable("The model registry does not answer")
    answer = ok(put(plane, served(a, b, a=20, b=80)))
    assert plane.deployment_ids(identifier, 2) == plane.deployment_ids(identifier, 1)
    assert [r["traffic_percentage"] for r in answer["pending_config"]["traffic_config"]["routes"]] == [20, 80]
    plane.activate(identifier)
    assert error(put(plane, served(entity(entity_version="2"))))[:2] == (503, "TEMPORARILY_UNAVAILABLE")


@pytest.mark.parametrize(
    "change",
    [
        {"entity_version": "2"},
        {"workload_size": "Medium"},
        {"scale_to_zero_enabled": True},
        {"environment_vars": {"X": "2"}},
        {"burst_scaling_enabled": False},
        {"name": "other"},
    ],
    ids=str,
)
def test_a_changed_entity_gets_a_new_deployment(plane: ControlPlane, change: dict[str, Any]) -> None:
    identifier = running(plane, config=served(entity(name="a", environment_vars={"X": "1"})))
    ok(put(plane, served({**entity(name="a", environment_vars={"X": "1"}), **change})))
    first, second = (set(plane.deployment_ids(identifier, version).values()) for version in (1, 2))
    assert not first & second


@pytest.mark.parametrize("dead", ["FAILED", "ABORTED", "RETIRING", "RETIRED", "STARTING"])
def test_an_entity_that_does_not_serve_is_deployed_anew(plane: ControlPlane, dead: str) -> None:
    identifier = running(plane)
    set_phase(plane, plane.deployment_ids(identifier, 1)["ads1-1"], dead)
    ok(put(plane, served(entity())))
    assert plane.deployment_ids(identifier, 2) != plane.deployment_ids(identifier, 1)


def test_a_second_update_is_a_conflict_and_changes_nothing(plane: ControlPlane) -> None:
    plane.create()
    before = ok(plane.request("GET", f"{ENDPOINTS}/ads"))
    status, code, message = error(put(plane, served(entity(entity_version="2"))))
    assert (status, code) == (409, "RESOURCE_CONFLICT")
    assert "being updated" in message
    assert ok(plane.request("GET", f"{ENDPOINTS}/ads")) == before


def test_versions_count_up_also_after_failures_and_cancels(plane: ControlPlane) -> None:
    identifier = running(plane)
    fails = entity(entity_version="2")
    assert ok(put(plane, served(fails)))["pending_config"]["config_version"] == 2
    fail_update(plane, identifier)
    failed = ok(plane.request("GET", f"{ENDPOINTS}/ads"))
    assert failed["state"]["config_update"] == "UPDATE_FAILED"
    assert failed["pending_config"]["config_version"] == 2
    assert failed["config"]["config_version"] == 1
    assert ok(put(plane, served(fails)))["pending_config"]["config_version"] == 3
    ok(post(plane, "cancel"))
    assert ok(put(plane, served(fails)))["pending_config"]["config_version"] == 4


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({}, "INVALID_PARAMETER_VALUE", "at least one served entity"),
        (served(), "INVALID_PARAMETER_VALUE", "at least one served entity"),
        ({"config": served(entity())}, "INVALID_PARAMETER_VALUE", "at least one served entity"),
        (served(entity(name="a"), entity(name="b")), "INVALID_PARAMETER_VALUE", "'traffic_config' is required"),
        (served(entity(name="a"), entity(name="a"), a=100), "INVALID_PARAMETER_VALUE", "unique"),
        (served(entity(name="a"), a=90), "INVALID_PARAMETER_VALUE", "add up to 100"),
        (served(entity(name="a"), b=100), "INVALID_PARAMETER_VALUE", "no served entity"),
        (served({"entity_name": "ads1"}), "INVALID_PARAMETER_VALUE", "served_entities[0].entity_version"),
        ({"served_entities": "ads1"}, "BAD_REQUEST", "Expected an array in field 'served_entities'"),
        (
            served(entity(workload_size="Small", min_provisioned_concurrency=4, max_provisioned_concurrency=4)),
            "INVALID_PARAMETER_VALUE",
            "not both",
        ),
        (
            served(entity(min_provisioned_concurrency=4, max_provisioned_concurrency=1028)),
            "INVALID_PARAMETER_VALUE",
            "1024",
        ),
        (served(entity(), EXTERNAL, gpt=100), "INVALID_PARAMETER_VALUE", "of one kind"),
        (
            served(EXTERNAL),
            "INVALID_PARAMETER_VALUE",
            "serves custom models and cannot be updated to serve external models",
        ),
        (
            served(entity(environment_vars={"KEY": "{{secrets/team/openai}}"})),
            "INVALID_PARAMETER_VALUE",
            "'openai' of secret scope 'team'",
        ),
    ],
    ids=range(14),
)
def test_an_invalid_update_is_refused_and_changes_nothing(
    plane: ControlPlane, body: dict[str, Any], code: str, words: str
) -> None:
    running(plane)
    before = ok(plane.request("GET", f"{ENDPOINTS}/ads"))
    status, given, message = error(put(plane, body))
    assert (status, given) == (400, code)
    assert words in message
    assert "sk-1" not in message
    assert ok(plane.request("GET", f"{ENDPOINTS}/ads")) == before


def test_an_update_to_a_model_that_is_not_there_is_refused(plane: ControlPlane) -> None:
    running(plane)
    plane.registry.add("ads1", "9", status="PENDING_REGISTRATION")
    assert error(put(plane, served(entity(entity_version="5"))))[:2] == (404, "RESOURCE_DOES_NOT_EXIST")
    assert error(put(plane, served(entity(entity_version="9"))))[:2] == (400, "INVALID_PARAMETER_VALUE")


def test_what_an_endpoint_was_created_with_bounds_its_first_configuration(plane: ControlPlane) -> None:
    plane.create(config=None, route_optimized=True)
    assert error(put(plane, served(EXTERNAL)))[:2] == (400, "INVALID_PARAMETER_VALUE")
    plane.create("gated", config=None, ai_gateway={"guardrails": {"input": {"invalid_keywords": ["x"]}}})
    path = f"{ENDPOINTS}/gated/config"
    status, _, message = error(plane.request("PUT", path, json=served(entity())))
    assert (status, "ai_gateway.guardrails" in message) == (400, True)
    assert ok(plane.request("PUT", path, json=served(EXTERNAL)))["endpoint_type"] == "EXTERNAL_MODEL"


def test_auto_capture_stays_when_left_out_and_its_place_is_fixed(plane: ControlPlane) -> None:
    place = {"catalog_name": "prod", "schema_name": "logs"}
    identifier = running(plane, config={**served(entity()), "auto_capture_config": place})

    def update(capture: dict[str, Any] | None) -> Any:
        return put(plane, {**served(entity()), "auto_capture_config": capture})

    kept = ok(update(None))["pending_config"]["auto_capture_config"]
    assert (kept["table_name_prefix"], kept["enabled"]) == ("ads", True)
    plane.activate(identifier)
    for moved in ({"catalog_name": "dev", "schema_name": "logs"}, {**place, "table_name_prefix": "other"}):
        assert error(update(moved))[:2] == (400, "INVALID_PARAMETER_VALUE")
    off = ok(update({"enabled": False}))["pending_config"]["auto_capture_config"]
    assert off == {**kept, "enabled": False}
    plane.activate(identifier)
    status, _, message = error(update(place))
    assert (status, "cannot be enabled again" in message) == (400, True)
    assert ok(update({"enabled": False}))["pending_config"]["auto_capture_config"] == off


def test_auto_capture_needs_its_place_when_first_enabled(plane: ControlPlane) -> None:
    running(plane)
    body = {**served(entity()), "auto_capture_config": {"catalog_name": "prod"}}
    assert error(put(plane, body)) == (
        400,
        "INVALID_PARAMETER_VALUE",
        "Missing required field 'auto_capture_config.schema_name'",
    )


# Cancel


def test_a_canceled_update_leaves_the_old_configuration_serving(plane: ControlPlane) -> None:
    a = entity(name="a")
    identifier = running(plane, config=served(a))
    ok(put(plane, served(a, entity(name="b"), a=50, b=50)))
    answer = ok(post(plane, "cancel"))
    assert answer["state"] == {
        "ready": "READY",
        "config_update": "UPDATE_CANCELED",
        "update_state": "UPDATE_CANCELED",
    }
    assert "pending_config" not in answer
    assert answer["config"]["config_version"] == 1
    ids = plane.deployment_ids(identifier, 2)
    assert phase(plane, ids["a"])[0] == "READY"
    assert phase(plane, ids["b"]) == ("ABORTED", "UPDATE_CANCELED")
    assert error(post(plane, "cancel"))[:2] == (400, "INVALID_PARAMETER_VALUE")


def test_a_canceled_first_deployment_leaves_none(plane: ControlPlane) -> None:
    plane.create()
    answer = ok(post(plane, "cancel", json={}))
    assert answer["state"]["ready"] == "NOT_READY"
    assert answer["state"]["config_update"] == "UPDATE_CANCELED"
    assert not {"config", "pending_config", "stopped"} & set(answer)
    assert ok(put(plane, served(entity())))["pending_config"]["config_version"] == 2


def test_only_an_update_in_progress_can_be_canceled(plane: ControlPlane) -> None:
    running(plane)
    assert error(post(plane, "cancel"))[:2] == (400, "INVALID_PARAMETER_VALUE")


# Stop and start


def test_a_stopped_endpoint_keeps_its_configuration_and_says_so(plane: ControlPlane) -> None:
    identifier = running(plane)
    answer = ok(post(plane, "stop"))
    assert answer["stopped"] is True
    assert answer["state"] == {"ready": "NOT_READY", "config_update": "NOT_UPDATING", "update_state": "NOT_UPDATING"}
    assert answer["config"]["config_version"] == 1
    assert "stopped" in answer["config"]["served_entities"][0]["state"]["deployment_state_message"]
    assert answer["config"]["served_models"][0]["state"] == answer["config"]["served_entities"][0]["state"]
    assert phase(plane, plane.deployment_ids(identifier)["ads1-1"]) == ("RETIRING", "ENDPOINT_STOPPED")
    assert plane.notifier.endpoints[-1] == identifier
    (summary,) = ok(plane.request("GET", ENDPOINTS))["endpoints"]
    assert (summary["stopped"], summary["state"]["ready"]) == (True, "NOT_READY")
    assert serving.ServingEndpointDetailed.from_dict(answer).config is not None
    rollback = post(plane, "rollback", json={"config_version": 1})
    for refused in (post(plane, "stop"), put(plane, served(entity())), rollback):
        assert error(refused)[:2] == (400, "INVALID_PARAMETER_VALUE")
    assert "start it first" in error(put(plane, served(entity())))[2]
    assert ok(plane.request("DELETE", f"{ENDPOINTS}/ads")) == {}


def test_a_start_deploys_the_same_configuration_as_a_new_version(plane: ControlPlane) -> None:
    capture = {"catalog_name": "prod", "schema_name": "logs"}
    a, b = entity(name="a", environment_vars={"X": "1"}), entity(name="b", workload_size="Medium")
    identifier = running(plane, config={**served(a, b, a=30, b=70), "auto_capture_config": capture})
    before = ok(plane.request("GET", f"{ENDPOINTS}/ads"))["config"]
    ok(post(plane, "stop"))
    plane.clock.now += 1000
    answer = ok(post(plane, "start", caller=ADMIN))
    assert "stopped" not in answer
    assert (answer["state"]["ready"], answer["state"]["config_update"]) == ("NOT_READY", "IN_PROGRESS")
    pending = answer["pending_config"]
    assert (pending["config_version"], pending["start_time"]) == (2, plane.clock.now)
    for part in ("traffic_config", "auto_capture_config"):
        assert pending[part] == before[part]
    for old, new in zip(before["served_entities"], pending["served_entities"], strict=True):
        assert {**old, "state": None} == {**new, "state": None}
    assert not set(plane.deployment_ids(identifier, 1).values()) & set(plane.deployment_ids(identifier, 2).values())
    assert error(post(plane, "start"))[:2] == (400, "INVALID_PARAMETER_VALUE")
    assert error(post(plane, "stop"))[:2] == (409, "RESOURCE_CONFLICT")


def test_a_start_that_is_canceled_leaves_the_endpoint_stopped(plane: ControlPlane) -> None:
    running(plane)
    ok(post(plane, "stop"))
    ok(post(plane, "start"))
    answer = ok(post(plane, "cancel"))
    assert answer["stopped"] is True
    assert answer["state"]["config_update"] == "UPDATE_CANCELED"
    assert ok(post(plane, "start"))["pending_config"]["config_version"] == 3


def test_a_stop_ends_a_failed_update_too(plane: ControlPlane) -> None:
    identifier = running(plane)
    ok(put(plane, served(entity(entity_version="2"))))
    fail_update(plane, identifier)
    answer = ok(post(plane, "stop"))
    assert answer["state"]["config_update"] == "NOT_UPDATING"
    assert "pending_config" not in answer
    assert phase(plane, plane.deployment_ids(identifier, 2)["ads1-2"])[0] == "RETIRING"


def test_what_cannot_be_stopped_or_started(plane: ControlPlane) -> None:
    plane.create()
    assert error(post(plane, "stop"))[:2] == (409, "RESOURCE_CONFLICT")
    ok(post(plane, "cancel"))
    assert error(post(plane, "stop"))[:2] == (400, "INVALID_PARAMETER_VALUE")
    assert error(post(plane, "start"))[:2] == (400, "INVALID_PARAMETER_VALUE")
    plane.activate(plane.create("fast", route_optimized=True)["id"])
    status, _, message = error(plane.request("POST", f"{ENDPOINTS}/fast/config:stop"))
    assert (status, "route optimized" in message) == (400, True)
    with plane.sessions.begin() as session:
        session.query(Endpoint).filter_by(name="fast").one().kind = "EXTERNAL_MODEL"
    status, _, message = error(plane.request("POST", f"{ENDPOINTS}/fast/config:stop"))
    assert (status, "custom models" in message) == (400, True)


# History and rollback


def test_the_history_says_who_changed_what_and_when(plane: ControlPlane) -> None:
    identifier = running(plane)
    started = plane.clock.now
    ok(put(plane, served(entity(entity_version="2")), caller=ADMIN))
    newest, oldest = ok(plane.request("GET", f"{ENDPOINTS}/ads/config-versions"))["config_versions"]
    detail = ok(plane.request("GET", f"{ENDPOINTS}/ads"))
    pending = {key: value for key, value in detail["pending_config"].items() if key != "start_time"}
    assert newest == {
        "config_version": 2,
        "created_by": "admin@example.com",
        "creation_timestamp": started,
        "config": pending,
        "active": False,
        "pending": True,
    }
    assert (oldest["config_version"], oldest["created_by"]) == (1, "ann@example.com")
    assert (oldest["active"], oldest["pending"]) == (True, False)
    assert oldest["config"] == detail["config"]
    plane.activate(identifier)
    later = ok(plane.request("GET", f"{ENDPOINTS}/ads/config-versions/"))["config_versions"]
    assert [version["active"] for version in later] == [True, False]


def test_an_endpoint_without_configuration_has_no_history(plane: ControlPlane) -> None:
    plane.create(config=None)
    assert ok(plane.request("GET", f"{ENDPOINTS}/ads/config-versions")) == {"config_versions": []}


def test_a_rollback_makes_a_new_version_of_an_old_one(plane: ControlPlane) -> None:
    a, b = entity(name="a"), entity(name="b", environment_vars={"X": "1"})
    identifier = running(plane, config=served(a, b, a=25, b=75))
    ok(put(plane, {**served(a), "auto_capture_config": {"catalog_name": "prod", "schema_name": "logs"}}))
    plane.activate(identifier)
    answer = ok(post(plane, "rollback", json={"config_version": "1"}, caller=ADMIN))
    pending = answer["pending_config"]
    assert pending["config_version"] == 3
    assert [one["name"] for one in pending["served_entities"]] == ["a", "b"]
    assert pending["served_entities"][1]["environment_vars"] == {"X": "1"}
    assert [r["traffic_percentage"] for r in pending["traffic_config"]["routes"]] == [25, 75]
    assert pending["auto_capture_config"]["enabled"] is True  # this setting has no way back
    first, third = plane.deployment_ids(identifier, 1), plane.deployment_ids(identifier, 3)
    assert third["a"] == first["a"]
    assert third["b"] != first["b"]
    assert error(post(plane, "rollback", json={"config_version": 1}))[:2] == (409, "RESOURCE_CONFLICT")


def test_a_rollback_to_what_is_not_there_is_refused(plane: ControlPlane) -> None:
    identifier = running(plane)
    ok(put(plane, served(entity(entity_version="2"))))
    plane.activate(identifier)
    assert error(post(plane, "rollback", json={"config_version": 7})) == (
        404,
        "RESOURCE_DOES_NOT_EXIST",
        "Endpoint 'ads' has no configuration version 7.",
    )
    for body in ({}, {"config_version": 0}):
        assert error(post(plane, "rollback", json=body))[:2] == (400, "INVALID_PARAMETER_VALUE")
    assert error(post(plane, "rollback", json={"config_version": "x"}))[:2] == (400, "BAD_REQUEST")
    del plane.registry.versions["ads1", "1"]
    assert error(post(plane, "rollback", json={"config_version": 1}))[:2] == (404, "RESOURCE_DOES_NOT_EXIST")


# Limits


def test_the_workspace_has_a_bounded_concurrency_that_stopping_frees(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configurations, "MOST_CONCURRENCY", 24)
    running(plane, config=served(entity(workload_size="Medium")))  # 16 of 24
    medium = {"name": "more", "config": served(entity(workload_size="Medium"))}
    status, code, message = error(plane.request("POST", ENDPOINTS, json=medium))
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert message.startswith("Workspace exceeded provisioned concurrency quota")
    assert [e["name"] for e in ok(plane.request("GET", ENDPOINTS))["endpoints"]] == ["ads"]
    assert error(put(plane, served(entity(workload_size="Large"))))[:2] == (400, "INVALID_PARAMETER_VALUE")
    ok(post(plane, "stop"))
    plane.activate(ok(plane.request("POST", ENDPOINTS, json=medium))["id"])
    assert "quota" in error(post(plane, "start"))[2]
    ok(plane.request("DELETE", f"{ENDPOINTS}/more"))
    ok(post(plane, "start"))


def test_an_update_replaces_what_the_endpoint_counts_for(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configurations, "MOST_CONCURRENCY", 16)
    running(plane, config=served(entity(workload_size="Medium")))
    ok(put(plane, served(entity(workload_size="Medium", entity_version="2"))))


def test_the_workspace_has_a_bounded_number_of_endpoints(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configurations, "MOST_ENDPOINTS", 2)
    plane.create("a", config=None)
    plane.create("b")
    response = plane.request("POST", ENDPOINTS, json={"name": "c"})
    assert error(response)[:2] == (400, "INVALID_PARAMETER_VALUE")
    ok(plane.request("DELETE", f"{ENDPOINTS}/a"))
    plane.create("c")


# For all of them

CALLS = [
    ("PUT", "/config", served(entity()), "CAN_MANAGE"),
    ("POST", "/config:cancel", None, "CAN_MANAGE"),
    ("POST", "/config:stop", None, "CAN_MANAGE"),
    ("POST", "/config:start", None, "CAN_MANAGE"),
    ("POST", "/config:rollback", {"config_version": 1}, "CAN_MANAGE"),
    ("GET", "/config-versions", None, "CAN_VIEW"),
]


@pytest.mark.parametrize(("method", "path", "body", "level"), CALLS, ids=[call[1] for call in CALLS])
def test_others_are_refused_and_an_unknown_endpoint_is_not_found(
    plane: ControlPlane, method: str, path: str, body: Any, level: str
) -> None:
    running(plane)
    for slash in ("", "/"):
        assert error(plane.request(method, f"{ENDPOINTS}/ads{path}{slash}", BOB, json=body)) == (
            403,
            "PERMISSION_DENIED",
            f"User 'bob@example.com' does not have {level} permission on serving endpoint 'ads'.",
        )
    assert error(plane.request(method, f"{ENDPOINTS}/nosuch{path}", json=body)) == (
        404,
        "RESOURCE_DOES_NOT_EXIST",
        "Endpoint with name 'nosuch' not found.",
    )


def test_each_change_leaves_an_event(plane: ControlPlane) -> None:
    identifier = running(plane)
    ok(put(plane, served(entity(entity_version="2"))))
    ok(post(plane, "cancel"))
    ok(post(plane, "stop"))
    ok(post(plane, "start"))
    with reading(plane.sessions) as session:
        events = session.query(Event).filter_by(endpoint_id=identifier).order_by(Event.id).all()
    assert [(e.event_type, e.status, e.trigger) for e in events[1:]] == [
        ("CONFIG_UPDATE_ACCEPTED", "SUCCESS", "CONFIG_ACCEPTED"),
        ("CONFIG_UPDATE_CANCELED", "SUCCESS", "UPDATE_CANCELED"),
        ("ENDPOINT_STOPPED", "SUCCESS", "ENDPOINT_STOPPED"),
        ("ENDPOINT_STARTED", "SUCCESS", "CONFIG_ACCEPTED"),
    ]
    assert all("ann@example.com" in e.message for e in events)


def test_the_events_of_an_endpoint_are_bounded(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moorage.control.store.endpoints._KEPT_EVENTS", 3)
    with plane.sessions.begin() as session:
        for number in range(5):
            add_event(session, Event(**_event("x", number)))
        add_event(session, Event(**_event("y", 9)))
    with reading(plane.sessions) as session:
        assert [e.message for e in session.query(Event).order_by(Event.id)] == ["2", "3", "4", "9"]


def test_events_that_were_overtaken_are_not_older_than_those_before_them(plane: ControlPlane) -> None:
    with plane.sessions.begin() as session:
        for number in (50_000, 49_997, 50_001, 40_000, 40_002):
            add_event(session, Event(**_event("x", number)))
    with reading(plane.sessions) as session:
        times = [e.timestamp for e in session.query(Event).order_by(Event.id)]
    assert times == [50_000, 50_000, 50_001, 40_000, 40_002]  # the clock was set back after the third


def _event(endpoint_id: str, number: int) -> dict[str, Any]:
    return {
        "endpoint_id": endpoint_id,
        "endpoint_name": "ads",
        "event_type": "ENDPOINT_EVENT",
        "status": "SUCCESS",
        "message": str(number),
        "timestamp": number,
    }


def test_the_migration_fills_in_what_older_rows_lack(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "old.db")
    with engine.begin() as connection:
        config = store_engine._alembic_config(connection)
        command.upgrade(config, "0001")
        connection.execute(
            text(
                "INSERT INTO endpoints (id, name, creator, creator_id, creation_timestamp, last_updated_timestamp,"
                " description, route_optimized, tags, config_update, last_version, deleting) VALUES"
                " ('a', 'ads', 'ann', '1', 1, 1, '', 0, '[]', 'NOT_UPDATING', 1, 0),"
                " ('b', 'bare', 'ann', '1', 1, 1, '', 0, '[]', 'NOT_UPDATING', 0, 0)"
            )
        )
        specs = ['{"workload_size": "Medium"}', '{"max_provisioned_concurrency": 40}', "{}"]
        for number, spec in enumerate(specs):
            connection.execute(
                text(
                    "INSERT INTO deployments (id, endpoint_id, served_name, spec, creator, creation_timestamp, phase,"
                    " message, trigger, failures) VALUES (:id, 'a', 's', :spec, 'ann', 1, 'READY', '', '', 0)"
                ),
                {"id": str(number), "spec": spec},
            )
        command.upgrade(config, "head")
        endpoints = connection.execute(text("SELECT id, kind, stopped FROM endpoints ORDER BY id")).all()
        most = connection.execute(text("SELECT max_concurrency FROM deployments ORDER BY id")).scalars().all()
        command.downgrade(config, "0001")
    engine.dispose()
    assert endpoints == [("a", "CUSTOM_MODEL", 0), ("b", None, 0)]
    assert most == [16, 40, 4]
