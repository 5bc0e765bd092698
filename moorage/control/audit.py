"""Writes down every request that changes something, or that reads a secret: who, what, from where, how it ended.

Bodies are not kept. Of the members of a body and of the query only those that name an object are, so that nothing
secret gets here.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, QueryParams
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moorage.api.audit import AuditEntry, AuditPage
from moorage.api.errors import PermissionDenied
from moorage.api.principal import decode_principal
from moorage.api.routing import CLIENT_HEADER, PRINCIPAL_HEADER, Principal
from moorage.control.store import audit as store
from moorage.control.store.audit import AuditFilter
from moorage.control.store.engine import Sessions, reading
from moorage.control.store.models import AuditRecord
from moorage.control.surface import REQUEST_ID_HEADER

_logger = logging.getLogger(__name__)

_READS = {"GET", "HEAD", "OPTIONS"}
_READS_OF_SECRETS = {"get_secret"}
_READS_BY_POST = {
    "get_version_logs", "get_version_build_logs", "search_prompts", "search_prompt_versions", "create_download_url",
    "credentials_for_read", "credentials_for_download", "emit_catalog_version_lineage",
}  # fmt: skip
_STEPS_OF_UPLOADS = {"create_upload_part_urls", "create_abort_upload_url", "upload_part"}
"""Their beginning and their end are kept."""
_FILES = {"upload_file", "upload_signed_file"}
"""Bodies of these are files: what their members are called names nothing."""
_INTERNAL = "/internal/"
_LONGEST_BODY = 64 * 1024
_LONGEST_WORD = 255
_EXPORTED_AT_ONCE = 500
_FORGOTTEN_AT_ONCE = 1000
_FORGET_SECONDS = 3600.0
_DAY_MS = 24 * 3600 * 1000

_NAMES = (
    "name", "endpoint_name", "registered_model_name", "version", "stage", "entity_name", "entity_version", "scope",
    "key", "principal", "permission", "token_id", "application_id", "userName", "displayName", "user_name",
    "group_name", "service_principal_name", "client_id", "grant_type", "config_version", "creator", "id",
    "catalog_name", "schema_name", "model_name", "alias", "version_num", "new_name", "owner", "comment",
)  # fmt: skip
"""Members of a body or a query that are kept: names of objects, never their contents."""


class AuditTrail:
    """ASGI middleware; it stands where the route of a request is known after the application has answered.

    The entry is written before the answer goes out. When it cannot be written the answer goes out all the same, and
    the log has the entry.
    """

    def __init__(self, app: ASGIApp, sessions: Sessions, clock: Callable[[], int]) -> None:
        self._app = app
        self._sessions = sessions
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_INTERNAL):
            await self._app(scope, receive, send)
            return
        body = _Tee(receive)

        async def record_first(message: Message) -> None:
            if message["type"] == "http.response.start":
                route: BaseRoute | None = scope.get("route")
                action = getattr(route, "name", "")
                if action and (_changes(scope["method"], action) or action in _READS_OF_SECRETS):
                    await self._record(_entry(scope, action, body.document(), message["status"], self._clock()))
            await send(message)

        try:
            await self._app(scope, body.receive, record_first)
        except Exception:
            # Whoever catches this answers it without coming back here.
            action = getattr(scope.get("route"), "name", "")
            if action and _changes(scope["method"], action):
                await self._record(_entry(scope, action, body.document(), 500, self._clock()))
            raise

    async def _record(self, record: AuditRecord) -> None:
        words = {name: getattr(record, name) for name in ("user_name", "action", "object_id", "status")}
        try:
            await run_in_threadpool(self._write, record)
        except Exception:
            _logger.exception("an entry of the audit log could not be written: %s", words)

    def _write(self, record: AuditRecord) -> None:
        with self._sessions.begin() as session:
            store.add(session, [record])


class AuditLog:
    """Reads the log, for admins."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def page(self, caller: Principal, wanted: AuditFilter, *, before: int | None, limit: int) -> AuditPage:
        """Entries, newest first.

        Raises:
            PermissionDenied: the caller is no admin.
        """
        _require_admin(caller)
        with reading(self._sessions) as session:
            rows = store.newest(session, wanted, before=before, limit=limit + 1)
            entries = tuple(map(_output, rows[:limit]))
        return AuditPage(entries=entries, next_page_token=str(entries[-1].id) if len(rows) > limit else None)

    def export(self, caller: Principal, wanted: AuditFilter) -> Iterator[bytes]:
        """All entries that match, oldest first, a line of JSON each.

        Raises:
            PermissionDenied: the caller is no admin.
        """
        _require_admin(caller)
        return self._lines(wanted)

    def _lines(self, wanted: AuditFilter) -> Iterator[bytes]:
        after = 0
        while True:
            with reading(self._sessions) as session:
                rows = store.oldest(session, wanted, after=after, limit=_EXPORTED_AT_ONCE)
                lines = [_output(row).model_dump_json().encode() + b"\n" for row in rows]
            if not rows:
                return
            after = rows[-1].id
            yield b"".join(lines)

    def forget_before(self, timestamp: int) -> int:
        """Remove entries older than that, in short transactions; how many they were."""
        forgotten = 0
        while True:
            with self._sessions.begin() as session:
                count = store.forget_before(session, timestamp, limit=_FORGOTTEN_AT_ONCE)
            forgotten += count
            if count < _FORGOTTEN_AT_ONCE:
                return forgotten


