"""What the API does with serving endpoints. Nothing here starts a model: the reconciler makes rows real."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from moorage.api.configs import AutoCaptureOutput
from moorage.api.endpoint_changes import ConfigVersionList
from moorage.api.endpoints import (
    ConfigUpdate,
    CreateEndpoint,
    EndpointDetail,
    EndpointList,
    EventList,
    LogFileList,
    Logs,
    PermissionLevel,
)
from moorage.api.errors import InvalidParameterValue, ResourceAlreadyExists, ResourceDoesNotExist
from moorage.api.routing import Principal
from moorage.api.served_entities import EntityKind
from moorage.control import configurations
from moorage.control import endpoint_views as views
from moorage.control.configurations import Wanted
from moorage.control.crash_points import CrashPoint, crash_point
from moorage.control.dependencies import ControlDependencies, Site
from moorage.control.endpoint_rows import (
    change_event,
    deployment_ids,
    find_managed,
    find_visible,
    require_not_of_catalogue,
    rows_of,
    take_away,
    with_deployments,
)
from moorage.control.endpoint_settings import stored, telemetry_after
from moorage.control.endpoint_views import EndpointRows
from moorage.control.external_models import require_allowed_addresses, sealing
from moorage.control.guardrails import require_guardrails
from moorage.control.lifecycle import Trigger
from moorage.control.logs import build_log, log_files, replica_logs, service_log, tag
from moorage.control.notifications import Outbox
from moorage.control.rate_limits import require_enforceable
from moorage.control.registry_access import require_readable
from moorage.control.secret_references import require_secrets
from moorage.control.store import endpoints as store
from moorage.control.store import legacy
from moorage.control.store.endpoint_grants import all_grants
from moorage.control.store.endpoints import EventFilter
from moorage.control.store.engine import reading
from moorage.control.store.following import newest_event
from moorage.control.store.models import Endpoint
from moorage.control.tables import with_delivery
from moorage.datadir import DataDirectory
from moorage.identity.access import permission_level
from moorage.identity.ids import new_object_id
from moorage.tables.status import read_report


@dataclass(frozen=True, slots=True)
class EndpointService:
    """Every method answers the wire object, or raises an `ApiError`."""

    deps: ControlDependencies
    site: Site

    def create(self, caller: Principal, request: CreateEndpoint) -> EndpointDetail:
        """Accept a new endpoint; its deployment begins once this has returned. External models serve by then.

        Raises:
            ResourceAlreadyExists: the name is taken.
            ResourceDoesNotExist: a model or version is not in the registry.
            PermissionDenied: the caller may not read a model.
            InvalidParameterValue: a version is not READY, a variable or a credential refers to a secret that does
                not exist, a provider's address or a feature of the AI Gateway is not to be had, or the workspace
                has no room for another endpoint or for its concurrency.
            PermissionDenied: a variable or a credential refers to a secret that the caller may not read.
            TemporarilyUnavailable: the registry does not answer.
        """
        require_enforceable(self.deps.settings, request.rate_limits or ())
        require_enforceable(self.deps.settings, (request.ai_gateway and request.ai_gateway.rate_limits) or ())
        require_guardrails(self.deps.settings, request.ai_gateway)
        if request.config is not None:
            require_allowed_addresses(self.deps.settings, request.config.entities, "config.served_entities")
        with reading(self.deps.sessions) as session:
            if store.find(session, request.name) is not None:
                raise _already_exists(request.name)
        now = self.deps.clock()
        endpoint = _new_endpoint(caller, request, now)
        wanted = None
        if request.config is not None:
            given = request.config.auto_capture_config
            capture = AutoCaptureOutput.of(given, request.name) if given else None
            engines = configurations.engine_models(self.deps, caller, request.config, "config.served_entities")
            wanted = Wanted.of(request.config, capture, sealing(self.deps.encryption, endpoint.id), engines)
            configurations.require_gateway_fits(request.name, request.ai_gateway, capture, len(wanted.specs))
            models = configurations.registered_models(wanted.specs)
            require_readable(self.deps.sessions, caller, [spec.entity_name for spec in models])
            with reading(self.deps.sessions) as session:
                require_secrets(session, wanted.specs, caller)
            configurations.require_models(self.deps.registry, models)

        try:
            with self.deps.sessions.begin() as session:
                store.insert(session, endpoint, None, [])
                if store.count_live(session) > configurations.MOST_ENDPOINTS:
                    raise InvalidParameterValue(
                        f"Workspace exceeded serving endpoint quota: {configurations.MOST_ENDPOINTS} endpoints"
                    )
                if wanted is not None:
                    configurations.require_concurrency(session, endpoint, wanted.specs)
                    configurations.accept(session, endpoint, wanted, caller, now)
                words = f"Endpoint created by {caller.user_name}"
                store.add_event(
                    session, change_event(endpoint, "ENDPOINT_EVENT", Trigger.CONFIG_ACCEPTED, words, now)
                )
                if wanted is not None and wanted.external:
                    configurations.tell_that_it_serves(session, endpoint, Outbox.of(self.deps.settings), now)
                answer = views.detail(rows_of(session, endpoint), PermissionLevel.CAN_MANAGE, self.site)
                crash_point(CrashPoint.CREATE_WRITTEN)
        except store.NameTaken as error:
            raise _already_exists(request.name) from error
        crash_point(CrashPoint.CREATE_COMMITTED)
        if wanted is not None and wanted.external:
            self.deps.notifier.wait_until_routed(endpoint.id)
        else:
            self.deps.notifier.endpoint_changed(endpoint.id)
        return answer

    def get(self, caller: Principal, name: str) -> EndpointDetail:
        """
        Raises:
            ResourceDoesNotExist: no such endpoint.
            PermissionDenied: the caller may not see it.
        """
        with reading(self.deps.sessions) as session:
            endpoint, level = find_visible(session, caller, name)
            detail = views.detail(rows_of(session, endpoint), level, self.site)
        # The file of the delivery is looked at only where there is something to deliver.
        capture = detail.config.auto_capture_config if detail.config else None
        return with_delivery(detail, read_report(self.deps.data.tables_status)) if capture else detail

    def list(self, caller: Principal) -> EndpointList:
        """The endpoints that the caller may see: those of the catalogue's models first, then by name."""
        with reading(self.deps.sessions) as session:
            live = store.live(session)
            grants = all_grants(session, live)
            seen = [endpoint for endpoint in live if permission_level(caller, grants[endpoint.id]) is not None]
            configs = {config.endpoint_id: config for config in store.active_configs(session)}
            shown = deployment_ids(configs[e.id] for e in seen if e.id in configs)
            deployments = store.deployments_by_id(session, shown)
            staged = legacy.by_endpoint(session)
            seen.sort(key=lambda one: one.kind != EntityKind.FOUNDATION_MODEL)
            rows = (EndpointRows(e, configs.get(e.id), None, deployments, staged.get(e.id)) for e in seen)
            return EndpointList(endpoints=tuple(map(views.summary, rows)))

    def delete(self, caller: Principal, name: str) -> None:
        """Take an endpoint away, also while it is being updated; its name is free at once.

        Raises:
            ResourceDoesNotExist: no such endpoint.
            PermissionDenied: the caller may not manage it.
        """
        with self.deps.sessions.begin() as session:
            endpoint = find_managed(session, caller, name)
            require_not_of_catalogue(endpoint, "deleted")
            take_away(session, endpoint, f"Endpoint deleted by {caller.user_name}", self.deps.clock())
            crash_point(CrashPoint.DELETE_WRITTEN)
        crash_point(CrashPoint.DELETE_COMMITTED)
        self.deps.notifier.endpoint_changed(endpoint.id)

    def config_versions(self, caller: Principal, name: str) -> ConfigVersionList:
        """Every version of the configuration, newest first; raises as `get` does."""
        with reading(self.deps.sessions) as session:
            endpoint, _ = find_visible(session, caller, name)
            configs = store.configs(session, endpoint.id)
            rows = with_deployments(session, endpoint, None, None, *configs)
            return ConfigVersionList(config_versions=tuple(views.config_version(rows, one) for one in configs))

    def events(self, caller: Principal, name: str, wanted: EventFilter, limit: int, before: int | None) -> EventList:
        """The newest events first, of those that are older than the event with the id `before`.

        Raises:
            ResourceDoesNotExist: no such endpoint.
            PermissionDenied: the caller may not see it.
        """
        with reading(self.deps.sessions) as session:
            endpoint, _ = find_visible(session, caller, name)
            found = store.events(session, endpoint.id, wanted, limit + 1, before)
        shown = found[:limit]
        return EventList(
            events=tuple(views.event_output(event) for event in shown),
            next_page_token=str(shown[-1].id) if len(found) > limit else None,
        )

    def newest_event(self, caller: Principal, name: str) -> tuple[str, int]:
        """The endpoint's id and that of its newest event, 0 when there is none; raises as `events` does."""
        with reading(self.deps.sessions) as session:
            endpoint, _ = find_visible(session, caller, name)
            return endpoint.id, newest_event(session, endpoint.id)

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

    def log_files(self, caller: Principal, name: str, served_name: str, version: int | None) -> LogFileList:
        """Which replicas of a served entity have logs; raises as `build_logs` does."""
        return log_files(self.deps.data, self.deployment_id(caller, name, served_name, version))

    def deployment_id(self, caller: Principal, name: str, served_name: str, version: int | None) -> str:
        """The deployment that a log is of; raises as `build_logs` does."""
        with reading(self.deps.sessions) as session:
            endpoint, _ = find_visible(session, caller, name)
            return _deployment_id(session, endpoint, served_name, version)

    def replica_id(self, deployment_id: str, replica: str) -> str:
        """The replica with that id or tag.

        Raises:
            ResourceDoesNotExist: none that has a log.
        """
        for path in reversed(replica_logs(self.deps.data, deployment_id)):
            if replica in (path.stem, tag(path.stem)):
                return path.stem
        raise ResourceDoesNotExist(f"No log of a replica '{replica}' found.")

    def _logs(
        self,
        caller: Principal,
        name: str,
        served_name: str,
        version: int | None,
        read: Callable[[DataDirectory, str], str],
    ) -> Logs:
        return Logs(logs=read(self.deps.data, self.deployment_id(caller, name, served_name, version)))


def _already_exists(name: str) -> ResourceAlreadyExists:
    return ResourceAlreadyExists(f"Endpoint with name '{name}' already exists.")


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


def _new_endpoint(caller: Principal, request: CreateEndpoint, now: int) -> Endpoint:
    external = request.config is not None and request.config.kind is EntityKind.EXTERNAL_MODEL
    return Endpoint(
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
        email_notifications=stored(request.email_notifications),
        rate_limits=[limit.model_dump(mode="json") for limit in request.rate_limits or ()] or None,
        ai_gateway=stored(request.ai_gateway),
        telemetry_config=None if external else telemetry_after(None, request.telemetry_config),
        config_update=ConfigUpdate.NOT_UPDATING,
        last_version=0,
        deleting=False,
    )
