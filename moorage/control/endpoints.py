"""What the API does with serving endpoints. Nothing here starts a model: the reconciler makes rows real."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from sqlalchemy.orm import Session

from moorage.api.configs import AutoCaptureOutput, ConfigInput
from moorage.api.endpoints import (
    ConfigUpdate,
    CreateEndpoint,
    EndpointDetail,
    EndpointList,
    EventList,
    Logs,
    PermissionLevel,
    TelemetryConfig,
)
from moorage.api.errors import (
    InvalidParameterValue,
    NotImplementedHere,
    ResourceAlreadyExists,
    ResourceDoesNotExist,
)
from moorage.api.external_models import SECRET_REFERENCE
from moorage.api.routing import Principal
from moorage.api.served_entities import CustomModelSpec, EntityKind
from moorage.control import endpoint_views as views
from moorage.control.dependencies import ControlDependencies, Site
from moorage.control.endpoint_views import EndpointRows
from moorage.control.lifecycle import DeploymentPhase, Trigger
from moorage.control.logs import build_log, service_log
from moorage.control.store import endpoints as store
from moorage.control.store.engine import reading
from moorage.control.store.models import Config, Deployment, Endpoint, Event
from moorage.datadir import DataDirectory
from moorage.identity.access import permission_level, require_level
from moorage.identity.ids import new_object_id

_NOT_YET = {
    EntityKind.EXTERNAL_MODEL: "External models are not supported by this version of Moorage",
    EntityKind.PROVISIONED_THROUGHPUT: "Provisioned throughput is not supported by this version of Moorage",
}


@dataclass(frozen=True, slots=True)
class EndpointService:
    """Every method answers the wire object, or raises an `ApiError`."""

    deps: ControlDependencies
    site: Site

    def create(self, caller: Principal, request: CreateEndpoint) -> EndpointDetail:
        """Accept a new endpoint; its deployment begins once this has returned.

        Raises:
            ResourceAlreadyExists: the name is taken.
            ResourceDoesNotExist: a model or version is not in the registry.
            InvalidParameterValue: a version is not READY, or a variable refers to a secret that does not exist.
            NotImplementedHere: a kind of served entity that this server cannot deploy.
            TemporarilyUnavailable: the registry does not answer.
        """
        if request.config is not None and request.config.kind in _NOT_YET:
            raise NotImplementedHere(f"{_NOT_YET[request.config.kind]}; serve a registered custom model instead")
        with reading(self.deps.sessions) as session:
            if store.find(session, request.name) is not None:
                raise _already_exists(request.name)
        if request.config is not None:
            self._check_models(request.config)

        rows = self._new_rows(caller, request)
        try:
            with self.deps.sessions.begin() as session:
                store.insert(session, rows.endpoint, rows.pending, list(rows.deployments.values()))
                store.add_event(session, self._event(rows.endpoint, Trigger.CONFIG_ACCEPTED, "created", caller))
        except store.NameTaken as error:
            raise _already_exists(request.name) from error
        self.deps.notifier.endpoint_changed(rows.endpoint.id)
        return views.detail(rows, PermissionLevel.CAN_MANAGE, self.site)

    def get(self, caller: Principal, name: str) -> EndpointDetail:
        """
        Raises:
            ResourceDoesNotExist: no such endpoint.
            PermissionDenied: the caller may not see it.
        """
        with reading(self.deps.sessions) as session:
            endpoint = _find(session, name)
            level = require_level(caller, endpoint, PermissionLevel.CAN_VIEW)
            return views.detail(_rows(session, endpoint), level, self.site)

    def list(self, caller: Principal) -> EndpointList:
        """The endpoints that the caller may see, by name."""
        with reading(self.deps.sessions) as session:
            seen = [e for e in store.live(session) if permission_level(caller, e) is not None]
            configs = {config.endpoint_id: config for config in store.active_configs(session)}
            deployments = {deployment.id: deployment for deployment in store.live_deployments(session)}
            return EndpointList(
                endpoints=tuple(views.summary(EndpointRows(e, configs.get(e.id), None, deployments)) for e in seen)
            )

    def delete(self, caller: Principal, name: str) -> None:
        """Take an endpoint away, also while it is being updated; its name is free at once.

        Raises:
            ResourceDoesNotExist: no such endpoint.
            PermissionDenied: the caller may not manage it.
        """
        with self.deps.sessions.begin() as session:
            endpoint = _find(session, name)
            require_level(caller, endpoint, PermissionLevel.CAN_MANAGE)
            store.mark_deleting(session, endpoint, self.deps.clock())
            store.add_event(session, self._event(endpoint, Trigger.ENDPOINT_DELETED, "deleted", caller))
        self.deps.notifier.endpoint_changed(endpoint.id)

    def events(self, caller: Principal, name: str, limit: int) -> EventList:
        """The newest events first.

        Raises:
            ResourceDoesNotExist: no such endpoint.
            PermissionDenied: the caller may not see it.
        """
        with reading(self.deps.sessions) as session:
            endpoint = _find(session, name)
            require_level(caller, endpoint, PermissionLevel.CAN_VIEW)
            found = store.events(session, endpoint.id, limit)
            return EventList(events=tuple(views.event_output(event) for event in found))

    def build_logs(self, caller: Principal, name: str, served_name: str, version: int | None) -> Logs:
        """How a served entity was built, as far as it has got.

        Raises:
            ResourceDoesNotExist: no such endpoint, configuration version or served entity.
            PermissionDenied: the caller may not see the endpoint.
        """
        return self._logs(caller, name, served_name, version, build_log)

    def service_logs(self, caller: Principal, name: str, served_name: str, version: int | None) -> Logs:
        """What the replicas of a served entity printed; raises as `build_logs` does."""
        return self._logs(caller, name, served_name, version, service_log)

    def _logs(
        self,
        caller: Principal,
        name: str,
        served_name: str,
        version: int | None,
        read: Callable[[DataDirectory, str], str],
    ) -> Logs:
        with reading(self.deps.sessions) as session:
            endpoint = _find(session, name)
            require_level(caller, endpoint, PermissionLevel.CAN_VIEW)
            deployment_id = _deployment_id(session, endpoint, served_name, version)
        return Logs(logs=read(self.deps.data, deployment_id))

    def _check_models(self, config: ConfigInput) -> None:
        for entity in config.entities:
            for variable, value in entity.environment_vars.items():
                if reference := SECRET_REFERENCE.fullmatch(value):
                    raise InvalidParameterValue(
                        f"Environment variable '{variable}' of '{entity.served_name}' refers to key "
                        f"'{reference['key']}' of secret scope '{reference['scope']}', which does not exist"
                    )
        models = dict.fromkeys((e.entity_name or "", e.entity_version or "") for e in config.entities)
        for name, version in models:
            self.deps.registry.model_version(name, version).require_ready()

    def _new_rows(self, caller: Principal, request: CreateEndpoint) -> EndpointRows:
        now = self.deps.clock()
        has_config = request.config is not None
        endpoint = Endpoint(
            id=new_object_id(),
            name=request.name,
            creator=caller.user_name,
            creator_id=caller.id,
            creation_timestamp=now,
            last_updated_timestamp=now,
            description=request.description,
            route_optimized=request.route_optimized,
            budget_policy_id=request.budget_policy_id,
            tags=[tag.model_dump() for tag in request.tags],
            email_notifications=_stored(request.email_notifications),
            rate_limits=[limit.model_dump(mode="json") for limit in request.rate_limits or ()] or None,
            ai_gateway=_stored(request.ai_gateway),
            telemetry_config=_telemetry(request.telemetry_config),
            config_update=ConfigUpdate.IN_PROGRESS if has_config else ConfigUpdate.NOT_UPDATING,
            pending_version=1 if has_config else None,
            last_version=1 if has_config else 0,
            deleting=False,
        )
        if request.config is None:
            return EndpointRows(endpoint, None, None, {})
        deployments = [
            Deployment(
                id=new_object_id(),
                endpoint_id=endpoint.id,
                served_name=entity.served_name,
                spec=CustomModelSpec.of(entity).model_dump(mode="json", exclude_none=True),
                creator=caller.user_name,
                creation_timestamp=now,
                phase=DeploymentPhase.PENDING,
                message="",
                trigger=Trigger.CONFIG_ACCEPTED,
                failures=0,
            )
            for entity in request.config.entities
        ]
        config = Config(
            endpoint_id=endpoint.id,
            version=1,
            body=_config_body(request.config, request.name, deployments),
            start_time=now,
            created_by=caller.user_name,
        )
        return EndpointRows(endpoint, None, config, {deployment.id: deployment for deployment in deployments})

    def _event(self, endpoint: Endpoint, trigger: Trigger, verb: str, caller: Principal) -> Event:
        return Event(
            endpoint_id=endpoint.id,
            endpoint_name=endpoint.name,
            event_type="ENDPOINT_EVENT",
            status="SUCCESS",
            trigger=trigger,
            message=f"Endpoint {verb} by {caller.user_name}",
            timestamp=self.deps.clock(),
        )


def _already_exists(name: str) -> ResourceAlreadyExists:
    return ResourceAlreadyExists(f"Endpoint with name '{name}' already exists.")


def _find(session: Session, name: str) -> Endpoint:
    endpoint = store.find(session, name)
    if endpoint is None:
        raise ResourceDoesNotExist(f"Endpoint with name '{name}' not found.")
    return endpoint


def _rows(session: Session, endpoint: Endpoint) -> EndpointRows:
    def config(version: int | None) -> Config | None:
        return None if version is None else store.config(session, endpoint.id, version)

    deployments = {deployment.id: deployment for deployment in store.deployments(session, endpoint.id)}
    active, pending = config(endpoint.active_version), config(endpoint.pending_version)
    return EndpointRows(endpoint, active, pending, deployments)


def _deployment_id(session: Session, endpoint: Endpoint, served_name: str, version: int | None) -> str:
    """Of the version asked for; without one, of the active configuration, else of the pending one."""
    if version is None:
        versions = [v for v in (endpoint.active_version, endpoint.pending_version) if v is not None]
    else:
        versions = [version]
    configs = [store.config(session, endpoint.id, v) for v in versions]
    if version is not None and configs == [None]:
        raise ResourceDoesNotExist(f"Endpoint '{endpoint.name}' has no configuration version {version}.")
    for config in configs:
        for entity in config.body["served_entities"] if config else ():
            if entity["name"] == served_name:
                return str(entity["deployment_id"])
    raise ResourceDoesNotExist(f"Served model '{served_name}' of endpoint '{endpoint.name}' not found.")


def _config_body(config: ConfigInput, endpoint_name: str, deployments: Sequence[Deployment]) -> dict[str, Any]:
    body: dict[str, Any] = {
        "served_entities": [{"name": d.served_name, "deployment_id": d.id} for d in deployments],
        "traffic_config": config.traffic.model_dump(mode="json"),
    }
    if config.auto_capture_config is not None:
        capture = AutoCaptureOutput.of(config.auto_capture_config, endpoint_name)
        body["auto_capture_config"] = capture.model_dump(mode="json", exclude_none=True)
    return body


def _stored(part: BaseModel | None) -> dict[str, Any] | None:
    return (part.model_dump(mode="json", exclude_none=True) or None) if part else None


def _telemetry(config: TelemetryConfig | None) -> dict[str, Any] | None:
    """What is kept: the profile in place of the tables that make it, nothing where neither is named."""
    if config is None or not config.names_a_place:
        return None
    kept = config.model_dump(mode="json", exclude_none=True, exclude={"table_names"})
    kept.setdefault("telemetry_profile_id", new_object_id())
    return kept
