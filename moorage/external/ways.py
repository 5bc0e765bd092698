"""Which way a query takes: natively where the provider knows its form, else through the form of chat completions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import orjson

from moorage.api.engines import Engine
from moorage.api.errors import ApiError
from moorage.api.external_models import ExternalTask, Provider
from moorage.api.surfaces import Surface
from moorage.external import completions, messages, responses
from moorage.external.anthropic import AnthropicApi, NativeMessagesStream
from moorage.external.bedrock import BedrockApi
from moorage.external.cohere import CohereApi
from moorage.external.engines import EngineApi
from moorage.external.exchange import (
    AccessToken,
    Call,
    ChunkStream,
    Document,
    HttpRequest,
    ProviderApi,
    StreamFailed,
    Target,
    Usage,
)
from moorage.external.exchanges import DONE, Exchange, Relay, error_event
from moorage.external.failures import ProviderError
from moorage.external.google import PalmApi, VertexApi
from moorage.external.messages import MessageEvents
from moorage.external.openai_format import OpenAIFormatApi, asks_for_usage, choices_of, supports_native, usage_of
from moorage.external.pass_through import PassThroughStream
from moorage.external.responses_events import ResponseEvents
from moorage.external.responses_output import ResponseIds

_OPENAI_FORMAT = OpenAIFormatApi()
_ANTHROPIC = AnthropicApi()
_APIS: dict[Provider | Engine, ProviderApi] = {
    **dict.fromkeys(Engine, EngineApi()),
    Provider.AI21LABS: _OPENAI_FORMAT,
    Provider.ANTHROPIC: _ANTHROPIC,
    Provider.AMAZON_BEDROCK: BedrockApi(),
    Provider.COHERE: CohereApi(),
    Provider.CUSTOM: _OPENAI_FORMAT,
    Provider.DATABRICKS_MODEL_SERVING: _OPENAI_FORMAT,
    Provider.GOOGLE_CLOUD_VERTEX_AI: VertexApi(),
    Provider.OPENAI: _OPENAI_FORMAT,
    Provider.PALM: PalmApi(),
}
_HAVE_COMPLETIONS = {Provider.CUSTOM, Provider.DATABRICKS_MODEL_SERVING, Provider.OPENAI, *Engine}


class Encoder(Protocol):
    """From chunks in OpenAI's form to the events of a surface."""

    def feed(self, chunks: Iterable[Document]) -> bytes: ...

    def end(self) -> bytes: ...

    def error(self, status: int, message: str) -> bytes: ...


def exchange_of(surface: Surface, target: Target, call: Call, *, by_chunks: bool = False) -> Exchange:
    """The exchange of one call; its body is in the form of `surface`.

    `by_chunks`: the relay of a stream must be a `ChunkRelay`, so that what is said can be looked at on its way.

    Raises:
        BadRequest: the body has no counterpart in what the provider offers; the message names the field.
    """
    api = _APIS[target.provider]
    if api is _OPENAI_FORMAT and not by_chunks and supports_native(target, surface):
        return _PassedThrough(target, call, surface)
    if api is _ANTHROPIC and surface is Surface.MESSAGES and not by_chunks:
        return _NativeMessages(target, call)
    body = call.body
    if surface is Surface.RESPONSES:
        ids = ResponseIds(call.id, call.created)
        return _Translated(
            api,
            target,
            replace(call, body=responses.chat_body_of(body)),
            lambda answer: responses.response_of(answer, body, ids),
            lambda: ResponseEvents(body, ids),
        )
    if surface is Surface.MESSAGES:
        return _Translated(
            api, target, replace(call, body=messages.chat_body_of(body)), messages.message_of, MessageEvents
        )
    if surface is Surface.COMPLETIONS and target.provider not in _HAVE_COMPLETIONS:
        chat = replace(call, task=ExternalTask.CHAT, body=completions.chat_body_of(body))
        return _Translated(
            api, replace(target, task=ExternalTask.CHAT), chat, completions.completion_of, _CompletionLines
        )
    merge_usage = not asks_for_usage(body)
    return _Translated(api, target, call, lambda answer: answer, lambda: DataLines(surface, merge_usage=merge_usage))


@dataclass(frozen=True, slots=True)
class _PassedThrough:
    """A provider that speaks OpenAI's form: its bytes are the client's."""

    target: Target
    call: Call
    surface: Surface
    api: OpenAIFormatApi = _OPENAI_FORMAT

    def request(self, token: AccessToken | None, now: datetime) -> HttpRequest:
        if self.surface is Surface.RESPONSES:
            return self.api.responses_request(self.target, self.call.body, self.call.stream, token)
        return self.api.request(self.target, self.call, token, now)

    def answer(self, body: bytes) -> tuple[bytes, Usage | None]:
        return body, usage_of(body)

    def relay(self) -> Relay:
        return _PassedEvents(self.surface, self.call)


class _PassedEvents(PassThroughStream):
    """`Relay` of bytes that are passed on as they come."""

    def __init__(self, surface: Surface, call: Call) -> None:
        super().__init__(
            keep_names=surface is Surface.RESPONSES,
            choices=choices_of(call.body),
            merge_usage=not asks_for_usage(call.body),
        )
        self._surface = surface

    @property
    def ended(self) -> bool:
        return self.finished

    @property
    def characters(self) -> int:
        return self.text_characters

    def error(self, error: ApiError) -> bytes:
        return error_event(self._surface, error, self.events_numbered)


