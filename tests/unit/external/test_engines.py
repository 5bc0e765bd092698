"""Engines of this machine, with answers that were recorded from llama.cpp with SmolLM2-135M-Instruct."""

from __future__ import annotations

import base64
import copy
import json
import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from moorage.api.engines import Engine
from moorage.api.errors import BadRequest
from moorage.api.external_models import ExternalTask
from moorage.api.surfaces import Surface
from moorage.external.engines import EngineApi
from moorage.external.exchange import Call, StreamFailed, Target, UnreadableAnswer, Usage
from moorage.external.failures import answered_with, not_reached, too_late, unreadable
from moorage.external.ways import exchange_of

API = EngineApi()
NOW: Any = None  # nothing in these requests depends on the time
HELLO = [{"role": "user", "content": "Hi"}]
CITY = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 9}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": CITY}}
CLOCK = {"type": "function", "function": {"name": "clock"}}
TOOLS = [WEATHER, CLOCK]
USE_CLOCK = {"type": "function", "function": {"name": "clock"}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "schema": CITY}}
CHAT, COMPLETIONS, EMBEDDINGS = ExternalTask.CHAT, ExternalTask.COMPLETIONS, ExternalTask.EMBEDDINGS


def call(task: ExternalTask = CHAT, *, stream: bool = False, **body: Any) -> Call:
    needed = {CHAT: {"messages": HELLO}, COMPLETIONS: {"prompt": "Once upon"}, EMBEDDINGS: {"input": "hi"}}[task]
    return Call(task, {**needed, **body}, stream, "req-1", 1_700_000_000)


def target(task: ExternalTask = CHAT, engine: Engine = Engine.LLAMA_CPP) -> Target:
    return Target(engine, "smol", task)


def requested(task: ExternalTask = CHAT, engine: Engine = Engine.LLAMA_CPP, **body: Any) -> dict[str, Any]:
    asked = call(task, **body)
    before = copy.deepcopy(asked.body)
    made = json.loads(API.request(target(task, engine), asked, None, NOW).body)
    assert asked.body == before, "the body is never changed"
    return dict(made)


# What was recorded: what events have beside the usual, in their order.

AROUND_CHAT = {"created": 1795273830, "id": "chatcmpl-x2u45DM7plkXeqWgIfIbmjYt0eNLvTI2", "model": "other"}
AROUND = {**AROUND_CHAT, "system_fingerprint": "b0-unknown"}
TIMINGS = {"cache_n": 24, "prompt_n": 7, "prompt_ms": 517.598, "predicted_n": 3, "predicted_per_second": 25.47}


def says(text: str, index: int = 0, **more: Any) -> dict[str, Any]:
    return {"choices": [{"finish_reason": None, "index": index, "delta": {"content": text}, **more}]}


def begins(index: int = 0) -> dict[str, Any]:
    return {"choices": [{"finish_reason": None, "index": index, "delta": {"role": "assistant", "content": None}}]}


def stops(reason: str, index: int = 0) -> dict[str, Any]:
    return {"choices": [{"finish_reason": reason, "index": index, "delta": {}}]}


def used(read: int, written: int) -> dict[str, Any]:
    usage = {"completion_tokens": written, "prompt_tokens": read, "total_tokens": read + written}
    return {"choices": [], "usage": {**usage, "prompt_tokens_details": {"cached_tokens": 24}}, "timings": TIMINGS}


def writes(text: str, index: int = 0, logprobs: Any = None) -> dict[str, Any]:
    return {"choices": [{"text": text, "index": index, "logprobs": logprobs, "finish_reason": None}]}


def cut(read: int, written: int, index: int = 0) -> dict[str, Any]:
    choice = {"text": "", "index": index, "logprobs": None, "finish_reason": "length"}
    return {**used(read, written), "choices": [choice]}


def token(id: int, text: str, logprob: float, **more: Any) -> dict[str, Any]:
    return {"id": id, "token": text, "bytes": list(text.encode()), "logprob": logprob, **more}


THE, A = token(260, " the", -1.5092995166778564), token(253, " a", -1.9517853260040283)
SCENE, NIGHT = token(6621, " scene", -3.052929401397705), token(3163, " night", -3.257467746734619)
PARIS = token(38634, "Paris", -0.8095449209213257)
LIKELY = {"content": [{**THE, "top_logprobs": [THE, A]}]}
LIKELY_NEXT = {"content": [{**SCENE, "top_logprobs": [SCENE, NIGHT]}]}

GREETING = [begins(), says("Hello"), says("!"), {**says(" "), "timings": TIMINGS}, stops("stop"), used(31, 3)]
TWICE = [
    *[begins(), says("Paris"), begins(1), says("Paris", 1), says(","), stops("length"), used(37, 2)],
    *[says(",", 1), stops("length", 1), used(37, 2)],
]
CALL_PIECES = (
    *('{"', "name", '":"', "get", "_", "weather", '","', "arguments", '":', '{"', "city", '":"', "Paris"),
    *('","', "unit", '":"', "c", '"}', "}"),
)
CALL = [begins(), *map(says, CALL_PIECES), stops("stop"), used(128, 22)]
SPACED_PIECES = ('{"', "name", '":"', "c", "lock", '","', "arguments", '":', "{", "\n   ", " }", "\n", "}")
SPACED_CALL = [begins(), *map(says, SPACED_PIECES), stops("stop"), used(74, 16)]
LIKELY_PARIS = [
    begins(),
    says("Paris", logprobs={"content": [{**PARIS, "top_logprobs": [PARIS]}]}),
    stops("length"),
    used(37, 1),
]
PROMPTS = [None, writes(" of", 1), writes(" the"), writes(" the", 1), cut(2, 2, 1), writes(" scene"), cut(2, 2)]
LIKELY_TEXT = [writes(" the", logprobs=LIKELY), writes(" scene", logprobs=LIKELY_NEXT), cut(2, 2)]
TOO_LONG = {
    "code": 400,
    "message": "request (1531 tokens) exceeds the available context size (1024 tokens), try increasing it",
    "type": "exceed_context_size_error",
    "n_prompt_tokens": 1531,
    "n_ctx": 1024,
}


