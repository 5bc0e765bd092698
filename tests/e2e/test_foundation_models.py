"""Foundation models of this machine: real engines with real weights, asked by the clients that people have."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import anthropic
import httpx
import mlflow
import numpy as np
import openai
import pytest
import yaml
from databricks.sdk import WorkspaceClient
from databricks.sdk.service.serving import PtEndpointCoreConfig, PtServedModel
from engine_models import tiny_gguf
from mlflow.deployments import get_deploy_client
from openai import OpenAI
from server import OTHER_TOKEN, Server, running_server, wait_for

from moorage.datadir import DataDirectory

CHAT = "databricks-smollm2-135m-instruct"
EMBEDDINGS = "databricks-all-minilm-l6-v2"
CAPITAL = [{"role": "user", "content": "What is the capital of France? Answer in one sentence."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["c", "f"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server(with_other_user=True, settings={"MOORAGE_SCALE_TO_ZERO_IDLE_SECONDS": "600"}) as running:
        wait_for("the endpoints of the catalogue", lambda: len(names(running)) == 2, 20)
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/serving-endpoints", api_key=server.token, max_retries=0, timeout=60) as one:
        yield one


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users may read: where the server is root, models run as users of their own."""
    with tempfile.TemporaryDirectory(prefix="moorage-weights-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def names(server: Server) -> list[str]:
    return [one["name"] for one in server.http.get("/api/2.0/serving-endpoints").json().get("endpoints", [])]


def replica_of(server: Server, endpoint: str) -> str:
    """The id of the endpoint's one ready replica."""
    found = server.http.get(f"/api/2.0/serving-endpoints/{endpoint}/replicas").json().get("replicas", [])
    ready = [one["id"] for one in found if one["state"] == "READY"]
    return ready[0] if len(ready) == 1 else ""


class _OverSocket(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("engine")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self._path)


def engines_word(server: Server, endpoint: str, path: str) -> str:
    """What the engine behind an endpoint says itself."""
    address = DataDirectory(server.data_dir).replica_socket(replica_of(server, endpoint))
    with closing(_OverSocket(str(address))) as connection:
        connection.request("GET", path)
        return connection.getresponse().read().decode()


def metric(server: Server, endpoint: str, name: str) -> float:
    lines = engines_word(server, endpoint, "/metrics").splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(name))


def test_models_of_the_catalogue_are_at_the_top_of_the_list_and_ready(server: Server) -> None:
    listed = server.http.get("/api/2.0/serving-endpoints").json()["endpoints"]
    assert [one["name"] for one in listed] == [EMBEDDINGS, CHAT]
    assert {one["task"] for one in listed} == {"llm/v1/chat", "llm/v1/embeddings"}
    for one in listed:
        assert one["state"]["ready"] == "READY"
        (served,) = one["config"]["served_entities"]
        assert served["entity_name"].startswith("system.ai.")
        assert served["foundation_model"]["display_name"]
    workspace = WorkspaceClient(host=server.url, token=server.token, auth_type="pat")
    found = workspace.serving_endpoints.get(CHAT)
    assert found.task == "llm/v1/chat"
    assert found.config.served_entities[0].foundation_model.name == "system.ai.smollm2_135m_instruct"


def test_the_first_query_starts_a_model_and_the_answer_makes_sense(server: Server, client: OpenAI) -> None:
    assert replica_of(server, CHAT) == ""
    answer = client.chat.completions.create(model=CHAT, messages=CAPITAL, temperature=0, max_tokens=40)
    assert "Paris" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert replica_of(server, CHAT)


