"""From a configuration as asked for to its rows: what may be served, and which deployments go on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from moorage.api.ai_gateway import AiGateway
from moorage.api.configs import AutoCaptureChange, AutoCaptureOutput, ServedInput, TrafficConfig
from moorage.api.endpoints import ConfigUpdate, language_model_feature
from moorage.api.errors import InvalidParameterValue
from moorage.api.routing import Principal
from moorage.api.served_entities import (
    CustomModelSpec,
    EngineModelSpec,
    EntityKind,
    EntitySpec,
    ExternalModelSpec,
    stored_spec,
)
from moorage.api.workloads import MOST_CONCURRENCY
from moorage.control import endpoint_views as views
from moorage.control.captures import require_separate_tables
from moorage.control.dependencies import ControlDependencies
from moorage.control.endpoint_rows import change_event
from moorage.control.endpoint_views import EndpointRows
from moorage.control.external_models import is_unchanged
from moorage.control.lifecycle import DeploymentPhase, Trigger, advance
from moorage.control.notification_texts import Outcome
from moorage.control.notifications import Outbox
from moorage.control.registry_access import require_readable
from moorage.control.store import endpoints as store
from moorage.control.store.models import Config, Deployment, Endpoint
from moorage.control.throughput import CATALOG_PREFIX, ThroughputModels
from moorage.encryption import Encryption
from moorage.identity.ids import new_object_id
from moorage.registry.client import ModelRegistry

MOST_ENDPOINTS = 1000

_SERVES = "The configuration serves."
_IN_WORDS = {
    EntityKind.CUSTOM_MODEL: "custom models",
    EntityKind.EXTERNAL_MODEL: "external models",
    EntityKind.PROVISIONED_THROUGHPUT: "provisioned throughput",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A configuration that has no version yet. All of its specs are of one kind."""

    specs: tuple[EntitySpec, ...]
    traffic: TrafficConfig
    auto_capture: AutoCaptureOutput | None

    @classmethod
    def of(
        cls,
        given: ServedInput,
        auto_capture: AutoCaptureOutput | None,
        seal: Callable[[str], str],
        engines: Sequence[EngineModelSpec],
    ) -> Wanted:
        """What a request asks for.

        `seal` makes what may be stored of a credential's text; `engines` are the specs of `engine_models`.
        """
        external = given.kind is EntityKind.EXTERNAL_MODEL
        specs: Sequence[EntitySpec] = engines or [
            ExternalModelSpec.of(one, seal) if external else CustomModelSpec.of(one) for one in given.entities
        ]
        return cls(tuple(specs), given.traffic, auto_capture)

    @classmethod
    def again(cls, rows: EndpointRows, config: Config, auto_capture: AutoCaptureOutput | None) -> Wanted:
        """What an earlier version said."""
        specs = tuple(stored_spec(deployment.spec) for deployment in rows.served(config))
        return cls(specs, TrafficConfig.model_validate(config.body["traffic_config"]), auto_capture)

    @property
    def external(self) -> bool:
        """Whether providers serve all of it: then it serves at once."""
        return any(isinstance(spec, ExternalModelSpec) for spec in self.specs)

    @property
    def kind(self) -> EntityKind:
        if any(isinstance(spec, EngineModelSpec) for spec in self.specs):
            return EntityKind.PROVISIONED_THROUGHPUT
        return EntityKind.EXTERNAL_MODEL if self.external else EntityKind.CUSTOM_MODEL


def engine_models(
    deps: ControlDependencies, caller: Principal, given: ServedInput, where: str
) -> list[EngineModelSpec]:
    """The specs of entities with provisioned throughput, none where there are none. Calls the registry.

    Raises:
        PermissionDenied: the caller may not read a model.
        ResourceDoesNotExist, InvalidParameterValue, TemporarilyUnavailable: as `ThroughputModels.spec`.
    """
    if given.kind is not EntityKind.PROVISIONED_THROUGHPUT:
        return []
    names = [one.entity_name for one in given.entities if one.entity_name]
    require_readable(deps.sessions, caller, [one for one in names if not one.startswith(CATALOG_PREFIX)])
    models = ThroughputModels(deps.registry, deps.data.catalogue)
    specs = [models.spec(one, f"{where}[{number}]") for number, one in enumerate(given.entities)]
    if len({spec.task for spec in specs}) > 1:
        raise InvalidParameterValue(f"Invalid value for '{where}': all models of an endpoint must have the same task")
    return specs