def sse(events: Sequence[Mapping[str, Any] | None], *, end: bytes = b"data: [DONE]\n\n") -> bytes:
    documents = [event if event is None or "error" in event else {**event, **AROUND} for event in events]
    return b"".join(b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents) + end


def answered(events: Sequence[Mapping[str, Any] | None], asked: Call) -> dict[str, Any]:
    return API.answer(target(asked.task), asked, sse(events)).body


def chunks(events: Sequence[Mapping[str, Any] | None], asked: Call) -> list[dict[str, Any]]:
    stream = API.stream(target(asked.task), asked)
    made = stream.feed(sse(events)) + stream.end()
    assert stream.finished
    return made


# Where requests go, and what they always say.


@pytest.mark.parametrize(
    ("task", "path"),
    [(CHAT, "chat/completions"), (COMPLETIONS, "completions"), (EMBEDDINGS, "embeddings")],
)
def test_requests_go_to_the_engine_without_credentials(task: ExternalTask, path: str) -> None:
    request = API.request(target(task), call(task), None, NOW)
    assert request.url == f"http://engine/v1/{path}"
    assert request.headers == {"content-type": "application/json"}
    assert API.token_request(target(task), NOW) is None


@pytest.mark.parametrize("task", [CHAT, COMPLETIONS])
@pytest.mark.parametrize("stream", [True, False])
def test_all_text_is_asked_for_as_a_stream_that_tells_its_usage(task: ExternalTask, stream: bool) -> None:
    asked = call(task, stream=stream, model="endpoint", stream_options={"include_usage": False})
    made = json.loads(API.request(target(task), asked, None, NOW).body)
    assert (made["model"], made["stream"], made["stream_options"]) == ("smol", True, {"include_usage": True})


ALWAYS = {"model": "smol", "stream": True, "stream_options": {"include_usage": True}, "temperature": 1, "top_p": 1}


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({}, {}),
        ({"model": "endpoint", "user": "u", "metadata": {}, "thinking": {"type": "enabled"}, "nobody": 1}, {}),
        ({"grammar": "root ::= 'a'", "id_slot": 3, "cache_prompt": False, "response_fields": ["a"]}, {}),
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_completion_tokens": 7}, {"max_tokens": 7}),
        ({"max_tokens": 5, "max_completion_tokens": 7}, {"max_tokens": 7}),
        ({"max_tokens": 1 << 40}, {"max_tokens": (1 << 31) - 1}),
        ({"max_tokens": None, "temperature": None, "n": None, "stop": None, "tools": None, "logprobs": None}, {}),
        ({"temperature": 0, "top_p": 0.5}, {"temperature": 0, "top_p": 0.5}),
        ({"top_k": 3, "min_p": 0}, {"top_k": 3, "min_p": 0}),
        ({"temperature": 2, "n": 5}, {"temperature": 2, "n": 5}),
        ({"presence_penalty": -2, "frequency_penalty": 2}, {"presence_penalty": -2, "frequency_penalty": 2}),
        ({"repetition_penalty": 1.1}, {"repeat_penalty": 1.1}),
        ({"logit_bias": {"504": -100}}, {"logit_bias": {"504": -100}}),
        ({"logit_bias": {}}, {}),
        ({"seed": 7}, {"seed": 7}),
        ({"seed": -1}, {"seed": (1 << 31) - 1}),
        ({"seed": (1 << 32) - 1}, {"seed": (1 << 31) - 1}),
        ({"stop": "\n"}, {"stop": ["\n"]}),
        ({"stop": ["a", "b"]}, {"stop": ["a", "b"]}),
        ({"stop": []}, {}),
        ({"logprobs": True}, {"logprobs": True, "top_logprobs": 1}),
        ({"logprobs": True, "top_logprobs": 20}, {"logprobs": True, "top_logprobs": 20}),
        ({"logprobs": False, "top_logprobs": 0}, {}),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}),
        ({"response_format": FORMAT}, {"response_format": FORMAT}),
        ({"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
        ({"chat_template_kwargs": {"a": 1}}, {"chat_template_kwargs": {"a": 1}}),
        ({"ignore_eos": True}, {"ignore_eos": True}),
        ({"modalities": ["text"], "functions": None}, {}),
        ({"tools": []}, {}),
        ({"tool_choice": "auto"}, {}),
        ({"tools": [WEATHER]}, {"tools": [WEATHER]}),
        ({"tools": [WEATHER], "tool_choice": "auto"}, {"tools": [WEATHER], "tool_choice": "auto"}),
        (
            {"tools": [WEATHER], "tool_choice": "none", "parallel_tool_calls": False},
            {"tools": [WEATHER], "tool_choice": "none", "parallel_tool_calls": False},
        ),
    ],
)  # fmt: skip
def test_what_a_chat_request_says(given: dict[str, Any], made: dict[str, Any]) -> None:
    assert requested(**given) == {**ALWAYS, "messages": HELLO, **made}


def test_what_engines_name_differently() -> None:
    assert requested(engine=Engine.VLLM, repetition_penalty=1.1)["repetition_penalty"] == 1.1
    assert requested(EMBEDDINGS, Engine.VLLM, dimensions=8)["dimensions"] == 8


def tool_call(id: str, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}


