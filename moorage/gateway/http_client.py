"""A small HTTP/1.1 client for POSTs to providers: pooled connections, answers as they arrive, nothing else.

It costs a fraction of a general client per request, which is most of what the gateway adds to a provider's time.
Connections are kept per origin; one that has just been closed by the other side is noticed when it is used, and then
`ConnectionLost.before_answer` says that nothing came back. Redirects are not followed. No proxies, no compression.

Source: RFC 9110, RFC 9112.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools

from moorage import unix

_CONNECT_SECONDS = 10.0
_KEEP_SECONDS = 30.0  # shorter than what servers commonly keep idle connections for
_BUFFERED_BYTES = 256 * 1024
_LONGEST_HEAD = 64 * 1024
_HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_OWN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"})


class CannotConnect(Exception):
    """No connection could be made; the message says why."""


class ForbiddenAddress(CannotConnect):
    """The host's name stands for an address that must not be reached."""


class ConnectionLost(Exception):
    """The connection ended in the middle. `before_answer`: no byte of an answer had come."""

    def __init__(self, message: str, *, before_answer: bool) -> None:
        super().__init__(message)
        self.before_answer = before_answer


class AnswerTooLong(Exception):
    """An answer over the limit that the caller gave."""


class Origin(NamedTuple):
    """Where connections go to. A host that is an absolute path is that of a Unix socket."""

    host: str
    port: int
    tls: bool

    @property
    def is_socket(self) -> bool:
        """Whether it is a process of this machine. Each request to it has a connection of its own: that costs little,
        and llama.cpp closes connections after a stream while it says that it keeps them."""
        return self.host.startswith("/")


class Url(NamedTuple):
    """A URL taken apart for a request line and a Host header."""

    origin: Origin
    target: bytes
    host_header: bytes


def parse_url(url: str) -> Url:
    """
    Raises:
        ValueError: it is no http or https URL of a host.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an http or https URL")
    tls = parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    path = parts.path or "/"
    target = f"{path}?{parts.query}" if parts.query else path
    if any(character <= " " or character == "\x7f" for character in target):
        raise ValueError("the URL has a character that must be encoded")
    host = parts.hostname
    name = f"[{host}]" if ":" in host else host.encode("idna").decode("ascii")
    if port != (443 if tls else 80):
        name += f":{port}"
    return Url(Origin(host, port, tls), target.encode("utf-8"), name.encode("ascii"))


class HttpResponse:
    """An answer whose head has come. Read it to its end or close it."""

    __slots__ = ("_closed", "_connection", "_parts", "_size", "_waiter", "complete", "error", "headers", "status")

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.complete = False
        self.error: ConnectionLost | None = None

    async def chunk(self) -> bytes:
        """What has arrived since the last call; waits for something. Empty at the end.

        Raises:
            ConnectionLost: the answer was cut off.
        """
        while not self._parts:
            if self.complete:
                return b""
            if self.error is not None:
                raise self.error
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        data = self._parts.popleft() if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        if self._size > _BUFFERED_BYTES:
            self._connection.resume()
        self._size = 0
        return data

    async def read(self, limit: int) -> bytes:
        """All of it.

        Raises:
            ConnectionLost: the answer was cut off.
            AnswerTooLong: it has more than `limit` bytes.
        """
        parts = []
        size = 0
        while data := await self.chunk():
            size += len(data)
            if size > limit:
                self.close()
                raise AnswerTooLong(f"the answer has more than {limit} bytes")
            parts.append(data)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Let go of it; when it has not come to its end, so does its connection, and the other side notices."""
        if not self._closed:
            self._closed = True
            if not self.complete:
                self._connection.abort()

    def take(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        if self._size > _BUFFERED_BYTES:
            self._connection.pause()
        self._wake()

    def end(self, error: ConnectionLost | None = None) -> None:
        if error is None:
            self.complete = True
        else:
            self.error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Connection(asyncio.Protocol):
    """One connection; carries one request at a time."""

    def __init__(self, released: Callable[[_Connection], None], origin: Origin) -> None:
        self._released = released
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._response: HttpResponse | None = None
        self._head: asyncio.Future[HttpResponse] | None = None
        self._head_bytes = 0
        self._until_closed = False
        self.origin = origin
        self.closed = False
        self.idle_since = 0.0

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        if self._response is None:
            self.abort()  # nobody asked for anything
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(f"the answer is not HTTP: {error}")
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._response is not None and self._until_closed and exc is None:
            self._response.end()
            self._response = None
        else:
            self._fail(str(exc) if exc else "the connection was closed")
        self._released(self)

    # What the parser calls.

    def on_message_begin(self) -> None:
        if self._response is None:
            self.abort()  # an answer that nobody asked for would be taken for that of the next request

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > _LONGEST_HEAD:
            raise ValueError("the head of the answer is too long")
        if self._response is not None:
            self._response.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        response, head = self._response, self._head
        status = self._parser.get_status_code()
        if response is None or head is None:
            return
        if 100 <= status < 200:
            response.headers.clear()
            return
        response.status = status
        framed = b"content-length" in response.headers or b"transfer-encoding" in response.headers
        self._until_closed = not framed and status not in (204, 304)
        if not head.done():
            head.set_result(response)

    def on_body(self, body: bytes) -> None:
        if self._response is not None:
            self._response.take(body)

    def on_message_complete(self) -> None:
        response = self._response
        if response is None or not response.status:
            return  # an interim answer
        self._response = self._head = None
        response.end()
        self.resume()  # for whoever uses the connection next
        if self.origin.is_socket or not self._parser.should_keep_alive():
            self.abort()
        self._released(self)

    # What the client calls.

    async def send(self, request: bytes) -> HttpResponse:
        """
        Raises:
            ConnectionLost: it ended before the head of an answer had come.
        """
        assert self._transport is not None
        self._response = HttpResponse(self)
        self._head = asyncio.get_running_loop().create_future()
        self._head_bytes = 0
        self._until_closed = False
        self._transport.write(request)
        try:
            return await self._head
        except asyncio.CancelledError:
            self.abort()
            raise

    def pause(self) -> None:
        if self._transport is not None and not self.closed:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self.closed:
            self._transport.resume_reading()

    def abort(self) -> None:
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, message: str) -> None:
        response, head = self._response, self._head
        self._response = self._head = None
        if response is not None:
            begun = bool(response.status)
            error = ConnectionLost(message, before_answer=not begun)
            if head is not None and not head.done():
                head.set_exception(error)
            response.end(error)


