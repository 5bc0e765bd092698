"""Rows of endpoints, their configurations, deployments and events. Ids and times come from the caller."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from moorage.api.served_entities import EntityKind
from moorage.control.lifecycle import DeploymentPhase
from moorage.control.store.models import Config, Deployment, Endpoint, Event, LegacyEndpoint

_KEPT_EVENTS = 1000  # an endpoint
_OVERTAKEN_MS = 10_000
_KEPT_EVENTS_OF_DELETED = 1000  # all endpoints that are no more, together
_BATCH = 500


class NameTaken(Exception):
    """A live endpoint has that name already."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are wanted: those of a served entity or of one of several, those of a type; None is any."""

    served_name: str | None = None
    event_type: str | None = None
    served_names: frozenset[str] | None = None

    def takes(self, event: Event) -> bool:
        if self.served_names is not None and event.served_name not in self.served_names:
            return False
        return self.served_name in (None, event.served_name) and self.event_type in (None, event.event_type)


def insert(session: Session, endpoint: Endpoint, config: Config | None, deployments: Collection[Deployment]) -> None:
    """Write a new endpoint with what belongs to it.

    Raises:
        NameTaken: a live endpoint has its name.
    """
    if find(session, endpoint.name) is not None:
        raise NameTaken(endpoint.name)
    session.add(endpoint)
    try:
        session.flush()
    except IntegrityError as error:
        # Between the look and the write another server's transaction may have taken the name.
        raise NameTaken(endpoint.name) from error
    if config is not None:
        session.add(config)
    session.add_all(deployments)
    session.flush()


def find(session: Session, name: str) -> Endpoint | None:
    """The live endpoint of that name; one that is being deleted has none."""
    return session.scalar(select(Endpoint).where(Endpoint.name == name, Endpoint.deleting.is_(False)))


def find_for_change(session: Session, name: str) -> Endpoint | None:
    """As `find`, and no other transaction changes the row until this one has ended."""
    return session.scalar(
        select(Endpoint).where(Endpoint.name == name, Endpoint.deleting.is_(False)).with_for_update()
    )


def find_by_id(session: Session, endpoint_id: str) -> Endpoint | None:
    """As `find_for_change`, by id."""
    return session.scalar(
        select(Endpoint).where(Endpoint.id == endpoint_id, Endpoint.deleting.is_(False)).with_for_update()
    )


def count_live(session: Session) -> int:
    """How many endpoints are not being deleted, those of the catalogue's models left out."""
    made = or_(Endpoint.kind.is_(None), Endpoint.kind != EntityKind.FOUNDATION_MODEL)
    counted = select(func.count()).select_from(Endpoint).where(Endpoint.deleting.is_(False), made)
    return session.scalar(counted) or 0


def provisioned_concurrency(session: Session, *, but: str) -> int:
    """The concurrency that the running endpoints may grow to, without the endpoint of id `but`.

    What a stopped endpoint had is released: its deployments retire when it stops.
    """
    released = (DeploymentPhase.FAILED, DeploymentPhase.ABORTED, DeploymentPhase.RETIRING, DeploymentPhase.RETIRED)
    return (
        session.scalar(
            select(func.sum(Deployment.max_concurrency))
            .join(Endpoint, Endpoint.id == Deployment.endpoint_id)
            .where(
                Endpoint.deleting.is_(False),
                Endpoint.id != but,
                Deployment.phase.not_in(released),
            )
        )
        or 0
    )


def live(session: Session) -> Sequence[Endpoint]:
    """Every endpoint that is not being deleted, by name."""
    return session.scalars(select(Endpoint).where(Endpoint.deleting.is_(False)).order_by(Endpoint.name)).all()


def config(session: Session, endpoint_id: str, version: int) -> Config | None:
    return session.get(Config, (endpoint_id, version))


