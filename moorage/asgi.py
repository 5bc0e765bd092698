"""Runs an ASGI application under uvicorn until a signal, and then returns, so that the caller can clean up."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn


class _Server(uvicorn.Server):
    """Uvicorn ends its process with the signal that stopped it; here the signal only stops the serving."""

    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._stopping is not None:
            self._stopping()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        # The handlers stay: a second signal while the caller cleans up must not cut that short.
        yield


async def serve_until_signal(
    config: uvicorn.Config,
    sockets: list[socket.socket] | None = None,
    *,
    stopping: Callable[[], None] | None = None,
) -> None:
    """Serve; on SIGTERM or SIGINT stop accepting, drain, return. `stopping` ends what would never drain by itself."""
    await _Server(config, stopping).serve(sockets=sockets)
