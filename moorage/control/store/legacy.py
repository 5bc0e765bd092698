"""Rows of registered models that are served by stage."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from moorage.control.store.models import Endpoint, LegacyEndpoint


def find(session: Session, model: str) -> tuple[LegacyEndpoint, Endpoint] | None:
    """How the model is served, when it is."""
    return session.execute(_rows().where(LegacyEndpoint.registered_model_name == model)).first()


def find_for_change(session: Session, model: str) -> tuple[LegacyEndpoint, Endpoint] | None:
    """As `find`, and no other transaction changes the endpoint until this one has ended."""
    chosen = _rows().where(LegacyEndpoint.registered_model_name == model)
    return session.execute(chosen.with_for_update(of=Endpoint)).first()


def of_endpoint(session: Session, endpoint_id: str) -> LegacyEndpoint | None:
    return session.get(LegacyEndpoint, endpoint_id)


def rename(session: Session, model: str, new_name: str) -> None:
    """The registered model has a new name; what was wrong with the old one has to be found out anew."""
    chosen = update(LegacyEndpoint).where(LegacyEndpoint.registered_model_name == model)
    session.execute(chosen.values(registered_model_name=new_name, problem=""))


def by_endpoint(session: Session) -> dict[str, LegacyEndpoint]:
    """All of them, by the id of their endpoint."""
    return {one.endpoint_id: one for one in session.scalars(select(LegacyEndpoint))}


def all_models(session: Session) -> Sequence[tuple[LegacyEndpoint, Endpoint]]:
    """Every model that is served by stage, by name."""
    return session.execute(_rows().order_by(LegacyEndpoint.registered_model_name)).all()


def _rows() -> Select[LegacyEndpoint, Endpoint]:
    return select(LegacyEndpoint, Endpoint).join(Endpoint, Endpoint.id == LegacyEndpoint.endpoint_id)
