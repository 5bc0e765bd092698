"""Requests for embeddings: what is taken, and the answer. Source: OpenAI API reference, embeddings; Databricks,
Foundation Model REST API reference (`instruction`)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import orjson

from moorage.engines.embedding_model import Vectors

MOST_TEXTS = 2048
"""The longest list that OpenAI takes."""


class BadEmbeddingsRequest(Exception):
    """What is wrong with a request, for whoever sent it; `param` is the field."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class EncodingFormat(StrEnum):
    """`base64` is of the numbers as little-endian float32."""

    FLOAT = "float"
    BASE64 = "base64"


@dataclass(frozen=True, slots=True)
class EmbeddingsRequest:
    """`texts` have the instruction before them. `single` is for a request whose input was one text, not a list."""

    texts: tuple[str, ...]
    single: bool
    encoding: EncodingFormat

    def place(self, index: int) -> str:
        """How errors name a text."""
        return "input" if self.single else f"input[{index}]"


def read_request(body: bytes, dimensions: int) -> EmbeddingsRequest:
    """A request for a model whose vectors have `dimensions` numbers.

    Raises:
        BadEmbeddingsRequest: see there.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadEmbeddingsRequest(f"The request is no valid JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadEmbeddingsRequest("The request must be a JSON object.")
    given = document.get("input")
    texts = _texts(given)
    instruction = document.get("instruction")
    if instruction is not None and not isinstance(instruction, str):
        raise BadEmbeddingsRequest("'instruction' must be a string.", "instruction")
    if instruction:
        texts = tuple(_with_instruction(instruction, text) for text in texts)
    wanted = document.get("dimensions")
    if wanted is not None and (isinstance(wanted, bool) or wanted != dimensions):
        raise BadEmbeddingsRequest(
            f"'dimensions' must be {dimensions}: the vectors of this model cannot be shortened.", "dimensions"
        )
    encoding = document.get("encoding_format") or EncodingFormat.FLOAT
    if encoding not in list(EncodingFormat):
        raise BadEmbeddingsRequest("'encoding_format' must be 'float' or 'base64'.", "encoding_format")
    return EmbeddingsRequest(texts, isinstance(given, str), EncodingFormat(encoding))


def _texts(given: Any) -> tuple[str, ...]:
    if given is None:
        raise BadEmbeddingsRequest("Missing required field 'input'.", "input")
    if isinstance(given, str):
        given = [given]
    elif not isinstance(given, list):
        raise BadEmbeddingsRequest("'input' must be a string or a list of strings.", "input")
    if not 1 <= len(given) <= MOST_TEXTS:
        raise BadEmbeddingsRequest(f"'input' must have 1 to {MOST_TEXTS} texts, not {len(given)}.", "input")
    for index, text in enumerate(given):
        if isinstance(text, int | list) and not isinstance(text, bool):
            raise BadEmbeddingsRequest(
                "'input' must be text: token ids are those of another model's tokenizer.", "input"
            )
        if not isinstance(text, str):
            raise BadEmbeddingsRequest(f"'input[{index}]' must be a string.", "input")
        if not text:
            raise BadEmbeddingsRequest(f"'input[{index}]' must not be empty.", "input")
    return tuple(given)


def _with_instruction(instruction: str, text: str) -> str:
    between = "" if instruction[-1].isspace() else " "
    return f"{instruction}{between}{text}"


def answer(request: EmbeddingsRequest, vectors: Vectors, tokens: int, model: str) -> bytes:
    """The JSON of an answer."""
    document = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _encoded(vector, request.encoding)}
            for index, vector in enumerate(vectors)
        ],
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _encoded(vector: Vectors, encoding: EncodingFormat) -> Vectors | str:
    if encoding is EncodingFormat.BASE64:
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return np.ascontiguousarray(vector)


def error(message: str, status: int, param: str | None = None) -> bytes:
    """The JSON of a failure, in OpenAI's form."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": status}})


def over_the_context(place: str, tokens: int | None, context: int) -> BadEmbeddingsRequest:
    """`tokens` is None for a text that was not counted."""
    has = "is too long" if tokens is None else f"has {tokens} tokens"
    return BadEmbeddingsRequest(f"'{place}' {has}; the model takes at most {context} tokens.", "input")


def count(rows: Sequence[Sequence[int]]) -> int:
    """Tokens in all."""
    return sum(map(len, rows))
