"""Rate limits counted in a real Redis, by workers in processes of their own."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rate_limiting import ANN, BOB, CAT, Caller, RedisServer, admitted, limit, rules, running_redis, until

from moorage.api.errors import RequestLimitExceeded
from moorage.gateway.limit_rules import LimitRules
from moorage.gateway.limiting import RateLimiter
from moorage.gateway.shared_windows import RedisWindows

# Tests of what is counted must not fail because a machine is slow.
PATIENT_SECONDS = 30.0


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running_redis() as started:
        yield started


def shared_limiter(url: str) -> RateLimiter:
    return RateLimiter(RedisWindows(url, timeout_seconds=PATIENT_SECONDS))


def worker(url: str, barrier: Barrier, results: Any) -> None:
    """A gateway worker's share of the calls, all at once."""

    async def calls() -> None:
        limiter = shared_limiter(url)
        of_endpoint = rules(limit("endpoint", calls=100), limit("user", calls=60), endpoint="two-workers")
        await admitted(limiter, rules(limit("endpoint", calls=9), endpoint="warm"), ANN, 1)
        barrier.wait(PATIENT_SECONDS)
        outcomes = await asyncio.gather(
            *(limiter.admit(of_endpoint, caller) for _ in range(250) for caller in (ANN, BOB)), return_exceptions=True
        )
        refused = [one for one in outcomes if isinstance(one, RequestLimitExceeded)]
        waits = {int(one.headers["Retry-After"]) for one in refused}
        results.put((len(outcomes) - len(refused), len(refused), waits, limiter.counted_alone))
        await limiter.close()

    asyncio.run(calls())


def test_of_a_thousand_calls_to_two_workers_exactly_a_hundred_pass(server: RedisServer) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(2), spawn.Queue()
    workers = [spawn.Process(target=worker, args=(server.url, barrier, results)) for _ in range(2)]
    for one in workers:
        one.start()
    passed, refused, waits, alone = zip(*[results.get(timeout=60) for _ in workers], strict=True)
    for one in workers:
        one.join(60)
    assert (sum(passed), sum(refused), sum(alone)) == (100, 900, 0)
    assert set().union(*waits) <= set(range(30, 61))


def run(scenario: Any) -> None:
    asyncio.run(asyncio.wait_for(scenario, 120))


def test_tokens_are_charged_before_what_this_worker_admits_next(server: RedisServer) -> None:
    async def scenario() -> None:
        one, two = shared_limiter(server.url), shared_limiter(server.url)
        of_endpoint = rules(limit("user", tokens=100), endpoint="tokens")
        assert await admitted(one, of_endpoint, ANN, 9, 40) == 3
        await until(lambda: counter_of(server, "tokens") == b"120")
        assert await admitted(two, of_endpoint, ANN, 1) == 0
        assert await admitted(two, of_endpoint, BOB, 9, 2**100) == 1
        await one.close()
        await two.close()

    run(scenario())


def counter_of(server: RedisServer, endpoint: str) -> bytes | None:
    with redis.Redis.from_url(server.url) as client:
        values = [client.get(key) for key in client.scan_iter(f"moorage:limit:{endpoint}:*")]
    assert len(values) == 1
    found: bytes | None = values[0]
    return found


def test_a_window_ends_after_its_length_and_leaves_nothing(server: RedisServer) -> None:
    async def scenario() -> None:
        limiter = shared_limiter(server.url)
        of_endpoint = rules(limit("user", calls=2, tokens=2, seconds=1), endpoint="short")
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await admitted(limiter, of_endpoint, ANN, 2) == 2
        with pytest.raises(RequestLimitExceeded) as refused:
            await limiter.admit(of_endpoint, ANN)
        assert refused.value.headers == {"Retry-After": "1"}
        while not await admitted(limiter, of_endpoint, ANN, 1, 1):
            assert loop.time() < began + 30
        assert loop.time() - began >= 0.99
        with redis.Redis.from_url(server.url) as client:
            await until(lambda: not list(client.scan_iter("moorage:limit:short:*")))
        await limiter.close()

    run(scenario())


