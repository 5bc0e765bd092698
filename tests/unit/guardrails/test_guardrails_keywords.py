"""Invalid keywords: found as words, in any script, whatever their case."""

from __future__ import annotations

import pytest

from moorage.guardrails.keywords import contains_keyword


@pytest.mark.parametrize(
    ("text", "keyword"),
    [
        ("The Secret plan", "secret"),
        ("the secret.", "SECRET"),
        ("(secret)", "secret"),
        ("a credit\n  card", "credit card"),
        ("STRASSE", "straße"),
        ("Die Straße", "STRASSE"),
        ("ｓｅｃｒｅｔ", "secret"),
        ("se\u200bcret", "secret"),
        ("cafe\u0301", "café"),
        ("это секрет!", "СЕКРЕТ"),
        ("这是秘密计划", "秘密"),
        ("これは秘密です", "秘密"),
        ("นี่คือความลับ", "ความลับ"),
        ("यह रहस्य है", "रहस्य"),
        ("buy c++ now", "C++"),
        ("class assassin ass", "ass"),
        ("iPhone手机很贵", "iphone"),
    ],
)
def test_a_keyword_is_found(text: str, keyword: str) -> None:
    assert contains_keyword(text, ["no such word", keyword])


@pytest.mark.parametrize(
    ("text", "keyword"),
    [
        ("a classic assassin", "ass"),
        ("secretary", "secret"),
        ("top_secret_plan", "secret"),
        ("секретарь", "секрет"),
        ("हिन्दी", "हिन"),  # the next character is a vowel sign of the same word
        ("plan 42b", "42"),
        ("anything", ""),
        ("anything", "   "),
        ("", "word"),
    ],
)
def test_a_keyword_in_another_word_is_none(text: str, keyword: str) -> None:
    assert not contains_keyword(text, [keyword])