@pytest.mark.parametrize(
    ("message", "made"),
    [
        ({"role": "developer", "content": "Be kind."}, {"role": "system", "content": "Be kind."}),
        (
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "n"},
            {"role": "user", "content": "ab"},
        ),
        ({"role": "assistant", "content": None}, {"role": "assistant", "content": ""}),
        ({"role": "assistant", "content": "x", "refusal": None}, {"role": "assistant", "content": "x"}),
        (
            {"role": "assistant", "content": None, "tool_calls": [tool_call("c1", "")]},
            {"role": "assistant", "content": None, "tool_calls": [tool_call("c1", "{}")]},
        ),
        (
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "5"}]},
            {"role": "tool", "tool_call_id": "c1", "content": "5"},
        ),
    ],
)
def test_messages(message: dict[str, Any], made: dict[str, Any]) -> None:
    assert requested(messages=[*HELLO, message])["messages"] == [*HELLO, made]


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"messages": []}, "'messages' must be"),
        ({"messages": "Hi"}, "'messages' must be"),
        ({"messages": [{"role": "king", "content": "a"}]}, "'messages[0].role'"),
        ({"messages": [{"role": "user"}]}, "'messages[0].content' must be a text"),
        ({"messages": [{"role": "user", "content": 5}]}, "'messages[0].content'"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE]}]},
         "'messages[0].content[1]' is an image: the model takes text alone"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "'messages[0].tool_call_id'"),
        ({"max_tokens": 0}, "'max_tokens' must be at least 1, not 0"),
        ({"max_tokens": "5"}, "'max_tokens' must be an integer"),
        ({"max_tokens": True}, "'max_tokens' must be an integer"),
        ({"max_completion_tokens": -1}, "'max_completion_tokens' must be at least 1"),
        ({"temperature": -0.1}, "'temperature' must be between 0 and 2, not -0.1"),
        ({"temperature": 2.1}, "'temperature'"),
        ({"temperature": "hot"}, "'temperature' must be a number"),
        ({"top_p": 0}, "'top_p' must be above 0"),
        ({"top_p": 1.1}, "'top_p' must be between 0 and 1"),
        ({"top_k": 0}, "'top_k' must be at least 1"),
        ({"top_k": 1.5}, "'top_k' must be an integer"),
        ({"min_p": 2}, "'min_p'"),
        ({"presence_penalty": 3}, "'presence_penalty'"),
        ({"frequency_penalty": -3}, "'frequency_penalty'"),
        ({"repetition_penalty": 0}, "'repetition_penalty'"),
        ({"logit_bias": [1]}, "'logit_bias' must be an object"),
        ({"logit_bias": {"the": 1}}, "'logit_bias' must have numbers of tokens"),
        ({"logit_bias": {"5": "x"}}, "'5' must be a number"),
        ({"logit_bias": {"5": 101}}, "'5' must be between -100 and 100"),
        ({"n": 0}, "'n' must be between 1 and 5"),
        ({"n": 6}, "'n' must be between 1 and 5, not 6"),
        ({"seed": 1.5}, "'seed' must be an integer"),
        ({"stop": ["a", ""]}, "'stop' must not hold an empty text"),
        ({"stop": [5]}, "'stop' must be"),
        ({"stop": ["a"] * 17}, "'stop' must hold at most 16"),
        ({"logprobs": 1}, "'logprobs' must be true or false"),
        ({"top_logprobs": 1}, "'top_logprobs' needs 'logprobs'"),
        ({"logprobs": True, "top_logprobs": 21}, "'top_logprobs' must be between 0 and 20"),
        ({"stream_options": True}, "'stream_options' must be an object"),
        ({"tools": {}}, "'tools' must be a list"),
        ({"tools": [CLOCK] * 33}, "'tools' must hold at most 32 functions, not 33"),
        ({"tools": [{"type": "browser"}]}, "'tools[0]'"),
        ({"tools": [CLOCK], "tool_choice": "always"}, "'tool_choice' must be"),
        ({"tool_choice": "required"}, "'tool_choice' is 'required'"),
        ({"tools": [WEATHER], "tool_choice": USE_CLOCK}, "'tool_choice.function.name' is 'clock'"),
        ({"tools": [CLOCK], "parallel_tool_calls": "no"}, "'parallel_tool_calls'"),
        ({"response_format": {"type": "xml"}}, "'response_format.type'"),
        ({"response_format": {"type": "json_schema"}}, "'response_format.json_schema.schema'"),
        ({"reasoning_effort": "huge"}, "'reasoning_effort' must be one of"),
        ({"chat_template_kwargs": "a"}, "'chat_template_kwargs'"),
        ({"ignore_eos": "yes"}, "'ignore_eos'"),
        ({"functions": [{}]}, "'functions' cannot be passed on to this model"),
        ({"modalities": ["audio"]}, "'modalities'"),
    ],
)  # fmt: skip
def test_a_chat_request_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        requested(**given)
    assert said in refused.value.message


NO_LIMIT = {**ALWAYS, "max_tokens": None}


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({}, {"prompt": "Once upon"}),
        ({"prompt": ["a", "b"], "n": 2}, {"prompt": ["a", "b"], "n": 2}),
        ({"prompt": [1, 2]}, {"prompt": [1, 2]}),
        ({"prompt": [[1], [2, 3]]}, {"prompt": [[1], [2, 3]]}),
        ({"prompt": ""}, {"prompt": ""}),
        ({"max_tokens": 3, "stop": "."}, {"prompt": "Once upon", "max_tokens": 3, "stop": ["."]}),
        ({"logprobs": 0}, {"prompt": "Once upon", "logprobs": 1}),
        ({"logprobs": 5}, {"prompt": "Once upon", "logprobs": 5}),
        ({"echo": True, "use_raw_prompt": True, "error_behavior": "truncate"}, {"prompt": "Once upon"}),
        ({"use_raw_prompt": False, "error_behavior": "error", "suffix": "", "best_of": 1}, {"prompt": "Once upon"}),
    ],
)
def test_what_a_completions_request_says(given: dict[str, Any], made: dict[str, Any]) -> None:
    assert requested(COMPLETIONS, **given) == {**NO_LIMIT, **made}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"prompt": 5}, "'prompt' must be a text"),
        ({"prompt": []}, "'prompt' must be a text"),
        ({"prompt": ["a", 5]}, "'prompt' must be a text"),
        ({"prompt": [-1]}, "'prompt' must be a text"),
        ({"prompt": [True]}, "'prompt' must be a text"),
        ({"prompt": ["a"] * 129}, "'prompt' must hold at most 128 prompts, not 129"),
        ({"suffix": "end"}, "'suffix' must be left out"),
        ({"best_of": 3}, "'best_of' must be 1"),
        ({"logprobs": True}, "'logprobs' must be an integer"),
        ({"logprobs": 21}, "'logprobs' must be between 0 and 20"),
        ({"echo": "yes"}, "'echo' must be true or false"),
        ({"echo": True, "logprobs": 1}, "'logprobs' must be left out with 'echo'"),
        ({"echo": True, "prompt": [1, 2]}, "'echo' must be false"),
        ({"use_raw_prompt": "yes"}, "'use_raw_prompt' must be true or false"),
        ({"error_behavior": "ignore"}, "'error_behavior' must be 'truncate' or 'error'"),
        ({"n": 6}, "'n' must be between 1 and 5"),
    ],
)
def test_a_completions_request_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        requested(COMPLETIONS, **given)
    assert said in refused.value.message


