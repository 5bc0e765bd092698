"""From answers and streams of Cohere's v2 chat API to OpenAI's chat form.

Source: Cohere API reference, v2/chat; guide to streaming.
"""

from __future__ import annotations

from dataclasses import replace

import orjson
from pydantic import BaseModel, FiniteFloat

from moorage.external.chat_answers import ChatForm, ToolCallChunks, read_as, said, tool_call
from moorage.external.exchange import Answer, Call, Document, StreamFailed, UnreadableAnswer, Usage
from moorage.external.sse import EventTooLong, SseEvent, SseParser

_FINISH_REASONS = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
}
_FAILURES = {"ERROR": 500, "TIMEOUT": 504}
_DONE = b"[DONE]"


class _Content(BaseModel):
    text: str | None = None
    thinking: str | None = None


class _Function(BaseModel):
    name: str = ""
    arguments: str | None = None


class _ToolCall(BaseModel):
    id: str = ""
    function: _Function = _Function()


class _Message(BaseModel):
    content: list[_Content] | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_plan: str | None = None


class _Tokens(BaseModel):
    input_tokens: FiniteFloat | None = None
    output_tokens: FiniteFloat | None = None


class _Usage(BaseModel):
    tokens: _Tokens | None = None
    billed_units: _Tokens | None = None
    cached_tokens: FiniteFloat | None = None

    def counted(self) -> tuple[Usage | None, Document | None]:
        details = {"cached_tokens": int(self.cached_tokens)} if self.cached_tokens else None
        for counted in (self.tokens, self.billed_units):
            if counted is not None and (counted.input_tokens is not None or counted.output_tokens is not None):
                return Usage(int(counted.input_tokens or 0), int(counted.output_tokens or 0)), details
        return None, None


class _Logprob(BaseModel):
    """Of a piece of text, the logarithms of the probabilities of its tokens."""

    text: str | None = None
    logprobs: list[float] | None = None


class _Chat(BaseModel):
    id: str | None = None
    finish_reason: str
    message: _Message
    usage: _Usage | None = None
    logprobs: list[_Logprob] | None = None


class _MessageStart(BaseModel):
    id: str | None = None


class _ContentMessage(BaseModel):
    content: _Content = _Content()


class _ContentDelta(BaseModel):
    message: _ContentMessage = _ContentMessage()


class _ContentEvent(BaseModel):
    delta: _ContentDelta = _ContentDelta()
    logprobs: _Logprob | None = None


class _PlanMessage(BaseModel):
    tool_plan: str = ""


class _PlanDelta(BaseModel):
    message: _PlanMessage


class _PlanEvent(BaseModel):
    delta: _PlanDelta


class _ToolCallMessage(BaseModel):
    tool_calls: _ToolCall


class _ToolCallDelta(BaseModel):
    message: _ToolCallMessage


class _ToolCallEvent(BaseModel):
    index: int = 0
    delta: _ToolCallDelta


class _ToolCallEnd(BaseModel):
    index: int = 0


class _End(BaseModel):
    finish_reason: str
    usage: _Usage | None = None
    error: str | None = None


class _MessageEnd(BaseModel):
    delta: _End


def chat_answer(call: Call, model: str, body: bytes) -> Answer:
    """
    Raises:
        UnreadableAnswer: see there; also when the model failed.
    """
    chat = read_as(_Chat, body, "the answer")
    if chat.finish_reason in _FAILURES:
        raise UnreadableAnswer(f"the model failed ('{chat.finish_reason}')")
    contents = chat.message.content or []
    text = (chat.message.tool_plan or "") + "".join(content.text or "" for content in contents)
    reasoning = "".join(content.thinking or "" for content in contents)
    calls = [
        tool_call(one.id, one.function.name, one.function.arguments or "{}") for one in chat.message.tool_calls or ()
    ]
    message: Document = {"role": "assistant", "content": text if text or not calls else None}
    if calls:
        message["tool_calls"] = calls
    if reasoning:
        message["reasoning_content"] = reasoning
    form = ChatForm.of(call, model)
    if chat.id:
        form = replace(form, id=chat.id)
    counted = chat.usage.counted() if chat.usage is not None else (None, None)
    finish_reason = _FINISH_REASONS.get(chat.finish_reason, "stop")
    return form.answer(message, finish_reason, *counted, _logprobs(chat.logprobs))


