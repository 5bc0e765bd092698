"""The scaling policy on a clock that the test moves."""

from __future__ import annotations

import pytest

from moorage.control.reconciler.scaling import ScalingLimits, ScalingPolicy, replicas_for


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def policy(minimum: int, maximum: int, idle: float = 1800, down: float = 300) -> tuple[ScalingPolicy, Clock]:
    clock = Clock()
    return ScalingPolicy(ScalingLimits(minimum, maximum, idle, down), clock), clock


@pytest.mark.parametrize(("concurrency", "replicas"), [(0, 0), (1, 1), (4, 1), (5, 2), (64, 16)])
def test_one_replica_has_room_for_four_requests(concurrency: int, replicas: int) -> None:
    assert replicas_for(concurrency) == replicas


def test_without_requests_the_minimum_runs() -> None:
    one, _ = policy(2, 4)
    assert one.target(0) == 2


def test_more_requests_scale_up_at_once_and_not_over_the_maximum() -> None:
    one, _ = policy(1, 4)
    one.observe("g0", 9, 9)
    assert one.target(1) == 3
    one.observe("g1", 100, 100)
    assert one.target(3) == 4


def test_fewer_requests_scale_down_one_at_a_time_after_a_while() -> None:
    one, clock = policy(1, 4, down=300)
    one.observe("g0", 0, 0)
    assert one.target(4) == 4
    clock.now += 299
    assert one.target(4) == 4
    clock.now += 1
    assert one.target(4) == 3
    assert one.target(3) == 3
    clock.now += 300
    assert one.target(3) == 2


def test_a_burst_in_between_starts_the_wait_anew() -> None:
    one, clock = policy(1, 4, down=300)
    assert one.target(2) == 2
    clock.now += 200
    one.observe("g0", 8, 8)
    assert one.target(2) == 2
    one.observe("g0", 0, 0)
    clock.now += 200
    assert one.target(2) == 2


def test_an_idle_deployment_goes_to_zero_and_a_request_wakes_it() -> None:
    one, clock = policy(0, 1, idle=1800)
    assert one.target(1) == 1
    clock.now += 1799
    assert one.target(1) == 1
    clock.now += 1
    assert one.target(1) == 0
    assert one.target(0) == 0
    one.observe("g0", 1, 1)
    assert one.target(0) == 1


def test_requests_keep_it_from_zero_even_when_none_is_in_flight_at_the_report() -> None:
    one, clock = policy(0, 1, idle=10)
    clock.now += 9
    one.observe("g0", 0, 3)
    clock.now += 9
    assert one.target(1) == 1


def test_a_silent_gateway_counts_for_nothing_after_a_while() -> None:
    one, clock = policy(1, 4, down=0)
    one.observe("g0", 16, 16)
    assert one.target(1) == 4
    clock.now += 11
    assert one.target(4) == 3


@pytest.mark.parametrize(
    ("minimum", "current", "seconds"), [(0, 0, None), (1, 1, None), (2, 1, None), (0, 1, 1.0), (1, 2, 1.0)]
)
def test_time_alone_changes_nothing_at_the_minimum(minimum: int, current: int, seconds: float | None) -> None:
    one, _ = policy(minimum, 4)
    assert one.seconds_to_next_look(current) == seconds


def test_asking_whether_more_are_wanted_does_not_put_off_the_next_step_down() -> None:
    one, clock = policy(1, 4, down=1)
    assert one.target(3) == 3
    clock.now += 1
    assert not one.wants_more(3)
    assert one.target(3) == 2
    one.observe("g0", 12, 12)
    assert one.wants_more(2)
    assert one.target(2) == 3
    assert not one.wants_more(3)


def test_more_are_wanted_at_zero_as_soon_as_a_request_waits() -> None:
    one, _ = policy(0, 1)
    assert not one.wants_more(0)
    one.observe("g0", 1, 1)
    assert one.wants_more(0)
