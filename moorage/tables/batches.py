"""From the records of segments to what each table is to get of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from moorage.api.inference_tables import ENTITIES_TABLE, USAGE_TABLE
from moorage.telemetry.entity_log import (
    DELETION_KIND,
    ENTITIES_KIND,
    EndpointDeletion,
    EntityRecord,
    decode_deletion,
    decode_entities,
)
from moorage.telemetry.request_log import REQUEST_KIND, LoggedRequest, decode
from moorage.telemetry.spool import Record

_logger = logging.getLogger(__name__)


class Form(StrEnum):
    """Which columns a table has: see `schemas`."""

    GATEWAY = "gateway"
    LEGACY = "legacy"
    USAGE = "usage"
    ENTITIES = "entities"


class Target(NamedTuple):
    """A table and the form in which something is for it."""

    table: str
    form: Form


_USAGE = Target(USAGE_TABLE, Form.USAGE)
_ENTITIES = Target(ENTITIES_TABLE, Form.ENTITIES)


@dataclass(frozen=True, slots=True)
class SegmentContent:
    """What a segment holds: requests by the table they are for, with the fraction of all that is sampled."""

    requests: dict[Target, list[tuple[LoggedRequest, float]]] = field(default_factory=dict)
    entities: list[EntityRecord] = field(default_factory=list)
    deletions: list[EndpointDeletion] = field(default_factory=list)

    @property
    def targets(self) -> frozenset[Target]:
        """All that something is for."""
        of_entities = {_ENTITIES} if self.entities or self.deletions else set()
        return frozenset({*self.requests, *of_entities})


def content_of(records: Sequence[Record], name: str) -> SegmentContent:
    """The records of the segment `name`, read. One that cannot be is left out, and logged."""
    content = SegmentContent()
    for record in records:
        try:
            _take(content, record)
        except ValueError as error:
            _logger.error("a record in %s is left out: %s", name, error)
    return content


def _take(content: SegmentContent, record: Record) -> None:
    """
    Raises:
        ValueError: nobody knows what the record is.
    """
    if record.kind == REQUEST_KIND:
        request = decode(record)
        for table, legacy, fraction in request.captures:
            target = Target(table, Form.LEGACY if legacy else Form.GATEWAY)
            content.requests.setdefault(target, []).append((request, fraction))
        if request.usage:
            content.requests.setdefault(_USAGE, []).append((request, 1.0))
    elif record.kind == ENTITIES_KIND:
        content.entities.extend(decode_entities(record))
    elif record.kind == DELETION_KIND:
        content.deletions.append(decode_deletion(record))
    else:
        raise ValueError(f"its kind is {record.kind}")
