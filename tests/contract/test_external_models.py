"""Endpoints of external models through the Databricks SDK and MLflow's deployments client, as documented.

No provider is asked: what is served is looked after, not queried.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import InvalidParameterValue, NotFound
from databricks.sdk.service import serving
from databricks.sdk.service.serving import (
    AnthropicConfig,
    ExternalModel,
    ExternalModelProvider,
    OpenAiConfig,
    Route,
    ServedEntityInput,
    TrafficConfig,
)
from mlflow.exceptions import MlflowException
from openapi_spec_validator import OpenAPIV31SpecValidator, validate
from server import Server

KEY = "{{secrets/my_scope/my_openai_api_key}}"
TEXT = "sk-contract-very-secret"
CHAT, EMBEDDINGS = "llm/v1/chat", "llm/v1/embeddings"


@pytest.fixture(scope="module", autouse=True)
def scope(server: Server) -> Iterator[None]:
    for path, body in (
        ("scopes/create", {"scope": "my_scope"}),
        ("put", {"scope": "my_scope", "key": "my_openai_api_key", "string_value": "sk-test"}),
    ):
        assert server.http.post(f"/api/2.0/secrets/{path}", json=body).status_code == 200
    yield
    server.http.post("/api/2.0/secrets/scopes/delete", json={"scope": "my_scope"})


def openai(name: str, model: str = "gpt-4", task: str = CHAT, **config: str) -> ServedEntityInput:
    return ServedEntityInput(
        name=name,
        external_model=ExternalModel(
            name=model,
            provider=ExternalModelProvider.OPENAI,
            task=task,
            openai_config=OpenAiConfig(**(config or {"openai_api_key": KEY})),
        ),
    )


def served(name: str, model: str = "gpt-4", task: str = CHAT) -> dict[str, Any]:
    return openai(name, model, task).as_dict()


# curl, as the documents have it


def test_create_and_update_by_plain_http(server: Server) -> None:
    body = {
        "name": "openai_endpoint",
        "config": {"served_entities": [served("openai_embeddings", "text-embedding-ada-002", EMBEDDINGS)]},
        "rate_limits": [{"calls": 100, "key": "user", "renewal_period": "minute"}],
        "tags": [{"key": "team", "value": "gen-ai"}],
    }
    path = "/api/2.0/serving-endpoints"
    created = server.http.post(path, json=body)
    assert created.status_code == 200, created.text
    answer = created.json()
    assert answer["state"]["ready"] == "READY"
    (entity,) = answer["config"]["served_entities"]
    assert entity["external_model"]["openai_config"] == {"openai_api_key": KEY}
    assert entity["state"] == {"deployment": "DEPLOYMENT_READY", "deployment_state_message": ""}
    assert (answer["config"]["config_version"], answer["tags"]) == (1, body["tags"])
    assert server.detail("openai_endpoint") == answer
    limits = {"rate_limits": [{"calls": 10, "key": "user", "renewal_period": "minute"}]}
    assert server.http.put(f"{path}/openai_endpoint/rate-limits", json=limits).json() == limits
    changed = {"name": "openai_endpoint", "served_entities": [served("openai_chat")]}
    updated = server.http.put(f"{path}/openai_endpoint/config", json=changed).json()
    assert updated["state"]["ready"] == "READY"
    assert updated["config"]["config_version"] == 2
    assert [one["name"] for one in updated["config"]["served_entities"]] == ["openai_chat"]
    server.delete("openai_endpoint")


# The Databricks SDK


def test_the_sdk_creates_updates_and_deletes(server: Server, workspace: WorkspaceClient) -> None:
    endpoints = workspace.serving_endpoints
    gateway = serving.AiGatewayConfig(
        fallback_config=serving.FallbackConfig(enabled=True),
        usage_tracking_config=serving.AiGatewayUsageTrackingConfig(enabled=True),
        inference_table_config=serving.AiGatewayInferenceTableConfig(
            enabled=True, catalog_name="main", schema_name="logs"
        ),
        rate_limits=[
            serving.AiGatewayRateLimit(
                renewal_period=serving.AiGatewayRateLimitRenewalPeriod.MINUTE,
                calls=5,
                key=serving.AiGatewayRateLimitKey.USER,
            )
        ],
    )
    claude = ServedEntityInput(
        name="claude",
        external_model=ExternalModel(
            name="claude-sonnet-4-5",
            provider=ExternalModelProvider.ANTHROPIC,
            task=CHAT,
            anthropic_config=AnthropicConfig(anthropic_api_key_plaintext=TEXT),
        ),
    )
    split = TrafficConfig(routes=[Route(served_model_name="gpt", traffic_percentage=100)])
    config = serving.EndpointCoreConfigInput(
        name="sdk-llm", served_entities=[openai("gpt"), claude], traffic_config=split
    )
    detail = endpoints.create_and_wait("sdk-llm", config=config, ai_gateway=gateway)
    assert detail.state is not None
    assert detail.state.ready is serving.EndpointStateReady.READY
    assert (detail.task, detail.pending_config) == (CHAT, None)
    assert detail.ai_gateway == gateway
    assert detail.config is not None
    gpt, shown = detail.config.served_entities or []
    assert gpt.external_model == openai("gpt").external_model
    assert shown.external_model is not None
    assert shown.external_model.provider is ExternalModelProvider.ANTHROPIC
    assert TEXT not in str(detail.as_dict())

    (summary,) = [one for one in endpoints.list() if one.name == "sdk-llm"]
    assert summary.task == CHAT
    assert summary.config is not None
    assert [one.external_model.name for one in summary.config.served_entities or [] if one.external_model] == [
        "gpt-4",
        "claude-sonnet-4-5",
    ]

    updated = endpoints.update_config_and_wait(
        "sdk-llm", served_entities=[openai("gpt", "gpt-5"), claude], traffic_config=split
    )
    assert updated.config is not None
    first, second = updated.config.served_entities or []
    assert first.external_model is not None
    assert (updated.config.config_version, first.external_model.name) == (2, "gpt-5")
    assert second.creation_timestamp == shown.creation_timestamp, "what was left as it is went on"

    contents = endpoints.get_open_api("sdk-llm").contents
    assert contents is not None
    validate(json.loads(contents.read()), cls=OpenAPIV31SpecValidator)
    assert endpoints.export_metrics("sdk-llm").contents is not None
    assert endpoints.put_ai_gateway("sdk-llm") == serving.PutAiGatewayResponse.from_dict({})
    endpoints.delete("sdk-llm")
    with pytest.raises(NotFound):
        endpoints.get("sdk-llm")


def test_the_sdk_is_told_what_cannot_be(workspace: WorkspaceClient) -> None:
    def create(*entities: ServedEntityInput, **more: Any) -> None:
        config = serving.EndpointCoreConfigInput(name="sdk-refused", served_entities=list(entities))
        workspace.serving_endpoints.create("sdk-refused", config=config, **more)

    for entity, words in (
        (openai("gpt", openai_api_key="{{secrets/my_scope/none}}"), "does not exist"),
        (openai("gpt", openai_api_key=TEXT), "must be a secret reference"),
        (openai("gpt", openai_organization="o"), "openai_config.openai_api_key"),
        (
            openai("gpt", openai_api_key=KEY, openai_api_base="http://169.254.169.254/latest"),
            "openai_config.openai_api_base",
        ),
    ):
        with pytest.raises(InvalidParameterValue, match=words) as refused:
            create(entity)
        assert TEXT not in str(refused.value)
    with pytest.raises(InvalidParameterValue, match="route_optimized"):
        create(openai("gpt"), route_optimized=True)
    with pytest.raises(NotFound):
        workspace.serving_endpoints.get("sdk-refused")


# MLflow's deployments client


def test_the_deployments_client_creates_and_updates_as_documented(server: Server, deploy_client: Any) -> None:
    endpoint = deploy_client.create_endpoint(name="chat", config={"served_entities": [served("completions")]})
    assert endpoint["name"] == "chat"
    assert endpoint["state"]["ready"] == "READY"
    assert endpoint["endpoint_type"] == "EXTERNAL_MODEL"
    assert endpoint["config"]["served_entities"][0]["external_model"]["provider"] == "openai"
    endpoint = deploy_client.update_endpoint(endpoint="chat", config={"served_entities": [served("chats")]})
    assert [one["name"] for one in endpoint["config"]["served_entities"]] == ["chats"]
    limits = {"rate_limits": [{"key": "user", "renewal_period": "minute", "calls": 10}]}
    assert deploy_client.update_endpoint(endpoint="chat", config=limits) == limits
    gateway = {"usage_tracking_config": {"enabled": True}, "guardrails": {"input": {"invalid_keywords": ["x"]}}}
    assert deploy_client.update_endpoint_ai_gateway(endpoint="chat", config=gateway) == gateway
    assert deploy_client.get_endpoint("chat")["task"] == CHAT
    assert "chat" in [one["name"] for one in deploy_client.list_endpoints()]
    custom = {"entity_name": "m", "entity_version": "1", "workload_size": "Small", "scale_to_zero_enabled": False}
    with pytest.raises(requests.HTTPError, match="cannot be updated to serve custom models"):
        deploy_client.update_endpoint_config(endpoint="chat", config={"served_entities": [custom]})
    assert deploy_client.delete_endpoint("chat") == {}
    with pytest.raises((MlflowException, requests.HTTPError), match="chat"):
        deploy_client.get_endpoint("chat")


# No text of a credential is anywhere


def test_a_text_is_in_no_file_and_no_answer(server: Server) -> None:
    entity = served("gpt")
    entity["external_model"]["openai_config"] = {"openai_api_key_plaintext": TEXT}
    body = {"name": "plain-llm", "config": {"served_entities": [entity]}}
    answer = server.http.post("/api/2.0/serving-endpoints", json=body)
    assert (answer.status_code, TEXT in answer.text) == (200, False)
    for path in ("", "/plain-llm", "/plain-llm/events", "/plain-llm/config-versions"):
        assert TEXT not in server.http.get(f"/api/2.0/serving-endpoints{path}").text
    assert TEXT not in server.http.get("/api/2.0/audit-log").text
    assert TEXT not in server.log_tail()
    for path in server.data_dir.rglob("*"):
        if path.is_file():
            assert TEXT.encode() not in path.read_bytes(), path
    server.delete("plain-llm")
