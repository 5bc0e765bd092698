"""Personal access tokens: what they look like and what of them is kept."""

from __future__ import annotations

import hashlib
import secrets
from enum import StrEnum

PREFIX = "dapi"
NEVER = -1
MOST_TOKENS_PER_USER = 600
_CLIENT_SECRET_PREFIX = "dose"


class TokenKind(StrEnum):
    """What a token is: made by a user, an OAuth access token, or a browser's session."""

    PERSONAL = "personal"
    OAUTH = "oauth"
    SESSION = "session"


def new_token() -> str:
    """A fresh token: `dapi` and 32 random hex digits."""
    return PREFIX + secrets.token_hex(16)


def new_client_secret() -> str:
    """A fresh OAuth secret of a service principal: `dose` and 32 random hex digits."""
    return _CLIENT_SECRET_PREFIX + secrets.token_hex(16)


def new_opaque_token() -> str:
    """256 random bits in text: an authorization code, a refresh token or a browser's session."""
    return secrets.token_urlsafe(32)


def token_digest(token: str) -> str:
    """The SHA-256 hex digest, which is all that is stored of a token.

    A plain digest is enough: 128 random bits cannot be guessed from it, unlike a password.
    """
    return hashlib.sha256(token.encode()).hexdigest()


def expiry_time(now: int, lifetime_seconds: int | None) -> int:
    """When a token made at `now` ends, in milliseconds since the epoch, or -1 for never."""
    return NEVER if lifetime_seconds is None else now + lifetime_seconds * 1000
