"""What the gateways ask of the control plane, on its private socket only."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from moorage.api.errors import EndpointNotFound
from moorage.api.metrics import MetricsReport
from moorage.api.registry_access import TICKET_HEADER, RegistryRequest
from moorage.api.routing import INTERNAL_HEADER, LoadReport, ReplicaReport, RoutingTaken
from moorage.control.publisher import RoutingPublisher
from moorage.control.reconciler.reconciler import Reconciler
from moorage.control.registry_access import RegistryAccess
from moorage.control.telemetry import Telemetry


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
async def watch(request: Request, gateway: str) -> StreamingResponse:
    """The routing snapshot, then each change, a line of JSON each, for as long as the gateway reads."""
    publisher: RoutingPublisher = request.app.state.publisher
    return StreamingResponse(publisher.follow(gateway), media_type="application/x-ndjson")


@router.post("/taken")
async def taken(request: Request, body: RoutingTaken) -> dict[str, Any]:
    publisher: RoutingPublisher = request.app.state.publisher
    publisher.taken(body)
    return {}


@router.post("/load")
async def load(request: Request, body: LoadReport) -> dict[str, Any]:
    reconciler: Reconciler = request.app.state.reconciler
    reconciler.observe_load(body)
    telemetry: Telemetry = request.app.state.telemetry
    telemetry.observe_load(body)
    return {}


@router.post("/metrics")
async def metrics(request: Request, body: MetricsReport) -> dict[str, Any]:
    telemetry: Telemetry = request.app.state.telemetry
    telemetry.add(body)
    return {}


@router.post("/registry-access")
async def registry_access(request: Request) -> Response:
    access: RegistryAccess = request.app.state.registry_access
    asked = RegistryRequest.model_validate_json(await request.body())
    decision = await run_in_threadpool(access.decide, asked)
    return Response(decision.model_dump_json(), media_type="application/json")


@router.post("/registry-answer")
async def registry_answer(request: Request, ticket: Annotated[str, Header(alias=TICKET_HEADER)]) -> Response:
    """The body is MLflow's; what comes back is what the caller may see of it."""
    access: RegistryAccess = request.app.state.registry_access
    shown = await run_in_threadpool(access.review, ticket, await request.body())
    return Response(shown, media_type="application/json")


@router.post("/report")
async def report(request: Request, body: ReplicaReport) -> dict[str, Any]:
    reconciler: Reconciler = request.app.state.reconciler
    reconciler.report(body)
    return {}
