"""Windows shared by gateway workers: counting together, and alone while nobody answers. Real Redis is in e2e."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from rate_limiting import ANN, BOB, Clock, admitted, limit, rules, until

from moorage.gateway.limit_rules import Allowance, Choices
from moorage.gateway.limit_windows import MemoryWindows, Verdict, WindowsUnreachable
from moorage.gateway.limiting import RateLimiter, rate_limiter
from moorage.gateway.shared_windows import RedisWindows
from moorage.settings import LIMITS_DO_NOT_HOLD, Settings, limits_hold


class FakeShared:
    """Shared windows that are there, or fail, as the test says."""

    def __init__(self, clock: Clock) -> None:
        self.up = True
        self.failing = False
        self.closed = False
        self.windows = MemoryWindows(clock)

    async def admit(self, choices: Choices) -> Verdict:
        await asyncio.sleep(0)
        if self.failing:
            raise WindowsUnreachable
        return self.windows.admit(choices)

    def add_tokens(self, admitted: Sequence[Allowance], tokens: int) -> asyncio.Future[list[int]]:
        done: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        if self.failing:
            done.set_exception(WindowsUnreachable())
        else:
            self.windows.add_tokens(admitted, tokens)
            done.set_result([])
        return done

    async def close(self) -> None:
        self.closed = True


def test_workers_with_shared_windows_count_together() -> None:
    async def scenario() -> None:
        shared = FakeShared(Clock())
        one, two = RateLimiter(shared), RateLimiter(shared)
        of_endpoint = rules(limit("endpoint", calls=5, tokens=50))
        assert one.needs_await
        assert await admitted(one, of_endpoint, ANN, 3, 10) == 3
        assert await admitted(two, of_endpoint, BOB, 9, 10) == 2
        other = rules(limit("endpoint", tokens=50), endpoint="other")
        assert await admitted(one, other, ANN, 4, 10) == 4
        assert await admitted(two, other, BOB, 9, 5) == 2
        assert one.counted_alone == two.counted_alone == 0
        await one.close()
        assert shared.closed

    asyncio.run(scenario())


@pytest.mark.parametrize("way", ["up", "failing"])
def test_without_an_answer_of_the_shared_windows_a_worker_counts_by_itself(way: str) -> None:
    async def scenario() -> None:
        shared = FakeShared(Clock())
        limiter = RateLimiter(shared)
        of_endpoint = rules(limit("endpoint", calls=5))
        assert await admitted(limiter, of_endpoint, ANN, 9) == 5
        setattr(shared, way, way == "failing")
        assert await admitted(limiter, of_endpoint, ANN, 9) == 5
        assert limiter.counted_alone == 9
        tokens = rules(limit("user", tokens=20))
        assert await admitted(limiter, tokens, ANN, 9, 10) == 2
        assert await admitted(limiter, rules(limit("user", calls=0)), ANN, 1) == 0
        assert await admitted(limiter, rules(), ANN, 1) == 1
        assert limiter.counted_alone == 19

    asyncio.run(scenario())


def test_where_requests_are_counted_is_said_by_the_settings() -> None:
    assert not rate_limiter(Settings(redis_url=None)).needs_await
    assert rate_limiter(Settings.model_validate({"redis_url": "unix:///nowhere"})).needs_await


@pytest.mark.parametrize(
    ("workers", "url", "hold"),
    [(1, None, True), (2, None, False), (2, "redis://localhost", True), (1, "redis://localhost", True)],
)
def test_limits_hold_with_one_worker_or_with_redis(workers: int, url: str | None, hold: bool) -> None:
    assert limits_hold(Settings.model_validate({"gateway_workers": workers, "redis_url": url})) is hold
    assert "MOORAGE_REDIS_URL" in LIMITS_DO_NOT_HOLD


@contextlib.asynccontextmanager
async def nobody(answer: Callable[[asyncio.StreamReader], Awaitable[object]]) -> AsyncIterator[str]:
    """The URL of what is no Redis: each connection gets what `answer` says, which is nothing, and is closed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer(reader)
        writer.close()

    with tempfile.TemporaryDirectory() as folder:
        async with await asyncio.start_unix_server(serve, f"{folder}/redis"):
            yield f"unix://{folder}/redis"


def test_a_redis_that_fails_is_probed_in_the_background_and_warned_of_now_and_then(
    caplog: pytest.LogCaptureFixture,
) -> None:
    connections = 0

    async def hang_up(reader: asyncio.StreamReader) -> None:
        nonlocal connections
        connections += 1

    async def scenario() -> None:
        clock = Clock()
        async with nobody(hang_up) as url:
            windows = RedisWindows(url, probe_seconds=0.001, clock=clock)
            choices = rules(limit("endpoint", calls=5)).choices(ANN)
            outcomes = await asyncio.gather(*(windows.admit(choices) for _ in range(300)), return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {WindowsUnreachable}
            assert not windows.up
            for warnings in (1, 2, 3):
                seen = connections
                await until(lambda seen=seen: connections > seen + 20)
                assert len(caplog.records) == warnings
                clock.now += 10
            await windows.close()

    asyncio.run(scenario())
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert "Redis does not answer" in caplog.text


def test_a_redis_that_says_nothing_is_waited_for_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with nobody(asyncio.StreamReader.read) as url:
            limiter = RateLimiter(RedisWindows(url, timeout_seconds=0.5))
            of_endpoint = rules(limit("endpoint", calls=500))
            began = time.monotonic()
            await asyncio.gather(*(limiter.admit(of_endpoint, ANN) for _ in range(300)))
            assert await admitted(limiter, of_endpoint, ANN, 300) == 200
            # Each call by itself would have made it 300 s, each command of the first 300 calls 2.5 s.
            assert 0.45 < time.monotonic() - began < 2.4
            assert limiter.counted_alone == 600
            await limiter.close()

    asyncio.run(scenario())
    assert len(caplog.records) == 1


def test_what_waits_when_the_windows_are_closed_is_let_go() -> None:
    async def scenario() -> None:
        connected = asyncio.Event()

        async def say_nothing(reader: asyncio.StreamReader) -> None:
            connected.set()
            await reader.read()

        async with nobody(say_nothing) as url:
            windows = RedisWindows(url, timeout_seconds=60)
            waiting = asyncio.create_task(windows.admit(rules(limit("endpoint", calls=5)).choices(ANN)))
            await asyncio.wait_for(connected.wait(), 10)
            await windows.close()
            with pytest.raises(WindowsUnreachable):
                await asyncio.wait_for(waiting, 10)

            charge = windows.add_tokens([], 1)
            await windows.close()
            assert isinstance(charge.exception(), WindowsUnreachable)

    asyncio.run(scenario())
