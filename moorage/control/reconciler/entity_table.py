"""Tells the table `system.serving.served_entities` which entities endpoints serve. It may fail; serving goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from moorage.api.served_entities import EngineModelSpec, EntityKind, EntitySpec, ExternalModelSpec
from moorage.control.reconciler.records import EndpointRecord
from moorage.telemetry.entity_log import (
    EndpointDeletion,
    EntityRecord,
    record_endpoint_deletion,
    record_served_entities,
)

_logger = logging.getLogger(__name__)

_WRITER = "control"


class EntityTable:
    """What was written down in this life of the control plane. Writing something again changes nothing.

    `clock` is milliseconds since the epoch. Synchronous: call it in a thread.
    """

    def __init__(self, spool: Path, clock: Callable[[], int]) -> None:
        self._spool = spool
        self._clock = clock
        self._lock = threading.Lock()  # two at once would write to one file
        self._versions: dict[str, int] = {}

    def knows(self, record: EndpointRecord) -> bool:
        """Whether there is nothing to write of the configuration that serves."""
        return record.active.version == self._versions.get(record.id, 0)

    def write(self, records: Iterable[EndpointRecord]) -> None:
        """The entities that these endpoints serve now."""
        now = self._clock()
        unknown = [one for one in records if not one.deleting and not self.knows(one)]
        entities = [entity for record in unknown for entity in _entities(record, now)]
        try:
            with self._lock:
                record_served_entities(self._spool, _WRITER, entities)
        except OSError as error:
            _logger.warning("served entities cannot be written down: %s", error)
            return
        self._versions.update((one.id, one.active.version) for one in unknown)

    def delete(self, endpoint_id: str) -> None:
        """The endpoint is gone."""
        self._versions.pop(endpoint_id, None)
        try:
            with self._lock:
                record_endpoint_deletion(self._spool, _WRITER, EndpointDeletion(endpoint_id, self._clock()))
        except OSError as error:
            _logger.warning("the end of endpoint %s cannot be written down: %s", endpoint_id, error)


def _entities(record: EndpointRecord, now: int) -> Iterable[EntityRecord]:
    for served_name, deployment_id in record.active.served.items():
        yield _entity(record, served_name, deployment_id, record.deployments[deployment_id].spec, now)


def _entity(
    record: EndpointRecord, served_name: str, deployment_id: str, spec: EntitySpec, now: int
) -> EntityRecord:
    made = EntityRecord(
        served_entity_id=deployment_id,
        created_by=record.creator_id,
        endpoint_name=record.name,
        endpoint_id=record.id,
        served_entity_name=served_name,
        entity_type=EntityKind.EXTERNAL_MODEL.value,
        entity_name="",
        entity_version="",
        endpoint_config_version=record.active.version,
        change_time_ms=now,
    )
    if isinstance(spec, ExternalModelSpec):
        return replace(made, entity_name=spec.model, task=spec.task.value, provider=spec.provider.value)
    if isinstance(spec, EngineModelSpec):
        return replace(
            made,
            entity_type=(record.kind or EntityKind.PROVISIONED_THROUGHPUT).value,
            entity_name=spec.entity_name,
            entity_version=spec.entity_version,
            task=spec.task.value,
        )
    return replace(
        made,
        entity_type=EntityKind.CUSTOM_MODEL.value,
        entity_name=spec.entity_name,
        entity_version=spec.entity_version,
        min_concurrency=spec.concurrency.minimum,
        max_concurrency=spec.concurrency.maximum,
        compute_type=spec.workload_type.value,
    )
