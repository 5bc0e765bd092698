"""The examples of the document "Create generative AI model serving endpoints", with the clients that it uses.

They differ from the document in one thing: `openai_config` also has `openai_api_base`, so that the fake provider
answers and not OpenAI; answers show it, since they show what was given. Where an example of an answer has what
differs from one server to another (who created it, when, its id), its form is compared and not its value.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import BadRequest, InvalidParameterValue
from databricks.sdk.service.serving import ChatMessage, ChatMessageRole
from external_endpoints import ExternalEndpoints
from fake_provider.running import FakeProviderClient, running_fake_provider
from fake_provider.vectors import vector
from server import Server

ADMIN = "admin@localhost"
SAID = "tell me of the sea"
ANSWER = f"You said: {SAID}"

CREATE: dict[str, Any] = {
    "name": "openai_endpoint",
    "config": {
        "served_entities": [
            {
                "name": "openai_embeddings",
                "external_model": {
                    "name": "text-embedding-ada-002",
                    "provider": "openai",
                    "task": "llm/v1/embeddings",
                    "openai_config": {"openai_api_key": "{{secrets/my_scope/my_openai_api_key}}"},
                },
            }
        ]
    },
    "rate_limits": [{"calls": 100, "key": "user", "renewal_period": "minute"}],
    "tags": [{"key": "team", "value": "gen-ai"}],
}
CREATED: dict[str, Any] = {
    "name": "openai_endpoint",
    "creator": "user@email.com",
    "creation_timestamp": 1699617587000,
    "last_updated_timestamp": 1699617587000,
    "state": {"ready": "READY"},
    "config": {
        "served_entities": [
            {
                "name": "openai_embeddings",
                "external_model": {
                    "provider": "openai",
                    "name": "text-embedding-ada-002",
                    "task": "llm/v1/embeddings",
                    "openai_config": {"openai_api_key": "{{secrets/my_scope/my_openai_api_key}}"},
                },
                "state": {"deployment": "DEPLOYMENT_READY", "deployment_state_message": ""},
                "creator": "user@email.com",
                "creation_timestamp": 1699617587000,
            }
        ],
        "traffic_config": {"routes": [{"served_model_name": "openai_embeddings", "traffic_percentage": 100}]},
        "config_version": 1,
    },
    "tags": [{"key": "team", "value": "gen-ai"}],
    "id": "69962db6b9db47c4a8a222d2ac79d7f8",
    "permission_level": "CAN_MANAGE",
    "route_optimized": False,
}
UPDATE: dict[str, Any] = {
    "name": "openai_endpoint",
    "served_entities": [
        {
            "name": "openai_chat",
            "external_model": {
                "name": "gpt-4",
                "provider": "openai",
                "task": "llm/v1/chat",
                "openai_config": {"openai_api_key": "{{secrets/my_scope/my_openai_api_key}}"},
            },
        }
    ],
}
MORE = {
    "state.config_update",
    "state.update_state",
    "task",
    "endpoint_type",
    "description",
    "config.traffic_config.routes.0.served_entity_name",
    "config.served_entities.0.external_model.openai_config.openai_api_base",
}
"""What answers have beyond the example: what newer versions of the API show, and the provider's address."""


def served(name: str) -> dict[str, Any]:
    """The served entity of the examples in Python."""
    return {
        "name": name,
        "external_model": {
            "name": "gpt-4",
            "provider": "openai",
            "task": "llm/v1/chat",
            "openai_config": {"openai_api_key": "{{secrets/scope/key}}"},
        },
    }


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProviderClient]:
    with running_fake_provider() as running:
        yield running


@pytest.fixture(autouse=True)
def clean(fake: FakeProviderClient) -> None:
    fake.reset()


