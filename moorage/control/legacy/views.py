"""From rows to what the older API shows of a model that is served by stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from moorage.api.errors import ResourceDoesNotExist
from moorage.api.legacy import (
    ComputeConfig,
    EndpointStatus,
    EndpointVersionStatus,
    LegacyState,
    ServiceState,
    ServiceStatus,
    Stage,
    VersionAlias,
)
from moorage.api.routing import EndpointRoute
from moorage.api.served_entities import stored_spec
from moorage.control.endpoint_rows import rows_of
from moorage.control.legacy.plan import Entity, Plan, Progress
from moorage.control.legacy.rows import StagedModel, entity_of
from moorage.control.lifecycle import DeploymentPhase
from moorage.control.store.models import Deployment, Endpoint, LegacyEndpoint

_STATES = {
    Progress.COMING: ServiceState.PENDING,
    Progress.UP: ServiceState.READY,
    Progress.FAILED: ServiceState.FAILED,
}


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A registered model with what serves it now, and what is planned for it.

    By the name of a served entity, `made_for` has the compute configuration that it was made for.
    """

    endpoint: Endpoint
    staged: StagedModel
    deployments: Mapping[str, Deployment]
    made_for: Mapping[str, ComputeConfig]
    present: Mapping[str, Entity]
    aliases: Mapping[str, str]
    plan: Plan

    @classmethod
    def of(cls, session: Session, row: LegacyEndpoint, endpoint: Endpoint) -> ServedModel:
        rows = rows_of(session, endpoint)
        served = rows.served(rows.active) if rows.active else []
        present = [entity_of(one.id, stored_spec(one.spec), DeploymentPhase(one.phase)) for one in served]
        aliases = rows.active.body.get("aliases", {}) if rows.active else {}
        entities = rows.active.body["served_entities"] if rows.active else []
        staged = StagedModel.of(row)
        return cls(
            endpoint,
            staged,
            {one.served_name: one for one in served},
            {one["name"]: ComputeConfig.model_validate(one["compute"]) for one in entities},
            {one.name: one for one in present},
            aliases,
            staged.plan(present, aliases),
        )

    @property
    def stages(self) -> dict[str, Stage]:
        """The stage of every version that is served: also of one that answers for a stage until its successor can."""
        found = {version: Stage(stage) for version, stage in (self.staged.stages or {}).items()}
        for stage in Stage:
            entity = self.present.get(self.aliases.get(stage, ""))
            if entity is not None:
                found.setdefault(entity.version, stage)
        return {version: found[version] for version in sorted(found, key=int)}

    def require(self, version: str) -> None:
        """
        Raises:
            ResourceDoesNotExist: the version is not served.
        """
        if version not in self.stages:
            raise ResourceDoesNotExist(
                f"Version {version} of registered model '{self.staged.model}' is not served: only versions in "
                f"{Stage.STAGING} and {Stage.PRODUCTION} are"
            )

    def target(self, version: str) -> Entity:
        """The entity that is to serve the version with the newest compute configuration."""
        name = self.plan.targets.get(version)
        named = {one.name: one for one in self.plan.entities}
        return named[name] if name is not None else self._answering(version)

    def names(self, version: str) -> frozenset[str]:
        """The served entities of the version."""
        return frozenset(one.name for one in self.present.values() if one.version == version)

    def _answering(self, version: str) -> Entity:
        """The entity that answers for the version now, else its target."""
        entity = self.present.get(self.aliases.get(version, ""))
        if entity is None:
            entity = next((one for one in self.present.values() if one.version == version), None)
        return entity or self.target(version)

    def is_routed(self, route: EndpointRoute) -> bool:
        """Whether requests go by `route` to what is up, so that it can be shown as such."""
        up = {name for name, entity in self.present.items() if entity.progress is Progress.UP}
        aliases = route.legacy.aliases if route.legacy is not None else {}
        return up <= {one.name for one in route.served if one.not_ready is None} and all(
            aliases.get(alias) == name for alias, name in self.plan.aliases.items() if name in up
        )

    @property
    def status(self) -> EndpointStatus:
        state, message = self._state()
        return EndpointStatus(
            registered_model_name=self.staged.model,
            state=state,
            state_message=message,
            compute_config=tuple(self.staged.compute[stage] for stage in Stage),
            endpoint_name=self.endpoint.name,
        )

    def _state(self) -> tuple[LegacyState, str]:
        """READY when any stage can be scored, FAILED when nothing can and nothing is on its way."""
        problem = self.staged.problem
        if any(one.progress is Progress.UP for one in self.present.values()):
            return LegacyState.READY, problem or "Ready"
        if problem:
            return LegacyState.FAILED, problem
        if self.staged.stages is None:
            return LegacyState.PENDING, "The model registry has not been read yet."
        targets = [self.target(version) for version in self.staged.stages]
        if not targets:
            return LegacyState.PENDING, f"No version is in {Stage.STAGING} or {Stage.PRODUCTION}."
        failed = [one for one in targets if one.progress is Progress.FAILED]
        if len(failed) == len(targets):
            return LegacyState.FAILED, f"Version {failed[-1].version}: {self._message(failed[-1])}"
        return LegacyState.PENDING, f"Version {targets[-1].version}: {self._message(targets[-1])}"

    @property
    def versions(self) -> tuple[EndpointVersionStatus, ...]:
        return tuple(self.version(one) for one in self.stages)

    def version(self, version: str) -> EndpointVersionStatus:
        """How one version does.

        Raises:
            ResourceDoesNotExist: it is not served.
        """
        self.require(version)
        stage = self.stages[version]
        answering, target = self._answering(version), self.target(version)
        return EndpointVersionStatus(
            registered_model_name=self.staged.model,
            endpoint_version_name=version,
            service_status=self._service_status(answering, stage),
            config_update_status=self._service_status(target, stage),
            served_entity_name=answering.name,
        )

    @property
    def version_aliases(self) -> tuple[VersionAlias, ...]:
        found = ((stage, self.present.get(self.aliases.get(stage, ""))) for stage in Stage)
        return tuple(VersionAlias(alias=stage, endpoint_version_name=one.version) for stage, one in found if one)

    def _service_status(self, entity: Entity, stage: Stage) -> ServiceStatus:
        state = ServiceState.UNKNOWN if entity.deployment_id is None else _STATES[entity.progress]
        return ServiceStatus(state=state, message=self._message(entity), config=self._config(entity, stage))

    def _config(self, entity: Entity, stage: Stage) -> ComputeConfig:
        """The stage's, or the one before it that the entity still runs with."""
        asked = self.staged.compute[stage]
        made_for = self.made_for.get(entity.name)
        if made_for is None or entity.workload == asked.workload_spec:
            return asked
        return made_for.model_copy(update={"stage": stage})

    def _message(self, entity: Entity) -> str:
        if entity.progress is Progress.UP:
            return "Ready"
        deployment = self.deployments.get(entity.name)
        return (deployment.message if deployment is not None else "") or "Pending"

