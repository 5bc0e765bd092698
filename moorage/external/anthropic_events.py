"""From Anthropic's streams to OpenAI's chunks.

Source: Anthropic documentation, streaming messages.
"""

from __future__ import annotations

from collections.abc import Callable

import orjson

from moorage.external.anthropic_answers import (
    add_reasoning_tokens,
    asks_for_reasoning,
    finish_reason,
    reasoning_part,
    redacted_part,
)
from moorage.external.anthropic_formats import ANSWER_TOOL, answers_with_tool
from moorage.external.anthropic_wire import (
    BlockDelta,
    BlockStart,
    BlockStop,
    MessageDelta,
    MessageStart,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    UsageReport,
    block_of,
    event_of,
    failure_of,
    read_event,
)
from moorage.external.chat_answers import ChatForm, ToolCallChunks
from moorage.external.exchange import Call, Document, Target, UnreadableAnswer, Usage
from moorage.external.sse import EventTooLong, SseEvent, SseParser


class AnthropicStream:
    """A `ChunkStream` of a chat: see `exchange`.

    The first chunk has the role, the last one, at `message_stop`, the reason to finish and the usage. Reasoning comes
    as lists of parts where it was asked for; text comes as text.
    """

    def __init__(self, target: Target, call: Call) -> None:
        self.usage: Usage | None = None
        self.finished = False
        self._parser = SseParser()
        self._form = ChatForm.of(call, target.model)
        self._calls = ToolCallChunks(self._form)
        self._report = UsageReport()
        self._stop_reason: str | None = None
        self._tools: set[int] = set()
        self._reasoning = asks_for_reasoning(call.body)
        self._answers_with_tool = answers_with_tool(target.model, call.body)
        self._answer: int | None = None
        self._held = ""  # text beside an answer that comes through the tool: the content only if no answer comes
        self._handlers: dict[str, Callable[[Document], list[Document]]] = {
            "message_start": self._message_start,
            "content_block_start": self._block_start,
            "content_block_delta": self._block_delta,
            "content_block_stop": self._block_stop,
            "message_delta": self._message_delta,
            "message_stop": self._message_stop,
            "error": _failed,
        }

    def feed(self, data: bytes) -> list[Document]:
        try:
            return self._chunks(self._parser.feed(data))
        except EventTooLong as error:
            raise UnreadableAnswer(str(error)) from None

    def end(self) -> list[Document]:
        """See `ChunkStream`; an event that was cut off is dropped, and `finished` is then false."""
        try:
            return self._chunks(self._parser.end())
        except UnreadableAnswer:
            return []

    def _chunks(self, events: list[SseEvent]) -> list[Document]:
        chunks: list[Document] = []
        for event in events:
            if self.finished:
                break
            kind, document = event_of(event.data)
            if (handler := self._handlers.get(kind)) is not None:
                chunks += handler(document)
        return chunks

    def _message_start(self, event: Document) -> list[Document]:
        message = read_event(MessageStart, event).message
        self._form = ChatForm(message.id, self._form.created, message.model)
        self._calls = ToolCallChunks(self._form)
        self._count(message.usage)
        return [self._form.chunk({"role": "assistant", "content": ""})]

    def _block_start(self, event: Document) -> list[Document]:
        started = read_event(BlockStart, event)
        match block_of(started.content_block):
            case TextBlock(text=text):
                return self._text(text)
            case ThinkingBlock(thinking=thinking, signature=signature):
                return self._thought(thinking, signature)
            case RedactedThinkingBlock(data=data) if self._reasoning:
                return [self._form.chunk({"content": [redacted_part(data)]})]
            case ToolUseBlock() as tool:
                arguments = orjson.dumps(tool.input).decode() if tool.input else ""
                if self._answers_with_tool and tool.name == ANSWER_TOOL:
                    self._answer = started.index
                    return self._content(arguments)
                self._tools.add(started.index)
                return [self._calls.start(started.index, tool.id, tool.name, arguments)]
        return []

    def _block_delta(self, event: Document) -> list[Document]:
        more = read_event(BlockDelta, event)
        match more.delta.type:
            case "text_delta":
                return self._text(more.delta.text)
            case "thinking_delta":
                return self._thought(more.delta.thinking, "")
            case "signature_delta":
                return self._thought("", more.delta.signature)
            case "input_json_delta" if more.index == self._answer:
                return self._content(more.delta.partial_json)
            case "input_json_delta":
                return self._calls.more(more.index, more.delta.partial_json)
        return []

    def _block_stop(self, event: Document) -> list[Document]:
        return self._calls.stop(read_event(BlockStop, event).index)

    def _message_delta(self, event: Document) -> list[Document]:
        delta = read_event(MessageDelta, event)
        self._stop_reason = delta.delta.stop_reason or self._stop_reason
        self._count(self._report.merged(delta.usage))
        return []

    def _message_stop(self, event: Document) -> list[Document]:
        self.finished = True
        reason = finish_reason(self._stop_reason, tool_calls=bool(self._tools))
        last = self._form.last_chunk(reason, self.usage, self._report.prompt_details)
        add_reasoning_tokens(last, self._report)
        return [*(self._content(self._held) if self._answer is None else []), last]

    def _count(self, report: UsageReport) -> None:
        self._report, self.usage = report, report.usage

    def _text(self, text: str) -> list[Document]:
        if self._answers_with_tool:
            self._held += text
            return []
        return self._content(text)

    def _content(self, text: str) -> list[Document]:
        return [self._form.chunk({"content": text})] if text else []

    def _thought(self, text: str, signature: str) -> list[Document]:
        if not self._reasoning or not (text or signature):
            return []
        return [self._form.chunk({"content": [reasoning_part(text, signature)]})]


def _failed(event: Document) -> list[Document]:
    raise failure_of(event)
