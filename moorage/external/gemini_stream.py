"""Gemini's streams: server-sent events, each of them an answer's next piece, without a word for the end."""

from __future__ import annotations

import re

import orjson

from moorage.external.chat_answers import read_as
from moorage.external.exchange import Call, Document, StreamFailed, UnreadableAnswer, Usage
from moorage.external.gemini_answers import Choice, Reply, logprobs
from moorage.external.sse import EventTooLong, SseEvent, SseParser

_BETWEEN_EVENTS = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LONGEST_ERROR = 64 * 1024


class GeminiStream:
    """A `ChunkStream`. The chunk that ends the last candidate holds the usage."""

    def __init__(self, model: str, call: Call) -> None:
        self.usage: Usage | None = None
        self.finished = False
        self._call = call
        self._id = call.id
        self._model = model
        self._parser = SseParser()
        self._choices: dict[int, Choice] = {}
        self._usage_document: Document | None = None
        self._said_usage: Document | None = None
        self._outside = b""

    def feed(self, data: bytes) -> list[Document]:
        try:
            events = self._parser.feed(data)
        except EventTooLong as error:
            raise UnreadableAnswer(str(error)) from None
        self._note_outside(data, bool(events))
        return self._chunks(events)

    def end(self) -> list[Document]:
        chunks = self._chunks(self._parser.end())
        if not self.finished:
            self._raise_error_outside()
        if self._usage_document != self._said_usage:
            chunks.append(self._chunk([]))
            self._say_usage(chunks[-1])
        return chunks

    def _chunks(self, events: list[SseEvent]) -> list[Document]:
        chunks = []
        for event in events:
            chunks += self._taken(_reply(event.data))
        return chunks

    def _taken(self, reply: Reply) -> list[Document]:
        if not self._choices:  # all chunks have the id and the model of the first
            self._id = reply.response_id or self._id
            self._model = reply.model_version or self._model
        if (usage := reply.usage) is not None:
            self.usage, self._usage_document = usage, reply.usage_document()
        choices: list[Document] = []
        ends: list[Document] = []
        for candidate in reply.candidates:
            new = candidate.index not in self._choices
            choice = self._choices.setdefault(candidate.index, Choice(self._call.id, candidate.index))
            before = choice.calls
            delta, finish_reason = choice.take(candidate)
            for number, call in enumerate(delta.get("tool_calls", ()), before):
                call["index"] = number
            probabilities = logprobs(candidate)
            if not delta and finish_reason is None and probabilities is None and not new:
                continue
            if new:
                delta = {"role": "assistant", "content": "", **delta}
            if "tool_calls" in delta and finish_reason is not None:
                # Clients take a call to be whole when a chunk after it says why the answer ended.
                ends.append({"index": candidate.index, "delta": {}, "finish_reason": finish_reason})
                finish_reason = None
            document: Document = {"index": candidate.index, "delta": delta, "finish_reason": finish_reason}
            choices.append(document if probabilities is None else {**document, "logprobs": probabilities})
        if (blocked := reply.blocked) is not None and not self._choices:
            self.finished = True
            delta = {"role": "assistant", "content": "", "refusal": blocked}
            choices = [{"index": 0, "delta": delta, "finish_reason": "content_filter"}]
        elif self._choices:
            self.finished = all(choice.finished for choice in self._choices.values())
        chunks = [self._chunk(part) for part in (choices, ends) if part]
        if chunks and self.finished:
            self._say_usage(chunks[-1])
        return chunks

    def _chunk(self, choices: list[Document]) -> Document:
        return {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._call.created,
            "model": self._model,
            "choices": choices,
        }

    def _say_usage(self, chunk: Document) -> None:
        if self._usage_document is not None:
            chunk["usage"] = self._said_usage = self._usage_document

    def _note_outside(self, data: bytes, ended_an_event: bool) -> None:
        """Keep what came after the last event: an error may come as plain JSON, which is no event."""
        if ended_an_event:
            self._outside = _BETWEEN_EVENTS.split(data)[-1]
        elif len(self._outside) < _LONGEST_ERROR:
            self._outside += data

    def _raise_error_outside(self) -> None:
        try:
            document = orjson.loads(self._outside)
        except orjson.JSONDecodeError:
            return
        document = document[0] if isinstance(document, list) and document else document
        if isinstance(document, dict) and "error" in document:
            _reply(document)


def _reply(document: bytes | Document) -> Reply:
    """
    Raises:
        StreamFailed: it is an error.
        UnreadableAnswer: it is something else.
    """
    reply = read_as(Reply, document, "an event of the stream")
    if reply.error is not None:
        status = reply.error.code if 400 <= reply.error.code < 600 else 500
        raise StreamFailed(status, reply.error.message or reply.error.status)
    return reply
