"""Words and phrases that must not appear in a text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

_WHITE_SPACE = re.compile(r"\s+")
# Scripts that put no space between words: a keyword in them is found wherever it stands.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u303f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)


def contains_keyword(text: str, keywords: Iterable[str]) -> bool:
    """Whether one of the keywords is in the text, as a word or words of its own.

    Case, width and composition of characters, kinds of white space and invisible characters make no difference.
    """
    plain = _normal(text)
    return any(_contains(plain, _normal_keyword(keyword)) for keyword in keywords)


@lru_cache(maxsize=4096)
def _normal_keyword(keyword: str) -> str:
    return _normal(keyword).strip()


def _normal(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
        text = "".join(character for character in text if unicodedata.category(character) != "Cf")
        text = unicodedata.normalize("NFKC", text.casefold())
    return _WHITE_SPACE.sub(" ", text.casefold())


def _contains(text: str, keyword: str) -> bool:
    if not keyword:
        return False
    at = text.find(keyword)
    while at >= 0:
        end = at + len(keyword)
        before, after = text[at - 1 : at], text[end : end + 1]
        if not (_joined(before, keyword[0]) or _joined(keyword[-1], after)):
            return True
        at = text.find(keyword, at + 1)
    return False


def _joined(left: str, right: str) -> bool:
    """Whether two characters stand in one word."""
    return is_in_word(left) and is_in_word(right) and not (is_unspaced(left) or is_unspaced(right))


def is_in_word(character: str) -> bool:
    return bool(character) and (
        character.isalnum() or character == "_" or unicodedata.category(character).startswith("M")
    )


def is_unspaced(character: str) -> bool:
    """Whether it is of a script that puts no space between words."""
    return _UNSPACED.match(character) is not None
