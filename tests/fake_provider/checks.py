"""Checks of request bodies, put together from small ones. The first thing that is wrong is raised as `Invalid`."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

Check = Callable[[Any, str], None]


class Problem(Enum):
    UNKNOWN = "unknown"
    MISSING = "missing"
    TYPE = "type"
    VALUE = "value"


class Invalid(Exception):
    """`path` is dotted, with indexes as numbers (`messages.0.role`); `detail` says what would have been right."""

    def __init__(self, path: str, problem: Problem, detail: str = "") -> None:
        super().__init__(f"{path}: {problem.value} {detail}".strip())
        self.path = path
        self.problem = problem
        self.detail = detail

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]


def anything(value: Any, path: str) -> None:
    """Takes all."""


def text(value: Any, path: str) -> None:
    if not isinstance(value, str):
        raise Invalid(path, Problem.TYPE, "a string")


def some_text(value: Any, path: str) -> None:
    text(value, path)
    if not value:
        raise Invalid(path, Problem.VALUE, "a string that is not empty")


def flag(value: Any, path: str) -> None:
    if not isinstance(value, bool):
        raise Invalid(path, Problem.TYPE, "a boolean")


def mapping(value: Any, path: str) -> None:
    if not isinstance(value, dict):
        raise Invalid(path, Problem.TYPE, "an object")


def base64_text(value: Any, path: str) -> None:
    some_text(value, path)
    try:
        base64.b64decode(value, validate=True)
    except binascii.Error:
        raise Invalid(path, Problem.VALUE, "base64") from None


def number(low: float = float("-inf"), high: float = float("inf")) -> Check:
    def check(value: Any, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Invalid(path, Problem.TYPE, "a number")
        if not low <= value <= high:
            raise Invalid(path, Problem.VALUE, f"between {low} and {high}")

    return check


def integer(low: float = float("-inf"), high: float = float("inf")) -> Check:
    within = number(low, high)

    def check(value: Any, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Invalid(path, Problem.TYPE, "an integer")
        within(value, path)

    return check


def one_of(*values: object) -> Check:
    def check(value: Any, path: str) -> None:
        if not isinstance(value, (str, bool)) or value not in values:
            raise Invalid(path, Problem.VALUE, f"one of {', '.join(map(repr, values))}")

    return check


def matching(pattern: str) -> Check:
    def check(value: Any, path: str) -> None:
        text(value, path)
        if not re.fullmatch(pattern, value):
            raise Invalid(path, Problem.VALUE, f"a string that matches the pattern '^{pattern}$'")

    return check


def array(item: Check, low: int = 0, high: int = 1_000_000) -> Check:
    def check(value: Any, path: str) -> None:
        if not isinstance(value, list):
            raise Invalid(path, Problem.TYPE, "an array")
        if not low <= len(value) <= high:
            raise Invalid(path, Problem.VALUE, f"an array of {low} to {high} elements")
        for index, entry in enumerate(value):
            item(entry, f"{path}.{index}")

    return check


def either(**by_kind: Check) -> Check:
    """One check for each kind of JSON value: `text`, `array`, `object`, `number`, `null`."""
    kinds: tuple[tuple[str, type | tuple[type, ...]], ...] = (
        ("text", str), ("array", list), ("object", dict), ("number", (int, float)), ("null", type(None)),
    )  # fmt: skip

    def check(value: Any, path: str) -> None:
        for kind, types in kinds:
            if kind in by_kind and isinstance(value, types) and not isinstance(value, bool):
                return by_kind[kind](value, path)
        raise Invalid(path, Problem.TYPE, " or ".join(by_kind))

    return check


def record(
    required: Mapping[str, Check], optional: Mapping[str, Check] | None = None, *, nulls: bool = False
) -> Check:
    """An object with these fields and no others; `nulls` lets optional ones be null."""
    known = {**required, **(optional or {})}

    def check(value: Any, path: str) -> None:
        mapping(value, path)
        for name, entry in value.items():
            inner = f"{path}.{name}" if path else name
            if name not in known:
                raise Invalid(inner, Problem.UNKNOWN)
            if entry is None and nulls and name not in required:
                continue
            known[name](entry, inner)
        for name in required:
            if name not in value:
                raise Invalid(f"{path}.{name}" if path else name, Problem.MISSING)

    return check


def tagged(tag: str, cases: Mapping[str, Check]) -> Check:
    """An object whose field `tag` says which of the cases it must be."""

    def check(value: Any, path: str) -> None:
        mapping(value, path)
        if tag not in value:
            raise Invalid(f"{path}.{tag}", Problem.MISSING)
        one_of(*cases)(value[tag], f"{path}.{tag}")
        cases[value[tag]](value, path)

    return check
