"""Amazon Bedrock: chat through its Converse API, embeddings through InvokeModel, requests signed with AWS keys.

Source: Amazon Bedrock API reference (runtime); AWS Signature Version 4.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import quote

import orjson
from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from moorage.api.errors import BadRequest
from moorage.api.external_models import BedrockProvider, ExternalTask
from moorage.external.bedrock_answers import ConverseStream, chat_answer, error_text
from moorage.external.bedrock_embeddings import invoke_answer, invoke_request
from moorage.external.bedrock_requests import converse_request
from moorage.external.bedrock_tools import answers_with_tool
from moorage.external.exchange import (
    AccessToken,
    Answer,
    Call,
    ChunkStream,
    HttpRequest,
    Target,
    TokenRequest,
)

_SERVICE = "bedrock"
_JSON = "application/json"
_EVENTS = "application/vnd.amazon.eventstream"
_MODEL = re.compile(r"[A-Za-z0-9:/._-]+")
_PREFIXES = {
    BedrockProvider.AI21LABS: "ai21",
    BedrockProvider.AMAZON: "amazon",
    BedrockProvider.ANTHROPIC: "anthropic",
    BedrockProvider.COHERE: "cohere",
}


class BedrockApi:
    """A `ProviderApi`."""

    def token_request(self, target: Target, now: datetime) -> TokenRequest | None:
        return None

    def request(self, target: Target, call: Call, token: AccessToken | None, now: datetime) -> HttpRequest:
        vendor = _vendor(target)
        if call.task is ExternalTask.EMBEDDINGS:
            operation, accept, document = "invoke", _JSON, invoke_request(vendor, call.body)
        else:
            document = converse_request(vendor, target.model, call.body)
            operation, accept = ("converse-stream", _EVENTS) if call.stream else ("converse", _JSON)
        region = target.options["aws_region"]
        base = target.options.get("bedrock_api_base", f"https://bedrock-runtime.{region}.amazonaws.com")
        url = f"{base.rstrip('/')}/model/{quote(_model_id(target), safe='')}/{operation}"
        body = orjson.dumps(document)
        return HttpRequest(url, _signed(target, url, {"accept": accept, "content-type": _JSON}, body, now), body)

    def answer(self, target: Target, call: Call, body: bytes) -> Answer:
        if call.task is ExternalTask.EMBEDDINGS:
            return invoke_answer(_vendor(target), call, target.model, body)
        return chat_answer(call, target.model, body, _answers_with_tool(target, call))

    def stream(self, target: Target, call: Call) -> ChunkStream:
        return ConverseStream(call, target.model, _answers_with_tool(target, call))

    def error_text(self, body: bytes) -> str:
        return error_text(body)


def _vendor(target: Target) -> BedrockProvider:
    return BedrockProvider(target.options["bedrock_provider"])


def _answers_with_tool(target: Target, call: Call) -> bool:
    return answers_with_tool(_vendor(target), target.model, call.body)


def _model_id(target: Target) -> str:
    """The name of a vendor's model may come without the vendor, which the configuration names.

    What has a dot names its vendor (`us.anthropic.claude-...`); what has no hyphen is the id of an inference profile.
    """
    model = target.model
    if not _MODEL.fullmatch(model):
        raise BadRequest(f"'external_model.name' is '{model}', which cannot be the id of a model on Amazon Bedrock.")
    if "." in model or "-" not in model or model.startswith("arn:"):
        return model
    return f"{_PREFIXES[_vendor(target)]}.{model}"


def _signed(target: Target, url: str, headers: dict[str, str], body: bytes, now: datetime) -> dict[str, str]:
    """The headers, and those of a signature of `now`, which `SigV4Auth.add_auth` would take from the clock."""
    try:
        keys = Credentials(target.credentials["aws_access_key_id"], target.credentials["aws_secret_access_key"])
    except KeyError:
        raise BadRequest(
            "This server can sign requests to Amazon Bedrock with keys alone: give 'aws_access_key_id' and "
            "'aws_secret_access_key' in 'amazon_bedrock_config'. It has no instance profiles or service credentials."
        ) from None
    timestamp = now.astimezone(UTC).strftime(SIGV4_TIMESTAMP)
    headers = {**headers, "x-amz-date": timestamp}
    request = AWSRequest(method="POST", url=url, headers=headers, data=body)
    request.context["timestamp"] = timestamp
    auth = SigV4Auth(keys, _SERVICE, target.options["aws_region"])
    signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    signed = auth.signed_headers(auth.headers_to_sign(request))
    return {
        **headers,
        "authorization": (
            f"AWS4-HMAC-SHA256 Credential={auth.scope(request)}, SignedHeaders={signed}, Signature={signature}"
        ),
    }
