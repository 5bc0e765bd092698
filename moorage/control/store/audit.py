"""Rows of the audit log: added, read, and after their time removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import CursorResult, Select, delete, select
from sqlalchemy.orm import Session

from moorage.control.store.models import AuditRecord


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries to read; None is any. Times are milliseconds since the epoch, the end not included."""

    user_name: str | None = None
    action: str | None = None
    object_type: str | None = None
    object_id: str | None = None
    start_time: int | None = None
    end_time: int | None = None


def add(session: Session, records: Sequence[AuditRecord]) -> None:
    session.add_all(records)


def newest(session: Session, wanted: AuditFilter, *, before: int | None, limit: int) -> Sequence[AuditRecord]:
    """The newest that match, newest first; of those with a lower id than `before`."""
    rows = _matching(wanted).order_by(AuditRecord.id.desc()).limit(limit)
    return session.scalars(rows if before is None else rows.where(AuditRecord.id < before)).all()


def oldest(session: Session, wanted: AuditFilter, *, after: int, limit: int) -> Sequence[AuditRecord]:
    """The oldest that match, oldest first; of those with a higher id than `after`."""
    return session.scalars(
        _matching(wanted).where(AuditRecord.id > after).order_by(AuditRecord.id).limit(limit)
    ).all()


def forget_before(session: Session, timestamp: int, *, limit: int) -> int:
    """Remove entries from before that time, so many at most; how many they were."""
    old = select(AuditRecord.id).where(AuditRecord.timestamp < timestamp).order_by(AuditRecord.id).limit(limit)
    done = session.execute(delete(AuditRecord).where(AuditRecord.id.in_(old)))
    assert isinstance(done, CursorResult)
    return done.rowcount


def _matching(wanted: AuditFilter) -> Select[AuditRecord]:
    rows = select(AuditRecord)
    for column, value in (
        (AuditRecord.user_name, wanted.user_name),
        (AuditRecord.action, wanted.action),
        (AuditRecord.object_type, wanted.object_type),
        (AuditRecord.object_id, wanted.object_id),
    ):
        if value is not None:
            rows = rows.where(column == value)
    if wanted.start_time is not None:
        rows = rows.where(AuditRecord.timestamp >= wanted.start_time)
    if wanted.end_time is not None:
        rows = rows.where(AuditRecord.timestamp < wanted.end_time)
    return rows
