"""What the workspace's model registry has beside MLflow's own routes.

Source: Databricks REST reference, workspace model registry.
"""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request

from moorage.api.errors import NotImplementedHere
from moorage.api.wire import Empty
from moorage.api.workspace_registry import (
    OfModelList,
    OfRegisteredModel,
    RegisteredModelAnswer,
    RegisteredModelList,
)
from moorage.control.dependencies import Caller
from moorage.control.routers.requests import parameters
from moorage.control.workspace_registry import WorkspaceRegistry

router = APIRouter(prefix="/api/2.0/mlflow", tags=["model registry"])


def _service(request: Request) -> WorkspaceRegistry:
    return cast(WorkspaceRegistry, request.app.state.workspace_registry)


Registry = Annotated[WorkspaceRegistry, Depends(_service)]
Model = Annotated[OfRegisteredModel, Depends(parameters(OfRegisteredModel))]
Models = Annotated[OfModelList, Depends(parameters(OfModelList))]


@router.get("/databricks/registered-models/get", response_model_exclude_none=True)
def get_registered_model(caller: Caller, registry: Registry, given: Model) -> RegisteredModelAnswer:
    return registry.model(caller, given)


@router.get("/registered-models/list", response_model_exclude_none=True)
def list_registered_models(caller: Caller, registry: Registry, given: Models) -> RegisteredModelList:
    return registry.models(caller, given)


@router.post("/registry-webhooks/create")
@router.get("/registry-webhooks/list")
@router.patch("/registry-webhooks/update")
@router.delete("/registry-webhooks/delete")
@router.post("/registry-webhooks/test")
def registry_webhooks(caller: Caller) -> Empty:
    raise NotImplementedHere(
        "Registry webhooks are not supported here. MLflow's own webhooks of the model registry are, at "
        "/api/2.0/mlflow/webhooks, for administrators."
    )
