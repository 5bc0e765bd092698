"""Serverless Real-Time Inference, the API before serving endpoints: models served by their stage in the registry.

Source: Databricks documentation, create and manage Serverless Real-Time Inference endpoints. What the documentation
does not show of an object (events, metrics, replicas, logs, sizes) is Moorage's own.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from moorage.api.replicas import ReplicaOutput
from moorage.api.served_entities import EntityName, EntityVersion
from moorage.api.wire import Count, Text, WireInput, WireOutput
from moorage.api.workloads import WorkloadSize

MODEL_STAGES = ("None", "Staging", "Production", "Archived")
"""Stages of a model version in the registry."""


def _spelled_as_the_registry_does(stage: object) -> object:
    """Stages are compared without regard to case."""
    return stage.capitalize() if isinstance(stage, str) else stage


class Stage(StrEnum):
    """A stage whose versions are served."""

    STAGING = "Staging"
    PRODUCTION = "Production"


ServedStage = Annotated[Stage, BeforeValidator(_spelled_as_the_registry_does)]


class WorkloadConfigSpec(WireInput):
    """What each version of a stage runs on."""

    workload_size_id: WorkloadSize = WorkloadSize.SMALL
    scale_to_zero_enabled: bool = False


class ComputeConfig(WireOutput):
    """A stage's workload, who asked for it (`user_id` is a user name) and when (milliseconds since the epoch)."""

    stage: Stage
    creation_timestamp: int
    user_id: str
    workload_spec: WorkloadConfigSpec


class LegacyState(StrEnum):
    PENDING = "PENDING"
    READY = "READY"
    FAILED = "FAILED"


class ServiceState(StrEnum):
    UNKNOWN = "SERVICE_STATE_UNKNOWN"
    PENDING = "SERVICE_STATE_PENDING"
    READY = "SERVICE_STATE_READY"
    FAILED = "SERVICE_STATE_FAILED"


class EndpointStatus(WireOutput):
    """`endpoint_name` is the serving endpoint that serves it."""

    registered_model_name: str
    state: LegacyState
    state_message: str
    compute_config: tuple[ComputeConfig, ...]
    endpoint_name: str


class ServiceStatus(WireOutput):
    state: ServiceState
    message: str
    config: ComputeConfig


class EndpointVersionStatus(WireOutput):
    """`service_status` is what serves, `config_update_status` how far the newest compute configuration has come.

    `served_entity_name` is what answers for the version in the serving endpoint.
    """

    registered_model_name: str
    endpoint_version_name: str
    service_status: ServiceStatus
    config_update_status: ServiceStatus
    served_entity_name: str


class EndpointStatusAnswer(WireOutput):
    endpoint_status: EndpointStatus


class EndpointStatusList(WireOutput):
    endpoint_statuses: tuple[EndpointStatus, ...]


class VersionStatusAnswer(WireOutput):
    endpoint_status: EndpointVersionStatus


class VersionStatusList(WireOutput):
    endpoint_statuses: tuple[EndpointVersionStatus, ...]


class VersionAlias(WireOutput):
    """The version that answers at a stage's URL."""

    alias: Stage
    endpoint_version_name: str


class VersionAliasList(WireOutput):
    aliases: tuple[VersionAlias, ...]


class OfModel(WireInput):
    """A request about a registered model."""

    registered_model_name: EntityName


class OfVersion(OfModel):
    """A request about a served version of it."""

    endpoint_version_name: EntityVersion


class OfLogs(OfVersion):
    """A request for logs: of one replica, or of all together."""

    replica_name: Text | None = None


class OfEvents(OfModel):
    """A request for events: of one version, or of all; a page of them."""

    endpoint_version_name: EntityVersion | None = None
    max_results: Annotated[Count, Field(ge=1, le=1000)] = 100
    page_token: Text | None = None


class UpdateComputeConfig(OfModel):
    stage: ServedStage
    desired_workload_config_spec: WorkloadConfigSpec


class RestartUpdate(OfModel):
    """Without a stage it is both."""

    stage: ServedStage | None = None


class ModelEvent(WireOutput):
    """Something that happened to a version, or to all; `timestamp` is milliseconds since the epoch."""

    event_type: str
    status: str
    message: str
    timestamp: int
    endpoint_version_name: str | None = None


class ModelEventList(WireOutput):
    """Newest first. `next_page_token` is there when there are older ones."""

    events: tuple[ModelEvent, ...]
    next_page_token: str | None = None


class VersionReplicaList(WireOutput):
    replicas: tuple[ReplicaOutput, ...]


class SupportedSize(WireOutput):
    """A workload size and the requests in parallel that it has room for."""

    workload_size_id: WorkloadSize
    min_concurrency: int
    max_concurrency: int


class SupportedSizeList(WireOutput):
    workload_sizes: tuple[SupportedSize, ...]


def _stage_of_a_version(stage: object) -> object:
    stage = _spelled_as_the_registry_does(stage)
    if isinstance(stage, str) and stage not in MODEL_STAGES:
        raise ValueError(f"must be one of {', '.join(MODEL_STAGES)}")
    return stage


VersionStage = Annotated[str, BeforeValidator(_stage_of_a_version)]
"""One of `MODEL_STAGES`."""


class TransitionStage(WireInput):
    """The body that moves a model version to a stage."""

    name: EntityName
    version: EntityVersion
    stage: VersionStage
    archive_existing_versions: bool = False
    comment: Text = ""

    @field_validator("archive_existing_versions")
    @classmethod
    def _leaves_a_served_stage(cls, archives: bool, info: ValidationInfo) -> bool:
        """As the registry has it: there is nothing to archive of the stages that are not served."""
        if archives and info.data.get("stage", Stage.STAGING) not in list(Stage):
            raise ValueError(f"must be false unless 'stage' is {' or '.join(Stage)}")
        return archives


class ModelVersionTag(WireOutput):
    key: str
    value: str


class ModelVersionDatabricks(WireOutput):
    """A model version as the workspace's registry shows it. `permission_level` is the caller's."""

    name: str
    version: str
    creation_timestamp: int
    last_updated_timestamp: int
    user_id: str
    current_stage: str
    description: str
    source: str
    run_id: str
    run_link: str
    status: str
    status_message: str
    tags: tuple[ModelVersionTag, ...]
    aliases: tuple[str, ...]
    permission_level: str


class TransitionedVersion(WireOutput):
    model_version_databricks: ModelVersionDatabricks


class LegacyServing(WireOutput):
    """What a serving endpoint shows of the registered model that it serves by stage."""

    registered_model_name: str
    aliases: tuple[VersionAlias, ...]
