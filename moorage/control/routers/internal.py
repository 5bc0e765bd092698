"""What the gateways ask of the control plane, on its private socket only."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse

from moorage.api.errors import EndpointNotFound
from moorage.api.routing import INTERNAL_HEADER, LoadReport, ReplicaReport
from moorage.control.publisher import RoutingPublisher
from moorage.control.reconciler.reconciler import Reconciler


def _from_gateway(request: Request) -> None:
    """
    Raises:
        EndpointNotFound: the request is not a gateway's own, which marks it and strips the mark from clients'.
    """
    if INTERNAL_HEADER not in request.headers:
        raise EndpointNotFound(f"No API found for '{request.method} {request.url.path}'")


router = APIRouter(prefix="/internal", dependencies=[Depends(_from_gateway)])


@router.get("/health")
async def health() -> dict[str, Any]:
    return {"status": "ok"}


@router.get("/watch")
async def watch(request: Request) -> StreamingResponse:
    """The routing snapshot, then each change, a line of JSON each, for as long as the gateway reads."""
    publisher: RoutingPublisher = request.app.state.publisher
    return StreamingResponse(publisher.follow(), media_type="application/x-ndjson")


@router.post("/load")
async def load(request: Request, body: LoadReport) -> dict[str, Any]:
    reconciler: Reconciler = request.app.state.reconciler
    reconciler.observe_load(body)
    return {}


@router.post("/report")
async def report(request: Request, body: ReplicaReport) -> dict[str, Any]:
    reconciler: Reconciler = request.app.state.reconciler
    reconciler.report(body)
    return {}
