"""OpenAI's Responses API over a chat model: requests and whole answers, as OpenAI's own client and types see them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chat_cases import CHAT_TOOL, IDS, NAMES, SAID, SCHEMA, TOOL, USER, call, chat_answer, chunk
from openai.types.responses import Response
from replaying import DOCUMENT, openai_client

from moorage.api.errors import BadRequest
from moorage.external.exchange import UnreadableAnswer
from moorage.external.responses import chat_body_of, response_of
from moorage.external.responses_events import ResponseEvents

CONVERSATION = [
    {
        "type": "message",
        "role": "developer",
        "content": [{"type": "input_text", "text": "be "}, {"type": "input_text", "text": "brief"}],
    },
    {
        "role": "user",
        "content": [
            {"type": "input_text", "text": "look"},
            {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
        ],
    },
    {"type": "reasoning", "id": "rs_1", "summary": []},
    {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "I ask", "annotations": []}],
    },
    {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "weather", "arguments": "{}"},
    {"type": "function_call", "call_id": "c2", "name": "weather", "arguments": '{"a":1}'},
    {"type": "function_call_output", "call_id": "c1", "output": "sun"},
    {
        "type": "function_call_output",
        "call_id": "c2",
        "output": [{"type": "input_text", "text": "ra"}, {"type": "input_text", "text": "in"}],
    },
    {"type": "function_call", "call_id": "c3", "name": "weather", "arguments": "{}"},
    {"role": "assistant", "content": "late words"},
    {"type": "function_call_output", "call_id": "c3", "output": ""},
    {"role": "user", "content": [{"type": "input_text", "text": "thanks"}]},
]
MESSAGES = [
    {"role": "system", "content": "be brief"},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
        ],
    },
    {"role": "assistant", "content": "I ask", "tool_calls": [call("c1", "{}"), call("c2", '{"a":1}')]},
    {"role": "tool", "tool_call_id": "c1", "content": "sun"},
    {"role": "tool", "tool_call_id": "c2", "content": "rain"},
    {"role": "assistant", "content": "late words", "tool_calls": [call("c3", "{}")]},
    {"role": "tool", "tool_call_id": "c3", "content": ""},
    {"role": "user", "content": "thanks"},
]


def test_a_call_that_is_given_twice_is_one_call() -> None:
    """Databricks' client of LangChain does so: once as it came, once as it keeps it itself."""
    came = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "weather", "arguments": '{"a":1}'}
    kept = {**came, "id": "fc_c1", "arguments": '{"a": 1}'}
    other = {**came, "call_id": "c2"}
    result = {"type": "function_call_output", "call_id": "c1", "output": "sun"}
    messages = chat_body_of({"input": [came, other, kept, result, kept]})["messages"]
    ids = [[one["id"] for one in message.get("tool_calls", ())] for message in messages]
    assert ids == [["c1", "c2"], [], ["c1"]]


@pytest.mark.parametrize(
    ("fields", "chat"),
    [
        ({}, {}),
        ({"instructions": "be brief"}, {"messages": [{"role": "system", "content": "be brief"}, USER]}),
        ({"input": CONVERSATION}, {"messages": MESSAGES}),
        (
            {
                "input": [
                    {"role": "user", "content": [{"type": "input_file", "file_data": "data:x", "filename": "f"}]}
                ]
            },
            {
                "messages": [
                    {"role": "user", "content": [{"type": "file", "file": {"file_data": "data:x", "filename": "f"}}]}
                ]
            },
        ),
        (
            {
                "input": [
                    {
                        "role": "user",
                        "content": [{"type": "input_audio", "input_audio": {"data": "A", "format": "wav"}}],
                    }
                ]
            },
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "input_audio", "input_audio": {"data": "A", "format": "wav"}}],
                    }
                ]
            },
        ),
        (
            {"temperature": 0.1, "top_p": 0.9, "user": "u", "stream": True},
            {"temperature": 0.1, "top_p": 0.9, "user": "u", "stream": True},
        ),
        ({"max_output_tokens": 9}, {"max_tokens": 9}),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
        (
            {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False},
            {"tools": [CHAT_TOOL], "tool_choice": "required", "parallel_tool_calls": False},
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "name": "weather"}},
            {"tools": [CHAT_TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        ),
        ({"tools": [], "parallel_tool_calls": True}, {}),
        ({"text": {"format": {"type": "text"}, "verbosity": "low"}}, {"verbosity": "low"}),
        ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
                }
            },
        ),
        (
            {
                "store": False,
                "background": False,
                "conversation": None,
                "previous_response_id": None,
                "service_tier": None,
            },
            {},
        ),
        (
            {
                "metadata": {"a": "b"},
                "include": ["reasoning.encrypted_content"],
                "truncation": "auto",
                "max_tool_calls": 1,
            },
            {},
        ),
        ({"stream_options": {"include_obfuscation": False}, "prompt_cache_key": "k", "safety_identifier": "s"}, {}),
    ],
)
def test_a_request_becomes_one_of_chat(fields: dict[str, Any], chat: dict[str, Any]) -> None:
    body = {"model": "my-endpoint", "input": "hi", **fields}
    before = json.dumps(body)
    assert chat_body_of(body) == {"messages": [USER], **chat}
    assert json.dumps(body) == before


