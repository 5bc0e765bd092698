"""Tags, notifications, telemetry, rate limits and the AI Gateway of a serving endpoint.

Source: Databricks REST reference, serving endpoints.
"""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request

from moorage.api.ai_gateway import AiGateway
from moorage.api.endpoint_changes import (
    Notifications,
    PatchNotifications,
    PatchTags,
    PatchTelemetry,
    PutRateLimits,
    RateLimitList,
    TagList,
)
from moorage.api.endpoints import EndpointDetail
from moorage.control.dependencies import Caller
from moorage.control.endpoint_settings import EndpointSettings

router = APIRouter(prefix="/api/2.0/serving-endpoints/{name}", tags=["serving-endpoints"])


def _service(request: Request) -> EndpointSettings:
    return cast(EndpointSettings, request.app.state.endpoint_settings)


Settings = Annotated[EndpointSettings, Depends(_service)]


@router.patch("/tags")
def patch_tags(caller: Caller, settings: Settings, name: str, body: PatchTags | None = None) -> TagList:
    return settings.patch_tags(caller, name, body or PatchTags())


@router.patch("/notifications", response_model_exclude_none=True)
def patch_notifications(
    caller: Caller, settings: Settings, name: str, body: PatchNotifications | None = None
) -> Notifications:
    return settings.patch_notifications(caller, name, body or PatchNotifications())


@router.patch("/telemetry-config", response_model_exclude_none=True)
def patch_telemetry_config(
    caller: Caller, settings: Settings, name: str, body: PatchTelemetry | None = None
) -> EndpointDetail:
    return settings.patch_telemetry(caller, name, body or PatchTelemetry())


@router.put("/rate-limits")
def put_rate_limits(
    caller: Caller, settings: Settings, name: str, body: PutRateLimits | None = None
) -> RateLimitList:
    return settings.put_rate_limits(caller, name, body or PutRateLimits())


@router.put("/ai-gateway", response_model_exclude_none=True)
def put_ai_gateway(caller: Caller, settings: Settings, name: str, body: AiGateway | None = None) -> AiGateway:
    return settings.put_ai_gateway(caller, name, body or AiGateway())
