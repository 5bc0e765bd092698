"""Creating, reading, listing and deleting serving endpoints through the control plane's API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from control_harness import ADMIN, ANN, BOB, ENDPOINTS, ControlPlane, control_plane, entity
from databricks.sdk.service import serving

from moorage.api.errors import TemporarilyUnavailable
from moorage.control.store.engine import reading
from moorage.control.store.models import Deployment, Endpoint


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        yield plane


def error(response: Any) -> tuple[int, str, str]:
    document = response.json()
    return response.status_code, document["error_code"], document["message"]


def test_a_new_endpoint_is_not_ready_and_has_its_first_config_pending(plane: ControlPlane) -> None:
    created = plane.create("ads", description="click prediction", tags=[{"key": "team", "value": "ml"}, {"key": "x"}])
    identifier = created["id"]
    assert len(identifier) == 32
    assert set(identifier) <= set("0123456789abcdef")
    served = {
        "name": "ads1-1",
        "workload_size": "Small",
        "workload_type": "CPU",
        "scale_to_zero_enabled": False,
        "creator": "ann@example.com",
        "creation_timestamp": plane.clock.now,
        "state": {"deployment": "DEPLOYMENT_CREATING", "deployment_state_message": "Creating"},
    }
    assert created == {
        "name": "ads",
        "id": identifier,
        "creator": "ann@example.com",
        "creation_timestamp": plane.clock.now,
        "last_updated_timestamp": plane.clock.now,
        "state": {"ready": "NOT_READY", "config_update": "IN_PROGRESS", "update_state": "IN_PROGRESS"},
        "pending_config": {
            "config_version": 1,
            "start_time": plane.clock.now,
            "served_entities": [{**served, "entity_name": "ads1", "entity_version": "1"}],
            "served_models": [{**served, "model_name": "ads1", "model_version": "1"}],
            "traffic_config": {
                "routes": [{"served_model_name": "ads1-1", "served_entity_name": "ads1-1", "traffic_percentage": 100}]
            },
        },
        "tags": [{"key": "team", "value": "ml"}, {"key": "x", "value": ""}],
        "description": "click prediction",
        "permission_level": "CAN_MANAGE",
        "route_optimized": False,
    }
    assert plane.request("GET", f"{ENDPOINTS}/ads").json() == created


def test_the_reconciler_is_told_after_the_rows_are_there(plane: ControlPlane) -> None:
    created = plane.create()
    assert plane.notifier.endpoints == [created["id"]]
    assert plane.notifier.committed == [True]
    deployment_id = plane.deployment_ids(created["id"])["ads1-1"]
    with reading(plane.sessions) as session:
        deployment = session.get_one(Deployment, deployment_id)
    assert (deployment.phase, deployment.trigger) == ("PENDING", "CONFIG_ACCEPTED")
    assert deployment.spec["entity_version"] == "1"


def test_every_optional_part_is_stored_and_echoed(plane: ControlPlane) -> None:
    gateway = {
        "rate_limits": [{"calls": 10, "renewal_period": "minute", "key": "user", "principal": "ann@example.com"}],
        "usage_tracking_config": {"enabled": True},
        "inference_table_config": {"enabled": True, "catalog_name": "prod", "schema_name": "gateway"},
    }
    detail = plane.create(
        config={
            "served_entities": [
                entity(
                    name="a",
                    min_provisioned_concurrency="4",
                    max_provisioned_concurrency="8",
                    workload_type="GPU_SMALL",
                    environment_vars={"MODE": "fast"},
                    instance_profile_arn="arn:x",
                    burst_scaling_enabled=False,
                ),
                entity(name="b", entity_name="prod.ml.fraud", entity_version=3, workload_size="Large"),
            ],
            "traffic_config": {
                "routes": [
                    {"served_model_name": "a", "traffic_percentage": "90"},
                    {"served_entity_name": "b", "traffic_percentage": 10},
                ]
            },
            "auto_capture_config": {"catalog_name": "prod", "schema_name": "logs"},
        },
        ai_gateway=gateway,
        budget_policy_id="policy-1",
        route_optimized="true",
        email_notifications={"on_update_failure": ["ann@example.com"]},
        telemetry_config={"table_names": {"logs_table": "a.b.c"}, "enabled_telemetry_features": []},
        rate_limits=[{"calls": 1, "renewal_period": "minute"}],
    )
    assert detail == plane.request("GET", f"{ENDPOINTS}/ads").json()
    first, second = detail["pending_config"]["served_entities"]
    assert "workload_size" not in first
    assert "burst_scaling_enabled" not in first
    assert (first["min_provisioned_concurrency"], first["max_provisioned_concurrency"]) == (4, 8)
    assert (first["workload_type"], first["environment_vars"]) == ("GPU_SMALL", {"MODE": "fast"})
    assert first["instance_profile_arn"] == "arn:x"
    assert (second["entity_name"], second["entity_version"]) == ("prod.ml.fraud", "3")
    assert second["workload_size"] == "Large"
    assert [r["traffic_percentage"] for r in detail["pending_config"]["traffic_config"]["routes"]] == [90, 10]
    assert detail["pending_config"]["auto_capture_config"] == {
        "catalog_name": "prod",
        "schema_name": "logs",
        "table_name_prefix": "ads",
        "enabled": True,
        "state": {"payload_table": {"name": "ads_payload"}},
    }
    assert detail["ai_gateway"] == gateway
    assert detail["budget_policy_id"] == "policy-1"
    assert detail["email_notifications"] == {"on_update_failure": ["ann@example.com"]}
    assert set(detail["telemetry_config"]) == {"enabled_telemetry_features", "telemetry_profile_id"}
    assert detail["endpoint_url"].startswith("https://models.example.com/")
    assert detail["data_plane_info"]["query_info"]["endpoint_url"] == detail["endpoint_url"]
    assert "rate_limits" not in detail


def test_telemetry_that_names_no_place_is_discarded(plane: ControlPlane) -> None:
    assert "telemetry_config" not in plane.create(telemetry_config={"enabled_telemetry_features": []})


def test_the_older_list_creates_the_same_endpoint(plane: ControlPlane) -> None:
    old = {
        "model_name": "prod.ml.fraud",
        "model_version": 3,
        "scale_to_zero_enabled": "true",
        "workload_size": "Small",
    }
    detail = plane.create(config={"served_models": [old]})
    (served,) = detail["pending_config"]["served_entities"]
    assert (served["name"], served["entity_name"], served["entity_version"]) == ("fraud-3", "prod.ml.fraud", "3")
    assert served["scale_to_zero_enabled"] is True


def test_an_endpoint_without_config_waits_for_one(plane: ControlPlane) -> None:
    detail = plane.create(config=None)
    assert detail["state"] == {"ready": "NOT_READY", "config_update": "NOT_UPDATING", "update_state": "NOT_UPDATING"}
    assert not {"config", "pending_config"} & set(detail)


def test_a_ready_endpoint_shows_its_active_config(plane: ControlPlane) -> None:
    plane.activate(plane.create()["id"])
    detail = plane.request("GET", f"{ENDPOINTS}/ads").json()
    assert detail["state"] == {"ready": "READY", "config_update": "NOT_UPDATING", "update_state": "NOT_UPDATING"}
    assert "pending_config" not in detail
    assert "start_time" not in detail["config"]
    assert detail["config"]["served_entities"][0]["state"] == {
        "deployment": "DEPLOYMENT_READY",
        "deployment_state_message": "",
    }


def test_one_entity_that_is_not_ready_makes_the_endpoint_not_ready(plane: ControlPlane) -> None:
    created = plane.create(
        config={
            "served_entities": [entity(name="a"), entity(name="b")],
            "traffic_config": {"routes": [{"served_entity_name": "a", "traffic_percentage": 100}]},
        }
    )
    plane.activate(created["id"])
    with plane.sessions.begin() as session:
        lost = session.get_one(Deployment, plane.deployment_ids(created["id"])["b"])
        lost.phase, lost.message = "RECOVERING", "replica exited with status 1"
    detail = plane.request("GET", f"{ENDPOINTS}/ads").json()
    assert detail["state"]["ready"] == "NOT_READY"
    assert detail["config"]["served_entities"][1]["state"] == {
        "deployment": "DEPLOYMENT_RECOVERING",
        "deployment_state_message": "replica exited with status 1",
    }


def test_a_failed_first_deployment_keeps_its_pending_config(plane: ControlPlane) -> None:
    created = plane.create()
    with plane.sessions.begin() as session:
        session.get_one(Endpoint, created["id"]).config_update = "UPDATE_FAILED"
        deployment = session.get_one(Deployment, plane.deployment_ids(created["id"])["ads1-1"])
        deployment.phase, deployment.message = "FAILED", "no matching distribution for nosuch==1"
    detail = plane.request("GET", f"{ENDPOINTS}/ads").json()
    assert detail["state"]["config_update"] == "UPDATE_FAILED"
    assert detail["state"]["ready"] == "NOT_READY"
    state = detail["pending_config"]["served_entities"][0]["state"]
    assert state["deployment"] == "DEPLOYMENT_FAILED"
    assert "nosuch" in state["deployment_state_message"]


def test_the_sdk_reads_what_we_answer(plane: ControlPlane) -> None:
    created = plane.create(route_optimized=True, tags=[{"key": "team", "value": "ml"}])
    pending = serving.ServingEndpointDetailed.from_dict(created)
    assert pending.id == created["id"]
    assert pending.state is not None
    assert pending.state.ready is serving.EndpointStateReady.NOT_READY
    assert pending.state.config_update is serving.EndpointStateConfigUpdate.IN_PROGRESS
    assert pending.pending_config is not None
    assert pending.pending_config.start_time == plane.clock.now
    assert pending.permission_level is serving.ServingEndpointDetailedPermissionLevel.CAN_MANAGE
    assert pending.data_plane_info is not None

    plane.activate(created["id"])
    ready = serving.ServingEndpointDetailed.from_dict(plane.request("GET", f"{ENDPOINTS}/ads").json())
    assert ready.state is not None
    assert ready.state.config_update is serving.EndpointStateConfigUpdate.NOT_UPDATING
    assert ready.config is not None
    assert ready.config.config_version == 1
    assert ready.config.served_entities is not None
    served = ready.config.served_entities[0]
    assert (served.entity_name, served.entity_version, served.workload_size) == ("ads1", "1", "Small")
    assert served.workload_type is serving.ServingModelWorkloadType.CPU
    assert served.state is not None
    assert served.state.deployment is serving.ServedModelStateDeployment.DEPLOYMENT_READY
    assert ready.config.served_models is not None
    assert ready.config.served_models[0].model_name == "ads1"
    assert ready.config.traffic_config is not None
    assert ready.config.traffic_config.routes is not None
    assert ready.config.traffic_config.routes[0].traffic_percentage == 100
    assert ready.tags == [serving.EndpointTag(key="team", value="ml")]


def test_what_the_sdk_sends_creates_an_endpoint(plane: ControlPlane) -> None:
    config = serving.EndpointCoreConfigInput(
        name="ads",
        served_entities=[
            serving.ServedEntityInput(
                entity_name="ads1",
                entity_version="1",
                scale_to_zero_enabled=True,
                workload_type=serving.ServingModelWorkloadType.CPU,
            )
        ],
        traffic_config=serving.TrafficConfig(routes=[serving.Route("100", served_model_name="ads1-1")]),  # type: ignore[arg-type]
    )
    response = plane.request("POST", ENDPOINTS, json={"name": "ads", "config": config.as_dict()})
    assert response.status_code == 200


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", None])
def test_a_body_is_json_whatever_its_content_type(plane: ControlPlane, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    response = plane.request("POST", f"{ENDPOINTS}/", content=b'{"name": "ads"}', headers=headers)
    assert response.status_code == 200


def test_the_list_is_an_empty_array_when_there_is_none(plane: ControlPlane) -> None:
    assert plane.request("GET", ENDPOINTS).json() == {"endpoints": []}


def test_the_list_shows_summaries_of_what_one_may_see(plane: ControlPlane) -> None:
    plane.activate(plane.create("zebra", ANN)["id"])
    plane.create("apple", BOB)
    (seen,) = plane.request("GET", ENDPOINTS, ANN).json()["endpoints"]
    assert set(seen) == {
        "name",
        "id",
        "creator",
        "creation_timestamp",
        "last_updated_timestamp",
        "state",
        "tags",
        "description",
        "config",
    }
    assert seen["state"]["ready"] == "READY"
    assert seen["config"] == {
        "served_entities": [{"name": "ads1-1", "entity_name": "ads1", "entity_version": "1"}],
        "served_models": [{"name": "ads1-1", "model_name": "ads1", "model_version": "1"}],
    }
    everything = plane.request("GET", f"{ENDPOINTS}/", ADMIN).json()["endpoints"]
    assert [e["name"] for e in everything] == ["apple", "zebra"]
    assert "config" not in everything[0]
    assert serving.ListEndpointsResponse.from_dict({"endpoints": everything}).endpoints


def test_a_deleted_endpoint_is_gone_and_its_name_free(plane: ControlPlane) -> None:
    first = plane.create()
    response = plane.request("DELETE", f"{ENDPOINTS}/ads")
    assert (response.status_code, response.json()) == (200, {})
    assert plane.notifier.endpoints == [first["id"], first["id"]]
    assert error(plane.request("GET", f"{ENDPOINTS}/ads"))[:2] == (404, "RESOURCE_DOES_NOT_EXIST")
    assert error(plane.request("DELETE", f"{ENDPOINTS}/ads"))[:2] == (404, "RESOURCE_DOES_NOT_EXIST")
    assert plane.request("GET", ENDPOINTS).json() == {"endpoints": []}
    with reading(plane.sessions) as session:
        assert session.get_one(Endpoint, first["id"]).deleting
    assert plane.create()["id"] != first["id"]


def test_a_taken_name_is_a_conflict(plane: ControlPlane) -> None:
    plane.create()
    response = plane.request("POST", ENDPOINTS, BOB, json={"name": "ads"})
    assert error(response) == (409, "RESOURCE_ALREADY_EXISTS", "Endpoint with name 'ads' already exists.")


def test_a_model_that_cannot_be_served_creates_nothing(plane: ControlPlane) -> None:
    plane.registry.add("ads1", "9", status="PENDING_REGISTRATION")

    def create(**fields: Any) -> tuple[int, str, str]:
        body = {"name": "ads", "config": {"served_entities": [entity(**fields)]}}
        return error(plane.request("POST", ENDPOINTS, json=body))

    status, code, message = create(entity_version="5")
    assert (status, code) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert "'ads1'" in message
    assert "5" in message
    assert create(entity_name="nosuch")[:2] == (404, "RESOURCE_DOES_NOT_EXIST")
    status, code, message = create(entity_version="9")
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert "PENDING_REGISTRATION" in message
    status, code, message = create(environment_vars={"KEY": "{{secrets/team/openai}}"})
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert "'openai' of secret scope 'team'" in message
    plane.registry.failure = TemporarilyUnavailable("The model registry does not answer", retry_after_seconds=5)
    assert create()[:2] == (503, "TEMPORARILY_UNAVAILABLE")
    assert plane.request("GET", ENDPOINTS).json() == {"endpoints": []}
    assert plane.notifier.endpoints == []


def test_events_are_listed_newest_first(plane: ControlPlane) -> None:
    plane.create("other")
    plane.create()
    path = f"{ENDPOINTS}/ads/events"
    (created,) = plane.request("GET", path).json()["events"]
    assert created == {
        "id": created["id"],
        "event_type": "ENDPOINT_EVENT",
        "status": "SUCCESS",
        "trigger": "CONFIG_ACCEPTED",
        "message": "Endpoint created by ann@example.com",
        "timestamp": plane.clock.now,
    }
    assert error(plane.request("GET", path, params={"page_size": "0"}))[:2] == (400, "INVALID_PARAMETER_VALUE")
    assert error(plane.request("GET", path, params={"page_size": "x"}))[:2] == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("method", "path", "level"),
    [
        ("GET", "", "CAN_VIEW"),
        ("DELETE", "", "CAN_MANAGE"),
        ("GET", "/events", "CAN_VIEW"),
        ("GET", "/served-models/ads1-1/logs", "CAN_VIEW"),
        ("GET", "/served-models/ads1-1/build-logs", "CAN_VIEW"),
    ],
)
def test_others_are_refused_by_name_and_an_admin_is_not(
    plane: ControlPlane, method: str, path: str, level: str
) -> None:
    plane.create()
    assert error(plane.request(method, f"{ENDPOINTS}/ads{path}", BOB)) == (
        403,
        "PERMISSION_DENIED",
        f"User 'bob@example.com' does not have {level} permission on serving endpoint 'ads'.",
    )
    assert plane.request(method, f"{ENDPOINTS}/ads{path}", ADMIN).status_code == 200
