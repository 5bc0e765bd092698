"""A webhook: JSON posted to a URL, signed so that its receiver can tell who sent it and when."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import aiohttp
import orjson

TIMESTAMP_HEADER = "X-Moorage-Timestamp"
SIGNATURE_HEADER = "X-Moorage-Signature"
_SECONDS = 10.0
_PASSING = frozenset({408, 425, 429})


class WebhookFailed(Exception):
    """The document was not taken; the message says why, and never where to. `passing`: it may be another time."""

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """`sha256=` and the hex HMAC-SHA256 of the timestamp, a dot and the body."""
    digest = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"sha256={digest}"


@dataclass(frozen=True, slots=True)
class Webhook:
    """`url` may itself be a secret. `clock` answers milliseconds since the epoch."""

    url: str = field(repr=False)
    secret: str | None = field(repr=False)
    clock: Callable[[], int]

    async def post(self, document: Mapping[str, object]) -> None:
        """Post it; any answer of status 2xx is good. Redirects are not followed: the body is for that URL only.

        Raises:
            WebhookFailed: it was not taken.
        """
        body = orjson.dumps(document)
        headers = {"Content-Type": "application/json", "User-Agent": "moorage"}
        headers[TIMESTAMP_HEADER] = timestamp = str(self.clock() // 1000)
        if self.secret is not None:
            headers[SIGNATURE_HEADER] = signature(self.secret, timestamp, body)
        timeout = aiohttp.ClientTimeout(total=_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(self.url, data=body, headers=headers, allow_redirects=False) as answer,
            ):
                status = answer.status
        except aiohttp.InvalidURL as error:
            raise WebhookFailed("the webhook's URL cannot be used", passing=False) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            # Only the kind of error: its text may hold the URL.
            raise WebhookFailed(f"the webhook does not answer ({type(error).__name__})", passing=True) from error
        if not 200 <= status < 300:
            raise WebhookFailed(
                f"the webhook answered with status {status}", passing=status >= 500 or status in _PASSING
            )
