"""Amazon's Signature Version 4, checked as the service does: the scope, what must be signed, and the signature."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from .wire import Request

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<id>[^/\s]+)/(?P<day>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, ?"
    r"SignedHeaders=(?P<signed>[^,\s]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)
_SKEW = timedelta(minutes=5)


class BadSignature(Exception):
    """The exception that the service names, and its message."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


def check_signature(request: Request, keys: Mapping[str, str], now: datetime) -> None:
    """Check that the request was signed with `keys` for the service `bedrock` in the right region.

    Raises:
        BadSignature: it was not.
    """
    if "authorization" not in request.headers:
        raise BadSignature("MissingAuthenticationTokenException", "Missing Authentication Token")
    found = _AUTHORIZATION.fullmatch(request.headers["authorization"])
    if found is None:
        raise BadSignature(
            "IncompleteSignatureException", "Authorization header is not of the form of AWS4-HMAC-SHA256."
        )
    if found["id"] != keys["bedrock_access_key_id"]:
        raise BadSignature("UnrecognizedClientException", "The security token included in the request is invalid.")
    region = keys["bedrock_region"]
    for name, given, right in (("service", found["service"], "bedrock"), ("region", found["region"], region)):
        if given != right:
            raise BadSignature(
                "InvalidSignatureException", f"Credential should be scoped to correct {name}: '{right}'."
            )
    moment = request.headers.get("x-amz-date", "")
    signed = found["signed"].split(";")
    if not {"host", "x-amz-date"} <= set(signed) or not set(signed) <= set(request.headers) or not moment:
        raise BadSignature("IncompleteSignatureException", "'Host' and 'X-Amz-Date' must be signed headers.")
    if moment[:8] != found["day"]:
        raise BadSignature(
            "InvalidSignatureException", "Date in Credential scope does not match YYYYMMDD from ISO-8601."
        )
    if abs(datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) - now) > _SKEW:
        raise BadSignature("InvalidSignatureException", f"Signature expired: {moment} is now earlier than the limit.")
    right = _signature(
        request, signed, f"{found['day']}/{region}/bedrock/aws4_request", keys["bedrock_secret_access_key"]
    )
    if not hmac.compare_digest(right, found["signature"]):
        raise BadSignature(
            "InvalidSignatureException",
            "The request signature we calculated does not match the signature you provided. Check your "
            "AWS Secret Access "
            "Key and signing method. Consult the service documentation for details.",
        )


def _signature(request: Request, signed: list[str], scope: str, secret: str) -> str:
    query = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in sorted(request.query.items()))
    headers = "".join(f"{name}:{' '.join(request.headers[name].split())}\n" for name in signed)
    canonical = "\n".join(
        [
            # The path as it was sent, encoded once more: the rule of all services but the object store.
            request.method, quote(request.raw_path, safe="/-_.~"), query, headers, ";".join(signed),
            hashlib.sha256(request.body).hexdigest(),
        ]
    )  # fmt: skip
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = f"AWS4-HMAC-SHA256\n{request.headers['x-amz-date']}\n{scope}\n{digest}"
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, to_sign.encode(), "sha256").hexdigest()
