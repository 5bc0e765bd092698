"""Where guardrails look at a query and its answer; the looking itself is done in a process of its own."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Protocol

import orjson

from moorage.api.ai_gateway import GuardrailParameters
from moorage.api.errors import ApiError
from moorage.api.routing import EndpointRoute
from moorage.api.surfaces import Surface
from moorage.external.exchange import Document, Usage
from moorage.external.exchanges import Relay
from moorage.external.ways import ChunkRelay
from moorage.gateway.language_requests import LanguageRequest, characters_of, estimated_tokens
from moorage.guardrails.client import GuardrailClient, checks_anything
from moorage.guardrails.streaming import guarded_stream
from moorage.guardrails.texts import answer_pieces, request_pieces, with_texts, without_probabilities
from moorage.guardrails.verdict import Direction, GuardrailTriggered
from moorage.guardrails.verdict import Usage as DocumentUsage

_logger = logging.getLogger(__name__)


class Guarding:
    """The guardrails of one endpoint. `input` and `output` say whether anything is looked for on that side."""

    def __init__(self, route: EndpointRoute, client: GuardrailClient) -> None:
        rails = route.guardrails
        self._client = client
        self._input = rails.input if rails is not None else None
        self._output = rails.output if rails is not None else None
        self.input = checks_anything(self._input)
        self.output = checks_anything(self._output)

    async def warm(self) -> None:
        """Have loaded what is needed, so that the first query does not wait for it."""
        try:
            if self._input is not None:
                await self._client.warm(Direction.INPUT, self._input)
            if self._output is not None:
                await self._client.warm(Direction.OUTPUT, self._output)
        except ApiError as error:
            _logger.warning("guardrails are not loaded yet: %s", error.message)

    async def checked_request(self, asked: LanguageRequest) -> tuple[LanguageRequest, GuardrailTriggered | None]:
        """The request with what was found masked in it, and the error with which it is refused, if it is.

        Raises:
            GuardrailsUnavailable: it could not be checked.
            BadRequest: it has more text, or more prompts, than are checked.
        """
        assert self._input is not None
        pieces = request_pieces(asked.surface, asked.body)
        verdict = await self._client.check(Direction.INPUT, self._input, pieces)
        if verdict.pii_detected:
            asked = replace(asked, body=with_texts(asked.body, pieces, verdict.masked))
        if not verdict.refused:
            return asked, None
        tokens = estimated_tokens(characters_of(asked.body))
        return asked, verdict.triggered(DocumentUsage(tokens, tokens))

    async def checked_answer(
        self, surface: Surface, answer: bytes, usage: Usage | None
    ) -> tuple[bytes, GuardrailTriggered | None]:
        """The answer with what was found masked in it, and the error to send instead, if any; raises as above."""
        assert self._output is not None
        document = orjson.loads(answer)
        pieces = answer_pieces(surface, document)
        verdict = await self._client.check(Direction.OUTPUT, self._output, pieces)
        if verdict.pii_detected:
            document = with_texts(document, pieces, verdict.masked)
            if surface in (Surface.CHAT, Surface.COMPLETIONS):
                document = without_probabilities(document)
            answer = orjson.dumps({**document, **verdict.annotation()})
        if not verdict.refused:
            return answer, None
        return answer, verdict.triggered(_as_document(usage))

    def stream(self, relay: Relay) -> StreamEvents:
        """A stream with what is found masked in it. The relay goes by chunks, where anything is looked for."""
        if not self.output:
            return UnguardedEvents(relay)
        assert self._output is not None
        assert isinstance(relay, ChunkRelay)
        return GuardedEvents(relay, self._client, self._output)


class StreamEvents(Protocol):
    """The events of a stream for its client. When `feed` or `end` raises, `unsent` gives those before the error."""

    async def feed(self, data: bytes) -> bytes: ...

    async def end(self) -> bytes: ...

    def unsent(self) -> bytes: ...


class UnguardedEvents:
    """Those of a relay as they are."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    async def feed(self, data: bytes) -> bytes:
        return self._relay.feed(data)

    async def end(self) -> bytes:
        return self._relay.end()

    def unsent(self) -> bytes:
        return self._relay.unsent


class GuardedEvents:
    """The events of a relay, of which those are held back that are not checked yet.

    `feed` and `end` raise what those of the relay raise, `GuardrailTriggered` and `GuardrailsUnavailable`; then
    `unsent` gives the events that may go out before the error.
    """

    def __init__(self, relay: ChunkRelay, client: GuardrailClient, parameters: GuardrailParameters) -> None:
        self._relay = relay
        self._stream = guarded_stream(client, parameters, lambda: _as_document(relay.usage))

    async def feed(self, data: bytes) -> bytes:
        return self._relay.encode(await self._checked(self._relay.take(data)))

    async def end(self) -> bytes:
        chunks = await self._checked(self._relay.take_last())
        return self._relay.encode(chunks + await self._stream.end()) + self._relay.encode_end()

    def unsent(self) -> bytes:
        chunks, self._stream.unsent = self._stream.unsent, []
        return self._relay.encode(chunks)

    async def _checked(self, chunks: list[Document]) -> list[Document]:
        return [one for chunk in chunks for one in await self._stream.feed(chunk)]


def _as_document(usage: Usage | None) -> DocumentUsage:
    if usage is None:
        return DocumentUsage()
    return DocumentUsage(usage.input_tokens, usage.input_tokens + usage.output_tokens)
