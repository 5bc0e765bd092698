"""Completions that a chat model gives are as OpenAI's client expects them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types import Completion
from replaying import DOCUMENT, EVENTS, openai_client

from moorage.api.errors import BadRequest
from moorage.external.completions import chat_body_of, completion_chunk_of, completion_of
from moorage.external.exchange import UnreadableAnswer

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
BESIDE = {"id": "chatcmpl-1", "created": 1700000000, "model": "chatty"}


def answer(*messages: tuple[dict[str, Any], str]) -> dict[str, Any]:
    choices = [
        {"index": index, "message": {"role": "assistant", **message}, "finish_reason": reason, "logprobs": None}
        for index, (message, reason) in enumerate(messages)
    ]
    return {**BESIDE, "object": "chat.completion", "choices": choices, "usage": USAGE}


def chunk(delta: dict[str, Any] | None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {**BESIDE, "object": "chat.completion.chunk", "choices": [choice], **more}


@pytest.mark.parametrize("prompt", ["Once upon", ["Once upon"]])
def test_the_prompt_is_what_the_user_says(prompt: Any) -> None:
    body = {"model": "m", "prompt": prompt, "max_tokens": 5, "stop": ["."], "n": 2, "top_k": 3, "stream": True}
    before = json.dumps(body)
    assert chat_body_of(body) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Once upon"}],
        "max_tokens": 5,
        "stop": ["."],
        "n": 2,
        "top_k": 3,
        "stream": True,
    }
    assert json.dumps(body) == before


def test_fields_that_ask_for_nothing_are_left_out() -> None:
    nothing = {
        "suffix": "",
        "echo": False,
        "logprobs": None,
        "best_of": 1,
        "use_raw_prompt": False,
        "error_behavior": "error",
    }
    assert chat_body_of({"prompt": "a", **nothing}) == {"messages": [{"role": "user", "content": "a"}]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": ["a", "b"]}, "'prompt' has 2 prompts.*one"),
        ({"prompt": [1, 2, 3]}, "'prompt' must be a text.*tokens"),
        ({"prompt": [[1, 2]]}, "'prompt' must be a text"),
        ({"prompt": []}, "'prompt' must be a text"),
        ({"prompt": None}, "'prompt' must be a text"),
        ({"suffix": "end"}, "'suffix' must be left out"),
        ({"echo": True}, "'echo' must be false"),
        ({"logprobs": 0}, "'logprobs' must be left out"),
        ({"best_of": 3}, "'best_of' must be 1"),
        ({"use_raw_prompt": True}, "'use_raw_prompt' must be false"),
        ({"error_behavior": "truncate"}, "'error_behavior' must be 'error'"),
    ],
)
def test_what_chat_models_cannot_do_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        chat_body_of({"prompt": "a", **fields})


@pytest.mark.parametrize(
    ("message", "reason", "text", "finish_reason"),
    [
        ({"content": "a time"}, "stop", "a time", "stop"),
        ({"content": "a time"}, "length", "a time", "length"),
        ({"content": ""}, "content_filter", "", "content_filter"),
        ({"content": None, "tool_calls": []}, "tool_calls", "", "stop"),
        (
            {
                "content": [
                    {"type": "reasoning", "summary": []},
                    {"type": "text", "text": "a "},
                    {"type": "text", "text": "b"},
                ]
            },
            "stop",
            "a b",
            "stop",
        ),
        ({"content": "said", "reasoning_content": "thought"}, "stop", "said", "stop"),
    ],
)
def test_a_chat_answer_becomes_a_completion(
    message: dict[str, Any], reason: str, text: str, finish_reason: str
) -> None:
    completion = completion_of(answer((message, reason), ({"content": "other"}, "stop")))
    assert completion == {
        **BESIDE,
        "object": "text_completion",
        "choices": [
            {"index": 0, "text": text, "finish_reason": finish_reason, "logprobs": None},
            {"index": 1, "text": "other", "finish_reason": "stop", "logprobs": None},
        ],
        "usage": USAGE,
    }
    Completion.model_validate(completion, strict=True)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (chunk({"role": "assistant", "content": ""}), None),
        (chunk({"role": "assistant"}), None),
        (chunk(None), None),
        (chunk({"reasoning_content": "hm"}), None),
        (chunk({"content": " a"}), (" a", None)),
        (chunk({}, "stop"), ("", "stop")),
        (chunk({}, "tool_calls"), ("", "stop")),
    ],
)
def test_a_chunk_becomes_one_where_it_says_something(
    given: dict[str, Any], text: tuple[str, str | None] | None
) -> None:
    expected = None
    if text is not None:
        choice = {"index": 0, "text": text[0], "finish_reason": text[1], "logprobs": None}
        expected = {**BESIDE, "object": "text_completion", "choices": [choice]}
    assert completion_chunk_of(given) == expected


def test_the_chunk_with_the_usage_is_kept() -> None:
    last = completion_chunk_of({**chunk({}), "choices": [], "usage": USAGE})
    assert last == {**BESIDE, "object": "text_completion", "choices": [], "usage": USAGE}


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"choices": None},
        {"choices": ["a"]},
        {"choices": [{"message": "a", "delta": "a"}]},
        {"choices": [{"message": {"content": 1}, "delta": {"content": 1}}]},
        {"choices": [{"message": {"content": [1]}, "delta": {"content": [1]}}]},
    ],
)
def test_what_is_no_chat_answer_is_noticed(broken: dict[str, Any]) -> None:
    with pytest.raises(UnreadableAnswer):
        completion_of(broken)
    with pytest.raises(UnreadableAnswer):
        completion_chunk_of(broken)


def test_openais_client_reads_completions() -> None:
    body = json.dumps(completion_of(answer(({"content": "a time"}, "stop")))).encode()
    with openai_client([body], DOCUMENT) as (client, asked):
        completion = client.completions.create(model="m", prompt="Once upon", best_of=1)
    assert completion.choices[0].text == "a time"
    assert completion.usage is not None
    assert completion.usage.total_tokens == 5
    assert chat_body_of(asked[0][1])["messages"][0]["content"] == "Once upon"

    chunks = [chunk({"role": "assistant"}), chunk({"content": "a "}), chunk({"content": "time"}), chunk({}, "length")]
    made = [completion_chunk_of(one) for one in [*chunks, {**BESIDE, "choices": [], "usage": USAGE}]]
    events = [b"data: %s\n\n" % json.dumps(one).encode() for one in made if one is not None]
    with openai_client([*events, b"data: [DONE]\n\n"], EVENTS) as (client, _):
        read = list(client.completions.create(model="m", prompt="Once upon", stream=True))
    assert "".join(one.choices[0].text for one in read if one.choices) == "a time"
    assert read[-2].choices[0].finish_reason == "length"
    assert read[-1].usage is not None
