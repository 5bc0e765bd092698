"""Which way a query takes to each provider, what the streams of each way do, and that no body breaks one."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from providers_of_tests import WAYS, Way

from moorage.api.errors import ApiError, BadRequest
from moorage.api.external_models import ExternalTask, Provider
from moorage.api.routing import Availability, EndpointRoute
from moorage.api.surfaces import Surface
from moorage.external.exchange import AccessToken, Call, Document, StreamFailed, Target, UnreadableAnswer, Usage
from moorage.external.exchanges import DONE, Exchange, Relay, error_document, error_event
from moorage.external.failures import ProviderError
from moorage.external.ways import ChunkRelay, DataLines, exchange_of
from moorage.gateway.language_requests import language_request

NOW = datetime(2026, 3, 1, tzinfo=UTC)
MESSAGES = [{"role": "user", "content": "hello"}]
BODIES: dict[Surface, Document] = {
    Surface.CHAT: {"messages": MESSAGES},
    Surface.COMPLETIONS: {"prompt": "hello", "max_tokens": 5},
    Surface.EMBEDDINGS: {"input": ["hello"]},
    Surface.RESPONSES: {"input": "hello"},
    Surface.MESSAGES: {"messages": MESSAGES, "max_tokens": 5},
}
OTHERS = {
    "openai itself": WAYS["openai"]._replace(options={}),
    "bedrock cohere": WAYS["bedrock"]._replace(
        model="cohere.embed-english-v3", options={**WAYS["bedrock"].options, "bedrock_provider": "cohere"}
    ),
    "bedrock amazon": WAYS["bedrock"]._replace(
        model="amazon.titan-embed-text-v2:0", options={**WAYS["bedrock"].options, "bedrock_provider": "amazon"}
    ),
}
ALL = {**WAYS, **OTHERS}


def target_of(way: Way, task: ExternalTask) -> Target:
    return Target(way.provider, way.model, task, way.at("http://provider"), way.credentials)


def exchange(name: str, surface: Surface, body: Document | None = None, **fields: Any) -> Exchange:
    body = BODIES[surface] if body is None else body
    call = Call(surface.task, body, bool(body.get("stream")), "call-id", 1)
    return exchange_of(surface, target_of(ALL[name], surface.task), call, **fields)


def path(name: str, surface: Surface) -> str:
    """Where the request goes, or the refusal."""
    try:
        url = exchange(name, surface).request(AccessToken("token"), NOW).url
    except BadRequest as refused:
        return refused.message
    return re.sub(r"https?://[^/]+", "", url)


@pytest.mark.parametrize(
    ("name", "surface", "wanted"),
    [
        ("openai", Surface.CHAT, "/v1/chat/completions"),
        ("openai", Surface.COMPLETIONS, "/v1/completions"),
        ("openai", Surface.EMBEDDINGS, "/v1/embeddings"),
        ("openai", Surface.RESPONSES, "/v1/chat/completions"),
        ("openai", Surface.MESSAGES, "/v1/chat/completions"),
        ("openai itself", Surface.RESPONSES, "/v1/responses"),
        ("azure", Surface.RESPONSES, "/openai/v1/responses"),
        ("azure", Surface.MESSAGES, "/openai/deployments/mine/chat/completions?api-version=2024-10-21"),
        ("anthropic", Surface.CHAT, "/v1/messages"),
        ("anthropic", Surface.COMPLETIONS, "/v1/messages"),
        ("anthropic", Surface.RESPONSES, "/v1/messages"),
        ("anthropic", Surface.MESSAGES, "/v1/messages"),
        ("anthropic", Surface.EMBEDDINGS, "Anthropic has no embeddings"),
        ("cohere", Surface.CHAT, "/v2/chat"),
        ("cohere", Surface.COMPLETIONS, "/v2/chat"),
        ("cohere", Surface.EMBEDDINGS, "/v2/embed"),
        ("cohere", Surface.MESSAGES, "/v2/chat"),
        ("palm", Surface.COMPLETIONS, ":generateContent"),
        ("palm", Surface.RESPONSES, ":generateContent"),
        ("bedrock", Surface.CHAT, "/converse"),
        ("bedrock", Surface.MESSAGES, "/converse"),
        ("bedrock", Surface.EMBEDDINGS, "no embedding models"),
        ("bedrock amazon", Surface.EMBEDDINGS, "/invoke"),
        ("ai21labs", Surface.CHAT, "/studio/v1/chat/completions"),
        ("ai21labs", Surface.COMPLETIONS, "/studio/v1/chat/completions"),
        ("ai21labs", Surface.EMBEDDINGS, "chat completions alone"),
        ("databricks", Surface.COMPLETIONS, "/serving-endpoints/elsewhere/invocations"),
        ("custom", Surface.CHAT, "/custom/chat/completions"),
        ("custom", Surface.COMPLETIONS, "/custom/completions"),
        ("custom", Surface.EMBEDDINGS, "/custom/embeddings"),
    ],
)
def test_the_way_of_each_provider(name: str, surface: Surface, wanted: str) -> None:
    assert wanted in path(name, surface)


@pytest.mark.parametrize("surface", Surface)
@pytest.mark.parametrize("name", ALL)
def test_a_stream_that_must_be_read_is_read_in_chunks(name: str, surface: Surface) -> None:
    if surface is Surface.EMBEDDINGS:
        return  # there are no streams of them
    body = {**BODIES[surface], "stream": True}
    assert isinstance(exchange(name, surface, body, by_chunks=True).relay(), ChunkRelay)


@pytest.mark.parametrize("name", ALL)
def test_credentials_go_in_headers_alone(name: str) -> None:
    request = exchange(name, Surface.CHAT).request(AccessToken("ya29.fetched"), NOW)
    for secret in (*ALL[name].credentials.values(), "ya29.fetched"):
        assert secret.encode() not in request.body
        assert secret not in request.url
    assert all(name == name.lower() for name in request.headers)


# Streams of each way.


class Chunks:
    """A `ChunkStream` that gives what it is told to."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.finished = False
        self.fails: Exception | None = None
        self.last: list[Document] = []

    def feed(self, data: bytes) -> list[Document]:
        if self.fails is not None:
            raise self.fails
        return [orjson.loads(line) for line in data.splitlines()]

    def end(self) -> list[Document]:
        return self.last


