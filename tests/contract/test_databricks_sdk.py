"""The unmodified Databricks SDK against the server."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk import errors as sdk_errors
from databricks.sdk.service.serving import (
    DataframeSplitInput,
    EndpointCoreConfigInput,
    EndpointStateConfigUpdate,
    EndpointStateReady,
    Route,
    ServedEntityInput,
    ServedModelInput,
    TrafficConfig,
)
from mlflow import MlflowClient
from prometheus_client.parser import text_string_to_metric_families
from server import OTHER_TOKEN, OTHER_USER, Server, wait_for

NAME = "sdk-iris"


def entity(model: Any, **fields: Any) -> ServedEntityInput:
    named = {"entity_name": model.name, "entity_version": str(model.version)}
    return ServedEntityInput(**{**named, "workload_size": "Small", "scale_to_zero_enabled": False, **fields})


def core(**fields: Any) -> EndpointCoreConfigInput:
    """The configuration; this version of the SDK wants the name in it too, which the server does not need."""
    return EndpointCoreConfigInput(name="in-config", **fields)


@pytest.fixture(scope="module")
def client(server: Server) -> WorkspaceClient:
    return WorkspaceClient(host=server.url, token=server.token, auth_type="pat")


@pytest.fixture(scope="module")
def iris(registered):
    return registered("iris")


@pytest.fixture(scope="module")
def created(server, client, iris):
    """The endpoint as `create_and_wait` returned it."""
    detail = client.serving_endpoints.create_and_wait(
        NAME, config=core(served_entities=[entity(iris)]), timeout=timedelta(seconds=120)
    )
    yield detail
    server.delete(NAME)


@pytest.fixture(scope="module")
def with_params(server, registered) -> str:
    name = "sdk-params"
    server.create(name, registered("with_params").name)
    server.ready(name)
    return name


def test_create_and_wait_returns_the_ready_endpoint(created, iris):
    assert created.name == NAME
    assert created.state.ready is EndpointStateReady.READY
    assert created.state.config_update is EndpointStateConfigUpdate.NOT_UPDATING
    assert created.pending_config is None
    assert created.config.config_version == 1
    [served] = created.config.served_entities
    assert (served.name, served.entity_name, served.entity_version) == ("iris-1", iris.name, iris.version)
    assert served.state.deployment.value == "DEPLOYMENT_READY"
    assert served.workload_size == "Small"
    assert served.scale_to_zero_enabled is False
    [route] = created.config.traffic_config.routes
    assert (route.served_model_name, route.traffic_percentage) == ("iris-1", 100)


def test_create_answers_before_the_deployment_is_done(server, client, iris):
    waiter = client.serving_endpoints.create("sdk-quick", config=core(served_entities=[entity(iris)]))
    answer = waiter.response
    assert answer.state.ready is EndpointStateReady.NOT_READY
    assert answer.state.config_update is EndpointStateConfigUpdate.IN_PROGRESS
    assert answer.config is None
    assert answer.pending_config.config_version == 1
    assert answer.pending_config.served_entities[0].state.deployment.value == "DEPLOYMENT_CREATING"
    server.ready("sdk-quick")
    server.delete("sdk-quick")


def test_get_and_list_agree(client, created):
    got = client.serving_endpoints.get(NAME)
    assert got.id == created.id
    assert got.permission_level.value == "CAN_MANAGE"
    assert got.creator == client.current_user.me().user_name
    assert got.creation_timestamp <= got.last_updated_timestamp
    [listed] = [one for one in client.serving_endpoints.list() if one.name == NAME]
    assert (listed.id, listed.creator, listed.creation_timestamp) == (got.id, got.creator, got.creation_timestamp)
    assert listed.state.ready is EndpointStateReady.READY
    assert listed.config.served_entities[0].entity_name == got.config.served_entities[0].entity_name


@pytest.mark.parametrize("form", ["dataframe_split", "dataframe_records", "inputs", "instances"])
def test_query_in_every_form(client, created, iris, form):
    rows = iris.rows
    records = rows.to_dict("records")
    columns = list(rows.columns)
    given: Any = {
        "dataframe_split": DataframeSplitInput(columns=columns, data=rows.to_numpy().tolist()),
        "dataframe_records": records,
        "inputs": {column: rows[column].tolist() for column in columns},
        "instances": records,
    }[form]
    answer = client.serving_endpoints.query(NAME, **{form: given})
    assert answer.predictions == [0, 0, 0, 1, 1, 2, 2, 2]
    assert answer.served_model_name == "iris-1"


def test_query_with_params(client, with_params):
    """The SDK's `query` has no `params`; its `api_client` sends any body."""
    path = f"/serving-endpoints/{with_params}/invocations"
    body = {"dataframe_records": [{"x": 2.0}], "params": {"factor": 3.0, "offset": 4}}
    assert client.api_client.do("POST", path, body=body) == {"predictions": ["10 m"]}