def test_a_stream_has_the_same_words_in_pieces(client: OpenAI) -> None:
    whole = client.chat.completions.create(model=CHAT, messages=CAPITAL, temperature=0, max_tokens=40)
    chunks = list(
        client.chat.completions.create(
            model=CHAT,
            messages=CAPITAL,
            temperature=0,
            max_tokens=40,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
    assert text == whole.choices[0].message.content
    assert len(chunks) > 5
    assert len({one.id for one in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [one.usage for one in chunks if one.usage][-1] == whole.usage


def test_an_answer_is_what_its_schema_says(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=CHAT,
        messages=[{"role": "user", "content": "Bob is 42 years old. Give name and age as JSON."}],
        response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}},
        temperature=0,
        max_tokens=200,
    )
    document = json.loads(answer.choices[0].message.content)
    assert set(document) == {"name", "age"}
    assert isinstance(document["age"], int)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_that_must_be_called_is(client: OpenAI, choice: Any, stream: bool) -> None:
    answer = client.chat.completions.create(
        model=CHAT,
        messages=[{"role": "user", "content": "What is the weather in Paris, in celsius?"}],
        tools=[WEATHER],
        tool_choice=choice,
        temperature=0,
        max_tokens=200,
        stream=stream,
    )
    if stream:
        chunks = list(answer)
        calls = [call for one in chunks if one.choices for call in one.choices[0].delta.tool_calls or ()]
        name = next(call.function.name for call in calls if call.function.name)
        arguments = "".join(call.function.arguments or "" for call in calls)
        assert [one.choices[0].finish_reason for one in chunks if one.choices][-1] == "tool_calls"
    else:
        (call,) = answer.choices[0].message.tool_calls
        name, arguments = call.function.name, call.function.arguments
        assert answer.choices[0].finish_reason == "tool_calls"
    assert name == "get_weather"
    assert set(json.loads(arguments)) == {"city", "unit"}


def test_the_same_seed_gives_the_same_words(client: OpenAI) -> None:
    def words(seed: int) -> str:
        messages = [{"role": "user", "content": "Tell me a story."}]
        answer = client.chat.completions.create(
            model=CHAT, messages=messages, temperature=1.5, seed=seed, max_tokens=12
        )
        return answer.choices[0].message.content

    assert words(7) == words(7)
    assert len({words(seed) for seed in range(4)}) > 1


def test_log_probabilities_stop_words_and_several_choices(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=CHAT, messages=CAPITAL, temperature=0, max_tokens=30, logprobs=True, top_logprobs=2, stop=["Paris"]
    )
    assert "Paris" not in answer.choices[0].message.content
    tokens = answer.choices[0].logprobs.content
    assert tokens
    assert all(len(one.top_logprobs) == 2 and one.logprob <= 0 for one in tokens)
    several = client.chat.completions.create(model=CHAT, messages=CAPITAL, n=2, temperature=1, max_tokens=8)
    assert sorted(one.index for one in several.choices) == [0, 1]
    assert 8 < several.usage.completion_tokens <= 16


def test_responses_and_messages_and_the_older_completions(server: Server, client: OpenAI) -> None:
    response = client.responses.create(model=CHAT, input=CAPITAL[0]["content"], temperature=0, max_output_tokens=40)
    assert "Paris" in response.output_text
    claude = anthropic.Anthropic(base_url=f"{server.url}/serving-endpoints/anthropic", api_key=server.token)
    message = claude.messages.create(model=CHAT, messages=CAPITAL, extra_body={"temperature": 0}, max_tokens=40)
    assert "Paris" in message.content[0].text
    with server.as_client():
        answer = get_deploy_client("databricks").predict(
            endpoint=CHAT, inputs={"messages": CAPITAL, "temperature": 0, "max_tokens": 40}
        )
    assert "Paris" in answer["choices"][0]["message"]["content"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 9}, "'n'"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": "word " * 4000}]}, "tokens"),
    ],
)
def test_what_cannot_be_asked_says_why(client: OpenAI, change: dict[str, Any], words: str) -> None:
    with pytest.raises(openai.BadRequestError, match=words):
        client.chat.completions.create(**{"model": CHAT, "messages": CAPITAL, "max_tokens": 5, **change})


def test_paraphrases_are_closer_than_strangers(client: OpenAI) -> None:
    texts = ["A man is eating food.", "Someone has a meal.", "The stock market fell sharply today."]
    answer = client.embeddings.create(model=EMBEDDINGS, input=texts)  # the client asks for base64
    vectors = np.array([one.embedding for one in answer.data])
    assert vectors.shape == (3, 384)
    assert [one.index for one in answer.data] == [0, 1, 2]
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > likeness[0, 2] + 0.2
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 10
    floats = client.embeddings.create(model=EMBEDDINGS, input=texts[0], encoding_format="float")
    assert np.allclose(floats.data[0].embedding, vectors[0], atol=1e-3)