def configs(session: Session, endpoint_id: str) -> Sequence[Config]:
    """Every version of an endpoint's configuration, newest first."""
    return session.scalars(
        select(Config).where(Config.endpoint_id == endpoint_id).order_by(Config.version.desc())
    ).all()


def active_configs(session: Session) -> Sequence[Config]:
    """The configurations that serve, of all live endpoints."""
    return session.scalars(
        select(Config)
        .join(Endpoint, Endpoint.id == Config.endpoint_id)
        .where(Endpoint.deleting.is_(False), Config.version == Endpoint.active_version)
    ).all()


def deployments(session: Session, endpoint_id: str) -> Sequence[Deployment]:
    """Every deployment of an endpoint, of any configuration."""
    return session.scalars(select(Deployment).where(Deployment.endpoint_id == endpoint_id)).all()


def deployments_by_id(session: Session, ids: Collection[str]) -> dict[str, Deployment]:
    """The deployments with these ids, of any endpoint."""
    found: dict[str, Deployment] = {}
    for some in _batched(ids):
        found.update((one.id, one) for one in session.scalars(select(Deployment).where(Deployment.id.in_(some))))
    return found


def _batched(ids: Collection[str]) -> Iterator[Sequence[str]]:
    """As many at a time as a statement may have parameters in any database."""
    ordered = list(ids)
    for first in range(0, len(ordered), _BATCH):
        yield ordered[first : first + _BATCH]


def mark_deleting(session: Session, endpoint: Endpoint, timestamp: int) -> None:
    """Take the endpoint from its users; the reconciler takes down what it left and then its row.

    A registered model that it served by stage is no longer served.
    """
    endpoint.deleting = True
    session.execute(delete(LegacyEndpoint).where(LegacyEndpoint.endpoint_id == endpoint.id))
    endpoint.last_updated_timestamp = timestamp
    session.flush()


def add_event(session: Session, event: Event) -> None:
    """Record what happened; the oldest of an endpoint's events make room."""
    of_endpoint = Event.endpoint_id == event.endpoint_id
    newest = session.scalar(select(Event.timestamp).where(of_endpoint).order_by(Event.id.desc()).limit(1))
    # Who takes the time before its turn to write comes may be overtaken. A clock that was set back is another thing.
    if newest is not None and event.timestamp < newest <= event.timestamp + _OVERTAKEN_MS:
        event.timestamp = newest
    session.add(event)
    session.flush()
    newest_first = select(Event.id).where(of_endpoint).order_by(Event.id.desc())
    oldest = session.scalar(newest_first.offset(_KEPT_EVENTS).limit(1))
    if oldest is not None:
        session.execute(delete(Event).where(of_endpoint, Event.id <= oldest))


def events(
    session: Session, endpoint_id: str, wanted: EventFilter, limit: int, before: int | None = None
) -> Sequence[Event]:
    """The newest `limit` events of an endpoint, newest first; `before` is the id of one that is newer than all."""
    chosen = select(Event).where(Event.endpoint_id == endpoint_id)
    if before is not None:
        chosen = chosen.where(Event.id < before)
    if wanted.served_name is not None:
        chosen = chosen.where(Event.served_name == wanted.served_name)
    if wanted.served_names is not None:
        chosen = chosen.where(Event.served_name.in_(wanted.served_names))
    if wanted.event_type is not None:
        chosen = chosen.where(Event.event_type == wanted.event_type)
    return session.scalars(chosen.order_by(Event.id.desc()).limit(limit)).all()


def prune_events_of_deleted(session: Session) -> None:
    """Of endpoints that are no more, keep the newest events only: no list shows them, and names come and go."""
    gone = Event.endpoint_id.not_in(select(Endpoint.id))
    oldest = session.scalar(
        select(Event.id).where(gone).order_by(Event.id.desc()).offset(_KEPT_EVENTS_OF_DELETED).limit(1)
    )
    if oldest is not None:
        session.execute(delete(Event).where(gone, Event.id <= oldest))
