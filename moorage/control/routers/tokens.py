"""Personal access tokens of the caller."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request

from moorage.api.tokens import CreatedToken, CreateToken, DeleteToken, EditToken, TokenList
from moorage.api.wire import Empty
from moorage.control.dependencies import Caller
from moorage.control.tokens import TokenService

router = APIRouter(prefix="/api/2.0/token", tags=["tokens"])


def _service(request: Request) -> TokenService:
    return cast(TokenService, request.app.state.tokens)


Tokens = Annotated[TokenService, Depends(_service)]


@router.post("/create")
def create_token(caller: Caller, tokens: Tokens, body: CreateToken | None = None) -> CreatedToken:
    return tokens.create(caller, body or CreateToken())


@router.get("/list")
def list_tokens(caller: Caller, tokens: Tokens) -> TokenList:
    return tokens.list(caller)


@router.post("/delete")
def delete_token(caller: Caller, tokens: Tokens, body: DeleteToken) -> Empty:
    tokens.delete(caller, body.token_id)
    return Empty()


@router.patch("/{token_id}")
def edit_token(caller: Caller, tokens: Tokens, token_id: str, body: EditToken) -> Empty:
    tokens.edit(caller, token_id, body)
    return Empty()
