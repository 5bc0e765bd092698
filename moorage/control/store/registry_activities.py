"""Rows of comments on versions of registered models, and of requests to move these to a stage."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from moorage.control.store.models import RegistryComment, TransitionRequest

_KINDS = (RegistryComment, TransitionRequest)


class AlreadyRequested(Exception):
    """The same user has asked for the same move, and nobody has answered."""


def comments(
    session: Session, model: str, version: str, after: tuple[int, str], limit: int
) -> Sequence[RegistryComment]:
    """The first `limit` of those on a version behind the one with that timestamp and id, oldest first."""
    order = RegistryComment.creation_timestamp, RegistryComment.id
    chosen = select(RegistryComment).where(
        RegistryComment.model_name == model, RegistryComment.version == version, tuple_(*order) > after
    )
    return session.scalars(chosen.order_by(*order).limit(limit)).all()


def comment(session: Session, comment_id: str) -> RegistryComment | None:
    return session.get(RegistryComment, comment_id)


def requests(session: Session, model: str, version: str) -> Sequence[TransitionRequest]:
    """Those about a version, to whichever stage, oldest first."""
    chosen = select(TransitionRequest).where(
        TransitionRequest.model_name == model, TransitionRequest.version == version
    )
    return session.scalars(chosen.order_by(TransitionRequest.creation_timestamp, TransitionRequest.id)).all()


def insert_request(session: Session, request: TransitionRequest) -> None:
    """
    Raises:
        AlreadyRequested: there is such a one. The transaction is of no use any more.
    """
    session.add(request)
    try:
        session.flush()
    except IntegrityError as error:
        raise AlreadyRequested from error


def forget_requests(session: Session, model: str, version: str, stage: str, creator: str | None = None) -> None:
    """Those to move a version to a stage have been answered, all or those of one user, by name."""
    chosen = delete(TransitionRequest).where(
        TransitionRequest.model_name == model,
        TransitionRequest.version == version,
        TransitionRequest.to_stage == stage,
    )
    session.execute(chosen if creator is None else chosen.where(TransitionRequest.creator == creator))


def forget(session: Session, model: str) -> None:
    """The model is gone."""
    for kind in _KINDS:
        session.execute(delete(kind).where(kind.model_name == model))


def forget_version(session: Session, model: str, version: str) -> None:
    """The version is gone. The registry never gives its number to another one of the model."""
    for kind in _KINDS:
        session.execute(delete(kind).where(kind.model_name == model, kind.version == version))


def rename(session: Session, model: str, new_name: str) -> None:
    """The model has a new name, which no other has."""
    for kind in _KINDS:
        session.execute(update(kind).where(kind.model_name == model).values(model_name=new_name))
