"""The audit log on the wire."""

from __future__ import annotations

from typing import Any

from moorage.api.wire import WireOutput


class AuditEntry(WireOutput):
    """Who did what to which object, from where, and how it ended.

    `timestamp` is milliseconds since the epoch. `action` is the operation's name, `status` the HTTP status of its
    answer. `user_name` is empty for a request that came without a credential, such as one for a token.
    """

    id: int
    timestamp: int
    user_id: str
    user_name: str
    action: str
    object_type: str
    object_id: str
    source_address: str
    request_id: str
    status: int
    details: dict[str, Any]


class AuditPage(WireOutput):
    """Newest first. `next_page_token` is there when there are older ones."""

    entries: tuple[AuditEntry, ...]
    next_page_token: str | None = None