@pytest.fixture(scope="module", autouse=True)
def secrets(server: Server, fake: FakeProviderClient) -> Iterator[None]:
    """Those that the examples name hold the key of the fake provider."""
    for scope, key in (("my_scope", "my_openai_api_key"), ("scope", "key")):
        secret = {"scope": scope, "key": key, "string_value": fake.keys["openai"]}
        for path, body in (("scopes/create", {"scope": scope}), ("put", secret)):
            assert server.http.post(f"/api/2.0/secrets/{path}", json=body).status_code == 200
    yield
    for scope in ("my_scope", "scope"):
        server.http.post("/api/2.0/secrets/scopes/delete", json={"scope": scope})


@pytest.fixture
def endpoint_names(server: Server) -> Iterator[None]:
    """The names of the examples are free before and after."""
    yield
    for name in ("openai_endpoint", "chat"):
        server.http.delete(f"/api/2.0/serving-endpoints/{name}")


@pytest.fixture(scope="module")
def endpoints(server: Server, fake: FakeProviderClient) -> Iterator[ExternalEndpoints]:
    made = ExternalEndpoints(server, fake.url, "documented")
    yield made
    made.remove()


def reaching(fake: FakeProviderClient, example: dict[str, Any]) -> dict[str, Any]:
    """The example with the provider's address."""
    copy: dict[str, Any] = json.loads(json.dumps(example))
    for entity in copy.get("config", copy)["served_entities"]:
        entity["external_model"]["openai_config"]["openai_api_base"] = f"{fake.url}/v1"
    return copy


