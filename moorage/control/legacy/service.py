"""What the older API does with a registered model: serve it by stage, say how that does, and end it.

Nothing here starts a model: rows say what is wanted, and the reconciler makes the plan for them real.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from moorage.api.endpoints import RESERVED_PREFIX, ConfigUpdate, Logs
from moorage.api.errors import InvalidParameterValue, PermissionDenied, ResourceDoesNotExist
from moorage.api.legacy import (
    ComputeConfig,
    EndpointStatusAnswer,
    EndpointStatusList,
    ModelEvent,
    ModelEventList,
    ModelVersionDatabricks,
    ModelVersionTag,
    OfEvents,
    OfLogs,
    OfModel,
    OfVersion,
    RestartUpdate,
    Stage,
    SupportedSize,
    SupportedSizeList,
    TransitionedVersion,
    TransitionStage,
    UpdateComputeConfig,
    VersionAliasList,
    VersionReplicaList,
    VersionStatusAnswer,
    VersionStatusList,
    WorkloadConfigSpec,
)
from moorage.api.metrics_history import MetricsHistory
from moorage.api.permissions import ModelLevel
from moorage.api.routing import Principal
from moorage.api.served_entities import CustomModelSpec, EntityKind, stored_spec
from moorage.api.wire import name_from
from moorage.api.workloads import SIZES
from moorage.control import configurations
from moorage.control.dependencies import ControlDependencies
from moorage.control.endpoint_rows import change_event, take_away
from moorage.control.legacy.plan import Progress
from moorage.control.legacy.rows import forget_failed
from moorage.control.legacy.stages import StageWatcher
from moorage.control.legacy.views import ServedModel
from moorage.control.lifecycle import Trigger
from moorage.control.logs import build_log, replica_logs, service_log, tag, tail
from moorage.control.metrics import MetricsService
from moorage.control.routers.requests import event_before
from moorage.control.store import endpoints, identity, legacy, registered_models, registry_activities
from moorage.control.store.endpoints import EventFilter
from moorage.control.store.engine import reading
from moorage.control.store.models import Endpoint, LegacyEndpoint
from moorage.datadir import DataDirectory
from moorage.identity.ids import new_object_id
from moorage.identity.model_access import model_level, require_model_level
from moorage.registry.client import ModelVersion

_Seen = TypeVar("_Seen")

_CREATE_CLUSTERS = "allow-cluster-create"
_PRODUCTION = Stage.PRODUCTION.casefold()
_LONGEST_LOG = 1024 * 1024
_MANAGES = {
    Stage.STAGING: ModelLevel.CAN_MANAGE_STAGING_VERSIONS,
    Stage.PRODUCTION: ModelLevel.CAN_MANAGE_PRODUCTION_VERSIONS,
}


@dataclass(frozen=True, slots=True)
class LegacyService:
    """Each method about a served model raises `ResourceDoesNotExist` when the model is not enabled for serving, and
    `PermissionDenied` when the caller has not the right on the model that it needs."""

    deps: ControlDependencies
    watcher: StageWatcher
    metrics: MetricsService

    def enable(self, caller: Principal, request: OfModel) -> None:
        """Serve every version of the model that is in Staging or Production; does nothing where that is so already.

        Raises:
            ResourceDoesNotExist: no such registered model.
            PermissionDenied: the caller may not manage it, or not create clusters.
            InvalidParameterValue: the workspace has no room for another endpoint.
            TemporarilyUnavailable: the registry does not answer.
        """
        model = request.registered_model_name
        self._require_model(model)
        with reading(self.deps.sessions) as session:
            self._require(session, caller, model, ModelLevel.CAN_MANAGE)
            if not caller.admin and _CREATE_CLUSTERS not in identity.entitlements(session, caller):
                raise PermissionDenied(
                    f"User '{caller.user_name}' may not create clusters: an administrator gives that right with the "
                    f"entitlement '{_CREATE_CLUSTERS}'."
                )
        stages = self.watcher.stages(model)
        now = self.deps.clock()
        with self.deps.sessions.begin() as session:
            if legacy.find(session, model) is not None:
                return
            endpoint = _new_endpoint(caller, model, _names(model), session, now)
            if endpoints.count_live(session) > configurations.MOST_ENDPOINTS:
                raise InvalidParameterValue(
                    f"Workspace exceeded serving endpoint quota: {configurations.MOST_ENDPOINTS} endpoints"
                )
            compute = {stage.value: _compute(stage, WorkloadConfigSpec(), caller, now) for stage in Stage}
            row = LegacyEndpoint(
                endpoint_id=endpoint.id, registered_model_name=model, compute=compute, stages=stages, problem=""
            )
            session.add(row)
            words = f"Serving of registered model '{model}' by stage enabled by {caller.user_name}"
            event = change_event(endpoint, "ENDPOINT_EVENT", Trigger.CONFIG_ACCEPTED, words, now)
            endpoints.add_event(session, event)
        self.deps.notifier.endpoint_changed(endpoint.id)

    def disable(self, caller: Principal, request: OfModel) -> None:
        """End the serving of a model with all that it runs on."""
        with self.deps.sessions.begin() as session:
            _, endpoint = self._found(session, caller, request, ModelLevel.CAN_MANAGE, change=True)
            take_away(session, endpoint, f"Serving disabled by {caller.user_name}", self.deps.clock())
        self.deps.notifier.endpoint_changed(endpoint.id)

    def update_compute_config(self, caller: Principal, request: UpdateComputeConfig) -> None:
        """Have the versions of a stage run on another workload; each goes on with the old one until it is ready."""
        stage = request.stage
        with self.deps.sessions.begin() as session:
            row, endpoint = self._found(session, caller, request, _MANAGES[stage], change=True)
            now = self.deps.clock()
            wanted = request.desired_workload_config_spec
            row.compute = {**row.compute, stage.value: _compute(stage, wanted, caller, now)}
            endpoint.last_updated_timestamp = now
            words = f"Compute configuration of {stage} changed by {caller.user_name}: {wanted.workload_size_id}"
            words += ", scales to zero" if wanted.scale_to_zero_enabled else ""
            event = change_event(endpoint, "COMPUTE_CONFIG_CHANGED", Trigger.CONFIG_ACCEPTED, words, now)
            endpoints.add_event(session, event)
        self.deps.notifier.endpoint_changed(endpoint.id)

    def restart_update(self, caller: Principal, request: RestartUpdate) -> None:
        """Try again what has failed of a stage.

        Raises:
            InvalidParameterValue: nothing has.
        """
        stages = (request.stage,) if request.stage is not None else tuple(Stage)
        needed = max((_MANAGES[one] for one in stages), key=list(ModelLevel).index)
        with self.deps.sessions.begin() as session:
            row, endpoint = self._found(session, caller, request, needed, change=True)
            model = ServedModel.of(session, row, endpoint)
            targets = [model.target(version) for version, stage in model.stages.items() if stage in stages]
            failed = {one.name for one in targets if one.progress is Progress.FAILED}
            config = endpoints.config(session, endpoint.id, endpoint.active_version or 0)
            if not failed or config is None:
                raise InvalidParameterValue(
                    f"Nothing has failed of registered model '{row.registered_model_name}' in {' or '.join(stages)}"
                )
            now = self.deps.clock()
            forget_failed(session, endpoint, config, failed, now)
            words = f"Tried again by {caller.user_name}: {', '.join(sorted(failed))}"
            event = change_event(endpoint, "COMPUTE_CONFIG_RESTARTED", Trigger.CONFIG_ACCEPTED, words, now)
            endpoints.add_event(session, event)
        self.deps.notifier.endpoint_changed(endpoint.id)

    def status(self, caller: Principal, request: OfModel) -> EndpointStatusAnswer:
        return EndpointStatusAnswer(endpoint_status=self._read(caller, request, lambda model: model.status))

    def statuses(self, caller: Principal) -> EndpointStatusList:
        """Of every served model that the caller may read, by name."""
        with reading(self.deps.sessions) as session:
            served = legacy.all_models(session)
            rights = registered_models.all_rights(session, [row.registered_model_name for row, _ in served])
            seen = [one for one in served if model_level(caller, rights[one[0].registered_model_name]) is not None]
            models = [ServedModel.of(session, row, endpoint) for row, endpoint in seen]
            statuses = tuple(model.status for model in models)
        self._wait_until_routed(models)
        return EndpointStatusList(endpoint_statuses=statuses)

    def versions(self, caller: Principal, request: OfModel) -> VersionStatusList:
        return VersionStatusList(endpoint_statuses=self._read(caller, request, lambda model: model.versions))

    def version(self, caller: Principal, request: OfVersion) -> VersionStatusAnswer:
        """How one version does.

        Raises:
            ResourceDoesNotExist: it is not served.
        """
        name = request.endpoint_version_name
        return VersionStatusAnswer(endpoint_status=self._read(caller, request, lambda model: model.version(name)))

    def version_aliases(self, caller: Principal, request: OfModel) -> VersionAliasList:
        return VersionAliasList(aliases=self._read(caller, request, lambda model: model.version_aliases))

    def build_logs(self, caller: Principal, request: OfVersion) -> Logs:
        """How the version was made ready with the newest compute configuration; raises as `version` does."""
        deployment_id = self._deployment_id(caller, request)
        return Logs(logs=build_log(self.deps.data, deployment_id) if deployment_id else "")

    def logs(self, caller: Principal, request: OfLogs) -> Logs:
        """What the replicas of a version printed, all together or one of them.

        Raises:
            ResourceDoesNotExist: the version is not served, or has no such replica.
        """
        deployment_id = self._deployment_id(caller, request)
        if request.replica_name is None:
            return Logs(logs=service_log(self.deps.data, deployment_id) if deployment_id else "")
        return Logs(logs=_replica_log(self.deps.data, deployment_id, request.replica_name))

    def events(self, caller: Principal, request: OfEvents) -> ModelEventList:
        """What happened to a version or to all, newest first.

        Raises:
            InvalidParameterValue: the page token is of no answer.
        """
        before = event_before(request.page_token)
        with reading(self.deps.sessions) as session:
            _, endpoint = self._found(session, caller, request, ModelLevel.CAN_READ)
            versions = {
                one.served_name: spec.entity_version
                for one in endpoints.deployments(session, endpoint.id)
                if isinstance(spec := stored_spec(one.spec), CustomModelSpec)
            }
            wanted = EventFilter()
            if request.endpoint_version_name is not None:
                chosen = {name for name, version in versions.items() if version == request.endpoint_version_name}
                wanted = EventFilter(served_names=frozenset(chosen))
            found = endpoints.events(session, endpoint.id, wanted, request.max_results + 1, before)
        shown = found[: request.max_results]
        return ModelEventList(
            events=tuple(
                ModelEvent(
                    event_type=one.event_type,
                    status=one.status,
                    message=one.message,
                    timestamp=one.timestamp,
                    endpoint_version_name=versions.get(one.served_name or ""),
                )
                for one in shown
            ),
            next_page_token=str(shown[-1].id) if len(found) > len(shown) else None,
        )

    def version_metrics(self, caller: Principal, request: OfVersion) -> MetricsHistory:
        """How a version did in the last hour; raises as `version` does."""
        model = self._model(caller, request)
        history = self.metrics.history(caller, model.endpoint.name, None, None, None)
        names = model.names(request.endpoint_version_name)
        return history.model_copy(
            update={"series": tuple(one for one in history.series if one.served_entity_name in names)}
        )

    def version_replicas(self, caller: Principal, request: OfVersion) -> VersionReplicaList:
        """The live replicas of a version; raises as `version` does."""
        model = self._model(caller, request)
        names = model.names(request.endpoint_version_name)
        found = self.metrics.replicas(caller, model.endpoint.name).replicas
        return VersionReplicaList(replicas=tuple(one for one in found if one.served_entity_name in names))

    def supported_sizes(self) -> SupportedSizeList:
        return SupportedSizeList(
            workload_sizes=tuple(
                SupportedSize(workload_size_id=size, min_concurrency=room.minimum, max_concurrency=room.maximum)
                for size, room in SIZES.items()
            )
        )

    def transition(self, caller: Principal, request: TransitionStage) -> TransitionedVersion:
        """Move a model version to a stage; where the model is served by stage, that begins at once.

        Raises:
            ResourceDoesNotExist: no such model or version.
            PermissionDenied: the caller may not move versions to, or from, that stage.
            InvalidParameterValue: the registry refuses it.
            TemporarilyUnavailable: the registry does not answer.
        """
        name = request.name
        needed = _MANAGES[Stage.PRODUCTION if request.stage == Stage.PRODUCTION else Stage.STAGING]
        with reading(self.deps.sessions) as session:
            level = self._require(session, caller, name, needed)
        # Asked only now: who lacks the right need not know which versions there are.
        present = self.deps.registry.model_version(name, request.version)
        if present.stage.casefold() == _PRODUCTION:
            with reading(self.deps.sessions) as session:
                level = self._require(session, caller, name, _MANAGES[Stage.PRODUCTION])
        moved = self.deps.registry.transition_stage(
            name, request.version, request.stage, request.archive_existing_versions
        )
        with self.deps.sessions.begin() as session:
            registry_activities.forget_requests(session, name, request.version, request.stage)
            found = legacy.find(session, name)
            if found is not None:
                words = f"Version {request.version} moved to {request.stage} by {caller.user_name}"
                words += f": {request.comment}" if request.comment else ""
                event = change_event(found[1], "STAGE_TRANSITION", "STAGES_CHANGED", words, self.deps.clock())
                endpoints.add_event(session, event)
        if found is not None:
            self.watcher.look(name)
        return TransitionedVersion(model_version_databricks=_shown(moved, caller, level))

    def _require_model(self, model: str) -> None:
        if not self.deps.registry.has_model(model):
            raise ResourceDoesNotExist(f"Registered model '{model}' not found.")

    def _require(self, session: Session, caller: Principal, model: str, needed: ModelLevel) -> ModelLevel:
        return require_model_level(caller, model, registered_models.rights(session, model), needed)

    def _found(
        self, session: Session, caller: Principal, request: OfModel, needed: ModelLevel, *, change: bool = False
    ) -> tuple[LegacyEndpoint, Endpoint]:
        """How the model is served. The right comes first: who lacks it need not know whether it is."""
        model = request.registered_model_name
        self._require(session, caller, model, needed)
        found = legacy.find_for_change(session, model) if change else legacy.find(session, model)
        if found is None:
            raise ResourceDoesNotExist(f"Registered model '{model}' is not enabled for serving.")
        return found

    def _read(self, caller: Principal, request: OfModel, of: Callable[[ServedModel], _Seen]) -> _Seen:
        with reading(self.deps.sessions) as session:
            model = ServedModel.of(session, *self._found(session, caller, request, ModelLevel.CAN_READ))
            seen = of(model)
        self._wait_until_routed([model])
        return seen

    def _wait_until_routed(self, models: Iterable[ServedModel]) -> None:
        """Return when gateways work by what these show: whoever reads that a version is ready may query it."""
        routes = self.deps.telemetry.routes()
        for model in models:
            route = routes.get(model.endpoint.name)
            if route is not None and route.id == model.endpoint.id and not model.is_routed(route):
                self.deps.notifier.wait_until_routed(model.endpoint.id)
        self.deps.notifier.wait_until_taken()

    def _model(self, caller: Principal, request: OfVersion) -> ServedModel:
        """The model, of which the version is served."""

        def checked(model: ServedModel) -> ServedModel:
            model.require(request.endpoint_version_name)
            return model

        return self._read(caller, request, checked)

    def _deployment_id(self, caller: Principal, request: OfVersion) -> str | None:
        """Of the entity that is to serve the version; None when there is none yet."""
        return self._model(caller, request).target(request.endpoint_version_name).deployment_id


def _names(model: str) -> Iterator[str]:
    """Names for the endpoint, the best first."""
    stem = f"model-{model}" if name_from(model).startswith(RESERVED_PREFIX) else model
    yield name_from(stem)
    yield name_from(stem, "-by-stage")
    for number in itertools.count(2):
        yield name_from(stem, f"-by-stage-{number}")


def _new_endpoint(caller: Principal, model: str, names: Iterator[str], session: Session, now: int) -> Endpoint:
    """The endpoint's row, under the first name that is free."""
    name = next(one for one in names if endpoints.find(session, one) is None)
    endpoint = Endpoint(
        id=new_object_id(),
        name=name,
        creator=caller.user_name,
        creator_id=caller.id,
        creation_timestamp=now,
        last_updated_timestamp=now,
        description=f"Serverless Real-Time Inference: the versions of registered model '{model}' in Staging and "
        "Production",
        tags=[],
        config_update=ConfigUpdate.NOT_UPDATING,
        last_version=0,
        deleting=False,
        kind=EntityKind.CUSTOM_MODEL,
    )
    endpoints.insert(session, endpoint, None, [])
    return endpoint


