"""Grants on Unity Catalog securables. Source: Databricks REST reference, Unity Catalog grants."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Path, Query, Request

from moorage.api.grants import (
    EffectivePermissions,
    EffectivePrivilegeAssignments,
    Permissions,
    UpdatePermissions,
)
from moorage.api.wire import Text
from moorage.control.dependencies import Caller
from moorage.control.grants import GrantService, Page

_OBJECT = "{securable_type}/{full_name}"
_LONGEST_WORD = 255
_LONGEST_TOKEN = 4096
_BIG = 2**31 - 1

router = APIRouter(prefix="/api/2.1/unity-catalog", tags=["grants"])


def _service(request: Request) -> GrantService:
    return cast(GrantService, request.app.state.grants)


Token = Annotated[str | None, Query(max_length=_LONGEST_TOKEN)]


def _page(max_results: Annotated[int | None, Query(le=_BIG)] = None, page_token: Token = None) -> Page:
    return Page.of("max_results", max_results, page_token)


def _always_a_page(page_size: Annotated[int, Query(le=_BIG)] = 0, page_token: Token = None) -> Page:
    return Page.of("page_size", page_size, page_token)


Grants = Annotated[GrantService, Depends(_service)]
FullName = Annotated[Text, Path(max_length=_LONGEST_WORD)]
PrincipalName = Annotated[str | None, Query(min_length=1, max_length=_LONGEST_WORD)]
Wanted = Annotated[Page, Depends(_page)]
WantedPage = Annotated[Page, Depends(_always_a_page)]


@router.get(f"/permissions/{_OBJECT}", response_model_exclude_none=True)
def get_grants(
    caller: Caller,
    grants: Grants,
    securable_type: str,
    full_name: FullName,
    page: Wanted,
    principal: PrincipalName = None,
) -> Permissions:
    return grants.get(caller, securable_type, full_name, principal, page)


@router.patch(f"/permissions/{_OBJECT}", response_model_exclude_none=True)
def update_grants(
    caller: Caller, grants: Grants, securable_type: str, full_name: FullName, body: UpdatePermissions
) -> Permissions:
    return grants.update(caller, securable_type, full_name, body)


@router.get(f"/effective-permissions/{_OBJECT}", response_model_exclude_none=True)
def get_effective_grants(
    caller: Caller,
    grants: Grants,
    securable_type: str,
    full_name: FullName,
    page: Wanted,
    principal: PrincipalName = None,
) -> EffectivePermissions:
    return grants.effective(caller, securable_type, full_name, principal, page)


@router.get(f"/privilege-assignments/{_OBJECT}", response_model_exclude_none=True)
def list_grants(
    caller: Caller,
    grants: Grants,
    securable_type: str,
    full_name: FullName,
    page: WantedPage,
    principal: PrincipalName = None,
) -> Permissions:
    return grants.get(caller, securable_type, full_name, principal, page)


@router.get(f"/effective-privilege-assignments/{_OBJECT}", response_model_exclude_none=True)
def list_effective_grants(
    caller: Caller,
    grants: Grants,
    securable_type: str,
    full_name: FullName,
    page: WantedPage,
    principal: PrincipalName = None,
) -> EffectivePrivilegeAssignments:
    found = grants.effective(caller, securable_type, full_name, principal, page)
    return EffectivePrivilegeAssignments(
        effective_privilege_assignments=found.privilege_assignments, next_page_token=found.next_page_token
    )