def curl(server: Server, method: str, path: str, body: Any) -> Any:
    """What `curl` prints, read as JSON."""
    ran = subprocess.run(
        [
            "curl", "--silent", "--show-error", "--fail-with-body", "-X", method, "-u", f"token:{server.token}",
            "-H", "Content-Type: application/json", "-d", json.dumps(body), f"{server.url}{path}",
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(ran.stdout)


def stamped_now(milliseconds: int) -> bool:
    return time.time() * 1000 - 120_000 < milliseconds <= time.time() * 1000


FORMS = {
    "creator": lambda value: value == ADMIN,
    "creation_timestamp": stamped_now,
    "last_updated_timestamp": stamped_now,
    "id": lambda value: re.fullmatch("[0-9a-f]{32}", value) is not None,
}


def compare(example: Any, answer: Any, path: str = "") -> set[str]:
    """Hold an answer against its example, field for field; the paths of what the answer has beyond it."""
    if isinstance(example, list):
        assert len(answer) == len(example), path
        pairs = [(str(at), one, answer[at]) for at, one in enumerate(example)]
        return {more for at, one, given in pairs for more in compare(one, given, f"{path}.{at}".strip("."))}
    if not isinstance(example, dict):
        assert answer == example, path
        return set()
    more = {f"{path}.{name}".strip(".") for name in set(answer) - set(example)}
    for name, value in example.items():
        where = f"{path}.{name}".strip(".")
        assert name in answer, where
        if name in FORMS:
            assert FORMS[name](answer[name]), f"{where} is {answer[name]!r}"
        elif value is not ...:
            more |= compare(value, answer[name], where)
    return more


# The REST API, by curl


def test_create_by_curl_answers_as_documented(server: Server, fake: FakeProviderClient, endpoint_names: None) -> None:
    created = curl(server, "POST", "/api/2.0/serving-endpoints", reaching(fake, CREATE))
    assert compare(CREATED, created) == MORE
    embedded = curl(server, "POST", "/serving-endpoints/openai_endpoint/invocations", {"input": ["a text"]})
    assert embedded["data"] == [{"object": "embedding", "index": 0, "embedding": vector("a text", 8)}]
    assert (embedded["object"], embedded["model"]) == ("list", "text-embedding-ada-002")
    assert set(embedded["usage"]) == {"prompt_tokens", "total_tokens"}


def test_update_by_curl_serves_the_other_model_at_once(
    server: Server, fake: FakeProviderClient, endpoint_names: None
) -> None:
    """The example changes the task too, and has a `name` in its body, which the path has already."""
    created = curl(server, "POST", "/api/2.0/serving-endpoints", reaching(fake, CREATE))
    updated = curl(server, "PUT", "/api/2.0/serving-endpoints/openai_endpoint/config", reaching(fake, UPDATE))
    wanted = {
        **CREATED,
        "config": {
            "served_entities": [{**CREATED["config"]["served_entities"][0], **UPDATE["served_entities"][0]}],
            "traffic_config": {"routes": [{"served_model_name": "openai_chat", "traffic_percentage": 100}]},
            "config_version": 2,
        },
    }
    assert compare(wanted, updated) == MORE
    assert (updated["id"], updated["creation_timestamp"]) == (created["id"], created["creation_timestamp"])
    asked = {"messages": [{"role": "user", "content": SAID}]}
    answer = curl(server, "POST", "/serving-endpoints/openai_endpoint/invocations", asked)
    assert answer["choices"][0]["message"]["content"] == ANSWER
    assert answer["model"] == "gpt-4"


def test_the_rate_limit_of_the_example_holds(server: Server, fake: FakeProviderClient, endpoint_names: None) -> None:
    """Of the 101 calls of a user in a minute, one is too much."""
    curl(server, "POST", "/api/2.0/serving-endpoints", reaching(fake, CREATE))
    answers = [server.query("openai_endpoint", {"input": "a"}) for _ in range(101)]
    assert [one.status_code for one in answers] == [200] * 100 + [429]
    assert answers[-1].json()["error_code"] == "REQUEST_LIMIT_EXCEEDED"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert fake.counts()["requests"] == 100


# MLflow's deployments client


SHOWN = {
    "name": "chat",
    "creator": "alice@company.com",
    "creation_timestamp": 0,
    "last_updated_timestamp": 0,
    "state": ...,
    "config": ...,
    "tags": ...,
    "id": "88fd3f75a0d24b0380ddc40484d7a31b",
}


def test_create_update_and_limit_in_python(
    server: Server, fake: FakeProviderClient, deploy_client: Any, endpoint_names: None
) -> None:
    """After the update the document shows the name of the served entity, 'chats', for that of the endpoint."""
    endpoint = deploy_client.create_endpoint(
        name="chat", config=reaching(fake, {"served_entities": [served("completions")]})
    )
    more = {"permission_level", "route_optimized", "task", "endpoint_type", "description"}
    assert compare(SHOWN, endpoint) == more
    assert endpoint["state"]["ready"] == "READY"
    updated = deploy_client.update_endpoint(
        endpoint="chat", config=reaching(fake, {"served_entities": [served("chats")]})
    )
    assert compare(SHOWN, updated) == more
    assert (updated["id"], updated["creation_timestamp"]) == (endpoint["id"], endpoint["creation_timestamp"])
    assert [one["name"] for one in updated["config"]["served_entities"]] == ["chats"]
    limits = {"rate_limits": [{"key": "user", "renewal_period": "minute", "calls": 10}]}
    assert deploy_client.update_endpoint(endpoint="chat", config=limits) == limits
    statuses = [server.query("chat", {"messages": [{"role": "user", "content": "a"}]}).status_code for _ in range(11)]
    assert statuses == [200] * 10 + [429]


def test_a_model_registered_here_and_a_providers_do_not_change_places(
    fake: FakeProviderClient, workspace: WorkspaceClient, deploy_client: Any, endpoint_names: None
) -> None:
    """'Existing endpoints with an external_model can not be updated to no longer have an external_model.'"""
    deploy_client.create_endpoint(name="chat", config=reaching(fake, {"served_entities": [served("completions")]}))
    custom = {"entity_name": "main.default.m", "entity_version": "1", "workload_size": "Small"}
    with pytest.raises(InvalidParameterValue, match="custom models"):
        workspace.api_client.do(
            "PUT",
            "/api/2.0/serving-endpoints/chat/config",
            body={"served_entities": [{**custom, "scale_to_zero_enabled": True}]},
        )


def test_predict_answers_as_the_client_documents(deploy_client: Any, endpoints: ExternalEndpoints) -> None:
    messages = [{"role": "user", "content": SAID}]
    answer = deploy_client.predict(endpoint=endpoints.chat("openai"), inputs={"messages": messages})
    assert set(answer) >= {"id", "object", "created", "model", "choices", "usage"}
    (choice,) = answer["choices"]
    assert (answer["object"], choice["index"], choice["finish_reason"]) == ("chat.completion", 0, "stop")
    assert (choice["message"]["role"], choice["message"]["content"]) == ("assistant", ANSWER)
    assert set(answer["usage"]) >= {"prompt_tokens", "completion_tokens", "total_tokens"}
    completed = deploy_client.predict(endpoint=endpoints.completions("openai"), inputs={"prompt": SAID})
    assert completed["choices"][0]["text"] == ANSWER
    embedded = deploy_client.predict(endpoint=endpoints.embeddings("openai"), inputs={"input": [SAID]})
    assert embedded["data"][0]["embedding"] == vector(SAID, 8)


@pytest.mark.parametrize("way", ["openai", "anthropic", "cohere", "bedrock", "palm", "ai21labs", "databricks"])
def test_predict_stream_gives_chunks_that_each_have_a_choice(
    deploy_client: Any, endpoints: ExternalEndpoints, way: str
) -> None:
    """The client knows lines of data alone, and its example reads `choices` and `usage`."""
    inputs = {"messages": [{"role": "user", "content": SAID}], "temperature": 0.0, "n": 1, "max_tokens": 500}
    chunks = list(deploy_client.predict_stream(endpoint=endpoints.chat(way), inputs=inputs))
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == ANSWER
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["completion_tokens"] == len(ANSWER) // 2


# The Databricks SDK


def test_the_sdk_asks_for_chats_completions_and_embeddings(
    workspace: WorkspaceClient, endpoints: ExternalEndpoints
) -> None:
    api = workspace.serving_endpoints
    messages = [ChatMessage(role=ChatMessageRole.USER, content=SAID)]
    chat = api.query(
        endpoints.chat("anthropic"), messages=messages, max_tokens=100, temperature=0.2, stop=["HALT"], n=1
    )
    assert chat.choices is not None
    (choice,) = chat.choices
    assert choice.message is not None
    assert (choice.message.role, choice.message.content) == (ChatMessageRole.ASSISTANT, ANSWER)
    assert chat.usage is not None
    assert chat.usage.completion_tokens == len(ANSWER) // 2
    assert chat.served_model_name == "entity"
    completed = api.query(endpoints.completions("openai"), prompt=SAID, max_tokens=50, client_request_id="mine")
    assert completed.choices is not None
    assert completed.choices[0].text == ANSWER
    embedder = endpoints.embeddings("cohere")
    embedded = api.query(embedder, input=[SAID, "more"], extra_params={"input_type": "search_query"})
    assert embedded.data is not None
    assert [one.embedding for one in embedded.data] == [vector(SAID, 8), vector("more", 8)]
    assert embedded.data[0].object is not None
    assert embedded.data[0].object.value == "embedding"


def test_the_sdk_is_told_of_limits_and_what_cannot_be(
    workspace: WorkspaceClient, endpoints: ExternalEndpoints, fake: FakeProviderClient
) -> None:
    name = endpoints.embeddings("openai")
    with pytest.raises(BadRequest, match="'input'"):
        workspace.serving_endpoints.query(name, messages=[ChatMessage(content="a")])
    fake.fail_next("status", status=429, headers={"retry-after": "1"})
    began = time.monotonic()
    answer = workspace.serving_endpoints.query(name, input="a")  # the client waits and asks again
    assert answer.data is not None
    assert time.monotonic() - began >= 1


def test_the_sdks_client_of_openai_is_let_in(workspace: WorkspaceClient, endpoints: ExternalEndpoints) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        client = workspace.serving_endpoints.get_open_ai_client()
    model = endpoints.chat("palm")
    messages: Any = [{"role": "user", "content": SAID}]
    with client:
        whole = client.chat.completions.create(model=model, messages=messages)
        stream = client.chat.completions.create(model=model, messages=messages, stream=True)
        pieces = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert (whole.choices[0].message.content, "".join(pieces)) == (ANSWER, ANSWER)