def said(text: str) -> Document:
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


def test_chunks_become_lines_and_are_counted() -> None:
    chunks = Chunks()
    relay = ChunkRelay(chunks, DataLines(Surface.CHAT))
    role = {"choices": [{"index": 0, "delta": {"role": "assistant"}}]}
    assert relay.feed(orjson.dumps(role)) == b"data: " + orjson.dumps(role) + b"\n\n"
    assert (relay.content_seen, relay.characters) == (False, 0)
    assert relay.feed(b"") == b""
    relay.feed(orjson.dumps(said("héllo")))
    assert (relay.content_seen, relay.characters) == (True, 5)
    assert (relay.finished, relay.ended, relay.usage) == (False, False, None)


def test_a_tool_call_is_content() -> None:
    relay = ChunkRelay(Chunks(), DataLines(Surface.CHAT))
    relay.feed(orjson.dumps({"choices": [{"delta": {"tool_calls": [{"index": 0}]}}]}))
    assert (relay.content_seen, relay.characters) == (True, 0)


def test_the_mark_of_the_end_is_for_streams_that_came_to_it() -> None:
    chunks = Chunks()
    chunks.last = [said("!")]
    relay = ChunkRelay(chunks, DataLines(Surface.CHAT))
    assert relay.end() == b"data: " + orjson.dumps(said("!")) + b"\n\n"
    chunks.finished, chunks.usage = True, Usage(1, 2)
    assert relay.end().endswith(DONE)
    assert (relay.finished, relay.usage) == (True, Usage(1, 2))


