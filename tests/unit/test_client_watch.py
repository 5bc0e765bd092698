"""Work ends when its client leaves, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import pytest

from moorage.gateway import watching
from moorage.gateway.watching import ClientLeft, ClientWatch


class Client:
    """What a server says of a client: nothing, until it leaves."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.heard = asyncio.Event()
        self.listening = 0

    async def receive(self) -> MutableMapping[str, Any]:
        self.listening += 1
        self.heard.set()
        try:
            await self.gone.wait()
        finally:
            self.listening -= 1
        return {"type": "http.disconnect"}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_BEGIN_SECONDS", 0.0)


def run(body: Callable[[Client], Awaitable[None]]) -> None:
    async def whole() -> None:
        client = Client()
        async with asyncio.timeout(10):
            await body(client)
        for _ in range(3):
            await asyncio.sleep(0)
        assert client.listening == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    asyncio.run(whole())


def test_work_ends_when_the_client_leaves() -> None:
    async def body(client: Client) -> None:
        cleaned = False
        with pytest.raises(ClientLeft):  # noqa: PT012
            async with ClientWatch(client.receive):
                await client.heard.wait()
                client.gone.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    cleaned = True
        assert cleaned
        await asyncio.sleep(0.01)  # nothing of the cancellation is left for what comes next

    run(body)


def test_work_that_is_over_first_is_not_disturbed() -> None:
    async def body(client: Client) -> None:
        async with ClientWatch(client.receive):
            await client.heard.wait()
        client.gone.set()
        await asyncio.sleep(0.01)

    run(body)


def test_short_work_is_never_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_BEGIN_SECONDS", 5.0)

    async def body(client: Client) -> None:
        async with ClientWatch(client.receive):
            client.gone.set()
            await asyncio.sleep(0.01)
            assert client.listening == 0

    run(body)


def test_its_own_error_goes_before_that_of_the_client() -> None:
    async def body(client: Client) -> None:
        with pytest.raises(ValueError, match="own"):  # noqa: PT012
            async with ClientWatch(client.receive):
                await client.heard.wait()
                client.gone.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    raise ValueError("own")

    run(body)


def test_a_limit_of_time_inside_keeps_its_meaning() -> None:
    async def body(client: Client) -> None:
        async with ClientWatch(client.receive):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await asyncio.Event().wait()
        client.heard.clear()
        with pytest.raises(ClientLeft):  # noqa: PT012
            async with ClientWatch(client.receive):
                await client.heard.wait()
                client.gone.set()
                async with asyncio.timeout(5):
                    await asyncio.Event().wait()

    run(body)


def test_a_server_that_stops_is_no_client_that_left() -> None:
    async def body(client: Client) -> None:
        async def work() -> None:
            async with ClientWatch(client.receive):
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await client.heard.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(body)


def test_what_comes_before_the_client_leaves_is_passed_over() -> None:
    async def body(client: Client) -> None:
        pieces = iter([{"type": "http.request"}, {"type": "http.request"}, {"type": "http.disconnect"}])

        async def receive() -> MutableMapping[str, Any]:
            return next(pieces)

        with pytest.raises(ClientLeft):
            async with ClientWatch(receive):
                await asyncio.Event().wait()

    run(body)


def test_a_watch_that_was_stopped_says_nothing_any_more() -> None:
    async def body(client: Client) -> None:
        async with ClientWatch(client.receive) as watch:
            await client.heard.wait()
            client.gone.set()
            watch.stop()
            await asyncio.sleep(0.01)

    run(body)
