"""The life of an endpoint through the Databricks SDK, the MLflow deployments client and plain HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from databricks.sdk.errors import NotFound, OperationFailed, ResourceConflict
from databricks.sdk.service import serving
from databricks.sdk.service.serving import (
    Route,
    ServedEntityInput,
    TelemetryConfig,
    TrafficConfig,
    UnityCatalogTableNames,
)

NAME = "sdk-life"


def entity(model, name: str, **fields) -> ServedEntityInput:
    return ServedEntityInput(
        name=name,
        entity_name=model.name,
        entity_version=model.version,
        workload_size="Small",
        scale_to_zero_enabled=False,
        **fields,
    )


def split(**shares: int) -> TrafficConfig:
    return TrafficConfig(routes=[Route(served_model_name=n, traffic_percentage=p) for n, p in shares.items()])


@pytest.fixture(scope="module")
def model(server, registered) -> Iterator:
    found = registered("iris")
    body = {"name": NAME, "config": {"served_entities": [entity(found, "one").as_dict()]}}
    assert server.http.post("/api/2.0/serving-endpoints", json=body).status_code == 200
    server.ready(NAME)
    yield found
    server.delete(NAME)


def test_update_is_waited_for_and_the_entity_that_stays_goes_on(workspace, server, model):
    before = server.replicas()
    detail = workspace.serving_endpoints.update_config_and_wait(
        NAME,
        served_entities=[entity(model, "one"), entity(model, "two", environment_vars={"A": "1"})],
        traffic_config=split(one=90, two=10),
    )
    assert [(one.name, one.state.deployment.value) for one in detail.config.served_entities] == [
        ("one", "DEPLOYMENT_READY"),
        ("two", "DEPLOYMENT_READY"),
    ]
    assert [(one.served_model_name, one.traffic_percentage) for one in detail.config.traffic_config.routes] == [
        ("one", 90),
        ("two", 10),
    ]
    assert detail.pending_config is None
    assert set(before) <= set(server.replicas())
    rows = model.rows.to_dict("records")
    answer = server.http.post(
        f"/serving-endpoints/{NAME}/served-models/two/invocations", json={"dataframe_records": rows}
    )
    assert (answer.status_code, answer.headers["served-model-name"]) == (200, "two")


def test_failed_update_fails_the_wait_and_a_second_one_meanwhile_is_a_conflict(workspace, registered, model):
    broken = registered("load_raises")
    waiting = workspace.serving_endpoints.update_config(NAME, served_entities=[entity(broken, "broken")])
    assert waiting.bind()["name"] == NAME
    with pytest.raises(ResourceConflict, match="being updated"):
        workspace.serving_endpoints.update_config(NAME, served_entities=[entity(model, "one")])
    with pytest.raises(OperationFailed, match="UPDATE_FAILED"):
        waiting.result()
    detail = workspace.serving_endpoints.get(NAME)
    assert detail.state.ready.value == "READY"
    assert "the weights are missing" in detail.pending_config.served_entities[0].state.deployment_state_message


def test_tags_notifications_limits_and_gateway_are_set_and_echoed(workspace, model):
    endpoints = workspace.serving_endpoints
    answer = endpoints.patch(NAME, add_tags=[serving.EndpointTag("team", "ml"), serving.EndpointTag("tier")])
    assert [(tag.key, tag.value) for tag in answer.tags] == [("team", "ml"), ("tier", "")]
    assert [tag.key for tag in endpoints.patch(NAME, delete_tags=["tier"]).tags] == ["team"]

    mails = serving.EmailNotifications(on_update_failure=["ops@example.com"])
    assert endpoints.update_notifications(NAME, email_notifications=mails).email_notifications == mails
    assert endpoints.get(NAME).email_notifications.on_update_failure == ["ops@example.com"]

    limit = serving.RateLimit(1000, serving.RateLimitRenewalPeriod.MINUTE, key=serving.RateLimitKey.USER)
    assert endpoints.put(NAME, rate_limits=[limit]).rate_limits == [limit]
    assert not endpoints.put(NAME, rate_limits=[]).rate_limits

    usage = serving.AiGatewayUsageTrackingConfig(enabled=True)
    assert endpoints.put_ai_gateway(NAME, usage_tracking_config=usage).usage_tracking_config == usage
    assert endpoints.get(NAME).ai_gateway.usage_tracking_config.enabled is True
    assert endpoints.put_ai_gateway(NAME).usage_tracking_config is None


def test_telemetry_tables_become_a_profile_and_leave_without_one(workspace, model):
    tables = TelemetryConfig(table_names=UnityCatalogTableNames(logs_table="main.default.logs"))
    detail = workspace.serving_endpoints.patch_telemetry_config(NAME, telemetry_config=tables)
    assert detail.telemetry_config.telemetry_profile_id
    assert detail.telemetry_config.table_names is None
    assert workspace.serving_endpoints.patch_telemetry_config(NAME).telemetry_config is None


def test_logs_events_and_metrics_are_read(workspace, server, model):
    detail = workspace.serving_endpoints.get(NAME)
    served = detail.config.served_entities[0].name
    assert "replica" in workspace.serving_endpoints.build_logs(NAME, served).logs
    assert "loads its model" in workspace.serving_endpoints.logs(NAME, served).logs
    with pytest.raises(NotFound):
        workspace.serving_endpoints.logs(NAME, "nosuch")
    assert b"request_count_total" in workspace.serving_endpoints.export_metrics(NAME).contents.read()
    events = server.http.get(f"/api/2.0/serving-endpoints/{NAME}/events").json()["events"]
    assert {"event_type", "status", "message", "timestamp", "trigger"} <= events[0].keys()
    assert [one["timestamp"] for one in events] == sorted((one["timestamp"] for one in events), reverse=True)


def test_stop_and_start_by_plain_http_as_they_are_documented(workspace, server, model):
    path = f"/api/2.0/serving-endpoints/{NAME}"
    stopped = server.http.post(f"{path}/config:stop")
    assert stopped.status_code == 200, stopped.text
    assert workspace.serving_endpoints.get(NAME).state.ready.value == "NOT_READY"
    version = stopped.json()["config"]["config_version"]
    assert server.http.post(f"{path}/config:start").status_code == 200
    assert server.ready(NAME)["config"]["config_version"] > version


def test_the_deployments_client_changes_an_endpoint_in_all_its_ways(deploy_client, server, model):
    served = {"entity_name": model.name, "entity_version": model.version, "name": "one", "workload_size": "Small"}
    config = {"served_entities": [{**served, "scale_to_zero_enabled": False}]}
    assert deploy_client.update_endpoint_config(endpoint=NAME, config=config)["name"] == NAME
    server.ready(NAME)
    tags = {"add_tags": [{"key": "by", "value": "mlflow"}]}
    assert {"key": "by", "value": "mlflow"} in deploy_client.update_endpoint_tags(endpoint=NAME, config=tags)["tags"]
    limits = {"rate_limits": [{"calls": 10, "key": "endpoint", "renewal_period": "minute"}]}
    assert deploy_client.update_endpoint_rate_limits(endpoint=NAME, config=limits) == limits
    assert deploy_client.update_endpoint_rate_limits(endpoint=NAME, config={"rate_limits": []}) == {"rate_limits": []}
    gateway = {"usage_tracking_config": {"enabled": True}}
    assert deploy_client.update_endpoint_ai_gateway(endpoint=NAME, config=gateway) == gateway