def require_same_kind(endpoint: Endpoint, given: ServedInput) -> None:
    """Whether the endpoint, as it was created, may serve this.

    Raises:
        InvalidParameterValue: it serves another kind of entity, or has what this kind does not.
    """
    if endpoint.kind is not None and given.kind != endpoint.kind:
        raise InvalidParameterValue(
            f"Endpoint '{endpoint.name}' serves {_IN_WORDS[EntityKind(endpoint.kind)]} and cannot be updated to "
            f"serve {_IN_WORDS[given.kind]}"
        )
    if endpoint.route_optimized and given.kind is not EntityKind.CUSTOM_MODEL:
        raise InvalidParameterValue("'route_optimized' is only for endpoints of custom models")
    feature = language_model_feature(views.ai_gateway(endpoint))
    if given.kind is EntityKind.CUSTOM_MODEL and feature:
        raise InvalidParameterValue(f"'ai_gateway.{feature}' is not for endpoints of custom models")


def require_gateway_fits(
    endpoint_name: str, gateway: AiGateway | None, auto_capture: AutoCaptureOutput | None, entities: int
) -> None:
    """Whether the AI Gateway block goes with a configuration of so many entities.

    Raises:
        InvalidParameterValue: another entity is to be tried, and there is none; or both have one inference table.
    """
    require_separate_tables(endpoint_name, auto_capture, gateway)
    fallback = gateway.fallback_config if gateway else None
    if fallback is not None and fallback.enabled and entities < 2:
        raise InvalidParameterValue(
            "'ai_gateway.fallback_config.enabled' needs at least two served entities with external models"
        )


def registered_models(specs: Iterable[EntitySpec]) -> list[CustomModelSpec | EngineModelSpec]:
    """Those that come from the registry."""
    return [
        spec
        for spec in specs
        if isinstance(spec, CustomModelSpec)
        or (isinstance(spec, EngineModelSpec) and not spec.entity_name.startswith(CATALOG_PREFIX))
    ]


def require_models(registry: ModelRegistry, specs: Iterable[CustomModelSpec | EngineModelSpec]) -> None:
    """Look every model up, each once. Calls the registry: not for use inside a transaction that writes.

    Raises:
        ResourceDoesNotExist: a model or version is not in the registry.
        InvalidParameterValue: a version is not READY.
        TemporarilyUnavailable: the registry does not answer.
    """
    for name, version in dict.fromkeys((spec.entity_name, spec.entity_version) for spec in specs):
        registry.model_version(name, version).require_ready()


def require_concurrency(session: Session, endpoint: Endpoint, specs: Iterable[EntitySpec]) -> None:
    """Whether the workspace has room for these in place of what the endpoint runs.

    Raises:
        InvalidParameterValue: it has not.
    """
    asked = sum(_most_concurrency(spec) for spec in specs)
    if store.provisioned_concurrency(session, but=endpoint.id) + asked > MOST_CONCURRENCY:
        raise InvalidParameterValue(
            f"Workspace exceeded provisioned concurrency quota: {MOST_CONCURRENCY} for all running endpoints together"
        )


def going_on(encryption: Encryption, rows: EndpointRows, specs: Iterable[EntitySpec]) -> dict[str, Deployment]:
    """The serving deployments, by served name, of entities that these specs leave as they are."""
    if rows.active is None:
        return {}
    serving = {
        deployment.served_name: deployment
        for deployment in rows.served(rows.active)
        if deployment.phase in (DeploymentPhase.READY, DeploymentPhase.RECOVERING)
    }
    return {
        spec.name: serving[spec.name]
        for spec in specs
        if spec.name in serving
        and is_unchanged(encryption, rows.endpoint.id, stored_spec(serving[spec.name].spec), spec)
    }


def accept(
    session: Session,
    endpoint: Endpoint,
    wanted: Wanted,
    caller: Principal,
    now: int,
    *,
    kept: Mapping[str, Deployment] | None = None,
) -> None:
    """Write the next version of the configuration. `kept` deployments go on.

    It serves at once where it is of external models; otherwise the update to it has begun.
    """
    kept = kept or {}
    deployments = []
    for spec in wanted.specs:
        deployment = kept.get(spec.name) or _new_deployment(endpoint, spec, caller.user_name, now)
        deployments.append(deployment)
    body: dict[str, Any] = {
        "served_entities": [{"name": one.served_name, "deployment_id": one.id} for one in deployments],
        "traffic_config": wanted.traffic.model_dump(mode="json"),
    }
    if wanted.auto_capture is not None:
        body["auto_capture_config"] = wanted.auto_capture.model_dump(mode="json", exclude_none=True)
    _begin(session, endpoint, body, deployments, caller, now)
    endpoint.kind = wanted.kind
    if wanted.external:
        _switch(session, endpoint, {one.id for one in deployments})


