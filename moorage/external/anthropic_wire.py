"""What Anthropic answers: messages, the blocks that they consist of, and the events of a stream.

Kinds of blocks, of events and fields that are not here are passed over, since Anthropic may add some.
Source: Anthropic API reference, messages, create; streaming messages; errors.
"""

from __future__ import annotations

from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, NonNegativeInt

from moorage.external.chat_answers import read_as
from moorage.external.exchange import Document, StreamFailed, UnreadableAnswer, Usage

MESSAGES_VERSION = "2023-06-01"
"""The version of the API. The one after it knows no `temperature`, `top_p` and `top_k`, which older models take."""

STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The HTTP status that goes with each type of error."""


class TextBlock(BaseModel):
    text: str


class ThinkingBlock(BaseModel):
    thinking: str
    signature: str = ""


class RedactedThinkingBlock(BaseModel):
    """Thinking that Anthropic shows in an encrypted form alone."""

    data: str


class ToolUseBlock(BaseModel):
    id: str
    name: str
    input: Document


_Event = TypeVar("_Event", bound=BaseModel)
Block = TextBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock

_BLOCKS: dict[str, type[Block]] = {
    "text": TextBlock,
    "thinking": ThinkingBlock,
    "redacted_thinking": RedactedThinkingBlock,
    "tool_use": ToolUseBlock,
}


class OutputDetails(BaseModel):
    thinking_tokens: NonNegativeInt | None = None


class UsageReport(BaseModel):
    """Tokens as far as they are said. Input tokens that were read from or written to a cache are counted apart."""

    input_tokens: NonNegativeInt | None = None
    output_tokens: NonNegativeInt | None = None
    cache_creation_input_tokens: NonNegativeInt | None = None
    cache_read_input_tokens: NonNegativeInt | None = None
    output_tokens_details: OutputDetails | None = None

    def merged(self, newer: UsageReport) -> UsageReport:
        """Counts are of all until now, so what is newer replaces what was said before."""
        said = {field: value for field, value in newer if value is not None}
        return self.model_copy(update=said)

    @property
    def usage(self) -> Usage | None:
        """Input tokens with those of the cache; None when one side was not said."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        cached = (self.cache_creation_input_tokens or 0) + (self.cache_read_input_tokens or 0)
        return Usage(self.input_tokens + cached, self.output_tokens)

    @property
    def prompt_details(self) -> Document:
        """OpenAI's `prompt_tokens_details`, empty when no cache took part."""
        details = {
            "cached_tokens": self.cache_read_input_tokens,
            "cache_write_tokens": self.cache_creation_input_tokens,
        }
        return {field: tokens for field, tokens in details.items() if tokens}

    @property
    def reasoning_tokens(self) -> int:
        details = self.output_tokens_details
        return (details.thinking_tokens or 0) if details else 0


class MessageAnswer(BaseModel):
    """A message; in a stream's first event its content is empty. `content` is read by `block_of`."""

    id: str
    model: str
    content: list[Any]
    stop_reason: str | None = None
    usage: UsageReport = UsageReport()


class MessageStart(BaseModel):
    message: MessageAnswer


class BlockStart(BaseModel):
    index: int
    content_block: Document


class Delta(BaseModel):
    """`type` says which of the others is there."""

    type: str
    text: str = ""
    thinking: str = ""
    signature: str = ""
    partial_json: str = ""


class BlockDelta(BaseModel):
    index: int
    delta: Delta


class BlockStop(BaseModel):
    index: int


class Stopped(BaseModel):
    stop_reason: str | None = None


class MessageDelta(BaseModel):
    delta: Stopped
    usage: UsageReport = UsageReport()


class ErrorDetails(BaseModel):
    type: str = "api_error"
    message: str = ""

    @property
    def status(self) -> int:
        return STATUSES.get(self.type, 500)


class ErrorAnswer(BaseModel):
    error: ErrorDetails


def block_of(document: Any) -> Block | None:
    """A block of content; None for a kind that no request of ours asks for.

    Raises:
        UnreadableAnswer: it is no block, or lacks what its kind has.
    """
    kind = document.get("type") if isinstance(document, dict) else None
    if not isinstance(kind, str):
        raise UnreadableAnswer("a block of the content has no type")
    form = _BLOCKS.get(kind)
    return read_as(form, document, f"a block of type '{kind}' is not as it should be") if form else None


def event_of(data: bytes) -> tuple[str, Document]:
    """An event's type and its document.

    Raises:
        UnreadableAnswer: the data is no JSON object with a type.
    """
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise UnreadableAnswer("an event of the stream is not JSON") from None
    kind = document.get("type") if isinstance(document, dict) else None
    if not isinstance(kind, str):
        raise UnreadableAnswer("an event of the stream has no type")
    return kind, document


def read_event(form: type[_Event], document: Document) -> _Event:
    """
    Raises:
        UnreadableAnswer: the event has another form.
    """
    return read_as(form, document, f"an event of type '{document['type']}' is not as it should be")


def failure_of(document: Document) -> StreamFailed:
    """What an event of type `error` says."""
    error = read_event(ErrorAnswer, document).error
    return StreamFailed(error.status, error.message or error.type)
