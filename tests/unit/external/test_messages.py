"""Anthropic's Messages requests and answers over models that take chat completions."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import anthropic
import pytest
from anthropic.types import Message
from fake_provider.anthropic_rules import VERSIONS, check_messages
from loopback import loopback

from moorage.api.errors import BadRequest
from moorage.external.exchange import UnreadableAnswer
from moorage.external.messages import chat_body_of, message_of
from moorage.external.messages_output import error_document

Document = dict[str, Any]

HELLO = [{"role": "user", "content": "Hello"}]
SAID_HELLO = {"role": "user", "content": "Hello"}
SCHEMA = {"type": "object", "properties": {"place": {"type": "string"}}}
TOOL = {"name": "weather", "description": "d", "input_schema": SCHEMA, "cache_control": {"type": "ephemeral"}}
CHAT_TOOL = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": SCHEMA}}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}}
CHAT_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}}


def text(said: str) -> Document:
    return {"type": "text", "text": said}


def called(id: str, arguments: str, name: str = "weather") -> Document:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def chat(**body: Any) -> Document:
    body = {"model": "endpoint", "max_tokens": 9, "messages": HELLO, **body}
    before = copy.deepcopy(body)
    made = chat_body_of(body)
    assert body == before, "the body is never changed"
    return made


def allowed_chat(**body: Any) -> Document:
    """Of a body that Anthropic would take."""
    whole = {"model": "m", "max_tokens": 9, "messages": HELLO, **body}
    check_messages(copy.deepcopy(whole), "m", VERSIONS["2023-06-01"])
    return chat(**body)


CONVERSATIONS: list[tuple[str, Document, list[Document]]] = [
    ("a text", {"messages": HELLO}, [SAID_HELLO]),
    (
        "system",
        {"system": "Be brief.", "messages": HELLO},
        [{"role": "system", "content": "Be brief."}, SAID_HELLO],
    ),
    (
        "system in blocks",
        {"system": [text("a"), {**text("b"), "cache_control": {"type": "ephemeral"}}], "messages": HELLO},
        [{"role": "system", "content": "a\n\nb"}, SAID_HELLO],
    ),
    (
        "parts and images",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        text("Look"),
                        IMAGE,
                        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                    ],
                }
            ]
        },
        [
            {
                "role": "user",
                "content": [
                    text("Look"),
                    CHAT_IMAGE,
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                ],
            }
        ],
    ),
    (
        "tools",
        {
            "tools": [TOOL],
            "messages": [
                *HELLO,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
                        {"type": "redacted_thinking", "data": "ZW5j"},
                        text("Let me see."),
                        {"type": "tool_use", "id": "a", "name": "weather", "input": {"place": "Čadca"}},
                        {"type": "tool_use", "id": "b", "name": "weather", "input": {}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "a", "content": [text("Sun"), IMAGE, text("18 °C")]},
                        {"type": "tool_result", "tool_use_id": "b", "content": "Rain", "is_error": True},
                        text("Well?"),
                    ],
                },
            ],
        },
        [
            SAID_HELLO,
            {
                "role": "assistant",
                "content": [
                    {
                        "type": "reasoning",
                        "summary": [{"type": "summary_text", "text": "Hm", "signature": "c2ln"}],
                    },
                    {"type": "reasoning", "summary": [{"type": "summary_encrypted_text", "data": "ZW5j"}]},
                    text("Let me see."),
                ],
                "tool_calls": [called("a", '{"place":"Čadca"}'), called("b", "{}")],
            },
            {"role": "tool", "tool_call_id": "a", "content": "Sun\n18 °C"},
            {"role": "tool", "tool_call_id": "b", "content": "Rain"},
            {"role": "user", "content": [CHAT_IMAGE, text("Well?")]},
        ],
    ),
    (
        "a result of nothing",
        {
            "tools": [TOOL],
            "messages": [
                *HELLO,
                {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "weather", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]},
            ],
        },
        [
            SAID_HELLO,
            {"role": "assistant", "content": None, "tool_calls": [called("a", "{}")]},
            {"role": "tool", "tool_call_id": "a", "content": ""},
        ],
    ),
]


@pytest.mark.parametrize(
    ("body", "messages"), [case[1:] for case in CONVERSATIONS], ids=[case[0] for case in CONVERSATIONS]
)
def test_turns_become_messages(body: Document, messages: list[Document]) -> None:
    assert allowed_chat(**body)["messages"] == messages


def test_what_anthropic_is_about_to_take_is_taken() -> None:
    turns = [*HELLO, {"role": "system", "content": "Be brief."}]
    assert chat(messages=turns)["messages"] == [SAID_HELLO, {"role": "system", "content": "Be brief."}]
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "A story"}}
    assert chat(messages=[{"role": "user", "content": [document]}])["messages"] == [
        {"role": "user", "content": [text("A story")]}
    ]


def test_thinking_without_a_signature_is_of_a_model_that_does_not_want_it_back() -> None:
    said = {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm", "signature": ""}, text("Hi")]}
    assert chat(messages=[*HELLO, said])["messages"][1] == {"role": "assistant", "content": "Hi"}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {}),
        ({"temperature": 0.5, "top_k": 3}, {"temperature": 0.5, "top_k": 3}),
        ({"top_p": 0.5}, {"top_p": 0.5}),
        ({"stop_sequences": ["END"]}, {"stop": ["END"]}),
        ({"stop_sequences": []}, {}),
        ({"metadata": {"user_id": "u"}}, {"user": "u"}),
        ({"stream": False}, {}),
        ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({"service_tier": "auto", "cache_control": {"type": "ephemeral"}}, {}),
        ({"tools": [TOOL]}, {"tools": [CHAT_TOOL]}),
        ({"tools": [TOOL], "tool_choice": {"type": "auto"}}, {"tools": [CHAT_TOOL], "tool_choice": "auto"}),
        ({"tools": [TOOL], "tool_choice": {"type": "any"}}, {"tools": [CHAT_TOOL], "tool_choice": "required"}),
        ({"tools": [TOOL], "tool_choice": {"type": "none"}}, {"tools": [CHAT_TOOL], "tool_choice": "none"}),
        (
            {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}},
            {
                "tools": [CHAT_TOOL],
                "tool_choice": {"type": "function", "function": {"name": "weather"}},
                "parallel_tool_calls": False,
            },
        ),
        ({"thinking": {"type": "disabled"}}, {}),
        ({"thinking": {"type": "adaptive"}}, {}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 4000},
            {"reasoning_effort": "low", "max_tokens": 4000},
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2049}, "max_tokens": 4000},
            {"reasoning_effort": "medium", "max_tokens": 4000},
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 9000}, "max_tokens": 9999},
            {"reasoning_effort": "high", "max_tokens": 9999},
        ),
        ({"output_config": {"effort": "xhigh"}}, {"reasoning_effort": "xhigh"}),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
            {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}},
        ),
    ],
)
def test_parameters(body: Document, fields: Document) -> None:
    assert allowed_chat(**body) == {"max_tokens": 9, "messages": [SAID_HELLO], **fields}


def user(*content: Any) -> Document:
    return {"messages": [{"role": "user", "content": list(content)}]}


def assistant(*content: Any) -> Document:
    return {"messages": [*HELLO, {"role": "assistant", "content": list(content)}]}


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("max_tokens", {"max_tokens": None}),
        ("max_tokens", {"max_tokens": 0}),
        ("max_tokens", {"max_tokens": "9"}),
        ("max_tokens", {"max_tokens": True}),
        ("messages", {"messages": None}),
        ("messages", {"messages": []}),
        ("messages", {"messages": "Hello"}),
        ("messages[0].role", {"messages": ["Hello"]}),
        ("messages[0].role", {"messages": [{"role": "tool", "content": "x"}]}),
        ("messages[0].content", {"messages": [{"role": "user"}]}),
        ("messages[0].content[0]", user("Hello")),
        ("messages[0].content[0].type", user({"type": "search_result"})),
        ("messages[0].content[0].text", user({"type": "text"})),
        ("messages[0].content[0].source", user({"type": "image"})),
        ("messages[0].content[0].source.type", user({"type": "image", "source": {"type": "file"}})),
        ("messages[0].content[0].source.url", user({"type": "image", "source": {"type": "url"}})),
        ("messages[0].content[0].source.type", user({"type": "document", "source": {"type": "base64"}})),
        ("messages[0].content[0].tool_use_id", user({"type": "tool_result"})),
        ("messages[0].content[0].content", user({"type": "tool_result", "tool_use_id": "a", "content": 1})),
        ("messages[1].content[0].type", assistant({"type": "server_tool_use"})),
        ("messages[1].content[0].input", assistant({"type": "tool_use", "id": "a", "name": "b", "input": "{}"})),
        ("messages[1].content[0].id", assistant({"type": "tool_use", "name": "b", "input": {}})),
        ("system", {"system": 1}),
        ("system[0].type", {"system": [IMAGE]}),
        ("stop_sequences", {"stop_sequences": "END"}),
        ("tools", {"tools": {}}),
        ("tools[0]", {"tools": ["weather"]}),
        ("tools[0].name", {"tools": [{"input_schema": SCHEMA}]}),
        ("tools[0].type", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
        ("tool_choice.type", {"tools": [TOOL], "tool_choice": "auto"}),
        ("tool_choice.name", {"tools": [TOOL], "tool_choice": {"type": "tool"}}),
        ("output_config", {"output_config": 1}),
        ("output_config.format", {"output_config": {"format": {"type": "xml"}}}),
        ("container", {"container": "c"}),
        ("mcp_servers", {"mcp_servers": [{}]}),
    ],
)
def test_what_is_wrong_is_refused_by_name(field: str, body: Document) -> None:
    with pytest.raises(BadRequest, match=f"^'{re.escape(field)}'"):
        chat(**body)


USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


def answer(message: Document, finish: str | None = "stop", **more: Any) -> Document:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    named = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "chatty"}
    return {**named, "choices": [choice], "usage": USAGE, **more}


def use(id: str, **input: Any) -> Document:
    return {"type": "tool_use", "id": id, "name": "weather", "input": input}


ANSWERS: list[tuple[str, Document, str | None, list[Document], str]] = [
    ("a text", {"content": "Hi"}, "stop", [text("Hi")], "end_turn"),
    ("nothing", {"content": None}, None, [], "end_turn"),
    ("cut off", {"content": "Hi"}, "length", [text("Hi")], "max_tokens"),
    ("filtered", {"content": ""}, "content_filter", [], "refusal"),
    ("a refusal", {"content": None, "refusal": "No."}, "stop", [text("No.")], "end_turn"),
    (
        "tool calls",
        {"content": "See:", "tool_calls": [called("a", '{"place": "Čadca"}'), called("b", "")]},
        "tool_calls",
        [text("See:"), use("a", place="Čadca"), use("b")],
        "tool_use",
    ),
    ("tool calls that end in 'stop'", {"tool_calls": [called("a", "{}")]}, "stop", [use("a")], "tool_use"),
    ("a call without id", {"tool_calls": [called("", "{}")]}, "tool_calls", [use("toolu_0")], "tool_use"),
    ("a call that was cut off", {"tool_calls": [called("a", '{"pla')]}, "length", [], "max_tokens"),
    (
        "reasoning",
        {"content": "Hi", "reasoning_content": "Hm"},
        "stop",
        [{"type": "thinking", "thinking": "Hm", "signature": ""}, text("Hi")],
        "end_turn",
    ),
    (
        "signed reasoning",
        {
            "content": [
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm", "signature": "c2ln"}]},
                {"type": "reasoning", "summary": [{"type": "summary_encrypted_text", "data": "ZW5j"}]},
                text("Hi"),
            ]
        },
        "stop",
        [
            {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "ZW5j"},
            text("Hi"),
        ],
        "end_turn",
    ),
]


@pytest.mark.parametrize(
    ("message", "finish", "content", "stop"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS]
)
def test_answers_become_messages(
    message: Document, finish: str | None, content: list[Document], stop: str
) -> None:
    made = message_of(answer(message, finish))
    Message.model_validate(made, strict=True)
    assert made == {
        "id": "chatcmpl-1",
        "type": "message",
        "role": "assistant",
        "model": "chatty",
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 7, "output_tokens": 5},
    }


def test_tokens_from_the_cache_are_counted_apart() -> None:
    usage = {**USAGE, "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2}}
    assert message_of(answer({"content": "Hi"}, usage=usage))["usage"] == {
        "input_tokens": 2,
        "output_tokens": 5,
        "cache_read_input_tokens": 3,
        "cache_creation_input_tokens": 2,
    }
    unsaid = message_of(answer({"content": "Hi"}, usage=None))
    assert unsaid["usage"] == {"input_tokens": 0, "output_tokens": 0}
    Message.model_validate(unsaid)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"choices": []},
        {"choices": [{"message": "Hi"}]},
        answer({"content": 1}),
        answer({"tool_calls": [called("a", "[]")]}, "tool_calls"),
        answer({"tool_calls": [called("a", "{")]}, "tool_calls"),
    ],
)
def test_what_is_no_answer_is_unreadable(said: Document) -> None:
    with pytest.raises(UnreadableAnswer):
        message_of(said)


def test_anthropics_client_reads_the_answer() -> None:
    made = message_of(answer({"content": "Hi", "tool_calls": [called("a", '{"place": "x"}')]}, "tool_calls"))
    with loopback(json.dumps(made).encode()) as server:
        with anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=0) as client:
            read = client.messages.create(model="m", max_tokens=9, messages=HELLO)
        sent = chat_body_of(server.sent[0].json)
    assert (read.stop_reason, read.usage.input_tokens) == ("tool_use", 7)
    assert [block.type for block in read.content] == ["text", "tool_use"]
    assert read.content[1].input == {"place": "x"}
    assert sent == {"max_tokens": 9, "messages": [SAID_HELLO]}


@pytest.mark.parametrize(
    ("status", "kind", "raised"),
    [
        (400, "invalid_request_error", anthropic.BadRequestError),
        (401, "authentication_error", anthropic.AuthenticationError),
        (403, "permission_error", anthropic.PermissionDeniedError),
        (404, "not_found_error", anthropic.NotFoundError),
        (413, "request_too_large", anthropic.APIStatusError),
        (415, "invalid_request_error", anthropic.APIStatusError),
        (429, "rate_limit_error", anthropic.RateLimitError),
        (500, "api_error", anthropic.InternalServerError),
        (502, "api_error", anthropic.InternalServerError),
        (503, "overloaded_error", anthropic.APIStatusError),
        (504, "timeout_error", anthropic.APIStatusError),
        (529, "overloaded_error", anthropic.APIStatusError),
    ],
)
def test_errors_are_as_anthropics_client_knows_them(status: int, kind: str, raised: type[Exception]) -> None:
    document = error_document(status, "Sorry")
    assert document == {"type": "error", "error": {"type": kind, "message": "Sorry"}}
    with (
        loopback(json.dumps(document).encode(), status=status) as server,
        anthropic.Anthropic(api_key="k", base_url=server.url, max_retries=0) as client,
        pytest.raises(raised) as failed,
    ):
        client.messages.create(model="m", max_tokens=9, messages=HELLO)
    assert failed.value.status_code == status
    assert failed.value.body == document
