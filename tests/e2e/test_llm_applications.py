"""LLM applications logged with MLflow, through the clients that query them: whole answers and streams."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import models
import openai
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.service.serving import ChatMessage, ChatMessageRole
from llm_models import LLM_MODELS
from mlflow.deployments import get_deploy_client
from mlflow.exceptions import MlflowException
from openai import OpenAI
from prometheus_client.parser import text_string_to_metric_families as parse_metrics
from server import Server, running_server, wait_for

TABLE = {"enabled": True, "catalog_name": "main", "schema_name": "logs"}
HELLO: list[Any] = [{"role": "user", "content": "hello over there"}]
BREAK: list[Any] = [{"role": "user", "content": "please break here"}]
ANSWER = "You said: hello over there"
IDLE_SECONDS = 3.0
WORKERS = 4  # of a replica


@pytest.fixture(scope="module")
def apps() -> Iterator[Server]:
    """A server with an endpoint of each application, of the same name."""
    settings = {"MOORAGE_STREAM_IDLE_SECONDS": str(IDLE_SECONDS)}
    with pytest.MonkeyPatch.context() as patch, running_server(settings=settings) as server:
        patch.setattr(models, "MODELS", LLM_MODELS)
        registry = models.Registry(server)
        for kind in LLM_MODELS:
            entity = {"entity_name": registry.register(kind).name, "entity_version": "1"}
            body = {
                "name": kind,
                "config": {"served_entities": [entity]},
                "ai_gateway": {"inference_table_config": {**TABLE, "table_name_prefix": kind}},
            }
            answer = server.http.post("/api/2.0/serving-endpoints", json=body)
            assert answer.status_code == 200, answer.text
        for kind in LLM_MODELS:
            server.ready(kind)
        yield server


@pytest.fixture(scope="module")
def client(apps: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{apps.url}/serving-endpoints", api_key=apps.token, max_retries=0) as one:
        yield one


def events_of(answer: httpx.Response) -> list[Any]:
    """The documents of a stream, whose every line is data; `[DONE]` where it is said."""
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    text = answer.text
    assert text.endswith("\n\n")
    lines = text.removesuffix("\n\n").split("\n\n")
    assert all(line.startswith("data: ") and "\n" not in line for line in lines)
    data = [line.removeprefix("data: ") for line in lines]
    return [one if one == "[DONE]" else json.loads(one) for one in data]


def told(**wanted: Any) -> dict[str, Any]:
    """A request to the streamer."""
    return {"messages": [wanted], "stream": True}


def ends(server: Server, tag: str) -> list[int]:
    """How many objects the streams of that tag gave, of those that have ended."""
    return [int(count) for count in re.findall(rf" {tag} ended after (\d+)", server.service_log("streamer"))]


@contextmanager
def unread(server: Server, body: Any) -> Iterator[socket.socket]:
    """A socket on which the streamer was asked, and of which nothing is read by itself."""
    url, content = httpx.URL(server.url), json.dumps(body).encode()
    head = (
        "POST /serving-endpoints/streamer/invocations HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        f"authorization: Bearer {server.token}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(content)}\r\n\r\n"
    )
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.settimeout(30)
        sock.connect((url.host, url.port))
        sock.sendall(head.encode() + content)
        yield sock


def text_of(stream: Any) -> str:
    chunks = list(stream)
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


class TestOpenAIClient:
    @pytest.mark.parametrize("kind", ["chat_agent", "chat_model", "teller"])
    def test_every_chat_application_gives_a_completion(self, client, kind):
        answer = client.chat.completions.create(model=kind, messages=HELLO)
        assert answer.object == "chat.completion"
        assert (answer.model, len(answer.choices)) == (kind, 1)
        assert answer.id
        choice = answer.choices[0]
        assert (choice.message.role, choice.message.content, choice.finish_reason) == ("assistant", ANSWER, "stop")

    @pytest.mark.parametrize("kind", ["chat_agent", "chat_model", "teller"])
    def test_every_chat_application_streams_chunks(self, client, kind):
        with client.chat.completions.create(model=kind, messages=HELLO, stream=True) as stream:
            assert text_of(stream) == ANSWER

    def test_agents_stream_has_its_role_once_and_an_end(self, client):
        chunks = list(client.chat.completions.create(model="chat_agent", messages=HELLO, stream=True))
        assert [chunk.choices[0].delta.role for chunk in chunks] == ["assistant"] + [None] * (len(chunks) - 1)
        assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
        assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == [7]

    def test_agent_gets_what_it_is_sent_beside_the_messages(self, client):
        extra = {"custom_inputs": {"a": 1}, "context": {"conversation_id": "k"}, "client_request_id": "mine"}
        extra["databricks_options"] = {"return_trace": True}
        answer = client.chat.completions.create(model="chat_agent", messages=HELLO, extra_body=extra)
        assert answer.custom_outputs == {"inputs": {"a": 1}, "conversation": "k"}
        assert answer.usage.total_tokens == 7
        with client.chat.completions.create(
            model="chat_agent", messages=HELLO, extra_body=extra, stream=True
        ) as stream:
            assert [one.custom_outputs for one in stream if hasattr(one, "custom_outputs")] == [answer.custom_outputs]

    def test_choice_is_an_agents_last_message_and_all_of_them_are_there(self, client):
        asked: list[Any] = [{"role": "user", "content": "use the tool"}]
        answer = client.chat.completions.create(model="chat_agent", messages=asked)
        assert answer.choices[0].message.content == "You said: use the tool"
        assert [one["role"] for one in answer.messages] == ["assistant", "tool", "assistant"]
        chunks = list(client.chat.completions.create(model="chat_agent", messages=asked, stream=True))
        calls = [call for one in chunks for call in one.choices[0].delta.tool_calls or ()]
        assert [(call.index, call.id, call.function.name) for call in calls] == [(0, "c1", "clock")]
        assert "".join(one.choices[0].delta.content or "" for one in chunks) == "You said: use the tool"
        assert [one.delta["content"] for one in chunks if hasattr(one, "delta")] == ["noon"]

    def test_openais_own_reader_of_streams_puts_the_agents_together(self, client):
        with client.chat.completions.stream(model="chat_agent", messages=HELLO) as stream:
            final = stream.get_final_completion()
        assert final.choices[0].message.content == ANSWER
        assert final.choices[0].message.role == "assistant"

    @pytest.mark.parametrize("said", [HELLO, HELLO[0]["content"]])
    def test_responses_agent_answers_as_responses(self, client, said):
        extra = {"custom_inputs": {"a": 1}, "context": {"conversation_id": "k"}}
        answer = client.responses.create(model="responses_agent", input=said, extra_body=extra)
        assert (answer.object, answer.status, answer.model) == ("response", "completed", "responses_agent")
        assert answer.output_text == ANSWER
        assert answer.custom_outputs == {"inputs": {"a": 1}, "conversation": "k"}

    def test_responses_agent_streams_events(self, client):
        with client.responses.create(model="responses_agent", input=HELLO, stream=True) as stream:
            events = list(stream)
        assert "".join(one.delta for one in events if one.type == "response.output_text.delta") == ANSWER
        assert events[-1].type == "response.output_item.done"
        assert events[-1].item.content[0].text == ANSWER

    def test_parameters_of_a_chat_model_reach_it(self, client):
        answer = client.chat.completions.create(model="chat_model", messages=HELLO, max_tokens=3)
        assert answer.choices[0].message.content == "You said: hello"
        stream = client.chat.completions.create(model="chat_model", messages=HELLO, max_tokens=3, stream=True)
        assert text_of(stream) == "You said: hello"

    def test_failures_before_and_after_the_first_chunk(self, client):
        at_once: list[Any] = [{"role": "user", "content": "fail at once"}]
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError, match="it was told to") as refused:
                client.chat.completions.create(model="chat_agent", messages=at_once, stream=stream)
            assert refused.value.body["code"] == "BAD_REQUEST"
        for kind in ("chat_agent", "chat_model"):
            said = []
            stream = client.chat.completions.create(model=kind, messages=BREAK, stream=True)
            with pytest.raises(openai.APIError, match="it was told to"):
                said.extend(chunk.choices[0].delta.content for chunk in stream)
            assert "".join(said) == "You said: please"
        with pytest.raises(openai.APIError, match="it was told to"):
            list(client.responses.create(model="responses_agent", input=BREAK, stream=True))

    def test_question_in_a_form_that_the_application_does_not_take_is_a_bad_request(self, client):
        with pytest.raises(openai.BadRequestError, match="messages"):
            client.responses.create(model="chat_agent", input=HELLO)
        with pytest.raises(openai.BadRequestError, match="input"):
            client.chat.completions.create(model="responses_agent", messages=HELLO)

    def test_anthropics_form_is_none_of_theirs(self, apps):
        body = {"model": "chat_agent", "max_tokens": 9, "messages": HELLO}
        answer = apps.http.post("/serving-endpoints/anthropic/v1/messages", json=body)
        assert answer.status_code == 400
        assert "Anthropic" in answer.json()["message"]


class TestInvocations:
    def test_mlflows_client_reads_streams(self, apps):
        with apps.as_client():
            client = get_deploy_client("databricks")
            chunks = list(client.predict_stream(endpoint="chat_agent", inputs={"messages": HELLO}))
            assert "".join(one["delta"]["content"] for one in chunks) == ANSWER
            events = list(client.predict_stream(endpoint="responses_agent", inputs={"input": HELLO}))
            assert [one["type"] for one in events][-2:] == ["response.output_text.delta", "response.output_item.done"]
            chunks = list(client.predict_stream(endpoint="chat_model", inputs={"messages": HELLO}))
            assert "".join(one["choices"][0]["delta"]["content"] for one in chunks) == ANSWER
            chunks = list(client.predict_stream(endpoint="teller", inputs={"messages": HELLO}))
            assert chunks == ["You said: ", "hello over there"]
            answer = client.predict(endpoint="chat_agent", inputs={"messages": HELLO})
            assert answer["messages"][-1]["content"] == ANSWER
            with pytest.raises((MlflowException, httpx.HTTPError, OSError), match="400"):
                list(client.predict_stream(endpoint="cannot_stream", inputs={"messages": HELLO}))

    def test_databricks_sdk_queries_a_chat_model(self, apps):
        workspace = WorkspaceClient(host=apps.url, token=apps.token, auth_type="pat")
        said = [ChatMessage(role=ChatMessageRole.USER, content="hello over there")]
        answer = workspace.serving_endpoints.query("chat_model", messages=said, max_tokens=3)
        assert answer.choices[0].message.content == "You said: hello"
        assert answer.served_model_name == "chat_model-1"

    def test_openai_client_of_the_databricks_sdk(self, apps):
        workspace = WorkspaceClient(host=apps.url, token=apps.token, auth_type="pat")
        client = workspace.serving_endpoints.get_open_ai_client()
        assert text_of(client.chat.completions.create(model="chat_agent", messages=HELLO, stream=True)) == ANSWER

    def test_curl_sees_one_line_an_object(self, apps):
        body = json.dumps(told(count=2))
        command = ["curl", "-sS", "-N", "--max-time", "30", "-H", f"Authorization: Bearer {apps.token}", "-d", body]
        command += ["-H", "content-type: application/json"]
        command.append(f"{apps.url}/serving-endpoints/streamer/invocations")
        out = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        assert out == (
            'data: {"number": 0, "filler": ""}\n\ndata: {"number": 1, "filler": ""}\n\ndata: [DONE]\n\n'
        )

    def test_python_model_gets_the_whole_request(self, apps):
        body = {"messages": HELLO, "client_request_id": "mine", "databricks_options": {"return_trace": True}}
        assert apps.query("streamer", {**body, "stream": False}).json() == {**body, "stream": False}

    def test_stream_says_who_answers_and_how_it_came(self, apps):
        answer = apps.query("streamer", told(), **{"x-moorage-explain": "1", "x-request-id": "an-id"})
        assert (answer.headers["served-model-name"], answer.headers["x-request-id"]) == ("streamer-1", "an-id")
        explained = json.loads(answer.headers["x-moorage-explanation"])
        assert (explained["endpoint"], explained["attempts"][0]["status"]) == ("streamer", 200)
        assert [one["number"] for one in events_of(answer)[:-1]] == [0, 1, 2]
        assert events_of(answer)[-1] == "[DONE]"

    def test_stream_of_nothing_is_its_end_alone(self, apps):
        assert events_of(apps.query("streamer", told(count=0))) == ["[DONE]"]

    def test_model_that_does_not_stream_says_so(self, apps):
        answer = apps.query("cannot_stream", {"messages": HELLO, "stream": True})
        assert answer.status_code == 400
        assert answer.json()["error_code"] == "BAD_REQUEST"
        assert "does not support streaming" in answer.json()["message"]
        assert apps.query("cannot_stream", {"messages": HELLO}).json() == "all of it"

    @pytest.mark.parametrize("value", [1, "true", None, [True]])
    def test_stream_that_is_not_true_asks_for_none(self, apps, value):
        assert apps.query("cannot_stream", {"messages": HELLO, "stream": value}).json() == "all of it"

    def test_failure_before_the_first_object_is_an_ordinary_error(self, apps):
        answer = apps.query("streamer", told(fail_after=0))
        assert answer.status_code == 400
        assert answer.json()["error_code"] == "BAD_REQUEST"
        assert "it was told to" in answer.json()["message"]
        assert "ValueError" in answer.json()["stack_trace"]

    def test_failure_after_the_first_object_is_the_last_event(self, apps):
        *given, last = events_of(apps.query("streamer", told(fail_after=2)))
        assert [one["number"] for one in given] == [0, 1]
        assert last["error_code"] == "BAD_REQUEST"
        assert "it was told to" in last["message"]
        assert last["error"] == {
            "message": last["message"], "type": "invalid_request_error", "param": None, "code": "BAD_REQUEST"
        }  # fmt: skip

    def test_object_that_is_no_json_ends_the_stream_as_an_error(self, apps):
        answer = apps.query("streamer", told(count=2, size="much"))
        assert answer.status_code == 400


class TestLoad:
    def test_client_that_leaves_frees_the_worker(self, apps):
        for _ in range(2 * WORKERS):
            body = told(count=100_000, pause=0.02, tag="leaves")
            with apps.http.stream("POST", "/serving-endpoints/streamer/invocations", json=body) as answer:
                assert next(answer.iter_lines()).startswith("data: ")
        wait_for("every stream ends", lambda: len(ends(apps, "leaves")) == 2 * WORKERS, 20)
        assert apps.query("streamer", told(count=1)).status_code == 200

    def test_client_that_leaves_before_the_first_object_frees_the_worker(self, apps):
        body = told(count=100_000, pause=1.0, tag="impatient")
        for _ in range(WORKERS):
            with pytest.raises(httpx.ReadTimeout):
                apps.http.post("/serving-endpoints/streamer/invocations", json=body, timeout=0.5)
        wait_for("every stream ends", lambda: ends(apps, "impatient") == [1] * WORKERS, 20)

    def test_slow_reader_holds_the_model_up_and_gets_everything(self, apps):
        count, size = 600, 100_000
        with unread(apps, told(count=count, size=size, tag="slow")) as sock:
            wait_for("it has begun", lambda: "slow begun" in apps.service_log("streamer"), 10)
            time.sleep(IDLE_SECONDS / 3)  # a model that runs ahead has given all of it long before
            assert not ends(apps, "slow")
            received = bytearray()
            while b"data: [DONE]" not in received[-100:]:
                data = sock.recv(1 << 20)
                assert data
                received += data
        assert received.count(b"data: {") == count
        assert len(received) > count * size
        wait_for("it ends", lambda: ends(apps, "slow") == [count], 10)

    def test_reader_that_does_not_read_at_all_is_let_go(self, apps):
        with unread(apps, told(count=100_000, size=100_000, tag="never")):
            given = wait_for("it is given up", lambda: ends(apps, "never"), 5 * IDLE_SECONDS)
        assert len(given) == 1
        assert given[0] < 300  # 30 MB: what fits the buffers of sockets and the window
        assert apps.query("streamer", told(count=1)).status_code == 200

    def test_twenty_streams_at_once(self, apps):
        async def one(client: httpx.AsyncClient, number: int) -> tuple[list[Any], float]:
            body = told(count=20, pause=0.01, size=number)
            answer = await client.post("/serving-endpoints/streamer/invocations", json=body)
            return events_of(answer), time.monotonic()

        async def all_of_them() -> list[tuple[list[Any], float]]:
            headers = {"authorization": f"Bearer {apps.token}"}
            async with httpx.AsyncClient(base_url=apps.url, headers=headers, timeout=60) as client:
                return await asyncio.gather(*(one(client, number) for number in range(20)))

        for number, (events, _) in enumerate(asyncio.run(all_of_them())):
            assert events.pop() == "[DONE]"
            assert events == [{"number": at, "filler": "x" * number} for at in range(20)]

    def test_pieces_come_as_they_are_made(self, apps):
        arrived = []
        with apps.http.stream(
            "POST", "/serving-endpoints/streamer/invocations", json=told(count=5, pause=0.2)
        ) as answer:
            for line in answer.iter_lines():
                if line:
                    arrived.append(time.monotonic())
        assert arrived[4] - arrived[0] > 0.6


class TestBooks:
    def test_streams_are_in_the_inference_table(self, apps):
        ok = apps.query("teller", {"messages": HELLO, "stream": True, "client_request_id": "the-good-one"})
        assert ok.status_code == 200
        bad = apps.query("streamer", {**told(fail_after=1), "client_request_id": "the-broken-one"})
        assert bad.status_code == 200

        def row(kind: str, request_id: str) -> Any:
            answer = apps.http.get(f"/api/2.0/serving-endpoints/{kind}/inference-table/rows")
            assert answer.status_code == 200, answer.text
            found = [one for one in answer.json()["rows"] if one.get("client_request_id") == request_id]
            return found[0] if found else None

        good = wait_for("the row is there", lambda: row("teller", "the-good-one"), 20)
        assert good["status_code"] == 200
        assert good["databricks_request_id"] == ok.headers["x-request-id"]
        assert "hello over there" in good["response"]
        assert json.loads(good["request"])["client_request_id"] == "the-good-one"
        broken = wait_for("the row is there", lambda: row("streamer", "the-broken-one"), 20)
        assert broken["status_code"] == 400
        assert "it was told to" in broken["response"]

    def test_streams_are_counted_once(self, apps):
        def counted() -> float:
            text = apps.http.get("/api/2.0/serving-endpoints/teller/metrics").text
            samples = [one for family in parse_metrics(text) for one in family.samples]
            return sum(one.value for one in samples if one.name == "request_count_total")

        before = counted()
        for _ in range(3):
            assert apps.query("teller", {"messages": HELLO, "stream": True}).status_code == 200
        wait_for("they are counted", lambda: counted() == before + 3, 20)


class TestFailingReplicas:
    def test_replica_that_ends_in_the_middle_ends_the_stream_with_an_error(self, apps):
        *given, last = events_of(apps.query("streamer", told(count=3, pause=0.1, die_after=2)))
        assert [one["number"] for one in given] == [0, 1]
        assert last["error_code"] == "INTERNAL_ERROR"
        assert "ended in the middle" in last["error"]["message"]
        assert events_of(apps.query("streamer", told(count=1)))[-1] == "[DONE]"

    def test_model_that_stands_still_ends_the_stream_with_an_error(self, apps):
        began = time.monotonic()
        *given, last = events_of(apps.query("streamer", told(count=3, stall_after=1, seconds=3 * IDLE_SECONDS)))
        assert IDLE_SECONDS <= time.monotonic() - began < 2 * IDLE_SECONDS
        assert [one["number"] for one in given] == [0]
        assert last["error_code"] == "DEADLINE_EXCEEDED"
