"""Cohere, against Cohere's own client."""

from __future__ import annotations

import copy
import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import cohere
import pytest
from cohere.core.request_options import RequestOptions
from loopback import loopback
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from moorage.api.errors import BadRequest
from moorage.api.external_models import ExternalTask, Provider
from moorage.external.cohere import CohereApi
from moorage.external.exchange import Call, ChunkStream, HttpRequest, StreamFailed, Target, UnreadableAnswer, Usage

API = CohereApi()
NOW: Any = None  # nothing in these requests depends on the time
MODEL = "command-a-03-2025"
HELLO = [{"role": "user", "content": "Hello"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
EMPTY = {"type": "object", "properties": {}}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "The weather", "parameters": SCHEMA}}
CLOCK = {"type": "function", "function": {"name": "clock"}}
CLOCK_TOOL = {"type": "function", "function": {"name": "clock", "parameters": EMPTY}}
STRICT = {"type": "function", "function": {"name": "clock", "parameters": EMPTY, "strict": True}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
ONCE = RequestOptions(max_retries=0, timeout_in_seconds=10)


def target(model: str = MODEL, **options: str) -> Target:
    return Target(Provider.COHERE, model, ExternalTask.CHAT, options, {"cohere_api_key": "secret"})


def chat(*, stream: bool = False, **body: Any) -> Call:
    return Call(ExternalTask.CHAT, {"messages": HELLO, **body}, stream, "chatcmpl-1", 1_700_000_000)


def embeddings(**body: Any) -> Call:
    return Call(ExternalTask.EMBEDDINGS, body, False, "id", 1_700_000_000)


def requested(**body: Any) -> dict[str, Any]:
    call = chat(**body)
    before = copy.deepcopy(call.body)
    made = json.loads(API.request(target(), call, None, NOW).body)
    assert call.body == before, "the body is never changed"
    return dict(made)


def tool_call(id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def post(request: HttpRequest) -> None:
    url = urlsplit(request.url)
    connection = http.client.HTTPConnection(url.netloc, timeout=10)
    connection.request("POST", url.path, request.body, dict(request.headers))
    assert connection.getresponse().status == 200
    connection.close()


# What requests say.


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({}, {}),
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_tokens": 5, "max_completion_tokens": 9}, {"max_tokens": 9}),
        ({"temperature": 0, "top_p": 0.5, "top_k": 3}, {"temperature": 0, "p": 0.5, "k": 3}),
        ({"seed": 7, "stop": "\n"}, {"seed": 7, "stop_sequences": ["\n"]}),
        ({"stop": ["a", "b"]}, {"stop_sequences": ["a", "b"]}),
        ({"frequency_penalty": 0.5, "presence_penalty": 0}, {"frequency_penalty": 0.5, "presence_penalty": 0}),
        ({"logprobs": True}, {"logprobs": True}),
        ({"logprobs": False, "top_logprobs": 0, "n": 1, "parallel_tool_calls": True, "user": "u"}, {}),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
        ({"response_format": FORMAT}, {"response_format": {"type": "json_object", "json_schema": SCHEMA}}),
        ({"thinking": {"type": "disabled"}}, {"thinking": {"type": "disabled"}}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 100}},
            {"thinking": {"type": "enabled", "token_budget": 100}},
        ),
        ({"tools": []}, {}),
        ({"tools": [WEATHER, CLOCK]}, {"tools": [WEATHER, CLOCK_TOOL]}),
        ({"tools": [WEATHER], "tool_choice": "auto"}, {"tools": [WEATHER]}),
        ({"tools": [WEATHER], "tool_choice": "none"}, {"tools": [WEATHER], "tool_choice": "NONE"}),
        ({"tools": [WEATHER], "tool_choice": "required"}, {"tools": [WEATHER], "tool_choice": "REQUIRED"}),
        (
            {"tools": [WEATHER, CLOCK], "tool_choice": {"type": "function", "function": {"name": "clock"}}},
            {"tools": [CLOCK_TOOL], "tool_choice": "REQUIRED"},
        ),
        ({"tools": [STRICT]}, {"tools": [CLOCK_TOOL], "strict_tools": True}),
        ({"tools": [STRICT, WEATHER]}, {"tools": [CLOCK_TOOL, WEATHER]}),
    ],
)
def test_fields_have_their_counterparts(given: dict[str, Any], made: dict[str, Any]) -> None:
    assert requested(**given) == {"model": MODEL, "messages": HELLO, "stream": False, **made}


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}
CONVERSATION = [
    {"role": "system", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
    {"role": "developer", "content": "Be kind."},
    {"role": "user", "content": [{"type": "text", "text": "What?"}, IMAGE]},
    {"role": "assistant", "content": "A cat."},
    {"role": "user", "content": [{"type": "text", "text": "Weather in "}, {"type": "text", "text": "Zürich?"}]},
    {
        "role": "assistant",
        "content": "I look.",
        "tool_calls": [tool_call("c1", "weather", '{"city":"Zürich"}'), tool_call("c2", "clock", "")],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "12:00"}]},
    {"role": "assistant", "content": ""},
    {"role": "user", "content": "And?"},
]
COHERES = [
    {"role": "system", "content": "Be brief."},
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": [{"type": "text", "text": "What?"}, IMAGE]},
    {"role": "assistant", "content": "A cat."},
    {"role": "user", "content": "Weather in Zürich?"},
    {
        "role": "assistant",
        "tool_calls": [tool_call("c1", "weather", '{"city":"Zürich"}'), tool_call("c2", "clock", "{}")],
        "tool_plan": "I look.",
    },
    {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
    {"role": "tool", "tool_call_id": "c2", "content": "12:00"},
    {"role": "user", "content": "And?"},
]


def test_a_conversation_in_coheres_form() -> None:
    assert requested(messages=CONVERSATION)["messages"] == COHERES


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"messages": []}, "'messages'"),
        ({"messages": [{"role": "user", "content": ""}]}, r"'messages\[0\].content'"),
        ({"messages": [{"role": "system", "content": [IMAGE]}]}, r"'messages\[0\].content' must be text alone"),
        ({"messages": [{"role": "tool", "content": "x"}]}, r"'messages\[0\].tool_call_id'"),
        ({"n": 2}, "'n'"),
        ({"top_logprobs": 2}, "'top_logprobs'"),
        ({"logit_bias": {"1": 2}}, "'logit_bias'"),
        ({"parallel_tool_calls": False}, "'parallel_tool_calls'"),
        ({"reasoning_effort": "low"}, "'reasoning_effort'"),
        ({"logprobs": "yes"}, "'logprobs'"),
        ({"top_k": 1.5}, "'top_k'"),
        ({"seed": "x"}, "'seed'"),
        ({"thinking": {"type": "adaptive"}}, "'thinking'"),
        ({"thinking": {"type": "enabled", "budget_tokens": "x"}}, "'budget_tokens'"),
        ({"tool_choice": "required"}, "'tool_choice'"),
        ({"response_format": {"type": "json_schema"}}, "'response_format.json_schema.schema'"),
    ],
)
def test_what_cohere_could_not_take_is_refused(given: dict[str, Any], named: str) -> None:
    with pytest.raises(BadRequest, match=named):
        requested(**given)


