"""Access tokens of Google Cloud for a service account.

Source: Google Identity, OAuth 2.0 for server to server applications; RFC 7523.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import orjson
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from moorage.api.errors import BadRequest
from moorage.external.exchange import TokenRequest

_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_SECONDS = 3600


def account_token_request(key_text: str, now: datetime) -> TokenRequest:
    """The form that is posted for a token of an hour. `key_text` is the service account's key file.

    Raises:
        BadRequest: it is no such key; the message names what is wrong and repeats nothing of it.
    """
    key = _key(key_text)
    url = _text(key, "token_uri")
    if not _is_web_address(url):
        raise _not_a_key("its 'token_uri' must be an http or https URL")
    issued = int(now.timestamp())
    claims = {
        "iss": _text(key, "client_email"),
        "scope": _SCOPE,
        "aud": url,
        "iat": issued,
        "exp": issued + _SECONDS,
    }
    header = {"alg": "RS256", "typ": "JWT"}
    if isinstance(key.get("private_key_id"), str):
        header["kid"] = key["private_key_id"]
    return TokenRequest(url, {"grant_type": _GRANT, "assertion": _signed(header, claims, _text(key, "private_key"))})


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _key(text: str) -> Mapping[str, Any]:
    try:
        key = orjson.loads(text)
    except orjson.JSONDecodeError:
        key = None
    if not isinstance(key, dict):
        raise _not_a_key("it is no JSON object")
    if key.get("type", "service_account") != "service_account":
        raise _not_a_key("its 'type' must be 'service_account'")
    return key


def _signed(header: dict[str, Any], claims: dict[str, Any], pem: str) -> str:
    # What these raise may quote the key, so that nothing of it goes on.
    try:
        return jwt.encode(header, claims, _signing_key(pem))
    except (JoseError, ValueError, TypeError):
        raise _not_a_key("its 'private_key' must be an RSA private key as PEM") from None


@lru_cache(maxsize=64)
def _signing_key(pem: str) -> RSAKey:
    """Kept, since checking that it is a sound key takes a hundred times as long as signing with it."""
    return RSAKey.import_key(pem)


def _text(key: Mapping[str, Any], field: str) -> str:
    value = key.get(field)
    if not isinstance(value, str) or not value:
        raise _not_a_key(f"its '{field}' is missing")
    return value


def _not_a_key(why: str) -> BadRequest:
    field = "google_cloud_vertex_ai_config.private_key"
    return BadRequest(f"'{field}' must be a service account's key as JSON text: {why}.")
