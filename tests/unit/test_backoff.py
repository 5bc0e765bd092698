from dataclasses import dataclass

import pytest

from moorage.control.reconciler.backoff import RestartPolicy


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def policy(clock: Clock, attempts: int) -> RestartPolicy:
    return RestartPolicy(
        attempts=attempts,
        first_seconds=0.25,
        longest_seconds=3.0,
        slow_seconds=60.0,
        lasting_seconds=10.0,
        clock=clock,
    )


def test_waits_double_up_to_the_longest(clock):
    restarts = policy(clock, attempts=100)
    assert [restarts.ended() for _ in range(6)] == [0.25, 0.5, 1.0, 2.0, 3.0, 3.0]


def test_after_the_last_attempt_it_is_tried_slowly(clock):
    restarts = policy(clock, attempts=3)
    assert [restarts.ended() for _ in range(2)] == [0.25, 0.5]
    assert not restarts.exhausted
    assert [restarts.ended() for _ in range(2)] == [60.0, 60.0]
    assert restarts.exhausted


def test_many_endings_do_not_overflow(clock):
    restarts = policy(clock, attempts=10**6)
    assert {restarts.ended() for _ in range(500)} == {0.25, 0.5, 1.0, 2.0, 3.0}


@pytest.mark.parametrize(("lived", "wait"), [(9.999, 1.0), (10.0, 0.25), (500.0, 0.25)])
def test_life_that_lasted_starts_the_count_anew(clock, lived, wait):
    restarts = policy(clock, attempts=100)
    restarts.ended()
    restarts.ended()
    restarts.became_ready()
    clock.now += lived
    assert restarts.ended() == wait


def test_life_that_lasted_ends_the_exhaustion(clock):
    restarts = policy(clock, attempts=2)
    assert [restarts.ended() for _ in range(2)] == [0.25, 60.0]
    restarts.became_ready()
    clock.now += 10
    assert restarts.ended() == 0.25
    assert not restarts.exhausted


def test_time_without_being_ready_counts_for_nothing(clock):
    restarts = policy(clock, attempts=100)
    restarts.became_ready()
    clock.now += 20
    assert restarts.ended() == 0.25
    clock.now += 1000
    assert restarts.ended() == 0.5


def test_life_counts_from_the_latest_readiness(clock):
    restarts = policy(clock, attempts=100)
    restarts.ended()
    restarts.became_ready()
    clock.now += 9
    restarts.became_ready()
    clock.now += 9
    assert restarts.ended() == 0.5
