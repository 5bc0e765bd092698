"""The answer that has a file, or one range of it. Source: RFC 9110, sections 13 and 14."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from moorage.api.errors import PreconditionFailed, RangeNotSatisfiable
from moorage.registry.artifacts import Entry, OpenArtifact

_MEDIA_TYPE = "application/octet-stream"
_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.IGNORECASE)


class FileAnswer(StreamingResponse):
    """Streams what a request asks of an open file, and closes it in any case.

    Raises:
        PreconditionFailed: it was changed after the time in `If-Unmodified-Since`.
        RangeNotSatisfiable: the range begins behind its end.
    """

    def __init__(self, file: OpenArtifact, asked: Mapping[str, str]) -> None:
        self._file = file
        try:
            status, headers, start, length = _plan(file.entry, asked)
        except BaseException:
            file.close()
            raise
        super().__init__(self._chunks(start, length), status_code=status, headers=headers, media_type=_MEDIA_TYPE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await run_in_threadpool(self._file.close)

    async def _chunks(self, start: int, length: int) -> AsyncIterator[bytes]:
        chunks = self._file.chunks(start, length)
        while chunk := await run_in_threadpool(next, chunks, b""):
            yield chunk


def head_answer(entry: Entry, asked: Mapping[str, str]) -> Response:
    """What `FileAnswer` says of a file, without the file; raises as it does."""
    status, headers, _, _ = _plan(entry, asked)
    return Response(status_code=status, headers=headers, media_type=_MEDIA_TYPE)


def etag_of(entry: Entry) -> str | None:
    """Of a file whose time is known; it is another one when the file is."""
    return None if entry.modified is None else f'"{entry.modified:x}-{entry.size:x}"'


def _plan(entry: Entry, asked: Mapping[str, str]) -> tuple[int, dict[str, str], int, int]:
    """Status, headers, and which bytes: the first and how many."""
    # A browser that is signed in here takes a file for nothing but a file, whatever somebody has put into it.
    headers = {"accept-ranges": "bytes", "x-content-type-options": "nosniff"}
    etag = etag_of(entry)
    if entry.modified is not None and etag is not None:
        headers |= {"last-modified": _date(entry.modified), "etag": etag}
        limit = _milliseconds(asked.get("if-unmodified-since", ""))
        if limit is not None and entry.modified // 1000 * 1000 > limit:
            raise PreconditionFailed(f"The file was changed after {asked['if-unmodified-since']}.")
    wanted = _range(asked.get("range", ""), entry.size) if _range_holds(asked.get("if-range"), headers) else None
    if wanted is None:
        return 200, {**headers, "content-length": str(entry.size)}, 0, entry.size
    start, end = wanted
    headers |= {"content-range": f"bytes {start}-{end - 1}/{entry.size}", "content-length": str(end - start)}
    return 206, headers, start, end - start


def _range(text: str, size: int) -> tuple[int, int] | None:
    """The first byte and the one after the last; None for the whole file, as of a range in any other form.

    Raises:
        RangeNotSatisfiable: it begins behind the end.
    """
    found = _RANGE.fullmatch(text)
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        if int(last) == 0 or size == 0:
            raise RangeNotSatisfiable(size)
        return max(0, size - int(last)), size
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise RangeNotSatisfiable(size)
    return start, min(int(last) + 1, size) if last else size


def _range_holds(condition: str | None, headers: Mapping[str, str]) -> bool:
    """Whether `If-Range` lets a range be sent: the file is still the one that the client has the rest of."""
    return condition is None or condition.strip() in (headers.get("etag"), headers.get("last-modified"))


def _date(milliseconds: int) -> str:
    return format_datetime(datetime.fromtimestamp(milliseconds // 1000, UTC), usegmt=True)


def _milliseconds(date: str) -> int | None:
    """None of what is no HTTP date: such a condition does not hold or fail, it is not there."""
    try:
        time = parsedate_to_datetime(date)
        return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
