"""Answers of registered models that come in pieces: from a replica to a client as server-sent events.

Until the first piece has come nothing is sent, so that what fails before is an ordinary error. Each piece is one line
`data:`, and there are no other lines: MLflow's client refuses them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

from moorage.api.errors import ApiError, DeadlineExceeded, InternalError
from moorage.api.routing import ReplicaFault
from moorage.gateway.model_answers import AnswerForm, ModelError
from moorage.gateway.requests import Header, Send, send_whole
from moorage.gateway.transport import ReplicaGone, ReplicaStream, ReplicaTimeout
from moorage.gateway.watching import ClientLeft
from moorage.replica import frames

_logger = logging.getLogger(__name__)

EVENT_STREAM: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
)


class Books(Protocol):
    """What is to be written down of one answer, and said in its head."""

    def headers(self, head: frames.ResponseHead) -> list[Header]:
        """The head of the answer. The times are those of the model until now."""
        ...

    def enter(self, head: frames.ResponseHead, answer: bytes, *, streamed: bool, partial: bool) -> None:
        """Count and log it; `answer` is all that was sent, or a beginning that is longer than what is kept."""
        ...


class ModelStream:
    """One answer in pieces on its way to its client."""

    def __init__(
        self, form: AnswerForm, books: Books, send: Send, *, idle_seconds: float, most_kept: int | None
    ) -> None:
        """`idle_seconds` is how long the model may take from one piece to the next, and the client to take one in.

        `most_kept` bytes of it are kept for the books; None keeps nothing.
        """
        self.begun = False
        self._form = form
        self._books = books
        self._send = send
        self._idle_seconds = idle_seconds
        self._most_kept = most_kept
        self._kept: list[bytes] = []
        self._kept_bytes = 0

    async def pass_on(
        self, stream: ReplicaStream, sent: float, report: Callable[[str, ReplicaFault], None]
    ) -> None:
        """Send it as it comes, and enter it before its last byte goes out.

        `sent` is when the replica was asked, monotonic; `report` takes the id of a replica that needs a look.

        Raises:
            ClientLeft: the client does not take it in.
        """
        pieces = await stream.next(self._idle_seconds)
        if not pieces and stream.end is not None and (stream.end.head.status != 200 or stream.end.body):
            await self._send_whole(stream.end.head, stream.end.body)
            return
        headers = self._books.headers(_head_now(200, sent))
        headers.extend(EVENT_STREAM)
        self.begun = True
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        error: ApiError | None = None
        while pieces:
            await self._give(b"".join(map(self._form.event, pieces)))
            try:
                pieces = await stream.next(self._idle_seconds)
            except ReplicaTimeout:
                report(stream.replica_id, ReplicaFault.TIMED_OUT)
                error = DeadlineExceeded(f"The model sent nothing more for {self._idle_seconds:.0f} s.")
                break
            except ReplicaGone as gone:
                _logger.warning("replica %s: %s, in the middle of a stream", stream.replica_id, gone)
                report(stream.replica_id, ReplicaFault.UNREACHABLE)
                error = InternalError("The model process ended in the middle of its answer.")
                break
        head = stream.end.head if stream.end is not None else _head_now(500, sent)
        if error is None and stream.end is not None and head.status != 200:
            error = ModelError(head.status, stream.end.body)
        if error is not None:
            head = head._replace(status=error.status)
        last = self._form.last() if error is None else self._form.failed(error)
        self._keep(last)
        self.enter(head, partial=error is not None)
        await self._send({"type": "http.response.body", "body": last})

    def enter(self, head: frames.ResponseHead, *, partial: bool) -> None:
        """What has been sent goes into the books."""
        self._books.enter(head, b"".join(self._kept), streamed=self.begun, partial=partial)

    async def _send_whole(self, head: frames.ResponseHead, body: bytes) -> None:
        body = self._form.whole(head.status, body)
        self._books.enter(head, body, streamed=False, partial=False)
        await send_whole(self._send, head.status, body, self._books.headers(head))

    async def _give(self, events: bytes) -> None:
        self._keep(events)
        try:
            async with asyncio.timeout(self._idle_seconds):
                await self._send({"type": "http.response.body", "body": events, "more_body": True})
        except TimeoutError:
            raise ClientLeft() from None

    def _keep(self, events: bytes) -> None:
        if self._most_kept is not None and self._kept_bytes <= self._most_kept:
            self._kept.append(events)
            self._kept_bytes += len(events)


def _head_now(status: int, sent: float) -> frames.ResponseHead:
    """For an answer that is not at its end: all of the time since it was asked is the model's."""
    return frames.ResponseHead(status, 1, 0, int((time.monotonic() - sent) * 1e6))
