"""What an answer or a chunk of chat completions says, for those that put it into another form.

Everything here raises `UnreadableAnswer` where it is not as OpenAI describes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moorage.external.exchange import Document, UnreadableAnswer


def choices_in(chat: Mapping[str, Any]) -> list[Document]:
    """The `choices` of an answer or chunk."""
    choices = chat.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise UnreadableAnswer("the answer has no list of 'choices'")
    return choices


def message_of(choice: Mapping[str, Any]) -> Document:
    """The message of an answer's choice."""
    return _object(choice.get("message"), "message")


def delta_of(choice: Mapping[str, Any]) -> Document:
    """What a chunk adds to its choice; nothing where the provider leaves it out."""
    delta = choice.get("delta")
    return {} if delta is None else _object(delta, "delta")


def _object(value: Any, name: str) -> Document:
    if not isinstance(value, dict):
        raise UnreadableAnswer(f"the '{name}' of a choice of the answer is not an object")
    return value


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a model said in words: the reasoning that it shows, its answer, and its refusal to give one."""

    reasoning: str
    text: str
    refusal: str


def spoken_in(message: Mapping[str, Any]) -> Spoken:
    """The words of a message or delta.

    Reasoning is in `reasoning_content` or `reasoning`, as many servers have it, or in parts of the content, as
    Databricks has it.
    """
    reasoning = _text(message, "reasoning_content") or _text(message, "reasoning")
    text = ""
    content = message.get("content")
    if isinstance(content, str):
        text = content
    elif isinstance(content, list):
        for part in content:
            if not isinstance(part, dict):
                raise UnreadableAnswer("a part of the content of the answer is not an object")
            if part.get("type") == "reasoning":
                reasoning += _reasoning_in(part)
            else:
                text += _text(part, "text")
    elif content is not None:
        raise UnreadableAnswer("the content of the answer is neither a text nor a list of parts")
    return Spoken(reasoning, text, _text(message, "refusal"))


def _reasoning_in(part: Mapping[str, Any]) -> str:
    summaries = part.get("summary")
    if not isinstance(summaries, list):
        return _text(part, "text")
    return "".join(_text(summary, "text") for summary in summaries if isinstance(summary, dict))


def _text(document: Mapping[str, Any], field: str) -> str:
    value = document.get(field)
    return value if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True)
class CalledFunction:
    """A call of a tool in a chat message, or a piece of one in a chunk: `index` is None where none was given."""

    index: int | None
    id: str
    name: str
    arguments: str


def called_functions(message: Mapping[str, Any]) -> list[CalledFunction]:
    """The `tool_calls` of a message or delta."""
    calls = message.get("tool_calls")
    if calls is None:
        return []
    if not isinstance(calls, list):
        raise UnreadableAnswer("'tool_calls' of the answer are not a list")
    return [_called_function(call) for call in calls]


def _called_function(call: Any) -> CalledFunction:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise UnreadableAnswer("a tool call of the answer has no 'function'")
    texts = call.get("id") or "", function.get("name") or "", function.get("arguments") or ""
    if not all(isinstance(text, str) for text in texts):
        raise UnreadableAnswer("the id, name and arguments of a tool call of the answer are not all texts")
    index = call.get("index")
    return CalledFunction(index if isinstance(index, int) else None, *texts)
