"""Runs an ASGI application under uvicorn until a signal, and then returns, so that the caller can clean up."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator

import uvicorn


class _Server(uvicorn.Server):
    """Uvicorn ends its process with the signal that stopped it; here the signal only stops the serving."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        # The handlers stay: a second signal while the caller cleans up must not cut that short.
        yield


async def serve_until_signal(config: uvicorn.Config, sockets: list[socket.socket] | None = None) -> None:
    """Serve; on SIGTERM or SIGINT stop accepting, drain, return."""
    await _Server(config).serve(sockets=sockets)
