"""Build logs, service logs and events of a serving endpoint as streams of server-sent events.

Moorage's own: the routes of the Databricks REST reference with `/stream` after them.
"""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Header, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse

from moorage.control.dependencies import Caller
from moorage.control.following import Followers
from moorage.control.routers.requests import LONGEST_ID
from moorage.control.routers.serving_endpoints import ConfigVersion, Endpoints, EventFilter

router = APIRouter(prefix="/api/2.0/serving-endpoints/{name}", tags=["serving-endpoints"])

_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # as proxies in front of this server want it


def _followers(request: Request) -> Followers:
    return cast(Followers, request.app.state.followers)


AllFollowers = Annotated[Followers, Depends(_followers)]
LastEventId = Annotated[str, Header(alias="Last-Event-ID", max_length=16_384)]


@router.get("/served-models/{served_model_name}/build-logs/stream")
async def follow_build_log(
    caller: Caller,
    endpoints: Endpoints,
    followers: AllFollowers,
    name: str,
    served_model_name: str,
    version: ConfigVersion,
    last_event_id: LastEventId = "",
) -> StreamingResponse:
    """The build log as it is written, `event: line` a line; `event: end` when the deployment has left building."""
    deployment_id = await run_in_threadpool(endpoints.deployment_id, caller, name, served_model_name, version)
    return EventSourceResponse(followers.build_log(deployment_id, last_event_id), headers=_HEADERS)


@router.get("/served-models/{served_model_name}/logs/stream")
async def follow_service_log(
    caller: Caller,
    endpoints: Endpoints,
    followers: AllFollowers,
    name: str,
    served_model_name: str,
    version: ConfigVersion,
    replica: str | None = None,
    last_event_id: LastEventId = "",
) -> StreamingResponse:
    """What the replicas print, or the one whose id or tag is `replica`; `event: end` when the deployment is gone."""
    deployment_id = await run_in_threadpool(endpoints.deployment_id, caller, name, served_model_name, version)
    replica_id = await run_in_threadpool(endpoints.replica_id, deployment_id, replica) if replica else None
    return EventSourceResponse(followers.service_log(deployment_id, replica_id, last_event_id), headers=_HEADERS)


@router.get("/events/stream")
async def follow_events(
    caller: Caller,
    endpoints: Endpoints,
    followers: AllFollowers,
    name: str,
    wanted: EventFilter,
    last_event_id: LastEventId = "",
) -> StreamingResponse:
    """Events as they happen, `event: event` with the event as JSON, from the one after `Last-Event-ID` on."""
    endpoint_id, newest = await run_in_threadpool(endpoints.newest_event, caller, name)
    known = last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < LONGEST_ID
    after = min(int(last_event_id), newest) if known else newest
    return EventSourceResponse(followers.events(endpoint_id, after, wanted), headers=_HEADERS)
