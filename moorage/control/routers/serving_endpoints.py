"""Serving endpoints. Source: Databricks REST reference, serving endpoints."""

from __future__ import annotations

import json
from typing import Annotated, cast

from fastapi import APIRouter, Depends, Query, Request

from moorage.api.endpoints import CreateEndpoint, EndpointDetail, EndpointList, EventList, Logs
from moorage.api.errors import BadRequest, InvalidParameterValue
from moorage.api.wire import Empty
from moorage.control.dependencies import Caller
from moorage.control.endpoints import EndpointService

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
        given = _document(await request.body()).get("config_version")
    if given is None:
        return None
    text = str(given)
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text) > 0):
        raise InvalidParameterValue("Invalid value for 'config_version': must be a positive integer")
    return int(text)


def _document(body: bytes) -> dict[str, object]:
    if not body.strip():
        return {}
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest("Could not parse request object: not valid JSON") from error
    if not isinstance(document, dict):
        raise BadRequest("Could not parse request object: Expected an object")
    return document


Endpoints = Annotated[EndpointService, Depends(_service)]
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
def list_events(caller: Caller, endpoints: Endpoints, name: str, page_size: PageSize = 100) -> EventList:
    return endpoints.events(caller, name, page_size)


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
