"""Filters of SCIM lists, such as `userName eq "ann@example.com" and not (active eq false)`.

Source: RFC 7644, section 3.4.2.2, without the operators of order and without brackets, which the Databricks REST
reference does not have. Texts are compared without regard to case. A list of values matches when one of its values
does; `ne` is the opposite of `eq`, so it also matches where there is no value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from moorage.api.scim import BadScimRequest, ScimType
from moorage.control.scim.schemas import Form, Leaf

_DEEPEST = 50
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<text>"(?:[^"\\]|\\.)*")
      | (?P<mark>[()])
      | (?P<word>[^\s()"\[\]]+)
    )""",
    re.VERBOSE | re.DOTALL,
)
_TESTS: Mapping[str, Callable[[str, str], bool]] = {
    "eq": lambda held, given: held == given,
    "co": lambda held, given: given in held,
    "sw": lambda held, given: held.startswith(given),
}
_BOOLEANS = {"true": True, "false": False}

FindLeaf = Callable[[str], Leaf | None]
"""The leaf of a name, or None when there is none of it."""


class InvalidFilter(BadScimRequest):
    def __init__(self, reason: str) -> None:
        super().__init__(ScimType.INVALID_FILTER, f"Invalid filter: {reason}")


class Filter(Protocol):
    def matches(self, document: Mapping[str, Any]) -> bool: ...


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether one of the values is `given`, a boolean or a text already folded, as `test` sees it."""

    leaf: Leaf
    test: Callable[[Any, Any], bool]
    given: str | bool

    def matches(self, document: Mapping[str, Any]) -> bool:
        return any(self.test(_folded(held), self.given) for held in self.leaf.values(document))


@dataclass(frozen=True, slots=True)
class Present:
    leaf: Leaf

    def matches(self, document: Mapping[str, Any]) -> bool:
        return any(held != "" for held in self.leaf.values(document))


@dataclass(frozen=True, slots=True)
class Not:
    inner: Filter

    def matches(self, document: Mapping[str, Any]) -> bool:
        return not self.inner.matches(document)


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple[Filter, ...]

    def matches(self, document: Mapping[str, Any]) -> bool:
        return all(part.matches(document) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Some:
    parts: tuple[Filter, ...]

    def matches(self, document: Mapping[str, Any]) -> bool:
        return any(part.matches(document) for part in self.parts)


def parse_filter(text: str, find_leaf: FindLeaf) -> Filter:
    """The filter that `text` spells.

    Raises:
        InvalidFilter: it spells none, or names an attribute that there is not.
    """
    return _Parser(text, find_leaf).whole()


@dataclass(frozen=True, slots=True)
class _Token:
    """`text` as it was given; `kind` is `text`, `mark`, `word` or `end`."""

    kind: str
    text: str

    def is_word(self, word: str) -> bool:
        return self.kind == "word" and self.text.lower() == word


def _tokens(text: str) -> list[_Token]:
    found, position, end = [], 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position, end)
        if match is None:
            raise InvalidFilter(f"cannot be read from character {position + 1} on")
        found.append(_Token(str(match.lastgroup), match[str(match.lastgroup)]))
        position = match.end()
    return [*found, _Token("end", "the end")]


class _Parser:
    """By recursive descent; `not` binds closest, then `and`, then `or`."""

    def __init__(self, text: str, find_leaf: FindLeaf) -> None:
        self._tokens = _tokens(text)
        self._position = 0
        self._depth = 0
        self._find_leaf = find_leaf

    def whole(self) -> Filter:
        found = self._either()
        self._expect("end", "'and', 'or' or the end")
        return found

    def _either(self) -> Filter:
        parts = [self._both()]
        while self._take_word("or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def _both(self) -> Filter:
        parts = [self._one()]
        while self._take_word("and"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _one(self) -> Filter:
        negated = self._next.is_word("not") and self._tokens[self._position + 1] == _Token("mark", "(")
        if negated:
            self._position += 1
        if self._next != _Token("mark", "("):
            return self._comparison()
        self._position += 1
        self._depth += 1
        if self._depth > _DEEPEST:
            raise InvalidFilter(f"more than {_DEEPEST} parentheses are open at once")
        inner = self._either()
        if self._next != _Token("mark", ")"):
            raise InvalidFilter(f"expected ')' but got {self._next.text}")
        self._position += 1
        self._depth -= 1
        return Not(inner) if negated else inner

    def _comparison(self) -> Filter:
        name = self._expect("word", "the name of an attribute").text
        leaf = self._find_leaf(name)
        if leaf is None:
            raise InvalidFilter(f"there is no attribute '{name}' to compare")
        operator = self._expect("word", f"an operator after '{name}'").text.lower()
        if operator == "pr":
            return Present(leaf)
        if operator not in ("ne", *_TESTS):
            raise InvalidFilter(f"operator '{operator}' is none of eq, ne, co, sw and pr")
        given = self._given(name, leaf.form)
        if isinstance(given, bool) and operator not in ("eq", "ne"):
            raise InvalidFilter(f"'{name}' is true or false, which {operator} does not compare")
        if operator == "ne":
            return Not(Comparison(leaf, _TESTS["eq"], given))
        return Comparison(leaf, _TESTS[operator], given)

    def _given(self, name: str, form: Form) -> str | bool:
        token = self._next
        self._position += token.kind != "end"
        if token.kind == "text":
            try:
                text = json.loads(token.text, strict=False)
            except ValueError:
                raise InvalidFilter(f"the text compared with '{name}' has a wrong escape") from None
            if form is Form.TEXT:
                return str(text).casefold()
            token = _Token("word", str(text))
        if form is Form.TEXT:
            raise InvalidFilter(f"'{name}' is compared with a text in double quotes, not with {token.text}")
        if token.kind != "word" or token.text.lower() not in _BOOLEANS:
            raise InvalidFilter(f"'{name}' is compared with true or false, not with {token.text}")
        return _BOOLEANS[token.text.lower()]

    @property
    def _next(self) -> _Token:
        return self._tokens[self._position]

    def _take_word(self, word: str) -> bool:
        taken = self._next.is_word(word)
        self._position += taken
        return taken

    def _expect(self, kind: str, what: str) -> _Token:
        token = self._next
        if token.kind != kind:
            raise InvalidFilter(f"expected {what} but got {token.text}")
        self._position += kind != "end"
        return token


def _folded(held: Any) -> Any:
    return held.casefold() if isinstance(held, str) else held