def _logprobs(pieces: list[_Logprob] | None) -> Document | None:
    """A piece may have several tokens, whose texts Cohere does not tell apart: they count as one."""
    if pieces is None:
        return None
    return {
        "content": [
            {
                "token": piece.text or "",
                "bytes": list((piece.text or "").encode()),
                "logprob": sum(piece.logprobs),
                "top_logprobs": [],
            }
            for piece in pieces
            if piece.logprobs
        ],
        "refusal": None,
    }


class ChatEvents:
    """A `ChunkStream`."""

    def __init__(self, call: Call, model: str) -> None:
        self.usage: Usage | None = None
        self.finished = False
        self._events = SseParser()
        self._begin(ChatForm.of(call, model))

    def feed(self, data: bytes) -> list[Document]:
        try:
            events = self._events.feed(data)
        except EventTooLong as error:
            raise UnreadableAnswer(str(error)) from None
        return self._chunks(events)

    def end(self) -> list[Document]:
        return self._chunks(self._events.end())

    def _begin(self, form: ChatForm) -> None:
        self._form = form
        self._tools = ToolCallChunks(form)

    def _chunks(self, events: list[SseEvent]) -> list[Document]:
        return [chunk for event in events if event.data != _DONE for chunk in self._event(event.data)]

    def _event(self, data: bytes) -> list[Document]:
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise UnreadableAnswer("an event of the stream is not JSON") from None
        if not isinstance(document, dict):
            raise UnreadableAnswer("an event of the stream is not a JSON object")
        kind = document.get("type")
        what = f"event '{kind}' of the stream"
        match kind:
            case "message-start":
                return self._start(read_as(_MessageStart, document, what))
            case "content-start" | "content-delta":
                return self._content(read_as(_ContentEvent, document, what))
            case "tool-plan-delta":
                plan = read_as(_PlanEvent, document, what).delta.message.tool_plan
                return [self._form.chunk({"content": plan})] if plan else []
            case "tool-call-start":
                event = read_as(_ToolCallEvent, document, what)
                call = event.delta.message.tool_calls
                return [self._tools.start(event.index, call.id, call.function.name, call.function.arguments or "")]
            case "tool-call-delta":
                event = read_as(_ToolCallEvent, document, what)
                return self._tools.more(event.index, event.delta.message.tool_calls.function.arguments or "")
            case "tool-call-end":
                return self._tools.stop(read_as(_ToolCallEnd, document, what).index)
            case "message-end":
                return self._end(read_as(_MessageEnd, document, what).delta)
        if kind is None and isinstance(document.get("message"), str):
            raise StreamFailed(500, document["message"])
        return []

    def _start(self, event: _MessageStart) -> list[Document]:
        if event.id:
            self._begin(replace(self._form, id=event.id))
        return [self._form.chunk({"role": "assistant", "content": ""})]

    def _content(self, event: _ContentEvent) -> list[Document]:
        content = event.delta.message.content
        delta: Document = {}
        if content.text:
            delta["content"] = content.text
        if content.thinking:
            delta["reasoning_content"] = content.thinking
        logprobs = _logprobs([event.logprobs]) if event.logprobs is not None else None
        return [self._form.chunk(delta, logprobs=logprobs)] if delta or logprobs else []

    def _end(self, end: _End) -> list[Document]:
        if end.finish_reason in _FAILURES:
            raise StreamFailed(_FAILURES[end.finish_reason], end.error or "the model failed")
        self.usage, details = end.usage.counted() if end.usage is not None else (None, None)
        self.finished = True
        return [self._form.last_chunk(_FINISH_REASONS.get(end.finish_reason, "stop"), self.usage, details)]


def error_text(body: bytes) -> str:
    return said(body, "message")
