"""`python -m benchmarks.echo_replica SOCKET`: a replica without a model, which sends every body back at once."""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

from moorage.replica import frames

_IDENTITY = b'{"replica_id":"echo"}'


def answer(kind: int, stream: int, payload: bytes) -> bytes:
    """The frame that answers one frame; empty for one that wants none."""
    if kind == frames.REQUEST:
        _, body = frames.decode_request(payload)
        return frames.encode_response(stream, 200, 1, 0, 0, body)
    return frames.encode(frames.HELLO, stream, _IDENTITY) if kind == frames.HELLO else b""


class EchoReplica(asyncio.Protocol):
    """One gateway's connection."""

    def __init__(self) -> None:
        self._decoder = frames.Decoder()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.write(b"".join([answer(*frame) for frame in self._decoder.feed(data)]))


async def serve(path: str) -> None:
    """Serve until killed."""
    server = await asyncio.get_running_loop().create_unix_server(EchoReplica, path)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
