"""Serving endpoints. Source: Databricks REST reference, serving endpoints."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Query, Request

from moorage.api.endpoints import CreateEndpoint, EndpointDetail, EndpointList, EventList, LogFileList, Logs
from moorage.api.errors import InvalidParameterValue
from moorage.api.wire import Empty
from moorage.control.dependencies import Caller
from moorage.control.endpoints import EndpointService
from moorage.control.routers.requests import document_of, event_before
from moorage.control.store import endpoints as store

router = APIRouter(prefix="/api/2.0/serving-endpoints", tags=["serving-endpoints"])


def _service(request: Request) -> EndpointService:
    return cast(EndpointService, request.app.state.endpoints)


async def _config_version(request: Request) -> int | None:
    """`config_version` of the query, else of a JSON body, which this GET may have.

    Raises:
        BadRequest: the body is no JSON object.
        InvalidParameterValue: the version is no positive integer.
    """
    given: object = request.query_params.get("config_version")
    if given is None:
        given = document_of(await request.body()).get("config_version")
    if given is None:
        return None
    text = str(given)
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text) > 0):
        raise InvalidParameterValue("Invalid value for 'config_version': must be a positive integer")
    return int(text)


def _event_filter(served_entity_name: str | None = None, event_type: str | None = None) -> store.EventFilter:
    return store.EventFilter(served_name=served_entity_name or None, event_type=event_type or None)


Endpoints = Annotated[EndpointService, Depends(_service)]
EventFilter = Annotated[store.EventFilter, Depends(_event_filter)]
PageToken = Annotated[int | None, Depends(event_before)]
ConfigVersion = Annotated[int | None, Depends(_config_version)]
PageSize = Annotated[int, Query(ge=1, le=1000)]


@router.get("", response_model_exclude_none=True)
def list_endpoints(caller: Caller, endpoints: Endpoints) -> EndpointList:
    return endpoints.list(caller)


@router.post("", response_model_exclude_none=True)
def create_endpoint(caller: Caller, endpoints: Endpoints, body: CreateEndpoint) -> EndpointDetail:
    return endpoints.create(caller, body)


@router.get("/{name}", response_model_exclude_none=True)
def get_endpoint(caller: Caller, endpoints: Endpoints, name: str) -> EndpointDetail:
    return endpoints.get(caller, name)


@router.delete("/{name}")
def delete_endpoint(caller: Caller, endpoints: Endpoints, name: str) -> Empty:
    endpoints.delete(caller, name)
    return Empty()


@router.get("/{name}/events", response_model_exclude_none=True)
def list_events(
    caller: Caller,
    endpoints: Endpoints,
    name: str,
    wanted: EventFilter,
    page_token: PageToken,
    page_size: PageSize = 100,
) -> EventList:
    return endpoints.events(caller, name, wanted, page_size, page_token)


@router.get("/{name}/served-models/{served_model_name}/build-logs")
def get_build_logs(
    caller: Caller, endpoints: Endpoints, name: str, served_model_name: str, version: ConfigVersion
) -> Logs:
    return endpoints.build_logs(caller, name, served_model_name, version)


@router.get("/{name}/served-models/{served_model_name}/logs")
def get_service_logs(
    caller: Caller, endpoints: Endpoints, name: str, served_model_name: str, version: ConfigVersion
) -> Logs:
    return endpoints.service_logs(caller, name, served_model_name, version)


@router.get("/{name}/served-models/{served_model_name}/log-files")
def list_log_files(
    caller: Caller, endpoints: Endpoints, name: str, served_model_name: str, version: ConfigVersion
) -> LogFileList:
    return endpoints.log_files(caller, name, served_model_name, version)
