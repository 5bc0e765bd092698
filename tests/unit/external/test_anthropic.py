"""Anthropic's answers and streams: what OpenAI's clients get of them, and what Anthropic's own clients get."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import pytest
from loopback import loopback
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from moorage.api.external_models import ExternalTask, Provider
from moorage.external.anthropic import AnthropicApi, NativeMessagesStream
from moorage.external.anthropic_formats import ANSWER_TOOL
from moorage.external.exchange import Answer, Call, ChunkStream, StreamFailed, Target, UnreadableAnswer, Usage

OLD, MODEL = "claude-sonnet-4-20250514", "claude-haiku-4-5-20251001"
TEXT = "naïve — 你好 🚀"
HELLO = [{"role": "user", "content": "Hello"}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "letter", "schema": {"type": "object", "properties": {}}}}
USAGE = {"input_tokens": 7, "output_tokens": 5}
THOUGHT = {"type": "thinking", "thinking": "Hm", "signature": "c2ln"}
REDACTED = {"type": "redacted_thinking", "data": "ZW5j"}
REASONING = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm", "signature": "c2ln"}]}
ENCRYPTED = {"type": "reasoning", "summary": [{"type": "summary_encrypted_text", "data": "ZW5j"}]}

Document = dict[str, Any]


def target(model: str = MODEL) -> Target:
    return Target(Provider.ANTHROPIC, model, ExternalTask.CHAT, {}, {"anthropic_api_key": "sk"})


def call(stream: bool = False, **body: Any) -> Call:
    return Call(ExternalTask.CHAT, {"messages": HELLO, **body}, stream, id="chatcmpl-1", created=1700000000)


def text(said: str) -> Document:
    return {"type": "text", "text": said}


def use(id: str, name: str = "weather", **input: Any) -> Document:
    return {"type": "tool_use", "id": id, "name": name, "input": input}


def message(*content: Document, stop: str | None = "end_turn", usage: Document = USAGE) -> Document:
    said = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": list(content),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": usage,
    }
    anthropic.types.Message.model_validate(said)
    return said


def answer(said: Document, model: str = MODEL, **body: Any) -> Answer:
    return AnthropicApi().answer(target(model), call(**body), json.dumps(said).encode())


def choice_of(said: Document, model: str = MODEL, **body: Any) -> tuple[Document, str]:
    answered = answer(said, model, **body).body
    assert (answered["id"], answered["model"], answered["created"]) == ("msg_1", MODEL, 1700000000)
    (choice,) = answered["choices"]
    spoken = choice["message"]
    if not isinstance(spoken["content"], list):  # lists are Databricks', not OpenAI's
        ChatCompletion.model_validate(answered, strict=True)
    assert spoken.pop("role") == "assistant"
    return spoken, choice["finish_reason"]


def weather(id: str, arguments: str) -> Document:
    return {"id": id, "type": "function", "function": {"name": "weather", "arguments": arguments}}


@pytest.mark.parametrize(
    ("said", "spoken"),
    [
        ((text("Hel"), text("lo")), {"content": "Hello"}),
        ((), {"content": ""}),
        ((THOUGHT, text("Hi")), {"content": "Hi"}),
        (
            (text("Let me see."), use("a", place="Čadca"), use("b")),
            {"content": "Let me see.", "tool_calls": [weather("a", '{"place":"Čadca"}'), weather("b", "{}")]},
        ),
        ((use("a"),), {"content": None, "tool_calls": [weather("a", "{}")]}),
        (({"type": "container_upload", "file_id": "f"}, text("x")), {"content": "x"}),
    ],
)
def test_blocks_become_a_message(said: tuple[Document, ...], spoken: Document) -> None:
    assert choice_of(message(*said))[0] == spoken


@pytest.mark.parametrize("asked", [{"reasoning_effort": "low"}, {"thinking": {"type": "adaptive"}}])
def test_reasoning_that_was_asked_for_is_shown(asked: Document) -> None:
    assert choice_of(message(THOUGHT, REDACTED, text("Hi")), **asked)[0] == {
        "content": [REASONING, ENCRYPTED, {"type": "text", "text": "Hi"}]
    }
    assert choice_of(message(THOUGHT, use("a")), **asked)[0]["content"] == [REASONING]
    assert choice_of(message(text("Hi")), **asked)[0] == {"content": "Hi"}


@pytest.mark.parametrize("asked", [{"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}])
def test_reasoning_that_was_declined_is_not(asked: Document) -> None:
    assert choice_of(message(THOUGHT, text("Hi")), **asked)[0] == {"content": "Hi"}


@pytest.mark.parametrize(
    ("stop", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
    ],
)
def test_reasons_to_stop(stop: str, finish: str) -> None:
    assert choice_of(message(text("x"), stop=stop))[1] == finish
    assert last(stream_of(events(text("x"), stop=stop)))["finish_reason"] == finish


def test_a_tool_call_is_a_reason_to_stop() -> None:
    assert choice_of(message(use("a"), stop="tool_use"))[1] == "tool_calls"
    assert last(stream_of(events(use("a"), stop="tool_use")))["finish_reason"] == "tool_calls"


def test_an_answer_through_the_tool_is_the_content() -> None:
    spoken, finish = choice_of(
        message(text("Here:"), use("t", ANSWER_TOOL, a=1), stop="tool_use"), OLD, response_format=SCHEMA
    )
    assert (spoken, finish) == ({"content": '{"a":1}'}, "stop")
    spoken, finish = choice_of(message(use("t", "weather"), stop="tool_use"), OLD, response_format=SCHEMA)
    assert (spoken["tool_calls"], finish) == ([weather("t", "{}")], "tool_calls")
    spoken, finish = choice_of(message(text("I will not."), stop="refusal"), OLD, response_format=SCHEMA)
    assert (spoken, finish) == ({"content": "I will not."}, "content_filter")


CACHED = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 20,
    "cache_read_input_tokens": 30,
    "output_tokens": 5,
    "output_tokens_details": {"thinking_tokens": 3},
}
IN_OPENAIS_WORDS = {
    "prompt_tokens": 60,
    "completion_tokens": 5,
    "total_tokens": 65,
    "prompt_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 20},
    "completion_tokens_details": {"reasoning_tokens": 3},
}


def test_tokens_of_the_cache_are_input_too() -> None:
    answered = answer(message(text("x"), usage=CACHED))
    assert answered.usage == Usage(60, 5)
    assert answered.body["usage"] == IN_OPENAIS_WORDS
    ChatCompletion.model_validate(answered.body, strict=True)
    reader = AnthropicApi().stream(target(), call(stream=True))
    *_, end = reader.feed(events(text("x"), usage=CACHED))
    assert reader.usage == Usage(60, 5)
    assert end["usage"] == IN_OPENAIS_WORDS
    assert AnthropicApi().native_usage(json.dumps(message(usage=CACHED)).encode()) == Usage(60, 5)


def test_usage_that_was_not_said_is_none() -> None:
    said = {field: value for field, value in message(text("x")).items() if field != "usage"}
    answered = answer(said)
    assert answered.usage is None
    assert "usage" not in answered.body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"type": "message"}',
        json.dumps(message() | {"content": "text"}).encode(),
        json.dumps(message() | {"content": ["text"]}).encode(),
        json.dumps(message() | {"content": [{"type": "text"}]}).encode(),
        json.dumps(message() | {"content": [{"type": "tool_use", "id": "a", "name": "b", "input": "{}"}]}).encode(),
        json.dumps(message() | {"usage": {"input_tokens": -1, "output_tokens": 1}}).encode(),
    ],
)
def test_what_is_no_message_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableAnswer):
        AnthropicApi().answer(target(), call(), body)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', "Overloaded"),
        (b'{"type":"error","error":{"type":"api_error"}}', "api_error"),
        (b"<html>Bad gateway</html>", "<html>Bad gateway</html>"),
        (b'{"error": "text"}', '{"error": "text"}'),
        (b"\xff", "�"),
    ],
)
def test_error_texts(body: bytes, said: str) -> None:
    assert AnthropicApi().error_text(body) == said


# Streams


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields}, ensure_ascii=False)}\n\n".encode()


def deltas_of(block: Document) -> tuple[Document, list[Document]]:
    """What a block begins with, and what is added to it."""
    match block:
        case {"type": "text", "text": said}:
            pieces = [said[at : at + 5] for at in range(0, len(said), 5)]
            return {**block, "text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces]
        case {"type": "thinking"}:
            added = [{"type": "thinking_delta", "thinking": block["thinking"]}]
            return {**block, "thinking": "", "signature": ""}, [
                *added,
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        case {"type": "tool_use", "input": given}:
            said = json.dumps(given, ensure_ascii=False) if given else ""
            pieces = ["", said[:4], said[4:]]
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return block, []


def events(*content: Document, stop: str = "end_turn", usage: Document = USAGE, end: bool = True) -> bytes:
    begun = message(stop=None, usage={**usage, "output_tokens": 1})
    said = [event("message_start", message=begun), event("ping")]
    for index, block in enumerate(content):
        begin, added = deltas_of(block)
        said.append(event("content_block_start", index=index, content_block=begin))
        said += [event("content_block_delta", index=index, delta=delta) for delta in added]
        said.append(event("content_block_stop", index=index))
    final = {field: value for field, value in usage.items() if field.startswith("output")}
    said.append(event("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage=final))
    return b"".join(said) + (event("message_stop") if end else b"")


def stream_of(data: bytes, model: str = MODEL, **body: Any) -> list[Document]:
    reader = AnthropicApi().stream(target(model), call(stream=True, **body))
    chunks = reader.feed(data) + reader.end()
    assert reader.finished
    return chunks


def last(chunks: list[Document]) -> Document:
    (choice,) = chunks[-1]["choices"]
    assert choice["delta"] == {}
    assert not any(chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1])
    return dict(choice)


def deltas(chunks: list[Document]) -> list[Document]:
    return [chunk["choices"][0]["delta"] for chunk in chunks]


ALL = events(THOUGHT, REDACTED, text(TEXT), use("a", place="Čadca"), use("b"), stop="tool_use")


def test_a_stream_becomes_chunks() -> None:
    chunks = stream_of(ALL)
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk, strict=True)
        assert (chunk["id"], chunk["model"], chunk["created"]) == ("msg_1", MODEL, 1700000000)
    assert deltas(chunks) == [
        {"role": "assistant", "content": ""},
        {"content": "naïve"},
        {"content": " — 你好"},
        {"content": " 🚀"},
        {"tool_calls": [{"index": 0, **weather("a", "")}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"pl'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": 'ace": "Čadca"}'}}]},
        {"tool_calls": [{"index": 1, **weather("b", "")}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {},
    ]
    assert [chunk["usage"] for chunk in chunks if "usage" in chunk] == [
        {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    ]
    assert "usage" in chunks[-1]


def test_reasoning_that_was_asked_for_is_in_the_chunks() -> None:
    said = deltas(stream_of(events(THOUGHT, REDACTED, text("Hi")), reasoning_effort="low"))
    assert said == [
        {"role": "assistant", "content": ""},
        {"content": [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]}]},
        {
            "content": [
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "", "signature": "c2ln"}]}
            ]
        },
        {"content": [ENCRYPTED]},
        {"content": "Hi"},
        {},
    ]


def test_an_answer_through_the_tool_is_the_content_of_the_chunks() -> None:
    data = events(text("Here:"), use("t", ANSWER_TOOL, a=1), stop="tool_use")
    chunks = stream_of(data, OLD, response_format=SCHEMA)
    assert "".join(delta.get("content") or "" for delta in deltas(chunks)) == '{"a": 1}'
    assert last(chunks)["finish_reason"] == "stop"
    chunks = stream_of(events(text("I will not."), stop="refusal"), OLD, response_format=SCHEMA)
    assert "".join(delta.get("content") or "" for delta in deltas(chunks)) == "I will not."
    assert last(chunks)["finish_reason"] == "content_filter"
    chunks = stream_of(data, MODEL, response_format=SCHEMA)
    assert last(chunks)["finish_reason"] == "tool_calls", "a tool of that name is the caller's own elsewhere"


def test_a_block_may_begin_with_all_of_it() -> None:
    data = event("message_start", message=message(stop=None)) + b"".join(
        event("content_block_start", index=index, content_block=block) + event("content_block_stop", index=index)
        for index, block in enumerate((text("Hi"), use("a", place="x")))
    )
    assert deltas(stream_of(data + event("message_stop")))[1:3] == [
        {"content": "Hi"},
        {"tool_calls": [{"index": 0, **weather("a", '{"place":"x"}')}]},
    ]


def test_where_the_bytes_are_cut_changes_nothing() -> None:
    whole = stream_of(ALL, reasoning_effort="low")
    for at in range(len(ALL) + 1):
        reader = AnthropicApi().stream(target(), call(stream=True, reasoning_effort="low"))
        assert reader.feed(ALL[:at]) + reader.feed(ALL[at:]) + reader.end() == whole
        assert reader.finished
    reader = AnthropicApi().stream(target(), call(stream=True, reasoning_effort="low"))
    assert [chunk for at in range(len(ALL)) for chunk in reader.feed(ALL[at : at + 1])] == whole


def test_new_kinds_of_events_blocks_and_deltas_are_passed_over() -> None:
    data = (
        event("message_start", message=message(stop=None))
        + event("something_new", anything=1)
        + event("content_block_start", index=0, content_block={"type": "new_block", "x": 1})
        + event("content_block_delta", index=0, delta={"type": "new_delta", "x": 1})
        + event("content_block_stop", index=0)
        + event("message_delta", delta={"stop_reason": "new_reason"}, usage={"output_tokens": 2})
        + event("message_stop")
    )
    chunks = stream_of(data)
    assert deltas(chunks) == [{"role": "assistant", "content": ""}, {}]
    assert last(chunks)["finish_reason"] == "stop"
    assert chunks[-1]["usage"]["completion_tokens"] == 2
    assert NativeMessagesStream().feed(data) == data


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("invalid_request_error", 400),
        ("authentication_error", 401),
        ("billing_error", 402),
        ("permission_error", 403),
        ("not_found_error", 404),
        ("request_too_large", 413),
        ("rate_limit_error", 429),
        ("api_error", 500),
        ("timeout_error", 504),
        ("overloaded_error", 529),
        ("something_new", 500),
    ],
)
def test_errors_in_a_stream(kind: str, status: int) -> None:
    begun = event("message_start", message=message(stop=None)) + event("ping")
    failing = begun + event("error", error={"type": kind, "message": "Sorry"}, request_id="req_1")
    reader = AnthropicApi().stream(target(), call(stream=True))
    with pytest.raises(StreamFailed, match="Sorry") as failed:
        reader.feed(failing)
    assert failed.value.status == status
    assert not reader.finished
    native = NativeMessagesStream()
    with pytest.raises(StreamFailed, match="Sorry") as failed:
        native.feed(failing)
    assert failed.value.status == status
    assert native.unsent == begun
    assert not native.finished


def readers() -> tuple[ChunkStream, NativeMessagesStream]:
    return AnthropicApi().stream(target(), call(stream=True)), NativeMessagesStream()


def test_a_stream_that_just_stops_was_cut_off() -> None:
    data = events(text(TEXT), end=False)
    for at in range(len(data) + 1):
        for reader in readers():
            reader.feed(data[:at])
            reader.end()
            assert not reader.finished


def test_the_last_empty_line_may_be_missing() -> None:
    for reader, said in zip(readers(), (stream_of(ALL), ALL), strict=True):
        assert reader.feed(ALL[:-2]) + reader.end() == said
        assert reader.finished


def test_what_comes_after_the_end_is_dropped() -> None:
    chunks, native = readers()
    assert chunks.feed(ALL + event("error", error={"type": "api_error"})) == stream_of(ALL)
    assert native.feed(ALL + event("error", error={"type": "api_error"})) == ALL


@pytest.mark.parametrize(
    "data",
    [
        b"data: {broken\n\n",
        b"data: []\n\n",
        b"data: {}\n\n",
        b'event: message_start\ndata: {"type":"message_start"}\n\n',
        b'event: message_delta\ndata: {"type":"message_delta","delta":[]}\n\n',
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0}\n\n',
        b'event: error\ndata: {"type":"error"}\n\n',
        b"data: " + b"x" * (16 * 1024 * 1024 + 1),
    ],
    ids=range(8),
)
def test_events_that_are_none_are_unreadable(data: bytes) -> None:
    begun = event("message_start", message=message(stop=None))
    for reader in readers():
        reader.feed(begun)
        with pytest.raises(UnreadableAnswer):
            reader.feed(data)


def test_arguments_of_a_call_that_has_not_begun_are_unreadable() -> None:
    delta = {"type": "input_json_delta", "partial_json": "{}"}
    with pytest.raises(UnreadableAnswer):
        stream_of(event("content_block_delta", index=3, delta=delta))


# Anthropic's own form


def test_native_events_go_on_as_they_came_however_cut() -> None:
    for at in range(len(ALL) + 1):
        native = NativeMessagesStream()
        first = native.feed(ALL[:at])
        assert not first or first.endswith(b"\n\n")
        assert first + native.feed(ALL[at:]) + native.end() == ALL
        assert (native.finished, native.usage, native.characters) == (True, Usage(7, 5), len(TEXT))
    native = NativeMessagesStream()
    assert b"".join(native.feed(ALL[at : at + 1]) for at in range(len(ALL))) == ALL


def test_native_events_are_tidied_where_a_proxy_was_at_work() -> None:
    native = NativeMessagesStream()
    assert native.feed(b": keep-alive\r\n\r\n" + ALL.replace(b"\n", b"\r\n")) + native.end() == ALL


def test_native_streams_tell_whether_something_was_said() -> None:
    native = NativeMessagesStream()
    native.feed(event("message_start", message=message(stop=None)) + event("ping"))
    assert not native.content_seen
    native.feed(event("content_block_delta", index=0, delta={"type": "text_delta", "text": "a"}))
    assert native.content_seen


def test_anthropics_client_reads_the_native_stream() -> None:
    native = NativeMessagesStream()
    data = b"".join(native.feed(ALL[at : at + 7]) for at in range(0, len(ALL), 7))
    with loopback(data, "text/event-stream") as server:
        client = anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=0)
        with client, client.messages.stream(model="m", max_tokens=9, messages=HELLO) as stream:
            final = stream.get_final_message()
    assert final.stop_reason == "tool_use"
    thinking, redacted, said, weather_use, other_use = final.content
    assert (thinking.thinking, thinking.signature, redacted.data, said.text) == ("Hm", "c2ln", "ZW5j", TEXT)
    assert (weather_use.input, other_use.input) == ({"place": "Čadca"}, {})
