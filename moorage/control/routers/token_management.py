"""Personal tokens of everybody, for administrators."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request

from moorage.api.tokens import (
    CreatedOnBehalfToken,
    CreateOnBehalfToken,
    EditToken,
    ManagedToken,
    ManagedTokenInfo,
    ManagedTokenList,
)
from moorage.api.wire import Empty
from moorage.control.dependencies import Caller
from moorage.control.token_management import TokenManagement

router = APIRouter(prefix="/api/2.0/token-management", tags=["token management"])


def _service(request: Request) -> TokenManagement:
    return cast(TokenManagement, request.app.state.token_management)


Management = Annotated[TokenManagement, Depends(_service)]


@router.get("/tokens")
def list_tokens(
    caller: Caller,
    management: Management,
    created_by_id: str | None = None,
    created_by_username: str | None = None,
) -> ManagedTokenList:
    return management.list(caller, created_by_id, created_by_username)


@router.get("/tokens/{token_id}")
def get_token(caller: Caller, management: Management, token_id: str) -> ManagedToken:
    return management.get(caller, token_id)


@router.patch("/tokens/{token_id}")
def edit_token(caller: Caller, management: Management, token_id: str, body: EditToken) -> ManagedTokenInfo:
    return management.edit(caller, token_id, body)


@router.delete("/tokens/{token_id}")
def delete_token(caller: Caller, management: Management, token_id: str) -> Empty:
    management.delete(caller, token_id)
    return Empty()


@router.post("/on-behalf-of/tokens")
def create_on_behalf_token(
    caller: Caller, management: Management, body: CreateOnBehalfToken
) -> CreatedOnBehalfToken:
    return management.create_on_behalf(caller, body)
