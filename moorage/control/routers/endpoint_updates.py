"""The configuration of a serving endpoint: update, cancel, stop, start, history, rollback.

Source: Databricks REST reference, serving endpoints. A colon in a path is literal.
"""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request

from moorage.api.configs import UpdateConfig
from moorage.api.endpoint_changes import ConfigVersionList, RollbackConfig
from moorage.api.endpoints import EndpointDetail
from moorage.control.dependencies import Caller
from moorage.control.endpoint_updates import EndpointUpdates
from moorage.control.routers.serving_endpoints import Endpoints

router = APIRouter(prefix="/api/2.0/serving-endpoints/{name}", tags=["serving-endpoints"])


def _service(request: Request) -> EndpointUpdates:
    return cast(EndpointUpdates, request.app.state.endpoint_updates)


Updates = Annotated[EndpointUpdates, Depends(_service)]


@router.put("/config", response_model_exclude_none=True)
def update_config(caller: Caller, updates: Updates, name: str, body: UpdateConfig) -> EndpointDetail:
    return updates.update(caller, name, body)


@router.post("/config:cancel", response_model_exclude_none=True)
def cancel_update(caller: Caller, updates: Updates, name: str) -> EndpointDetail:
    return updates.cancel(caller, name)


@router.post("/config:stop", response_model_exclude_none=True)
def stop_endpoint(caller: Caller, updates: Updates, name: str) -> EndpointDetail:
    return updates.stop(caller, name)


@router.post("/config:start", response_model_exclude_none=True)
def start_endpoint(caller: Caller, updates: Updates, name: str) -> EndpointDetail:
    return updates.start(caller, name)


@router.post("/config:rollback", response_model_exclude_none=True)
def rollback_config(caller: Caller, updates: Updates, name: str, body: RollbackConfig) -> EndpointDetail:
    return updates.rollback(caller, name, body)


@router.get("/config-versions", response_model_exclude_none=True)
def list_config_versions(caller: Caller, endpoints: Endpoints, name: str) -> ConfigVersionList:
    return endpoints.config_versions(caller, name)
