"""What a client is told when a provider answers with an error, or with none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from moorage.api.engines import Engine
from moorage.api.errors import ApiError
from moorage.external.exchange import Target

_LONGEST_TEXT = 2000
_LONGEST_WAIT = 3600
_CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    409: "RESOURCE_CONFLICT",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    501: "NOT_IMPLEMENTED",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class ProviderError(ApiError):
    """A provider did not answer the request. `provider_status` is what it answered with, None when with nothing."""

    def __init__(
        self, status: int, message: str, *, provider_status: int | None = None, retry_after_seconds: int | None = None
    ) -> None:
        wait = retry_after_seconds if retry_after_seconds is not None else (1 if status in (429, 503) else None)
        super().__init__(message, headers={"Retry-After": str(wait)} if wait is not None else None)
        self.status = status
        self.error_code = _CODES.get(status, "BAD_REQUEST" if status < 500 else "INTERNAL_ERROR")
        self.provider_status = provider_status

    @property
    def another_may_answer(self) -> bool:
        """Whether it makes sense to ask another served entity: it was the provider's fault, or its limit."""
        return self.status == 429 or self.status >= 500


def status_for_client(provider_status: int) -> int:
    """The provider's own where it is a 4xx; else one that the clients know, and repeat or not as it makes sense."""
    if 400 <= provider_status < 500:
        return provider_status
    return {501: 501, 502: 503, 503: 503, 504: 504, 529: 503}.get(provider_status, 500)


def speaker(target: Target) -> str:
    """Who it is that does not answer, at the beginning of a sentence."""
    return "The model" if isinstance(target.provider, Engine) else f"The provider '{target.provider}'"


def answered_with(
    target: Target, status: int, text: str, headers: Mapping[bytes, bytes], now: datetime
) -> ProviderError:
    """The error for a provider's answer with that status and text."""
    words = without_credentials(target, text)[:_LONGEST_TEXT].strip() or "no reason given"
    message = f"{speaker(target)} answered with status {status}: {words}"
    wait = _retry_after(headers, now)
    return ProviderError(status_for_client(status), message, provider_status=status, retry_after_seconds=wait)


def not_reached(target: Target, why: str) -> ProviderError:
    """The error for a provider to which there is no connection, or that ended it."""
    return ProviderError(503, f"{speaker(target)} cannot be reached: {why}")


def too_late(target: Target, seconds: float) -> ProviderError:
    """The error for a provider that took too long."""
    return ProviderError(504, f"{speaker(target)} did not answer within {seconds:.0f} s.")


def unreadable(target: Target, why: str) -> ProviderError:
    """The error for an answer with status 200 that is none."""
    words = without_credentials(target, why)[:_LONGEST_TEXT]
    return ProviderError(500, f"{speaker(target)} gave an answer that cannot be read: {words}")


def without_credentials(target: Target, text: str) -> str:
    """The text without anything secret that the provider may have repeated."""
    for value in sorted(target.credentials.values(), key=len, reverse=True):  # one may be a part of another
        if value:
            text = text.replace(value, "[credential]")
    return text


def _retry_after(headers: Mapping[bytes, bytes], now: datetime) -> int | None:
    """Whole seconds, from `retry-after-ms` or `retry-after` in either of its forms (RFC 9110, 10.2.3)."""
    try:
        if (milliseconds := headers.get(b"retry-after-ms")) is not None:
            seconds = float(milliseconds) / 1000
        elif (given := headers.get(b"retry-after")) is None:
            return None
        elif given.strip().isdigit():
            seconds = float(given)
        else:
            date = parsedate_to_datetime(given.decode("latin-1"))
            seconds = (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()
        return min(max(math.ceil(seconds), 0), _LONGEST_WAIT)
    except (ValueError, OverflowError):
        return None
