"""Models that engines of this machine run: llama.cpp, vLLM, and the ONNX runtime for embeddings.

Engines speak OpenAI's form, each in a way of its own. All of chat and completions is asked for as a stream, since
llama.cpp goes on with every other answer when its client has gone; a whole answer is made of the stream here.
"""

from __future__ import annotations

from datetime import datetime

import orjson
from pydantic import BaseModel

from moorage.api.external_models import ExternalTask
from moorage.external.chat_answers import read_as
from moorage.external.cohere_embeddings import embedding_list
from moorage.external.engine_answers import EngineStream, error_words, whole_answer
from moorage.external.engine_requests import chat_body, completion_body, embedding_body
from moorage.external.exchange import (
    AccessToken,
    Answer,
    Call,
    ChunkStream,
    Document,
    HttpRequest,
    Target,
    TokenRequest,
)
from moorage.external.openai_format import OpenAIFormatApi

_BASE = "http://engine/v1"
"""The host stands for the socket of one of the model's replicas."""


class EngineApi:
    """`ProviderApi` of the engines of this machine; they have no credentials."""

    def token_request(self, target: Target, now: datetime) -> TokenRequest | None:
        return None

    def request(self, target: Target, call: Call, token: AccessToken | None, now: datetime) -> HttpRequest:
        if call.task is ExternalTask.EMBEDDINGS:
            return _request("embeddings", {"model": target.model, **embedding_body(target, call.body)})
        always = {"model": target.model, "stream": True, "stream_options": {"include_usage": True}}
        if call.task is ExternalTask.CHAT:
            return _request("chat/completions", {**always, **chat_body(target, call.body)})
        return _request("completions", {**always, **completion_body(target, call.body)})

    def answer(self, target: Target, call: Call, body: bytes) -> Answer:
        """Of chat and completions the body is the whole stream: see `request`."""
        if call.task is not ExternalTask.EMBEDDINGS:
            return whole_answer(target, call, body)
        answer = read_as(_Embeddings, body, "the answer")
        vectors = [one.embedding for one in sorted(answer.data, key=lambda one: one.index)]
        return embedding_list(call, target.model, vectors, answer.usage.prompt_tokens if answer.usage else None)

    def stream(self, target: Target, call: Call) -> ChunkStream:
        return EngineStream(target, call)

    def error_text(self, body: bytes) -> str:
        try:
            error = orjson.loads(body)
        except orjson.JSONDecodeError:
            error = None
        if isinstance(error, dict):
            error = error.get("error", error)
        words = error_words(error) if isinstance(error, dict) else ""
        return words or OpenAIFormatApi().error_text(body)


class _Embedding(BaseModel):
    index: int
    embedding: list[float]


class _Tokens(BaseModel):
    prompt_tokens: int


class _Embeddings(BaseModel):
    data: list[_Embedding]
    usage: _Tokens | None = None


def _request(path: str, document: Document) -> HttpRequest:
    return HttpRequest(f"{_BASE}/{path}", {"content-type": "application/json"}, orjson.dumps(document))
