"""The Response object of OpenAI's Responses API, from what a chat model said.

Source: OpenAI API reference, responses, the response object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from moorage.external.exchange import Document


@dataclass(frozen=True, slots=True)
class ResponseIds:
    """What a response's ids come from: `call` is that of the request. `created` is in seconds since the epoch."""

    call: str
    created: int

    @property
    def response(self) -> str:
        return f"resp_{self.call}"

    def item(self, prefix: str, position: int) -> str:
        return f"{prefix}_{self.call}_{position}"


class ItemKind(Enum):
    """What a model's output consists of: the prefix of its ids, its events, and the field that holds the text."""

    TEXT = ("msg", "response.output_text", "text")
    REFUSAL = ("msg", "response.refusal", "refusal")
    REASONING = ("rs", "response.reasoning_text", "text")
    CALL = ("fc", "response.function_call_arguments", "arguments")

    def __init__(self, prefix: str, events: str, text_field: str) -> None:
        self.prefix = prefix
        self.events = events
        self.text_field = text_field


@dataclass(slots=True)
class Item:
    """One item of the output, which grows. `call_id` and `name` are those of a call of a function."""

    kind: ItemKind
    position: int
    id: str
    call_id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def part(self, text: str) -> Document:
        """The part of its content, with that text; a call has none."""
        if self.kind is ItemKind.REFUSAL:
            return {"type": "refusal", "refusal": text}
        if self.kind is ItemKind.REASONING:
            return {"type": "reasoning_text", "text": text}
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

    def begun(self) -> Document:
        """Its document before anything was said."""
        return self._document("in_progress", "", [])

    def document(self, status: str) -> Document:
        """Its document with all that was said; `status` is `completed` or `incomplete`."""
        return self._document(status, self.text, [] if self.kind is ItemKind.CALL else [self.part(self.text)])

    def _document(self, status: str, text: str, content: list[Document]) -> Document:
        if self.kind is ItemKind.CALL:
            call = {"call_id": self.call_id, "name": self.name, "arguments": text}
            return {"id": self.id, "type": "function_call", "status": status, **call}
        if self.kind is ItemKind.REASONING:
            return {"id": self.id, "type": "reasoning", "status": status, "summary": [], "content": content}
        return {"id": self.id, "type": "message", "status": status, "role": "assistant", "content": content}


class Output:
    """The items of a response, in their order."""

    def __init__(self, ids: ResponseIds) -> None:
        self.items: list[Item] = []
        self._ids = ids

    def add(self, kind: ItemKind) -> Item:
        position = len(self.items)
        self.items.append(Item(kind, position, self._ids.item(kind.prefix, position)))
        return self.items[-1]

    def add_call(self, call_id: str, name: str) -> Item:
        """A call of a function; providers that give calls no id get one."""
        item = self.add(ItemKind.CALL)
        item.call_id = call_id or self._ids.item("call", item.position)
        item.name = name
        return item

    def documents(self, status: str) -> list[Document]:
        """What is incomplete is what the model said last."""
        last = len(self.items) - 1
        return [item.document(status if at == last else "completed") for at, item in enumerate(self.items)]


def status_after(finish_reason: Any) -> tuple[str, Document | None]:
    """The status of a response whose model ended for that reason, and its `incomplete_details`."""
    if finish_reason == "length":
        return "incomplete", {"reason": "max_output_tokens"}
    if finish_reason == "content_filter":
        return "incomplete", {"reason": "content_filter"}
    return "completed", None


def response_document(
    ids: ResponseIds, body: Mapping[str, Any], model: str, status: str, output: Sequence[Document]
) -> Document:
    """A response without usage; what the request did not say has the value that OpenAI gives it."""
    reasoning = body.get("reasoning") or {}
    return {
        "id": ids.response,
        "object": "response",
        "created_at": ids.created,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "metadata": body.get("metadata") or {},
        "model": model,
        "output": list(output),
        "parallel_tool_calls": _given(body, "parallel_tool_calls", True),
        "previous_response_id": None,
        "reasoning": {"effort": reasoning.get("effort"), "summary": None},
        "store": False,
        "temperature": _given(body, "temperature", 1.0),
        "text": {"format": {"type": "text"}, **(body.get("text") or {})},
        "tool_choice": _given(body, "tool_choice", "auto"),
        "tools": [_tool(tool) for tool in body.get("tools") or ()],
        "top_p": _given(body, "top_p", 1.0),
        "truncation": "disabled",
        "usage": None,
        "user": body.get("user"),
    }


def _given(body: Mapping[str, Any], name: str, default: Any) -> Any:
    value = body.get(name)
    return default if value is None else value


def _tool(tool: Mapping[str, Any]) -> Document:
    return {"parameters": None, "strict": None, **tool}


def response_usage(usage: Any) -> Document | None:
    """The usage of a response from that of a chat answer."""
    if not isinstance(usage, dict):
        return None
    read, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not isinstance(read, int) or not isinstance(written, int):
        return None
    cached = _detail(usage, "prompt_tokens_details", "cached_tokens")
    reasoning = _detail(usage, "completion_tokens_details", "reasoning_tokens")
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": read + written,
    }


def _detail(usage: Mapping[str, Any], details: str, name: str) -> int:
    given = usage.get(details)
    count = given.get(name) if isinstance(given, dict) else None
    return count if isinstance(count, int) else 0
