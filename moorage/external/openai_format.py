"""Providers that speak OpenAI's form themselves: OpenAI, Azure OpenAI, Databricks, AI21 and custom ones.

Requests keep all but the model's name, answers pass as they come.
Sources: OpenAI API reference; Azure OpenAI REST API reference; Databricks, external models; AI21 Studio reference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

import orjson

from moorage.api.errors import BadRequest
from moorage.api.external_models import ExternalTask, OpenAIApiType, Provider
from moorage.api.surfaces import Surface
from moorage.external.exchange import (
    AccessToken,
    Answer,
    Call,
    Document,
    HttpRequest,
    Target,
    TokenRequest,
    UnreadableAnswer,
    Usage,
)
from moorage.external.pass_through import OpenAIChunks, failure_in, usage_from
from moorage.external.responses import refuse_kept_state

_OPENAI = "https://api.openai.com/v1"
_OPENAI_HOST = re.compile(r"(?:[a-z]+\.)?api\.openai\.com")
_AI21LABS = "https://api.ai21.com/studio/v1"
_MICROSOFT_ENTRA = "https://login.microsoftonline.com"
_AZURE_SCOPE = "https://cognitiveservices.azure.com/.default"

_PATHS = {
    ExternalTask.CHAT: "chat/completions",
    ExternalTask.COMPLETIONS: "completions",
    ExternalTask.EMBEDDINGS: "embeddings",
}

_REASONING_MODEL = re.compile(r"(?:ft:)?(?:o\d|gpt-[5-9])")
"""OpenAI's models that refuse `max_tokens`, by their names."""

_GIVE_USAGE_UNASKED = frozenset({Provider.DATABRICKS_MODEL_SERVING, Provider.AI21LABS})
_AZURE_KNOWS_STREAM_OPTIONS = "2024-09-01"
"""The first version of Azure's API that does; older ones refuse the field."""

_LONGEST_TEXT = 4000


class OpenAIFormatApi:
    """`ProviderApi` of the providers that speak OpenAI's form."""

    def token_request(self, target: Target, now: datetime) -> TokenRequest | None:
        """Only Azure with Microsoft Entra ID has access tokens: client credentials (RFC 6749, 4.4)."""
        if _api_type(target) is not OpenAIApiType.AZURE_AD:
            return None
        authority = target.options.get("microsoft_entra_authority", _MICROSOFT_ENTRA).rstrip("/")
        tenant = quote(target.options["microsoft_entra_tenant_id"], safe="")
        form = {
            "grant_type": "client_credentials",
            "client_id": target.options["microsoft_entra_client_id"],
            "client_secret": target.credentials["microsoft_entra_client_secret"],
            "scope": _AZURE_SCOPE,
        }
        return TokenRequest(f"{authority}/{tenant}/oauth2/v2.0/token", form)

    def request(self, target: Target, call: Call, token: AccessToken | None, now: datetime) -> HttpRequest:
        """See `ProviderApi`."""
        if target.provider is Provider.AI21LABS and call.task is not ExternalTask.CHAT:
            raise BadRequest("Models of provider 'ai21labs' take chat completions alone.")
        document = _with_stream(call.body, call.stream)
        document["model"] = target.model
        if call.stream and _takes_stream_options(target):
            options = document.get("stream_options")
            if options is None or (isinstance(options, dict) and "include_usage" not in options):
                document["stream_options"] = {**(options or {}), "include_usage": True}
        elif call.stream:
            document.pop("stream_options", None)  # the provider knows no such field
        if "max_tokens" in document and call.task is ExternalTask.CHAT and _is_reasoning_model(target):
            limit = document.pop("max_tokens")
            document.setdefault("max_completion_tokens", limit)
        return HttpRequest(_url(target, call.task), _headers(target, token), orjson.dumps(document))

    def responses_request(
        self, target: Target, body: Mapping[str, Any], stream: bool, token: AccessToken | None
    ) -> HttpRequest:
        """The request for a provider that has the Responses API itself: see `supports_native`.

        Raises:
            BadRequest: the body asks for something to be kept, or for what this server does not offer.
        """
        refuse_kept_state(body)
        document = _with_stream(body, stream)
        base = _base(target)
        if _api_type(target) is OpenAIApiType.OPENAI:
            document["model"] = target.model
            url = f"{base}/responses"
        else:
            document["model"] = target.options["openai_deployment_name"]
            url = f"{base}/openai/v1/responses"
        return HttpRequest(url, _headers(target, token), orjson.dumps(document))

    def answer(self, target: Target, call: Call, body: bytes) -> Answer:
        """See `ProviderApi`. Where the bytes can be passed on, `usage_of` is all that is needed."""
        document = {**_beside_choices(target, call, "chat.completion"), **_answer_document(body)}
        return Answer(document, usage_from(document.get("usage")))

    def stream(self, target: Target, call: Call) -> OpenAIChunks:
        """See `ProviderApi`. Where the bytes can be passed on, `PassThroughStream` does it."""
        return OpenAIChunks(choices_of(call.body), _beside_choices(target, call, "chat.completion.chunk"))

    def error_text(self, body: bytes) -> str:
        """See `ProviderApi`."""
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            document = None
        text = _message_in(document) or body.decode("utf-8", "replace").strip()
        return text[:_LONGEST_TEXT]


