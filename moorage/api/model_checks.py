"""Checks of a model before it is deployed: an API of this server's own, in the style of the serving endpoints."""

from __future__ import annotations

from enum import StrEnum

from moorage.api.served_entities import ServedEntityInput
from moorage.api.wire import WireOutput


class CheckState(StrEnum):
    """A check waits (`PENDING`) while others run."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"

    @property
    def finished(self) -> bool:
        return self in (CheckState.SUCCEEDED, CheckState.FAILED)


class StepName(StrEnum):
    """In the order in which they are done."""

    REGISTRY = "registry"
    FETCH = "fetch"
    ENVIRONMENT = "environment"
    LOAD = "load"
    SIGNATURE = "signature"
    EXAMPLE = "example"
    BATCHING = "batching"


class StepState(StrEnum):
    """`WARNING`: the model can be served, and something about it should be known."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    OK = "OK"
    WARNING = "WARNING"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


class CreateModelCheck(ServedEntityInput):
    """A served entity as create takes it. What only matters with traffic, such as its size, changes nothing."""


class StepFigures(WireOutput):
    """What a step measured or found. Sizes are bytes, durations seconds; absent is what the step has not.

    `reused` says that nothing was downloaded or built. `own_bytes` is the part of `resident_bytes` that the
    replica shares with no other process. `path` is `array`, `frame`, `tensor` or `mlflow`.
    """

    size_bytes: int | None = None
    reused: bool | None = None
    environment_key: str | None = None
    load_seconds: float | None = None
    warm_up_seconds: float | None = None
    resident_bytes: int | None = None
    own_bytes: int | None = None
    status: int | None = None
    predict_seconds: float | None = None
    response_bytes: int | None = None
    path: str | None = None


class CheckStep(WireOutput):
    """`seconds` is absent until the step begins and grows while it runs. `message` is for people."""

    name: StepName
    state: StepState
    seconds: float | None = None
    message: str = ""
    figures: StepFigures | None = None


class ModelCheck(WireOutput):
    """`message` is the verdict; `build_log` how the environment was made, in the answer of get only."""

    check_id: str
    entity_name: str
    entity_version: str
    state: CheckState
    message: str
    creator: str
    creation_timestamp: int
    steps: tuple[CheckStep, ...]
    build_log: str | None = None