@pytest.mark.parametrize(
    ("limits", "words", "retry_after"),
    [
        (
            [limit("endpoint", calls=1, seconds=5), limit("user", calls=1, seconds=90)],
            "key 'user', principal 'ann@example.com'",
            "90",
        ),
        ([limit("endpoint", calls=1, seconds=90), limit("user", calls=1, seconds=5)], "(key 'endpoint'): 1 c", "90"),
        (
            [limit("user_group", "g1", calls=1, seconds=90), limit("user_group", "g2", calls=1, seconds=5)],
            "key 'user_group', principal 'g2's name'",
            "5",
        ),
        ([limit("user", calls=0), limit("endpoint", calls=1)], "principal 'ann@example.com'): 0 calls", "60"),
        ([limit("user", tokens=0), limit("endpoint", calls=1)], "principal 'ann@example.com'): 0 tokens", "60"),
    ],
)
def test_a_refusal_names_the_limit_that_takes_longest(
    server: RedisServer, limits: list[Any], words: str, retry_after: str
) -> None:
    async def scenario() -> None:
        limiter = shared_limiter(server.url)
        of_endpoint = rules(*limits, endpoint=f"refusals {words}")
        await admitted(limiter, of_endpoint, ANN, 2)
        with pytest.raises(RequestLimitExceeded, match="Rate limit exceeded") as refused:
            await limiter.admit(of_endpoint, ANN)
        assert words in refused.value.message
        assert refused.value.headers == {"Retry-After": retry_after}
        await limiter.close()

    run(scenario())


def test_a_window_is_not_prolonged_and_none_opens_what_is_blocked(server: RedisServer) -> None:
    async def scenario() -> None:
        limiter = shared_limiter(server.url)
        of_endpoint = rules(limit("endpoint", calls=2), limit("user", tokens=9), endpoint="fixed")
        assert await admitted(limiter, of_endpoint, ANN, 1, 5) == 1
        with redis.Redis.from_url(server.url) as client:
            # As if most of the minute had passed.
            pattern = "moorage:limit:fixed:*"
            await until(lambda: sum(client.pexpire(key, 20_000) for key in client.scan_iter(pattern)) == 2)
            assert await admitted(limiter, of_endpoint, ANN, 1, 5) == 1
            await until(lambda: client.get("moorage:limit:fixed:tokens:principal:ann:60") == b"10")
            assert {client.pttl(key) <= 20_000 for key in client.scan_iter(pattern)} == {True}
        with pytest.raises(RequestLimitExceeded) as refused:
            await limiter.admit(of_endpoint, ANN)
        assert int(refused.value.headers["Retry-After"]) <= 20
        with pytest.raises(RequestLimitExceeded) as refused:
            await limiter.admit(rules(limit("endpoint", calls=0), endpoint="fixed"), ANN)
        assert refused.value.headers == {"Retry-After": "60"}
        await limiter.close()

    run(scenario())


def test_a_redis_that_forgot_the_script_is_told_it_again(server: RedisServer) -> None:
    async def scenario() -> None:
        limiter = shared_limiter(server.url)
        of_endpoint = rules(limit("user", calls=3), endpoint="forgotten")
        assert await admitted(limiter, of_endpoint, ANN, 1) == 1
        with redis.Redis.from_url(server.url) as client:
            client.script_flush()
        assert await admitted(limiter, of_endpoint, ANN, 9) == 2
        assert limiter.counted_alone == 0
        await limiter.close()

    run(scenario())


LIMITS = st.lists(
    st.builds(
        lambda key, unit, amount: limit(*key, seconds=3600, **{unit: amount}),
        st.sampled_from(
            [("endpoint", None), ("user", None), ("user", "ann"), ("user_group", "g1"), ("user_group", "g2")]
        ),
        st.sampled_from(["calls", "tokens"]),
        st.integers(0, 4),
    ),
    min_size=1,
    max_size=8,
)
STEPS = st.lists(st.tuples(st.sampled_from([ANN, BOB, CAT]), st.integers(0, 3)), min_size=5, max_size=30)


async def outcome(limiter: RateLimiter, of_endpoint: LimitRules, caller: Caller, tokens: int) -> object:
    """The counters of the allowances that a call was admitted under, or None."""
    try:
        admission = await limiter.admit(of_endpoint, caller)
    except RequestLimitExceeded:
        return None
    limiter.charge_tokens(admission, tokens)
    return [allowance.counter for allowance in admission]


def test_redis_and_memory_decide_alike(server: RedisServer) -> None:
    loop = asyncio.new_event_loop()
    limiter = shared_limiter(server.url)
    examples = 0

    @given(LIMITS, STEPS)
    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def alike(limits: list[Any], steps: list[tuple[Caller, int]]) -> None:
        nonlocal examples
        examples += 1
        of_endpoint = rules(*limits, endpoint=f"alike-{examples}")
        memory = RateLimiter()

        async def compare() -> None:
            for caller, tokens in steps:
                expected = await outcome(memory, of_endpoint, caller, tokens)
                assert await outcome(limiter, of_endpoint, caller, tokens) == expected

        loop.run_until_complete(compare())

    alike()
    assert limiter.counted_alone == 0
    loop.run_until_complete(limiter.close())
    loop.close()
