"""Serverless Real-Time Inference, under the paths of its documentation and of the pages of that time.

Source: Databricks documentation, create and manage Serverless Real-Time Inference endpoints.
"""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request

from moorage.api.endpoints import Logs
from moorage.api.legacy import (
    EndpointStatusAnswer,
    EndpointStatusList,
    ModelEventList,
    OfEvents,
    OfLogs,
    OfModel,
    OfVersion,
    RestartUpdate,
    SupportedSizeList,
    TransitionedVersion,
    TransitionStage,
    UpdateComputeConfig,
    VersionAliasList,
    VersionReplicaList,
    VersionStatusAnswer,
    VersionStatusList,
)
from moorage.api.metrics_history import MetricsHistory
from moorage.api.wire import Empty
from moorage.control.dependencies import Caller
from moorage.control.legacy.service import LegacyService
from moorage.control.routers.requests import parameters

_NOTHING = Empty()

router = APIRouter(prefix="/api/2.0", tags=["legacy"])


def _service(request: Request) -> LegacyService:
    return cast(LegacyService, request.app.state.legacy)


Legacy = Annotated[LegacyService, Depends(_service)]
Model = Annotated[OfModel, Depends(parameters(OfModel))]
Version = Annotated[OfVersion, Depends(parameters(OfVersion))]
Events = Annotated[OfEvents, Depends(parameters(OfEvents))]

_V2 = "/preview/mlflow/endpoints-v2"


@router.post(f"{_V2}/enable")
def enable_serving(caller: Caller, legacy: Legacy, body: OfModel) -> Empty:
    legacy.enable(caller, body)
    return _NOTHING


@router.post(f"{_V2}/disable")
def disable_serving(caller: Caller, legacy: Legacy, body: OfModel) -> Empty:
    legacy.disable(caller, body)
    return _NOTHING


@router.get(f"{_V2}/list")
def list_statuses(caller: Caller, legacy: Legacy) -> EndpointStatusList:
    return legacy.statuses(caller)


@router.get(f"{_V2}/get-status")
def get_status(caller: Caller, legacy: Legacy, given: Model) -> EndpointStatusAnswer:
    return legacy.status(caller, given)


@router.get(f"{_V2}/list-versions")
def list_versions(caller: Caller, legacy: Legacy, given: Model) -> VersionStatusList:
    return legacy.versions(caller, given)


@router.get(f"{_V2}/get-version-status")
def get_version_status(caller: Caller, legacy: Legacy, given: Version) -> VersionStatusAnswer:
    return legacy.version(caller, given)


@router.get(f"{_V2}/list-version-aliases")
def list_version_aliases(caller: Caller, legacy: Legacy, given: Model) -> VersionAliasList:
    return legacy.version_aliases(caller, given)


@router.put("/preview/model-serving-api/endpoints-v2/update-compute-config")
@router.put(f"{_V2}/update-compute-config")
def update_compute_config(caller: Caller, legacy: Legacy, body: UpdateComputeConfig) -> Empty:
    legacy.update_compute_config(caller, body)
    return _NOTHING


@router.post(f"{_V2}/restart-compute-config-update")
def restart_compute_config_update(caller: Caller, legacy: Legacy, body: RestartUpdate) -> Empty:
    legacy.restart_update(caller, body)
    return _NOTHING


@router.get(f"{_V2}/get-event-history", response_model_exclude_none=True)
def get_event_history(caller: Caller, legacy: Legacy, given: Events) -> ModelEventList:
    return legacy.events(caller, given)


@router.get(f"{_V2}/get-version-metrics")
def get_version_metrics(caller: Caller, legacy: Legacy, given: Version) -> MetricsHistory:
    return legacy.version_metrics(caller, given)


@router.get(f"{_V2}/get-version-replicas", response_model_exclude_none=True)
def get_version_replicas(caller: Caller, legacy: Legacy, given: Version) -> VersionReplicaList:
    return legacy.version_replicas(caller, given)


@router.get(f"{_V2}/get-supported-workload-sizes")
def get_supported_workload_sizes(caller: Caller, legacy: Legacy) -> SupportedSizeList:
    return legacy.supported_sizes()


@router.post(f"{_V2}/get-version-logs")
def get_version_logs(caller: Caller, legacy: Legacy, body: OfLogs) -> Logs:
    return legacy.logs(caller, body)


@router.post(f"{_V2}/get-version-build-logs")
def get_version_build_logs(caller: Caller, legacy: Legacy, body: OfVersion) -> Logs:
    return legacy.build_logs(caller, body)


@router.post("/mlflow/databricks/model-versions/transition-stage")
def transition_stage(caller: Caller, legacy: Legacy, body: TransitionStage) -> TransitionedVersion:
    return legacy.transition(caller, body)


