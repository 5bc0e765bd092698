"""What a gateway reads of a request: the headers that matter, in one pass, and the body within its limits."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from moorage.api.errors import BadRequest
from moorage.gateway.cookies import session_authorization
from moorage.gateway.tracing import readable_traceparent

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON: Header = (b"content-type", b"application/json")

_PRINTABLE_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_NO = (b"", b"0", b"false")


class Request:
    """The headers of one invocation that matter, read in one pass. `explain`: the answer is to say how it came."""

    __slots__ = (
        "api_key", "authorization", "by_cookie", "content_encoding", "content_length", "content_type", "explain",
        "id", "traceparent",
    )  # fmt: skip

    def __init__(self, headers: list[Header]) -> None:
        self.traceparent = b""
        self.authorization: bytes | None = None
        self.api_key: bytes | None = None
        self.content_type = b""
        self.content_length: int | None = None
        self.content_encoding = b""
        self.explain = False
        self.id = b""
        for name, value in headers:
            if name == b"authorization":
                self.authorization = value
            elif name == b"content-type":
                self.content_type = value
            elif name == b"content-length":
                self.content_length = int(value) if value.isdigit() else None
            elif name == b"content-encoding":
                self.content_encoding = value
            elif name == b"x-request-id" and _PRINTABLE_ID.fullmatch(value):
                self.id = value
            elif name == b"traceparent":
                self.traceparent = readable_traceparent(value)
            elif name == b"x-api-key":
                self.api_key = value
            elif name == b"x-moorage-explain":
                self.explain = value.lower() not in _NO
        if not self.id:
            self.id = os.urandom(16).hex().encode()
        self.by_cookie = False
        if self.authorization is None:
            self.authorization = session_authorization(headers)
            self.by_cookie = self.authorization is not None


class BodyLimit:
    """How large a request body may be, in bytes, and how long it may take to arrive, in seconds."""

    __slots__ = ("_seconds", "_size", "_words")

    def __init__(self, size: int, seconds: float) -> None:
        self._size = size
        self._seconds = seconds
        self._words = f"{size} bytes ({size >> 20} MB)"

    async def read(self, request: Request, receive: Receive) -> bytes:
        """The whole body.

        Raises:
            BadRequest: it is too large, too slow, compressed, or the client left.
        """
        if request.content_encoding not in (b"", b"identity"):
            raise BadRequest("A Content-Encoding is not supported here: send the body uncompressed.")
        limit = self._size
        if request.content_length is not None and request.content_length > limit:
            length = request.content_length
            raise BadRequest(f"The request body has {length} bytes; the limit is {self._words}.")
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("The client left before it had sent its body.")
        if not message.get("more_body", False):
            body: bytes = message.get("body", b"")
            if len(body) > limit:
                raise self._too_large()
            return body
        parts = [message.get("body", b"")]
        size = len(parts[0])
        try:
            async with asyncio.timeout(self._seconds):
                while message.get("more_body", False):
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise BadRequest("The client left before it had sent its body.")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > limit:
                        raise self._too_large()
        except TimeoutError:
            raise BadRequest(f"The request body did not arrive within {self._seconds:.0f} s.") from None
        return b"".join(parts)

    def _too_large(self) -> BadRequest:
        return BadRequest(f"The request body is over the limit of {self._words}.")


async def send_whole(send: Send, status: int, body: bytes, headers: list[Header]) -> None:
    """An answer of JSON in one piece."""
    headers.append(JSON)
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