# Tools that must be called.


def schema_of(**body: Any) -> dict[str, Any]:
    form = requested(**body)["response_format"]
    assert form["type"] == "json_schema"
    return dict(form["json_schema"]["schema"])


def of_function(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"const": name}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}


def test_a_required_call_is_a_schema_of_the_answer() -> None:
    made = requested(tools=TOOLS, tool_choice="required", response_format=FORMAT, stop="\n", ignore_eos=True)
    assert not made.keys() & {"tools", "tool_choice", "stop", "ignore_eos"}
    schema = made["response_format"]["json_schema"]["schema"]
    calls = [of_function("get_weather", {**CITY, "additionalProperties": False}), of_function("clock", NO_ARGUMENTS)]
    assert schema == {"anyOf": calls}


def test_a_named_call_leaves_no_other() -> None:
    assert schema_of(tools=TOOLS, tool_choice=USE_CLOCK) == {"anyOf": [of_function("clock", NO_ARGUMENTS)]}


@pytest.mark.parametrize("first", [None, {"role": "system", "content": "Be brief."}])
def test_the_model_is_told_of_the_tools(first: dict[str, Any] | None) -> None:
    told = requested(messages=[*([first] if first else []), *HELLO], tools=TOOLS, tool_choice="required")["messages"]
    assert [message["role"] for message in told] == ["system", "user"]
    assert told[0]["content"].startswith("Be brief.\n\nYou can call" if first else "You can call")
    assert '"name":"get_weather","description":"Weather"' in told[0]["content"]
    assert '"name":"clock"' in told[0]["content"]


def arguments_schema(parameters: dict[str, Any]) -> dict[str, Any]:
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    schema = schema_of(tools=[CLOCK, tool], tool_choice="required")["anyOf"][1]["properties"]["arguments"]
    return dict(schema)


PLACE = "#/anyOf/1/properties/arguments"
BOUND = {"type": "string", "maxLength": 2000}


@pytest.mark.parametrize(
    ("parameters", "made"),
    [
        ({"type": "object"}, {"type": "object"}),
        ({"additionalProperties": {"type": "string"}}, {"type": "object", "additionalProperties": BOUND}),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}},
         {"$ref": f"{PLACE}/$defs/a", "$defs": {"a": BOUND}}),
        ({"anyOf": [{"type": "object"}]}, {"anyOf": [{"type": "object"}]}),
        ({"type": "object", "properties": {}, "anyOf": [{"required": ["a"]}]}, NO_ARGUMENTS),
        ({"type": ["object", "null"], "properties": {}, "additionalProperties": True},
         {"type": "object", "properties": {}, "additionalProperties": True}),
    ],
)  # fmt: skip
def test_arguments_are_an_object_that_ends(parameters: dict[str, Any], made: dict[str, Any]) -> None:
    assert arguments_schema(parameters) == made


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        ({"type": "string"}, BOUND),
        ({"type": ["string", "null"]}, {"type": ["string", "null"], "maxLength": 2000}),
        ({"type": "string", "minLength": 3000}, {"type": "string", "minLength": 3000, "maxLength": 3000}),
        ({"type": "string", "maxLength": 5000}, {"type": "string", "maxLength": 5000}),
        ({"type": "string", "enum": ["a"]}, {"type": "string", "enum": ["a"]}),
        ({"type": "string", "pattern": "a+"}, {"type": "string", "pattern": "a+"}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"type": "array", "items": {"type": "string"}}, {"type": "array", "items": BOUND}),
        ({"anyOf": [{"type": "string"}, {"$ref": "#"}]}, {"anyOf": [BOUND, {"$ref": PLACE}]}),
        ({"prefixItems": [True, {"type": "string"}]}, {"prefixItems": [True, BOUND]}),
        ({"properties": {"type": {"type": "string"}, "$ref": {"type": "integer"}}},
         {"properties": {"type": BOUND, "$ref": {"type": "integer"}}}),
        ({"default": {"type": "string"}}, {"default": {"type": "string"}}),
        ({"const": {"$ref": "#/a"}}, {"const": {"$ref": "#/a"}}),
        ({"$ref": "https://example.com/a"}, {"$ref": "https://example.com/a"}),
    ],
)  # fmt: skip
def test_schemas_within_arguments(schema: dict[str, Any], made: dict[str, Any]) -> None:
    assert arguments_schema({"type": "object", "properties": {"a": schema}})["properties"] == {"a": made}


FORCED = {"tools": TOOLS, "tool_choice": "required"}


@pytest.mark.parametrize(
    ("events", "name", "arguments", "usage"),
    [
        (CALL, "get_weather", '{"city":"Paris","unit":"c"}', {"read": 128, "written": 22}),
        (SPACED_CALL, "clock", "{\n    }", {"read": 74, "written": 16}),
    ],
)
def test_an_answer_with_a_call(events: Any, name: str, arguments: str, usage: dict[str, int]) -> None:
    body = answered(events, call(**FORCED))
    [choice] = ChatCompletion.model_validate(body).choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert body["choices"][0]["message"]["tool_calls"] == [
        {"id": "call_req-1_0_0", "type": "function", "function": {"name": name, "arguments": arguments}}
    ]
    assert body["usage"]["prompt_tokens"] == usage["read"]
    assert body["usage"]["completion_tokens"] == usage["written"]


