"""Texts cut into pieces that detectors can look at one by one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])|\n+")
_SHORT = 24
_LONGEST = 300


class Segment(NamedTuple):
    """A piece of a text with its surroundings: `text` begins at `offset`, `start` to `end` is the piece itself."""

    text: str
    offset: int
    start: int
    end: int


def segments(text: str, *, size: int, margin: int) -> Iterator[Segment]:
    """Pieces of about `size` characters that share `margin` characters with their neighbours.

    They are cut at white space where there is some, their margins too.
    """
    start = 0
    while start < len(text):
        end = _cut(text, start + size, margin)
        left = _cut(text, max(start - margin, 0), margin)
        right = _cut(text, end + margin, margin)
        yield Segment(text[left:right], left, start, end)
        start = end


def _cut(text: str, at: int, reach: int) -> int:
    """The first place from `at` on behind white space; `at` itself when there is none within `reach`."""
    if at <= 0 or at >= len(text):
        return min(max(at, 0), len(text))
    for place in range(at, min(at + reach, len(text))):
        if text[place - 1].isspace():
            return place
    return at


def sentences(text: str) -> list[str]:
    """The sentences of a text, for comparisons by meaning: short ones with the next one, long ones cut."""
    found: list[str] = []
    held = ""
    for sentence in _SENTENCE_END.split(text):
        held = f"{held} {sentence.strip()}".strip()
        if len(held) >= _SHORT:
            found += _pieces(held)
            held = ""
    if held:
        found.append(held)
    return found


def _pieces(sentence: str) -> Iterator[str]:
    while len(sentence) > _LONGEST:
        at = sentence.rfind(" ", _LONGEST // 2, _LONGEST) + 1 or _LONGEST
        yield sentence[:at].strip()
        sentence = sentence[at:].strip()
    if sentence:
        yield sentence
