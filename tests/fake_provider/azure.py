"""Azure OpenAI and Entra, whose tokens it takes in place of keys."""

from __future__ import annotations

from urllib.parse import parse_qs

from . import openai
from .control import Script
from .openai_chat import chunks, replies_to, whole
from .openai_responses import responded
from .openai_rules import CHAT, ask_of, check_chat
from .openai_texts import completed, embedded
from .wire import DONE, Dialect, Json, Plain, Refused, Reply, Request, Stream, answer, sse

_FILTERS = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}


def error(status: int, message: str, code: str | None = None) -> Plain:
    return answer({"error": {"code": code or str(status), "message": message}}, status, apim_request_id="fake")


DIALECT = Dialect("azure", error, openai.error_event)
RESPONSES_DIALECT = Dialect("azure", error, openai.RESPONSES_DIALECT.error_event)


def _entra_error(status: int, message: str) -> Plain:
    return _entra("temporarily_unavailable", message, 90033, status)


ENTRA = Dialect("entra", _entra_error, openai.error_event)


def _check(request: Request, script: Script) -> None:
    if "api-version" not in request.query:
        raise Refused(error(404, "Resource not found"))
    token, key = openai.bearer(request), request.headers.get("api-key")
    if token and token == script.keys["entra_token"]:
        return
    if key != script.keys["azure"]:
        raise Refused(_denied())


def _denied() -> Plain:
    return error(
        401, "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid "
        "key for an active subscription and use a correct regional API endpoint for your resource.",
    )  # fmt: skip


def _body(request: Request) -> Json:
    """The body with the deployment for its model; the field itself is optional and of no effect."""
    return {**request.json, "model": request.at["model"]} if isinstance(request.json, dict) else request.json


def responses(request: Request, script: Script) -> Reply:
    """OpenAI's own, at the address without a version; the deployment is the model."""
    token, key = openai.bearer(request), request.headers.get("api-key")
    if token != script.keys["entra_token"] and key != script.keys["azure"]:
        raise Refused(_denied())
    return responded(request.json, script)


def chat(request: Request, script: Script) -> Reply:
    """As OpenAI's, with the marks of the content filter, which also come first in a stream, with no choice at all."""
    _check(request, script)
    body = _body(request)
    check_chat(body, CHAT)
    replies = replies_to(body, ask_of(body), script)
    prompt = [{"prompt_index": 0, "content_filter_results": _FILTERS}]
    if not body.get("stream"):
        told = whole(body, replies, script)
        for choice in told["choices"]:
            choice["content_filter_results"] = _FILTERS
        return answer({**told, "prompt_filter_results": prompt})
    first = {
        "choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": prompt,
    }  # fmt: skip
    events = [first, *chunks(body, replies, script)]
    for event in events[1:]:
        for choice in event["choices"]:
            choice["content_filter_results"] = _FILTERS if choice["delta"].get("content") else {}
    return Stream([*map(sse, events), DONE], endings=1)


def completions(request: Request, script: Script) -> Reply:
    _check(request, script)
    return completed(_body(request), script)


def embeddings(request: Request, script: Script) -> Reply:
    _check(request, script)
    return embedded(_body(request), script)


def _entra(code: str, message: str, number: int, status: int) -> Plain:
    told = {
        "error": code, "error_description": f"AADSTS{number}: {message}", "error_codes": [number],
        "timestamp": "2024-02-29 12:00:00Z", "trace_id": "fake", "correlation_id": "fake",
    }  # fmt: skip
    return answer(told, status)


def token(request: Request, script: Script) -> Reply:
    """An access token for a client's credentials (RFC 6749, 4.4), for the scope of Azure's cognitive services."""
    form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
    keys = script.keys
    if request.at["tenant"] != keys["entra_tenant"]:
        return _entra("invalid_request", f"Tenant '{request.at['tenant']}' not found.", 90002, 400)
    if form.get("grant_type") != "client_credentials":
        return _entra("unsupported_grant_type", "The app requested an unsupported grant type.", 70003, 400)
    if form.get("scope") != "https://cognitiveservices.azure.com/.default":
        return _entra(
            "invalid_scope", f"The provided value for scope {form.get('scope')} is not valid.", 1002012, 400
        )
    if form.get("client_id") != keys["entra_client_id"]:
        return _entra("unauthorized_client", "Application was not found in the directory.", 700016, 400)
    if form.get("client_secret") != keys["entra_client_secret"]:
        return _entra("invalid_client", "Invalid client secret provided.", 7000215, 401)
    seconds = script.token_seconds
    told = {
        "token_type": "Bearer",
        "expires_in": seconds,
        "ext_expires_in": seconds,
        "access_token": keys["entra_token"],
    }
    return answer(told)
