"""Rows of metrics by the minute."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import RowMapping, delete, insert, select
from sqlalchemy.orm import Session

from moorage.control.store.models import Endpoint, MetricMinute
from moorage.telemetry.minutes import Minute, MinuteKey

_ROWS = select(*MetricMinute.__table__.columns)
_READ_AT_A_TIME = 1000


def add(session: Session, minutes: Mapping[MinuteKey, Minute]) -> None:
    """Write minutes; one that has a row already is added to it. Those of endpoints that are no more are left out."""
    living = set(session.scalars(select(Endpoint.id)))
    wanted = {key: minute for key, minute in minutes.items() if key.endpoint_id in living}
    for time in {key.minute for key in wanted}:
        # The row is there when the control plane was restarted within the minute.
        for row in session.execute(_ROWS.where(MetricMinute.minute == time)).mappings().all():
            key = _key(row)
            if key in wanted:
                wanted[key] = wanted[key].copy()
                _add_row(wanted[key], row)
                session.execute(
                    delete(MetricMinute).where(
                        MetricMinute.endpoint_id == key.endpoint_id,
                        MetricMinute.served_name == key.served,
                        MetricMinute.minute == key.minute,
                    )
                )
    if wanted:
        session.execute(insert(MetricMinute), [_row(key, minute) for key, minute in wanted.items()])


def read(
    session: Session, endpoint_id: str, start: int, end: int, target: Callable[[MinuteKey], Minute]
) -> None:
    """Add each of an endpoint's minutes that began from `start` to before `end` (milliseconds since the epoch) to
    the target that is answered for its key."""
    rows = session.execute(
        _ROWS.where(MetricMinute.endpoint_id == endpoint_id, MetricMinute.minute >= start, MetricMinute.minute < end),
        execution_options={"yield_per": _READ_AT_A_TIME},
    )
    for row in rows.mappings():
        _add_row(target(_key(row)), row)


def any_before(session: Session, time: int) -> bool:
    """Whether there are minutes that began before that time."""
    return session.scalar(select(MetricMinute.minute).where(MetricMinute.minute < time).limit(1)) is not None


def delete_before(session: Session, time: int, limit: int) -> None:
    """Delete the oldest minutes before that time: about `limit` rows of them."""
    oldest = select(MetricMinute.minute).where(MetricMinute.minute < time).order_by(MetricMinute.minute)
    last = session.scalar(oldest.offset(limit - 1).limit(1))
    session.execute(delete(MetricMinute).where(MetricMinute.minute < (time if last is None else last + 1)))


def _key(row: RowMapping) -> MinuteKey:
    return MinuteKey(row["endpoint_id"], row["served_name"], row["minute"])


def _row(key: MinuteKey, minute: Minute) -> dict[str, Any]:
    return {
        "endpoint_id": key.endpoint_id,
        "served_name": key.served,
        "minute": key.minute,
        "requests": minute.requests,
        "ok_2xx": minute.ok_2xx,
        "errors_4xx": minute.errors_4xx,
        "errors_5xx": minute.errors_5xx,
        "latency": minute.latency.stored(),
        "latency_total": minute.latency.total,
        "queue": minute.queue.stored(),
        "queue_total": minute.queue.total,
        "prediction": minute.prediction.stored(),
        "prediction_total": minute.prediction.total,
        "batch_total": minute.batch_total,
        "batch_count": minute.batch_count,
        "cold_starts": minute.cold_starts,
        "cpu_percentage": minute.cpu.value,
        "memory_percentage": minute.memory.value,
        "replicas": minute.replicas,
        "provisioned_concurrency": minute.provisioned_concurrency,
        "used_concurrency": minute.used_concurrency,
    }


def _add_row(minute: Minute, row: RowMapping) -> None:
    minute.requests += row["requests"]
    minute.ok_2xx += row["ok_2xx"]
    minute.errors_4xx += row["errors_4xx"]
    minute.errors_5xx += row["errors_5xx"]
    minute.latency.add_stored(row["latency"], row["latency_total"])
    minute.queue.add_stored(row["queue"], row["queue_total"])
    minute.prediction.add_stored(row["prediction"], row["prediction_total"])
    minute.batch_total += row["batch_total"]
    minute.batch_count += row["batch_count"]
    minute.cold_starts += row["cold_starts"]
    minute.cpu.add(row["cpu_percentage"])
    minute.memory.add(row["memory_percentage"])
    minute.observe(row["replicas"], row["provisioned_concurrency"], row["used_concurrency"])
