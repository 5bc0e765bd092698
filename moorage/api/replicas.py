"""The replicas of an endpoint as they are now."""

from __future__ import annotations

from enum import StrEnum

from moorage.api.wire import WireOutput


class ReplicaState(StrEnum):
    """A replica that is `DRAINING` finishes what it has and gets no more requests."""

    STARTING = "STARTING"
    LOADING = "LOADING"
    WARMING = "WARMING"
    READY = "READY"
    DRAINING = "DRAINING"


class ReplicaOutput(WireOutput):
    """A live replica. `memory_bytes` and `cpu_percentage` (of all CPUs of the server) come a few seconds after it."""

    id: str
    served_entity_name: str
    state: ReplicaState
    creation_timestamp: int
    age_seconds: float
    memory_bytes: int | None = None
    cpu_percentage: float | None = None


class ReplicaList(WireOutput):
    """By served entity, the oldest first."""

    replicas: tuple[ReplicaOutput, ...]
