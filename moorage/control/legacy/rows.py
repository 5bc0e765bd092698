"""Between the rows of an endpoint that serves by stage and the plan for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from moorage.api.configs import Route, TrafficConfig
from moorage.api.endpoints import ConfigUpdate
from moorage.api.legacy import ComputeConfig, Stage, WorkloadConfigSpec
from moorage.api.served_entities import CustomModelSpec, EntityKind, EntitySpec
from moorage.api.workloads import MOST_CONCURRENCY
from moorage.control.legacy.plan import Entity, Plan, Progress, plan
from moorage.control.lifecycle import DeploymentPhase, Trigger
from moorage.control.store import endpoints as store
from moorage.control.store.models import Config, Deployment, Endpoint, Event, LegacyEndpoint
from moorage.identity.ids import new_object_id

NO_ROOM = (
    f"The workspace exceeds its provisioned concurrency quota of {MOST_CONCURRENCY}: "
    "what is newest in the registry is not served"
)


@dataclass(frozen=True, slots=True)
class StagedModel:
    """A registered model that is served by stage: its row as it was read.

    `stages` is None before the registry has been asked.
    """

    model: str
    stages: Mapping[str, str] | None
    compute: Mapping[Stage, ComputeConfig]
    problem: str

    @classmethod
    def of(cls, row: LegacyEndpoint) -> StagedModel:
        return cls(row.registered_model_name, row.stages, compute_of(row), row.problem)

    def plan(self, present: list[Entity], aliases: Mapping[str, str]) -> Plan:
        """What there should be beside or instead of `present`."""
        compute = {stage: one.workload_spec for stage, one in self.compute.items()}
        return plan(self.model, self.stages or {}, compute, present, aliases)


def compute_of(row: LegacyEndpoint) -> dict[Stage, ComputeConfig]:
    """The compute configuration of each stage."""
    return {Stage(stage): ComputeConfig.model_validate(one) for stage, one in row.compute.items()}


def entity_of(deployment_id: str, spec: EntitySpec, phase: DeploymentPhase) -> Entity:
    """A deployment as the plan sees it."""
    assert isinstance(spec, CustomModelSpec)
    assert spec.workload_size is not None
    workload = WorkloadConfigSpec(
        workload_size_id=spec.workload_size, scale_to_zero_enabled=spec.scale_to_zero_enabled
    )
    return Entity(spec.name, spec.entity_version, workload, Progress.of(phase), deployment_id)


def write(
    session: Session, endpoint: Endpoint, legacy: LegacyEndpoint, wanted: Plan, earlier: Mapping[str, str], now: int
) -> bool:
    """Make the plan the configuration that serves. `earlier` are the aliases of the one before.

    False: the workspace has no room for it, and the row says so.
    """
    served = StagedModel.of(legacy)
    specs = {one.name: _spec(served.model, one) for one in wanted.entities}
    asked = sum(one.concurrency.maximum for one in specs.values())
    grows = any(one.deployment_id is None for one in wanted.entities)
    others = store.provisioned_concurrency(session, but=endpoint.id)
    if grows and others + asked > MOST_CONCURRENCY:
        legacy.problem = NO_ROOM
        return False
    if legacy.problem == NO_ROOM:
        legacy.problem = ""
    before = store.config(session, endpoint.id, endpoint.active_version or 0)
    made_for = {one["deployment_id"]: one["compute"] for one in before.body["served_entities"]} if before else {}
    entities = []
    for one in wanted.entities:
        deployment_id = one.deployment_id
        if deployment_id is None:
            deployment_id = new_object_id()
            config = served.compute[Stage((served.stages or {})[one.version])]
            made_for[deployment_id] = config.model_dump(mode="json")
            spec = specs[one.name]
            session.add(
                Deployment(
                    id=deployment_id,
                    endpoint_id=endpoint.id,
                    served_name=one.name,
                    spec=spec.model_dump(mode="json", exclude_none=True),
                    creator=config.user_id,
                    creation_timestamp=now,
                    phase=DeploymentPhase.PENDING,
                    message="",
                    trigger=Trigger.CONFIG_ACCEPTED,
                    failures=0,
                    max_concurrency=spec.concurrency.maximum,
                )
            )
        entities.append({"name": one.name, "deployment_id": deployment_id, "compute": made_for[deployment_id]})
    routes = (Route.to(wanted.drawn, 100),) if wanted.drawn is not None else ()
    body = {
        "served_entities": entities,
        "traffic_config": TrafficConfig(routes=routes).model_dump(mode="json"),
        "aliases": dict(wanted.aliases),
    }
    endpoint.last_version += 1
    version = endpoint.last_version
    session.add(
        Config(endpoint_id=endpoint.id, version=version, body=body, start_time=now, created_by=endpoint.creator)
    )
    endpoint.active_version, endpoint.kind = version, EntityKind.CUSTOM_MODEL
    endpoint.config_update, endpoint.last_updated_timestamp = wanted.config_update, now
    session.flush()
    _tell_switches(session, endpoint, wanted, earlier, now)
    return True


def forget_failed(session: Session, endpoint: Endpoint, config: Config, failed: set[str], now: int) -> None:
    """Take these served entities out of the configuration, so that the plan has them made anew."""
    body = dict(config.body)
    body["served_entities"] = [one for one in body["served_entities"] if one["name"] not in failed]
    body["aliases"] = {alias: name for alias, name in body.get("aliases", {}).items() if name not in failed}
    routes = [one for one in body["traffic_config"]["routes"] if one["served_entity_name"] not in failed]
    body["traffic_config"] = {"routes": routes}
    endpoint.last_version += 1
    session.add(
        Config(
            endpoint_id=endpoint.id,
            version=endpoint.last_version,
            body=body,
            start_time=now,
            created_by=endpoint.creator,
        )
    )
    endpoint.active_version, endpoint.config_update = endpoint.last_version, ConfigUpdate.IN_PROGRESS
    session.flush()


def _spec(model: str, entity: Entity) -> CustomModelSpec:
    return CustomModelSpec(
        name=entity.name,
        entity_name=model,
        entity_version=entity.version,
        workload_size=entity.workload.workload_size_id,
        scale_to_zero_enabled=entity.workload.scale_to_zero_enabled,
    )


def _tell_switches(
    session: Session, endpoint: Endpoint, wanted: Plan, earlier: Mapping[str, str], now: int
) -> None:
    """Record who answers for a stage from now on."""
    versions = {one.name: one.version for one in wanted.entities}
    for stage in Stage:
        name = wanted.aliases.get(stage)
        if name == earlier.get(stage):
            continue
        if name is None:
            words = f"No version is in {stage} any more."
        else:
            words = f"Version {versions[name]} answers for {stage}."
        event = Event(
            endpoint_id=endpoint.id,
            endpoint_name=endpoint.name,
            served_name=name,
            event_type="STAGE_SWITCHED",
            status="SUCCESS",
            trigger="STAGES_CHANGED",
            message=words,
            timestamp=now,
        )
        store.add_event(session, event)