def test_a_stream_with_a_call_gives_its_name_and_then_its_arguments() -> None:
    made = chunks(CALL, call(stream=True, **FORCED))
    deltas = [choice["delta"] for chunk in made for choice in chunk["choices"]]
    named = {"index": 0, "id": "call_req-1_0_0", "type": "function"}
    assert deltas[:2] == [
        {"role": "assistant", "content": None},
        {"tool_calls": [{**named, "function": {"name": "get_weather", "arguments": '{"'}}]},
    ]
    more = ["city", '":"', "Paris", '","', "unit", '":"', "c", '"}']
    assert deltas[2:-1] == [{"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in more]
    assert made[-2]["choices"] == [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]
    assert (made[-1]["choices"], made[-1]["usage"]["total_tokens"]) == ([], 150)


TRICKY = r'{"a":"}{\"\\","b":[{"c":{}}],"d":"\\\\"}'


@given(st.lists(st.integers(0, 80), max_size=8))
def test_a_call_in_any_pieces(cuts: list[int]) -> None:
    text = ' {\n"name" : "clock",\t"arguments": ' + TRICKY + " \n} "
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [says(text[begin:end]) for begin, end in pairwise(places)]
    message = answered([begins(), *pieces, stops("stop")], call(**FORCED))["choices"][0]["message"]
    assert message["tool_calls"][0]["function"] == {"name": "clock", "arguments": TRICKY}


@pytest.mark.parametrize(
    ("text", "arguments", "reason"),
    [
        ('{"name":"cl', None, "length"),
        ('{"name":"clock","arguments":', None, "length"),
        ('{"name":"clock","arguments":{"a":"}', '{"a":"}', "length"),
        ('{"name":"clock","arguments":{}', "{}", "tool_calls"),
    ],
)
def test_a_call_that_was_cut_off(text: str, arguments: str | None, reason: str) -> None:
    [choice] = answered([begins(), says(text), stops("length")], call(**FORCED))["choices"]
    calls = choice["message"].get("tool_calls")
    assert (calls and calls[0]["function"]["arguments"], choice["finish_reason"]) == (arguments, reason)


@pytest.mark.parametrize(
    "text",
    ["I cannot.", '{"name":"clock"}', '{"name":"moon","arguments":{}}', r'{"name":"\q","arguments":{}}'],
)
def test_an_engine_that_does_not_enforce_the_call(text: str) -> None:
    with pytest.raises(UnreadableAnswer):
        answered([begins(), says(text), stops("stop")], call(**FORCED))


def test_each_choice_has_a_call_of_its_own() -> None:
    pieces = [says('{"name":"clock",', 1), says('{"name":"get_weather",'), says('"arguments":{"city":"a"}}')]
    events = [begins(1), begins(), *pieces, stops("stop"), says('"arguments":{}}', 1), stops("stop", 1)]
    choices = answered(events, call(n=2, **FORCED))["choices"]
    calls = [choice["message"]["tool_calls"][0] for choice in choices]
    assert [made["id"] for made in calls] == ["call_req-1_0_0", "call_req-1_1_0"]
    assert [made["function"]["arguments"] for made in calls] == ['{"city":"a"}', "{}"]


def test_calls_that_a_template_makes_are_passed_on() -> None:
    begun = {"index": 0, "id": "abc", "type": "function", "function": {"name": "clock", "arguments": ""}}
    second = {"index": 1, "function": {"name": "clock", "arguments": "{}"}}
    events = [
        begins(),
        {"choices": [{"index": 0, "delta": {"content": "I look.", "tool_calls": [begun]}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [second]}, "finish_reason": None}]},
        stops("tool_calls"),
    ]
    [choice] = answered(events, call(tools=TOOLS))["choices"]
    clock = {"type": "function", "function": {"name": "clock", "arguments": "{}"}}
    assert choice["message"] == {
        "role": "assistant",
        "content": "I look.",
        "tool_calls": [{"id": "abc", **clock}, {"id": "call_req-1_0_1", **clock}],
    }
    assert choice["finish_reason"] == "tool_calls"
    for chunk in chunks(events, call(tools=TOOLS, stream=True)):
        ChatCompletionChunk.model_validate(chunk)


# Whole answers.


def test_a_whole_chat() -> None:
    answer = API.answer(target(), call(), sse(GREETING))
    ChatCompletion.model_validate(answer.body)
    assert answer.usage == Usage(31, 3)
    message = {"role": "assistant", "content": "Hello! "}
    assert answer.body == {
        "id": "req-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "smol",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 31, "completion_tokens": 3, "total_tokens": 34},
    }


def test_the_usage_of_several_choices_is_that_of_all() -> None:
    answer = API.answer(target(), call(n=2), sse(TWICE))
    assert [choice["message"]["content"] for choice in answer.body["choices"]] == ["Paris,", "Paris,"]
    assert answer.usage == Usage(37, 4), "they have one prompt"


def test_the_usage_of_several_prompts_is_that_of_all() -> None:
    answer = API.answer(target(COMPLETIONS), call(COMPLETIONS, prompt=["Once upon", "The sea"]), sse(PROMPTS))
    Completion.model_validate(answer.body)
    assert answer.usage == Usage(4, 4)
    assert answer.body["object"] == "text_completion"
    assert answer.body["choices"] == [
        {"index": 0, "text": " the scene", "finish_reason": "length", "logprobs": None},
        {"index": 1, "text": " of the", "finish_reason": "length", "logprobs": None},
    ]


def test_several_choices_of_several_prompts() -> None:
    events = [event for index in (3, 1, 0, 2) for event in (writes(str(index), index), cut(5 + index // 2, 1, index))]
    asked = call(COMPLETIONS, prompt=["a", "b"], n=2, echo=True)
    answer = API.answer(target(COMPLETIONS), asked, sse([None, *events]))
    assert [choice["text"] for choice in answer.body["choices"]] == ["a0", "a1", "b2", "b3"]
    assert answer.usage == Usage(11, 4)


def test_probabilities_of_a_chat() -> None:
    plain = {"token": "Paris", "logprob": -0.8095449209213257, "bytes": [80, 97, 114, 105, 115]}
    for most, shown in ((1, [plain]), (0, [])):
        body = answered(LIKELY_PARIS, call(logprobs=True, top_logprobs=most))
        ChatCompletion.model_validate(body)
        assert body["choices"][0]["logprobs"] == {"content": [{**plain, "top_logprobs": shown}]}
    made = chunks(LIKELY_PARIS, call(logprobs=True, stream=True))
    assert made[1]["choices"][0]["logprobs"] == {"content": [{**plain, "top_logprobs": []}]}


def test_probabilities_of_a_completion_have_their_older_form() -> None:
    body = answered(LIKELY_TEXT, call(COMPLETIONS, logprobs=2))
    Completion.model_validate(body)
    assert body["choices"][0]["logprobs"] == {
        "tokens": [" the", " scene"],
        "token_logprobs": [-1.5092995166778564, -3.052929401397705],
        "top_logprobs": [
            {" the": -1.5092995166778564, " a": -1.9517853260040283},
            {" scene": -3.052929401397705, " night": -3.257467746734619},
        ],
        "text_offset": [0, 4],
    }
    assert answered(LIKELY_TEXT, call(COMPLETIONS, logprobs=0))["choices"][0]["logprobs"]["top_logprobs"] == [{}, {}]


def test_reasoning_is_told_apart() -> None:
    pieces = [{"reasoning_content": "Let "}, {"reasoning": "me see."}, {"content": "Yes."}]
    events = [begins(), *({"choices": [{"index": 0, "delta": piece}]} for piece in pieces), stops("stop")]
    message = answered(events, call())["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "Yes.", "reasoning_content": "Let me see."}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (sse(GREETING[:3], end=b""), "ended in the middle"),
        (sse(GREETING[:3]), "ended in the middle"),
        (sse(TWICE[:7]), "ended in the middle"),
        (b"", "ended in the middle"),
        (b"data: nonsense\n\n", "not a JSON object: nonsense"),
        (b"data: [1]\n\n", "not a JSON object"),
        (b'data: {"choices":[{"index":7,"delta":{}}]}\n\n', "a choice 7, which was not asked for"),
        (b'data: {"choices":[{"index":0,"delta":5}]}\n\n', "'delta'"),
        (b'data: {"choices":5}\n\n', "choices"),
        (sse([says("a", logprobs={"content": [5]})]), "'logprobs'"),
        (sse([begins(), {"error": TOO_LONG}]), "1531 tokens"),
    ],
)
def test_an_answer_that_cannot_be_read(body: bytes, said: str) -> None:
    with pytest.raises(UnreadableAnswer) as raised:
        API.answer(target(), call(n=2 if b'"index": 1' in body else 1), body)
    assert said in str(raised.value)


# Streams.


def test_a_stream_tells_its_usage_once_and_at_its_end() -> None:
    made = chunks(TWICE, call(n=2, stream=True))
    for chunk in made:
        ChatCompletionChunk.model_validate(chunk)
        assert {name: chunk[name] for name in ("id", "object", "created", "model")} == {
            "id": "req-1",
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": "smol",
        }
        assert chunk.keys() <= {"id", "object", "created", "model", "choices", "usage"}
    assert ["usage" in chunk for chunk in made] == [False] * (len(made) - 1) + [True]
    assert made[-1]["usage"] == {"prompt_tokens": 37, "completion_tokens": 4, "total_tokens": 41}
    for index in (0, 1):
        deltas = [one["delta"] for chunk in made for one in chunk["choices"] if one["index"] == index]
        assert deltas == [{"role": "assistant", "content": ""}, {"content": "Paris"}, {"content": ","}, {}]


def test_a_stream_of_completions() -> None:
    asked = call(COMPLETIONS, prompt=["Once upon", "The sea"], stream=True, echo=True)
    made = chunks(PROMPTS, asked)
    for chunk in made:
        ended = [{**one, "finish_reason": one["finish_reason"] or "stop"} for one in chunk["choices"]]
        Completion.model_validate({**chunk, "choices": ended})  # OpenAI's type has no null there
    assert [[(one["index"], one["text"], one["finish_reason"]) for one in chunk["choices"]] for chunk in made] == [
        [(1, "The sea of", None)],
        [(0, "Once upon the", None)],
        [(1, " the", None)],
        [(1, "", "length")],
        [(0, " scene", None)],
        [(0, "", "length")],
        [],
    ]
    assert ["usage" in chunk for chunk in made] == [False] * 6 + [True]
    assert made[-1]["usage"]["total_tokens"] == 8


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (TOO_LONG, 400, "the request has 1531 tokens, and the model has room for 1024: shorten it"),
        ({"code": 500, "message": "Compute error.", "type": "server_error"}, 500, "Compute error."),
        ({"code": 503, "message": "Loading model", "type": "unavailable_error"}, 503, "Loading model"),
        ({"message": "EngineCore died", "type": "InternalServerError", "param": None}, 500, "EngineCore died"),
        ({}, 500, "no reason given"),
        ("out of memory", 500, "out of memory"),
    ],
)  # fmt: skip
def test_an_error_in_a_stream(error: Any, status: int, said: str) -> None:
    stream = API.stream(target(), call(stream=True))
    stream.feed(sse([begins(), says("a")], end=b""))
    with pytest.raises(StreamFailed) as failed:
        stream.feed(sse([{"error": error or {"code": 500}}]))
    assert (failed.value.status, str(failed.value)) == (status, said)
    assert not stream.finished


def test_a_stream_that_ends_without_its_mark() -> None:
    stream = API.stream(target(), call(stream=True))
    stream.feed(sse(GREETING, end=b""))
    assert not stream.finished
    [last] = stream.end()
    assert stream.finished
    assert last["usage"]["total_tokens"] == 34
    assert stream.end() == []


def test_a_stream_that_breaks_off() -> None:
    stream = API.stream(target(), call(stream=True))
    stream.feed(sse(GREETING[:3], end=b'data: {"choi'))
    assert stream.end() == []
    assert not stream.finished


def test_nothing_comes_after_the_end() -> None:
    stream = API.stream(target(), call(stream=True))
    stream.feed(sse(GREETING))
    assert stream.feed(sse(GREETING)) == []


RECORDED: list[tuple[list[Any], Call]] = [
    (GREETING, call()),
    (TWICE, call(n=2)),
    (CALL, call(**FORCED)),
    (SPACED_CALL, call(**FORCED)),
    (LIKELY_PARIS, call(logprobs=True, top_logprobs=1)),
    (PROMPTS, call(COMPLETIONS, prompt=["Once upon", "The sea"], echo=True)),
    (LIKELY_TEXT, call(COMPLETIONS, logprobs=1)),
    ([begins(), says("naïve 🚀"), stops("stop"), used(3, 4)], call()),
]


@given(st.sampled_from(RECORDED), st.lists(st.floats(0, 1), max_size=6), st.booleans())
def test_bytes_may_be_cut_anywhere(recorded: tuple[list[Any], Call], cuts: list[float], returns: bool) -> None:
    events, asked = recorded
    data = sse(events)
    if returns:
        data = data.replace(b"\n", b"\r\n")
    places = [0, *sorted(int(cut * len(data)) for cut in cuts), len(data)]
    stream = API.stream(target(asked.task), asked)
    made = []
    for begin, end in pairwise(places):
        made += stream.feed(data[begin:end])
    made += stream.end()
    assert made == chunks(events, asked)
    assert stream.finished
    assert stream.usage is not None


@given(st.sampled_from(RECORDED), st.floats(0, 1))
def test_a_stream_cut_short_is_never_taken_for_a_whole_one(recorded: tuple[list[Any], Call], cut: float) -> None:
    events, asked = recorded
    ends = next(at for at in range(len(events), 0, -1) if not _all_ended(events[:at], asked))
    data = sse(events[: ends + 1], end=b"")
    stream = API.stream(target(asked.task), asked)
    stream.feed(data[: int(cut * (len(data) - 2))].rstrip(b"}\n"))
    stream.end()
    assert not stream.finished


def _all_ended(events: Sequence[Any], asked: Call) -> bool:
    ended = [one for event in events if event for one in event["choices"] if one["finish_reason"]]
    prompts = asked.body.get("prompt")
    return len(ended) == asked.body.get("n", 1) * (len(prompts) if isinstance(prompts, list) else 1)


# vLLM, as its documentation shows its answers: nulls everywhere, and one usage for all.


def vllm(events: Sequence[Mapping[str, Any]]) -> bytes:
    around = {"id": "chatcmpl-5d", "created": 1, "model": "smol", "usage": None, "prompt_token_ids": None}
    documents = [json.dumps({**around, **event}).encode() for event in events]
    return b"".join(b"data: %s\n\n" % document for document in [*documents, b"[DONE]"])


def test_a_chat_of_vllm() -> None:
    nulls = {"logprobs": None, "finish_reason": None, "token_ids": None}
    first = {"role": "assistant", "content": "", "reasoning_content": None, "tool_calls": None}
    events = [
        {"choices": [{"index": index, "delta": first, **nulls}]} for index in (0, 1)
    ] + [
        {"choices": [{"index": index, "delta": {"content": "Hi", "refusal": None}, **nulls}]} for index in (0, 1)
    ] + [
        {"choices": [{"index": 0, "delta": {"content": ""}, **nulls, "finish_reason": "stop", "stop_reason": None}]},
        {"choices": [{"index": 1, "delta": {"content": ""}, **nulls, "finish_reason": "abort", "stop_reason": 2}]},
        {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}},
    ]  # fmt: skip
    asked = call(n=2)
    answer = API.answer(target(engine=Engine.VLLM), asked, vllm(events))
    message = {"role": "assistant", "content": "Hi"}
    assert answer.body["choices"] == [
        {"index": index, "message": message, "finish_reason": "stop", "logprobs": None} for index in (0, 1)
    ]
    assert answer.usage == Usage(9, 4)