def test_eight_streams_share_the_engine_and_a_client_that_leaves_frees_its_slot(
    server: Server, client: OpenAI
) -> None:
    messages = [{"role": "user", "content": "Write a long story about the sea."}]
    busy = threading.Event()
    most = [0.0]

    def watch() -> None:
        while not busy.is_set():
            most[0] = max(most[0], metric(server, CHAT, "llamacpp:requests_processing"))
            time.sleep(0.05)

    def tell(_: int) -> int:
        stream = client.chat.completions.create(model=CHAT, messages=messages, max_tokens=24, stream=True)
        return sum(1 for _ in stream)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(tell, range(8)))
    busy.set()
    watcher.join()
    assert min(counts) > 5
    assert most[0] == 8  # all at the same time
    for stream in (True, False):
        body = {"model": CHAT, "messages": messages, "max_tokens": 1500, "stream": stream, "temperature": 0}
        with closing(socket.create_connection((httpx.URL(server.url).host, httpx.URL(server.url).port))) as sock:
            content = json.dumps(body).encode()
            head = (
                f"POST /serving-endpoints/chat/completions HTTP/1.1\r\nhost: moorage\r\n"
                f"authorization: Bearer {server.token}\r\ncontent-length: {len(content)}\r\n\r\n"
            )
            sock.sendall(head.encode() + content)
            wait_for(
                "the request in its slot", lambda: metric(server, CHAT, "llamacpp:requests_processing") == 1, 10
            )
        wait_for("a free slot", lambda: metric(server, CHAT, "llamacpp:requests_processing") == 0, 3)


def test_a_killed_engine_comes_back_and_outlives_the_control_plane(server: Server, client: OpenAI) -> None:
    client.chat.completions.create(model=CHAT, messages=CAPITAL, max_tokens=2)
    first = replica_of(server, CHAT)
    pid = server.replicas()[first]
    os.kill(server.part("moorage.control"), signal.SIGKILL)
    assert client.chat.completions.create(model=CHAT, messages=CAPITAL, max_tokens=2).choices
    wait_for("a control plane", lambda: server.part("moorage.control"), 20)
    wait_for("its answer", lambda: server.http.get("/health").status_code == 200, 20)
    wait_for("the same replica", lambda: replica_of(server, CHAT) == first, 20)
    assert server.replicas()[first] == pid
    os.kill(pid, signal.SIGKILL)
    wait_for("another replica", lambda: replica_of(server, CHAT) not in ("", first), 30)
    assert client.chat.completions.create(model=CHAT, messages=CAPITAL, max_tokens=2).choices


