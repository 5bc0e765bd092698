"""The table of phases: every row, and every pair that it does not have."""

from __future__ import annotations

import itertools

import pytest

from moorage.control.lifecycle import (
    TRANSITIONS,
    DeploymentPhase,
    IllegalTransition,
    Trigger,
    advance,
    wire_state,
)

P, T = DeploymentPhase, Trigger
IN_PROGRESS = (P.PENDING, P.FETCHING, P.BUILDING, P.STARTING)
EVERY_PAIR = tuple(itertools.product(DeploymentPhase, Trigger))


@pytest.mark.parametrize(("row", "after"), TRANSITIONS.items(), ids=str)
def test_every_row_leads_where_the_table_says(row: tuple[P, T], after: P) -> None:
    assert advance(*row) is after


@pytest.mark.parametrize(("phase", "trigger"), [pair for pair in EVERY_PAIR if pair not in TRANSITIONS])
def test_every_other_pair_is_refused(phase: P, trigger: T) -> None:
    with pytest.raises(IllegalTransition, match=trigger):
        advance(phase, trigger)


def test_a_deployment_gets_ready_step_by_step() -> None:
    phase = P.PENDING
    seen = []
    for trigger in (T.RECONCILED, T.MODEL_FETCHED, T.ENVIRONMENT_READY, T.REPLICAS_READY):
        phase = advance(phase, trigger)
        seen.append(phase)
    assert seen == [P.FETCHING, P.BUILDING, P.STARTING, P.READY]


@pytest.mark.parametrize("phase", IN_PROGRESS)
def test_a_failed_step_fails_the_deployment_and_aborts_its_siblings(phase: P) -> None:
    assert advance(phase, T.STEP_FAILED) is P.FAILED
    assert advance(phase, T.SIBLING_FAILED) is P.ABORTED
    assert advance(phase, T.UPDATE_CANCELED) is P.ABORTED


@pytest.mark.parametrize("phase", [phase for phase in P if phase is not P.RETIRED])
def test_a_deleted_endpoint_takes_every_deployment_that_is_not_gone(phase: P) -> None:
    assert advance(phase, T.ENDPOINT_DELETED) is P.RETIRING


@pytest.mark.parametrize("phase", [phase for phase in P if phase not in (P.RETIRING, P.RETIRED)])
def test_a_stopped_endpoint_takes_every_live_deployment(phase: P) -> None:
    assert advance(phase, T.ENDPOINT_STOPPED) is P.RETIRING


def test_nothing_leaves_retired() -> None:
    assert not [trigger for phase, trigger in TRANSITIONS if phase is P.RETIRED]


def test_every_phase_can_be_reached_and_every_trigger_used() -> None:
    # CONFIG_ACCEPTED makes a deployment; it moves none.
    assert set(TRANSITIONS.values()) == set(P) - {P.PENDING}
    assert {trigger for _, trigger in TRANSITIONS} == set(T) - {T.CONFIG_ACCEPTED}


@pytest.mark.parametrize(
    ("phase", "state"),
    [
        *((phase, "DEPLOYMENT_CREATING") for phase in IN_PROGRESS),
        (P.READY, "DEPLOYMENT_READY"),
        (P.RECOVERING, "DEPLOYMENT_RECOVERING"),
        (P.FAILED, "DEPLOYMENT_FAILED"),
        (P.ABORTED, "DEPLOYMENT_ABORTED"),
        (P.RETIRING, "DEPLOYMENT_ABORTED"),
        (P.RETIRED, "DEPLOYMENT_ABORTED"),
    ],
)
def test_clients_see_the_phase_as(phase: P, state: str) -> None:
    assert wire_state(phase) == state