def test_completions_of_vllm() -> None:
    likely = {"tokens": [" a"], "token_logprobs": [-1.0], "top_logprobs": [{" a": -1.0}], "text_offset": [0]}
    events = [
        {"choices": [{"index": 0, "text": " a", "logprobs": likely, "finish_reason": None}]},
        {"choices": [{"index": 1, "text": " b", "logprobs": None, "finish_reason": "length"}]},
        {"choices": [{"index": 0, "text": "", "logprobs": None, "finish_reason": "length"}]},
        {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}},
    ]
    asked = call(COMPLETIONS, prompt=["x", "y"], logprobs=1)
    answer = API.answer(target(COMPLETIONS, Engine.VLLM), asked, vllm(events))
    assert [choice["text"] for choice in answer.body["choices"]] == [" a", " b"]
    assert [choice["logprobs"] for choice in answer.body["choices"]] == [likely, None]
    assert answer.usage == Usage(7, 2)


# Embeddings.


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"input": "hi"}, {"input": ["hi"]}),
        ({"input": ["a", "b"], "user": "u", "encoding_format": "base64"}, {"input": ["a", "b"]}),
        ({"input": [1, 2]}, {"input": [[1, 2]]}),
        ({"input": [[1], [2]]}, {"input": [[1], [2]]}),
        ({"input": ["a", "b"], "instruction": "Find:"}, {"input": ["Find: a", "Find: b"]}),
        ({"input": "a", "instruction": ""}, {"input": ["a"]}),
    ],
)
def test_what_an_embeddings_request_says(given: dict[str, Any], made: dict[str, Any]) -> None:
    assert requested(EMBEDDINGS, **given) == {"model": "smol", "encoding_format": "float", **made}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"input": []}, "'input' must be a text"),
        ({"input": {"a": 1}}, "'input' must be a text"),
        ({"input": ["a", ""]}, "'input' must not hold an empty text"),
        ({"input": ""}, "'input' must not hold an empty text"),
        ({"encoding_format": "int8"}, "'encoding_format' must be 'float' or 'base64'"),
        ({"dimensions": 8}, "'dimensions' must be left out"),
        ({"dimensions": 0}, "'dimensions' must be at least 1"),
        ({"instruction": 5}, "'instruction' must be a text"),
        ({"input": [1, 2], "instruction": "Find:"}, "'instruction' must be a text"),
    ],
)
def test_an_embeddings_request_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        requested(EMBEDDINGS, **given)
    assert said in refused.value.message


