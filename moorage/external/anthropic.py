"""The provider `anthropic`: OpenAI's chat over Anthropic's Messages API, and that API itself, passed through.

Source: Anthropic API reference, messages, create; streaming messages; errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson
from pydantic import ValidationError

from moorage.api.errors import BadRequest
from moorage.api.external_models import ExternalTask
from moorage.external.anthropic_answers import chat_answer
from moorage.external.anthropic_events import AnthropicStream
from moorage.external.anthropic_requests import messages_body
from moorage.external.anthropic_wire import (
    MESSAGES_VERSION,
    BlockDelta,
    ErrorAnswer,
    MessageAnswer,
    MessageDelta,
    MessageStart,
    UsageReport,
    event_of,
    failure_of,
    read_event,
)
from moorage.external.chat_answers import read_as
from moorage.external.exchange import (
    AccessToken,
    Answer,
    Call,
    ChunkStream,
    Document,
    HttpRequest,
    StreamFailed,
    Target,
    TokenRequest,
    UnreadableAnswer,
    Usage,
)
from moorage.external.sse import EventTooLong, SseEvent, SseParser

_BASE = "https://api.anthropic.com"


class AnthropicApi:
    """A `ProviderApi` for chat; completions are asked for as chats. Anthropic has no embeddings."""

    def token_request(self, target: Target, now: datetime) -> TokenRequest | None:
        return None

    def request(self, target: Target, call: Call, token: AccessToken | None, now: datetime) -> HttpRequest:
        if call.task is ExternalTask.EMBEDDINGS:
            raise BadRequest("Anthropic has no embeddings: task 'llm/v1/embeddings' needs another provider.")
        return self.native_request(target, messages_body(target.model, call.body), call.stream)

    def answer(self, target: Target, call: Call, body: bytes) -> Answer:
        return chat_answer(target, call, body)

    def stream(self, target: Target, call: Call) -> ChunkStream:
        return AnthropicStream(target, call)

    def error_text(self, body: bytes) -> str:
        try:
            error = ErrorAnswer.model_validate_json(body).error
        except ValidationError:
            return body.decode("utf-8", "replace")
        return error.message or error.type

    def native_request(self, target: Target, body: Mapping[str, Any], stream: bool) -> HttpRequest:
        """The request for a body in Anthropic's own form, with the target's model."""
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream" if stream else "application/json",
            "x-api-key": target.credentials["anthropic_api_key"],
            "anthropic-version": MESSAGES_VERSION,
        }
        base = target.options.get("anthropic_api_base", _BASE).rstrip("/")
        document = {**body, "model": target.model, "stream": stream}
        return HttpRequest(f"{base}/v1/messages", headers, orjson.dumps(document))

    def native_usage(self, body: bytes) -> Usage | None:
        """The tokens of an answer that is no stream.

        Raises:
            UnreadableAnswer: the body is not a message.
        """
        return read_as(MessageAnswer, body, "it is not a message").usage.usage


class NativeMessagesStream:
    """Anthropic's stream for a client that speaks Anthropic's API: whole events, with the data as it came.

    `usage` and `finished` are as those of a `ChunkStream`. `content_seen` is whether something of the answer itself
    has come, `characters` how much text of it. When `feed` raises, `unsent` holds the events before the one that it
    is about.
    """

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.finished = False
        self.content_seen = False
        self.characters = 0
        self.unsent = b""
        self._parser = SseParser()
        self._report = UsageReport()

    def feed(self, data: bytes) -> bytes:
        """The events that these bytes complete.

        Raises:
            StreamFailed: the provider reports an error.
            UnreadableAnswer: the bytes are not what Anthropic's stream consists of.
        """
        try:
            return self._passed_on(self._parser.feed(data))
        except EventTooLong as error:
            raise UnreadableAnswer(str(error)) from None

    def end(self) -> bytes:
        """The last event, when nothing but the empty line after it is missing; one that was cut off is dropped."""
        try:
            return self._passed_on(self._parser.end())
        except UnreadableAnswer:
            return b""

    def _passed_on(self, events: list[SseEvent]) -> bytes:
        passed: list[bytes] = []
        try:
            for event in events:
                if self.finished:
                    break
                kind, document = event_of(event.data)
                self._note(kind, document)
                # JSON over several lines is the same in one: an end of line is never inside of a text.
                passed.append(b"event: %s\ndata: %s\n\n" % (kind.encode(), event.data.replace(b"\n", b" ")))
        except (StreamFailed, UnreadableAnswer):
            self.unsent = b"".join(passed)
            raise
        return b"".join(passed)

    def _note(self, kind: str, document: Document) -> None:
        if kind == "content_block_delta":
            self.content_seen = True
            self.characters += len(read_event(BlockDelta, document).delta.text)
        elif kind == "content_block_start":
            self.content_seen = True
        elif kind == "message_start":
            self._count(read_event(MessageStart, document).message.usage)
        elif kind == "message_delta":
            self._count(self._report.merged(read_event(MessageDelta, document).usage))
        elif kind == "message_stop":
            self.finished = True
        elif kind == "error":
            raise failure_of(document)

    def _count(self, report: UsageReport) -> None:
        self._report, self.usage = report, report.usage
