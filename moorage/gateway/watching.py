"""Notices that a client has left while its answer is being made, so that nothing goes on for nobody."""

from __future__ import annotations

import asyncio
from types import TracebackType

from moorage.gateway.requests import Receive

_BEGIN_SECONDS = 0.2  # most answers have come by then, and cost nothing for being watched


class ClientLeft(Exception):
    """The client closed its connection."""


class ClientWatch:
    """`async with` it around the work: when the client leaves, the work is cancelled and `ClientLeft` is raised.

    Once the client has all of its answer `stop` must be called where work goes on: servers say then that it left.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._work: asyncio.Task[object] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._left = False

    async def __aenter__(self) -> ClientWatch:
        self._work = asyncio.current_task()
        self._timer = self._loop.call_later(_BEGIN_SECONDS, self._begin)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        if self._left and self._work is not None:
            self._work.uncancel()
            if kind is not None and issubclass(kind, asyncio.CancelledError):
                raise ClientLeft() from None

    def stop(self) -> None:
        """Whether the client stays is of no interest any more."""
        assert self._timer is not None
        self._timer.cancel()
        if self._watching is not None:
            self._watching.cancel()

    def _begin(self) -> None:
        self._watching = self._loop.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left = True
        if self._work is not None:
            self._work.cancel()
