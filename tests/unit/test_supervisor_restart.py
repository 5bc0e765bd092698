"""When a dead child is started again."""

from __future__ import annotations

import pytest

from moorage.supervisor.restart import GiveUp, Restart, RestartLimits, RestartState, after_death, first_state
from moorage.supervisor.server import stop_budgets

LIMITS = RestartLimits()


def test_delays_double_up_to_ten_seconds() -> None:
    state = first_state(LIMITS)
    delays = []
    for _ in range(8):
        state, decision = after_death(state, 1.0, LIMITS, server_was_ready=True)
        assert isinstance(decision, Restart)
        delays.append(decision.delay)
    assert delays == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]


def test_a_long_life_starts_the_delays_anew() -> None:
    state, decision = after_death(RestartState(delay=10.0), 30.0, LIMITS, server_was_ready=True)
    assert decision == Restart(0.2)
    assert state.delay == 0.4


@pytest.mark.parametrize(
    ("deaths_before", "lived", "was_ready", "gives_up"),
    [
        (3, 0.5, False, False),
        (4, 0.5, False, True),
        (4, 9.9, False, True),
        (4, 10.0, False, False),
        (4, 0.5, True, False),
        (40, 0.5, True, False),
    ],
)
def test_five_early_deaths_before_the_server_was_ready_are_too_many(
    deaths_before: int, lived: float, was_ready: bool, gives_up: bool
) -> None:
    state = RestartState(delay=1.0, early_deaths=deaths_before)
    _, decision = after_death(state, lived, LIMITS, server_was_ready=was_ready)
    assert isinstance(decision, GiveUp) is gives_up


def test_a_later_death_forgets_the_early_ones() -> None:
    state, _ = after_death(RestartState(1.0, early_deaths=4), 15.0, LIMITS, server_was_ready=False)
    assert state.early_deaths == 0


@pytest.mark.parametrize("drain", [0, 5, 20])
def test_an_orderly_stop_fits_in_thirty_seconds(drain: float) -> None:
    budgets = stop_budgets(drain)
    assert budgets[0] > drain
    assert min(budgets) >= 1
    assert sum(budgets) < 30


def test_a_longer_drain_comes_on_top() -> None:
    gateways, control, mlflow = stop_budgets(120)
    assert gateways > 120
    assert control + mlflow == 8
