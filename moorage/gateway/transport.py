"""Connections from this gateway to replicas: many requests on one socket, writes coalesced per loop turn.

An answer comes whole, or in pieces as fast as they are read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple, cast

from moorage import unix
from moorage.replica import frames

_RECONNECT_SECONDS = 1.0
_CREDIT_BYTES = frames.STREAM_WINDOW_BYTES // 4  # a stream of fewer costs no frames but its own


class ReplicaGone(Exception):
    """The connection ended, or could not be made, before the replica answered."""


class ReplicaTimeout(Exception):
    """The replica did not answer within the request's time."""


class ReplicaAnswer(NamedTuple):
    """What a replica said. Times are microseconds."""

    head: frames.ResponseHead
    body: bytes


class ReplicaStream:
    """An answer that comes in pieces. `end` is its end once that has come; its body is empty where all went well.

    `close` it in any case: nothing goes on for nobody then.
    """

    def __init__(self, link: ReplicaLink, protocol: _Protocol, number: int) -> None:
        self.end: ReplicaAnswer | None = None
        self.replica_id = link.replica_id
        self._link = link
        self._protocol = protocol
        self._number = number
        self._loop = asyncio.get_running_loop()
        self._arrived: list[bytes] = []
        self._failure: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = 0.0
        self._taken = 0
        self._closed = False

    async def begun(self, seconds: float) -> None:
        """Wait for the first piece, or for the end where there is none.

        Raises:
            ReplicaGone: the connection ended before.
            ReplicaTimeout: so many seconds went by.
        """
        while not self._arrived and self.end is None:
            if self._failure is not None:
                raise self._failure
            self._deadline = time.monotonic() + seconds
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    async def next(self, seconds: float) -> list[bytes]:
        """The pieces that have come since the last call, at least one; none at the end.

        What the last call gave counts as read from now on, so that the replica may send as much again.

        Raises:
            ReplicaGone: the connection ended in the middle.
            ReplicaTimeout: so many seconds went by without a piece.
        """
        if self._taken >= _CREDIT_BYTES and self.end is None and not self._protocol.closed:
            self._protocol.write(frames.encode_credit(self._number, self._taken))
            self._taken = 0
        await self.begun(seconds)
        arrived, self._arrived = self._arrived, []
        self._taken += sum(map(len, arrived))
        return arrived

    def close(self) -> None:
        """Let go of it; where it has not ended the replica stops."""
        if self._closed:
            return
        self._closed = True
        self._link.outstanding -= 1
        if self._protocol.streams.pop(self._number, None) is not None and not self._protocol.closed:
            self._protocol.write(frames.encode(frames.CANCEL, self._number))

    def take(self, piece: bytes) -> None:
        self._arrived.append(piece)
        self._wake()

    def finish(self, end: ReplicaAnswer) -> None:
        self.end = end
        self._wake()

    def fail(self, failure: Exception) -> None:
        self._failure = failure
        self._wake()

    def is_late(self, now: float) -> bool:
        return self._waiter is not None and self._deadline <= now

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Protocol(asyncio.Protocol):
    """One open connection to a replica."""

    def __init__(self, lost: Callable[[_Protocol], None]) -> None:
        self._lost = lost
        self._decoder = frames.Decoder()
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self.waiting: dict[int, tuple[asyncio.Future[ReplicaAnswer], float]] = {}
        self.streams: dict[int, ReplicaStream] = {}
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its bases

    def write(self, frame: bytes) -> None:
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(frame)

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if self._transport is not None and not self.closed:
            self._transport.write(unsent[0] if len(unsent) == 1 else b"".join(unsent))

    def data_received(self, data: bytes) -> None:
        try:
            arrived = self._decoder.feed(data)
            for kind, stream, payload in arrived:
                if kind == frames.RESPONSE:
                    answer = ReplicaAnswer(*frames.decode_response(payload))
                    entry = self.waiting.pop(stream, None)
                    if entry is None:
                        ended = self.streams.pop(stream, None)
                        if ended is not None:
                            ended.finish(answer)
                    elif not entry[0].done():
                        entry[0].set_result(answer)
                elif kind == frames.DATA:
                    reading = self.streams.get(stream)
                    if reading is not None:
                        reading.take(payload)
        except frames.FrameError:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        waiting, self.waiting = self.waiting, {}
        streams, self.streams = self.streams, {}
        words = str(exc) if exc else "the replica closed the connection"
        for future, _ in waiting.values():
            if not future.done():
                future.set_exception(ReplicaGone(words))
        for stream in streams.values():
            stream.fail(ReplicaGone(words))
        self._lost(self)

    def close(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.abort()


class ReplicaLink:
    """This gateway's line to one replica. Connects when first needed and again after a loss."""

    def __init__(self, replica_id: str, address: str) -> None:
        self.replica_id = replica_id
        self.address = address
        self.outstanding = 0
        self.unreachable_since: float | None = None
        self._protocol: _Protocol | None = None
        self._connecting: asyncio.Task[_Protocol] | None = None
        self._stream = 0

    async def request(
        self,
        flags: int,
        seconds: float,
        content_type: bytes,
        request_id: bytes,
        body: bytes,
        traceparent: bytes = b"",
    ) -> ReplicaAnswer:
        """Send one request and wait for its answer.

        Raises:
            ReplicaGone: there was no connection, or it ended before an answer.
            ReplicaTimeout: `seconds` went by.
        """
        if seconds <= 0:
            raise ReplicaTimeout()
        self.outstanding += 1
        try:
            protocol = self._protocol
            if protocol is None or protocol.closed:
                protocol = await self._connected()
            self._stream = stream = (self._stream + 1) & 0xFFFFFFFF
            future: asyncio.Future[ReplicaAnswer] = asyncio.get_running_loop().create_future()
            protocol.waiting[stream] = (future, time.monotonic() + seconds)
            protocol.write(
                frames.encode_request(
                    stream, flags, int(seconds * 1000), content_type, request_id, body, traceparent
                )
            )
            try:
                return await future
            except asyncio.CancelledError:
                self._cancel(protocol, stream)
                raise
        finally:
            self.outstanding -= 1

    async def stream(
        self,
        flags: int,
        seconds: float,
        content_type: bytes,
        request_id: bytes,
        body: bytes,
        traceparent: bytes = b"",
    ) -> ReplicaStream:
        """Send one request whose answer is to come in pieces, and wait until it has begun, or ended.

        Raises:
            ReplicaGone: there was no connection, or it ended before.
            ReplicaTimeout: `seconds` went by.
        """
        deadline = time.monotonic() + seconds
        self.outstanding += 1
        try:
            protocol = self._protocol
            if protocol is None or protocol.closed:
                protocol = await self._connected()
        except BaseException:
            self.outstanding -= 1
            raise
        self._stream = number = (self._stream + 1) & 0xFFFFFFFF
        stream = protocol.streams[number] = ReplicaStream(self, protocol, number)
        try:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise ReplicaTimeout()
            flags |= frames.FLAG_STREAM
            milliseconds = int(remaining * 1000)
            protocol.write(
                frames.encode_request(number, flags, milliseconds, content_type, request_id, body, traceparent)
            )
            await stream.begun(remaining)
        except BaseException:
            stream.close()
            raise
        return stream

    def keep_connected(self, now: float) -> None:
        """Connect when there is no connection, so that the replica sees that it is wanted and none is waited for."""
        connected = self._protocol is not None and not self._protocol.closed
        if connected or (self._connecting is not None and not self._connecting.done()):
            return
        if self.unreachable_since is None or now - self.unreachable_since >= _RECONNECT_SECONDS:
            self._connecting = asyncio.create_task(self._open())
            self._connecting.add_done_callback(_looked_at)

    def expire(self, now: float) -> None:
        """Fail the requests whose time is over."""
        protocol = self._protocol
        if protocol is None:
            return
        for reading in protocol.streams.values():
            if reading.is_late(now):
                reading.fail(ReplicaTimeout())
        late = [(stream, future) for stream, (future, deadline) in protocol.waiting.items() if deadline <= now]
        for stream, future in late:
            self._cancel(protocol, stream)
            if not future.done():
                future.set_exception(ReplicaTimeout())

    def close(self) -> None:
        """End the connection; requests that still wait fail with `ReplicaGone`."""
        if self._protocol is not None:
            self._protocol.close()

    def _cancel(self, protocol: _Protocol, stream: int) -> None:
        if protocol.waiting.pop(stream, None) is not None and not protocol.closed:
            protocol.write(frames.encode(frames.CANCEL, stream))

    async def _connected(self) -> _Protocol:
        protocol = await self._connect()
        if protocol.closed:
            raise ReplicaGone("the replica closed the connection")
        return protocol

    async def _connect(self) -> _Protocol:
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._open())
        return await asyncio.shield(self._connecting)

    async def _open(self) -> _Protocol:
        loop = asyncio.get_running_loop()
        host, _, port = self.address.rpartition(":")
        try:
            if self.address.startswith("/"):
                sock = await unix.connect(self.address)
                _, protocol = await loop.create_unix_connection(lambda: _Protocol(self._lost), sock=sock)
            else:
                _, protocol = await loop.create_connection(lambda: _Protocol(self._lost), host, int(port))
        except OSError as error:
            self.unreachable_since = time.monotonic()
            raise ReplicaGone(f"cannot connect to the replica: {error.strerror or error}") from error
        self.unreachable_since = None
        self._protocol = protocol
        return protocol

    def _lost(self, protocol: _Protocol) -> None:
        if self._protocol is protocol:
            self._protocol = None
            self.unreachable_since = time.monotonic()


def _looked_at(connecting: asyncio.Task[_Protocol]) -> None:
    """A connection that nobody asked for may fail without a word; `unreachable_since` has it."""
    if not connecting.cancelled():
        connecting.exception()
