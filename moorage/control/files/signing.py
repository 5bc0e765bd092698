"""Signed addresses: what whoever has one may do with one file, and until when.

The token is sealed by the server's key, so it says all there is to say itself and nothing has to be kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, ValidationError

from moorage.api.errors import InvalidParameterValue, PermissionDenied
from moorage.api.files import SIGNED_PATH
from moorage.control.dependencies import ControlDependencies
from moorage.encryption import SEALED_PREFIX, CannotDecrypt

LONGEST_MS = 3600 * 1000
_PURPOSE = "file-url"


class Action(StrEnum):
    READ = "read"
    WRITE = "write"
    PART = "part"
    ABORT = "abort"


_PATHS = {Action.PART: f"{SIGNED_PATH}parts/", Action.ABORT: f"{SIGNED_PATH}uploads/"}


class Grant(BaseModel):
    """What a token allows: an action on a file of the artifact store, or on an upload in parts.

    `user` is whose right it was, `expires` milliseconds since the epoch.
    """

    model_config = ConfigDict(frozen=True)

    action: Action
    user: str
    expires: int
    path: str = ""
    upload: str = ""
    part: int = 0


@dataclass(frozen=True, slots=True)
class SignedUrls:
    deps: ControlDependencies

    def expiry(self, wanted: str | None = None) -> int:
        """When a URL is to expire: at a time in RFC 3339, but in an hour at the latest.

        Raises:
            InvalidParameterValue: no such time, or one that is past.
        """
        now = self.deps.clock()
        if wanted is None:
            return now + LONGEST_MS
        try:
            time = datetime.fromisoformat(wanted)
            milliseconds = int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
        except (ValueError, OverflowError):
            raise InvalidParameterValue("Invalid value for 'expire_time': must be a time in RFC 3339") from None
        if milliseconds <= now:
            raise InvalidParameterValue("Invalid value for 'expire_time': it is past")
        return min(milliseconds, now + LONGEST_MS)

    def sign(self, base_url: str, grant: Grant) -> str:
        """The URL that grants it. `base_url` is where the client reaches this server."""
        # Without the prefix: a token that lies in a table somewhere is nothing to seal again when the key changes.
        token = self.deps.encryption.seal(_PURPOSE, grant.model_dump_json(exclude_defaults=True))
        return f"{base_url}{_PATHS.get(grant.action, SIGNED_PATH)}{token.removeprefix(SEALED_PREFIX)}"

    def open(self, token: str, *actions: Action) -> Grant:
        """
        Raises:
            PermissionDenied: no token of `sign`, an expired one, or one that allows none of these actions.
        """
        try:
            grant = Grant.model_validate_json(self.deps.encryption.open(_PURPOSE, f"{SEALED_PREFIX}{token}"))
        except (CannotDecrypt, ValidationError):
            raise PermissionDenied("Invalid signed URL.") from None
        if grant.expires <= self.deps.clock():
            raise PermissionDenied("The signed URL has expired.")
        if grant.action not in actions:
            raise PermissionDenied("The signed URL was made for another method.")
        return grant
