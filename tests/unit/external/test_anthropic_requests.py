"""What OpenAI's chat bodies become for Anthropic, and what is refused. Anthropic's own rules judge every request."""

from __future__ import annotations

import base64
import copy
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from fake_provider.anthropic_rules import VERSIONS, check_messages

from moorage.api.errors import BadRequest
from moorage.api.external_models import ExternalTask, Provider
from moorage.external.anthropic import AnthropicApi
from moorage.external.anthropic_formats import ANSWER_TOOL, JSON_INSTRUCTION, closed
from moorage.external.anthropic_models import version_of
from moorage.external.exchange import Call, Target

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OLD, MIDDLE, NEW = "claude-sonnet-4-20250514", "claude-haiku-4-5-20251001", "claude-opus-5"
PIXEL = base64.b64encode(b"\x89PNG").decode()
HELLO = [{"role": "user", "content": "Hello"}]
LETTER = {"a": {"type": "integer"}}
SCHEMA = {"type": "object", "properties": LETTER, "required": ["a"], "additionalProperties": False}
AS_SCHEMA = {"type": "json_schema", "json_schema": {"name": "letter", "schema": SCHEMA, "strict": True}}
WEATHER_SCHEMA = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a place",
        "parameters": WEATHER_SCHEMA,
        "strict": True,
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
THEIR_WEATHER = {"name": "weather", "description": "The weather of a place", "input_schema": WEATHER_SCHEMA}
THEIR_CLOCK = {"name": "clock", "input_schema": {"type": "object", "properties": {}}}


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def called(id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(id: str, *blocks: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id, **({"content": list(blocks)} if blocks else {})}


def raw_request(model: str = MIDDLE, **body: Any) -> dict[str, Any]:
    target = Target(Provider.ANTHROPIC, model, ExternalTask.CHAT, {}, {"anthropic_api_key": "sk"})
    before = copy.deepcopy({"messages": HELLO, **body})
    call = Call(ExternalTask.CHAT, copy.deepcopy(before), stream=False, id="chatcmpl-1", created=1700000000)
    made = AnthropicApi().request(target, call, None, NOW)
    assert call.body == before, "the body is never changed"
    return dict(json.loads(made.body))


def request(model: str = MIDDLE, **body: Any) -> dict[str, Any]:
    """The request without what is the same in all of them."""
    made = raw_request(model, **body)
    check_messages(copy.deepcopy(made), model, VERSIONS["2023-06-01"])
    assert made.pop("model") == model
    assert made.pop("stream") is False
    return made


CONVERSATIONS: list[tuple[str, list[dict[str, Any]], Any, list[dict[str, Any]]]] = [
    ("a text", HELLO, None, [user(text("Hello"))]),
    (
        "system and developer messages, wherever they are",
        [
            {"role": "system", "content": "Be brief."},
            *HELLO,
            {"role": "developer", "content": [text("Be kind.")]},
        ],
        [text("Be brief."), text("Be kind.")],
        [user(text("Hello"))],
    ),
    (
        "parts",
        [{"role": "user", "content": [text("a"), text(" "), text("b", cache_control={"type": "ephemeral"})]}],
        None,
        [user(text("a"), text("b", cache_control={"type": "ephemeral"}))],
    ),
    (
        "images",
        [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": f"data:image/jpg;base64,{PIXEL}", "detail": "low"}},
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                ],
            }
        ],
        None,
        [
            user(
                {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": PIXEL}},
                {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
            )
        ],
    ),
    (
        "one side twice",
        [*HELLO, {"role": "user", "content": "Again"}, {"role": "assistant", "content": "Yes?"}],
        None,
        [user(text("Hello"), text("Again")), assistant(text("Yes?"))],
    ),
    (
        "an answer of nothing is left out",
        [*HELLO, {"role": "assistant", "content": None}, {"role": "user", "content": "?"}],
        None,
        [user(text("Hello"), text("?"))],
    ),
    (
        "reasoning goes back with its signature",
        [
            *HELLO,
            {
                "role": "assistant",
                "content": [
                    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm", "signature": "c2ln"}]},
                    {"type": "reasoning", "summary": [{"type": "summary_encrypted_text", "data": "ZW5j"}]},
                    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "of another model"}]},
                    text("Hi"),
                ],
            },
            {"role": "user", "content": "?"},
        ],
        None,
        [
            user(text("Hello")),
            assistant(
                {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "ZW5j"},
                text("Hi"),
            ),
            user(text("?")),
        ],
    ),
]


@pytest.mark.parametrize(
    ("messages", "system", "turns"),
    [case[1:] for case in CONVERSATIONS],
    ids=[case[0] for case in CONVERSATIONS],
)
def test_messages_become_turns(messages: Any, system: Any, turns: Any) -> None:
    made = request(messages=messages)
    assert made.pop("max_tokens") == 16384
    assert made == {"messages": turns, **({"system": system} if system else {})}


