"""Embeddings on Amazon Bedrock."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from bedrock_examples import API, NOW, target
from openai.types import CreateEmbeddingResponse

from moorage.api.errors import BadRequest
from moorage.api.external_models import ExternalTask
from moorage.external.exchange import Call, UnreadableAnswer, Usage


def embeddings(**body: Any) -> Call:
    return Call(ExternalTask.EMBEDDINGS, body, False, "id", 1_700_000_000)


@pytest.mark.parametrize(
    ("vendor", "given", "made"),
    [
        ("amazon", {"input": "a"}, {"inputText": "a"}),
        ("amazon", {"input": ["a"], "dimensions": 256}, {"inputText": "a", "dimensions": 256}),
        (
            "cohere",
            {"input": ["a", "b"]},
            {"texts": ["a", "b"], "input_type": "search_document", "embedding_types": ["float"]},
        ),
        (
            "cohere",
            {"input": "a", "input_type": "search_query", "dimensions": 512},
            {
                "texts": ["a"],
                "input_type": "search_query",
                "embedding_types": ["float"],
                "output_dimension": 512,
            },
        ),
    ],
)
def test_embeddings_are_asked_for_in_each_vendors_form(
    vendor: str, given: dict[str, Any], made: dict[str, Any]
) -> None:
    request = API.request(target(vendor, f"{vendor}.embed-v2:0"), embeddings(**given), None, NOW)

    assert json.loads(request.body) == made
    assert request.url.endswith(f"/model/{vendor}.embed-v2%3A0/invoke")


@pytest.mark.parametrize(
    ("vendor", "given", "named"),
    [
        ("amazon", {"input": ["a", "b"]}, "'input' has 2 texts"),
        ("amazon", {"input": []}, "'input'"),
        ("amazon", {"input": [1, 2]}, "'input'"),
        ("amazon", {"input": "a", "dimensions": "x"}, "'dimensions'"),
        ("cohere", {}, "'input'"),
        ("cohere", {"input": "a", "input_type": "x"}, "'input_type'"),
        ("anthropic", {"input": "a"}, "'bedrock_provider' is 'anthropic'"),
        ("ai21labs", {"input": "a"}, "'bedrock_provider' is 'ai21labs'"),
    ],
)
def test_embeddings_that_cannot_be_had_are_refused(vendor: str, given: dict[str, Any], named: str) -> None:
    with pytest.raises(BadRequest, match=named):
        API.request(target(vendor), embeddings(**given), None, NOW)


@pytest.mark.parametrize(
    ("vendor", "body", "vectors", "usage"),
    [
        (
            "amazon",
            {"embedding": [0.5, -1], "inputTextTokenCount": 4, "embeddingsByType": {"float": [0.5, -1]}},
            [[0.5, -1]],
            Usage(4, 0),
        ),
        ("amazon", {"embedding": [0.5]}, [[0.5]], None),
        ("cohere", {"embeddings": {"float": [[0.5], [1.0]]}, "id": "x", "texts": ["a", "b"]}, [[0.5], [1.0]], None),
        ("cohere", {"embeddings": [[0.5], [1.0]], "response_type": "embeddings_floats"}, [[0.5], [1.0]], None),
    ],
)
def test_answers_of_embeddings(
    vendor: str, body: dict[str, Any], vectors: list[list[float]], usage: Usage | None
) -> None:
    answer = API.answer(target(vendor, "m"), embeddings(input="a"), json.dumps(body).encode())

    CreateEmbeddingResponse.model_validate(answer.body)
    assert answer.usage == usage
    tokens = usage.input_tokens if usage else 0
    assert answer.body == {
        "object": "list",
        "model": "m",
        "data": [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def test_embeddings_in_base64_where_that_was_asked_for() -> None:
    body = b'{"embedding":[0.5,-1.0],"inputTextTokenCount":1}'
    answer = API.answer(target("amazon"), embeddings(input="a", encoding_format="base64"), body)

    assert base64.b64decode(answer.body["data"][0]["embedding"]) == b"\x00\x00\x00\x3f\x00\x00\x80\xbf"


@pytest.mark.parametrize("vendor", ["amazon", "cohere"])
@pytest.mark.parametrize("body", [b"{}", b'{"embedding":["x"],"embeddings":{"int8":[[1]]}}', b"<"])
def test_embeddings_of_another_form_are_unreadable(vendor: str, body: bytes) -> None:
    with pytest.raises(UnreadableAnswer):
        API.answer(target(vendor), embeddings(input="a"), body)


def test_no_token_is_needed() -> None:
    assert API.token_request(target(), NOW) is None