@pytest.mark.parametrize(
    "base",
    [
        "http://proxy:81/cohere",
        "http://proxy:81/cohere/",
        "http://proxy:81/cohere/v1",
        "http://proxy:81/cohere/v1/",
        "http://proxy:81/cohere/v2",
    ],
)
def test_bases_with_and_without_a_version(base: str) -> None:
    reached = target(cohere_api_base=base)

    assert API.request(reached, chat(), None, NOW).url == "http://proxy:81/cohere/v2/chat"
    assert API.request(reached, embeddings(input="a"), None, NOW).url == "http://proxy:81/cohere/v2/embed"


def test_without_a_base_it_is_coheres_own() -> None:
    assert API.request(target(), chat(), None, NOW).url == "https://api.cohere.com/v2/chat"
    assert API.token_request(target(), NOW) is None


# Whole answers.

ANSWER = {
    "id": "c14c80c3",
    "finish_reason": "COMPLETE",
    "message": {"role": "assistant", "content": [{"type": "text", "text": "Hi"}]},
    "usage": {
        "billed_units": {"input_tokens": 3, "output_tokens": 2},
        "tokens": {"input_tokens": 70.0, "output_tokens": 4.0},
    },
}


def answered(**changes: Any) -> dict[str, Any]:
    answer = API.answer(target(), chat(), json.dumps({**ANSWER, **changes}).encode())
    ChatCompletion.model_validate(answer.body)
    return answer.body