VECTORS = {  # recorded, and shortened
    "model": "other",
    "object": "list",
    "usage": {"prompt_tokens": 3, "total_tokens": 3},
    "data": [
        {"embedding": [-0.013485945761203766, 0.25], "index": 1, "object": "embedding"},
        {"embedding": [0.0009747196454554796, -1.5], "index": 0, "object": "embedding"},
    ],
}


def test_embeddings() -> None:
    answer = API.answer(target(EMBEDDINGS), call(EMBEDDINGS), json.dumps(VECTORS).encode())
    CreateEmbeddingResponse.model_validate(answer.body)
    assert answer.usage == Usage(3, 0)
    assert answer.body["model"] == "smol"
    assert [one["embedding"] for one in answer.body["data"]] == [
        [0.0009747196454554796, -1.5],
        [-0.013485945761203766, 0.25],
    ]


def test_embeddings_in_base64_are_little_endian_floats() -> None:
    asked = call(EMBEDDINGS, encoding_format="base64")
    body = API.answer(target(EMBEDDINGS), asked, json.dumps(VECTORS).encode()).body
    encoded = body["data"][0]["embedding"]
    assert struct.unpack("<2f", base64.b64decode(encoded)) == pytest.approx((0.0009747196454554796, -1.5))


def test_embeddings_that_are_none() -> None:
    with pytest.raises(UnreadableAnswer):
        API.answer(target(EMBEDDINGS), call(EMBEDDINGS), b'{"data":[{"index":0}]}')


