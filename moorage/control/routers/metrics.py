"""Metrics, their history, and replicas.

Source of the first: Databricks REST reference, serving endpoints, export metrics. The others are Moorage's own.
"""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from moorage.api.metrics_history import MetricsHistory
from moorage.api.replicas import ReplicaList
from moorage.control.dependencies import Caller
from moorage.control.metrics import MetricsService
from moorage.telemetry.exposition import Exposition

router = APIRouter(tags=["metrics"])

_ENDPOINT = "/api/2.0/serving-endpoints/{name}"
_LATEST = 253_402_300_799_999  # the end of the year 9999
_LONGEST_STEP_SECONDS = 14 * 24 * 3600


def _service(request: Request) -> MetricsService:
    return cast(MetricsService, request.app.state.metrics)


Metrics = Annotated[MetricsService, Depends(_service)]
Accept = Annotated[str, Header()]
Time = Annotated[int | None, Query(ge=0, le=_LATEST)]
Step = Annotated[int | None, Query(ge=1, le=_LONGEST_STEP_SECONDS)]


@router.get("/metrics")
def server_metrics(caller: Caller, metrics: Metrics, accept: Accept = "") -> Response:
    return _text(metrics.server(caller, accept))


@router.get(f"{_ENDPOINT}/metrics")
def endpoint_metrics(caller: Caller, metrics: Metrics, name: str, accept: Accept = "") -> Response:
    return _text(metrics.endpoint(caller, name, accept))


@router.get(f"{_ENDPOINT}/metrics-history")
def metrics_history(
    caller: Caller,
    metrics: Metrics,
    name: str,
    start_time: Time = None,
    end_time: Time = None,
    step_seconds: Step = None,
) -> MetricsHistory:
    return metrics.history(caller, name, start_time, end_time, step_seconds)


@router.get(f"{_ENDPOINT}/replicas", response_model_exclude_none=True)
def replicas(caller: Caller, metrics: Metrics, name: str) -> ReplicaList:
    return metrics.replicas(caller, name)


def _text(exposition: Exposition) -> Response:
    return Response(exposition.content, media_type=exposition.content_type)