def test_an_answer_in_openais_form() -> None:
    answer = API.answer(target(), chat(), json.dumps(ANSWER).encode())

    assert answer.usage == Usage(70, 4)
    assert answer.body == {
        "id": "c14c80c3",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi"},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": 70, "completion_tokens": 4, "total_tokens": 74},
    }


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("COMPLETE", "stop"),
        ("STOP_SEQUENCE", "stop"),
        ("MAX_TOKENS", "length"),
        ("TOOL_CALL", "tool_calls"),
        ("SOMETHING_NEW", "stop"),
    ],
)
def test_reasons_to_finish(theirs: str, ours: str) -> None:
    assert answered(finish_reason=theirs)["choices"][0]["finish_reason"] == ours


@pytest.mark.parametrize("reason", ["ERROR", "TIMEOUT"])
def test_a_failure_of_the_model_is_no_answer(reason: str) -> None:
    with pytest.raises(UnreadableAnswer, match=reason):
        answered(finish_reason=reason)


@pytest.mark.parametrize(
    ("given", "usage"),
    [
        ({"billed_units": {"input_tokens": 3, "output_tokens": 2}}, Usage(3, 2)),
        ({"tokens": {}, "billed_units": {"input_tokens": 3, "output_tokens": 2}}, Usage(3, 2)),
        ({"tokens": {"input_tokens": 3}}, Usage(3, 0)),
        ({}, None),
        (None, None),
    ],
)
def test_tokens_where_cohere_says_them(given: Any, usage: Usage | None) -> None:
    answer = API.answer(target(), chat(), json.dumps({**ANSWER, "usage": given}).encode())

    assert answer.usage == usage
    assert ("usage" in answer.body) == (usage is not None)


def test_tokens_of_the_cache() -> None:
    usage = {**ANSWER["usage"], "cached_tokens": 64.0}  # type: ignore[dict-item]

    assert answered(usage=usage)["usage"]["prompt_tokens_details"] == {"cached_tokens": 64}


def test_calls_of_tools_in_an_answer() -> None:
    message = {
        "role": "assistant",
        "tool_plan": "I look.",
        "tool_calls": [tool_call("c1", "weather", '{"city":"Zürich"}'), tool_call("c2", "clock", "")],
    }
    (choice,) = answered(message=message, finish_reason="TOOL_CALL")["choices"]

    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {
        "role": "assistant",
        "content": "I look.",
        "tool_calls": [tool_call("c1", "weather", '{"city":"Zürich"}'), tool_call("c2", "clock", "{}")],
    }
    again = requested(messages=[HELLO[0], choice["message"]])["messages"][1]
    assert again["tool_plan"] == "I look.", "it can be given back"
    alone = answered(message={"role": "assistant", "tool_calls": [tool_call("c", "f", "{}")]})
    assert alone["choices"][0]["message"]["content"] is None


def test_reasoning_is_beside_the_content() -> None:
    content = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hi"}, {"type": "text", "text": "!"}]

    assert answered(message={"role": "assistant", "content": content})["choices"][0]["message"] == {
        "role": "assistant",
        "content": "Hi!",
        "reasoning_content": "hm",
    }


def test_probabilities_of_tokens() -> None:
    pieces = [
        {"text": "Hé", "token_ids": [1, 2], "logprobs": [-0.5, -0.25]},
        {"text": "", "token_ids": [3], "logprobs": [-1.0]},
        {"token_ids": [4]},
    ]

    assert answered(logprobs=pieces)["choices"][0]["logprobs"]["content"] == [
        {"token": "Hé", "bytes": [72, 195, 169], "logprob": -0.75, "top_logprobs": []},
        {"token": "", "bytes": [], "logprob": -1.0, "top_logprobs": []},
    ]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"<html>", "JSON"),
        (b'{"id":"x","message":{"content":[]}}', "finish_reason"),
        (b'{"finish_reason":"COMPLETE","message":{"content":[3]}}', "message.content.0"),
        (b'{"finish_reason":"COMPLETE","message":{"tool_calls":{}}}', "message.tool_calls"),
    ],
)
def test_an_answer_of_another_form_is_unreadable(body: bytes, named: str) -> None:
    with pytest.raises(UnreadableAnswer, match=named):
        API.answer(target(), chat(), body)


