"""The states of a deployment and of an endpoint's update, as tables. Pure: nothing here starts or stops anything."""

from __future__ import annotations

from enum import StrEnum


class DeploymentPhase(StrEnum):
    """Where a served entity is between accepted and gone."""

    PENDING = "PENDING"
    FETCHING = "FETCHING"  # the model's files
    BUILDING = "BUILDING"  # its environment
    STARTING = "STARTING"  # its replicas
    READY = "READY"
    RECOVERING = "RECOVERING"  # it was ready and has lost every replica
    FAILED = "FAILED"
    ABORTED = "ABORTED"
    RETIRING = "RETIRING"  # no configuration wants it any more; replicas drain
    RETIRED = "RETIRED"


class Trigger(StrEnum):
    """What moves a deployment from one phase to another."""

    CONFIG_ACCEPTED = "CONFIG_ACCEPTED"
    RECONCILED = "RECONCILED"
    MODEL_FETCHED = "MODEL_FETCHED"
    ENVIRONMENT_READY = "ENVIRONMENT_READY"
    REPLICAS_READY = "REPLICAS_READY"
    REPLICAS_LOST = "REPLICAS_LOST"
    STEP_FAILED = "STEP_FAILED"
    SIBLING_FAILED = "SIBLING_FAILED"
    UPDATE_CANCELED = "UPDATE_CANCELED"
    CONFIG_REPLACED = "CONFIG_REPLACED"
    ENDPOINT_STOPPED = "ENDPOINT_STOPPED"
    ENDPOINT_DELETED = "ENDPOINT_DELETED"
    REPLICAS_GONE = "REPLICAS_GONE"


class IllegalTransition(Exception):
    """A trigger that the table does not know in that phase: a defect of the caller."""


_P, _T = DeploymentPhase, Trigger

_IN_PROGRESS = (_P.PENDING, _P.FETCHING, _P.BUILDING, _P.STARTING)
_LIVE = (*_IN_PROGRESS, _P.READY, _P.RECOVERING, _P.FAILED, _P.ABORTED)

TRANSITIONS: dict[tuple[DeploymentPhase, Trigger], DeploymentPhase] = {
    (_P.PENDING, _T.RECONCILED): _P.FETCHING,
    (_P.FETCHING, _T.MODEL_FETCHED): _P.BUILDING,
    (_P.BUILDING, _T.ENVIRONMENT_READY): _P.STARTING,
    (_P.STARTING, _T.REPLICAS_READY): _P.READY,
    (_P.READY, _T.REPLICAS_LOST): _P.RECOVERING,
    (_P.RECOVERING, _T.REPLICAS_READY): _P.READY,
    (_P.RECOVERING, _T.STEP_FAILED): _P.FAILED,
    # A failed deployment of a serving configuration may come back: its replicas are tried again, more rarely.
    (_P.FAILED, _T.REPLICAS_READY): _P.READY,
    (_P.RETIRING, _T.REPLICAS_GONE): _P.RETIRED,
    **{(phase, _T.STEP_FAILED): _P.FAILED for phase in _IN_PROGRESS},
    **{(phase, _T.SIBLING_FAILED): _P.ABORTED for phase in (*_IN_PROGRESS, _P.READY, _P.RECOVERING)},
    **{(phase, _T.UPDATE_CANCELED): _P.ABORTED for phase in (*_IN_PROGRESS, _P.READY, _P.RECOVERING)},
    **{(phase, _T.CONFIG_REPLACED): _P.RETIRING for phase in _LIVE},
    **{(phase, _T.ENDPOINT_STOPPED): _P.RETIRING for phase in _LIVE},
    **{(phase, _T.ENDPOINT_DELETED): _P.RETIRING for phase in (*_LIVE, _P.RETIRING)},
}


def advance(phase: DeploymentPhase, trigger: Trigger) -> DeploymentPhase:
    """The phase after `trigger`.

    Raises:
        IllegalTransition: the table has no such row.
    """
    try:
        return TRANSITIONS[phase, trigger]
    except KeyError:
        raise IllegalTransition(f"{trigger} in phase {phase}") from None


def wire_state(phase: DeploymentPhase) -> str:
    """The `deployment` value that the API shows (databricks-sdk `ServedModelStateDeployment`)."""
    if phase in _IN_PROGRESS:
        return "DEPLOYMENT_CREATING"
    return {
        _P.READY: "DEPLOYMENT_READY",
        _P.RECOVERING: "DEPLOYMENT_RECOVERING",
        _P.FAILED: "DEPLOYMENT_FAILED",
        _P.ABORTED: "DEPLOYMENT_ABORTED",
        _P.RETIRING: "DEPLOYMENT_ABORTED",
        _P.RETIRED: "DEPLOYMENT_ABORTED",
    }[phase]
