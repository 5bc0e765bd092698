"""Embeddings of Google's models: `batchEmbedContents` of the Gemini API, `predict` of Vertex AI.

Source: Gemini API reference, embeddings; Vertex AI, text embeddings API.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from struct import pack
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from moorage.api.errors import BadRequest
from moorage.external.chat_answers import read_as
from moorage.external.chat_bodies import integer
from moorage.external.exchange import Answer, Call, Document, UnreadableAnswer, Usage

_FIELDS = frozenset({"input", "model", "dimensions", "encoding_format", "user"})


class _Form(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class _Vector(_Form):
    values: list[float]


class _PromptTokens(_Form):
    prompt_token_count: int


class _Batch(_Form):
    embeddings: list[_Vector]
    usage_metadata: _PromptTokens | None = None


class _Statistics(BaseModel):
    token_count: float


class _CountedVector(BaseModel):
    values: list[float]
    statistics: _Statistics | None = None


class _Prediction(BaseModel):
    embeddings: _CountedVector


class _Predictions(BaseModel):
    predictions: list[_Prediction]


def batch_request(model: str, body: Mapping[str, Any]) -> Document:
    """The body of `batchEmbedContents`.

    Raises:
        BadRequest: see `_texts`; or a field has nothing that it could become.
    """
    dimensions = _dimensions(body)
    sized = {} if dimensions is None else {"outputDimensionality": dimensions}
    return {
        "requests": [
            {"model": f"models/{model}", "content": {"parts": [{"text": text}]}, **sized} for text in _texts(body)
        ]
    }


def predict_request(body: Mapping[str, Any]) -> Document:
    """The body of `predict`. Raises as `batch_request` does."""
    dimensions = _dimensions(body)
    request: Document = {"instances": [{"content": text} for text in _texts(body)]}
    return request if dimensions is None else {**request, "parameters": {"outputDimensionality": dimensions}}


def batch_answer(model: str, call: Call, body: bytes) -> Answer:
    """
    Raises:
        UnreadableAnswer: it is no answer, or has not a vector for each text.
    """
    batch = read_as(_Batch, body, "the answer")
    usage = None if batch.usage_metadata is None else Usage(batch.usage_metadata.prompt_token_count, 0)
    return _answer(model, call, [vector.values for vector in batch.embeddings], usage)


def predict_answer(model: str, call: Call, body: bytes) -> Answer:
    """Raises as `batch_answer` does."""
    found = [prediction.embeddings for prediction in read_as(_Predictions, body, "the answer").predictions]
    counts = [vector.statistics.token_count for vector in found if vector.statistics is not None]
    usage = Usage(int(sum(counts)), 0) if len(counts) == len(found) else None
    return _answer(model, call, [vector.values for vector in found], usage)


def _texts(body: Mapping[str, Any]) -> list[str]:
    for field, value in body.items():
        if field not in _FIELDS and value is not None:
            raise BadRequest(f"'{field}' cannot be passed on to Google's models: leave it out.")
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise BadRequest("'input' must be a text or a list of texts; Google's models take no tokens.")
    return texts


def _dimensions(body: Mapping[str, Any]) -> int | None:
    if body.get("encoding_format") not in (None, "float", "base64"):
        raise BadRequest("'encoding_format' must be 'float' or 'base64'.")
    return integer(body, "dimensions")


def _answer(model: str, call: Call, vectors: Sequence[Sequence[float]], usage: Usage | None) -> Answer:
    asked = len(_texts(call.body))
    if len(vectors) != asked:
        raise UnreadableAnswer(f"the answer has {len(vectors)} embeddings for {asked} texts")
    packed = call.body.get("encoding_format") == "base64"
    document: Document = {
        "object": "list",
        "model": model,
        "data": [
            {"object": "embedding", "index": index, "embedding": _packed(vector) if packed else vector}
            for index, vector in enumerate(vectors)
        ],
    }
    tokens = 0 if usage is None else usage.input_tokens  # clients expect a count: without one it says zero
    document["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
    return Answer(document, usage)


def _packed(vector: Sequence[float]) -> str:
    """OpenAI's base64 form: little-endian floats of 32 bits."""
    return base64.b64encode(pack(f"<{len(vector)}f", *vector)).decode("ascii")