def test_results_of_tools_are_one_turn_with_what_the_user_says_next() -> None:
    made = request(
        messages=[
            *HELLO,
            {
                "role": "assistant",
                "content": "Let me see.",
                "tool_calls": [
                    called("functions.weather:0", "weather", '{"place": "Čadca"}'),
                    called("b", "clock", ""),
                ],
            },
            {"role": "tool", "tool_call_id": "functions.weather:0", "content": "Sun"},
            {"role": "tool", "tool_call_id": "b", "content": ""},
            {"role": "user", "content": "Well?"},
        ],
        tools=[WEATHER, CLOCK],
    )
    assert made["messages"] == [
        user(text("Hello")),
        assistant(
            text("Let me see."),
            {"type": "tool_use", "id": "functions_weather_0", "name": "weather", "input": {"place": "Čadca"}},
            {"type": "tool_use", "id": "b", "name": "clock", "input": {}},
        ),
        user(result("functions_weather_0", text("Sun")), result("b"), text("Well?")),
    ]
    assert made["tools"] == [THEIR_WEATHER, THEIR_CLOCK]


def test_tools_that_were_called_are_named_also_when_no_more_may_be() -> None:
    made = request(
        messages=[
            *HELLO,
            {"role": "assistant", "tool_calls": [called("a", "clock", "{}")]},
            {"role": "tool", "tool_call_id": "a", "content": "12:00"},
        ]
    )
    assert made["tools"] == [{"name": "clock", "input_schema": {"type": "object"}}]
    assert made["tool_choice"] == {"type": "none"}


@pytest.mark.parametrize(
    ("body", "choice"),
    [
        ({}, {"type": "auto"}),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "none"}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": {"type": "function", "function": {"name": "clock"}}}, {"type": "tool", "name": "clock"}),
        ({"parallel_tool_calls": True}, {"type": "auto"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {"tool_choice": "required", "parallel_tool_calls": False},
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
    ],
)
def test_tool_choice(body: dict[str, Any], choice: dict[str, Any]) -> None:
    assert request(tools=[WEATHER, CLOCK], **body)["tool_choice"] == choice


def test_marks_for_the_cache_on_tools_go_along() -> None:
    made = request(tools=[CLOCK, {**WEATHER, "cache_control": {"type": "ephemeral"}}])
    assert made["tools"] == [THEIR_CLOCK, {**THEIR_WEATHER, "cache_control": {"type": "ephemeral"}}]


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_completion_tokens": 6}, {"max_tokens": 6}),
        ({"max_tokens": 5, "max_completion_tokens": 6}, {"max_tokens": 6}),
        ({"stop": "END"}, {"stop_sequences": ["END"]}),
        ({"stop": ["END", "."]}, {"stop_sequences": ["END", "."]}),
        ({"stop": []}, {}),
        ({"temperature": 0}, {"temperature": 0}),
        ({"temperature": 0.7}, {"temperature": 0.7}),
        ({"temperature": 1, "top_p": 1}, {}),
        ({"temperature": 1.7}, {}),
        ({"top_p": 0.5, "top_k": 40}, {"top_p": 0.5, "top_k": 40}),
        ({"user": "u-1"}, {"metadata": {"user_id": "u-1"}}),
        ({"n": 1, "logprobs": False, "presence_penalty": 0, "logit_bias": {}, "seed": 7, "store": False}, {}),
        ({"temperature": None, "stop": None, "tools": None, "response_format": None, "max_tokens": None}, {}),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_object"}}, {"system": [text(JSON_INSTRUCTION)]}),
    ],
)
def test_parameters(body: dict[str, Any], fields: dict[str, Any]) -> None:
    assert request(**body) == {"max_tokens": 16384, "messages": [user(text("Hello"))], **fields}


@pytest.mark.parametrize(
    ("model", "version", "limit"),
    [
        ("claude-2.1", (2, 1), 4096),
        ("anthropic.claude-v2:1", (2, 1), 4096),
        ("claude-instant-1.2", (1, 2), 4096),
        ("claude-3-haiku-20240307", (3, 0), 4096),
        ("claude-3-5-sonnet-20241022", (3, 5), 8192),
        ("claude-3-7-sonnet-latest", (3, 7), 16384),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", (4, 0), 16384),
        ("claude-opus-4-1-20250805", (4, 1), 16384),
        ("claude-haiku-4-5-20251001", (4, 5), 16384),
        ("claude-sonnet-4-6", (4, 6), 16384),
        ("claude-opus-5-5", (5, 5), 16384),
        ("claude-mythos-preview", (99, 0), 16384),
        ("our-alias", (99, 0), 16384),
    ],
)
def test_versions_and_the_limit_that_anthropic_demands(model: str, version: tuple[int, int], limit: int) -> None:
    assert version_of(model) == version
    assert request(model)["max_tokens"] == limit


