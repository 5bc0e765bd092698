"""One request to a replica, on its socket and in its frames, as a gateway sends it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from moorage import unix
from moorage.replica import frames

_READ_BYTES = 256 * 1024
_LONGEST_DEADLINE_MS = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status, a JSON body, and how long the prediction took in the replica."""

    status: int
    body: bytes
    predict_seconds: float


async def ask(address: str, body: bytes, request_id: str, limit_seconds: float) -> Answer:
    """The replica's answer to the JSON document `body`. The caller may see tracebacks of the model.

    Raises:
        TimeoutError: it has not answered within the limit.
        OSError, FrameError: it cannot be reached, or ended without an answer.
    """
    deadline_ms = min(int(limit_seconds * 1000), _LONGEST_DEADLINE_MS)
    request = frames.encode_request(
        1, frames.FLAG_STACK_TRACE, deadline_ms, b"application/json", request_id.encode(), body
    )
    async with asyncio.timeout(limit_seconds):
        reader, writer = await asyncio.open_unix_connection(sock=await unix.connect(address))
        try:
            writer.write(request)
            await writer.drain()
            decoder = frames.Decoder()
            while data := await reader.read(_READ_BYTES):
                for kind, _, payload in decoder.feed(data):
                    if kind == frames.RESPONSE:
                        head, answer = frames.decode_response(payload)
                        return Answer(head.status, answer, head.predict_us / 1e6)
        finally:
            writer.close()
    raise ConnectionResetError("the connection was closed without an answer")
