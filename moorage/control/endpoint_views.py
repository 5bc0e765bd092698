"""From rows to what the API shows of an endpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moorage.api.ai_gateway import AiGateway
from moorage.api.configs import (
    AutoCaptureOutput,
    ConfigOutput,
    ConfigSummary,
    PendingConfigOutput,
    TrafficConfig,
)
from moorage.api.endpoint_changes import ConfigVersion
from moorage.api.endpoints import (
    DataPlaneInfo,
    EmailNotifications,
    EndpointDetail,
    EndpointState,
    EndpointSummary,
    EventOutput,
    PermissionLevel,
    QueryInfo,
    Readiness,
    TagOutput,
    TelemetryConfig,
)
from moorage.api.external_models import ExternalTask
from moorage.api.legacy import LegacyServing, Stage, VersionAlias
from moorage.api.served_entities import (
    CustomModelSpec,
    DeploymentState,
    EngineModelSpec,
    EntityKind,
    EntitySpec,
    ExternalModelSpec,
    ServedEntityOutput,
    ServedEntitySummary,
    ServedModelOutput,
    ServedModelSummary,
    stored_spec,
)
from moorage.control.dependencies import Site
from moorage.control.legacy.plan import Progress
from moorage.control.lifecycle import DeploymentPhase, wire_state
from moorage.control.store.models import Config, Deployment, Endpoint, Event, LegacyEndpoint

_SHOWN_KINDS = (EntityKind.EXTERNAL_MODEL, EntityKind.FOUNDATION_MODEL)
_STOPPED = DeploymentState(
    deployment="DEPLOYMENT_ABORTED",
    deployment_state_message="The endpoint is stopped; start it to serve again.",
)


@dataclass(frozen=True, slots=True)
class EndpointRows:
    """An endpoint with the configurations and deployments that its answers are made of.

    `legacy` is set where it serves a registered model by stage.
    """

    endpoint: Endpoint
    active: Config | None
    pending: Config | None
    deployments: Mapping[str, Deployment]
    legacy: LegacyEndpoint | None = None

    def served(self, config: Config) -> list[Deployment]:
        """The deployments of a configuration, in its order."""
        return [self.deployments[entity["deployment_id"]] for entity in config.body["served_entities"]]

    def serving(self) -> list[Deployment]:
        """The deployments of the active configuration. Where a model is served by stage, versions that come are in it
        beside those that are up, which are these."""
        found = self.served(self.active) if self.active is not None else []
        if self.legacy is None:
            return found
        return [one for one in found if Progress.of(DeploymentPhase(one.phase)) is Progress.UP]


def readiness(rows: EndpointRows) -> Readiness:
    """READY when every served entity of the active configuration is, and the endpoint is not stopped.

    Where a model is served by stage, one version that is up is enough, as it is for the older API.
    """
    if rows.active is None or rows.endpoint.stopped:
        return Readiness.NOT_READY
    serving = rows.serving()
    if rows.legacy is not None:
        return Readiness.READY if serving else Readiness.NOT_READY
    ready = all(deployment.phase == DeploymentPhase.READY for deployment in serving)
    return Readiness.READY if ready else Readiness.NOT_READY


def detail(rows: EndpointRows, level: PermissionLevel, site: Site) -> EndpointDetail:
    """The endpoint in full, as a caller with `level` on it sees it."""
    endpoint = rows.endpoint
    url = f"{site.base_url}/{site.workspace_id}/serving-endpoints/{endpoint.name}/invocations"
    notifications = endpoint.email_notifications
    return EndpointDetail(
        **_common(rows),
        config=config_output(rows, rows.active) if rows.active else None,
        pending_config=_pending_config(rows, rows.pending) if rows.pending else None,
        permission_level=level,
        route_optimized=endpoint.route_optimized,
        endpoint_url=url if endpoint.route_optimized else None,
        data_plane_info=_data_plane_info(endpoint, url) if endpoint.route_optimized else None,
        email_notifications=EmailNotifications.model_validate(notifications) if notifications else None,
        endpoint_type=EntityKind(endpoint.kind) if endpoint.kind in _SHOWN_KINDS else None,
    )


def summary(rows: EndpointRows) -> EndpointSummary:
    """The endpoint as an element of the list."""
    config = None
    if rows.active is not None:
        specs = _specs(rows, rows.active)
        models = [spec for spec in specs if isinstance(spec, CustomModelSpec)]
        config = ConfigSummary(
            served_entities=tuple(map(_entity_summary, specs)),
            served_models=tuple(
                ServedModelSummary(name=s.name, model_name=s.entity_name, model_version=s.entity_version)
                for s in models
            )
            or None,
        )
    return EndpointSummary(**_common(rows), config=config)


def ai_gateway(endpoint: Endpoint) -> AiGateway | None:
    """The AI Gateway block, None when it is not set."""
    return AiGateway.model_validate(endpoint.ai_gateway) if endpoint.ai_gateway else None


def auto_capture(config: Config) -> AutoCaptureOutput | None:
    """The older inference table of a configuration, None when it has none."""
    stored = config.body.get("auto_capture_config")
    return AutoCaptureOutput.model_validate(stored) if stored else None


def config_version(rows: EndpointRows, config: Config) -> ConfigVersion:
    """A version as the history shows it. `rows` has its deployments."""
    return ConfigVersion(
        config_version=config.version,
        created_by=config.created_by,
        creation_timestamp=config.start_time,
        config=config_output(rows, config),
        active=config.version == rows.endpoint.active_version,
        pending=config.version == rows.endpoint.pending_version,
    )


def event_output(event: Event) -> EventOutput:
    return EventOutput(
        id=event.id,
        event_type=event.event_type,
        status=event.status,
        trigger=event.trigger,
        message=event.message,
        timestamp=event.timestamp,
        served_entity_name=event.served_name,
    )


def _common(rows: EndpointRows) -> dict[str, Any]:
    endpoint = rows.endpoint
    telemetry = endpoint.telemetry_config
    return {
        "name": endpoint.name,
        "creator": endpoint.creator,
        "creation_timestamp": endpoint.creation_timestamp,
        "last_updated_timestamp": endpoint.last_updated_timestamp,
        "id": endpoint.id,
        "state": EndpointState.of(readiness(rows), endpoint.config_update),
        "tags": tuple(TagOutput.model_validate(tag) for tag in endpoint.tags),
        "description": endpoint.description,
        "ai_gateway": ai_gateway(endpoint),
        "budget_policy_id": endpoint.budget_policy_id,
        "telemetry_config": _telemetry_output(telemetry) if telemetry else None,
        "task": _task(rows),
        "stopped": endpoint.stopped or None,
        "legacy_serving": _legacy_serving(rows, rows.legacy) if rows.legacy is not None else None,
    }


def _legacy_serving(rows: EndpointRows, legacy: LegacyEndpoint) -> LegacyServing:
    aliases = rows.active.body.get("aliases", {}) if rows.active else {}
    specs = _specs(rows, rows.active) if rows.active else []
    versions = {spec.name: spec.entity_version for spec in specs if isinstance(spec, CustomModelSpec)}
    return LegacyServing(
        registered_model_name=legacy.registered_model_name,
        aliases=tuple(
            VersionAlias(alias=stage, endpoint_version_name=versions[aliases[stage]])
            for stage in Stage
            if stage in aliases
        ),
    )


def _specs(rows: EndpointRows, config: Config) -> list[EntitySpec]:
    return [stored_spec(deployment.spec) for deployment in rows.served(config)]


def _task(rows: EndpointRows) -> ExternalTask | None:
    """That of language models, all of which have the same."""
    if rows.active is None:
        return None
    specs = _specs(rows, rows.active)
    return next((spec.task for spec in specs if not isinstance(spec, CustomModelSpec)), None)


def _entity_summary(spec: EntitySpec) -> ServedEntitySummary:
    if isinstance(spec, ExternalModelSpec):
        return ServedEntitySummary(name=spec.name, external_model=spec.shown)
    return ServedEntitySummary(
        name=spec.name,
        entity_name=spec.entity_name,
        entity_version=spec.entity_version,
        foundation_model=spec.foundation_model if isinstance(spec, EngineModelSpec) else None,
    )


def _telemetry_output(stored: dict[str, Any]) -> TelemetryConfig:
    """Without the tables: they have become the profile."""
    return TelemetryConfig.model_validate({**stored, "table_names": None})


def config_output(rows: EndpointRows, config: Config) -> ConfigOutput:
    """A configuration with the present state of its served entities."""
    stopped = rows.endpoint.stopped
    entities = tuple(_served_entity(deployment, stopped=stopped) for deployment in rows.served(config))
    return ConfigOutput(
        served_entities=entities,
        served_models=tuple(filter(None, map(ServedModelOutput.mirror, entities))) or None,
        traffic_config=TrafficConfig.model_validate(config.body["traffic_config"]),
        auto_capture_config=auto_capture(config),
        config_version=config.version,
    )


def _pending_config(rows: EndpointRows, config: Config) -> PendingConfigOutput:
    return PendingConfigOutput(**dict(config_output(rows, config)), start_time=config.start_time)


def _served_entity(deployment: Deployment, *, stopped: bool) -> ServedEntityOutput:
    spec = stored_spec(deployment.spec)
    if isinstance(spec, ExternalModelSpec):
        return ServedEntityOutput(
            name=spec.name,
            external_model=spec.shown,
            creator=deployment.creator,
            creation_timestamp=deployment.creation_timestamp,
            state=_external_state(deployment),
        )
    hidden = {"burst_scaling_enabled", "model"}
    if not isinstance(spec, CustomModelSpec) or not spec.environment_vars:
        hidden.add("environment_vars")
    fields = spec.model_dump(exclude=hidden, exclude_none=True)
    return ServedEntityOutput(
        **fields,
        creator=deployment.creator,
        creation_timestamp=deployment.creation_timestamp,
        state=_STOPPED if stopped else _deployment_state(deployment),
    )


def _external_state(deployment: Deployment) -> DeploymentState:
    """With the reason where a credential cannot be read: the entity stays ready, as there is nothing to start."""
    state = wire_state(DeploymentPhase(deployment.phase))
    return DeploymentState(deployment=state, deployment_state_message=deployment.message)


def _deployment_state(deployment: Deployment) -> DeploymentState:
    state = wire_state(DeploymentPhase(deployment.phase))
    if state == "DEPLOYMENT_READY":
        message = ""
    elif state == "DEPLOYMENT_CREATING":
        message = deployment.message or "Creating"
    else:
        message = deployment.message
    return DeploymentState(deployment=state, deployment_state_message=message)


def _data_plane_info(endpoint: Endpoint, url: str) -> DataPlaneInfo:
    """`authorization_details` is a JSON document in a string, which clients send back as it is."""
    details = [
        {
            "type": "workspace_permission",
            "object_type": "serving-endpoints",
            "object_path": f"/serving-endpoints/{endpoint.id}",
            "actions": ["query_inference_endpoint"],
        }
    ]
    query = QueryInfo(endpoint_url=url, authorization_details=json.dumps(details))
    return DataPlaneInfo(query_info=query)
