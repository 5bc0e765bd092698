"""The audit log."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from moorage.api.audit import AuditPage
from moorage.control.audit import AuditLog
from moorage.control.dependencies import Caller
from moorage.control.store.audit import AuditFilter

router = APIRouter(prefix="/api/2.0/audit-log", tags=["audit-log"])

_MOST_MILLISECONDS = 2**53


def _log(request: Request) -> AuditLog:
    return cast(AuditLog, request.app.state.audit_log)


Time = Annotated[int | None, Query(ge=0, le=_MOST_MILLISECONDS)]
Word = Annotated[str | None, Query(max_length=255)]


def _wanted(
    user_name: Word = None,
    action: Word = None,
    object_type: Word = None,
    object_id: Word = None,
    start_time: Time = None,
    end_time: Time = None,
) -> AuditFilter:
    return AuditFilter(user_name, action, object_type, object_id, start_time, end_time)


Log = Annotated[AuditLog, Depends(_log)]
Wanted = Annotated[AuditFilter, Depends(_wanted)]
PageSize = Annotated[int, Query(ge=1, le=1000)]
Before = Annotated[int | None, Query(ge=1, le=2**62, alias="page_token")]


@router.get("", response_model_exclude_none=True)
def list_audit_log(
    caller: Caller, log: Log, wanted: Wanted, page_size: PageSize = 100, page_token: Before = None
) -> AuditPage:
    return log.page(caller, wanted, before=page_token, limit=page_size)


@router.get("/export")
def export_audit_log(caller: Caller, log: Log, wanted: Wanted) -> StreamingResponse:
    return StreamingResponse(log.export(caller, wanted), media_type="application/x-ndjson")
