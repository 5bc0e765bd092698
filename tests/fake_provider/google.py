"""Google's platform: its token service, and the models of Google and Anthropic on Vertex AI."""

from __future__ import annotations

import base64
import json
import time
from typing import Any
from urllib.parse import parse_qs

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from . import anthropic
from .checks import array, flag, integer, record, some_text, text
from .control import Script
from .gemini import error, error_event, generated
from .gemini_rules import VERTEX, camel, check_generate
from .openai import bearer
from .talk import count
from .vectors import vector
from .wire import Dialect, Plain, Refused, Reply, Request, answer

DIALECT = Dialect("vertex", error, error_event)
ANTHROPIC = Dialect("vertex", anthropic.error, anthropic.error_event, anthropic.DIALECT.broken_event)
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_LONGEST = 3600
_SKEW = 300


def _token_error(status: int, message: str) -> Plain:
    return answer({"error": "internal_failure", "error_description": message}, status)


TOKENS = Dialect("google_token", _token_error, error_event)


def token(request: Request, script: Script) -> Reply:
    """An access token for a signed JWT (RFC 7523) of a service account."""
    form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
    if form.get("grant_type") != _GRANT:
        told = {
            "error": "unsupported_grant_type",
            "error_description": f"Invalid grant_type: {form.get('grant_type')}",
        }
        return answer(told, 400)
    wrong = _wrong_assertion(form.get("assertion", ""), script)
    if wrong:
        return answer({"error": "invalid_grant", "error_description": wrong}, 400)
    seconds = script.token_seconds
    return answer({"access_token": script.keys["google_token"], "expires_in": seconds, "token_type": "Bearer"})


def _wrong_assertion(assertion: str, script: Script) -> str:
    """What is wrong with the JWT; empty when nothing is."""
    parts = assertion.split(".")
    try:
        header, claims, signature = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in parts)
        told, said = json.loads(header), json.loads(claims)
    except ValueError:
        return "Invalid JWT: Failed to parse the assertion."
    if told.get("alg") != "RS256" or told.get("typ") != "JWT":
        return "Invalid JWT: the header must have alg RS256 and typ JWT."
    if "=" in assertion:
        return "Invalid JWT: base64url without padding is expected."
    now = time.time()
    begun, ends = said.get("iat"), said.get("exp")
    if not isinstance(begun, int) or not isinstance(ends, int) or not begun < ends <= begun + _LONGEST:
        return "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
    if not begun - _SKEW <= now <= ends:
        return "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
    if "@" not in str(said.get("iss")):
        return "Invalid grant: account not found"
    if _SCOPE not in str(said.get("scope")).split():
        return "Invalid OAuth scope or ID token audience provided."
    if not str(said.get("aud")).endswith("/token"):
        return "Invalid JWT: the audience is not the token service."
    return _wrong_signature(script.keys["google_public_key"], f"{parts[0]}.{parts[1]}".encode(), signature)


def _wrong_signature(pem: str, signed: bytes, signature: bytes) -> str:
    if len(signature) < 64:
        return "Invalid JWT Signature."
    if not pem:
        return ""
    key = load_pem_public_key(pem.encode())
    assert isinstance(key, RSAPublicKey), "'google_public_key' is the PEM of an RSA key"
    try:
        key.verify(signature, signed, PKCS1v15(), SHA256())
    except InvalidSignature:
        return "Invalid JWT Signature."
    return ""


def _check_token(request: Request, script: Script) -> None:
    if bearer(request) != script.keys["google_token"]:
        info = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "ACCESS_TOKEN_TYPE_UNSUPPORTED",
            "domain": "googleapis.com",
        }  # fmt: skip
        message = (
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login "
            "cookie or other valid "
            "authentication credential."
        )
        raise Refused(error(401, message, [info]))


def generate(request: Request, script: Script) -> Reply:
    """Content of Google's models; here every content has a role."""
    _check_token(request, script)
    body = camel(request.json)
    check_generate(body, VERTEX)
    return generated(body, request, script)


def messages(request: Request, script: Script) -> Reply:
    """Messages of Anthropic's models."""
    _check_token(request, script)
    return anthropic.on_vertex(request, script, stream=request.at["verb"] == "streamRawPredict")


_PREDICT = record(
    {"instances": array(record({"content": some_text}, {"task_type": text, "title": text}), 1, 250)},
    {"parameters": record({}, {"autoTruncate": flag, "outputDimensionality": integer(1)})},
)


def predict(request: Request, script: Script) -> Reply:
    """Embeddings of Google's models."""
    _check_token(request, script)
    body: Any = request.json
    _PREDICT(body, "")
    size = (body.get("parameters") or {}).get("outputDimensionality") or script.embedding_size
    predictions = []
    for instance in body["instances"]:
        statistics = {"truncated": False, "token_count": count(instance["content"])}
        predictions.append({"embeddings": {"values": vector(instance["content"], size), "statistics": statistics}})
    characters = sum(len(instance["content"]) for instance in body["instances"])
    return answer({"predictions": predictions, "metadata": {"billableCharacterCount": characters}})