def test_a_failure_of_the_provider_goes_through() -> None:
    chunks = Chunks()
    chunks.fails = StreamFailed(429, "slow down")
    relay = ChunkRelay(chunks, DataLines(Surface.CHAT))
    with pytest.raises(StreamFailed):
        relay.feed(b"{}")
    assert relay.unsent == b""


def events(data: bytes) -> list[tuple[str, Any]]:
    """Name and document of each event."""
    found = []
    for block in data.decode().split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        text = fields["data"]
        found.append((fields.get("event", ""), text if text == "[DONE]" else orjson.loads(text)))
    assert data.endswith(b"\n\n") or not data
    return found


def lines(*documents: Document) -> bytes:
    return b"".join(b"data: " + orjson.dumps(one) + b"\n\n" for one in documents)


FAILED = ProviderError(429, "slow down")


@pytest.mark.parametrize("surface", [Surface.CHAT, Surface.COMPLETIONS])
@pytest.mark.parametrize("name", ["openai", "anthropic", "cohere", "palm", "bedrock", "custom"])
def test_a_failed_stream_ends_with_an_error_of_the_openai_form(name: str, surface: Surface) -> None:
    relay = exchange(name, surface, {**BODIES[surface], "stream": True}).relay()
    ((event, document),) = events(relay.error(FAILED))
    assert event == ""
    assert document == {
        "error_code": "REQUEST_LIMIT_EXCEEDED",
        "message": "slow down",
        "error": {
            "message": "slow down",
            "type": "rate_limit_error",
            "param": None,
            "code": "REQUEST_LIMIT_EXCEEDED",
        },
    }


@pytest.mark.parametrize("name", ["openai", "anthropic", "palm"])
def test_a_failed_stream_of_messages_ends_with_anthropics_error(name: str) -> None:
    relay = exchange(name, Surface.MESSAGES, {**BODIES[Surface.MESSAGES], "stream": True}).relay()
    *_, (event, document) = events(relay.error(FAILED))
    assert (event, document["type"]) == ("error", "error")
    assert document["error"] == {"type": "rate_limit_error", "message": "slow down"}


def response_events(count: int) -> Iterable[Document]:
    yield {"type": "response.created", "sequence_number": 0, "response": {}}
    for number in range(1, count):
        yield {"type": "response.output_text.delta", "sequence_number": number, "delta": "ab"}


def test_the_error_of_a_native_response_follows_in_number() -> None:
    relay = exchange("openai itself", Surface.RESPONSES, {"input": "x", "stream": True}).relay()
    relay.feed(lines(*response_events(4)))
    assert (relay.characters, relay.content_seen) == (6, True)
    ((event, document),) = events(relay.error(FAILED))
    assert event == "error"
    assert document == {
        "type": "error",
        "code": "REQUEST_LIMIT_EXCEEDED",
        "message": "slow down",
        "param": None,
        "sequence_number": 4,
    }


