"""How an answer's bytes go out: in which pieces, how fast, and whether the connection outlives them."""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
import termios
from array import array
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from fcntl import ioctl
from typing import Any

from .control import Script
from .faults import Fault, Kind
from .wire import Reply, Stream

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]

TRANSPORT = "fake_provider.transport"
_ALL_SENT_SECONDS = 2.0


class ClientLeft(Exception):
    """The client closed the connection before the end of the answer."""


class Delivery:
    """One answer on its way. Everything that waits ends at once with `ClientLeft` when the client does."""

    def __init__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        self._transport: asyncio.Transport = scope["extensions"][TRANSPORT]
        self._receive = receive
        self._send = send
        self._gone = asyncio.Event()
        self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone.set()

    def close(self) -> None:
        self._watcher.cancel()

    async def pause(self, seconds: float) -> None:
        """Wait so long.

        Raises:
            ClientLeft: see there.
        """
        if self._gone.is_set():
            raise ClientLeft
        if seconds <= 0:
            return
        try:
            await asyncio.wait_for(self._gone.wait(), seconds)
        except TimeoutError:
            return
        raise ClientLeft

    def end_connection(self) -> None:
        """Close the connection once everything written has gone out."""
        self._transport.close()

    async def reset_connection(self) -> None:
        """Reset the connection once the other side has taken in everything written."""
        # The transport's own socket refuses some options, so this is a second descriptor of it.
        with socket.socket(fileno=socket.dup(self._transport.get_extra_info("socket").fileno())) as own:
            unsent = array("i", [1])
            deadline = asyncio.get_running_loop().time() + _ALL_SENT_SECONDS
            while unsent[0] and asyncio.get_running_loop().time() < deadline:
                ioctl(own.fileno(), termios.TIOCOUTQ, unsent)
                await asyncio.sleep(0.001)
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def deliver(self, reply: Reply, script: Script, fault: Fault | None) -> None:
        """Send the answer as the script and the fault have it.

        Raises:
            ClientLeft: see there.
        """
        kind = fault.kind if fault is not None else None
        headers = {**reply.headers} if kind is not Kind.EMPTY else {}
        if isinstance(reply, Stream):
            status, parts = 200, list(reply.events)
        else:
            status, parts = reply.status, [reply.body]
            headers["content-length"] = str(len(reply.body))
            if kind in (Kind.HANG_UP, Kind.RESET_MIDWAY):
                parts = [reply.body[: len(reply.body) // 2]]
        await self.pause(script.first_byte_delay)
        named = [(name.encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": named})
        pace = fault.wait if fault is not None and kind is Kind.SLOW else 0.0
        for at, part in enumerate(parts):
            if at:
                await self.pause(script.chunk_delay)
            for place, piece in enumerate(_pieces(part, fault)):
                if place:
                    await self.pause(pace)
                    if not pace:
                        # Lets this piece leave on its own.
                        await asyncio.sleep(0)
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        await self.pause(0)
        if kind is Kind.HANG_UP:
            self.end_connection()
        elif kind is Kind.RESET_MIDWAY:
            await self.reset_connection()
        else:
            self._watcher.cancel()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def _pieces(part: bytes, fault: Fault | None) -> Iterator[bytes]:
    """The pieces in which a part of the answer is sent."""
    kind = fault.kind if fault is not None else None
    if fault is not None and kind is Kind.SLOW:
        yield from (part[at : at + fault.size] for at in range(0, len(part), fault.size))
    elif kind is Kind.ONE_BYTE:
        yield from (part[at : at + 1] for at in range(len(part)))
    elif kind is Kind.SPLIT_UTF8:
        # After the first byte of each character that has several.
        cuts = [0, *(at + 1 for at, byte in enumerate(part) if byte >= 0xC0), len(part)]
        yield from (part[a:b] for a, b in itertools.pairwise(cuts) if a < b)
    elif part:
        yield part