@pytest.mark.parametrize(
    ("model", "body", "fields"),
    [
        (MIDDLE, {"reasoning_effort": "minimal"}, {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        (MIDDLE, {"reasoning_effort": "low"}, {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        (MIDDLE, {"reasoning_effort": "high"}, {"thinking": {"type": "enabled", "budget_tokens": 12288}}),
        (
            MIDDLE,
            {"reasoning_effort": "high", "max_tokens": 4000},
            {"thinking": {"type": "enabled", "budget_tokens": 3000}, "max_tokens": 4000},
        ),
        (
            MIDDLE,
            {"reasoning_effort": "high", "max_tokens": 1025},
            {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 1025},
        ),
        (MIDDLE, {"reasoning_effort": "none"}, {}),
        (
            NEW,
            {"reasoning_effort": "minimal"},
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "low"}},
        ),
        (
            NEW,
            {"reasoning_effort": "xhigh"},
            {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": "xhigh"}},
        ),
        (NEW, {"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        (
            MIDDLE,
            {"thinking": {"type": "enabled", "budget_tokens": 20000}},
            {"thinking": {"type": "enabled", "budget_tokens": 20000}, "max_tokens": 36384},
        ),
        (NEW, {"thinking": {"type": "adaptive"}}, {"thinking": {"type": "adaptive"}}),
        (
            NEW,
            {"thinking": {"type": "adaptive"}, "reasoning_effort": "low"},
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
        ),
    ],
)
def test_thinking(model: str, body: dict[str, Any], fields: dict[str, Any]) -> None:
    made = request(model, **body)
    del made["messages"]
    assert made == {"max_tokens": 16384, **fields}


def test_a_schema_is_the_output_format_where_the_model_takes_one() -> None:
    made = request(MIDDLE, response_format=AS_SCHEMA, reasoning_effort="low", tools=[CLOCK])
    assert made["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}}
    assert made["tools"] == [THEIR_CLOCK]
    assert request(NEW, response_format=AS_SCHEMA, reasoning_effort="low")["output_config"] == {
        "effort": "low",
        "format": {"type": "json_schema", "schema": SCHEMA},
    }


@pytest.mark.parametrize(
    ("body", "names", "choice"),
    [
        ({}, [ANSWER_TOOL], {"type": "tool", "name": ANSWER_TOOL}),
        ({"tools": [CLOCK]}, ["clock", ANSWER_TOOL], {"type": "any"}),
        (
            {"tools": [CLOCK], "parallel_tool_calls": False},
            ["clock", ANSWER_TOOL],
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        ({"tools": [CLOCK], "tool_choice": "none"}, ["clock", ANSWER_TOOL], {"type": "tool", "name": ANSWER_TOOL}),
        (
            {"tools": [CLOCK], "tool_choice": {"type": "function", "function": {"name": "clock"}}},
            ["clock", ANSWER_TOOL],
            {"type": "tool", "name": "clock"},
        ),
    ],
)
def test_a_schema_is_a_tool_to_answer_with_for_older_models(body: Any, names: list[str], choice: Any) -> None:
    made = request(OLD, response_format=AS_SCHEMA, **body)
    assert "output_config" not in made
    assert [tool["name"] for tool in made["tools"]] == names
    assert made["tools"][-1]["input_schema"] == SCHEMA
    assert made["tool_choice"] == choice


def test_schemas_are_closed_and_what_is_not_enforced_is_told() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "description": "A list",
        "properties": {
            "age": {"type": "integer", "minimum": 0, "description": "In years"},
            "when": {"type": "string", "format": "date"},
            "color": {"type": "string", "format": "color", "pattern": "^#"},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 1, "maxItems": 3},
            "either": {"oneOf": [{"type": "null"}, {"type": "object", "properties": {"x": {}}}]},
            "open": {"type": "object"},
        },
        "required": ["age"],
        "$defs": {"tag": {"type": "string", "enum": ["a", "b"]}},
    }
    assert closed(schema) == {
        "type": "object",
        "description": "A list",
        "properties": {
            "age": {"type": "integer", "description": 'In years\n\n{"minimum":0}'},
            "when": {"type": "string", "format": "date"},
            "color": {"type": "string", "description": '{"format":"color","pattern":"^#"}'},
            "tags": {
                "type": "array",
                "items": {"$ref": "#/$defs/tag"},
                "minItems": 1,
                "description": '{"maxItems":3}',
            },
            "either": {
                "anyOf": [
                    {"type": "null"},
                    {"type": "object", "properties": {"x": {}}, "additionalProperties": False},
                ]
            },
            "open": {"type": "object"},
        },
        "required": ["age"],
        "$defs": {"tag": {"type": "string", "enum": ["a", "b"]}},
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("n", {"n": 2}),
        ("logprobs", {"logprobs": True}),
        ("top_logprobs", {"top_logprobs": 3}),
        ("presence_penalty", {"presence_penalty": 0.5}),
        ("logit_bias", {"logit_bias": {"50256": -100}}),
        ("modalities", {"modalities": ["text", "audio"]}),
        ("functions", {"functions": [{"name": "f"}]}),
        ("messages", {"messages": []}),
        ("messages", {"messages": [{"role": "system", "content": "x"}]}),
        ("messages[0].content", {"messages": [{"role": "user", "content": " "}]}),
        ("messages[0].content[0].type", {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}),
        (
            "messages[0].content[0].image_url.url",
            {"messages": [user({"type": "image_url", "image_url": {"url": "http://example.com/a.png"}})]},
        ),
        (
            "messages[0].content[0].image_url.url",
            {"messages": [user({"type": "image_url", "image_url": {"url": f"data:image/tiff;base64,{PIXEL}"}})]},
        ),
        (
            "messages[0].content[0].image_url.url",
            {
                "messages": [
                    {"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://a.b/c"}}]},
                    *HELLO,
                ]
            },
        ),
        (
            "messages[1].tool_calls[0].function.arguments",
            {"messages": [*HELLO, {"role": "assistant", "tool_calls": [called("a", "clock", "[1]")]}]},
        ),
        ("max_tokens", {"max_tokens": 0}),
        ("temperature", {"temperature": 2.1}),
        ("temperature", {"temperature": -0.1}),
        ("top_p", {"top_p": 0}),
        ("top_k", {"top_k": 0}),
        ("stop", {"stop": ["\n"]}),
        ("parallel_tool_calls", {"tools": [CLOCK], "parallel_tool_calls": "no"}),
        ("tool_choice", {"tool_choice": "required"}),
        ("thinking", {"thinking": "enabled"}),
        ("reasoning_effort", {"reasoning_effort": "much"}),
        ("max_tokens", {"reasoning_effort": "low", "max_tokens": 1024}),
        ("response_format.type", {"response_format": {"type": "xml"}}),
    ],
)
def test_what_anthropic_could_not_do_is_refused_by_name(field: str, body: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match=f"^'{re.escape(field)}'"):
        raw_request(**body)


