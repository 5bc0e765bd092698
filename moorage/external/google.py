"""Google's models: the Gemini API, which took PaLM's place, and Vertex AI."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import orjson

from moorage.api.errors import BadRequest
from moorage.api.external_models import ExternalTask
from moorage.external.anthropic import AnthropicApi
from moorage.external.anthropic_requests import messages_body
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
from moorage.external.gemini import chat_request
from moorage.external.gemini_answers import chat_answer
from moorage.external.gemini_embeddings import batch_answer, batch_request, predict_answer, predict_request
from moorage.external.gemini_messages import Host
from moorage.external.gemini_models import model_name
from moorage.external.gemini_stream import GeminiStream
from moorage.external.google_account import account_token_request

_GEMINI_API = "https://generativelanguage.googleapis.com"
_CLAUDE = AnthropicApi()
_CLAUDE_VERSION = "vertex-2023-10-16"
_REGION = re.compile(r"[a-z][a-z0-9-]*")
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")
_SEVERAL_REGIONS = frozenset({"eu", "us"})


class PalmApi:
    """Provider `palm`. Options: `palm_api_base`; credential: `palm_api_key`, a key of the Gemini API."""

    def token_request(self, target: Target, now: datetime) -> TokenRequest | None:
        return None

    def request(self, target: Target, call: Call, token: AccessToken | None, now: datetime) -> HttpRequest:
        model = model_name(target.model)
        if call.task is ExternalTask.EMBEDDINGS:
            method, body = "batchEmbedContents", batch_request(model, call.body)
        else:
            method, body = _chat_method(call), chat_request(model, call.body, Host.GEMINI_API)
        base = target.options.get("palm_api_base", _GEMINI_API).rstrip("/")
        headers = {"content-type": "application/json", "x-goog-api-key": target.credentials["palm_api_key"]}
        return HttpRequest(f"{base}/v1beta/models/{model}:{method}", headers, _encoded(body))

    def answer(self, target: Target, call: Call, body: bytes) -> Answer:
        if call.task is ExternalTask.EMBEDDINGS:
            return batch_answer(target.model, call, body)
        return chat_answer(target.model, call, body)

    def stream(self, target: Target, call: Call) -> ChunkStream:
        return GeminiStream(target.model, call)

    def error_text(self, body: bytes) -> str:
        return error_text(body)


class VertexApi:
    """Provider `google-cloud-vertex-ai`: models of Google, and Anthropic's Claude.

    Options: `project_id`, `region`, `vertex_api_base`; credential: `private_key`, a service account's key file.
    """

    def token_request(self, target: Target, now: datetime) -> TokenRequest | None:
        return account_token_request(target.credentials["private_key"], now)

    def request(self, target: Target, call: Call, token: AccessToken | None, now: datetime) -> HttpRequest:
        if _is_claude(target):
            return _claude_request(target, call, token)
        model = model_name(target.model)
        if call.task is ExternalTask.EMBEDDINGS:
            method, body = "predict", predict_request(call.body)
        else:
            method, body = _chat_method(call), chat_request(model, call.body, Host.VERTEX_AI)
        url = f"{_vertex_models(target, 'google')}/{model}:{method}"
        return HttpRequest(url, _bearer(token), _encoded(body))

    def answer(self, target: Target, call: Call, body: bytes) -> Answer:
        if call.task is ExternalTask.EMBEDDINGS:
            return predict_answer(target.model, call, body)
        if _is_claude(target):
            return _CLAUDE.answer(target, call, body)
        return chat_answer(target.model, call, body)

    def stream(self, target: Target, call: Call) -> ChunkStream:
        return _CLAUDE.stream(target, call) if _is_claude(target) else GeminiStream(target.model, call)

    def error_text(self, body: bytes) -> str:
        return error_text(body)


def _chat_method(call: Call) -> str:
    return "streamGenerateContent?alt=sse" if call.stream else "generateContent"


def _is_claude(target: Target) -> bool:
    return target.model.startswith("claude-")


def _claude_request(target: Target, call: Call, token: AccessToken | None) -> HttpRequest:
    """Anthropic's body, with the model in the path alone. Source: Anthropic documentation, Claude on Vertex AI."""
    if call.task is ExternalTask.EMBEDDINGS:
        raise BadRequest("Claude models have no embeddings: task 'llm/v1/embeddings' needs another model.")
    model = model_name(target.model)
    body = {**messages_body(model, call.body), "anthropic_version": _CLAUDE_VERSION, "stream": call.stream}
    del body["model"]
    method = "streamRawPredict" if call.stream else "rawPredict"
    return HttpRequest(f"{_vertex_models(target, 'anthropic')}/{model}:{method}", _bearer(token), _encoded(body))


def _vertex_models(target: Target, publisher: str) -> str:
    """The URL above a publisher's models in the project and region of the target."""
    project, region = target.options["project_id"], target.options["region"]
    if not _PROJECT.fullmatch(project):
        raise BadRequest("'google_cloud_vertex_ai_config.project_id' is not the id of a Google Cloud project.")
    if not _REGION.fullmatch(region):
        raise BadRequest("'google_cloud_vertex_ai_config.region' must be a region or 'global'.")
    base = target.options.get("vertex_api_base", _vertex_host(region)).rstrip("/")
    return f"{base}/v1/projects/{project}/locations/{region}/publishers/{publisher}/models"


def _vertex_host(region: str) -> str:
    """Source: Vertex AI, regional and global endpoints."""
    if region == "global":
        return "https://aiplatform.googleapis.com"
    if region in _SEVERAL_REGIONS:
        return f"https://aiplatform.{region}.rep.googleapis.com"
    return f"https://{region}-aiplatform.googleapis.com"


def _bearer(token: AccessToken | None) -> dict[str, str]:
    if token is None:
        raise ValueError("a request to Vertex AI needs the access token that its token request is for")
    return {"content-type": "application/json", "authorization": f"Bearer {token.value}"}


def _encoded(body: Document) -> bytes:
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError as error:
        raise BadRequest(f"The body holds what JSON has no form for: {error}.") from None


def error_text(body: bytes) -> str:
    """What Google says: `error.message`, in an object or a list of them; of its token service both fields."""
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if isinstance(document, list) and document:
        document = document[0]
    if isinstance(document, dict):
        error = document.get("error")
        if isinstance(error, dict) and isinstance(error.get("message"), str) and error["message"]:
            return str(error["message"])
        if isinstance(error, str):
            described = document.get("error_description")
            return f"{error}: {described}" if isinstance(described, str) else error
    return body.decode("utf-8", "replace")