def test_the_end_of_a_failed_response_follows_in_number() -> None:
    relay = exchange("openai", Surface.RESPONSES, {"input": "x", "stream": True}).relay()
    sent = events(relay.feed(lines({"id": "1", **said("hello")})) + relay.error(FAILED))
    assert [document["sequence_number"] for _, document in sent] == list(range(len(sent)))
    event, last = sent[-1]
    assert (event, last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"] == {"code": "rate_limit_exceeded", "message": "slow down"}


def test_events_before_an_error_are_not_lost() -> None:
    relay: Relay = exchange("openai", Surface.CHAT, {**BODIES[Surface.CHAT], "stream": True}).relay()
    with pytest.raises(StreamFailed):
        relay.feed(lines(said("before"), {"error": {"message": "no", "code": 429}}))
    assert [document for _, document in events(relay.unsent)] == [said("before")]
    relay = exchange("openai", Surface.CHAT, {**BODIES[Surface.CHAT], "stream": True}).relay()
    with pytest.raises(UnreadableAnswer):
        relay.feed(lines(said("before")) + b"data: <html>\n\n")
    assert [document for _, document in events(relay.unsent)] == [said("before")]


def test_a_passed_stream_has_ended_when_it_says_so() -> None:
    relay = exchange("openai", Surface.CHAT, {**BODIES[Surface.CHAT], "stream": True}).relay()
    assert relay.feed(lines(said("a"))[:-1]) == b""
    assert relay.feed(b"\n") == lines(said("a"))
    assert (relay.ended, relay.finished) == (False, False)
    assert relay.feed(DONE) == DONE
    assert (relay.ended, relay.finished) == (True, True)
    assert relay.feed(lines(said("more"))) == b""


@pytest.mark.parametrize("surface", Surface)
def test_errors_have_the_one_shape_and_that_of_their_form(surface: Surface) -> None:
    for error in (BadRequest("no"), ProviderError(503, "no")):
        document = error_document(surface, error)
        assert error.body().items() <= document.items()
        assert document["error"]["message"] == "no"
        assert (document.get("type") == "error") is (surface is Surface.MESSAGES)
        assert error_document(None, error) == error.body()
        assert error_event(surface, error).endswith(b"\n\n")


# Bodies in which something is not what it should be.

_IMAGE = "data:image/png;base64,AAAA"
_SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "format": "date"}}}
FULL: dict[Surface, Document] = {
    Surface.CHAT: {
        "messages": [
            {"role": "system", "content": "x"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "a"},
                    {"type": "image_url", "image_url": {"url": _IMAGE, "detail": "low"}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "c", "content": "r"},
            {"role": "assistant", "content": [{"type": "text", "text": "t"}]},
            {"role": "user", "content": "b"},
        ],
        "max_tokens": 5, "temperature": 1, "top_p": 1, "top_k": 3, "stop": ["a"], "n": 1, "stream": False,
        "stream_options": {"include_usage": True}, "parallel_tool_calls": True, "logprobs": False, "user": "u",
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": _SCHEMA, "strict": True}}
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}}, "seed": 1, "reasoning_effort": "none",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": _SCHEMA}},
        "thinking": {"type": "enabled", "budget_tokens": 1024}, "presence_penalty": 0, "metadata": {},
    },
    Surface.COMPLETIONS: {
        "prompt": "x", "max_tokens": 5, "temperature": 1, "top_p": 1, "top_k": 3, "n": 1, "stop": "a",
        "stream": False, "echo": False, "suffix": "", "logprobs": None, "use_raw_prompt": False,
        "error_behavior": "error",
    },
    Surface.EMBEDDINGS: {
        "input": ["a"], "instruction": "x", "dimensions": 256, "user": "u", "encoding_format": "float",
        "input_type": "search_query",
    },
    Surface.RESPONSES: {
        "input": [
            {
                "role": "user",
                "content": [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": _IMAGE}],
            },
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "x"}]},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "t"}], "id": "rs"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]},
            {"role": "user", "content": "x"},
        ],
        "instructions": "i", "parallel_tool_calls": True, "stream": False, "max_output_tokens": 5, "temperature": 1,
        "tools": [{"type": "function", "name": "f", "parameters": _SCHEMA, "strict": True, "description": "d"}],
        "tool_choice": {"type": "function", "name": "f"}, "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": _SCHEMA}, "verbosity": "low"},
        "include": ["reasoning.encrypted_content"], "truncation": "disabled", "store": False, "metadata": {},
    },
    Surface.MESSAGES: {
        "max_tokens": 5, "stream": False, "temperature": 1, "top_p": 1, "top_k": 1, "stop_sequences": ["a"],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "t", "signature": "s"},
                    {"type": "tool_use", "id": "t", "name": "f", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "x"}]}],
            },
        ],
        "system": [{"type": "text", "text": "s"}], "metadata": {"user_id": "u"}, "container": None, "mcp_servers": [],
        "tools": [{"name": "f", "description": "d", "input_schema": _SCHEMA}],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": _SCHEMA}},
    },
}  # fmt: skip
WRONG: list[Any] = [None, True, -1, 10**18, "\x00", [[]], [None], {}, [{"type": []}], {"type": {}}, {"type": "x"}]
_CAUSES = {  # what a refused field of chats comes from
    "parallel_tool_calls": "tool_choice", "tool_choice": "tool_choice", "tools": "tools",
    "max_tokens": "reasoning output_config thinking reasoning_effort",
    "reasoning_effort": "reasoning output_config thinking", "verbosity": "text",
    "response_format": "text output_config",
}  # fmt: skip


