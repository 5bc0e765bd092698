"""Streams in OpenAI's form: passed on as they come, or read chunk by chunk.

Every event is parsed, also where its bytes are passed on: that is how a stream is known to be sound, what it used and
whether it came to its end.
Source: OpenAI API reference, chat completions, completions and responses, streaming.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from moorage.external.exchange import Document, StreamFailed, UnreadableAnswer, Usage
from moorage.external.sse import EventTooLong, SseParser

_LONGEST_EVENT = 16 * 1024 * 1024
_DONE = b"[DONE]"
_LAST_EVENT = b"data: [DONE]\n\n"
_SHOWN = 200

_STATUSES = {
    "invalid_request_error": 400,
    "invalid_prompt": 400,
    "context_length_exceeded": 400,
    "content_filter": 400,
    "bad_request": 400,
    "invalid_parameter_value": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "unauthenticated": 401,
    "permission_error": 403,
    "permission_denied": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "requests": 429,
    "tokens": 429,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "request_limit_exceeded": 429,
    "overloaded_error": 503,
    "service_unavailable": 503,
    "temporarily_unavailable": 503,
    "timeout": 504,
    "deadline_exceeded": 504,
}
"""What the names of errors say, where an error in a stream has no HTTP status."""

_CONTENT_BESIDE_TEXT = ("tool_calls", "reasoning_content", "reasoning", "refusal")
_ENDS_OF_RESPONSES = frozenset({"response.completed", "response.incomplete", "response.failed"})


def usage_from(document: Any) -> Usage | None:
    """A `usage` object of chat, completions, embeddings or responses; None where it does not hold the counts."""
    if not isinstance(document, dict):
        return None
    read = document.get("prompt_tokens")
    if read is None:
        read = document.get("input_tokens")
    written = document.get("completion_tokens")
    if written is None:
        written = document.get("output_tokens")
    if written is None:
        written = 0  # embeddings
    if type(read) is int and type(written) is int and read >= 0 and written >= 0:
        return Usage(read, written)
    return None


def failure_in(document: Mapping[str, Any]) -> StreamFailed | None:
    """The error that a document reports in the place of a chunk or an answer, in one of the forms in use."""
    error = document.get("error")
    if not error:
        if "choices" in document or not (
            "error_code" in document or document.get("object") == "error" or document.get("type") == "error"
        ):
            return None
        error = document
    if not isinstance(error, dict):
        return StreamFailed(_status_of(document), error if isinstance(error, str) else "no reason given")
    message = error.get("message")
    return StreamFailed(_status_of(error), message if isinstance(message, str) and message else "no reason given")


def _status_of(error: Mapping[str, Any]) -> int:
    for field in ("status", "status_code", "code", "type", "error_code"):
        value = error.get(field)
        if isinstance(value, str):
            value = int(value) if value.isascii() and value.isdigit() else _STATUSES.get(value.lower())
        if type(value) is int and 400 <= value <= 599:
            return value
    return 500


class _Reader:
    """What the events of a stream say. `choices` is how many answers were asked for (`n`).

    `text_characters` counts what the model has said; `content_seen` is whether it has said, or called, anything.
    `events_numbered` counts the events of a response, each of which has a number.
    `failure` is the error with which a response ended: the event that tells of it is passed on like any other.
    """

    def __init__(self, choices: int = 1) -> None:
        self.usage: Usage | None = None
        self.finished = False
        self.failure: StreamFailed | None = None
        self.text_characters = 0
        self.content_seen = False
        self.events_numbered = 0
        self._choices = choices
        self._begun: set[int] = set()
        self._ended: set[int] = set()

    @property
    def finish_seen(self) -> bool:
        """Whether every choice has said why it ended: what may still come is the usage."""
        return len(self._ended) >= max(self._choices, len(self._begun))

    def _take(self, payload: bytes) -> Document | None:
        """The document of one event; None for the mark at the end of the stream."""
        if payload.startswith(_DONE):
            self.finished = True
            return None
        try:
            document = orjson.loads(payload)
        except orjson.JSONDecodeError:
            raise UnreadableAnswer(f"an event of the stream is not JSON: {_shown(payload)}") from None
        if type(document) is not dict:
            raise UnreadableAnswer(f"an event of the stream is not a JSON object: {_shown(payload)}")
        choices = document.get("choices")
        if choices is None or "error" in document:
            failure = failure_in(document)
            if failure is not None:
                raise failure
        if choices is not None:
            self._take_choices(choices)
        elif "type" in document:
            self._take_response_event(document)
        usage = document.get("usage")
        if usage is not None:
            self.usage = usage_from(usage) or self.usage
        return document

    def _take_choices(self, choices: Any) -> None:
        try:
            for choice in choices:
                delta = choice.get("delta")
                text = choice.get("text") if delta is None else delta.get("content")
                if type(text) is str:
                    self.text_characters += len(text)
                if text or (delta and any(map(delta.get, _CONTENT_BESIDE_TEXT))):
                    self.content_seen = True
                index = choice.get("index", 0)
                self._begun.add(index)
                if choice.get("finish_reason") is not None:
                    self._ended.add(index)
        except (AttributeError, TypeError):
            raise UnreadableAnswer("the choices of an event are not a list of objects") from None

    def _take_response_event(self, document: Document) -> None:
        kind = document["type"]
        self.events_numbered += 1
        if type(kind) is str and kind.endswith(".delta"):
            self.content_seen = True
        if kind == "response.output_text.delta":
            text = document.get("delta")
            if type(text) is str:
                self.text_characters += len(text)
        elif kind in _ENDS_OF_RESPONSES:
            self.finished = True
            response = document.get("response")
            if isinstance(response, dict):
                self.usage = usage_from(response.get("usage")) or self.usage
                if kind == "response.failed":
                    self.failure = failure_in(response) or StreamFailed(500, "no reason given")


def _shown(payload: bytes) -> str:
    text = payload[:_SHOWN].decode("utf-8", "replace")
    return text if len(payload) <= _SHOWN else text + "..."


class PassThroughStream(_Reader):
    """Bytes cut anywhere, to whole events that are passed on as they came.

    Comments, ids, retry hints and, unless `keep_names`, names of events are left out, since clients of
    `/invocations` read `data:` lines alone; line ends become LF.
    With `merge_usage` a chunk of usage alone becomes part of the one before: its client did not ask for usage, and
    takes each chunk to have a choice. When `feed` or `end` raises, `unsent` holds the sound events that came before
    in the same bytes.
    """

    def __init__(self, *, keep_names: bool = False, choices: int = 1, merge_usage: bool = False) -> None:
        super().__init__(choices)
        self.unsent = b""
        self._keep_names = keep_names
        self._merge_usage = merge_usage
        self._waiting: tuple[bytes, Document] | None = None  # the last chunk with a choice
        self._rest = bytearray()
        self._held_return = False

    def feed(self, data: bytes) -> bytes:
        """The events that these bytes complete. What comes after the end of the stream is dropped.

        Raises:
            StreamFailed: the provider reports an error.
            UnreadableAnswer: the bytes are not what the stream consists of.
        """
        if self.finished:
            return b""
        if self._held_return or b"\r" in data:
            data = self._with_line_feeds(data)
        rest = self._rest
        if not rest:
            if data.endswith(b"\n\n"):
                return self._pass_on(data)
            end = data.rfind(b"\n\n") + 2
            rest += data[end:] if end > 1 else data
            self._check_length()
            return self._pass_on(data[:end]) if end > 1 else b""
        # The empty line may have begun with the last byte of the rest.
        begin = len(rest) - 1
        rest += data
        end = rest.rfind(b"\n\n", begin) + 2
        if end < 2:
            self._check_length()
            return b""
        whole = bytes(rest[:end])
        del rest[:end]
        self._check_length()
        return self._pass_on(whole)

    def end(self) -> bytes:
        """What is left when the connection has ended, with the mark of the end where a sound stream lacks it.

        An event that was cut off is dropped: `finished` then says that the stream was, too. Raises as `feed` does.
        """
        if self.finished:
            return b""
        passed = b""
        tail = bytes(self._rest).strip(b"\n")
        self._rest.clear()
        if tail:
            try:
                passed = self._pass_on(tail + b"\n\n")
            except UnreadableAnswer:
                passed = b""  # half an event: the connection broke, which `finished` tells
        passed += _joined(self._no_longer_waiting())
        if not self.finished and self.finish_seen:
            self.finished = True
            passed += _LAST_EVENT
        return passed

    def _with_line_feeds(self, data: bytes) -> bytes:
        """Lines may end in CRLF, LF or CR; a CR that comes last may be the first half of a CRLF."""
        if self._held_return:
            data = b"\r" + data
        self._held_return = data.endswith(b"\r")
        if self._held_return:
            data = data[:-1]
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _check_length(self) -> None:
        if len(self._rest) > _LONGEST_EVENT:
            raise UnreadableAnswer("an event of the stream is longer than 16 MiB")

    def _pass_on(self, whole: bytes) -> bytes:
        passed: list[bytes] = []
        changed = False
        try:
            for event in whole[:-2].split(b"\n\n"):
                if self.finished:
                    changed = True
                    break
                if event.startswith(b"data: ") and b"\n" not in event and event[6:7] not in (b"", b" "):
                    cleaned, payload = event, event[6:]
                else:
                    cleaned, payload = self._clean(event)
                if payload:
                    document = self._take(payload)
                    if self._merge_usage and self.finish_seen:
                        passed += self._with_usage(cleaned, document)
                        changed = True
                        continue
                    passed.append(cleaned)
                changed = changed or not payload or cleaned != event
        except (StreamFailed, UnreadableAnswer):
            self.unsent = _joined([*passed, *self._no_longer_waiting()])
            raise
        return _joined(passed) if changed else whole

    def _with_usage(self, event: bytes, document: Document | None) -> list[bytes]:
        """What to pass on when every choice has ended: the last of them waits for the usage, which comes after it."""
        waiting = self._waiting
        if document is not None and document.get("usage"):
            if waiting is not None and document.get("choices") == []:
                self._waiting = None
                return [b"data: " + orjson.dumps({**waiting[1], "usage": document["usage"]})]
        elif document is not None and document.get("choices"):
            passed = self._no_longer_waiting()
            self._waiting = event, document
            return passed
        return [*self._no_longer_waiting(), event]

    def _no_longer_waiting(self) -> list[bytes]:
        waiting, self._waiting = self._waiting, None
        return [] if waiting is None else [waiting[0]]

    def _clean(self, event: bytes) -> tuple[bytes, bytes]:
        """An event as it is passed on, and its data; no data means that nothing is passed on."""
        name = b""
        data = []
        for line in event.split(b"\n"):
            field, _, value = line.partition(b":")
            if field == b"data":
                data.append(value.removeprefix(b" "))
            elif field == b"event" and self._keep_names:
                name = b"event: " + value.removeprefix(b" ") + b"\n"
        # JSON over several lines is the same in one: an end of line is never inside of a text.
        payload = b" ".join(data).strip()
        return name + b"data: " + payload, payload


def _joined(events: list[bytes]) -> bytes:
    return b"\n\n".join([*events, b""]) if events else b""


class OpenAIChunks(_Reader):
    """A `ChunkStream` of what a provider sends in OpenAI's form. What a chunk lacks of `beside` is added to it."""

    def __init__(self, choices: int = 1, beside: Document | None = None) -> None:
        super().__init__(choices)
        self._beside = beside or {}
        self._events = SseParser()

    def feed(self, data: bytes) -> list[Document]:
        """See `ChunkStream`."""
        if self.finished:
            return []
        try:
            events = self._events.feed(data)
        except EventTooLong as error:
            raise UnreadableAnswer(str(error)) from None
        chunks = []
        for event in events:
            if self.finished:
                break
            payload = event.data.strip()
            if payload and (chunk := self._take(payload)) is not None:
                chunks.append({**self._beside, **chunk})
        return chunks

    def end(self) -> list[Document]:
        """See `ChunkStream`; an event that was cut off is dropped, and `finished` is then false."""
        chunks: list[Document] = []
        for event in [] if self.finished else self._events.end():
            try:
                chunk = self._take(event.data.strip())
            except UnreadableAnswer:
                break  # half an event: the connection broke, which `finished` tells
            if chunk is not None:
                chunks.append({**self._beside, **chunk})
        self.finished = self.finished or self.finish_seen
        return chunks
