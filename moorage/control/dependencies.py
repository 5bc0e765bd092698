"""What the control plane's API is built from, and how a route gets at it and at who calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol, cast

from fastapi import Depends, Request

from moorage.api.errors import Unauthenticated
from moorage.api.principal import decode_principal
from moorage.api.routing import PRINCIPAL_HEADER, Principal
from moorage.compute.base import Observation, ReplicaProcess
from moorage.control.store.engine import Sessions
from moorage.control.telemetry import Telemetry
from moorage.datadir import DataDirectory
from moorage.encryption import Encryption
from moorage.registry.artifacts import ArtifactStore
from moorage.registry.client import ModelRegistry
from moorage.registry.mlflow_api import MlflowApi
from moorage.settings import Settings


class Notifier(Protocol):
    """Told of each change after its commit, from request threads. No method raises, nor blocks unless it says so."""

    def endpoint_changed(self, endpoint_id: str) -> None: ...

    def wait_until_routed(self, endpoint_id: str) -> None:
        """As `endpoint_changed`, and block until every gateway works by it, but not for long."""
        ...

    def secrets_changed(self, scope: str) -> None:
        """A secret of that scope, or who may read it, was changed. Blocks as `principals_changed` does."""
        ...

    def token_changed(self, digest: str, principal: Principal | None) -> None:
        """`principal` is None when the token no longer opens anything."""
        ...

    def principals_changed(self) -> None:
        """A user, service principal or membership was written: what any token stands for may be different.

        Blocks until every gateway works by it, but not for long. For request threads only.
        """
        ...

    def wait_until_taken(self) -> None:
        """Block until every gateway works by what was told so far, but not for long. For request threads only."""
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
    telemetry: Telemetry
    observe_replica: Callable[[ReplicaProcess], Observation]
    encryption: Encryption
    mlflow: MlflowApi
    artifacts: ArtifactStore


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


def principal_if_any(request: Request) -> Principal | None:
    """Who calls a route that is open to everybody, where the gateway says so."""
    return decode_principal(request.headers.get(PRINCIPAL_HEADER, ""))


def current_site(request: Request) -> Site:
    return cast(Site, request.app.state.site)


Caller = Annotated[Principal, Depends(calling_principal)]
OptionalCaller = Annotated[Principal | None, Depends(principal_if_any)]
CurrentSite = Annotated[Site, Depends(current_site)]
