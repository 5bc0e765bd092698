"""When a dead child is started again, and when the server gives up: a pure decision per death."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class RestartLimits:
    """Seconds, and how many early deaths in a row are too many before the server has ever been ready."""

    first_delay: float = 0.2
    longest_delay: float = 10.0
    healthy_after: float = 30.0
    early_death: float = 10.0
    early_deaths_allowed: int = 5


@dataclass(frozen=True, slots=True)
class Restart:
    """Start it again after `delay` seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It died `deaths` times at its start."""

    deaths: int


@dataclass(frozen=True, slots=True)
class RestartState:
    """What is remembered of one child's deaths. `delay` is the one before the next start."""

    delay: float
    early_deaths: int = 0


def first_state(limits: RestartLimits) -> RestartState:
    """The state of a child that never died."""
    return RestartState(delay=limits.first_delay)


def after_death(
    state: RestartState, lived: float, limits: RestartLimits, *, server_was_ready: bool
) -> tuple[RestartState, Restart | GiveUp]:
    """What follows when a child dies that lived for `lived` seconds.

    Once the server has been ready it never gives up: what is left of it may still answer.
    """
    if lived >= limits.healthy_after:
        state = first_state(limits)
    deaths = state.early_deaths + 1 if lived < limits.early_death else 0
    decision = Restart(state.delay)
    state = replace(state, early_deaths=deaths, delay=min(state.delay * 2, limits.longest_delay))
    if not server_was_ready and deaths >= limits.early_deaths_allowed:
        return state, GiveUp(deaths)
    return state, decision
