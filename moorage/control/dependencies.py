"""What the control plane's API is built from, and how a route gets at it and at who calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol, cast

from fastapi import Depends, Request

from moorage.api.errors import Unauthenticated
from moorage.api.principal import decode_principal
from moorage.api.routing import PRINCIPAL_HEADER, Principal
from moorage.control.store.engine import Sessions
from moorage.datadir import DataDirectory
from moorage.registry.client import ModelRegistry
from moorage.settings import Settings


class Notifier(Protocol):
    """Told of every change after it is committed. Called from request threads; must neither block nor raise."""

    def endpoint_changed(self, endpoint_id: str) -> None: ...

    def token_changed(self, digest: str, principal: Principal | None) -> None:
        """`principal` is None when the token no longer opens anything."""
        ...


@dataclass(frozen=True, slots=True)
class ControlDependencies:
    """`clock` answers milliseconds since the epoch. The database behind `sessions` has the newest schema."""

    settings: Settings
    data: DataDirectory
    sessions: Sessions
    registry: ModelRegistry
    notifier: Notifier
    clock: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Site:
    """The facts of this workspace that answers carry. `base_url` has no trailing slash."""

    base_url: str
    workspace_id: str


def calling_principal(request: Request) -> Principal:
    """Who calls, as the gateway says.

    Raises:
        Unauthenticated: it does not say, or nothing readable.
    """
    principal = decode_principal(request.headers.get(PRINCIPAL_HEADER, ""))
    if principal is None:
        raise Unauthenticated
    return principal


def current_site(request: Request) -> Site:
    return cast(Site, request.app.state.site)


Caller = Annotated[Principal, Depends(calling_principal)]
CurrentSite = Annotated[Site, Depends(current_site)]
