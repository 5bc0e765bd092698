"""What clients read about the host before their first call. Needs no credential."""

from __future__ import annotations

from fastapi import APIRouter, Response

from moorage.api.discovery import HostMetadata
from moorage.control.dependencies import CurrentSite

router = APIRouter(tags=["discovery"])

# MLflow asks before every call, so an answer may be kept for a while.
_CACHE = "public, max-age=300"


@router.get("/.well-known/databricks-config")
async def host_metadata(site: CurrentSite, response: Response) -> HostMetadata:
    response.headers["Cache-Control"] = _CACHE
    return HostMetadata(oidc_endpoint=f"{site.base_url}/oidc", workspace_id=site.workspace_id)
