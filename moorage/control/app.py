"""The control plane's REST API as one ASGI application. The gateway is its only client."""

from __future__ import annotations

from fastapi import FastAPI

from moorage.control.dependencies import ControlDependencies, Notifier, Site
from moorage.control.endpoint_settings import EndpointSettings
from moorage.control.endpoint_updates import EndpointUpdates
from moorage.control.endpoints import EndpointService
from moorage.control.routers import (
    discovery,
    endpoint_settings,
    endpoint_updates,
    scim,
    serving_endpoints,
    tokens,
)
from moorage.control.store.identity import ensure_workspace_id
from moorage.control.surface import Surface, install_error_handlers
from moorage.control.tokens import TokenService
from moorage.identity.ids import new_workspace_id

__all__ = ["ControlDependencies", "Notifier", "create_app"]


def create_app(deps: ControlDependencies) -> FastAPI:
    """The application on these parts. The database must have the newest schema."""
    with deps.sessions.begin() as session:
        workspace_id = ensure_workspace_id(session, new_workspace_id())
    site = Site(base_url=deps.settings.base_url, workspace_id=workspace_id)

    app = FastAPI(title="Moorage", redirect_slashes=False, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.site = site
    app.state.sessions = deps.sessions
    app.state.endpoints = EndpointService(deps, site)
    app.state.endpoint_updates = EndpointUpdates(deps, site)
    app.state.endpoint_settings = EndpointSettings(deps, site)
    app.state.tokens = TokenService(deps)
    for module in (discovery, scim, tokens, serving_endpoints, endpoint_updates, endpoint_settings):
        app.include_router(module.router)
    install_error_handlers(app)
    app.add_middleware(Surface)
    return app