def test_everybody_may_query_and_nobody_may_change_them(server: Server) -> None:
    other = {"Authorization": f"Bearer {OTHER_TOKEN}"}
    body = {"messages": CAPITAL, "max_tokens": 2}
    path = f"/serving-endpoints/{CHAT}/invocations"
    assert httpx.post(f"{server.url}{path}", headers=other, json=body, timeout=60).status_code == 200
    endpoint = f"/api/2.0/serving-endpoints/{CHAT}"
    assert httpx.delete(f"{server.url}{endpoint}", headers=other).status_code == 403
    refused = server.http.delete(endpoint)
    assert (refused.status_code, refused.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "catalogue" in refused.json()["message"]
    config = {"served_entities": [{"entity_name": "m", "entity_version": "1"}]}
    assert server.http.put(f"{endpoint}/config", json=config).status_code == 400
    limits = {"rate_limits": [{"calls": 1000, "key": "user", "renewal_period": "minute"}]}
    assert server.http.put(f"{endpoint}/rate-limits", json=limits).status_code == 200


def test_a_model_that_is_added_to_the_catalogue_appears_and_leaves_with_its_entry(
    server: Server, client: OpenAI, open_folder: Path
) -> None:
    weights = shutil.copy(tiny_gguf(), open_folder / "tiny.gguf")
    entry = {
        "name": "databricks-tiny",
        "entity_name": "system.ai.tiny",
        "display_name": "Tiny",
        "engine": "llama.cpp",
        "weights": str(weights),
        "task": "llm/v1/completions",
        "context": 256,
        "slots": 2,
    }
    path = server.data_dir / "catalogue.yaml"
    path.write_text(yaml.safe_dump({"models": [entry]}))
    wait_for("its endpoint", lambda: "databricks-tiny" in names(server), 10)
    answer = client.completions.create(model="databricks-tiny", prompt=["a", "b"], max_tokens=4)
    assert sorted(one.index for one in answer.choices) == [0, 1]
    assert answer.usage.completion_tokens <= 8
    path.write_text("models: [{name: 1}]")  # a mistake changes nothing
    time.sleep(3)
    assert "databricks-tiny" in names(server)
    path.unlink()
    wait_for("its end", lambda: "databricks-tiny" not in names(server), 10)


class _Weights(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined,misc]
    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        raise RuntimeError("its weights are served by an engine")


def test_weights_that_mlflow_logged_get_provisioned_throughput(server: Server, client: OpenAI) -> None:
    name, endpoint = "main.default.tiny", "tiny-throughput"
    with server.as_client(), warnings.catch_warnings(), mlflow.start_run():
        warnings.simplefilter("ignore")
        mlflow.pyfunc.log_model(
            name="model",
            python_model=_Weights(),
            artifacts={"weights": str(tiny_gguf())},
            metadata={"task": "llm/v1/chat", "context_length": 512},
            registered_model_name=name,
            pip_requirements=["mlflow"],
        )
    workspace = WorkspaceClient(host=server.url, token=server.token, auth_type="pat")
    info = workspace.api_client.do("GET", f"/api/2.0/serving-endpoints/get-model-optimization-info/{name}/1")
    assert info["optimizable"] is True
    served = PtServedModel(entity_name=name, provisioned_model_units=2, entity_version="1")
    config = PtEndpointCoreConfig(served_entities=[served])
    made = workspace.serving_endpoints.create_provisioned_throughput_endpoint_and_wait(endpoint, config)
    assert made.state.ready.value == "READY"
    answer = client.chat.completions.create(model=endpoint, messages=CAPITAL, max_tokens=4)
    assert answer.usage.completion_tokens <= 4
    assert len(json.loads(engines_word(server, endpoint, "/slots"))) == 2
    more = PtEndpointCoreConfig(served_entities=[PtServedModel(name, 4, entity_version="1")])
    workspace.serving_endpoints.update_provisioned_throughput_endpoint_config_and_wait(endpoint, more)
    assert len(json.loads(engines_word(server, endpoint, "/slots"))) == 4
    build = server.http.get(f"/api/2.0/serving-endpoints/{endpoint}/served-models/tiny-1/build-logs").json()["logs"]
    assert "find weights" in build
    logs = server.http.get(f"/api/2.0/serving-endpoints/{endpoint}/served-models/tiny-1/logs").json()["logs"]
    assert "ready" in logs
    server.delete(endpoint)


@pytest.mark.skipif(os.path.exists("/dev/nvidiactl"), reason="this machine has a GPU: vLLM may well run")
def test_vllm_without_a_gpu_says_so(server: Server, open_folder: Path) -> None:
    entry = {
        "name": "databricks-big",
        "entity_name": "system.ai.big",
        "display_name": "Big",
        "engine": "vllm",
        "weights": str(open_folder),
        "task": "llm/v1/chat",
    }
    (open_folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (open_folder / "model.safetensors").write_bytes(b"")
    path = server.data_dir / "catalogue.yaml"
    path.write_text(yaml.safe_dump({"models": [entry]}))
    try:
        wait_for("its endpoint", lambda: "databricks-big" in names(server), 10)
        config = {"served_entities": [{"entity_name": "system.ai.big", "provisioned_model_units": 1}]}
        made = server.http.post("/api/2.0/serving-endpoints/pt", json={"name": "big", "config": config})
        assert made.status_code == 200, made.text
        detail = server.settled("big")
        assert detail["state"]["config_update"] == "UPDATE_FAILED"
        (served,) = detail["pending_config"]["served_entities"]
        assert "GPU" in served["state"]["deployment_state_message"]
        server.delete("big")
    finally:
        path.unlink()


def test_what_is_used_is_counted(server: Server, client: OpenAI) -> None:
    mine = {"client_request_id": "u-1"}
    client.chat.completions.create(model=CHAT, messages=CAPITAL, max_tokens=3, extra_body=mine)

    def rows() -> list[dict[str, Any]]:
        found = server.http.get("/api/2.0/moorage/usage", params={"client_request_id": "u-1"}).json()
        return [one for one in found.get("rows", []) if one.get("client_request_id") == "u-1"]

    (row,) = wait_for("its row", rows, 30, pace=0.5)
    assert row["output_token_count"] == 3
    assert row["input_token_count"] > 10
