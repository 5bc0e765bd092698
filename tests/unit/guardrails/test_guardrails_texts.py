"""Texts out of requests and answers of each form, and masked ones back into their places."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from moorage.api.errors import BadRequest
from moorage.api.surfaces import Surface
from moorage.guardrails.texts import Piece, answer_pieces, request_pieces, with_texts, without_probabilities

CHAT = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "sys"},
        {"role": "developer", "content": "dev"},
        {"role": "user", "name": "n", "content": "hello"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c", "function": {"name": "f", "arguments": '{"to": "jo", "n": [1, true]}'}},
                {"id": "d", "type": "function", "function": {"name": "g", "arguments": "{cut"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": "result"},
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "f",
                "description": "calls",
                "parameters": {"type": "object", "properties": {"to": {"type": "string", "description": "who"}}},
            },
        }
    ],
    "temperature": 0.5,
}
RESPONSES = {
    "instructions": "be brief",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "hello"}, {"image_url": "u"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a":"b"}'},
        {"type": "function_call_output", "call_id": "c", "output": "result"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "said"}]},
    ],
}
MESSAGES = {
    "system": [{"type": "text", "text": "sys", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "hello"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "paper"}},
                {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "result"}]},
            ],
        },
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "input": {"to": "jo", "n": 5}}]},
    ],
}


@pytest.mark.parametrize(
    ("surface", "body", "expected"),
    [
        (
            Surface.CHAT,
            CHAT,
            [
                ("sys", "system"), ("dev", "system"), ("hello", "user"), ("look", "user"), ("jo", "assistant"),
                ("1", "assistant"), ("{cut", "assistant"), ("result", "tool"), ("calls", "system"), ("who", "system"),
            ],
        ),
        (
            Surface.RESPONSES,
            RESPONSES,
            [
                ("be brief", "system"), ("hello", "user"), ("b", "assistant"), ("result", "tool"),
                ("said", "assistant"),
            ],
        ),
        (Surface.RESPONSES, {"input": "hello"}, [("hello", "user")]),
        (
            Surface.MESSAGES,
            MESSAGES,
            [("sys", "system"), ("hello", "user"), ("paper", "user"), ("result", "user"), ("jo", "assistant"),
             ("5", "assistant")],
        ),
        (
            Surface.MESSAGES,
            {"system": "s", "messages": [{"role": "user", "content": "u"}]},
            [("s", "system"), ("u", "user")],
        ),
        (Surface.COMPLETIONS, {"prompt": "p", "suffix": "s"}, [("p", "user"), ("s", "user")]),
        (Surface.EMBEDDINGS, {"input": "i", "instruction": "x"}, [("i", "user"), ("x", "system")]),
    ],
)  # fmt: skip
def test_the_texts_of_a_request(surface: Surface, body: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    pieces = request_pieces(surface, body)
    assert [(piece.text, piece.role) for piece in pieces] == expected
    assert {piece.group for piece in pieces} == {0}


@pytest.mark.parametrize(("surface", "field"), [(Surface.COMPLETIONS, "prompt"), (Surface.EMBEDDINGS, "input")])
def test_each_prompt_of_a_batch_is_a_group_and_there_are_at_most_sixteen(surface: Surface, field: str) -> None:
    pieces = request_pieces(surface, {field: [f"p{index}" for index in range(16)]})
    assert [(piece.text, piece.group) for piece in pieces] == [(f"p{index}", index) for index in range(16)]
    with pytest.raises(BadRequest, match=f"at most 16 texts at a time; '{field}' has 17"):
        request_pieces(surface, {field: ["p"] * 17})
    for tokens in ([1, 2], [[1, 2], [3]]):
        with pytest.raises(BadRequest, match="cannot check tokens"):
            request_pieces(surface, {field: tokens})


def test_a_request_of_too_many_levels_is_refused() -> None:
    part: Any = "text"
    for _ in range(2000):
        part = [part]
    with pytest.raises(BadRequest, match="nested too deeply"):
        request_pieces(Surface.CHAT, {"messages": [{"role": "user", "content": part}]})


@pytest.mark.parametrize(
    "body", [{}, {"messages": None}, {"messages": "x"}, {"messages": [None, 5, []]}, {"messages": [{"role": 5}]}]
)
def test_bodies_that_make_no_sense_raise_nothing(body: dict[str, Any]) -> None:
    for surface in Surface:
        assert all(isinstance(piece, Piece) for piece in request_pieces(surface, body))
        assert isinstance(answer_pieces(surface, {"choices": [None, {}, {"message": 3}], "output": 1, **body}), list)


ANSWERS: list[tuple[Surface, dict[str, Any], list[tuple[str, int]]]] = [
    (
        Surface.CHAT,
        {
            "id": "x",
            "choices": [
                {"index": 1, "message": {"role": "assistant", "content": "one", "refusal": "no"}},
                {
                    "index": 0,
                    "message": {
                        "content": [{"type": "reasoning", "summary": [{"type": "t", "text": "why"}]}],
                        "reasoning_content": "think",
                        "tool_calls": [{"function": {"name": "f", "arguments": '{"to":"jo"}'}}],
                    },
                    "logprobs": {"content": [{"token": "secret"}]},
                },
            ],
        },
        [("one", 1), ("no", 1), ("why", 0), ("think", 0), ("jo", 0)],
    ),
    (
        Surface.COMPLETIONS,
        {"choices": [{"index": 0, "text": "a"}, {"text": "b", "logprobs": None}]},
        [("a", 0), ("b", 1)],
    ),
    (
        Surface.RESPONSES,
        {
            "output": [
                {"type": "reasoning", "encrypted_content": "zzz", "summary": [{"text": "why"}]},
                {"type": "message", "id": "m", "content": [{"type": "output_text", "text": "said"}]},
                {"type": "function_call", "name": "f", "arguments": '{"a": "b"}'},
            ]
        },
        [("why", 0), ("said", 0), ("b", 0)],
    ),
    (
        Surface.MESSAGES,
        {
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "sig"},
                {"type": "text", "text": "said"},
                {"type": "tool_use", "id": "t", "name": "f", "input": {"to": "jo"}},
            ]
        },
        [("hm", 0), ("said", 0), ("jo", 0)],
    ),
    (Surface.EMBEDDINGS, {"data": [{"embedding": "AAAA"}]}, []),
]


@pytest.mark.parametrize(("surface", "answer", "expected"), ANSWERS, ids=[str(surface) for surface, *_ in ANSWERS])
def test_the_texts_of_an_answer(surface: Surface, answer: dict[str, Any], expected: list[tuple[str, int]]) -> None:
    assert [(piece.text, piece.group) for piece in answer_pieces(surface, answer)] == expected


REQUESTS: list[tuple[Surface, dict[str, Any]]] = [
    (Surface.CHAT, CHAT), (Surface.RESPONSES, RESPONSES), (Surface.MESSAGES, MESSAGES),
    (Surface.RESPONSES, {"input": "hello"}), (Surface.COMPLETIONS, {"prompt": ["a", "b"], "suffix": "c"}),
    (Surface.EMBEDDINGS, {"input": "a"}),
]  # fmt: skip


@pytest.mark.parametrize(("surface", "body"), REQUESTS)
def test_texts_go_back_to_where_they_came_from(surface: Surface, body: dict[str, Any]) -> None:
    before = copy.deepcopy(body)
    pieces = request_pieces(surface, body)
    assert with_texts(body, pieces, [piece.text for piece in pieces]) == before
    changed = with_texts(body, pieces, [f"<{index}>" for index in range(len(pieces))])
    labels = [f"<{index}>" for index in range(len(pieces))]
    assert [piece.text for piece in request_pieces(surface, changed)] == labels
    assert body == before


@pytest.mark.parametrize(("surface", "answer"), [(surface, answer) for surface, answer, _ in ANSWERS])
def test_texts_go_back_into_answers(surface: Surface, answer: dict[str, Any]) -> None:
    before = copy.deepcopy(answer)
    pieces = answer_pieces(surface, answer)
    changed = with_texts(answer, pieces, [piece.text.upper() for piece in pieces])
    assert [piece.text for piece in answer_pieces(surface, changed)] == [piece.text.upper() for piece in pieces]
    assert answer == before


def test_what_a_tool_is_called_with_stays_json() -> None:
    arguments = '{"phone": 4155552671, "to": "jo@x.de", "deep": [{"to": "jo@x.de"}], "keep": 1.50}'
    answer = {"choices": [{"message": {"tool_calls": [{"function": {"arguments": arguments}}]}}]}
    pieces = answer_pieces(Surface.CHAT, answer)
    labels = {"4155552671": "<PHONE_NUMBER>", "jo@x.de": "<EMAIL_ADDRESS>"}
    changed = with_texts(answer, pieces, [labels.get(piece.text, piece.text) for piece in pieces])
    said = changed["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(said) == {
        "phone": "<PHONE_NUMBER>", "to": "<EMAIL_ADDRESS>", "deep": [{"to": "<EMAIL_ADDRESS>"}], "keep": 1.5,
    }  # fmt: skip
    assert with_texts(answer, pieces, [piece.text for piece in pieces]) == answer  # to the letter


def test_probabilities_have_the_text_once_more() -> None:
    answer = ANSWERS[0][1]
    assert "secret" not in json.dumps(without_probabilities(answer))
    assert without_probabilities(answer)["choices"][0] == answer["choices"][0]
