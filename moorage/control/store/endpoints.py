"""Rows of endpoints, their configurations, deployments and events. Ids and times come from the caller."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from moorage.control.store.models import Config, Deployment, Endpoint, Event


class NameTaken(Exception):
    """A live endpoint has that name already."""


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


def live(session: Session) -> Sequence[Endpoint]:
    """Every endpoint that is not being deleted, by name."""
    return session.scalars(select(Endpoint).where(Endpoint.deleting.is_(False)).order_by(Endpoint.name)).all()


def config(session: Session, endpoint_id: str, version: int) -> Config | None:
    return session.get(Config, (endpoint_id, version))


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


def live_deployments(session: Session) -> Sequence[Deployment]:
    """Every deployment of every live endpoint."""
    return session.scalars(
        select(Deployment).join(Endpoint, Endpoint.id == Deployment.endpoint_id).where(Endpoint.deleting.is_(False))
    ).all()


def mark_deleting(session: Session, endpoint: Endpoint, timestamp: int) -> None:
    """Take the endpoint from its users; the reconciler takes down what it left and then its row."""
    endpoint.deleting = True
    endpoint.last_updated_timestamp = timestamp
    session.flush()


def add_event(session: Session, event: Event) -> None:
    session.add(event)
    session.flush()


def events(session: Session, endpoint_id: str, limit: int) -> Sequence[Event]:
    """The newest `limit` events of an endpoint, newest first."""
    return session.scalars(
        select(Event).where(Event.endpoint_id == endpoint_id).order_by(Event.id.desc()).limit(limit)
    ).all()