@dataclass(frozen=True, slots=True)
class _NativeMessages:
    """Anthropic's own form, asked of Anthropic."""

    target: Target
    call: Call
    api: AnthropicApi = _ANTHROPIC

    def request(self, token: AccessToken | None, now: datetime) -> HttpRequest:
        return self.api.native_request(self.target, self.call.body, self.call.stream)

    def answer(self, body: bytes) -> tuple[bytes, Usage | None]:
        return body, self.api.native_usage(body)

    def relay(self) -> Relay:
        return _NativeEvents()


class _NativeEvents(NativeMessagesStream):
    """`Relay` of Anthropic's events."""

    failure: StreamFailed | None = None

    @property
    def ended(self) -> bool:
        return self.finished

    def error(self, error: ApiError) -> bytes:
        return error_event(Surface.MESSAGES, error)


@dataclass(frozen=True, slots=True)
class _Translated:
    """A provider whose answers are translated into the form in the middle, and that into the client's."""

    api: ProviderApi
    target: Target
    call: Call
    answer_of: Callable[[Document], Document]
    encoder: Callable[[], Encoder]

    def request(self, token: AccessToken | None, now: datetime) -> HttpRequest:
        return self.api.request(self.target, self.call, token, now)

    def answer(self, body: bytes) -> tuple[bytes, Usage | None]:
        answer = self.api.answer(self.target, self.call, body)
        return orjson.dumps(self.answer_of(answer.body)), answer.usage

    def relay(self) -> ChunkRelay:
        return ChunkRelay(self.api.stream(self.target, self.call), self.encoder())


class ChunkRelay:
    """`Relay` by way of chunks in OpenAI's form. `take` and `encode` are the two halves of `feed`."""

    ended = False
    failure: StreamFailed | None = None

    def __init__(self, chunks: ChunkStream, encoder: Encoder) -> None:
        self._chunks = chunks
        self._encoder = encoder
        self.content_seen = False
        self.characters = 0
        self.unsent = b""

    @property
    def usage(self) -> Usage | None:
        return self._chunks.usage

    @property
    def finished(self) -> bool:
        return self._chunks.finished

    def feed(self, data: bytes) -> bytes:
        return self.encode(self.take(data))

    def end(self) -> bytes:
        return self.encode(self.take_last()) + self.encode_end()

    def take(self, data: bytes) -> list[Document]:
        """The chunks that these bytes complete; raises as `feed`."""
        return self._counted(self._chunks.feed(data))

    def take_last(self) -> list[Document]:
        """Those that are left at the end."""
        return self._counted(self._chunks.end())

    def encode(self, chunks: list[Document]) -> bytes:
        """The events for these chunks."""
        return self._encoder.feed(chunks)

    def encode_end(self) -> bytes:
        """The events with which the client's stream ends; none where the provider's was cut off."""
        return self._encoder.end() if self._chunks.finished else b""

    def error(self, error: ApiError) -> bytes:
        return self._encoder.error(error.status, error.message)

    def _counted(self, chunks: list[Document]) -> list[Document]:
        for chunk in chunks:
            for choice in chunk.get("choices") or ():
                delta = choice.get("delta") or {}
                text = delta.get("content") or choice.get("text")
                if isinstance(text, str):
                    self.characters += len(text)
                if text or delta.get("tool_calls"):
                    self.content_seen = True
        return chunks


class DataLines:
    """`Encoder` of OpenAI's chat completions and completions.

    With `merge_usage` a chunk of usage alone becomes part of the one before: its client did not ask for usage, and
    does not expect a chunk without a choice.
    """

    def __init__(self, surface: Surface, *, merge_usage: bool = False) -> None:
        self._surface = surface
        self._merge_usage = merge_usage
        self._held: Document | None = None

    def feed(self, chunks: Iterable[Document]) -> bytes:
        lines = []
        for chunk in chunks:
            if self._held is not None and not chunk.get("choices") and chunk.get("usage"):
                self._held = {**self._held, "usage": chunk["usage"]}
                continue
            lines.append(self._take_held())
            if self._merge_usage and any(choice.get("finish_reason") for choice in chunk.get("choices") or ()):
                self._held = chunk
            else:
                lines.append(_line(chunk))
        return b"".join(lines)

    def end(self) -> bytes:
        return self._take_held() + DONE

    def error(self, status: int, message: str) -> bytes:
        return self._take_held() + error_event(self._surface, ProviderError(status, message))

    def _take_held(self) -> bytes:
        held, self._held = self._held, None
        return _line(held) if held is not None else b""


def _line(chunk: Document) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


class _CompletionLines(DataLines):
    """Completions by a chat model."""

    def __init__(self) -> None:
        super().__init__(Surface.COMPLETIONS)

    def feed(self, chunks: Iterable[Document]) -> bytes:
        translated = (completions.completion_chunk_of(chunk) for chunk in chunks)
        return super().feed(chunk for chunk in translated if chunk is not None)
