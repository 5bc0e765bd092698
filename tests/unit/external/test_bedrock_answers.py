"""Answers and streams of Amazon Bedrock, and what boto3's client reads in the same bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bedrock_examples import (
    ANSWER,
    API,
    CLAUDE,
    FORMAT,
    HELLO,
    SAID_HELLO,
    boto_client,
    chat,
    target,
    tool_call,
    turns,
)
from fake_provider.eventstream import CONTENT_TYPE, event, exception, message
from loopback import loopback
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from moorage.external.exchange import Call, ChunkStream, StreamFailed, UnreadableAnswer, Usage

# Whole answers.


def answered(call: Call | None = None, *, vendor: str = "anthropic", **changes: Any) -> dict[str, Any]:
    answer = API.answer(target(vendor), call or chat(), json.dumps({**ANSWER, **changes}).encode())
    if not isinstance(answer.body["choices"][0]["message"]["content"], list):
        ChatCompletion.model_validate(answer.body)
    return answer.body


def content(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"output": {"message": {"role": "assistant", "content": list(blocks)}}}


def test_an_answer_in_openais_form() -> None:
    answer = API.answer(target(), chat(), json.dumps(ANSWER).encode())

    assert answer.usage == Usage(3, 2)
    assert answer.body == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": CLAUDE,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi"},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("something_new", "stop"),
    ],
)
def test_reasons_to_finish(stop_reason: str, finish_reason: str) -> None:
    assert answered(stopReason=stop_reason)["choices"][0]["finish_reason"] == finish_reason


@pytest.mark.parametrize("reason", ["malformed_model_output", "malformed_tool_use"])
def test_what_bedrock_could_not_read_of_the_model_is_no_answer(reason: str) -> None:
    with pytest.raises(UnreadableAnswer, match=reason):
        answered(stopReason=reason)


def test_calls_of_tools_in_an_answer() -> None:
    blocks = content(
        {"text": "I "},
        {"text": "look."},
        {"toolUse": {"toolUseId": "c1", "name": "weather", "input": {"city": "Zürich", "n": 10**30}}},
        {"toolUse": {"toolUseId": "c2", "name": "clock", "input": {}}},
    )
    (choice,) = answered(stopReason="tool_use", **blocks)["choices"]

    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] == "I look."
    weather, clock = choice["message"]["tool_calls"]
    assert (weather["id"], weather["type"], weather["function"]["name"]) == ("c1", "function", "weather")
    assert json.loads(weather["function"]["arguments"]) == {"city": "Zürich", "n": 10**30}
    assert clock["function"] == {"name": "clock", "arguments": "{}"}


def test_an_answer_of_calls_alone_has_no_content_and_an_empty_one_has_empty_content() -> None:
    called = answered(stopReason="tool_use", **content({"toolUse": {"toolUseId": "c", "name": "f", "input": {}}}))

    assert called["choices"][0]["message"]["content"] is None
    assert answered(**content())["choices"][0]["message"] == {"role": "assistant", "content": ""}


def test_the_answering_tool_becomes_the_answer() -> None:
    blocks = content(
        {"text": "Here:"}, {"toolUse": {"toolUseId": "c", "name": "answer_in_json", "input": {"city": "Rome"}}}
    )
    (choice,) = answered(chat(response_format=FORMAT), stopReason="tool_use", **blocks)["choices"]

    assert choice["message"] == {"role": "assistant", "content": '{"city":"Rome"}'}
    assert choice["finish_reason"] == "stop"


REASONED = content(
    {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
    {"reasoningContent": {"redactedContent": "b3BhcXVl"}},
    {"text": "Hi"},
)


def test_reasoning_is_given_where_it_was_asked_for() -> None:
    asked = answered(chat(thinking={"type": "enabled", "budget_tokens": 1024}), **REASONED)

    assert asked["choices"][0]["message"]["content"] == [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm", "signature": "sig"}]},
        {"type": "reasoning", "summary": [{"type": "summary_encrypted_text", "data": "b3BhcXVl"}]},
        {"type": "text", "text": "Hi"},
    ]
    assert answered(**REASONED)["choices"][0]["message"]["content"] == "Hi"
    again = turns(HELLO[0], {"role": "assistant", "content": asked["choices"][0]["message"]["content"]}, HELLO[0])
    assert again[1]["content"] == REASONED["output"]["message"]["content"], "it can be given back"


def test_tokens_of_the_cache_count_as_input() -> None:
    usage = {
        "inputTokens": 3,
        "outputTokens": 2,
        "totalTokens": 15,
        "cacheReadInputTokens": 6,
        "cacheWriteInputTokens": 4,
    }
    answer = API.answer(target(), chat(), json.dumps({**ANSWER, "usage": usage}).encode())

    assert answer.usage == Usage(13, 2)
    assert answer.body["usage"] == {
        "prompt_tokens": 13,
        "completion_tokens": 2,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 6, "cache_write_tokens": 4},
    }


def test_an_answer_without_usage_says_none() -> None:
    answer = API.answer(target(), chat(), json.dumps({**ANSWER, "usage": None}).encode())

    assert answer.usage is None
    assert "usage" not in answer.body


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"<html>", "JSON"),
        (b"[]", "object"),
        (b'{"output":{},"stopReason":"end_turn"}', "output.message"),
        (b'{"output":{"message":{"content":"x"}},"stopReason":"end_turn"}', "output.message.content"),
        (b'{"output":{"message":{"content":[{"toolUse":{"name":"f"}}]}},"stopReason":"x"}', "toolUseId"),
    ],
)
def test_an_answer_of_another_form_is_unreadable(body: bytes, named: str) -> None:
    with pytest.raises(UnreadableAnswer, match=named):
        API.answer(target(), chat(), body)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"message":"Too many tokens"}', "Too many tokens"),
        (b'{"Message":"Forbidden"}', "Forbidden"),
        (b"<html>\xff", "<html>�"),
        (b"[1]", "[1]"),
        (b"", ""),
    ],
)
def test_the_text_of_errors(body: bytes, text: str) -> None:
    assert API.error_text(body) == text


# Streams.


def framed(*events: tuple[str, dict[str, Any]]) -> bytes:
    """`p` is what Bedrock pads its events with."""
    return b"".join(
        event(kind, json.dumps({**payload, "p": "abc"}, ensure_ascii=False).encode()) for kind, payload in events
    )


def text_delta(text: str, block: int = 0) -> tuple[str, dict[str, Any]]:
    return ("contentBlockDelta", {"contentBlockIndex": block, "delta": {"text": text}})


def tool_start(block: int, id: str, name: str) -> tuple[str, dict[str, Any]]:
    return ("contentBlockStart", {"contentBlockIndex": block, "start": {"toolUse": {"toolUseId": id, "name": name}}})


def tool_delta(block: int, text: str) -> tuple[str, dict[str, Any]]:
    return ("contentBlockDelta", {"contentBlockIndex": block, "delta": {"toolUse": {"input": text}}})


def thought(**delta: str) -> tuple[str, dict[str, Any]]:
    return ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": delta}})


def block_stop(block: int) -> tuple[str, dict[str, Any]]:
    return ("contentBlockStop", {"contentBlockIndex": block})


def stopped(reason: str = "end_turn") -> tuple[str, dict[str, Any]]:
    return ("messageStop", {"stopReason": reason})


START = ("messageStart", {"role": "assistant"})
METADATA = ("metadata", {"usage": ANSWER["usage"], "metrics": {"latencyMs": 3}})
TOOLS_STREAM = framed(
    START,
    text_delta("Grüße, 日本. "),
    text_delta(""),
    block_stop(0),
    tool_start(1, "c1", "weather"),
    tool_delta(1, ""),
    tool_delta(1, '{"city": '),
    tool_delta(1, '"Zürich"}'),
    block_stop(1),
    tool_start(2, "c2", "clock"),
    tool_delta(2, ""),
    block_stop(2),
    stopped("tool_use"),
    METADATA,
)


def read(stream: ChunkStream, *pieces: bytes) -> list[dict[str, Any]]:
    chunks = [chunk for piece in pieces for chunk in stream.feed(piece)] + stream.end()
    for chunk in chunks:
        if not isinstance(chunk["choices"][0]["delta"].get("content"), list):
            ChatCompletionChunk.model_validate(chunk)
    return chunks


def streamed(*events: tuple[str, dict[str, Any]], **body: Any) -> list[dict[str, Any]]:
    return read(API.stream(target(), chat(stream=True, **body)), framed(*events))


def deltas(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [chunk["choices"][0]["delta"] for chunk in chunks]


def test_chunks_of_text_and_calls() -> None:
    stream = API.stream(target(), chat(stream=True))
    chunks = read(stream, TOOLS_STREAM)

    assert deltas(chunks) == [
        {"role": "assistant", "content": ""},
        {"content": "Grüße, 日本. "},
        {"tool_calls": [{"index": 0, **tool_call("c1", "weather", "")}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"Zürich"}'}}]},
        {"tool_calls": [{"index": 1, **tool_call("c2", "clock", "")}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 7 + ["tool_calls"]
    assert [chunk.get("usage") for chunk in chunks] == [None] * 7 + [
        {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    ]
    assert {(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks} == {
        ("chatcmpl-1", 1_700_000_000, CLAUDE)
    }
    assert stream.usage == Usage(3, 2)
    assert stream.finished


def test_streams_cut_anywhere_give_the_same_chunks() -> None:
    whole = read(API.stream(target(), chat(stream=True)), TOOLS_STREAM)

    for cut in range(len(TOOLS_STREAM) + 1):
        stream = API.stream(target(), chat(stream=True))
        assert read(stream, TOOLS_STREAM[:cut], TOOLS_STREAM[cut:]) == whole, cut
    bytewise = (TOOLS_STREAM[at : at + 1] for at in range(len(TOOLS_STREAM)))
    assert read(API.stream(target(), chat(stream=True)), *bytewise) == whole


def test_a_stream_that_breaks_off_is_not_finished() -> None:
    stop_at = len(TOOLS_STREAM) - len(framed(stopped("tool_use"), METADATA))
    stream = API.stream(target(), chat(stream=True))
    read(stream, TOOLS_STREAM[: stop_at + 20])

    assert not stream.finished
    assert stream.usage is None
    assert stream.end() == []


def test_a_stream_that_ends_without_usage_has_its_last_chunk_nevertheless() -> None:
    stream = API.stream(target(), chat(stream=True))
    chunks = read(stream, framed(START, text_delta("Hi"), stopped()))

    assert stream.finished
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert "usage" not in chunks[-1]
    assert stream.end() == []


def test_boto3_reads_in_the_same_bytes_what_the_chunks_say() -> None:
    with loopback(TOOLS_STREAM, CONTENT_TYPE) as server, boto_client(server) as client:
        events = list(client.converse_stream(modelId=CLAUDE, messages=SAID_HELLO)["stream"])

    said = [one["contentBlockDelta"]["delta"] for one in events if "contentBlockDelta" in one]
    chunks = deltas(read(API.stream(target(), chat(stream=True)), TOOLS_STREAM))
    assert "".join(one.get("text", "") for one in said) == "".join(one.get("content", "") for one in chunks)
    first = [call for one in chunks for call in one.get("tool_calls", ()) if call["index"] == 0]
    assert "".join(call["function"]["arguments"] for call in first) == "".join(
        one["toolUse"]["input"] for one in said if "toolUse" in one
    )
    assert next(one["metadata"]["usage"] for one in events if "metadata" in one) == ANSWER["usage"]


def test_the_answering_tool_is_streamed_as_text() -> None:
    chunks = streamed(
        START,
        text_delta("Here:"),
        tool_start(1, "c", "answer_in_json"),
        tool_delta(1, '{"city":'),
        tool_delta(1, '"Rome"}'),
        block_stop(1),
        stopped("tool_use"),
        METADATA,
        response_format=FORMAT,
    )

    assert deltas(chunks)[1:] == [{"content": '{"city":'}, {"content": '"Rome"}'}, {}]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_text_comes_late_where_the_answering_tool_did_not_come() -> None:
    chunks = streamed(START, text_delta("I "), text_delta("can't."), stopped(), METADATA, response_format=FORMAT)

    assert deltas(chunks)[1:] == [{"content": "I can't."}, {}]


def test_reasoning_is_streamed_where_it_was_asked_for() -> None:
    events = [
        START,
        thought(text="h"),
        thought(text="m"),
        thought(signature="sig"),
        thought(redactedContent="b3A="),
        block_stop(0),
        text_delta("Hi", 1),
        stopped(),
        METADATA,
    ]

    def part(**said: str) -> dict[str, Any]:
        return {"content": [{"type": "reasoning", "summary": [said]}]}

    assert deltas(streamed(*events, thinking={"type": "enabled", "budget_tokens": 1024}))[1:-1] == [
        part(type="summary_text", text="h"),
        part(type="summary_text", text="m"),
        part(type="summary_text", text="", signature="sig"),
        part(type="summary_encrypted_text", data="b3A="),
        {"content": "Hi"},
    ]
    assert deltas(streamed(*events))[1:-1] == [{"content": "Hi"}]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("throttlingException", 429),
        ("modelStreamErrorException", 424),
        ("internalServerException", 500),
        ("serviceUnavailableException", 503),
        ("validationException", 400),
        ("modelTimeoutException", 408),
        ("accessDeniedException", 403),
        ("ThrottlingException", 429),
        ("somethingNewException", 500),
    ],
)
def test_exceptions_in_a_stream(name: str, status: int) -> None:
    stream = API.stream(target(), chat(stream=True))
    stream.feed(framed(START, text_delta("Hi")))

    with pytest.raises(StreamFailed, match="slow down") as failed:
        stream.feed(exception(name, b'{"message":"slow down"}'))
    assert failed.value.status == status
    assert not stream.finished


def test_errors_in_a_stream_that_the_service_does_not_know() -> None:
    stream = API.stream(target(), chat(stream=True))
    headers = {":message-type": "error", ":error-code": "InternalError", ":error-message": "it broke"}

    with pytest.raises(StreamFailed, match="it broke") as failed:
        stream.feed(message(headers, b""))
    assert failed.value.status == 500


def test_unknown_events_are_left_out() -> None:
    assert streamed(("initial-response", {}), START, ("news", {"x": 1}), stopped(), METADATA)[-1]["usage"]


@pytest.mark.parametrize(
    "broken",
    [
        event("contentBlockDelta", b'{"broken": <'),
        event("contentBlockDelta", b'{"contentBlockIndex":"x","delta":{}}'),
        framed(tool_delta(7, "{}")),
        framed(("messageStop", {})),
        framed(stopped("malformed_tool_use")),
        b"data: {}\n\ndata: {}\n\n",
    ],
)
def test_streams_of_another_form_are_unreadable(broken: bytes) -> None:
    stream = API.stream(target(), chat(stream=True))

    with pytest.raises(UnreadableAnswer):
        stream.feed(framed(START) + broken)