@pytest.mark.parametrize(
    ("body", "text"),
    [(b'{"message":"invalid api token"}', "invalid api token"), (b"no", "no"), (b'{"x":1}', '{"x":1}')],
)
def test_the_text_of_errors(body: bytes, text: str) -> None:
    assert API.error_text(body) == text


# Streams.


def events(*documents: dict[str, Any]) -> bytes:
    return b"".join(
        f"event: {one['type']}\ndata: {json.dumps(one, ensure_ascii=False)}\n\n".encode() for one in documents
    )


def content(kind: str, index: int = 0, **said: str) -> dict[str, Any]:
    return {"type": kind, "index": index, "delta": {"message": {"content": said}}}


def text(said: str, **more: Any) -> dict[str, Any]:
    return {**content("content-delta", text=said), **more}


def call_start(index: int, id: str, name: str, arguments: str = "") -> dict[str, Any]:
    call = {"tool_calls": tool_call(id, name, arguments)}
    return {"type": "tool-call-start", "index": index, "delta": {"message": call}}


def call_delta(index: int, arguments: str) -> dict[str, Any]:
    call = {"tool_calls": {"function": {"arguments": arguments}}}
    return {"type": "tool-call-delta", "index": index, "delta": {"message": call}}


def call_end(index: int) -> dict[str, Any]:
    return {"type": "tool-call-end", "index": index}


