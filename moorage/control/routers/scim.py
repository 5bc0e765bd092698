"""SCIM 2.0: who the caller is."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from moorage.api.scim import ScimUser
from moorage.control.dependencies import Caller, CurrentSite
from moorage.control.users import current_user

router = APIRouter(prefix="/api/2.0/preview/scim/v2", tags=["scim"])


@router.get("/Me", response_model_exclude_none=True)
def me(caller: Caller, site: CurrentSite, request: Request, response: Response) -> ScimUser:
    response.headers["X-Databricks-Org-Id"] = site.workspace_id
    return current_user(request.app.state.sessions, caller)