def refusal_of(name: str, surface: Surface, body: Document) -> str:
    """The message of the refusal, none where it could be sent; everything else that is raised is a defect."""
    try:
        route = EndpointRoute(name="e", id="e", availability=Availability.SERVING, served=(), task=surface.task)
        asked = language_request(body, surface, route)
        exchange(name, surface, asked.body).request(AccessToken("token"), NOW)
    except ApiError as error:
        status, message = error.status, error.message
    else:
        return ""
    assert 400 <= status < 500, message
    return message


def acceptable(name: str, surface: Surface) -> Document | None:
    """As much of the full body as the provider takes; None where it takes nothing in this form."""
    body = copy.deepcopy(FULL[surface])
    while message := refusal_of(name, surface, body):
        found = re.search(r"'(\w+)[^']*'", message)
        named = [*_CAUSES.get(found[1], "").split(), found[1]] if found else []
        gone = next((field for field in named if field in body), None)
        if gone is None:
            return None
        del body[gone]
    return body


def spoiled(body: Document) -> Iterator[Document]:
    """The body with each of its values replaced by each wrong one, and without it."""

    def below(value: Any, at: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
        if isinstance(value, Mapping | list):
            for key in value if isinstance(value, Mapping) else range(len(value)):
                yield (*at, key)
                yield from below(value[key], (*at, key))

    def changed(value: Any, at: tuple[str | int, ...], change: list[Any]) -> Any:
        if not at:
            return change[0]
        made = dict(value) if isinstance(value, Mapping) else list(value)
        if len(at) == 1 and not change:
            del made[at[0]]
        else:
            made[at[0]] = changed(value[at[0]], at[1:], change)
        return made

    for place in below(body, ()):
        for change in ([], *([one] for one in WRONG)):
            yield changed(body, place, change)


@pytest.mark.parametrize("surface", Surface)
@pytest.mark.parametrize("name", ALL)
def test_no_body_breaks_a_translator(name: str, surface: Surface) -> None:
    body = acceptable(name, surface)
    if body is None:
        assert (name, surface) not in {("openai", surface), ("custom", surface), (name, Surface.CHAT)}
        assert refusal_of(name, surface, BODIES[surface]), "it takes nothing in this form"
        return
    for one in spoiled(body):
        refusal_of(name, surface, one)


def test_the_tasks_of_providers_without_embeddings_are_refused() -> None:
    for name in ("anthropic", "bedrock", "ai21labs"):
        assert refusal_of(name, Surface.EMBEDDINGS, BODIES[Surface.EMBEDDINGS])
    assert {way.provider for way in WAYS.values()} == set(Provider) - {Provider.GOOGLE_CLOUD_VERTEX_AI}


def test_usage_that_comes_alone_joins_the_chunk_that_ends_the_answer_where_it_was_not_asked_for() -> None:
    said = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]}
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    usage = {"choices": [], "usage": {"total_tokens": 3}}
    lines = DataLines(Surface.CHAT, merge_usage=True)
    assert lines.feed([said, last]) == b"data: " + orjson.dumps(said) + b"\n\n"
    whole = b"data: " + orjson.dumps({**last, "usage": {"total_tokens": 3}}) + b"\n\ndata: [DONE]\n\n"
    assert lines.feed([usage]) + lines.end() == whole
    asked = DataLines(Surface.CHAT)
    assert asked.feed([last, usage]).count(b"data: ") == 2
