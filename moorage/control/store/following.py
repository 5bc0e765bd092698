"""What many followers of deployments and events need to know, in few statements. Ids are as many as are followed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from moorage.control.lifecycle import DeploymentPhase
from moorage.control.store.models import Deployment, Endpoint, Event, Replica

_BATCH = 500


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a deployment is, and whether replicas of it are written down."""

    phase: DeploymentPhase
    has_replicas: bool


def standings(session: Session, deployment_ids: Collection[str]) -> dict[str, Standing]:
    """By id; a deployment that is no more has none."""
    found: dict[str, Standing] = {}
    has_replicas = select(Replica.id).where(Replica.deployment_id == Deployment.id).exists()
    for some in _batched(deployment_ids):
        rows = session.execute(select(Deployment.id, Deployment.phase, has_replicas).where(Deployment.id.in_(some)))
        found.update((row[0], Standing(DeploymentPhase(row[1]), bool(row[2]))) for row in rows)
    return found


def newest_events(session: Session, endpoint_ids: Collection[str]) -> dict[str, int]:
    """The id of each endpoint's newest event, 0 when it has none; an endpoint that is no more is missing."""
    found: dict[str, int] = {}
    newest = select(func.max(Event.id)).where(Event.endpoint_id == Endpoint.id).scalar_subquery()
    for some in _batched(endpoint_ids):
        rows = session.execute(select(Endpoint.id, newest).where(Endpoint.id.in_(some)))
        found.update((row[0], row[1] or 0) for row in rows)
    return found


def newest_event(session: Session, endpoint_id: str) -> int:
    """The id of the endpoint's newest event, 0 when it has none."""
    return session.scalar(select(func.max(Event.id)).where(Event.endpoint_id == endpoint_id)) or 0


def events_after(session: Session, endpoint_id: str, after: int, limit: int) -> Sequence[Event]:
    """The oldest `limit` events of an endpoint that came after the one with that id, oldest first."""
    return session.scalars(
        select(Event)
        .where(Event.endpoint_id == endpoint_id, Event.id > after)
        .order_by(Event.id)
        .limit(limit)
    ).all()


def _batched(ids: Collection[str]) -> Iterator[Sequence[str]]:
    ordered = list(ids)
    for first in range(0, len(ordered), _BATCH):
        yield ordered[first : first + _BATCH]
