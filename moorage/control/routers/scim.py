"""SCIM 2.0: who the caller is, and users, groups and service principals of the workspace."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from moorage.api.errors import BadRequest
from moorage.api.scim import (
    BadScimRequest,
    Document,
    GroupFields,
    ListQuery,
    NewServicePrincipal,
    NewUser,
    PatchRequest,
    ScimGroup,
    ScimList,
    ScimServicePrincipal,
    ScimType,
    ScimUser,
    Selection,
    ServicePrincipalFields,
    UserFields,
)
from moorage.api.validation import error_from
from moorage.control.dependencies import Caller, ControlDependencies, CurrentSite
from moorage.control.scim.groups import GroupService
from moorage.control.scim.service_principals import ServicePrincipalService
from moorage.control.scim.users import UserService


class _ScimRoute(APIRoute):
    """Says in SCIM's own form what is wrong with a request; failures to authenticate keep the form of all routes."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_as_scim(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as invalid:
                error = error_from(invalid.errors())
            except HTTPException as unreadable:
                if unreadable.status_code != 400:
                    raise
                error = BadRequest("Could not parse request object: the body cannot be read as JSON")
            malformed = isinstance(error, BadRequest)
            kind = ScimType.INVALID_SYNTAX if malformed else ScimType.INVALID_VALUE
            raise BadScimRequest(kind, error.message)

        return handle_as_scim


@dataclass(frozen=True, slots=True)
class ScimServices:
    users: UserService
    groups: GroupService
    service_principals: ServicePrincipalService

    @classmethod
    def on(cls, deps: ControlDependencies) -> ScimServices:
        return cls(UserService(deps), GroupService(deps), ServicePrincipalService(deps))


def _services(request: Request) -> ScimServices:
    return cast(ScimServices, request.app.state.scim)


Scim = Annotated[ScimServices, Depends(_services)]
Listing = Annotated[ListQuery, Query()]
Wanted = Annotated[Selection, Query()]

_PREFIX = "/api/2.0/preview/scim/v2"

router = APIRouter(prefix=_PREFIX, tags=["scim"], route_class=_ScimRoute)


def _created(document: Document, collection: str, site: CurrentSite) -> Response:
    location = f"{site.base_url}{_PREFIX}/{collection}/{document['id']}"
    return JSONResponse(document, 201, headers={"Location": location})


@router.get("/Me", response_model=ScimUser)
def me(caller: Caller, site: CurrentSite, scim: Scim, selection: Wanted) -> Response:
    document = scim.users.me(caller, selection)
    return JSONResponse(document, headers={"X-Databricks-Org-Id": site.workspace_id})


@router.get("/Users")
def list_users(_caller: Caller, scim: Scim, query: Listing) -> ScimList:
    return scim.users.list(query)


@router.post("/Users", status_code=201, response_model=ScimUser)
def create_user(caller: Caller, site: CurrentSite, scim: Scim, body: NewUser) -> Response:
    return _created(scim.users.create(caller, body), "Users", site)


@router.get("/Users/{user_id}", response_model=ScimUser)
def get_user(_caller: Caller, scim: Scim, user_id: str, selection: Wanted) -> Response:
    return JSONResponse(scim.users.get(user_id, selection))


@router.patch("/Users/{user_id}", response_model=ScimUser)
def patch_user(caller: Caller, scim: Scim, user_id: str, body: PatchRequest) -> Response:
    return JSONResponse(scim.users.patch(caller, user_id, body))


@router.put("/Users/{user_id}", response_model=ScimUser)
def replace_user(caller: Caller, scim: Scim, user_id: str, body: UserFields) -> Response:
    return JSONResponse(scim.users.replace(caller, user_id, body))


@router.delete("/Users/{user_id}", status_code=204)
def delete_user(caller: Caller, scim: Scim, user_id: str) -> None:
    scim.users.delete(caller, user_id)


@router.get("/Groups")
def list_groups(_caller: Caller, scim: Scim, query: Listing) -> ScimList:
    return scim.groups.list(query)


@router.post("/Groups", status_code=201, response_model=ScimGroup)
def create_group(caller: Caller, site: CurrentSite, scim: Scim, body: GroupFields) -> Response:
    return _created(scim.groups.create(caller, body), "Groups", site)


@router.get("/Groups/{group_id}", response_model=ScimGroup)
def get_group(_caller: Caller, scim: Scim, group_id: str, selection: Wanted) -> Response:
    return JSONResponse(scim.groups.get(group_id, selection))


@router.patch("/Groups/{group_id}", response_model=ScimGroup)
def patch_group(caller: Caller, scim: Scim, group_id: str, body: PatchRequest) -> Response:
    return JSONResponse(scim.groups.patch(caller, group_id, body))


@router.put("/Groups/{group_id}", response_model=ScimGroup)
def replace_group(caller: Caller, scim: Scim, group_id: str, body: GroupFields) -> Response:
    return JSONResponse(scim.groups.replace(caller, group_id, body))


@router.delete("/Groups/{group_id}", status_code=204)
def delete_group(caller: Caller, scim: Scim, group_id: str) -> None:
    scim.groups.delete(caller, group_id)


@router.get("/ServicePrincipals")
def list_service_principals(_caller: Caller, scim: Scim, query: Listing) -> ScimList:
    return scim.service_principals.list(query)


@router.post("/ServicePrincipals", status_code=201, response_model=ScimServicePrincipal)
def create_service_principal(
    caller: Caller, site: CurrentSite, scim: Scim, body: NewServicePrincipal
) -> Response:
    return _created(scim.service_principals.create(caller, body), "ServicePrincipals", site)


@router.get("/ServicePrincipals/{principal_id}", response_model=ScimServicePrincipal)
def get_service_principal(_caller: Caller, scim: Scim, principal_id: str, selection: Wanted) -> Response:
    return JSONResponse(scim.service_principals.get(principal_id, selection))


@router.patch("/ServicePrincipals/{principal_id}", response_model=ScimServicePrincipal)
def patch_service_principal(caller: Caller, scim: Scim, principal_id: str, body: PatchRequest) -> Response:
    return JSONResponse(scim.service_principals.patch(caller, principal_id, body))


@router.put("/ServicePrincipals/{principal_id}", response_model=ScimServicePrincipal)
def replace_service_principal(
    caller: Caller, scim: Scim, principal_id: str, body: ServicePrincipalFields
) -> Response:
    return JSONResponse(scim.service_principals.replace(caller, principal_id, body))


@router.delete("/ServicePrincipals/{principal_id}", status_code=204)
def delete_service_principal(caller: Caller, scim: Scim, principal_id: str) -> None:
    scim.service_principals.delete(caller, principal_id)