def test_params_not_sent_have_their_defaults(client, with_params):
    assert client.serving_endpoints.query(with_params, dataframe_records=[{"x": 2.0}]).predictions == ["5 m"]


def test_logs_and_build_logs(server, client, iris):
    with server.as_client():  # a model of its own, that no other test has had downloaded before
        copied = MlflowClient().copy_model_version(f"models:/{iris.name}/{iris.version}", "main.default.logged")
    name, served = "sdk-logs", f"logged-{copied.version}"
    entities = [entity(copied)]
    client.serving_endpoints.create_and_wait(
        name, config=core(served_entities=entities), timeout=timedelta(seconds=120)
    )
    build = client.serving_endpoints.build_logs(name, served).logs
    assert "download model" in build
    assert "load model" in build
    service = client.serving_endpoints.logs(name, served).logs
    assert "model loaded" in service
    server.delete(name)


def test_export_metrics(client, created):
    text = client.serving_endpoints.export_metrics(NAME).contents.read().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert {family.type for name, family in families.items() if name.endswith("_total")} == {"gauge"}
    [provisioned] = families["provisioned_concurrent_requests_total"].samples
    assert provisioned.labels == {"endpoint_name": NAME, "served_model_name": "iris-1"}
    assert provisioned.value == 4
    assert families["request_latency_ms"].type == "histogram"
    with pytest.raises(sdk_errors.NotFound):
        client.serving_endpoints.export_metrics("nobody")


def test_logs_of_unknown_served_model_are_not_found(client, created):
    with pytest.raises(sdk_errors.NotFound):
        client.serving_endpoints.build_logs(NAME, "nobody")
    with pytest.raises(sdk_errors.NotFound):
        client.serving_endpoints.logs(NAME, "nobody")


def test_older_served_models_form_is_accepted(server, client, iris):
    served = ServedModelInput(
        model_name=iris.name,
        model_version=iris.version,
        workload_size="Small",
        scale_to_zero_enabled=False,
        name="older",
    )
    name = "sdk-older"
    detail = client.serving_endpoints.create_and_wait(name, config=core(served_models=[served]))
    assert detail.config.served_models[0].model_name == iris.name
    assert detail.config.served_entities[0].entity_name == iris.name
    assert client.serving_endpoints.query(name, inputs=iris.rows.to_dict("records")).served_model_name == "older"
    server.delete(name)


def test_two_entities_share_the_traffic(server, client, iris):
    name = "sdk-two"
    config = core(
        served_entities=[entity(iris, name="a"), entity(iris, name="b")],
        traffic_config=TrafficConfig(
            routes=[
                Route(served_model_name="a", traffic_percentage=50),
                Route(served_model_name="b", traffic_percentage=50),
            ]
        ),
    )
    client.serving_endpoints.create_and_wait(name, config=config)
    rows = iris.rows.head(1).to_dict("records")
    names = [client.serving_endpoints.query(name, inputs=rows).served_model_name for _ in range(40)]
    assert set(names) == {"a", "b"}
    server.delete(name)


def test_deleted_endpoint_is_gone_at_once_and_its_name_is_free(server, client, iris):
    name = "sdk-short-lived"
    config = core(served_entities=[entity(iris)])
    first = client.serving_endpoints.create_and_wait(name, config=config)
    client.serving_endpoints.delete(name)
    with pytest.raises(sdk_errors.NotFound):
        client.serving_endpoints.get(name)
    assert name not in [one.name for one in client.serving_endpoints.list()]
    wait_for("queries are refused", lambda: server.query(name, {"inputs": []}).status_code == 404, 5)
    second = client.serving_endpoints.create_and_wait(name, config=config)
    assert second.id != first.id
    assert client.serving_endpoints.query(name, inputs=iris.rows.to_dict("records")).predictions[0] == 0
    client.serving_endpoints.delete(name)


def test_delete_and_get_of_unknown_endpoint_are_not_found(client):
    for call in (client.serving_endpoints.get, client.serving_endpoints.delete):
        with pytest.raises(sdk_errors.ResourceDoesNotExist, match="nobody-made-this"):
            call("nobody-made-this")


def test_name_that_is_taken_is_a_conflict(client, created, iris):
    with pytest.raises(sdk_errors.ResourceAlreadyExists, match="already exists"):
        client.serving_endpoints.create(NAME, config=core(served_entities=[entity(iris)]))


@pytest.mark.parametrize(
    "name", ["with/slash", "x" * 64, "", "with space", "databricks-own", "ümlaut", "line\nbreak"]
)
def test_bad_name_is_an_invalid_parameter_and_makes_nothing(client, iris, name):
    with pytest.raises(sdk_errors.InvalidParameterValue):
        client.serving_endpoints.create(name, config=core(served_entities=[entity(iris)]))
    assert name not in [one.name for one in client.serving_endpoints.list()]