def item(**fields: Any) -> dict[str, Any]:
    return {"input": [fields]}


def part(**fields: Any) -> dict[str, Any]:
    return {"input": ["x", {"role": "user", "content": [fields]}][1:]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"background": True}, "'background' must be false"),
        ({"store": True}, "'store' must be false"),
        ({"conversation": "conv_1"}, "'conversation'"),
        ({"service_tier": "auto"}, "'service_tier'"),
        ({"previous_response_id": "resp_1"}, "'previous_response_id'.*all items in 'input'"),
        ({"prompt": {"id": "p"}}, "'prompt' is not supported"),
        ({"top_k": 3}, "'top_k' is not supported"),
        ({"top_logprobs": 3}, "'top_logprobs' is not supported"),
        ({"include": ["reasoning.encrypted_content", "message.output_text.logprobs"]}, r"'include\[1\]'"),
        ({"include": "x"}, "'include' must be a list"),
        ({"metadata": {"a": 1}}, "'metadata' must be an object of texts"),
        ({"metadata": []}, "'metadata' must be an object"),
        ({"instructions": ["a"]}, "'instructions' must be a text"),
        ({"input": None}, "'input' must be a text or a list"),
        ({"input": []}, "'input' must be a text or a list"),
        ({"input": ["a"]}, r"'input\[0\]' must be an object"),
        (item(type="web_search_call"), r"'input\[0\].type' must be one of 'message'"),
        (item(content="a"), r"'input\[0\].type' must be one of"),
        (item(type="item_reference", id="x"), r"'input\[0\].type'.*give the item"),
        (item(role="tool", content="a"), r"'input\[0\].role' must be one of 'user'"),
        (item(role="user"), r"'input\[0\].content' must be a text or a list"),
        (item(role="user", content=[]), r"'input\[0\].content' must be a text or a list"),
        (item(role="system", content=[{"type": "input_image"}]), r"'input\[0\].content\[0\].type'"),
        (item(type="function_call", call_id="c", name="n"), r"'input\[0\].arguments' must be a text"),
        (item(type="function_call", name="n", arguments=""), r"'input\[0\].call_id' must be a text"),
        (item(type="function_call_output", output="a"), r"'input\[0\].call_id' must be a text"),
        (item(type="function_call_output", call_id="c", output=3), r"'input\[0\].output' must be a text"),
        (
            item(type="function_call_output", call_id="c", output=[{"type": "input_image", "image_url": "u"}]),
            r"'input\[0\].output\[0\].type' must be 'input_text'",
        ),
        (part(type="input_text"), r"'input\[0\].content\[0\].text' must be a text"),
        (part(type="strange"), r"'input\[0\].content\[0\].type' must be one of 'input_text'"),
        (part(type="input_image", file_id="f"), r"'input\[0\].content\[0\].file_id'.*'image_url'"),
        (part(type="input_image"), r"'input\[0\].content\[0\].image_url' must be a text"),
        (part(type="input_file", file_id="f"), r"'input\[0\].content\[0\].file_id'.*'file_data'"),
        (part(type="input_file", file_url="u"), r"'input\[0\].content\[0\].file_data' must be a text"),
        (part(type="input_audio", input_audio="u"), r"'input\[0\].content\[0\].type'"),
        ({"tools": {}}, "'tools' must be a list"),
        ({"tools": ["a"]}, r"'tools\[0\]' must be an object"),
        ({"tools": [TOOL, {"type": "web_search"}]}, r"'tools\[1\].type' must be 'function'.*'web_search'"),
        ({"tools": [{"type": "function"}]}, r"'tools\[0\].name' must be a text"),
        ({"tool_choice": {"type": "web_search"}}, "'tool_choice' must be"),
        ({"tool_choice": "always"}, "'tool_choice' must be"),
        ({"text": "json"}, "'text' must be an object"),
        ({"text": {"format": "json"}}, "'text.format.type' must be one of"),
        ({"text": {"format": {"type": "grammar"}}}, "'text.format.type' must be one of"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "'text.format.name' must be a text"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "'text.format.schema' must be a JSON schema"),
        ({"reasoning": "low"}, "'reasoning' must be an object"),
    ],
)
def test_what_a_chat_has_nothing_for_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        chat_body_of({"model": "m", "input": "hi", **fields})


@pytest.mark.parametrize(("message", "finish", "output", "status"), [said[1:] for said in SAID], ids=NAMES)
def test_a_chat_answer_becomes_a_response(
    message: dict[str, Any], finish: str, output: list[dict[str, Any]], status: str
) -> None:
    response = response_of(chat_answer(message, finish), {"input": "hi"}, IDS)
    assert response["output"] == output
    assert response["status"] == status
    reasons = {"length": {"reason": "max_output_tokens"}, "content_filter": {"reason": "content_filter"}}
    assert response["incomplete_details"] == reasons.get(finish)
    assert response["id"] == "resp_abc"
    assert response["created_at"] == 1700000000
    assert response["model"] == "chatty"
    assert response["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 3},
        "total_tokens": 12,
    }
    Response.model_validate(response, strict=True)


