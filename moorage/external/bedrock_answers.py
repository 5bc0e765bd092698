"""From answers and streams of Amazon Bedrock's Converse API to OpenAI's chat form.

Source: Amazon Bedrock API reference, Converse and ConverseStream.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from moorage.external.anthropic_answers import asks_for_reasoning, reasoning_part, redacted_part
from moorage.external.anthropic_formats import ANSWER_TOOL
from moorage.external.aws_events import EventMessage, EventParser
from moorage.external.chat_answers import ChatForm, ToolCallChunks, read_as, said, tool_call
from moorage.external.exchange import Answer, Call, Document, StreamFailed, UnreadableAnswer, Usage

_FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
_MALFORMED = ("malformed_model_output", "malformed_tool_use")
_STATUSES = {
    "accessdeniedexception": 403,
    "internalserverexception": 500,
    "modelerrorexception": 424,
    "modelnotreadyexception": 429,
    "modelstreamerrorexception": 424,
    "modeltimeoutexception": 408,
    "resourcenotfoundexception": 404,
    "serviceunavailableexception": 503,
    "throttlingexception": 429,
    "validationexception": 400,
}


class _Form(BaseModel):
    """What Bedrock sends beside the fields named here is left out."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True)


class _ToolUse(_Form):
    tool_use_id: str
    name: str
    input: Any = None


class _ReasoningText(_Form):
    text: str
    signature: str | None = None


class _Reasoning(_Form):
    reasoning_text: _ReasoningText | None = None
    redacted_content: str | None = None


class _Block(_Form):
    text: str | None = None
    tool_use: _ToolUse | None = None
    reasoning_content: _Reasoning | None = None


class _Message(_Form):
    content: list[_Block]


class _Output(_Form):
    message: _Message


class _TokenUsage(_Form):
    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int = 0
    cache_write_input_tokens: int = 0

    def counted(self) -> tuple[Usage, Document | None]:
        """Bedrock counts what came from its cache, or went there, apart from the other input; OpenAI does not."""
        read, written = self.cache_read_input_tokens, self.cache_write_input_tokens
        details = {"cached_tokens": read, "cache_write_tokens": written} if read or written else None
        return Usage(self.input_tokens + read + written, self.output_tokens), details


class _Converse(_Form):
    output: _Output
    stop_reason: str
    usage: _TokenUsage | None = None


class _ToolUseStart(_Form):
    tool_use_id: str
    name: str


class _Start(_Form):
    tool_use: _ToolUseStart | None = None


class _BlockStart(_Form):
    content_block_index: int
    start: _Start


class _ToolUseDelta(_Form):
    input: str


class _ReasoningDelta(_Form):
    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None


class _Delta(_Form):
    text: str | None = None
    tool_use: _ToolUseDelta | None = None
    reasoning_content: _ReasoningDelta | None = None


class _BlockDelta(_Form):
    content_block_index: int
    delta: _Delta


class _BlockStop(_Form):
    content_block_index: int


class _MessageStop(_Form):
    stop_reason: str


class _Metadata(_Form):
    usage: _TokenUsage


def chat_answer(call: Call, model: str, body: bytes, answers_with_tool: bool) -> Answer:
    """
    Raises:
        UnreadableAnswer: see there; also when the model gave what Bedrock could not read.
    """
    converse = read_as(_Converse, body, "the answer")
    text = ""
    calls: list[Document] = []
    reasoning: list[Document] = []
    structured: str | None = None
    for block in converse.output.message.content:
        text += block.text or ""
        if (tool := block.tool_use) is not None:
            arguments = json.dumps(tool.input or {}, ensure_ascii=False, separators=(",", ":"))
            if answers_with_tool and tool.name == ANSWER_TOOL:
                structured = arguments
            else:
                calls.append(tool_call(tool.tool_use_id, tool.name, arguments))
        if (thought := block.reasoning_content) is not None:
            if thought.reasoning_text is not None:
                reasoning.append(reasoning_part(thought.reasoning_text.text, thought.reasoning_text.signature or ""))
            elif thought.redacted_content is not None:
                reasoning.append(redacted_part(thought.redacted_content))
    # What a model says beside an answer through the tool would keep the content from being JSON.
    content: str | list[Document] | None = text if structured is None else structured
    if reasoning and asks_for_reasoning(call.body):
        content = [*reasoning, {"type": "text", "text": content}] if content else reasoning
    message: Document = {"role": "assistant", "content": content or (None if calls else "")}
    if calls:
        message["tool_calls"] = calls
    reason = _finish_reason(converse.stop_reason, tool_calls=bool(calls))
    counted = converse.usage.counted() if converse.usage is not None else (None, None)
    return ChatForm.of(call, model).answer(message, reason, *counted)


