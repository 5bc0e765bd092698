"""What the control plane writes down of served entities, for the table `system.serving.served_entities`.

A record is in the spool of the control plane until `moorage.tables` has merged it. Merging one again changes nothing,
so that a step of the control plane that may be repeated writes its records again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from moorage.telemetry.spool import Record, SegmentWriter

ENTITIES_KIND = 2
DELETION_KIND = 3


@dataclass(frozen=True, slots=True)
class EntityRecord:
    """A served entity of one version of an endpoint's configuration. `change_time_ms` is since the epoch.

    `entity_type` is `EXTERNAL_MODEL`, `FOUNDATION_MODEL`, `CUSTOM_MODEL` or `FEATURE_SPEC`. `provider` belongs to
    external models; the concurrency and `compute_type` (`CPU` or a kind of GPU) to custom ones; the throughput in
    tokens a second to foundation models.
    """

    served_entity_id: str
    created_by: str
    endpoint_name: str
    endpoint_id: str
    served_entity_name: str
    entity_type: str
    entity_name: str
    entity_version: str
    endpoint_config_version: int
    change_time_ms: int
    task: str | None = None
    provider: str | None = None
    min_provisioned_throughput: int | None = None
    max_provisioned_throughput: int | None = None
    min_concurrency: int | None = None
    max_concurrency: int | None = None
    compute_type: str | None = None


@dataclass(frozen=True, slots=True)
class EndpointDeletion:
    """An endpoint that is gone, and when, in milliseconds since the epoch."""

    endpoint_id: str
    time_ms: int


def record_served_entities(folder: Path, writer: str, entities: Iterable[EntityRecord]) -> None:
    """Write down the served entities of a new configuration; those that are known already are left as they are.

    `folder` is the spool. Two calls with the same `writer` must not run at the same time.

    Raises:
        OSError: the spool cannot be written.
    """
    documents = [asdict(entity) for entity in entities]
    if documents:
        _append(folder, writer, ENTITIES_KIND, documents)


def record_endpoint_deletion(folder: Path, writer: str, deletion: EndpointDeletion) -> None:
    """Write down that an endpoint is gone: its served entities get an `endpoint_delete_time`, unless they have one.

    As `record_served_entities` otherwise.
    """
    _append(folder, writer, DELETION_KIND, asdict(deletion))


def decode_entities(record: Record) -> list[EntityRecord]:
    """A record of `ENTITIES_KIND`.

    Raises:
        ValueError: it is none that this version has written.
    """
    try:
        return [EntityRecord(**document) for document in orjson.loads(record.head)]
    except TypeError as error:
        raise ValueError("not a record of served entities") from error


def decode_deletion(record: Record) -> EndpointDeletion:
    """A record of `DELETION_KIND`.

    Raises:
        ValueError: it is none that this version has written.
    """
    try:
        return EndpointDeletion(**orjson.loads(record.head))
    except TypeError as error:
        raise ValueError("not a record of a deleted endpoint") from error


def _append(folder: Path, writer: str, kind: int, document: Any) -> None:
    segments = SegmentWriter(folder, writer)
    try:
        segments.append(kind, orjson.dumps(document))
    finally:
        segments.close()
