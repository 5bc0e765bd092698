"""Permissions on objects. Source: Databricks REST reference, permissions."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request

from moorage.api.permissions import ChangePermissions, ObjectPermissions, PermissionLevels
from moorage.control.dependencies import Caller
from moorage.control.permissions import PermissionService

router = APIRouter(prefix="/api/2.0/permissions/{object_type}/{object_id}", tags=["permissions"])


def _service(request: Request) -> PermissionService:
    return cast(PermissionService, request.app.state.permissions)


Permissions = Annotated[PermissionService, Depends(_service)]


@router.get("", response_model_exclude_none=True)
def get_permissions(caller: Caller, permissions: Permissions, object_type: str, object_id: str) -> ObjectPermissions:
    return permissions.get(caller, object_type, object_id)


@router.put("", response_model_exclude_none=True)
def set_permissions(
    caller: Caller, permissions: Permissions, object_type: str, object_id: str, body: ChangePermissions
) -> ObjectPermissions:
    return permissions.replace(caller, object_type, object_id, body)


@router.patch("", response_model_exclude_none=True)
def update_permissions(
    caller: Caller, permissions: Permissions, object_type: str, object_id: str, body: ChangePermissions
) -> ObjectPermissions:
    return permissions.update(caller, object_type, object_id, body)


@router.get("/permissionLevels")
def get_permission_levels(
    caller: Caller, permissions: Permissions, object_type: str, object_id: str
) -> PermissionLevels:
    return permissions.levels(caller, object_type, object_id)