def error_text(body: bytes) -> str:
    return said(body, "message", "Message")


def _finish_reason(stop_reason: str, *, tool_calls: bool) -> str:
    """`tool_calls`: whether the answer has some, which an answer through `ANSWER_TOOL` has not."""
    if stop_reason in _MALFORMED:
        raise UnreadableAnswer(f"the model gave something that Bedrock cannot read ('{stop_reason}')")
    reason = _FINISH_REASONS.get(stop_reason, "stop")
    return "stop" if reason == "tool_calls" and not tool_calls else reason


class ConverseStream:
    """A `ChunkStream`. The reason to finish is held back until the usage, which comes after it, is there too."""

    def __init__(self, call: Call, model: str, answers_with_tool: bool) -> None:
        self.usage: Usage | None = None
        self.finished = False
        self._events = EventParser()
        self._form = ChatForm.of(call, model)
        self._tools = ToolCallChunks(self._form)
        self._calls_tools = False
        self._reasoning = asks_for_reasoning(call.body)
        self._answers_with_tool = answers_with_tool
        self._answer: int | None = None  # the block that is the answer through the tool
        self._held = ""  # text beside such an answer: the content only if no answer comes
        self._finish_reason: str | None = None

    def feed(self, data: bytes) -> list[Document]:
        return [chunk for message in self._events.feed(data) for chunk in self._message(message)]

    def end(self) -> list[Document]:
        return self._last(self.usage, None)

    def _message(self, message: EventMessage) -> list[Document]:
        headers = message.headers
        kind = headers.get(":message-type")
        if kind == "exception":
            raise _failure(str(headers.get(":exception-type", "")), message.payload)
        if kind == "error":
            code = str(headers.get(":error-code", ""))
            raise StreamFailed(_status(code), str(headers.get(":error-message", code)))
        event = str(headers.get(":event-type", ""))
        what = f"event '{event}' of the stream"
        match event:
            case "messageStart":
                return [self._form.chunk({"role": "assistant", "content": ""})]
            case "contentBlockStart":
                return self._start(read_as(_BlockStart, message.payload, what))
            case "contentBlockDelta":
                return self._delta(read_as(_BlockDelta, message.payload, what))
            case "contentBlockStop":
                return self._tools.stop(read_as(_BlockStop, message.payload, what).content_block_index)
            case "messageStop":
                return self._message_stop(read_as(_MessageStop, message.payload, what).stop_reason)
            case "metadata":
                return self._last(*read_as(_Metadata, message.payload, what).usage.counted())
        return []

    def _start(self, event: _BlockStart) -> list[Document]:
        tool = event.start.tool_use
        if tool is None:
            return []
        if self._answers_with_tool and tool.name == ANSWER_TOOL:
            self._answer = event.content_block_index
            return []
        self._calls_tools = True
        return [self._tools.start(event.content_block_index, tool.tool_use_id, tool.name)]

    def _delta(self, event: _BlockDelta) -> list[Document]:
        block, delta = event.content_block_index, event.delta
        if delta.text is not None:
            if self._answers_with_tool:
                self._held += delta.text
                return []
            return self._content(delta.text)
        if delta.tool_use is not None:
            if block == self._answer:
                return self._content(delta.tool_use.input)
            return self._tools.more(block, delta.tool_use.input)
        if delta.reasoning_content is not None and self._reasoning:
            return self._thought(delta.reasoning_content)
        return []

    def _thought(self, delta: _ReasoningDelta) -> list[Document]:
        if delta.redacted_content is not None:
            return [self._form.chunk({"content": [redacted_part(delta.redacted_content)]})]
        if not delta.text and not delta.signature:
            return []
        return [self._form.chunk({"content": [reasoning_part(delta.text or "", delta.signature or "")]})]

    def _content(self, text: str) -> list[Document]:
        return [self._form.chunk({"content": text})] if text else []

    def _message_stop(self, stop_reason: str) -> list[Document]:
        self._finish_reason = _finish_reason(stop_reason, tool_calls=self._calls_tools)
        self.finished = True
        return self._content(self._held) if self._answer is None else []

    def _last(self, usage: Usage | None, details: Document | None) -> list[Document]:
        self.usage = usage
        if self._finish_reason is None:
            return []
        chunk = self._form.last_chunk(self._finish_reason, usage, details)
        self._finish_reason = None
        return [chunk]


def _status(name: str) -> int:
    return _STATUSES.get(name.lower(), 500)


def _failure(name: str, payload: bytes) -> StreamFailed:
    message = said(payload, "message", "Message", "originalMessage") or name
    return StreamFailed(_status(name), message)
