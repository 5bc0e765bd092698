"""Rate limits: what applies to whom, fixed windows, refusals. All of it in one worker's memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rate_limiting import ANN, BOB, CAT, ROBOT, Caller, Clock, limit, rules

from moorage.api.ai_gateway import GatewayRateLimit, LimitKey, RateLimit
from moorage.api.errors import RequestLimitExceeded
from moorage.api.rate_limits import CompiledLimit, compile_limits
from moorage.gateway.limit_rules import LimitRules, Unit
from moorage.gateway.limit_windows import MemoryWindows, Refusal
from moorage.gateway.limiting import RateLimiter


@dataclass
class Bench:
    """A limiter in memory with a clock of its own."""

    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.limiter = RateLimiter(clock=self.clock)

    def admitted(self, rules: LimitRules, caller: Caller, calls: int = 1, tokens: int = 0) -> int:
        """How many of so many calls pass, each of them with an answer of so many tokens."""
        passed = 0
        for _ in range(calls):
            try:
                admission = self.limiter.admit_now(rules, caller)
            except RequestLimitExceeded:
                continue
            self.limiter.charge_tokens(admission, tokens)
            passed += 1
        return passed

    def refusal(self, rules: LimitRules, caller: Caller) -> RequestLimitExceeded:
        with pytest.raises(RequestLimitExceeded) as refused:
            self.limiter.admit_now(rules, caller)
        return refused.value


@pytest.fixture
def bench() -> Bench:
    return Bench()


# Limits; then who calls how often with answers of how many tokens, and how many of the calls pass.
ROWS: dict[str, tuple[list[CompiledLimit], list[tuple[Caller, int, int, int]]]] = {
    "the endpoint's limit is for all together": (
        [limit("endpoint", calls=10)],
        [(ANN, 6, 0, 6), (BOB, 6, 0, 4), (CAT, 1, 0, 0)],
    ),
    "each caller has the whole default": (
        [limit("user", calls=3)],
        [(ANN, 5, 0, 3), (BOB, 5, 0, 3)],
    ),
    "the default is for service principals too": ([limit("user", calls=3)], [(ROBOT, 5, 0, 3)]),
    "the endpoint is a ceiling also over a higher limit of one's own": (
        [limit("endpoint", calls=4), limit("user", "ann", calls=100)],
        [(ANN, 9, 0, 4)],
    ),
    "one's own limit is a ceiling also under a higher one of the endpoint": (
        [limit("endpoint", calls=100), limit("user", "ann", calls=4)],
        [(ANN, 9, 0, 4), (CAT, 9, 0, 9)],
    ),
    "a user's own limit overrides the default, upwards": (
        [limit("user", calls=2), limit("user", "ann", calls=5)],
        [(ANN, 9, 0, 5), (BOB, 9, 0, 2)],
    ),
    "a user's own limit overrides the default, downwards": (
        [limit("user", calls=5), limit("user", "ann", calls=2)],
        [(ANN, 9, 0, 2), (BOB, 9, 0, 5)],
    ),
    "a service principal's own limit overrides the default": (
        [limit("user", calls=2), limit("service_principal", "robot", calls=5)],
        [(ROBOT, 9, 0, 5)],
    ),
    "one's own limit overrides those of groups": (
        [limit("user_group", "g1", calls=2), limit("user", "bob", calls=5)],
        [(BOB, 9, 0, 5), (ANN, 9, 0, 2)],
    ),
    "a group's limit overrides the default": (
        [limit("user", calls=2), limit("user_group", "g1", calls=5)],
        [(BOB, 9, 0, 5), (CAT, 9, 0, 2)],
    ),
    "a group's limit is shared by its members": (
        [limit("user_group", "g1", calls=5)],
        [(ANN, 3, 0, 3), (BOB, 9, 0, 2), (CAT, 9, 0, 9)],
    ),
    "a member of two groups is refused when both are used up": (
        [limit("user_group", "g1", calls=3), limit("user_group", "g2", calls=4)],
        [(ANN, 20, 0, 7), (BOB, 1, 0, 0)],
    ),
    "a member of two groups leaves room to those who are in one": (
        [limit("user_group", "g1", calls=3), limit("user_group", "g2", calls=10)],
        [(ANN, 7, 0, 7), (BOB, 9, 0, 3)],
    ),
    "0 for the endpoint blocks all": ([limit("endpoint", calls=0), limit("user", "ann", calls=9)], [(ANN, 2, 0, 0)]),
    "0 for a user blocks that user": (
        [limit("user", "ann", calls=0), limit("user", calls=2)],
        [(ANN, 2, 0, 0), (BOB, 2, 0, 2)],
    ),
    "0 for a group blocks those who have no other": (
        [limit("user_group", "g1", calls=0), limit("user_group", "g2", calls=2)],
        [(BOB, 2, 0, 0), (ANN, 9, 0, 2)],
    ),
    "0 tokens block before anything was counted": ([limit("user", tokens=0)], [(ANN, 2, 5, 0)]),
    "0 as the default lets through those who have a limit": (
        [limit("user", calls=0), limit("user", "ann", calls=2)],
        [(BOB, 2, 0, 0), (ANN, 9, 0, 2)],
    ),
    "the answer that crosses a limit of tokens succeeds, the next request does not": (
        [limit("user", tokens=100)],
        [(ANN, 9, 40, 3)],
    ),
    "tokens that are exactly used up": ([limit("endpoint", tokens=100)], [(ANN, 9, 50, 2), (BOB, 1, 1, 0)]),
    "answers without tokens use none up": ([limit("endpoint", tokens=1)], [(ANN, 9, 0, 9)]),
    "of calls and tokens the calls can be stricter": ([limit("user", calls=2, tokens=100)], [(ANN, 9, 10, 2)]),
    "of calls and tokens the tokens can be stricter": ([limit("user", calls=9, tokens=20)], [(ANN, 9, 10, 2)]),
    "calls and tokens in entries of their own": (
        [limit("user", "ann", calls=5), limit("user", "ann", tokens=20)],
        [(ANN, 9, 10, 2)],
    ),
    "an own limit of calls leaves the default of tokens": (
        [limit("user", "ann", calls=50), limit("user", calls=1), limit("user", tokens=20)],
        [(ANN, 9, 10, 2), (BOB, 9, 1, 1)],
    ),
    "groups are chosen for calls and for tokens each by itself": (
        [limit("user_group", "g1", calls=3), limit("user_group", "g2", tokens=100)],
        [(ANN, 9, 10, 3), (BOB, 1, 0, 0)],
    ),
    "tokens go to the group with most left": (
        [limit("user_group", "g1", tokens=30), limit("user_group", "g2", tokens=50)],
        [(ANN, 9, 25, 4)],
    ),
    "of two limits for the same the lower one counts, once": (
        [limit("endpoint", calls=9), limit("endpoint", calls=4), limit("user", calls=3), limit("user", calls=8)],
        [(ANN, 9, 0, 3), (BOB, 9, 0, 1)],
    ),
    "a limit for others is none": (
        [limit("user", "ann", calls=0), limit("user_group", "g2", calls=0)],
        [(BOB, 9, 0, 9)],
    ),
    "no limits": ([], [(ANN, 9, 9, 9)]),
}


@pytest.mark.parametrize(("limits", "calls"), ROWS.values(), ids=ROWS)
def test_who_may_call_how_often(
    bench: Bench, limits: list[CompiledLimit], calls: list[tuple[Caller, int, int, int]]
) -> None:
    of_endpoint = rules(*limits)
    for caller, made, tokens, passed in calls:
        assert bench.admitted(of_endpoint, caller, made, tokens) == passed, caller
    bench.clock.now += 60
    first, made, tokens, passed = calls[0]
    assert bench.admitted(of_endpoint, first, made, tokens) == passed


def test_the_order_of_limits_does_not_matter(bench: Bench) -> None:
    given_limits = [limit("user", calls=9), limit("user", "ann", calls=2), limit("user_group", "g1", calls=5)]
    for number, order in enumerate((given_limits, given_limits[::-1])):
        of_endpoint = rules(*order, endpoint=str(number))
        assert [bench.admitted(of_endpoint, caller, 20) for caller in (ANN, BOB, CAT)] == [2, 5, 9]


def test_a_window_begins_with_its_first_call_and_ends_after_its_length(bench: Bench) -> None:
    of_endpoint = rules(limit("endpoint", calls=2))
    bench.clock.now += 59.0
    assert bench.admitted(of_endpoint, ANN) == 1
    bench.clock.now += 59.5
    assert bench.admitted(of_endpoint, ANN, 5) == 1
    bench.clock.now += 0.25
    assert bench.admitted(of_endpoint, ANN) == 0
    bench.clock.now += 0.25
    assert bench.admitted(of_endpoint, ANN, 5) == 2
    bench.clock.now += 59.0
    assert bench.admitted(of_endpoint, ANN) == 0


def test_tokens_are_charged_to_the_window_in_which_their_answer_ends(bench: Bench) -> None:
    of_endpoint = rules(limit("user", tokens=10))
    early = bench.limiter.admit_now(of_endpoint, ANN)
    late = bench.limiter.admit_now(of_endpoint, ANN)
    bench.limiter.charge_tokens(early, 9)
    bench.clock.now += 61
    bench.limiter.charge_tokens(late, 10)
    assert bench.refusal(of_endpoint, ANN).headers == {"Retry-After": "60"}


@pytest.mark.parametrize(
    ("limits", "caller", "message", "retry_after"),
    [
        ([limit("endpoint", calls=1)], ANN, "Rate limit exceeded (key 'endpoint'): 1 calls per minute.", "60"),
        (
            [limit("user", calls=1)],
            ANN,
            "Rate limit exceeded (key 'user', principal 'ann@example.com'): 1 calls per minute.",
            "60",
        ),
        (
            [limit("user", "ann", calls=1)],
            ANN,
            "Rate limit exceeded (key 'user', principal 'ann's name'): 1 calls per minute.",
            "60",
        ),
        (
            [limit("service_principal", "robot", calls=1)],
            ROBOT,
            "Rate limit exceeded (key 'service_principal', principal 'robot's name'): 1 calls per minute.",
            "60",
        ),
        (
            [limit("user_group", "g1", tokens=1)],
            BOB,
            "Rate limit exceeded (key 'user_group', principal 'g1's name'): 1 tokens per minute.",
            "60",
        ),
        ([limit("endpoint", calls=1, seconds=7)], ANN, "(key 'endpoint'): 1 calls per 7 s.", "7"),
        (
            [limit("endpoint", calls=1, seconds=5), limit("user", calls=1, seconds=90)],
            ANN,
            "(key 'user', principal 'ann@example.com'): 1 calls per 90 s. Try again in 90 s.",
            "90",
        ),
        (
            [limit("user_group", "g1", calls=1, seconds=90), limit("user_group", "g2", calls=1, seconds=5)],
            ANN,
            "(key 'user_group', principal 'g2's name'): 1 calls per 5 s. Try again in 5 s.",
            "5",
        ),
    ],
)
def test_a_refusal_names_what_is_used_up_and_when_it_renews(
    bench: Bench, limits: list[CompiledLimit], caller: Caller, message: str, retry_after: str
) -> None:
    of_endpoint = rules(*limits)
    bench.admitted(of_endpoint, caller, 2, 1)
    refusal = bench.refusal(of_endpoint, caller)
    assert (refusal.status, refusal.error_code) == (429, "REQUEST_LIMIT_EXCEEDED")
    assert message in refusal.message
    assert refusal.message.endswith(f"Try again in {retry_after} s.")
    assert refusal.headers == {"Retry-After": retry_after}


@pytest.mark.parametrize(
    ("passed", "retry_after"), [(0.0, "60"), (0.001, "60"), (1.0, "59"), (59.0, "1"), (59.9, "1"), (59.9999, "1")]
)
def test_after_the_seconds_of_retry_after_there_is_room(bench: Bench, passed: float, retry_after: str) -> None:
    of_endpoint = rules(limit("endpoint", calls=1))
    bench.admitted(of_endpoint, ANN)
    bench.clock.now += passed
    assert bench.refusal(of_endpoint, ANN).headers == {"Retry-After": retry_after}
    bench.clock.now += int(retry_after)
    assert bench.admitted(of_endpoint, ANN) == 1


def test_where_nothing_is_allowed_no_time_is_promised(bench: Bench) -> None:
    refusal = bench.refusal(rules(limit("user", calls=0)), ANN)
    assert refusal.message == "Rate limit exceeded (key 'user', principal 'ann@example.com'): 0 calls per minute."
    assert refusal.headers == {"Retry-After": "60"}


def test_a_refused_request_uses_nothing_up(bench: Bench) -> None:
    of_endpoint = rules(limit("endpoint", calls=10), limit("user", calls=2), limit("user_group", "g1", calls=1))
    assert bench.admitted(of_endpoint, CAT, 50) == 2
    assert bench.admitted(of_endpoint, BOB, 50) == 1
    strangers = [bench.admitted(of_endpoint, Caller(f"u{n}"), 2) for n in range(5)]
    assert strangers == [2, 2, 2, 1, 0]


def test_a_changed_limit_goes_on_with_the_same_count(bench: Bench) -> None:
    assert bench.admitted(rules(limit("user", calls=5)), ANN, 9) == 5
    assert bench.admitted(rules(limit("user", calls=5), limit("user", "ann", calls=7)), ANN, 9) == 2
    assert bench.admitted(rules(limit("user", calls=3)), ANN, 9) == 0


def test_endpoints_count_apart(bench: Bench) -> None:
    for endpoint in ("a", "b"):
        assert bench.admitted(rules(limit("endpoint", calls=2), endpoint=endpoint), ANN, 9) == 2


def test_a_thousand_calls_at_once_against_a_hundred(bench: Bench) -> None:
    of_endpoint = rules(limit("endpoint", calls=100))

    async def call() -> bool:
        await asyncio.sleep(0)
        try:
            await bench.limiter.admit(of_endpoint, ANN)
        except RequestLimitExceeded:
            return False
        return True

    async def calls() -> list[bool]:
        return await asyncio.gather(*(call() for _ in range(1000)))

    assert sum(asyncio.run(calls())) == 100
    assert not bench.limiter.needs_await


def test_what_an_upstream_says_does_not_overflow_a_counter(bench: Bench) -> None:
    of_endpoint = rules(limit("user", tokens=2**63 - 1))
    admission = bench.limiter.admit_now(of_endpoint, ANN)
    bench.limiter.charge_tokens(admission, 2**200)
    bench.limiter.charge_tokens(admission, -5)
    assert bench.admitted(of_endpoint, ANN) == 1


def test_windows_of_a_hundred_thousand_users_go_when_they_end(bench: Bench) -> None:
    windows = MemoryWindows(bench.clock)
    of_endpoint = rules(limit("user", calls=5, tokens=5))
    for number in range(100_000):
        admitted = windows.admit(of_endpoint.choices(Caller(str(number))))
        assert not isinstance(admitted, Refusal)
        if number == 50_000:
            bench.clock.now += 30
            windows.sweep()
    assert len(windows) == 100_000
    bench.clock.now += 30
    windows.admit(of_endpoint.choices(Caller("7")))
    sweeps = 0
    while len(windows) > 49_999 + 1:
        windows.sweep()
        sweeps += 1
        assert sweeps <= 11
    bench.clock.now += 30
    for _ in range(10):
        windows.sweep()
    assert len(windows) == 1
    bench.clock.now += 30
    windows.sweep()
    assert len(windows) == 0


def test_windows_of_different_lengths_go_each_at_its_time(bench: Bench) -> None:
    windows = MemoryWindows(bench.clock)
    windows.admit(rules(limit("endpoint", calls=1, seconds=3600)).choices(ANN))
    windows.admit(rules(limit("user", calls=1)).choices(ANN))
    bench.clock.now += 60
    windows.sweep()
    assert len(windows) == 1


AMOUNTS = st.integers(0, 4)
PEOPLE = [Caller(name, frozenset(groups)) for name, groups in (("a", ()), ("b", "g"), ("c", "gh"), ("d", "h"))]
KEYS = [
    ("endpoint", None),
    ("user", None),
    ("user", "a"),
    ("service_principal", "c"),
    ("user_group", "g"),
    ("user_group", "h"),
]
LIMITS = st.lists(
    st.builds(
        lambda key, unit, amount, seconds: limit(*key, seconds=seconds, **{unit: amount}),
        st.sampled_from(KEYS),
        st.sampled_from(["calls", "tokens"]),
        AMOUNTS,
        st.sampled_from([60, 60, 90]),
    ),
    max_size=8,
    unique_by=lambda one: (one.key, one.principal_id, one.calls is None),
)
STEPS = st.lists(
    st.tuples(st.sampled_from(PEOPLE), st.integers(0, 3), st.sampled_from([0.0, 0.0, 0.0, 1.0, 29.5, 60.0, 61.0])),
    max_size=60,
)


class Ledger:
    """What was charged to each limit, kept whole; windows are found by going through it again."""

    def __init__(self) -> None:
        self.charges: dict[tuple[CompiledLimit, str], list[tuple[float, int]]] = {}

    def used(self, one: CompiledLimit, whose: str, now: float) -> int:
        begin, used = float("-inf"), 0
        for when, amount in self.charges.get((one, whose), []):
            if when >= begin + one.seconds:
                begin, used = when, 0
            used += amount
        return used if now < begin + one.seconds else 0

    def charge(self, one: CompiledLimit, whose: str, now: float, amount: int) -> None:
        if amount:
            self.charges.setdefault((one, whose), []).append((now, amount))


def applying(limits: Sequence[CompiledLimit], caller: Caller) -> list[list[tuple[CompiledLimit, str]]]:
    """The rules once more, as plainly as they can be said."""
    found: list[list[tuple[CompiledLimit, str]]] = []
    for unit in ("calls", "tokens"):
        of_unit = [one for one in limits if getattr(one, unit) is not None]
        found.append([(one, "") for one in of_unit if one.key is LimitKey.ENDPOINT])
        own = [(one, caller.id) for one in of_unit if one.principal_id == caller.id]
        of_groups = [one for one in of_unit if one.key is LimitKey.USER_GROUP]
        of_groups.sort(key=lambda one: getattr(one, unit), reverse=True)
        groups = [(one, "") for one in of_groups if one.principal_id in caller.groups]
        default = [(one, caller.id) for one in of_unit if one.key is LimitKey.USER and one.principal_id is None]
        found.append(own or groups or default)
    return [choice for choice in found if choice]


@given(LIMITS, STEPS)
@settings(max_examples=300)
def test_whatever_the_order_of_calls_and_answers_no_window_admits_more_than_its_limit(
    limits: list[CompiledLimit], steps: list[tuple[Caller, int, float]]
) -> None:
    bench, ledger, of_endpoint = Bench(), Ledger(), rules(*limits)
    answering: list[tuple[Any, list[tuple[CompiledLimit, str]], int]] = []
    for caller, tokens, passes in steps:
        bench.clock.now += passes
        now = bench.clock.now
        expected: list[tuple[CompiledLimit, str]] = []
        room = True
        for choice in applying(limits, caller):
            left = [
                (one.calls if one.calls is not None else one.tokens or 0) - ledger.used(one, whose, now)
                for one, whose in choice
            ]
            room = room and max(left) > 0
            expected.append(choice[left.index(max(left))])
        if not room:
            assert 1 <= int(bench.refusal(of_endpoint, caller).headers["Retry-After"]) <= 90
        else:
            admission = bench.limiter.admit_now(of_endpoint, caller)
            assert [(a.unit, a.amount) for a in admission] == [
                (Unit.CALLS, one.calls) if one.calls is not None else (Unit.TOKENS, one.tokens) for one, _ in expected
            ]
            for one, whose in expected:
                ledger.charge(one, whose, now, one.calls is not None)
                assert one.calls is None or ledger.used(one, whose, now) <= one.calls
            answering.append((admission, expected, tokens))
        if len(answering) > 2:
            admission, charged, tokens = answering.pop(0)
            bench.limiter.charge_tokens(admission, tokens)
            for one, whose in charged:
                if one.tokens is not None:
                    ledger.charge(one, whose, now, tokens)
        bench.limiter.sweep()


MINUTE = {"renewal_period": "minute"}


def test_both_forms_become_one_list() -> None:
    ids = {("user", "ann@example.com"): "1", ("user_group", "staff"): "2", ("service_principal", "app"): "3"}
    legacy = [{"calls": 9, **MINUTE}, {"calls": 5, "key": "user", **MINUTE}]
    gateway = [
        {"calls": 7, **MINUTE},
        {"tokens": 70, **MINUTE},
        {"calls": 6, "key": "user", **MINUTE},
        {"calls": 1, "key": "user", "principal": "ann@example.com", **MINUTE},
        {"calls": 2, "key": "user_group", "principal": "staff", **MINUTE},
        {"tokens": 3, "key": "service_principal", "principal": "app", **MINUTE},
        {"calls": 4, "key": "user", "principal": "nobody@example.com", **MINUTE},
    ]
    compiled = compile_limits(
        [RateLimit.model_validate(one) for one in legacy],
        [GatewayRateLimit.model_validate(one) for one in gateway],
        lambda key, name: ids.get((key.value, name)),
    )
    assert [one.model_dump(mode="json", exclude_none=True) for one in compiled] == [
        {"key": "endpoint", "display": "", "calls": 7, "tokens": 70, "seconds": 60},
        {"key": "user", "display": "", "calls": 5, "seconds": 60},
        {"key": "user", "principal_id": "1", "display": "ann@example.com", "calls": 1, "seconds": 60},
        {"key": "user_group", "principal_id": "2", "display": "staff", "calls": 2, "seconds": 60},
        {"key": "service_principal", "principal_id": "3", "display": "app", "tokens": 3, "seconds": 60},
    ]
    assert compile_limits([], [], lambda key, name: None) == ()