def _compute(stage: Stage, workload: WorkloadConfigSpec, caller: Principal, now: int) -> dict[str, Any]:
    config = ComputeConfig(stage=stage, creation_timestamp=now, user_id=caller.user_name, workload_spec=workload)
    return config.model_dump(mode="json")


def _replica_log(data: DataDirectory, deployment_id: str | None, replica: str) -> str:
    for path in reversed(replica_logs(data, deployment_id) if deployment_id else []):
        if replica in (path.stem, tag(path.stem)):
            return tail(path, _LONGEST_LOG)
    raise ResourceDoesNotExist(f"No log of a replica '{replica}' found.")


def _shown(version: ModelVersion, caller: Principal, level: ModelLevel) -> ModelVersionDatabricks:
    return ModelVersionDatabricks(
        name=version.name,
        version=version.version,
        creation_timestamp=version.creation_timestamp,
        last_updated_timestamp=version.last_updated_timestamp,
        user_id=version.user_id or caller.user_name,
        current_stage=version.stage,
        description=version.description,
        source=version.source,
        run_id=version.run_id or "",
        run_link=version.run_link,
        status=version.status,
        status_message=version.status_message,
        tags=tuple(ModelVersionTag(key=key, value=value) for key, value in version.tags.items()),
        aliases=version.aliases,
        permission_level=level,
    )
