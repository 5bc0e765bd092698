"""The events of the Responses API from a chat stream, as OpenAI's client, stream helper and types see them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from chat_cases import IDS, NAMES, SAID, call, call_item, chat_answer, chunk, chunks_of, text_item
from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter
from replaying import EVENTS, openai_client

from moorage.external.responses import chat_body_of, response_of
from moorage.external.responses_events import ResponseEvents

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def parsed(stream: bytes) -> list[dict[str, Any]]:
    """The events, each of which OpenAI's types must take, numbered one after the other."""
    events = []
    for number, text in enumerate(stream.split(b"\n\n")[:-1]):
        name, data = text.split(b"\n")
        event = json.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        assert event["sequence_number"] == number
        EVENT.validate_python(event, strict=True)
        events.append(event)
    return events


def streamed(chunks: Sequence[dict[str, Any]], body: dict[str, Any] | None = None) -> bytes:
    events = ResponseEvents(body or {"input": "hi"}, IDS)
    return b"".join(events.feed([one]) for one in chunks) + events.end()


@pytest.mark.parametrize(("message", "finish", "output", "status"), [said[1:] for said in SAID], ids=NAMES)
def test_a_stream_ends_with_what_the_whole_answer_says(
    message: dict[str, Any], finish: str, output: list[dict[str, Any]], status: str
) -> None:
    events = parsed(streamed(chunks_of(message, finish)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[0]["response"]["status"] == "in_progress"
    assert events[-1]["type"] == f"response.{status}"
    assert events[-1]["response"] == response_of(chat_answer(message, finish), {"input": "hi"}, IDS)
    assert [event["item"] for event in events if event["type"] == "response.output_item.done"] == output
    assert [event["output_index"] for event in events if event["type"] == "response.output_item.added"] == list(
        range(len(output))
    )


def test_the_events_of_words_and_a_call_in_their_order() -> None:
    events = parsed(
        streamed(
            chunks_of({"reasoning_content": "hm", "content": "ok", "tool_calls": [call("c1", "{}")]}, "tool_calls")
        )
    )
    assert [(event["type"].removeprefix("response."), event.get("output_index")) for event in events] == [
        ("created", None),
        ("in_progress", None),
        ("output_item.added", 0),
        ("content_part.added", 0),
        ("reasoning_text.delta", 0),
        ("reasoning_text.delta", 0),
        ("reasoning_text.done", 0),
        ("content_part.done", 0),
        ("output_item.done", 0),
        ("output_item.added", 1),
        ("content_part.added", 1),
        ("output_text.delta", 1),
        ("output_text.delta", 1),
        ("output_text.done", 1),
        ("content_part.done", 1),
        ("output_item.done", 1),
        ("output_item.added", 2),
        ("function_call_arguments.delta", 2),
        ("function_call_arguments.delta", 2),
        ("function_call_arguments.done", 2),
        ("output_item.done", 2),
        ("completed", None),
    ]  # fmt: skip
    assert all(
        event["item_id"] == "msg_abc_1" for event in events if event.get("output_index") == 1 and "item_id" in event
    )
    done = {event["type"]: event for event in events}
    assert done["response.output_text.done"]["text"] == "ok"
    assert done["response.reasoning_text.done"]["text"] == "hm"
    assert done["response.function_call_arguments.done"]["arguments"] == "{}"


def pieces(*calls: dict[str, Any]) -> dict[str, Any]:
    return chunk({"tool_calls": list(calls)})


@pytest.mark.parametrize(
    "chunks",
    [
        [  # in turns
            pieces({"index": 0, **call("c1", "")}, {"index": 1, **call("c2", "")}),
            pieces({"index": 0, "function": {"arguments": '{"a"'}}),
            pieces({"index": 1, "function": {"arguments": "{"}}),
            pieces({"index": 0, "function": {"arguments": ":1}"}}, {"index": 1, "function": {"arguments": "}"}}),
        ],
        [pieces({"index": 0, **call("c1", '{"a":1}')}), pieces({"index": 0, **call("c2", "{}")})],
        [pieces(call("c1", '{"a":1}'), call("c2", "{}"))],
        [  # the id again and again
            pieces({"index": 0, **call("c1", '{"a"')}),
            pieces({"index": 0, **call("c1", ":1}")}),
            pieces({"index": 5, **call("c2", "{}")}),
        ],
    ],
    ids=["in turns", "the same index", "no index", "repeated ids"],
)
def test_calls_are_told_apart_as_servers_send_them(chunks: list[dict[str, Any]]) -> None:
    events = parsed(streamed([*chunks, chunk({}, "tool_calls")]))
    assert events[-1]["response"]["output"] == [call_item(0, "c1", '{"a":1}'), call_item(1, "c2", "{}")]


def test_only_the_first_choice_counts_and_nothing_after_its_end() -> None:
    chunks = [chunk({"content": "a"}), chunk({"content": "x"}, index=1), chunk({}, "stop"), chunk({"content": "y"})]
    events = parsed(streamed(chunks))
    assert events[-1]["response"]["output"] == [text_item(0, "a")]


def test_words_after_a_call_are_an_item_of_their_own() -> None:
    chunks = [
        chunk({"content": "a"}),
        pieces({"index": 0, **call("c1", "{}")}),
        chunk({"content": "b"}),
        chunk({}, "stop"),
    ]
    events = parsed(streamed(chunks))
    assert events[-1]["response"]["output"] == [text_item(0, "a"), call_item(1, "c1", "{}"), text_item(2, "b")]


def test_a_stream_that_does_not_say_why_it_ended_closes_what_is_open() -> None:
    events = parsed(streamed([pieces({"index": 0, **call("c1", "{}")}), chunk({"content": "a"})]))
    output = [call_item(0, "c1", "{}"), text_item(1, "a")]
    assert [event["item"] for event in events if event["type"] == "response.output_item.done"] == output
    assert events[-1]["response"]["output"] == output


def test_events_come_at_once_and_end_once() -> None:
    events = ResponseEvents({"input": "hi"}, IDS)
    assert events.feed([]) == b""
    assert b"response.created" in events.feed([chunk({"role": "assistant"})])
    assert b'"delta":"a"' in events.feed([chunk({"content": "a"})])
    assert b"response.output_item.done" in events.feed([chunk({}, "stop")])
    assert b"response.completed" in events.end()
    assert events.end() == events.error(500, "late") == b""


@pytest.mark.parametrize(
    ("status", "code"),
    [(429, "rate_limit_exceeded"), (400, "invalid_prompt"), (500, "server_error"), (504, "server_error")],
)
@pytest.mark.parametrize(
    "said", [[], [chunk({"content": "half"})], [chunk({"content": "half"}), pieces({"index": 0, **call("c1", "{")})]]
)
def test_a_failure_is_told_to_the_client(status: int, code: str, said: list[dict[str, Any]]) -> None:
    stream = ResponseEvents({"input": "hi"}, IDS)
    events = parsed(stream.feed(said) + stream.error(status, "it broke"))
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] == "response.failed"
    response = events[-1]["response"]
    assert response["status"] == "failed"
    assert response["error"] == {"code": code, "message": "it broke"}
    assert len(response["output"]) == len(said)
    if said:
        assert response["output"][-1]["status"] == "incomplete"
    assert stream.end() == b""


def test_the_same_chunks_give_the_same_bytes() -> None:
    chunks = chunks_of({"content": "ok", "tool_calls": [call("", "{}")]}, "tool_calls")
    once = ResponseEvents({"input": "hi"}, IDS)
    assert streamed(chunks) == once.feed(chunks) + once.end()


class Weather(BaseModel):
    sky: str


def test_openais_client_reads_a_stream_of_events() -> None:
    stream = streamed(chunks_of({"content": "naïve 🚀"}, "stop"))
    with openai_client([stream[at : at + 5] for at in range(0, len(stream), 5)], EVENTS) as (client, _):
        events = list(client.responses.create(model="m", input="hi", stream=True))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "naïve 🚀"
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == "naïve 🚀"


@pytest.mark.parametrize(("message", "finish", "output", "status"), [said[1:] for said in SAID], ids=NAMES)
def test_openais_stream_helper_follows_every_stream(
    message: dict[str, Any], finish: str, output: list[dict[str, Any]], status: str
) -> None:
    events = [streamed(chunks_of(message, finish))]
    with (
        openai_client(events, EVENTS) as (client, _),
        client.responses.stream(model="m", input="hi") as stream,
    ):
        kinds = [event.type for event in stream]
        if status == "completed":
            final = stream.get_final_response()
            assert [item.to_dict()["id"] for item in final.output] == [item["id"] for item in output]
            parts = [part for item in output if item["type"] == "message" for part in item["content"]]
            assert final.output_text == "".join(part["text"] for part in parts if part["type"] == "output_text")
    assert kinds[-1] == f"response.{status}"


def test_openais_stream_helper_parses_into_a_model() -> None:
    events = [streamed(chunks_of({"content": '{"sky": "blue"}'}, "stop"))]
    with (
        openai_client(events, EVENTS) as (client, asked),
        client.responses.stream(model="m", input="hi", text_format=Weather) as stream,
    ):
        for event in stream:
            if event.type == "response.output_text.done":
                assert event.parsed == Weather(sky="blue")
        assert stream.get_final_response().output_parsed == Weather(sky="blue")
    assert chat_body_of(asked[0][1])["response_format"]["json_schema"]["name"] == "Weather"


def test_openais_stream_helper_meets_a_failure() -> None:
    events = ResponseEvents({"input": "hi"}, IDS)
    said = events.feed([chunk({"content": "half"})]) + events.error(429, "slow down")
    with openai_client([said], EVENTS) as (client, _), client.responses.stream(model="m", input="hi") as stream:
        last = list(stream)[-1]
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert last.response.error.message == "slow down"