async def forget_for_ever(log: AuditLog, clock: Callable[[], int], days: float) -> None:
    """Remove entries that are older than that, every hour."""
    while True:
        try:
            await run_in_threadpool(log.forget_before, clock() - int(days * _DAY_MS))
        except Exception:
            _logger.exception("old entries of the audit log could not be removed; again in an hour")
        await asyncio.sleep(_FORGET_SECONDS)


class _Tee:
    """The request's messages as they come, with the body remembered up to a limit."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._parts: list[bytes] = []
        self._size = 0

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            part = message.get("body", b"")
            self._size += len(part)
            if self._size <= _LONGEST_BODY:
                self._parts.append(part)
        return message

    def document(self) -> dict[str, Any]:
        """The body's JSON object; nothing when it is none, or too long."""
        if self._size > _LONGEST_BODY:
            return {}
        try:
            found = json.loads(b"".join(self._parts))
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


def _changes(method: str, action: str) -> bool:
    """Whether requests of that route are to change something."""
    return method not in _READS and action not in _READS_BY_POST and action not in _STEPS_OF_UPLOADS


def _entry(scope: Scope, action: str, document: dict[str, Any], status: int, now: int) -> AuditRecord:
    headers = Headers(scope=scope)
    caller = decode_principal(headers.get(PRINCIPAL_HEADER, ""))
    parameters = {name: str(value) for name, value in scope.get("path_params", {}).items()}
    document = {} if action in _FILES else document
    given = {**QueryParams(scope["query_string"]), **document}
    named = {name: _word(given[name]) for name in _NAMES if isinstance(given.get(name), (str, int))}
    tags = getattr(scope.get("route"), "tags", None) or [""]
    object_id = next(iter({**parameters, **named}.values()), "")
    return AuditRecord(
        timestamp=now,
        user_id=caller.id if caller else "",
        user_name=caller.user_name if caller else "",
        action=action,
        object_type=str(tags[0])[:32],
        object_id=_word(object_id),
        source_address=headers.get(CLIENT_HEADER, "")[:64],
        request_id=headers.get(REQUEST_ID_HEADER, "")[:128],
        status=status,
        details={**parameters, **named},
    )


def _word(value: object) -> str:
    """Text that a database keeps: JSON can spell halves of surrogate pairs and NUL."""
    return str(value).encode("utf-8", "replace").decode().replace("\x00", "")[:_LONGEST_WORD]


def _output(record: AuditRecord) -> AuditEntry:
    return AuditEntry.model_validate(record, from_attributes=True)


def _require_admin(caller: Principal) -> None:
    if not caller.admin:
        raise PermissionDenied(f"User '{caller.user_name}' is no admin; the audit log is for admins.")