def plan(said: str) -> dict[str, Any]:
    return {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": said}}}


def end(reason: str = "COMPLETE", **more: Any) -> dict[str, Any]:
    return {"type": "message-end", "delta": {"finish_reason": reason, "usage": ANSWER["usage"], **more}}


START = {
    "type": "message-start",
    "id": "29f14a5a",
    "delta": {"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}},
}
CITATION = {
    "type": "citation-start",
    "index": 0,
    "delta": {"message": {"citations": {"start": 0, "end": 5, "text": "Grüße", "sources": []}}},
}
TEXT_STREAM = events(
    START,
    content("content-start", type="text", text=""),
    text("Grüße, "),
    text("日本."),
    CITATION,
    {"type": "citation-end", "index": 0},
    {"type": "content-end", "index": 0},
    end(),
)
TOOLS_STREAM = events(
    START,
    plan("I "),
    plan("look."),
    call_start(0, "c1", "weather"),
    call_delta(0, '{"city": '),
    call_delta(0, '"Zürich"}'),
    call_end(0),
    call_start(1, "c2", "clock"),
    call_end(1),
    end("TOOL_CALL"),
)


def read(stream: ChunkStream, *pieces: bytes) -> list[dict[str, Any]]:
    chunks = [chunk for piece in pieces for chunk in stream.feed(piece)] + stream.end()
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
    return chunks


def streamed(*documents: dict[str, Any]) -> list[dict[str, Any]]:
    return read(API.stream(target(), chat(stream=True)), events(*documents))


def deltas(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [chunk["choices"][0]["delta"] for chunk in chunks]


def test_chunks_of_text() -> None:
    stream = API.stream(target(), chat(stream=True))
    chunks = read(stream, TEXT_STREAM)

    assert deltas(chunks) == [
        {"role": "assistant", "content": ""},
        {"content": "Grüße, "},
        {"content": "日本."},
        {},
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"] == {"prompt_tokens": 70, "completion_tokens": 4, "total_tokens": 74}
    assert {chunk["id"] for chunk in chunks} == {"29f14a5a"}
    assert {(chunk["created"], chunk["model"]) for chunk in chunks} == {(1_700_000_000, MODEL)}
    assert stream.usage == Usage(70, 4)
    assert stream.finished


def test_chunks_of_calls() -> None:
    chunks = read(API.stream(target(), chat(stream=True)), TOOLS_STREAM)

    assert deltas(chunks) == [
        {"role": "assistant", "content": ""},
        {"content": "I "},
        {"content": "look."},
        {"tool_calls": [{"index": 0, **tool_call("c1", "weather", "")}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"Zürich"}'}}]},
        {"tool_calls": [{"index": 1, **tool_call("c2", "clock", "")}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {},
    ]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_calls_are_counted_from_zero_whatever_cohere_counts() -> None:
    chunks = streamed(START, call_start(3, "c1", "f", "{"), call_delta(3, "}"), call_end(3), end("TOOL_CALL"))

    assert deltas(chunks)[1:-1] == [
        {"tool_calls": [{"index": 0, **tool_call("c1", "f", "{")}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]},
    ]


@pytest.mark.parametrize("whole", [TEXT_STREAM, TOOLS_STREAM, TEXT_STREAM.replace(b"\n", b"\r\n")])
def test_streams_cut_anywhere_give_the_same_chunks(whole: bytes) -> None:
    chunks = read(API.stream(target(), chat(stream=True)), whole)

    for cut in range(len(whole) + 1):
        assert read(API.stream(target(), chat(stream=True)), whole[:cut], whole[cut:]) == chunks, cut
    bytewise = (whole[at : at + 1] for at in range(len(whole)))
    assert read(API.stream(target(), chat(stream=True)), *bytewise) == chunks


def test_a_stream_that_breaks_off_is_not_finished() -> None:
    stream = API.stream(target(), chat(stream=True))
    read(stream, TEXT_STREAM[: TEXT_STREAM.index(b"event: message-end")])

    assert not stream.finished
    assert stream.usage is None


def test_the_last_event_may_lack_its_empty_line() -> None:
    stream = API.stream(target(), chat(stream=True))
    chunks = read(stream, TEXT_STREAM.rstrip())

    assert stream.finished
    assert "usage" in chunks[-1]


def test_reasoning_and_probabilities_in_a_stream() -> None:
    piece = {"text": "Hi", "token_ids": [1], "logprobs": [-0.5]}
    chunks = streamed(
        START,
        content("content-start", type="thinking", thinking=""),
        content("content-delta", thinking="hm"),
        content("content-start", 1, type="text", text=""),
        text("Hi", logprobs=piece),
        end(),
    )

    assert deltas(chunks)[1:-1] == [{"reasoning_content": "hm"}, {"content": "Hi"}]
    assert chunks[2]["choices"][0]["logprobs"]["content"][0]["logprob"] == -0.5
    assert "logprobs" not in chunks[1]["choices"][0]


@pytest.mark.parametrize(("reason", "status"), [("ERROR", 500), ("TIMEOUT", 504)])
def test_failures_in_a_stream(reason: str, status: int) -> None:
    stream = API.stream(target(), chat(stream=True))
    stream.feed(events(START, text("Hi")))

    with pytest.raises(StreamFailed, match="it broke") as failed:
        stream.feed(events(end(reason, error="it broke")))
    assert failed.value.status == status
    assert not stream.finished


def test_an_error_in_place_of_an_event() -> None:
    with pytest.raises(StreamFailed, match="internal server error") as failed:
        API.stream(target(), chat(stream=True)).feed(b'data: {"message":"internal server error"}\n\n')
    assert failed.value.status == 500


def test_what_is_unknown_is_left_out() -> None:
    whole = events(START, {"type": "debug", "prompt": "x"}, {"type": "news", "message": "x"}, text("Hi"), end())

    assert deltas(read(API.stream(target(), chat(stream=True)), whole + b"data: [DONE]\n\n"))[1:] == [
        {"content": "Hi"},
        {},
    ]


@pytest.mark.parametrize(
    "broken",
    [
        b'data: {"broken": <\n\n',
        b"data: [1]\n\n",
        events({"type": "message-end", "delta": {}}),
        events(call_delta(4, "{}")),
        events({"type": "content-delta", "delta": {"message": {"content": {"text": 3}}}}),
        b"data: " + b"x" * (17 << 20),
    ],
)
def test_streams_of_another_form_are_unreadable(broken: bytes) -> None:
    with pytest.raises(UnreadableAnswer):
        API.stream(target(), chat(stream=True)).feed(broken)


# Cohere's own client.


def test_the_request_is_the_one_that_coheres_client_sends() -> None:
    with loopback(json.dumps(ANSWER).encode()) as server:
        client = cohere.ClientV2(api_key="secret", base_url=server.url)
        client.chat(
            model=MODEL,
            messages=COHERES,  # type: ignore[arg-type]
            tools=[WEATHER, CLOCK_TOOL],  # type: ignore[list-item]
            tool_choice="REQUIRED",
            response_format={"type": "json_object", "json_schema": SCHEMA},  # type: ignore[arg-type]
            thinking={"type": "enabled", "token_budget": 100},  # type: ignore[arg-type]
            max_tokens=5,
            temperature=0.5,
            p=0.5,
            k=3,
            seed=7,
            stop_sequences=["x"],
            logprobs=True,
            request_options=ONCE,
        )
        call = chat(
            messages=CONVERSATION,
            tools=[WEATHER, CLOCK],
            tool_choice="required",
            response_format=FORMAT,
            thinking={"type": "enabled", "budget_tokens": 100},
            max_tokens=5,
            temperature=0.5,
            top_p=0.5,
            top_k=3,
            seed=7,
            stop="x",
            logprobs=True,
        )
        post(API.request(target(cohere_api_base=server.url), call, None, NOW))
        theirs, ours = server.sent

    assert ours.path == theirs.path
    assert ours.json == theirs.json
    assert ours.headers["authorization"] == theirs.headers["authorization"]


@pytest.mark.parametrize("stream", [TEXT_STREAM, TOOLS_STREAM])
def test_coheres_client_reads_in_the_same_bytes_what_the_chunks_say(stream: bytes) -> None:
    with loopback(stream, "text/event-stream") as server:
        client = cohere.ClientV2(api_key="secret", base_url=server.url)
        read_by_them: list[Any] = list(client.chat_stream(model=MODEL, messages=HELLO, request_options=ONCE))  # type: ignore[arg-type]
        post(API.request(target(cohere_api_base=server.url), chat(stream=True), None, NOW))
        theirs, ours = server.sent
    chunks = read(API.stream(target(), chat(stream=True)), stream)

    assert ours.json == theirs.json
    said = "".join(
        (one.delta.message.content.text if one.type == "content-delta" else one.delta.message.tool_plan)
        for one in read_by_them
        if one.type in ("content-delta", "tool-plan-delta")
    )
    assert said == "".join(one.get("content", "") for one in deltas(chunks))
    arguments = "".join(
        one.delta.message.tool_calls.function.arguments for one in read_by_them if one.type == "tool-call-delta"
    )
    called = [call for one in deltas(chunks) for call in one.get("tool_calls", ()) if call["index"] == 0]
    assert arguments == "".join(call["function"]["arguments"] for call in called)
    assert read_by_them[-1].delta.usage.tokens.input_tokens == chunks[-1]["usage"]["prompt_tokens"]


EMBEDDED = {
    "id": "da6e531f",
    "embeddings": {"float": [[0.5, -1.0], [0.25, 0.0]]},
    "texts": ["a", "b"],
    "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 2}},
    "response_type": "embeddings_by_type",
}


def test_embeddings_as_coheres_client_asks_for_them() -> None:
    with loopback(json.dumps(EMBEDDED).encode()) as server:
        client = cohere.ClientV2(api_key="secret", base_url=server.url)
        theirs = client.embed(
            model="embed-v4.0",
            texts=["a", "b"],
            input_type="search_document",
            embedding_types=["float"],
            output_dimension=256,
            request_options=ONCE,
        )
        reached = target("embed-v4.0", cohere_api_base=server.url)
        call = embeddings(input=["a", "b"], dimensions=256)
        post(API.request(reached, call, None, NOW))
        sent_by_them, sent_by_us = server.sent
    ours = API.answer(reached, call, json.dumps(EMBEDDED).encode())

    assert (sent_by_us.path, sent_by_us.json) == (sent_by_them.path, sent_by_them.json)
    CreateEmbeddingResponse.model_validate(ours.body)
    assert [one["embedding"] for one in ours.body["data"]] == theirs.embeddings.float_
    assert [one["index"] for one in ours.body["data"]] == [0, 1]
    assert ours.body["usage"] == {"prompt_tokens": 2, "total_tokens": 2}
    assert ours.usage == Usage(2, 0)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "'input'"),
        ({"input": [[1, 2]]}, "'input'"),
        ({"input": "a", "input_type": "image"}, "'input_type'"),
        ({"input": "a", "dimensions": True}, "'dimensions'"),
    ],
)
def test_embeddings_that_cohere_could_not_take_are_refused(given: dict[str, Any], named: str) -> None:
    with pytest.raises(BadRequest, match=named):
        API.request(target(), embeddings(**given), None, NOW)
