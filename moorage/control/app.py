"""The control plane's REST API as one ASGI application. The gateway is its only client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI

from moorage.api.pages import ASSETS_PREFIX
from moorage.control.audit import AuditLog, AuditTrail
from moorage.control.dependencies import ControlDependencies, Notifier, Site
from moorage.control.endpoint_settings import EndpointSettings
from moorage.control.endpoint_updates import EndpointUpdates
from moorage.control.endpoints import EndpointService
from moorage.control.files.credentials import ArtifactCredentials
from moorage.control.files.service import FilesService
from moorage.control.following import Followers
from moorage.control.grants import GrantService
from moorage.control.legacy.service import LegacyService
from moorage.control.legacy.stages import StageWatcher
from moorage.control.metrics import MetricsService
from moorage.control.oauth.service import OAuthService
from moorage.control.pages import BUNDLE, assets
from moorage.control.permission_objects import object_kinds
from moorage.control.permissions import PermissionService
from moorage.control.prompts import PromptService
from moorage.control.query_schemas import QuerySchemas
from moorage.control.registry_access import RegistryAccess
from moorage.control.registry_activities import RegistryActivities
from moorage.control.routers import (
    artifact_credentials,
    audit,
    discovery,
    endpoint_settings,
    endpoint_updates,
    external_function,
    files,
    following,
    grants,
    legacy,
    metrics,
    model_checks,
    oauth,
    pages,
    permissions,
    prompts,
    provisioned_throughput,
    query_schema,
    registry_activities,
    scim,
    secrets,
    service_principal_secrets,
    serving_endpoints,
    sessions,
    tables,
    token_management,
    tokens,
    unity_catalog,
    unity_catalog_models,
    workspace_registry,
)
from moorage.control.secrets import SecretService
from moorage.control.store.identity import ensure_workspace_id
from moorage.control.surface import Surface, install_error_handlers
from moorage.control.tables import TablesService
from moorage.control.throughput import ThroughputModels
from moorage.control.token_management import TokenManagement
from moorage.control.tokens import TokenService
from moorage.control.unity_catalog import UnityCatalogService
from moorage.control.workspace_registry import WorkspaceRegistry
from moorage.identity.ids import new_workspace_id
from moorage.registry.prompts import PromptRegistry
from moorage.registry.registrations import Registrations

__all__ = ["ControlDependencies", "Notifier", "add_routes", "api_document", "create_app"]

_ROUTERS = (
    discovery,
    scim,
    secrets,
    tokens,
    serving_endpoints,
    endpoint_updates,
    endpoint_settings,
    model_checks,
    following,
    metrics,
    permissions,
    grants,
    query_schema,
    provisioned_throughput,
    external_function,
    token_management,
    oauth,
    service_principal_secrets,
    sessions,
    legacy,
    workspace_registry,
    registry_activities,
    unity_catalog,
    unity_catalog_models,
    tables,
    files,
    artifact_credentials,
    audit,
    prompts,
)


def api_document() -> dict[str, Any]:
    """OpenAPI of the control plane's own routes, from which the web UI's client is generated."""
    app = FastAPI(title="Moorage")
    for module in _ROUTERS:
        add_routes(app, module.router)
    return app.openapi()


def add_routes(app: FastAPI, router: APIRouter) -> None:
    """Have the application answer the routes of that router, as they are.

    `include_router` would make each of them anew when the first request comes, which would wait for that, and would
    look for the route of every request twice.
    """
    app.router.routes.extend(router.routes)


def create_app(deps: ControlDependencies, bundle: Path = BUNDLE) -> FastAPI:
    """The application on these parts. The database must have the newest schema; `bundle` holds the built web UI."""
    with deps.sessions.begin() as session:
        workspace_id = ensure_workspace_id(session, new_workspace_id())
    site = Site(base_url=deps.settings.base_url, workspace_id=workspace_id)

    app = FastAPI(title="Moorage", redirect_slashes=False, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.site = site
    app.state.bundle = bundle
    app.state.sessions = deps.sessions
    app.state.scim = scim.ScimServices.on(deps)
    app.state.endpoints = EndpointService(deps, site)
    app.state.endpoint_updates = EndpointUpdates(deps, site)
    app.state.endpoint_settings = EndpointSettings(deps, site)
    app.state.tokens = TokenService(deps)
    app.state.secrets = SecretService(deps)
    app.state.followers = Followers(deps.data, deps.sessions)
    app.state.query_schemas = QuerySchemas(deps, site)
    app.state.registry = deps.registry
    app.state.telemetry = deps.telemetry
    app.state.metrics = MetricsService(deps)
    app.state.permissions = PermissionService(deps, object_kinds(deps))
    app.state.grants = GrantService(deps)
    app.state.registry_access = RegistryAccess(deps)
    registrations = Registrations()
    app.state.files = FilesService.on(deps, app.state.registry_access, registrations)
    app.state.artifact_credentials = ArtifactCredentials(app.state.files.places, app.state.files.urls)
    app.state.token_management = TokenManagement(deps, site)
    app.state.oauth = OAuthService(deps, site)
    app.state.stage_watcher = StageWatcher(deps.sessions, deps.registry, deps.notifier.endpoint_changed, deps.clock)
    app.state.legacy = LegacyService(deps, app.state.stage_watcher, app.state.metrics)
    app.state.workspace_registry = WorkspaceRegistry(deps)
    app.state.registry_activities = RegistryActivities(deps, app.state.legacy)
    app.state.unity_catalog = UnityCatalogService(deps, app.state.registry_access, registrations)
    app.state.throughput = ThroughputModels(deps.registry, deps.data.catalogue)
    app.state.tables = TablesService(deps)
    app.state.audit_log = AuditLog(deps.sessions)
    app.state.prompts = PromptService(PromptRegistry(deps.mlflow), app.state.registry_access)
    for module in (*_ROUTERS, pages):
        add_routes(app, module.router)
    app.mount(ASSETS_PREFIX.rstrip("/"), assets(bundle))
    install_error_handlers(app)
    app.add_middleware(AuditTrail, sessions=deps.sessions, clock=deps.clock)
    app.add_middleware(Surface)
    return app
