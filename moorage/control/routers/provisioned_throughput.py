"""Foundation models with provisioned throughput.

Source: Databricks REST reference, serving endpoints; Databricks documentation, provisioned throughput.
"""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Path, Request
from pydantic import ValidationError

from moorage.api.configs import ConfigInput, UpdateConfig
from moorage.api.endpoints import CreateEndpoint, EndpointDetail
from moorage.api.provisioned_throughput import CreatePtEndpoint, ModelOptimizationInfo, UpdatePtConfig
from moorage.api.served_entities import EntityName, EntityVersion
from moorage.api.validation import error_from
from moorage.control.dependencies import Caller
from moorage.control.endpoint_updates import EndpointUpdates
from moorage.control.endpoints import EndpointService
from moorage.control.registry_access import require_readable
from moorage.control.throughput import CATALOG_PREFIX, ThroughputModels

router = APIRouter(prefix="/api/2.0/serving-endpoints", tags=["serving-endpoints"])


def _endpoints(request: Request) -> EndpointService:
    return cast(EndpointService, request.app.state.endpoints)


def _updates(request: Request) -> EndpointUpdates:
    return cast(EndpointUpdates, request.app.state.endpoint_updates)


def _throughput(request: Request) -> ThroughputModels:
    return cast(ThroughputModels, request.app.state.throughput)


@router.post("/pt", response_model_exclude_none=True)
def create_pt_endpoint(
    caller: Caller, body: CreatePtEndpoint, endpoints: Annotated[EndpointService, Depends(_endpoints)]
) -> EndpointDetail:
    try:
        config = ConfigInput.model_validate(body.config.fields)
    except ValidationError as error:
        raise error_from(error.errors()) from None
    fields = {name: getattr(body, name) for name in body.model_fields_set - {"config"}}
    return endpoints.create(caller, CreateEndpoint(**fields, config=config))


@router.put("/pt/{name}/config", response_model_exclude_none=True)
def update_pt_config(
    caller: Caller, name: str, body: UpdatePtConfig, updates: Annotated[EndpointUpdates, Depends(_updates)]
) -> EndpointDetail:
    try:
        config = UpdateConfig.model_validate(body.config.fields)
    except ValidationError as error:
        raise error_from(error.errors()) from None
    return updates.update(caller, name, config)


@router.get("/get-model-optimization-info/{entity_name}/{version}", response_model_exclude_none=True)
def get_model_optimization_info(
    request: Request,
    caller: Caller,
    throughput: Annotated[ThroughputModels, Depends(_throughput)],
    entity_name: Annotated[EntityName, Path()],
    version: Annotated[EntityVersion, Path()],
) -> ModelOptimizationInfo:
    if not entity_name.startswith(CATALOG_PREFIX):
        require_readable(request.app.state.sessions, caller, [entity_name])
    return throughput.info(entity_name, version)
