"""Foundation models with provisioned throughput: understood, and not deployed by this server yet.

Source: Databricks REST reference, serving endpoints; Databricks documentation, provisioned throughput.
"""

from __future__ import annotations

from typing import Annotated, NoReturn, cast

from fastapi import APIRouter, Depends, Path, Request

from moorage.api.errors import NotImplementedHere
from moorage.api.provisioned_throughput import CreatePtEndpoint, ModelOptimizationInfo, UpdatePtConfig
from moorage.api.served_entities import EntityName, EntityVersion
from moorage.control.dependencies import Caller
from moorage.registry.client import ModelRegistry

router = APIRouter(prefix="/api/2.0/serving-endpoints", tags=["serving-endpoints"])

_CUSTOM_MODEL = (
    "The model is served as a custom model with provisioned concurrency; this version of Moorage has no "
    "provisioned throughput for it"
)


def _registry(request: Request) -> ModelRegistry:
    return cast(ModelRegistry, request.app.state.registry)


@router.post("/pt")
def create_pt_endpoint(caller: Caller, body: CreatePtEndpoint) -> None:
    _refuse()


@router.put("/pt/{name}/config")
def update_pt_config(caller: Caller, name: str, body: UpdatePtConfig) -> None:
    _refuse()


@router.get("/get-model-optimization-info/{entity_name}/{version}")
def get_model_optimization_info(
    caller: Caller,
    registry: Annotated[ModelRegistry, Depends(_registry)],
    entity_name: Annotated[EntityName, Path()],
    version: Annotated[EntityVersion, Path()],
) -> ModelOptimizationInfo:
    registry.model_version(entity_name, version)
    return ModelOptimizationInfo(optimizable=False, message=_CUSTOM_MODEL)


def _refuse() -> NoReturn:
    """
    Raises:
        NotImplementedHere: always.
    """
    raise NotImplementedHere(
        "Foundation models with provisioned throughput are not supported by this version of Moorage; "
        "serve a registered custom model instead"
    )
