"""Bodies of requests and answers as the tables hold them: text, one document a stream, nothing redacted."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any

import orjson

from moorage.tables.streams import whole_answer

_logger = logging.getLogger(__name__)

REDACTED = "[REDACTED]"
_QUESTION = ("messages", "prompt", "input", "system", "instructions")
_ANSWER = ("choices", "output", "content")
_TEXTS = ("message", "content", "text")


class Redaction:
    """Which members of JSON objects are not to be kept. Letter case does not matter."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = frozenset(key.lower() for key in keys)

    def apply(self, text: str) -> str:
        """The text without the values of those members, at any depth; the same text where it has none.

        In a `dataframe_split` a column of such a name is emptied too. What is no JSON and has one of the names in it
        is not kept at all: nobody can tell where the value ends.
        """
        lowered = text.lower()
        # A backslash may spell a name in another way.
        if not any(key in lowered for key in self._keys) and "\\u" not in lowered:
            return text
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            return REDACTED
        if not self._redact(document):
            return text
        # JSON can spell halves of surrogate pairs, which no text in a table can hold.
        return json.dumps(document, ensure_ascii=False).encode("utf-8", "replace").decode()

    def _redact(self, document: Any) -> bool:
        found = False
        rest = [document]
        while rest:
            node = rest.pop()
            if isinstance(node, list):
                rest.extend(node)
                continue
            if not isinstance(node, dict):
                continue
            for key, value in node.items():
                if key.lower() in self._keys:
                    node[key] = REDACTED
                    found = True
                else:
                    rest.append(value)
            found |= self._redact_columns(node.get("columns"), node.get("data"))
        return found

    def _redact_columns(self, columns: Any, data: Any) -> bool:
        if not isinstance(columns, list) or not isinstance(data, list):
            return False
        places = [i for i, name in enumerate(columns) if isinstance(name, str) and name.lower() in self._keys]
        rows = [row for row in data if isinstance(row, list)]
        for row in rows:
            for place in places:
                if place < len(row):
                    row[place] = REDACTED
        return bool(places and rows)


def request_text(body: bytes, redaction: Redaction) -> str:
    """A request's body as it is kept. What is no UTF-8 is replaced."""
    return redaction.apply(body.decode("utf-8", "replace"))


def response_text(body: bytes, redaction: Redaction, *, streamed: bool) -> str:
    """An answer's body as it is kept: the final document where it was streamed."""
    text = body.decode("utf-8", "replace")
    if streamed and (document := whole_answer(body)) is not None:
        try:
            text = orjson.dumps(document).decode()
        except orjson.JSONEncodeError:  # nested too deeply
            _logger.debug("an answer of %d bytes is kept as the stream that it was", len(body))
    return redaction.apply(text)


def question_characters(body: bytes) -> int | None:
    """How many characters of text a request to a language model has; None when it cannot be read."""
    return _characters(_document(body), _QUESTION)


def answer_characters(body: bytes, *, streamed: bool) -> int | None:
    """As `question_characters`, of an answer."""
    return _characters(whole_answer(body) if streamed else _document(body), _ANSWER)


def _document(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _characters(document: Any, members: tuple[str, ...]) -> int | None:
    """The length of all texts in these members of an object, and in what they hold in turn as text."""
    if not isinstance(document, dict):
        return None
    total = 0
    rest = [document[name] for name in members if name in document]
    while rest:
        node = rest.pop()
        if isinstance(node, str):
            total += len(node)
        elif isinstance(node, list):
            rest.extend(node)
        elif isinstance(node, dict):
            rest.extend(node[name] for name in _TEXTS if name in node)
    return total
