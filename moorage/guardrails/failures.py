"""Why a check found nothing out."""

from __future__ import annotations

from enum import StrEnum


class Cause(StrEnum):
    """`TOO_LONG` is the request's own, `UNAVAILABLE` is not."""

    TOO_LONG = "too_long"
    UNAVAILABLE = "unavailable"


class CheckFailed(Exception):
    """There is no finding; the message says why."""

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause
