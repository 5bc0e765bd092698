"""What an answer says about its own way."""

from __future__ import annotations

import json

from moorage.gateway.explanations import Attempt, explanation


def read(attempts: list[Attempt], guardrails: tuple[str, ...] = ()) -> dict[str, object]:
    name, value = explanation("ads", 3, attempts, [], 1.23456, guardrails)
    assert name == b"x-moorage-explanation"
    assert all(0x20 <= byte < 0x7F for byte in value)
    document = json.loads(value)
    assert isinstance(document, dict)
    return document


def test_it_says_who_was_asked_and_who_answered() -> None:
    found = read([Attempt("a", "drawn", 500, 12.34567, "openai", "no"), Attempt("b", "fallback", 200, 1)], ("input",))
    assert found == {
        "endpoint": "ads",
        "config_version": 3,
        "served_entity": "b",
        "attempts": [
            {
                "served_entity": "a",
                "why": "drawn",
                "status": 500,
                "ms": 12.346,
                "provider": "openai",
                "message": "no",
            },
            {"served_entity": "b", "why": "fallback", "status": 200, "ms": 1},
        ],
        "rate_limits": [],
        "guardrails": ["input"],
        "overhead_ms": 1.235,
    }


def test_without_attempts_nobody_is_named() -> None:
    assert read([])["served_entity"] is None


def test_words_of_a_provider_cannot_end_the_header() -> None:
    words = "line\r\nset-cookie: a=b\r\n\r\n<body>\x00\x7fé\U0001f600"
    (attempt,) = read([Attempt("a", "drawn", 500, 1, None, words)])["attempts"]  # type: ignore[misc]
    assert attempt["message"] == words


def test_the_header_stays_one_that_clients_take() -> None:
    attempts = [Attempt("a", "drawn", 500, 1, "openai", "\u4f60" * 5000)] * 3
    assert len(explanation("ads", 3, attempts, [], 1.0)[1]) < 8000