def test_longest_name_is_accepted(client, server, iris):
    name = "n" * 63
    client.serving_endpoints.create(name, config=core(served_entities=[entity(iris)]))
    server.ready(name)
    server.delete(name)


@pytest.mark.parametrize(("model", "version"), [("main.default.nobody", "1"), ("main.default.iris", "999")])
def test_unknown_model_or_version_is_not_found_and_named(client, iris, model, version):
    served = ServedEntityInput(
        entity_name=model, entity_version=version, workload_size="Small", scale_to_zero_enabled=False
    )
    with pytest.raises(sdk_errors.NotFound) as refused:
        client.serving_endpoints.create("sdk-unknown", config=core(served_entities=[served]))
    assert model in str(refused.value)
    assert version in str(refused.value)
    with pytest.raises(sdk_errors.NotFound):
        client.serving_endpoints.get("sdk-unknown")


@pytest.mark.parametrize(
    "routes",
    [
        [("a", 60), ("b", 30)],
        [("a", 60), ("b", 50)],
        [("a", 100), ("nobody", 0)],
        [("a", 50), ("a", 50)],
        [("a", 150), ("b", -50)],
    ],
)
def test_traffic_that_cannot_be_is_an_invalid_parameter(client, iris, routes):
    config = core(
        served_entities=[entity(iris, name="a"), entity(iris, name="b")],
        traffic_config=TrafficConfig(
            routes=[Route(served_model_name=name, traffic_percentage=share) for name, share in routes]
        ),
    )
    with pytest.raises(sdk_errors.InvalidParameterValue):
        client.serving_endpoints.create("sdk-traffic", config=config)


def test_two_entities_of_one_name_are_an_invalid_parameter(client, iris):
    config = core(served_entities=[entity(iris, name="a"), entity(iris, name="a")])
    with pytest.raises(sdk_errors.InvalidParameterValue, match="a"):
        client.serving_endpoints.create("sdk-same", config=config)


def test_failed_deployment_fails_the_wait(server, client, registered):
    model = registered("load_raises")
    with pytest.raises(sdk_errors.OperationFailed, match="UPDATE_FAILED"):
        client.serving_endpoints.create_and_wait("sdk-failed", config=core(served_entities=[entity(model)]))
    server.delete("sdk-failed")


def test_current_user_is_the_admin(client):
    me = client.current_user.me()
    assert me.user_name == "admin@localhost"
    assert me.active
    assert me.id.isdigit()


def test_workspace_id_is_known(client):
    assert isinstance(client.get_workspace_id(), int)


def test_token_lives_from_create_to_delete(server, client):
    made = client.tokens.create(comment="for a test", lifetime_seconds=600)
    assert made.token_value.startswith("dapi")
    [listed] = [one for one in client.tokens.list() if one.token_id == made.token_info.token_id]
    assert listed.comment == "for a test"
    assert listed.expiry_time - listed.creation_time == 600_000
    other = WorkspaceClient(host=server.url, token=made.token_value, auth_type="pat")
    assert wait_for("the new token opens", lambda: _opens(other), 5)
    client.tokens.delete(made.token_info.token_id)
    wait_for("the revoked token is refused", lambda: not _opens(other), 5)
    with pytest.raises(sdk_errors.PermissionDenied, match="Invalid access token"):
        other.current_user.me()
    with pytest.raises(sdk_errors.NotFound):
        client.tokens.delete(made.token_info.token_id)


def test_tokens_of_others_are_neither_listed_nor_deleted(server, client):
    other = WorkspaceClient(host=server.url, token=OTHER_TOKEN, auth_type="pat")
    [own] = list(other.tokens.list())
    assert own.token_id not in [one.token_id for one in client.tokens.list()]
    with pytest.raises(sdk_errors.NotFound):
        client.tokens.delete(own.token_id)
    assert other.current_user.me().user_name == OTHER_USER


def test_unknown_token_is_denied(server):
    client = WorkspaceClient(host=server.url, token="no-token-of-ours", auth_type="pat")
    with pytest.raises(sdk_errors.PermissionDenied, match="Invalid access token"):
        client.serving_endpoints.get(NAME)


def test_user_without_right_is_denied(server, created):
    other = WorkspaceClient(host=server.url, token=OTHER_TOKEN, auth_type="pat")
    assert NAME not in [one.name for one in other.serving_endpoints.list()]
    for call in (
        lambda: other.serving_endpoints.get(NAME),
        lambda: other.serving_endpoints.delete(NAME),
        lambda: other.serving_endpoints.query(NAME, inputs=[1]),
        lambda: other.serving_endpoints.logs(NAME, "iris-1"),
        lambda: other.serving_endpoints.build_logs(NAME, "iris-1"),
    ):
        with pytest.raises(sdk_errors.PermissionDenied, match=OTHER_USER):
            call()


def _opens(client: WorkspaceClient) -> bool:
    try:
        return bool(client.current_user.me().user_name)
    except sdk_errors.PermissionDenied:
        return False