def supports_native(target: Target, surface: Surface) -> bool:
    """Whether the provider takes queries in that form itself; the others go through the form of chat.

    Servers that are compatible with OpenAI, reached by a base URL of their own, often have no Responses API.
    """
    if surface is Surface.MESSAGES or surface.task is not target.task:
        return False
    if surface is Surface.RESPONSES:
        if target.provider is not Provider.OPENAI:
            return False
        host = urlsplit(_base(target)).hostname or ""
        return _api_type(target) is not OpenAIApiType.OPENAI or _OPENAI_HOST.fullmatch(host) is not None
    return target.provider is not Provider.AI21LABS  # see `_beside_choices`


def usage_of(body: bytes) -> Usage | None:
    """What a whole answer says of tokens: of chat, completions, embeddings or responses.

    Raises:
        UnreadableAnswer: the body is no JSON object, or holds an error.
    """
    return usage_from(_answer_document(body).get("usage"))


def choices_of(body: Mapping[str, Any]) -> int:
    """How many answers a request asks for."""
    choices = body.get("n")
    return choices if isinstance(choices, int) and choices > 1 else 1


def asks_for_usage(body: Mapping[str, Any]) -> bool:
    """Whether a client wants the chunk that holds the usage and no choice."""
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def _beside_choices(target: Target, call: Call, kind: str) -> Document:
    """What clients expect beside the choices, and AI21 does not say."""
    if target.provider is not Provider.AI21LABS:
        return {}
    return {"object": kind, "created": call.created, "model": target.model}


def _answer_document(body: bytes) -> Document:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UnreadableAnswer(f"the answer is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise UnreadableAnswer("the answer is not a JSON object")
    failure = failure_in(document)
    if failure is not None:
        raise UnreadableAnswer(f"the answer has status 200 and holds an error: {failure}")
    return document


def _message_in(document: Any) -> str:
    """The words of an error: `{"error": {"message"}}`, `{"error": "..."}`, `{"message"}` or `{"detail"}`."""
    if isinstance(document, list) and document:
        document = document[0]
    for field in ("error", "message", "detail"):
        value = document.get(field) if isinstance(document, dict) else None
        if isinstance(value, str) and value:
            return value
        if isinstance(value, dict) and isinstance(value.get("message"), str):
            return str(value["message"])
    return ""


def _api_type(target: Target) -> OpenAIApiType:
    return OpenAIApiType(target.options.get("openai_api_type", OpenAIApiType.OPENAI))


def _base(target: Target) -> str:
    return target.options.get("openai_api_base", _OPENAI).rstrip("/")


def _url(target: Target, task: ExternalTask) -> str:
    options = target.options
    path = _PATHS[task]
    if target.provider is Provider.CUSTOM:
        return _custom_url(options["custom_provider_url"], path)
    if target.provider is Provider.DATABRICKS_MODEL_SERVING:
        workspace = options["databricks_workspace_url"].rstrip("/")
        return f"{workspace}/serving-endpoints/{quote(target.model, safe='')}/invocations"
    if target.provider is Provider.AI21LABS:
        return f"{options.get('ai21labs_api_base', _AI21LABS).rstrip('/')}/{path}"
    if _api_type(target) is OpenAIApiType.OPENAI:
        return f"{_base(target)}/{path}"
    deployment = quote(options["openai_deployment_name"], safe="")
    version = quote(options["openai_api_version"], safe="")
    return f"{_base(target)}/openai/deployments/{deployment}/{path}?api-version={version}"


def _custom_url(url: str, path: str) -> str:
    """The URL is that of the operation itself; or of another operation beside it; or the base of all."""
    base = url.rstrip("/")
    for known in _PATHS.values():  # the longest first: `chat/completions` ends with `completions`
        if base.endswith(f"/{known}"):
            return url if known == path else f"{base.removesuffix(known)}{path}"
    return f"{base}/{path}"


def _headers(target: Target, token: AccessToken | None) -> dict[str, str]:
    headers = {"content-type": "application/json"}
    credentials = target.credentials
    if target.provider is Provider.CUSTOM:
        if "api_key_value" in credentials:
            headers[target.options["api_key_header"].lower()] = credentials["api_key_value"]
        else:
            headers["authorization"] = f"Bearer {credentials['bearer_token']}"
    elif target.provider is Provider.DATABRICKS_MODEL_SERVING:
        headers["authorization"] = f"Bearer {credentials['databricks_api_token']}"
    elif target.provider is Provider.AI21LABS:
        headers["authorization"] = f"Bearer {credentials['ai21labs_api_key']}"
    elif (api_type := _api_type(target)) is OpenAIApiType.AZURE:
        headers["api-key"] = credentials["openai_api_key"]
    elif api_type is OpenAIApiType.AZURE_AD:
        if token is None:
            raise ValueError("an access token is needed: see token_request")
        headers["authorization"] = f"Bearer {token.value}"
    else:
        headers["authorization"] = f"Bearer {credentials['openai_api_key']}"
        if organization := target.options.get("openai_organization"):
            headers["openai-organization"] = organization
    return headers


def _with_stream(body: Mapping[str, Any], stream: bool) -> Document:
    """A copy of the body whose `stream` is as wanted; OpenAI refuses `stream_options` without it."""
    document = dict(body)
    if stream:
        document["stream"] = True
    elif document.get("stream"):
        del document["stream"]
        document.pop("stream_options", None)
    return document


def _takes_stream_options(target: Target) -> bool:
    if target.provider in _GIVE_USAGE_UNASKED:
        return False
    if target.provider is Provider.OPENAI and _api_type(target) is not OpenAIApiType.OPENAI:
        return target.options["openai_api_version"] >= _AZURE_KNOWS_STREAM_OPTIONS
    return True


def _is_reasoning_model(target: Target) -> bool:
    return target.provider is Provider.OPENAI and _REASONING_MODEL.match(target.model) is not None
