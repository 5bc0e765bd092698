"""Connections from this gateway to replicas: many requests on one socket, writes coalesced per loop turn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple, cast

from moorage import unix
from moorage.replica import frames

_RECONNECT_SECONDS = 1.0


class ReplicaGone(Exception):
    """The connection ended, or could not be made, before the replica answered."""


class ReplicaTimeout(Exception):
    """The replica did not answer within the request's time."""


class ReplicaAnswer(NamedTuple):
    """What a replica said. Times are microseconds."""

    head: frames.ResponseHead
    body: bytes


class _Protocol(asyncio.Protocol):
    """One open connection to a replica."""

    def __init__(self, lost: Callable[[_Protocol], None]) -> None:
        self._lost = lost
        self._decoder = frames.Decoder()
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self.waiting: dict[int, tuple[asyncio.Future[ReplicaAnswer], float]] = {}
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
                    if entry is not None and not entry[0].done():
                        entry[0].set_result(answer)
        except frames.FrameError:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        waiting, self.waiting = self.waiting, {}
        for future, _ in waiting.values():
            if not future.done():
                future.set_exception(ReplicaGone(str(exc) if exc else "the replica closed the connection"))
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
                protocol = await self._connect()
                if protocol.closed:
                    raise ReplicaGone("the replica closed the connection")
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