# Errors, as they were recorded.

SCHEMA_ERROR = (
    "Unable to generate parser for this template. Automatic parser generation failed: "
    "JSON schema error at #: unrecognized type objec"
)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": TOO_LONG}, "the request has 1531 tokens, and the model has room for 1024: shorten it"),
        (
            {
                "error": {
                    "code": 500,
                    "message": "input (1501 tokens) is too large to process. increase the physical batch size "
                    "(current batch size: 512)",
                    "type": "server_error",
                }
            },
            "the request has 1501 tokens, and the model has room for 512: shorten it",
        ),
        (
            {"error": {"code": 400, "message": SCHEMA_ERROR, "type": "invalid_request_error"}},
            "JSON schema error at #: unrecognized type objec",
        ),
        (
            {"error": {"code": 400, "message": "[json.exception.out_of_range.403] key 'prompt' not found"}},
            "key 'prompt' not found",
        ),
        ({"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}, "Loading model"),
        ({"object": "error", "message": "The model `a` is not there.", "code": 404}, "The model `a` is not there."),
        ({"error": "nothing"}, "nothing"),
        ({"detail": "Not Found"}, "Not Found"),
    ],
)
def test_what_an_engine_says_of_an_error(body: Any, said: str) -> None:
    assert API.error_text(json.dumps(body).encode()) == said


@pytest.mark.parametrize("body", [b"", b"Bad Gateway", b"[1]", b"null", b"\xff"])
def test_an_error_of_no_known_form(body: bytes) -> None:
    assert API.error_text(body) == body.decode("utf-8", "replace")


# All surfaces.


@pytest.mark.parametrize("engine", Engine)
@pytest.mark.parametrize(
    ("surface", "body", "path"),
    [
        (Surface.CHAT, {"messages": HELLO}, "chat/completions"),
        (Surface.COMPLETIONS, {"prompt": "a"}, "completions"),
        (Surface.EMBEDDINGS, {"input": "a"}, "embeddings"),
        (Surface.RESPONSES, {"input": "a"}, "chat/completions"),
        (Surface.MESSAGES, {"messages": HELLO, "max_tokens": 5}, "chat/completions"),
    ],
)
def test_every_surface_goes_to_the_engine(engine: Engine, surface: Surface, body: dict[str, Any], path: str) -> None:
    exchange = exchange_of(surface, target(surface.task, engine), Call(surface.task, body, False, "req-1", 1))
    assert exchange.request(None, NOW).url == f"http://engine/v1/{path}"


def test_a_response_and_a_message_are_made_of_the_stream() -> None:
    message = {"messages": HELLO, "max_tokens": 5}
    for surface, body in ((Surface.RESPONSES, {"input": "a"}), (Surface.MESSAGES, message)):
        exchange = exchange_of(surface, target(), Call(CHAT, body, False, "req-1", 1))
        answer, usage = exchange.answer(sse(GREETING))
        assert b"Hello! " in answer
        assert usage == Usage(31, 3)


@pytest.mark.parametrize("asked", [True, False])
def test_the_last_event_of_a_stream_holds_the_usage(asked: bool) -> None:
    options = {"stream_options": {"include_usage": True}} if asked else {}
    relay = exchange_of(Surface.CHAT, target(), call(stream=True, **options)).relay()
    sent = relay.feed(sse(GREETING)) + relay.end()
    *_, last, done, rest = sent.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    document = json.loads(last.removeprefix(b"data: "))
    assert document["usage"]["total_tokens"] == 34
    assert bool(document["choices"]) is not asked, "who did not ask for usage expects a choice in each chunk"


def test_an_engine_is_called_the_model() -> None:
    said = [
        answered_with(target(), 400, "the request has 5 tokens", {}, datetime.now(UTC)),
        not_reached(target(), "no socket"),
        too_late(target(), 5),
        unreadable(target(), "nothing"),
    ]
    assert [error.message for error in said] == [
        "The model answered with status 400: the request has 5 tokens",
        "The model cannot be reached: no socket",
        "The model did not answer within 5 s.",
        "The model gave an answer that cannot be read: nothing",
    ]


# No body breaks the translator: what it does not refuse can be sent and answered.

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 63) | st.floats(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["type", "function", "name", "role", "content", "text", "$ref"]), inner),
    max_leaves=6,
)
FIELDS = (
    *("messages", "prompt", "input", "tools", "tool_choice", "n", "stop", "seed", "logprobs", "top_logprobs", "echo"),
    *("response_format", "max_tokens", "temperature", "top_p", "top_k", "logit_bias", "stream_options"),
    *("instruction", "suffix", "best_of", "reasoning_effort", "modalities", "encoding_format", "error_behavior"),
    "dimensions",
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # the first draw takes seconds on a busy machine
@given(st.sampled_from([CHAT, COMPLETIONS, EMBEDDINGS]), st.dictionaries(st.sampled_from(FIELDS), JSON_VALUES))
def test_a_body_is_refused_or_can_be_sent(task: ExternalTask, body: dict[str, Any]) -> None:
    asked = call(task, **body)
    try:
        request = API.request(target(task), asked, None, NOW)
    except BadRequest:
        return
    json.loads(request.body)
    if task is not EMBEDDINGS:
        assert API.stream(target(task), asked).feed(b"data: null\n\n") == []
