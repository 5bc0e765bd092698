"""The unmodified MLflow deployments client for Databricks against the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from mlflow.deployments import get_deploy_client
from mlflow.exceptions import MlflowException
from server import Server, endpoint_body

NAME = "deployments-iris"


@pytest.fixture(scope="module")
def endpoint(server: Server, registered) -> Iterator[dict[str, Any]]:
    """The endpoint as `create_endpoint` answered it, once it is READY."""
    model = registered("iris")
    with server.as_client():
        body = endpoint_body(NAME, model.name, model.version)
        answer = get_deploy_client("databricks").create_endpoint(config=body)
    server.ready(NAME)
    yield answer
    server.delete(NAME)


def test_create_answers_an_endpoint_in_progress(endpoint):
    assert endpoint.name == NAME
    assert endpoint["state"]["ready"] == "NOT_READY"
    assert endpoint["state"]["config_update"] == "IN_PROGRESS"
    assert endpoint["pending_config"]["served_entities"][0]["name"] == "iris-1"


def test_older_arguments_of_create_are_accepted(server, deploy_client, registered, endpoint):
    model = registered("iris")
    config = endpoint_body("x", model.name, model.version)["config"]
    assert deploy_client.create_endpoint(name="deployments-older", config=config)["name"] == "deployments-older"
    server.ready("deployments-older")
    assert deploy_client.delete_endpoint("deployments-older") == {}


def test_get_shows_the_ready_endpoint(deploy_client, endpoint):
    found = deploy_client.get_endpoint(NAME)
    assert found["id"] == endpoint["id"]
    assert found["state"]["ready"] == "READY"
    assert found["state"]["config_update"] == "NOT_UPDATING"
    assert found["config"]["served_entities"][0]["entity_version"] == "1"


def test_list_has_the_endpoint(deploy_client, endpoint):
    assert NAME in [one["name"] for one in deploy_client.list_endpoints()]


@pytest.mark.parametrize("form", ["dataframe_split", "dataframe_records", "inputs", "instances"])
def test_predict_in_every_form(deploy_client, endpoint, registered, form):
    rows = registered("iris").rows
    records = rows.to_dict("records")
    given: Any = {
        "dataframe_split": {key: rows.to_dict("split")[key] for key in ("columns", "data")},
        "dataframe_records": records,
        "inputs": records,
        "instances": records,
    }[form]
    answer = deploy_client.predict(endpoint=NAME, inputs={form: given})
    assert answer == {"predictions": [0, 0, 0, 1, 1, 2, 2, 2]}


def test_predict_of_bad_input_is_refused_at_once_with_the_reason(deploy_client, endpoint):
    with pytest.raises(requests.HTTPError, match="missing inputs") as refused:
        deploy_client.predict(endpoint=NAME, inputs={"dataframe_records": [{"no": 1}]})
    assert refused.value.response.status_code == 400


def test_unknown_endpoint_is_reported(deploy_client):
    with pytest.raises((MlflowException, requests.HTTPError), match="nobody-made-this"):
        deploy_client.get_endpoint("nobody-made-this")
    with pytest.raises((MlflowException, requests.HTTPError), match="nobody-made-this"):
        deploy_client.predict(endpoint="nobody-made-this", inputs={"inputs": [1]})


def test_taken_name_is_reported(deploy_client, endpoint, registered):
    body = endpoint_body(NAME, registered("iris").name)
    with pytest.raises((MlflowException, requests.HTTPError), match="already exists"):
        deploy_client.create_endpoint(config=body)


def test_deleted_endpoint_is_gone(server, deploy_client, registered):
    name = "deployments-short-lived"
    deploy_client.create_endpoint(config=endpoint_body(name, registered("iris").name))
    assert deploy_client.delete_endpoint(endpoint=name) == {}
    assert name not in [one["name"] for one in deploy_client.list_endpoints()]
