"""Secret scopes, secrets and their ACLs. Source: Databricks REST reference, secrets."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request

from moorage.api.secrets import (
    AclItem,
    AclList,
    CreateScope,
    DeleteAcl,
    DeleteScope,
    DeleteSecret,
    PutAcl,
    PutSecret,
    ScopeList,
    SecretList,
    SecretValue,
)
from moorage.api.wire import Empty, ShortText, Text
from moorage.control.dependencies import Caller
from moorage.control.secrets import SecretService

router = APIRouter(prefix="/api/2.0/secrets", tags=["secrets"])


def _service(request: Request) -> SecretService:
    return cast(SecretService, request.app.state.secrets)


Secrets = Annotated[SecretService, Depends(_service)]


@router.post("/scopes/create")
def create_scope(caller: Caller, secrets: Secrets, body: CreateScope) -> Empty:
    secrets.create_scope(caller, body)
    return Empty()


@router.get("/scopes/list")
def list_scopes(caller: Caller, secrets: Secrets) -> ScopeList:
    return secrets.list_scopes(caller)


@router.post("/scopes/delete")
def delete_scope(caller: Caller, secrets: Secrets, body: DeleteScope) -> Empty:
    secrets.delete_scope(caller, body.scope)
    return Empty()


@router.post("/put")
def put_secret(caller: Caller, secrets: Secrets, body: PutSecret) -> Empty:
    secrets.put(caller, body)
    return Empty()


@router.get("/list")
def list_secrets(caller: Caller, secrets: Secrets, scope: Text) -> SecretList:
    return secrets.list(caller, scope)


@router.get("/get")
def get_secret(caller: Caller, secrets: Secrets, scope: Text, key: Text) -> SecretValue:
    return secrets.get(caller, scope, key)


@router.post("/delete")
def delete_secret(caller: Caller, secrets: Secrets, body: DeleteSecret) -> Empty:
    secrets.delete(caller, body.scope, body.key)
    return Empty()


@router.post("/acls/put")
def put_acl(caller: Caller, secrets: Secrets, body: PutAcl) -> Empty:
    secrets.put_acl(caller, body)
    return Empty()


@router.get("/acls/get")
def get_acl(caller: Caller, secrets: Secrets, scope: Text, principal: ShortText) -> AclItem:
    return secrets.get_acl(caller, scope, principal)


@router.get("/acls/list")
def list_acls(caller: Caller, secrets: Secrets, scope: Text) -> AclList:
    return secrets.list_acls(caller, scope)


@router.post("/acls/delete")
def delete_acl(caller: Caller, secrets: Secrets, body: DeleteAcl) -> Empty:
    secrets.delete_acl(caller, body.scope, body.principal)
    return Empty()
