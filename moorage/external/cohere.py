"""Cohere, through version 2 of its API.

Source: Cohere API reference, v2/chat and v2/embed.
"""

from __future__ import annotations

from datetime import datetime

import orjson

from moorage.api.external_models import ExternalTask
from moorage.external.cohere_answers import ChatEvents, chat_answer, error_text
from moorage.external.cohere_embeddings import embedding_answer, embedding_request
from moorage.external.cohere_requests import chat_request
from moorage.external.exchange import (
    AccessToken,
    Answer,
    Call,
    ChunkStream,
    HttpRequest,
    Target,
    TokenRequest,
)

_BASE = "https://api.cohere.com"


class CohereApi:
    """A `ProviderApi`."""

    def token_request(self, target: Target, now: datetime) -> TokenRequest | None:
        return None

    def request(self, target: Target, call: Call, token: AccessToken | None, now: datetime) -> HttpRequest:
        if call.task is ExternalTask.EMBEDDINGS:
            path, document = "embed", {"model": target.model, **embedding_request(call.body)}
        else:
            path, document = "chat", chat_request(target.model, call.body, stream=call.stream)
        headers = {
            "accept": "text/event-stream" if call.stream else "application/json",
            "authorization": f"Bearer {target.credentials['cohere_api_key']}",
            "content-type": "application/json",
        }
        return HttpRequest(f"{_base(target)}/v2/{path}", headers, orjson.dumps(document))

    def answer(self, target: Target, call: Call, body: bytes) -> Answer:
        if call.task is ExternalTask.EMBEDDINGS:
            return embedding_answer(call, target.model, body)
        return chat_answer(call, target.model, body)

    def stream(self, target: Target, call: Call) -> ChunkStream:
        return ChatEvents(call, target.model)

    def error_text(self, body: bytes) -> str:
        return error_text(body)


def _base(target: Target) -> str:
    """Bases are written with a version of the API and without; ours is the second."""
    base = target.options.get("cohere_api_base", _BASE).rstrip("/")
    return base.removesuffix("/v1").removesuffix("/v2")