def test_older_models_cannot_think_and_answer_with_the_tool() -> None:
    with pytest.raises(BadRequest, match="'response_format'"):
        raw_request(OLD, response_format=AS_SCHEMA, reasoning_effort="low")


def test_anthropic_has_no_embeddings() -> None:
    target = Target(Provider.ANTHROPIC, MIDDLE, ExternalTask.EMBEDDINGS, {}, {"anthropic_api_key": "sk"})
    call = Call(ExternalTask.EMBEDDINGS, {"input": "x"}, stream=False, id="e", created=0)
    with pytest.raises(BadRequest, match="llm/v1/embeddings"):
        AnthropicApi().request(target, call, None, NOW)


@pytest.mark.parametrize(
    ("options", "url"),
    [
        ({}, "https://api.anthropic.com/v1/messages"),
        ({"anthropic_api_base": "http://localhost:1/base/"}, "http://localhost:1/base/v1/messages"),
    ],
)
def test_the_request_itself(options: dict[str, str], url: str) -> None:
    target = Target(Provider.ANTHROPIC, MIDDLE, ExternalTask.CHAT, options, {"anthropic_api_key": "sk-secret"})
    call = Call(ExternalTask.CHAT, {"messages": HELLO, "stream": True, "model": "endpoint"}, True, "c", 0)
    made = AnthropicApi().request(target, call, None, NOW)
    assert made.url == url
    assert made.headers == {
        "content-type": "application/json",
        "accept": "text/event-stream",
        "x-api-key": "sk-secret",
        "anthropic-version": "2023-06-01",
    }
    body = json.loads(made.body)
    assert (body["stream"], body["model"]) == (True, MIDDLE)
    assert "sk-secret" not in repr(made)
    assert AnthropicApi().token_request(target, NOW) is None


def test_a_body_in_anthropics_own_form_goes_as_it_is() -> None:
    target = Target(Provider.ANTHROPIC, MIDDLE, ExternalTask.CHAT, {}, {"anthropic_api_key": "sk"})
    body = {"model": "endpoint", "max_tokens": 3, "messages": HELLO, "temperature": 1.0, "new_field": {"a": 1}}
    made = AnthropicApi().native_request(target, body, False)
    assert json.loads(made.body) == {**body, "model": MIDDLE, "stream": False}
    assert made.headers["accept"] == "application/json"
    assert body["model"] == "endpoint"