def tell_that_it_serves(session: Session, endpoint: Endpoint, outbox: Outbox, now: int) -> None:
    """Record the end of an update that was none but to write it, as the reconciler does with others."""
    store.add_event(
        session, change_event(endpoint, "CONFIG_UPDATE_SUCCEEDED", Trigger.CONFIG_ACCEPTED, _SERVES, now)
    )
    outbox.queue(session, endpoint, Outcome.SUCCEEDED, endpoint.last_version, _SERVES, now)


def _switch(session: Session, endpoint: Endpoint, serving: set[str]) -> None:
    """Make the pending configuration the active one; what it replaces has no replicas that would have to stop."""
    endpoint.active_version, endpoint.pending_version = endpoint.pending_version, None
    endpoint.config_update = ConfigUpdate.NOT_UPDATING
    for old in store.deployments(session, endpoint.id):
        if old.id not in serving and old.phase == DeploymentPhase.READY:
            retiring = advance(DeploymentPhase.READY, Trigger.CONFIG_REPLACED)
            old.phase, old.trigger = advance(retiring, Trigger.REPLICAS_GONE), Trigger.CONFIG_REPLACED
    session.flush()


def accept_again(session: Session, rows: EndpointRows, config: Config, caller: Principal, now: int) -> None:
    """Write the next version as a copy of `config` on deployments of its own, which none has stopped."""
    deployments = []
    for old in rows.served(config):
        spec = stored_spec(old.spec)
        deployments.append(_new_deployment(rows.endpoint, spec, old.creator, old.creation_timestamp))
    served = [{"name": one.served_name, "deployment_id": one.id} for one in deployments]
    _begin(session, rows.endpoint, {**config.body, "served_entities": served}, deployments, caller, now)


def _begin(
    session: Session,
    endpoint: Endpoint,
    body: dict[str, Any],
    deployments: Iterable[Deployment],
    caller: Principal,
    now: int,
) -> None:
    """Make `body` the pending configuration."""
    endpoint.last_version += 1
    endpoint.pending_version = endpoint.last_version
    endpoint.config_update = ConfigUpdate.IN_PROGRESS
    endpoint.last_updated_timestamp = now
    session.add_all(deployments)
    session.add(
        Config(
            endpoint_id=endpoint.id,
            version=endpoint.last_version,
            body=body,
            start_time=now,
            created_by=caller.user_name,
        )
    )
    session.flush()


def auto_capture_after(rows: EndpointRows, change: AutoCaptureChange | None) -> AutoCaptureOutput | None:
    """The older inference table after an update. Its place is fixed once it has been enabled.

    Raises:
        InvalidParameterValue: it lacks a place, would move, or would be turned on again.
    """
    config = rows.active or rows.pending
    earlier = views.auto_capture(config) if config else None
    if change is None:
        return earlier
    if earlier is None or earlier.state is None:
        for field in ("catalog_name", "schema_name"):
            if change.enabled and getattr(change, field) is None:
                raise InvalidParameterValue(f"Missing required field 'auto_capture_config.{field}'")
        return AutoCaptureOutput.of(change, rows.endpoint.name)
    for field in ("catalog_name", "schema_name", "table_name_prefix"):
        if getattr(change, field) not in (None, getattr(earlier, field)):
            raise InvalidParameterValue(
                f"Invalid value for 'auto_capture_config.{field}': the table is fixed once it has been enabled"
            )
    if change.enabled and not earlier.enabled:
        raise InvalidParameterValue(
            "Invalid value for 'auto_capture_config.enabled': a table that was disabled cannot be enabled again"
        )
    return earlier.model_copy(update={"enabled": change.enabled})


def _most_concurrency(spec: EntitySpec) -> int:
    """What it takes of the workspace's provisioned concurrency: what a provider runs takes nothing."""
    return spec.concurrency.maximum if isinstance(spec, CustomModelSpec) else 0


def _new_deployment(endpoint: Endpoint, spec: EntitySpec, creator: str, creation_timestamp: int) -> Deployment:
    return Deployment(
        id=new_object_id(),
        endpoint_id=endpoint.id,
        served_name=spec.name,
        spec=spec.model_dump(mode="json", exclude_none=True),
        creator=creator,
        creation_timestamp=creation_timestamp,
        phase=DeploymentPhase.READY if isinstance(spec, ExternalModelSpec) else DeploymentPhase.PENDING,
        message="",
        trigger=Trigger.CONFIG_ACCEPTED,
        failures=0,
        max_concurrency=_most_concurrency(spec),
    )
