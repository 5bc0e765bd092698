"""Embeddings of Cohere's models, which are asked for in nearly the same form at Cohere and at Amazon Bedrock.

Source: Cohere API reference, v2/embed; Amazon Bedrock user guide, Cohere Embed.
"""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field, FiniteFloat

from moorage.api.errors import BadRequest
from moorage.external import chat_bodies
from moorage.external.chat_answers import read_as
from moorage.external.exchange import Answer, Call, Document, Usage

_INPUT_TYPES = ("search_document", "search_query", "classification", "clustering")


class _ByType(BaseModel):
    floats: list[list[float]] = Field(alias="float")


class _BilledUnits(BaseModel):
    input_tokens: FiniteFloat | None = None


class _Meta(BaseModel):
    billed_units: _BilledUnits | None = None


class _Embeddings(BaseModel):
    """Bedrock gives a plain list where no type was asked for."""

    embeddings: _ByType | list[list[float]]
    meta: _Meta | None = None


def embedding_texts(body: Mapping[str, Any]) -> list[str]:
    """The texts of an embeddings request.

    Raises:
        BadRequest: `input` is not a text, or a list of at least one.
    """
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise BadRequest("'input' must be a text or a list of texts; this provider takes no tokens.")
    return texts


def embedding_request(body: Mapping[str, Any]) -> Document:
    """What Cohere and Bedrock have in common. `input_type`, Cohere's own, may be given; texts are documents if not.

    Raises:
        BadRequest: the body is not one that Cohere could take.
    """
    input_type = body.get("input_type", _INPUT_TYPES[0])
    if input_type not in _INPUT_TYPES:
        raise BadRequest(f"'input_type' must be one of {', '.join(map(repr, _INPUT_TYPES))}.")
    request: Document = {
        "texts": embedding_texts(body),
        "input_type": input_type,
        "embedding_types": ["float"],
    }
    dimensions = chat_bodies.integer(body, "dimensions")
    if dimensions is not None:
        request["output_dimension"] = dimensions
    return request


def embedding_answer(call: Call, model: str, body: bytes) -> Answer:
    """
    Raises:
        UnreadableAnswer: see there.
    """
    answer = read_as(_Embeddings, body, "the answer")
    given = answer.embeddings
    vectors = given if isinstance(given, list) else given.floats
    units = answer.meta and answer.meta.billed_units
    tokens = units.input_tokens if units else None
    return embedding_list(call, model, vectors, None if tokens is None else int(tokens))


def embedding_list(call: Call, model: str, vectors: Sequence[Sequence[float]], tokens: int | None) -> Answer:
    """The answer in OpenAI's form, whose `usage` must be there: without a count it says zero."""
    encoded = call.body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _base64(vector) if encoded else vector}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens or 0, "total_tokens": tokens or 0}
    body: Document = {"object": "list", "model": model, "data": data, "usage": usage}
    return Answer(body, None if tokens is None else Usage(tokens, 0))


def _base64(vector: Sequence[float]) -> str:
    """Little-endian 32-bit floats, as OpenAI gives them."""
    floats = array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats).decode("ascii")
