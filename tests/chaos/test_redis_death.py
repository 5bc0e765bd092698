"""Redis dies, hangs and comes back while gateway workers count rate limits in it."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import pytest
import redis
from rate_limiting import ANN, RedisServer, admitted, limit, rules, running_redis, until

from moorage.api.errors import RequestLimitExceeded
from moorage.gateway.limiting import RateLimiter
from moorage.gateway.shared_windows import RedisWindows

LIMIT = 100
CALLS = 300


def run(scenario: Any) -> None:
    asyncio.run(asyncio.wait_for(scenario, 120))


def test_killed_midway_every_worker_counts_alone_until_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(server: RedisServer) -> None:
        windows = RedisWindows(server.url, timeout_seconds=30, probe_seconds=0.05)
        limiter = RateLimiter(windows)
        of_endpoint = rules(limit("endpoint", calls=LIMIT))
        assert await admitted(limiter, of_endpoint, ANN, 60) == 60

        outcomes = [asyncio.create_task(limiter.admit(of_endpoint, ANN)) for _ in range(CALLS)]
        await until(lambda: any(one.done() for one in outcomes))
        server.kill()
        finished = await asyncio.gather(*outcomes, return_exceptions=True)
        refused = sum(isinstance(one, RequestLimitExceeded) for one in finished)
        assert {type(one) for one in finished} <= {RequestLimitExceeded, list}
        assert CALLS - refused <= LIMIT - 60 + LIMIT

        await admitted(limiter, of_endpoint, ANN, 1)
        assert not windows.up
        began = time.monotonic()
        fresh = rules(limit("endpoint", calls=LIMIT), endpoint="after-the-death")
        assert await admitted(limiter, fresh, ANN, CALLS) == LIMIT
        assert time.monotonic() - began < 5.0
        assert limiter.counted_alone >= CALLS + 1

        server.start()
        await until(lambda: windows.up)
        alone = limiter.counted_alone
        assert await admitted(limiter, fresh, ANN, CALLS) == LIMIT
        other = RateLimiter(RedisWindows(server.url, timeout_seconds=30))
        assert await admitted(other, fresh, ANN, CALLS) == 0
        assert limiter.counted_alone == alone
        with redis.Redis.from_url(server.url) as client:
            given_up = [key for key in client.scan_iter() if b"after-the-death" not in key]
        assert given_up == [], "what was given up must not be counted later"

        server.kill()
        await admitted(limiter, fresh, ANN, 1)
        assert not windows.up
        server.start()
        await until(lambda: windows.up)
        await limiter.close()
        await other.close()

    with running_redis() as server:
        run(scenario(server))
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_hanging_it_costs_the_requests_in_flight_one_timeout_and_others_nothing() -> None:
    async def scenario(server: RedisServer) -> None:
        windows = RedisWindows(server.url, timeout_seconds=1.0, probe_seconds=0.05)
        limiter = RateLimiter(windows)
        of_endpoint = rules(limit("endpoint", calls=LIMIT), limit("user", calls=LIMIT))
        assert await admitted(limiter, of_endpoint, ANN, 5) == 5

        server.send(signal.SIGSTOP)
        began = time.monotonic()
        assert await admitted(limiter, of_endpoint, ANN, CALLS) == LIMIT
        assert 0.9 < time.monotonic() - began < 2.0
        assert not windows.up

        server.send(signal.SIGCONT)
        await until(lambda: windows.up)
        # The call that was given up may have been counted after all; no later call may get its answer.
        left = await admitted(limiter, of_endpoint, ANN, CALLS)
        assert left in (LIMIT - 6, LIMIT - 5)
        one_limit = rules(limit("user", calls=2), endpoint="other")
        assert await admitted(limiter, one_limit, ANN, 5) == 2
        await limiter.close()

    with running_redis() as server:
        run(scenario(server))
