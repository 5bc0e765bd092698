"""What OpenAI's chat bodies become for Gemini, and what is refused."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest

from moorage.api.errors import BadRequest
from moorage.external.gemini import chat_request
from moorage.external.gemini_messages import Host
from moorage.external.gemini_models import model_name, thinking, thinks_by_level
from moorage.external.gemini_schema import json_schema

PIXEL = base64.b64encode(b"\x89PNG").decode()
HELLO = [{"role": "user", "content": "Hello"}]
JUST_HELLO = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a place",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}


def call(id: str, name: str, **arguments: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def request(model: str = "gemini-2.5-flash", host: Host = Host.VERTEX_AI, **body: Any) -> dict[str, Any]:
    before = copy.deepcopy(body)
    made = chat_request(model, {"messages": HELLO, **body}, host)
    assert body == before, "the body is never changed"
    return made


def contents(*messages: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = request(messages=list(messages), **more)["contents"]
    return made


@pytest.mark.parametrize(
    ("given", "config"),
    [
        ({"temperature": 0}, {"temperature": 0}),
        ({"top_p": 0.5, "top_k": 40}, {"topP": 0.5, "topK": 40}),
        ({"n": 2, "seed": 7}, {"candidateCount": 2, "seed": 7}),
        ({"presence_penalty": 0.5, "frequency_penalty": -1}, {"presencePenalty": 0.5, "frequencyPenalty": -1}),
        ({"max_tokens": 5}, {"maxOutputTokens": 5}),
        ({"max_tokens": 5, "max_completion_tokens": 9}, {"maxOutputTokens": 9}),
        ({"stop": "\n"}, {"stopSequences": ["\n"]}),
        ({"stop": ["a", "b"]}, {"stopSequences": ["a", "b"]}),
        ({"logprobs": True}, {"responseLogprobs": True}),
        ({"logprobs": True, "top_logprobs": 3}, {"responseLogprobs": True, "logprobs": 3}),
        ({"logprobs": True, "top_logprobs": 0}, {"responseLogprobs": True}),
        ({"response_format": {"type": "json_object"}}, {"responseMimeType": "application/json"}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}},
            {"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}},
        ),
        ({"reasoning_effort": "medium"}, {"thinkingConfig": {"thinkingBudget": 8192}}),
    ],
)
def test_a_setting_goes_into_the_generation_config(given: dict[str, Any], config: dict[str, Any]) -> None:
    assert request(**given) == {**JUST_HELLO, "generationConfig": config}


@pytest.mark.parametrize(
    "given",
    [
        {"response_format": {"type": "text"}},
        {"logprobs": False, "top_logprobs": 0},
        {"temperature": None, "stop": None, "tools": None, "logit_bias": None, "anything": None},
        {"model": "m", "stream": True, "stream_options": {"include_usage": True}, "user": "ann"},
        {"metadata": {"a": "b"}, "store": False, "service_tier": "auto"},
        {"parallel_tool_calls": True, "modalities": ["text"], "logit_bias": {}},
    ],
)
def test_what_says_nothing_to_gemini_leaves_no_trace(given: dict[str, Any]) -> None:
    assert request(**given) == JUST_HELLO


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("logit_bias", {"logit_bias": {"50256": -100}}),
        ("audio", {"audio": {"voice": "alloy", "format": "wav"}}),
        ("modalities", {"modalities": ["text", "audio"]}),
        ("parallel_tool_calls", {"parallel_tool_calls": False}),
        ("thinking", {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        ("repetition_penalty", {"repetition_penalty": 1.1}),
        ("temperature", {"temperature": "hot"}),
        ("n", {"n": 1.5}),
        ("seed", {"seed": True}),
        ("stop", {"stop": [1]}),
        ("logprobs", {"logprobs": 3}),
        ("top_logprobs", {"top_logprobs": 3}),
        ("reasoning_effort", {"reasoning_effort": "enormous"}),
        ("reasoning_effort", {"reasoning_effort": ["low"]}),
        ("messages", {"messages": []}),
        ("messages", {"messages": [{"role": "system", "content": "Be brief"}]}),
        ("messages[0].role", {"messages": [{"role": "function", "name": "f", "content": "1"}]}),
        (
            "messages[0].content[0].image_url.url",
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "ftp://example.com/cat.png"}}],
                    }
                ]
            },
        ),
        (
            "messages[0].content",
            {
                "messages": [
                    {
                        "role": "system",
                        "content": [{"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}],
                    }
                ]
            },
        ),
        (
            "messages[1].tool_call_id",
            {"messages": [*HELLO, {"role": "tool", "tool_call_id": "call_9", "content": "1"}]},
        ),
        (
            "messages[0].tool_calls[0].function.arguments",
            {
                "messages": [
                    {
                        "role": "assistant",
                        "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "[1]"}}],
                    }
                ]
            },
        ),
        ("tool_choice", {"tool_choice": "required"}),
        (
            "tool_choice.function.name",
            {"tools": [CLOCK], "tool_choice": {"type": "function", "function": {"name": "x"}}},
        ),
        ("response_format.type", {"response_format": {"type": "grammar"}}),
    ],
)
def test_what_cannot_be_said_to_gemini_is_refused_by_name(field: str, given: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as refused:
        request(**given)
    assert f"'{field}'" in refused.value.message


def test_system_and_developer_messages_become_the_one_instruction() -> None:
    made = request(
        messages=[
            {"role": "system", "content": "Be brief"},
            *HELLO,
            {"role": "developer", "content": [{"type": "text", "text": part} for part in ("Be kind", "Rhyme")]},
        ]
    )
    assert made["systemInstruction"] == {"parts": [{"text": "Be brief"}, {"text": "Be kind"}, {"text": "Rhyme"}]}
    assert made["contents"] == [{"role": "user", "parts": [{"text": "Hello"}]}]


@pytest.mark.parametrize(
    ("url", "part"),
    [
        (f"data:image/png;base64,{PIXEL}", {"inlineData": {"mimeType": "image/png", "data": PIXEL}}),
        (
            "https://example.com/a/cat.JPG?size=2.gif#top",
            {"fileData": {"fileUri": "https://example.com/a/cat.JPG?size=2.gif#top", "mimeType": "image/jpeg"}},
        ),
        ("gs://bucket/cat.webp", {"fileData": {"fileUri": "gs://bucket/cat.webp", "mimeType": "image/webp"}}),
        ("https://example.com/png", {"fileData": {"fileUri": "https://example.com/png"}}),
        ("https://example.com/cat", {"fileData": {"fileUri": "https://example.com/cat"}}),
    ],
)
def test_images_stand_among_the_texts_in_their_order(url: str, part: dict[str, Any]) -> None:
    content = [
        {"type": "text", "text": "What is"},
        {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
        {"type": "text", "text": "this?"},
    ]
    assert contents({"role": "user", "content": content}) == [
        {"role": "user", "parts": [{"text": "What is"}, part, {"text": "this?"}]}
    ]


TURN = [
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "content": "Looking",
        "tool_calls": [call("a", "weather", place="Ulm"), call("b", "weather", place="Köln"), call("c", "clock")],
    },
    {"role": "tool", "tool_call_id": "c", "content": "noon"},
    {"role": "tool", "tool_call_id": "b", "content": '{"degrees": 9}'},
    {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": part} for part in ("[1,", "2]")]},
    {"role": "user", "content": "And now?"},
]


def test_results_of_tools_are_one_content_in_the_order_of_their_calls() -> None:
    assert contents(*TURN) == [
        {"role": "user", "parts": [{"text": "Weather?"}]},
        {
            "role": "model",
            "parts": [
                {"text": "Looking"},
                {"functionCall": {"name": "weather", "args": {"place": "Ulm"}}},
                {"functionCall": {"name": "weather", "args": {"place": "Köln"}}},
                {"functionCall": {"name": "clock", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "weather", "response": {"output": "[1,2]"}}},
                {"functionResponse": {"name": "weather", "response": {"degrees": 9}}},
                {"functionResponse": {"name": "clock", "response": {"output": "noon"}}},
            ],
        },
        {"role": "user", "parts": [{"text": "And now?"}]},
    ]


def test_only_the_gemini_api_is_told_the_ids_of_calls() -> None:
    _, model, results, _ = contents(*TURN, host=Host.GEMINI_API)
    assert [part["functionCall"]["id"] for part in model["parts"][1:]] == ["a", "b", "c"]
    assert [part["functionResponse"]["id"] for part in results["parts"]] == ["a", "b", "c"]
    assert '"id"' not in json.dumps(contents(*TURN, host=Host.VERTEX_AI))


def test_an_id_that_is_used_again_means_the_newest_call() -> None:
    made = contents(
        {"role": "assistant", "tool_calls": [call("1", "weather", place="Ulm")]},
        {"role": "tool", "tool_call_id": "1", "content": "cold"},
        {"role": "assistant", "tool_calls": [call("0", "weather", place="Bonn"), call("1", "clock")]},
        {"role": "tool", "tool_call_id": "1", "content": "noon"},
        {"role": "tool", "tool_call_id": "0", "content": "warm"},
    )
    assert [part["functionResponse"]["name"] for part in made[1]["parts"]] == ["weather"]
    assert [part["functionResponse"]["name"] for part in made[3]["parts"]] == ["weather", "clock"]


def test_an_assistant_that_said_nothing_is_left_out() -> None:
    assert contents(*HELLO, {"role": "assistant", "content": ""}, *HELLO) == contents(*HELLO, *HELLO)
    refused = contents(*HELLO, {"role": "assistant", "content": None, "refusal": "No."})
    assert refused[1] == {"role": "model", "parts": [{"text": "No."}]}


SIGNED = {**call("a", "clock"), "extra_content": {"google": {"thought_signature": "c2ln"}}}


@pytest.mark.parametrize(
    ("model", "calls", "signatures"),
    [
        ("gemini-2.5-flash", [call("a", "clock"), call("b", "clock")], [None, None]),
        ("gemini-2.5-flash", [SIGNED, call("b", "clock")], ["c2ln", None]),
        ("gemini-3-flash-preview", [SIGNED, call("b", "clock")], ["c2ln", None]),
        # A call of another model, or one whose signature the client lost: the first has to have one.
        (
            "gemini-3-flash-preview",
            [call("a", "clock"), call("b", "clock")],
            ["skip_thought_signature_validator", None],
        ),
    ],
)
def test_signatures_of_thoughts_go_back_to_the_model(
    model: str, calls: list[dict[str, Any]], signatures: list[str | None]
) -> None:
    [_, said] = contents(*HELLO, {"role": "assistant", "content": None, "tool_calls": calls}, model=model)
    assert [part.get("thoughtSignature") for part in said["parts"]] == signatures


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "clock"}}, {"mode": "ANY", "allowedFunctionNames": ["clock"]}),
    ],
)
def test_tools_and_the_choice_among_them(choice: Any, config: dict[str, Any]) -> None:
    made = request(tools=[WEATHER, CLOCK], tool_choice=choice)
    assert made["tools"] == [
        {
            "functionDeclarations": [
                {
                    "name": "weather",
                    "description": "The weather of a place",
                    "parametersJsonSchema": WEATHER["function"]["parameters"],  # type: ignore[index]
                },
                {"name": "clock", "parametersJsonSchema": {"type": "object", "properties": {}}},
            ]
        }
    ]
    assert made["toolConfig"] == {"functionCallingConfig": config}
    assert "toolConfig" not in request(tools=[CLOCK]), "what was not chosen is the model's own default"


@pytest.mark.parametrize(
    ("model", "effort", "config"),
    [
        ("gemini-2.5-pro", "none", {"thinkingBudget": 0}),
        ("gemini-2.5-pro", "minimal", {"thinkingBudget": 1024}),
        ("gemini-2.5-flash", "low", {"thinkingBudget": 1024}),
        ("gemini-2.5-flash", "high", {"thinkingBudget": 24576}),
        ("gemini-2.5-flash", "xhigh", {"thinkingBudget": 24576}),
        ("gemini-3-flash-preview", "minimal", {"thinkingLevel": "MINIMAL"}),
        ("gemini-3.1-pro-preview", "minimal", {"thinkingLevel": "LOW"}),
        ("gemini-3-pro-preview", "high", {"thinkingLevel": "HIGH"}),
        ("gemini-12-flash", "medium", {"thinkingLevel": "MEDIUM"}),
        ("gemini-flash-lite-latest", "medium", {"thinkingLevel": "MEDIUM"}),
    ],
)
def test_effort_is_a_budget_or_a_level_by_the_model(model: str, effort: str, config: dict[str, Any]) -> None:
    assert thinking(model, effort) == config
    assert thinks_by_level(model) == ("thinkingLevel" in config)


def test_models_that_always_think_cannot_be_told_not_to() -> None:
    with pytest.raises(BadRequest, match=r"'reasoning_effort' cannot be 'none'.*'minimal'"):
        thinking("gemini-3-flash-preview", "none")


@pytest.mark.parametrize("above", ["", "models/", "google/", "publishers/google/models/"])
def test_names_of_models_come_without_what_paths_say_anyway(above: str) -> None:
    assert model_name(f"{above}gemini-2.5-flash") == "gemini-2.5-flash"


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("chat-bison", "gemini-2.5-flash"),
        ("text-bison@002", "gemini-2.5-flash"),
        ("codechat-bison-32k", "gemini-2.5-flash"),
        ("text-unicorn@001", "gemini-2.5-flash"),
        ("code-gecko", "gemini-2.5-flash"),
        ("embedding-gecko-001", "gemini-embedding-001"),
        ("textembedding-gecko@003", "gemini-embedding-001"),
    ],
)
def test_models_of_palm_are_refused_with_what_took_their_place(name: str, instead: str) -> None:
    with pytest.raises(BadRequest) as refused:
        model_name(name)
    assert f"'{name}'" in refused.value.message
    assert f"'{instead}'" in refused.value.message


@pytest.mark.parametrize("name", ["", "../secrets", "gemini?x=1", "meta/llama-4", "gemini flash", "gemini-2.5\n"])
def test_what_would_change_the_path_is_no_name(name: str) -> None:
    with pytest.raises(BadRequest, match=r"external_model\.name"):
        model_name(name)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}, {"type": "object"}),
        (
            {"type": "object", "additionalProperties": False, "properties": {"$schema": {"type": "string"}}},
            {"type": "object", "additionalProperties": False, "properties": {"$schema": {"type": "string"}}},
        ),
        ({"const": "a"}, {"enum": ["a"]}),
        ({"const": True}, {"const": True}),
        ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
        ({"type": "object", "default": {"$schema": 1}}, {"type": "object", "default": {"$schema": 1}}),
        (
            {"definitions": {"P": {"const": 1}}, "items": {"$ref": "#/definitions/P"}},
            {"$defs": {"P": {"enum": [1]}}, "items": {"$ref": "#/$defs/P"}},
        ),
        (
            {"$ref": "#/$defs/P", "description": "A pet", "$defs": {"P": {"type": "string"}}},
            {"$defs": {"P": {"type": "string"}}, "description": "A pet", "anyOf": [{"$ref": "#/$defs/P"}]},
        ),
        ({"$ref": "#/$defs/P", "maxLength": 3}, {"$ref": "#/$defs/P", "maxLength": 3}),
        (
            {"allOf": [{"$ref": "#/$defs/P"}], "title": "Pet"},
            {"title": "Pet", "anyOf": [{"$ref": "#/$defs/P"}]},
        ),
        (
            {
                "allOf": [
                    {"properties": {"a": {"const": 1}}, "required": ["a"]},
                    {"type": "object", "properties": {"a": {"const": 1}, "b": {}}, "required": ["a", "b"]},
                ]
            },
            {"type": "object", "properties": {"a": {"enum": [1]}, "b": {}}, "required": ["a", "b"]},
        ),
        (
            {"allOf": [{"type": "string"}, {"type": "number"}]},
            {"allOf": [{"type": "string"}, {"type": "number"}]},
        ),
        (
            {"allOf": [{"properties": {"a": {}}}, {"properties": []}]},
            {"allOf": [{"properties": {"a": {}}}, {"properties": []}]},
        ),
        ({"anyOf": [{"const": 1}, True]}, {"anyOf": [{"enum": [1]}, True]}),
        ({"prefixItems": [{"const": 2}]}, {"prefixItems": [{"enum": [2]}]}),
    ],
)
def test_schemas_in_the_form_that_gemini_takes(given: dict[str, Any], taken: dict[str, Any]) -> None:
    before = copy.deepcopy(given)
    assert json_schema(given, "schema") == taken
    assert given == before


def test_a_schema_without_a_bottom_is_refused() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(200):
        schema = {"type": "array", "items": schema}
    with pytest.raises(BadRequest, match=r"'response_format\.json_schema\.schema' must not be nested deeper than 64"):
        request(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
