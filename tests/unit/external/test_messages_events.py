"""The events of Anthropic's stream over models that take chat completions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import anthropic
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from loopback import loopback
from pydantic import TypeAdapter

from moorage.external.exchange import UnreadableAnswer
from moorage.external.messages import MessageEvents, message_of

Document = dict[str, Any]

HELLO = [{"role": "user", "content": "Hello"}]
TEXT = "naïve — 你好 🚀"
EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 5,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 3},
}


def chunk(finish: str | None = None, index: int = 0, usage: Document | None = None, **delta: Any) -> Document:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    named = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "chatty"}
    return {**named, "choices": [choice], **({"usage": usage} if usage else {})}


def piece(index: int | None, arguments: str = "", id: str | None = None, name: str | None = None) -> Document:
    call: Document = {"function": {"arguments": arguments}}
    if index is not None:
        call["index"] = index
    if id is not None:
        call |= {"id": id, "type": "function"}
    if name is not None:
        call["function"]["name"] = name
    return chunk(tool_calls=[call])


def reasoning(text: str, signature: str = "") -> Document:
    said = {"type": "summary_text", "text": text, **({"signature": signature} if signature else {})}
    return chunk(content=[{"type": "reasoning", "summary": [said]}])


def events_in(data: bytes) -> Iterator[Document]:
    """The events, each of which must be whole and named."""
    assert data == b"" or data.endswith(b"\n\n")
    for event in data.decode().split("\n\n")[:-1]:
        name, said = event.split("\n")
        document = json.loads(said.removeprefix("data: "))
        assert name == f"event: {document['type']}"
        if document["type"] != "error":
            EVENT.validate_python(document)
        yield document


def stream_of(chunks: Sequence[Document]) -> bytes:
    events = MessageEvents()
    data = b"".join(events.feed([one]) for one in chunks) + events.end()
    assert events.end() == b""
    return data


def message_in(data: bytes) -> Document:
    """The message that the events make, if they follow the order in which Anthropic sends them."""
    begin, *middle, delta, stop = events_in(data)
    assert (begin["type"], delta["type"], stop) == ("message_start", "message_delta", {"type": "message_stop"})
    message = begin["message"]
    assert message["content"] == []
    assert message["stop_reason"] is None
    open_block = None
    for event in middle:
        if event["type"] == "content_block_start":
            assert open_block is None
            assert event["index"] == len(message["content"])
            open_block = event["content_block"]
            message["content"].append(open_block)
            arguments = ""
            continue
        assert open_block is not None
        assert event["index"] == len(message["content"]) - 1
        if event["type"] == "content_block_stop":
            if open_block["type"] == "tool_use":
                open_block["input"] = json.loads(arguments or "{}")
            open_block = None
            continue
        match event["delta"]:
            case {"type": "text_delta", "text": text}:
                open_block["text"] += text
            case {"type": "thinking_delta", "thinking": text}:
                open_block["thinking"] += text
            case {"type": "signature_delta", "signature": text}:
                open_block["signature"] += text
            case {"type": "input_json_delta", "partial_json": text}:
                assert open_block["type"] == "tool_use"
                arguments += text
            case other:
                pytest.fail(f"no such delta: {other}")
    assert open_block is None
    message |= delta["delta"]
    message["usage"] |= delta["usage"]
    Message.model_validate(message, strict=True)
    return dict(message)


def text(said: str) -> Document:
    return {"type": "text", "text": said}


def use(id: str, name: str = "weather", **input: Any) -> Document:
    return {"type": "tool_use", "id": id, "name": name, "input": input}


STREAMS: list[tuple[str, list[Document], list[Document], str]] = [
    (
        "text",
        [chunk(role="assistant", content=""), chunk(content="Hel"), chunk(content="lo"), chunk("stop")],
        [text("Hello")],
        "end_turn",
    ),
    ("nothing", [], [], "end_turn"),
    ("a limit", [chunk(content="Hel"), chunk("length")], [text("Hel")], "max_tokens"),
    ("a filter", [chunk(content="Hel"), chunk("content_filter")], [text("Hel")], "refusal"),
    ("a refusal", [chunk(refusal="No"), chunk("stop", refusal=".")], [text("No.")], "end_turn"),
    (
        "reasoning as many servers have it",
        [chunk(reasoning_content="H"), chunk(reasoning_content="m"), chunk(content="Hi"), chunk("stop")],
        [{"type": "thinking", "thinking": "Hm", "signature": ""}, text("Hi")],
        "end_turn",
    ),
    (
        "signed reasoning",
        [
            reasoning("H"),
            reasoning("m"),
            reasoning("", "c2ln"),
            chunk(
                content=[{"type": "reasoning", "summary": [{"type": "summary_encrypted_text", "data": "ZW5j"}]}]
            ),
            reasoning("So"),
            reasoning("", "Z25z"),
            reasoning("Ah", "YWg="),
            chunk("stop", content="Hi"),
        ],
        [
            {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "ZW5j"},
            {"type": "thinking", "thinking": "So", "signature": "Z25z"},
            {"type": "thinking", "thinking": "Ah", "signature": "YWg="},
            text("Hi"),
        ],
        "end_turn",
    ),
    (
        "tool calls",
        [
            chunk(content="See:"),
            piece(0, "", "a", "weather"),
            piece(0, '{"place":'),
            piece(0, '"Čadca"}'),
            piece(1, "{}", "b", "clock"),
            chunk("tool_calls"),
        ],
        [text("See:"), use("a", place="Čadca"), use("b", "clock")],
        "tool_use",
    ),
    (
        "tool calls in turns",
        [
            piece(0, "", "a", "weather"),
            piece(1, '{"at"', "b", "clock"),
            piece(0, '{"place":'),
            piece(1, ":1}"),
            piece(0, '"x"}'),
            piece(2, "", "c", "clock"),
            chunk("tool_calls"),
        ],
        [use("a", place="x"), use("b", "clock", at=1), use("c", "clock")],
        "tool_use",
    ),
    (
        "whole calls without numbers, and text after them",
        [
            piece(None, '{"n":1}', "a", "weather"),
            piece(None, '{"n":2}', "b", "weather"),
            chunk(content="Done"),
            chunk("stop"),
        ],
        [use("a", n=1), use("b", n=2), text("Done")],
        "tool_use",
    ),
    (
        "calls without ids",
        [piece(0, "{}", None, "weather"), piece(1, "{}", None, "weather"), chunk("tool_calls")],
        [use("toolu_0"), use("toolu_1")],
        "tool_use",
    ),
    (
        "other choices",
        [chunk(content="Hi"), chunk(index=1, content="Ho"), chunk("length", index=1), chunk("stop")],
        [text("Hi")],
        "end_turn",
    ),
]


@pytest.mark.parametrize(
    ("chunks", "content", "stop"), [case[1:] for case in STREAMS], ids=[case[0] for case in STREAMS]
)
def test_chunks_become_events(chunks: list[Document], content: list[Document], stop: str) -> None:
    made = message_in(stream_of(chunks))
    assert (made["content"], made["stop_reason"]) == (content, stop)
    if chunks:
        assert (made["id"], made["model"]) == ("chatcmpl-1", "chatty")
    events = MessageEvents()
    assert message_in(events.feed(chunks) + events.end()) == made, "together or one by one"


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk(content="Hi"), chunk("stop", usage=USAGE)],
        [chunk(content="Hi"), chunk("stop"), {**chunk(), "choices": [], "usage": USAGE}],
        [chunk(content="Hi", usage={**USAGE, "completion_tokens": 1}), chunk("stop", usage=USAGE)],
        [chunk(content="Hi", usage=USAGE), chunk("stop")],
    ],
)
def test_the_last_usage_counts(chunks: list[Document]) -> None:
    assert message_in(stream_of(chunks))["usage"] == {
        "input_tokens": 4,
        "output_tokens": 5,
        "cache_read_input_tokens": 3,
        "cache_creation_input_tokens": 0,
    }


def test_what_is_said_goes_out_at_once() -> None:
    events = MessageEvents()
    kinds = [
        [event["type"] for event in events_in(events.feed([one]))]
        for one in (
            chunk(role="assistant"),
            chunk(content="a"),
            chunk(content="b"),
            piece(0, "", "x", "weather"),
            piece(0, "{"),
        )
    ]
    assert kinds == [
        ["message_start"],
        ["content_block_start", "content_block_delta"],
        ["content_block_delta"],
        ["content_block_stop", "content_block_start"],
        ["content_block_delta"],
    ]


words = st.text(min_size=1, max_size=3)
calls = st.lists(
    st.tuples(st.sampled_from(["weather", "clock"]), st.dictionaries(words, words, max_size=2)), max_size=3
)


@given(said=st.text(max_size=20), called=calls, order=st.randoms(use_true_random=False))
def test_a_stream_says_what_the_whole_answer_says(
    said: str, called: list[tuple[str, Document]], order: Any
) -> None:
    tool_calls = [
        {"id": f"id-{at}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for at, (name, arguments) in enumerate(called)
    ]
    finish = "tool_calls" if called else "stop"
    message = {"role": "assistant", "content": said, "tool_calls": tool_calls}
    whole = {**chunk(), "choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": USAGE}
    queues = [
        [piece(at, "", call["id"], call["function"]["name"])]
        + [piece(at, letter) for letter in call["function"]["arguments"]]
        for at, call in enumerate(tool_calls)
    ]
    starts = [queue.pop(0) for queue in queues]
    mixed = []
    while left := [queue for queue in queues if queue]:
        mixed.append(order.choice(left).pop(0))
    chunks = [chunk(content=letter) for letter in said] + starts + mixed + [chunk(finish, usage=USAGE)]
    assert message_in(stream_of(chunks)) == message_of(whole)


@pytest.mark.parametrize(
    "chunks",
    [
        [{"choices": "none"}],
        [chunk(content=1)],
        [piece(0, "{}")],
        [chunk(tool_calls=[{"index": 0}])],
        [piece(0, "{", "a", "weather"), chunk(content="Hi"), piece(0, "}")],
        [piece(0, "{}", "a", "weather"), piece(1, "{", "b", "weather"), chunk(content="Hi"), piece(1, "}")],
    ],
)
def test_chunks_that_are_none_are_unreadable(chunks: list[Document]) -> None:
    with pytest.raises(UnreadableAnswer):
        MessageEvents().feed(chunks)


def test_anthropics_client_reads_the_stream() -> None:
    chunks = [
        chunk(content=TEXT),
        piece(0, '{"place":"x"}', "a", "weather"),
        piece(1, "", "b", "clock"),
        chunk("tool_calls", usage=USAGE),
    ]
    with (
        loopback(stream_of(chunks), "text/event-stream") as server,
        anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=0) as client,
        client.messages.stream(model="m", max_tokens=9, messages=HELLO) as stream,
    ):
        assert "".join(stream.text_stream) == TEXT
        final = stream.get_final_message()
    assert (final.id, final.model, final.stop_reason) == ("chatcmpl-1", "chatty", "tool_use")
    assert (final.usage.input_tokens, final.usage.output_tokens) == (4, 5)
    said, weather, clock = final.content
    assert (said.text, weather.input, clock.input) == (TEXT, {"place": "x"}, {})


@pytest.mark.parametrize("begun", [[], [chunk(content="Hi")]])
def test_anthropics_client_is_told_of_a_failure(begun: list[Document]) -> None:
    events = MessageEvents()
    data = events.feed(begun) + events.error(529, "Sorry")
    assert events.error(500, "again") == events.end() == b"", "it is over"
    with (
        loopback(data, "text/event-stream") as server,
        anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=0) as client,
        pytest.raises(anthropic.APIStatusError) as failed,
        client.messages.stream(model="m", max_tokens=9, messages=HELLO) as stream,
    ):
        stream.until_done()
    assert failed.value.body == {"type": "error", "error": {"type": "overloaded_error", "message": "Sorry"}}
