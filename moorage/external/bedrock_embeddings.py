"""Embeddings on Amazon Bedrock: each vendor's models have a form of their own, which InvokeModel takes as it is.

Source: Amazon Bedrock user guide, Amazon Titan Embeddings Text and Cohere Embed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from moorage.api.errors import BadRequest
from moorage.api.external_models import BedrockProvider
from moorage.external import chat_bodies
from moorage.external.chat_answers import read_as
from moorage.external.cohere_embeddings import (
    embedding_answer,
    embedding_list,
    embedding_request,
    embedding_texts,
)
from moorage.external.exchange import Answer, Call, Document


class _Titan(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)

    embedding: list[float]
    input_text_token_count: int | None = None


def invoke_request(vendor: BedrockProvider, body: Mapping[str, Any]) -> Document:
    """The model's own request.

    Raises:
        BadRequest: the vendor has no such models, or they could not take the body.
    """
    match vendor:
        case BedrockProvider.AMAZON:
            return _titan_request(body)
        case BedrockProvider.COHERE:
            return embedding_request(body)
    raise BadRequest(
        f"'bedrock_provider' is '{vendor}', which has no embedding models on Amazon Bedrock; "
        "'amazon' and 'cohere' have."
    )


def invoke_answer(vendor: BedrockProvider, call: Call, model: str, body: bytes) -> Answer:
    """
    Raises:
        UnreadableAnswer: see there.
    """
    if vendor is BedrockProvider.COHERE:
        return embedding_answer(call, model, body)
    titan = read_as(_Titan, body, "the answer")
    return embedding_list(call, model, [titan.embedding], titan.input_text_token_count)


def _titan_request(body: Mapping[str, Any]) -> Document:
    texts = embedding_texts(body)
    if len(texts) > 1:
        raise BadRequest(
            f"'input' has {len(texts)} texts; Amazon's embedding models on Bedrock take one text a request: "
            "send a request for each."
        )
    request: Document = {"inputText": texts[0]}
    dimensions = chat_bodies.integer(body, "dimensions")
    if dimensions is not None:
        request["dimensions"] = dimensions
    return request
