"""Building answers and chunks in OpenAI's chat form, for providers whose form is another one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from moorage.external.exchange import Answer, Call, Document, UnreadableAnswer, Usage

_Form = TypeVar("_Form", bound=BaseModel)


def read_as(form: type[_Form], document: bytes | Any, what: str) -> _Form:
    """A provider's document, as text or parsed, in its form.

    Raises:
        UnreadableAnswer: it has another form; the message begins with `what` and names the first member.
    """
    try:
        if isinstance(document, bytes):
            return form.model_validate_json(document)
        return form.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        member = ".".join(str(step) for step in first["loc"])
        raise UnreadableAnswer(f"{what}: {member + ': ' if member else ''}{first['msg']}") from None


def said(body: bytes, *fields: str) -> str:
    """The text in the first of the fields that a JSON object has; where there is none, the body as it is."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if isinstance(document, dict):
        for field in fields:
            if isinstance(document.get(field), str):
                return str(document[field])
    return body.decode("utf-8", "replace")


def usage_document(usage: Usage, details: Document | None = None) -> Document:
    """`details` are OpenAI's `prompt_tokens_details`."""
    document: Document = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    if details:
        document["prompt_tokens_details"] = details
    return document


def tool_call(id: str, name: str, arguments: str) -> Document:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


@dataclass(frozen=True, slots=True)
class ChatForm:
    """What is the same in all chunks of an answer."""

    id: str
    created: int
    model: str

    @classmethod
    def of(cls, call: Call, model: str) -> ChatForm:
        return cls(call.id, call.created, model)

    def answer(
        self,
        message: Document,
        finish_reason: str,
        usage: Usage | None,
        details: Document | None,
        logprobs: Document | None = None,
    ) -> Answer:
        body: Document = {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [{"index": 0, "message": message, "finish_reason": finish_reason, "logprobs": logprobs}],
        }
        if usage is not None:
            body["usage"] = usage_document(usage, details)
        return Answer(body, usage)

    def chunk(
        self, delta: Document, *, finish_reason: str | None = None, logprobs: Document | None = None
    ) -> Document:
        choice: Document = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        if logprobs is not None:
            choice["logprobs"] = logprobs
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": [choice],
        }

    def last_chunk(self, finish_reason: str, usage: Usage | None, details: Document | None) -> Document:
        chunk = self.chunk({}, finish_reason=finish_reason)
        if usage is not None:
            chunk["usage"] = usage_document(usage, details)
        return chunk


class ToolCallChunks:
    """The tool calls of a stream: from a provider's numbers of blocks to OpenAI's, which count tool calls alone."""

    def __init__(self, form: ChatForm) -> None:
        self._form = form
        self._numbers: dict[int, int] = {}
        self._empty: set[int] = set()

    def start(self, block: int, id: str, name: str, arguments: str = "") -> Document:
        number = self._numbers[block] = len(self._numbers)
        if not arguments:
            self._empty.add(block)
        return self._form.chunk({"tool_calls": [{"index": number, **tool_call(id, name, arguments)}]})

    def more(self, block: int, arguments: str) -> list[Document]:
        """
        Raises:
            UnreadableAnswer: no call has begun in this block.
        """
        if block not in self._numbers:
            raise UnreadableAnswer("the stream has arguments of a tool call that has not begun")
        if not arguments:
            return []
        self._empty.discard(block)
        number = self._numbers[block]
        return [self._form.chunk({"tool_calls": [{"index": number, "function": {"arguments": arguments}}]})]

    def stop(self, block: int) -> list[Document]:
        """A call without arguments gets an empty object, since clients parse what they are given."""
        return self.more(block, "{}") if block in self._empty else []
