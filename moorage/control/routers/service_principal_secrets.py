"""OAuth secrets of service principals."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request

from moorage.api.oauth import ClientSecretList, CreateClientSecret, CreatedClientSecret
from moorage.api.wire import Empty
from moorage.control.dependencies import Caller
from moorage.control.oauth.client_secrets import ClientSecrets
from moorage.control.oauth.service import OAuthService

router = APIRouter(
    prefix="/api/2.0/accounts/servicePrincipals/{service_principal_id}/credentials/secrets", tags=["oauth"]
)


def _service(request: Request) -> ClientSecrets:
    return cast(OAuthService, request.app.state.oauth).client_secrets


Secrets = Annotated[ClientSecrets, Depends(_service)]


@router.post("")
def create_secret(
    caller: Caller, secrets: Secrets, service_principal_id: str, body: CreateClientSecret | None = None
) -> CreatedClientSecret:
    return secrets.create(caller, service_principal_id, body or CreateClientSecret())


@router.get("")
def list_secrets(caller: Caller, secrets: Secrets, service_principal_id: str) -> ClientSecretList:
    return secrets.list(caller, service_principal_id)


@router.delete("/{secret_id}")
def delete_secret(caller: Caller, secrets: Secrets, service_principal_id: str, secret_id: str) -> Empty:
    secrets.delete(caller, service_principal_id, secret_id)
    return Empty()
