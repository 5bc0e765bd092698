"""Checks of a model before it is deployed: an API of this server's own."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool

from moorage.api.model_checks import CreateModelCheck, ModelCheck
from moorage.api.wire import Empty
from moorage.control.checks.service import ModelChecks
from moorage.control.dependencies import Caller
from moorage.control.registry_access import require_readable

router = APIRouter(prefix="/api/2.0/model-checks", tags=["model-checks"])


def _service(request: Request) -> ModelChecks:
    return cast(ModelChecks, request.app.state.model_checks)


Checks = Annotated[ModelChecks, Depends(_service)]


@router.post("", response_model_exclude_none=True)
async def create_check(request: Request, caller: Caller, checks: Checks, body: CreateModelCheck) -> ModelCheck:
    if body.entity_name is not None:
        await run_in_threadpool(require_readable, request.app.state.sessions, caller, [body.entity_name])
    return await checks.create(caller, body)


@router.get("/{check_id}", response_model_exclude_none=True)
async def get_check(caller: Caller, checks: Checks, check_id: str) -> ModelCheck:
    return await checks.get(caller, check_id)


@router.delete("/{check_id}")
async def delete_check(caller: Caller, checks: Checks, check_id: str) -> Empty:
    await checks.delete(caller, check_id)
    return Empty()
