"""What the model says: the same reply for the same request, in whatever dialect it was asked."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from .control import Script
from .examples import example

USE_TOOL = "use the tool"
USE_TOOL_TWICE = "use the tool twice"
FILTERED = "trip the filter"
NOT_ASCII = "naïve — 你好 🚀"
IMAGE = "[image]"

_TOKEN = 2
_IMAGE_TOKENS = 85
_TEMPLATE_TOKENS = 11
_FILLER = " and so on"


class Why(Enum):
    """Why the reply ends."""

    STOP = auto()
    STOP_SEQUENCE = auto()
    LENGTH = auto()
    TOOLS = auto()
    FILTER = auto()


class Choice(Enum):
    """What the request says about tools."""

    AUTO = auto()
    NONE = auto()
    ANY = auto()


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    schema: Any


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request comes down to. `texts` are all texts of the input; `result` are those of a tool's last results.

    With `chosen`, only that tool may be called. `schema` is what the whole reply must satisfy as JSON.
    """

    texts: Sequence[str]
    last_user: str
    images: int = 0
    tools: Sequence[Tool] = ()
    choice: Choice = Choice.AUTO
    chosen: str | None = None
    one_call: bool = False
    result: str | None = None
    schema: Mapping[str, Any] | None = None
    stop: Sequence[str] = ()
    limit: int | None = None
    thinking: bool = False


@dataclass(frozen=True, slots=True)
class ToolCall:
    id: str
    name: str
    arguments: Any

    @property
    def json(self) -> str:
        return json.dumps(self.arguments, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Said:
    """A reply. `pieces` are the text as a stream brings it; counts are in tokens of this fake's own making.

    `output_tokens` counts text and calls, `thinking_tokens` the thoughts, which are not in it.
    """

    text: str
    pieces: Sequence[str]
    calls: Sequence[ToolCall]
    thinking: str
    why: Why
    stopped_by: str | None
    input_tokens: int
    output_tokens: int
    thinking_tokens: int


def tokens_of(text: str) -> list[str]:
    """A token is two characters, so no estimate by words or by four characters can be right by chance."""
    return [text[at : at + _TOKEN] for at in range(0, len(text), _TOKEN)]


def count(text: str) -> int:
    return len(tokens_of(text))


def input_tokens(ask: Ask) -> int:
    """The tokens of the request as this fake counts them."""
    tools = sum(count(tool.name + json.dumps(tool.schema)) for tool in ask.tools)
    return _TEMPLATE_TOKENS + sum(map(count, ask.texts)) + tools + _IMAGE_TOKENS * ask.images


def pieces_of(text: str, chunks: int) -> list[str]:
    """The text in so many pieces of whole tokens, or one for each token when there are not enough of them."""
    tokens = tokens_of(text)
    number = min(chunks, len(tokens))
    cuts = [len(tokens) * i // number for i in range(number + 1)] if number else []
    return ["".join(tokens[a:b]) for a, b in itertools.pairwise(cuts)]


def say(ask: Ask, script: Script, index: int = 0) -> Said:
    """The reply; `index` is which of several it is."""
    calls = _calls(ask, index)
    text, why, stopped_by = (script.tool_preamble, Why.TOOLS, None) if calls else _text(ask, script, index)
    if not calls and FILTERED in ask.last_user:
        text, why, stopped_by = "", Why.FILTER, None
    thinking = f"Let me think about: {ask.last_user}" if ask.thinking else ""
    return Said(
        text=text,
        pieces=pieces_of(text, script.chunks),
        calls=calls,
        thinking=thinking,
        why=why,
        stopped_by=stopped_by,
        input_tokens=input_tokens(ask),
        output_tokens=count(text) + sum(5 + count(call.name + call.json) for call in calls),
        thinking_tokens=count(thinking),
    )


def _calls(ask: Ask, index: int) -> list[ToolCall]:
    wanted = ask.result is None and USE_TOOL in ask.last_user.lower()
    if not ask.tools or ask.choice is Choice.NONE or not (wanted or ask.choice is Choice.ANY):
        return []
    tools = [tool for tool in ask.tools if ask.chosen in (None, tool.name)]
    twice = USE_TOOL_TWICE in ask.last_user.lower() and not ask.one_call
    called = [tools[0], tools[-1]] if twice else tools[:1]
    turn = len(ask.texts)
    return [ToolCall(f"{turn}_{index}{at}", tool.name, example(tool.schema)) for at, tool in enumerate(called)]


def _text(ask: Ask, script: Script, index: int) -> tuple[str, Why, str | None]:
    if ask.schema is not None:
        text = json.dumps(example(ask.schema), ensure_ascii=False)
    else:
        text = script.text or (
            "The tool said: " + ask.result if ask.result is not None else "You said: " + ask.last_user
        )
        text += f" {IMAGE}" * ask.images
        text = text if index == 0 else f"Answer {index + 1}. {text}"
        while count(text) < script.chunks:
            text += _FILLER
    why, stopped_by = Why.STOP, None
    found = [(text.find(stop), stop) for stop in ask.stop if stop in text]
    if found:
        at, stopped_by = min(found)
        text, why = text[:at], Why.STOP_SEQUENCE
    if ask.limit is not None and count(text) > ask.limit:
        text, why, stopped_by = "".join(tokens_of(text)[: ask.limit]), Why.LENGTH, None
    return text, why, stopped_by
