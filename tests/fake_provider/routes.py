"""Which path belongs to which provider's call."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from . import anthropic, azure, bedrock, cohere, gemini, google, openai, openai_likes
from .checks import Invalid
from .control import Script
from .faults import DIALECTS
from .wire import Dialect, Plain, Reply, Request


@dataclass(frozen=True, slots=True)
class Route:
    """A call: its path, who answers, and how its dialect says what is wrong with a field."""

    method: str
    path: re.Pattern[str]
    dialect: Dialect
    answer: Callable[[Request, Script], Reply]
    invalid: Callable[[Invalid], Plain]
    is_token_service: bool = False


def _route(
    path: str, dialect: Dialect, answer: Callable[[Request, Script], Reply], invalid: Callable[[Invalid], Plain],
    *, method: str = "POST", is_token_service: bool = False,
) -> Route:  # fmt: skip
    return Route(method, re.compile(path), dialect, answer, invalid, is_token_service)


_GEMINI = r"/v1(?:beta)?/models/(?P<model>[^/:]+):"
_AZURE = r"/openai/deployments/(?P<model>[^/]+)/"
_VERTEX = r"/v1(?:beta1)?/projects/[^/]+/locations/[^/]+/publishers/"
_BEDROCK = r"/model/(?P<model>[^/]+)/"
_GENERATE = "(?P<verb>generateContent|streamGenerateContent)"

ROUTES: tuple[Route, ...] = (
    _route("/v1/chat/completions", openai.DIALECT, openai.chat, openai.invalid),
    _route("/v1/completions", openai.DIALECT, openai.completions, openai.invalid),
    _route("/v1/embeddings", openai.DIALECT, openai.embeddings, openai.invalid),
    _route("/v1/responses", openai.RESPONSES_DIALECT, openai.responses, openai.invalid),
    _route("/v1/models", openai.DIALECT, openai.models, openai.invalid, method="GET"),
    _route(_AZURE + "chat/completions", azure.DIALECT, azure.chat, openai.invalid),
    _route(_AZURE + "completions", azure.DIALECT, azure.completions, openai.invalid),
    _route(_AZURE + "embeddings", azure.DIALECT, azure.embeddings, openai.invalid),
    _route("/openai/v1/responses", azure.RESPONSES_DIALECT, azure.responses, openai.invalid),
    _route("/(?P<tenant>[^/]+)/oauth2/v2.0/token", azure.ENTRA, azure.token, openai.invalid, is_token_service=True),
    _route(
        "/serving-endpoints/(?P<model>[^/]+)/invocations", openai_likes.DATABRICKS, openai_likes.databricks,
        openai_likes.databricks_invalid,
    ),
    _route("/v1/messages", anthropic.DIALECT, anthropic.messages, anthropic.invalid),
    _route(_GEMINI + _GENERATE, gemini.DIALECT, gemini.generate, gemini.invalid),
    _route(_GEMINI + "(?P<verb>embedContent|batchEmbedContents)", gemini.DIALECT, gemini.embed, gemini.invalid),
    _route("/token", google.TOKENS, google.token, gemini.invalid, is_token_service=True),
    _route(_VERTEX + "google/models/(?P<model>[^/:]+):" + _GENERATE, google.DIALECT, google.generate, gemini.invalid),
    _route(_VERTEX + "google/models/(?P<model>[^/:]+):predict", google.DIALECT, google.predict, gemini.invalid),
    _route(
        _VERTEX + "anthropic/models/(?P<model>[^/:]+):(?P<verb>rawPredict|streamRawPredict)",
        google.ANTHROPIC, google.messages, anthropic.invalid,
    ),
    _route(_BEDROCK + "(?P<verb>converse|converse-stream)", bedrock.DIALECT, bedrock.converse, bedrock.invalid),
    _route(_BEDROCK + "(?P<verb>invoke)", bedrock.DIALECT, bedrock.invoke, bedrock.invalid),
    _route("/v2/chat", cohere.DIALECT, cohere.chat, cohere.invalid),
    _route("/v2/embed", cohere.DIALECT, cohere.embed, cohere.invalid),
    _route("/studio/v1/chat/completions", openai_likes.AI21, openai_likes.ai21, openai_likes.ai21_invalid),
    _route(
        ".*/(chat/completions|completions|embeddings)|/custom/.*", openai_likes.CUSTOM, openai_likes.custom,
        openai.invalid
    ),
)  # fmt: skip


assert {route.dialect.name for route in ROUTES} == set(DIALECTS)


def find(method: str, raw_path: str) -> tuple[Route, dict[str, str]] | None:
    """The route of a path and its named parts, decoded; None when there is none."""
    for route in ROUTES:
        found = route.path.fullmatch(raw_path)
        if found is not None and route.method == method:
            return route, {name: unquote(part) for name, part in found.groupdict().items()}
    return None