def test_a_response_repeats_what_was_asked() -> None:
    asked = {
        "instructions": "be brief",
        "max_output_tokens": 9,
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "temperature": 0,
        "top_p": 0.5,
        "tool_choice": {"type": "function", "name": "weather"},
        "text": {"format": {"type": "json_object"}, "verbosity": "low"},
        "user": "u",
    }
    body = {
        "input": "hi",
        **asked,
        "tools": [{"type": "function", "name": "weather"}],
        "reasoning": {"effort": "low"},
    }
    response = response_of(chat_answer({"content": "a"}), body, IDS)
    assert {field: response[field] for field in asked} == asked
    assert response["tools"] == [{"type": "function", "name": "weather", "parameters": None, "strict": None}]
    assert response["reasoning"] == {"effort": "low", "summary": None}
    Response.model_validate(response, strict=True)


def test_what_was_not_asked_has_its_usual_value() -> None:
    response = response_of(chat_answer({"content": "a"}), {"input": "hi"}, IDS)
    usual = {
        "background": False,
        "store": False,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "top_p": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "text": {"format": {"type": "text"}},
        "metadata": {},
        "truncation": "disabled",
        "error": None,
    }
    assert {field: response[field] for field in usual} == usual


def test_only_the_first_choice_counts() -> None:
    answer = chat_answer({"content": "a"})
    answer["choices"].append({"index": 1, "message": {"content": "b"}, "finish_reason": "length"})
    alone = chat_answer({"content": "a"})
    assert response_of(answer, {"input": "hi"}, IDS) == response_of(alone, {"input": "hi"}, IDS)


def test_usage_that_is_unknown_stays_so() -> None:
    for usage in (None, {}, {"prompt_tokens": "7", "completion_tokens": 5}, {"prompt_tokens": 7}):
        response = response_of(chat_answer({"content": "a"}, usage=usage), {"input": "hi"}, IDS)
        assert response["usage"] is None
        Response.model_validate(response, strict=True)


BROKEN: list[dict[str, Any]] = [
    {},
    {"choices": {}},
    {"choices": [[]]},
    {"choices": [{"message": 1, "delta": 1}]},
    {"choices": [{"message": {"content": 5}, "delta": {"content": 5}}]},
    {"choices": [{"message": {"tool_calls": {}}, "delta": {"tool_calls": {}}}]},
    {"choices": [{"message": {"tool_calls": [1]}, "delta": {"tool_calls": [1]}}]},
    {"choices": [{"message": {"tool_calls": [call("a", 5)]}, "delta": {"tool_calls": [call("a", 5)]}}]},  # type: ignore[arg-type]
]


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_no_chat_answer_is_noticed(broken: dict[str, Any]) -> None:
    with pytest.raises(UnreadableAnswer):
        response_of(broken, {"input": "hi"}, IDS)
    with pytest.raises(UnreadableAnswer):
        ResponseEvents({"input": "hi"}, IDS).feed([broken])


def test_an_answer_without_a_choice_or_a_call_without_a_name_is_noticed() -> None:
    with pytest.raises(UnreadableAnswer, match="no choice"):
        response_of({"choices": []}, {"input": "hi"}, IDS)
    with pytest.raises(UnreadableAnswer, match="name"):
        ResponseEvents({"input": "hi"}, IDS).feed(
            [chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]})]
        )


def test_openais_client_reads_a_response() -> None:
    response = response_of(chat_answer({"content": "hello", "tool_calls": [call("c1", "{}")]}), {"input": "hi"}, IDS)
    with openai_client([json.dumps(response).encode()], DOCUMENT) as (client, asked):
        answer = client.responses.create(model="m", input="hi", tools=[TOOL], metadata={"a": "b"})  # type: ignore[list-item]
    assert answer.output_text == "hello"
    assert answer.output[1].type == "function_call"
    assert asked[0][0] == "/v1/responses"
    assert chat_body_of(asked[0][1]) == {"messages": [USER], "tools": [CHAT_TOOL]}


def test_openais_client_takes_its_own_answers_back() -> None:
    """What it got as output is what it sends as input of the next request."""
    said = {"content": "I ask", "reasoning_content": "hm", "tool_calls": [call("c1", "{}")]}
    response = response_of(chat_answer(said), {"input": "hi"}, IDS)
    with openai_client([json.dumps(response).encode()], DOCUMENT) as (client, asked):
        output = client.responses.create(model="m", input="hi").output
        result = {"type": "function_call_output", "call_id": "c1", "output": "sun"}
        client.responses.create(model="m", input=[USER, *output, result])  # type: ignore[list-item]
    assert chat_body_of(asked[1][1])["messages"] == [
        USER,
        {"role": "assistant", "content": "I ask", "tool_calls": [call("c1", "{}")]},
        {"role": "tool", "tool_call_id": "c1", "content": "sun"},
    ]