class HttpClient:
    """The connections of one gateway worker. `forbidden` says which addresses a name may not stand for."""

    def __init__(self, forbidden: Callable[[str], bool], tls: ssl.SSLContext | None = None) -> None:
        self._forbidden = forbidden
        self._tls = tls
        self._idle: dict[Origin, deque[_Connection]] = {}
        self._open: set[_Connection] = set()

    async def post(self, url: Url, headers: Mapping[str, str], body: bytes) -> HttpResponse:
        """The answer, once its head has come.

        A request whose connection ended before any byte of an answer is sent once more, on a new connection.

        Raises:
            CannotConnect: see there.
            ConnectionLost: the connection ended before the head of an answer had come.
        """
        request = _request_bytes(url, headers, body)
        connection = self._kept(url.origin) or await self._connect(url.origin)
        try:
            return await connection.send(request)
        except ConnectionLost as error:
            if not error.before_answer:
                raise
        connection = await self._connect(url.origin)
        return await connection.send(request)

    def sweep(self) -> None:
        """Close connections that have been idle for long; to be called now and then."""
        now = time.monotonic()
        for origin, idle in list(self._idle.items()):
            while idle and (idle[0].closed or now - idle[0].idle_since > _KEEP_SECONDS):
                idle.popleft().abort()
            if not idle:
                del self._idle[origin]

    def close(self) -> None:
        """End every connection."""
        for connection in list(self._open):
            connection.abort()
        self._idle.clear()

    def _kept(self, origin: Origin) -> _Connection | None:
        idle = self._idle.get(origin)
        now = time.monotonic()
        while idle:
            connection = idle.pop()  # the one that was used last is the one most likely to be open
            if not connection.closed and now - connection.idle_since <= _KEEP_SECONDS:
                return connection
            connection.abort()
        return None

    def _released(self, connection: _Connection) -> None:
        if connection.closed:
            self._open.discard(connection)
            return
        connection.idle_since = time.monotonic()
        self._idle.setdefault(connection.origin, deque()).append(connection)

    async def _connect(self, origin: Origin) -> _Connection:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                connection = await self._connect_to_any(origin)
        except TimeoutError:
            raise CannotConnect(f"no connection within {_CONNECT_SECONDS:.0f} s") from None
        self._open.add(connection)
        return connection

    async def _connect_to_any(self, origin: Origin) -> _Connection:
        loop = asyncio.get_running_loop()
        if origin.is_socket:
            try:
                sock = await unix.connect(origin.host)
            except OSError as error:
                raise CannotConnect(error.strerror or str(error)) from None
            _, local = await loop.create_unix_connection(lambda: _Connection(self._released, origin), sock=sock)
            return local
        try:
            found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise CannotConnect(f"the host's name is not known ({error})") from None
        last: Exception | None = None
        for *_, address in dict.fromkeys(found):
            host = str(address[0])
            if self._forbidden(host):
                raise ForbiddenAddress("the host's name stands for an address that may not be reached")
            try:
                _, connection = await loop.create_connection(
                    lambda: _Connection(self._released, origin),
                    host,
                    origin.port,
                    ssl=self._context() if origin.tls else None,
                    server_hostname=origin.host if origin.tls else None,
                )
            except (OSError, ssl.SSLError) as error:
                last = error
                continue
            return connection
        raise CannotConnect(str(last) or type(last).__name__)

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls


def _request_bytes(url: Url, headers: Mapping[str, str], body: bytes) -> bytes:
    """
    Raises:
        ValueError: a header has a character that would end it, or is one that frames the request.
    """
    lines = [b"POST %b HTTP/1.1\r\nhost: %b\r\ncontent-length: %d\r\n" % (url.target, url.host_header, len(body))]
    if url.origin.is_socket:
        lines.append(b"connection: close\r\n")
    for name, value in headers.items():
        if name in _OWN_HEADERS or not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"'{name}' is not a header that can be given")
        if "\r" in value or "\n" in value or "\0" in value:
            raise ValueError(f"the header {name} has a line break in its value")
        lines.append(f"{name}: {value}\r\n".encode())
    lines.append(b"\r\n")
    lines.append(body)
    return b"".join(lines)
