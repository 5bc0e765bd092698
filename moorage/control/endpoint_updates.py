"""Replacing the configuration of an endpoint, taking that back, stopping and starting.

Nothing here starts or stops a model: rows say what is wanted, and the reconciler, told of the change, does it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from moorage.api.configs import UpdateConfig
from moorage.api.endpoint_changes import RollbackConfig
from moorage.api.endpoints import ConfigUpdate, EndpointDetail, PermissionLevel
from moorage.api.errors import InvalidParameterValue, ResourceDoesNotExist
from moorage.api.routing import Principal
from moorage.api.served_entities import EngineModelSpec, EntityKind
from moorage.control import configurations
from moorage.control import endpoint_views as views
from moorage.control.configurations import Wanted
from moorage.control.crash_points import CrashPoint, crash_point
from moorage.control.dependencies import ControlDependencies, Site
from moorage.control.endpoint_rows import (
    change_event,
    find_managed,
    require_not_of_catalogue,
    rows_of,
    with_deployments,
)
from moorage.control.endpoint_settings import being_updated
from moorage.control.endpoint_views import EndpointRows
from moorage.control.external_models import require_allowed_addresses, sealing
from moorage.control.lifecycle import TRANSITIONS, DeploymentPhase, Trigger
from moorage.control.notifications import Outbox
from moorage.control.registry_access import require_readable
from moorage.control.secret_references import require_secrets
from moorage.control.store import endpoints as store
from moorage.control.store import legacy
from moorage.control.store.engine import reading
from moorage.control.store.models import Deployment, Endpoint

_GONE = (DeploymentPhase.RETIRING, DeploymentPhase.RETIRED)


@dataclass(frozen=True, slots=True)
class EndpointUpdates:
    """Every method answers the endpoint's detail; none is for one that serves a registered model by stage.

    Each raises `ResourceDoesNotExist` when there is no such endpoint, and `PermissionDenied` when the caller may not
    manage it, or not read a model that is new to it.
    """

    deps: ControlDependencies
    site: Site

    def update(self, caller: Principal, name: str, request: UpdateConfig) -> EndpointDetail:
        """Accept a new configuration; the old one serves until every entity of the new one is ready.

        One of external models serves when this returns. Entities that it leaves as they are go on in the
        deployments that they have.

        Raises:
            ResourceConflict: another update is in progress.
            ResourceDoesNotExist: a model or version is not in the registry.
            InvalidParameterValue: the endpoint is stopped or serves another kind of entity, a version is not READY,
                a variable or a credential refers to a secret that does not exist, a provider's address is not to be
                had, the table of the older inference table would change, the AI Gateway block does not go with it,
                or the workspace has no room for the concurrency.
            PermissionDenied: a variable or a credential refers to a secret that the caller, or the endpoint's
                creator, may not read.
            TemporarilyUnavailable: the registry does not answer.
        """
        engines: list[EngineModelSpec] | None = None

        def wanted(_: Session, rows: EndpointRows) -> Wanted:
            nonlocal engines
            configurations.require_same_kind(rows.endpoint, request)
            if engines is None:  # looked up before anything is written
                engines = configurations.engine_models(self.deps, caller, request, "served_entities")
            require_allowed_addresses(self.deps.settings, request.entities, "served_entities")
            capture = configurations.auto_capture_after(rows, request.auto_capture_config)
            return Wanted.of(request, capture, sealing(self.deps.encryption, rows.endpoint.id), engines)

        return self._replace(caller, name, wanted, f"accepted from {caller.user_name}")

    def rollback(self, caller: Principal, name: str, request: RollbackConfig) -> EndpointDetail:
        """Make a new version with the entities and the traffic of an earlier one; an update like any other.

        Raises:
            ResourceDoesNotExist: no such version, or one of its models is not in the registry any more.
            ResourceConflict: another update is in progress.
            InvalidParameterValue: as `update`.
            TemporarilyUnavailable: the registry does not answer.
        """
        version = request.config_version

        def wanted(session: Session, rows: EndpointRows) -> Wanted:
            config = store.config(session, rows.endpoint.id, version)
            if config is None:
                raise ResourceDoesNotExist(f"Endpoint '{name}' has no configuration version {version}.")
            then = with_deployments(session, rows.endpoint, config, None)
            return Wanted.again(then, config, configurations.auto_capture_after(rows, None))

        return self._replace(caller, name, wanted, f"with that of version {version} accepted from {caller.user_name}")

    def cancel(self, caller: Principal, name: str) -> EndpointDetail:
        """Give up the update in progress; the old configuration, where there is one, goes on.

        A start that is given up leaves the endpoint stopped.

        Raises:
            InvalidParameterValue: no update is in progress.
        """
        with self.deps.sessions.begin() as session:
            endpoint = _found(session, caller, name)
            if endpoint.config_update != ConfigUpdate.IN_PROGRESS:
                raise InvalidParameterValue(f"Endpoint '{name}' has no update in progress that could be canceled")
            rows, now = rows_of(session, endpoint), self.deps.clock()
            active = rows.served(rows.active) if rows.active else []
            serving = {deployment.id for deployment in active}
            words = f"The update was canceled by {caller.user_name}."
            for deployment in rows.served(rows.pending) if rows.pending else ():
                if deployment.id not in serving:
                    _move(deployment, Trigger.UPDATE_CANCELED, words)
            endpoint.config_update, endpoint.pending_version = ConfigUpdate.UPDATE_CANCELED, None
            endpoint.stopped = bool(active) and all(deployment.phase in _GONE for deployment in active)
            if not active:
                endpoint.kind = None
            answer = self._recorded(session, endpoint, "CONFIG_UPDATE_CANCELED", Trigger.UPDATE_CANCELED, words, now)
        crash_point(CrashPoint.CANCEL_COMMITTED)
        return self._told(answer)

    def stop(self, caller: Principal, name: str) -> EndpointDetail:
        """Release what the endpoint runs on, and keep its configuration for a start.

        Raises:
            InvalidParameterValue: it does not serve custom models, is route optimised, is stopped already, or has
                no configuration that serves.
            ResourceConflict: it is being updated.
        """
        with self.deps.sessions.begin() as session:
            endpoint = _found(session, caller, name)
            _require_stoppable(endpoint)
            words = f"Stopped by {caller.user_name}."
            for deployment in store.deployments(session, endpoint.id):
                _move(deployment, Trigger.ENDPOINT_STOPPED, words)
            endpoint.stopped = True
            endpoint.config_update, endpoint.pending_version = ConfigUpdate.NOT_UPDATING, None
            now = self.deps.clock()
            answer = self._recorded(session, endpoint, "ENDPOINT_STOPPED", Trigger.ENDPOINT_STOPPED, words, now)
        crash_point(CrashPoint.STOP_COMMITTED)
        return self._told(answer)

    def start(self, caller: Principal, name: str) -> EndpointDetail:
        """Deploy the configuration that the endpoint was stopped with anew, as its next version.

        Raises:
            InvalidParameterValue: it does not serve custom models, is not stopped, or the workspace has no room for
                the concurrency.
        """
        with self.deps.sessions.begin() as session:
            endpoint = _found(session, caller, name)
            _require_stops_and_starts(endpoint, "started")
            rows = rows_of(session, endpoint)
            if not endpoint.stopped or rows.active is None:
                raise InvalidParameterValue(f"Endpoint '{name}' is not stopped")
            again = Wanted.again(rows, rows.active, None)
            configurations.require_concurrency(session, endpoint, again.specs)
            now = self.deps.clock()
            configurations.accept_again(session, rows, rows.active, caller, now)
            endpoint.stopped = False
            words = f"Started by {caller.user_name}."
            answer = self._recorded(session, endpoint, "ENDPOINT_STARTED", Trigger.CONFIG_ACCEPTED, words, now)
        crash_point(CrashPoint.START_COMMITTED)
        return self._told(answer)

    def _replace(
        self, caller: Principal, name: str, wanted_of: Callable[[Session, EndpointRows], Wanted], how: str
    ) -> EndpointDetail:
        """Look first and ask the registry outside of any transaction; then look again and write."""
        with reading(self.deps.sessions) as session:
            rows = rows_of(session, _found(session, caller, name))
            _require_updatable(rows.endpoint)
            wanted = wanted_of(session, rows)
            kept = configurations.going_on(self.deps.encryption, rows, wanted.specs)
            fresh = [spec for spec in wanted.specs if spec.name not in kept]
            require_secrets(session, fresh, caller, creator_id=rows.endpoint.creator_id)
        models = configurations.registered_models(fresh)
        require_readable(self.deps.sessions, caller, [spec.entity_name for spec in models])
        configurations.require_models(self.deps.registry, models)

        with self.deps.sessions.begin() as session:
            rows = rows_of(session, _found(session, caller, name))
            endpoint = rows.endpoint
            _require_updatable(endpoint)
            wanted = wanted_of(session, rows)
            gateway = views.ai_gateway(endpoint)
            configurations.require_gateway_fits(name, gateway, wanted.auto_capture, len(wanted.specs))
            configurations.require_concurrency(session, endpoint, wanted.specs)
            kept, now = configurations.going_on(self.deps.encryption, rows, wanted.specs), self.deps.clock()
            configurations.accept(session, endpoint, wanted, caller, now, kept=kept)
            words = f"Update to configuration version {endpoint.last_version} {how}"
            answer = self._recorded(session, endpoint, "CONFIG_UPDATE_ACCEPTED", Trigger.CONFIG_ACCEPTED, words, now)
            if wanted.external:
                configurations.tell_that_it_serves(session, endpoint, Outbox.of(self.deps.settings), now)
            crash_point(CrashPoint.UPDATE_WRITTEN)
        crash_point(CrashPoint.UPDATE_COMMITTED)
        if wanted.external:
            self.deps.notifier.wait_until_routed(answer.id)
            return answer
        return self._told(answer)

    def _recorded(
        self, session: Session, endpoint: Endpoint, event_type: str, trigger: Trigger, message: str, now: int
    ) -> EndpointDetail:
        """Write down the change; the endpoint as it is then."""
        endpoint.last_updated_timestamp = now
        store.add_event(session, change_event(endpoint, event_type, trigger, message, now))
        return views.detail(rows_of(session, endpoint), PermissionLevel.CAN_MANAGE, self.site)

    def _told(self, answer: EndpointDetail) -> EndpointDetail:
        """Tell of a change that is committed."""
        self.deps.notifier.endpoint_changed(answer.id)
        return answer


def _found(session: Session, caller: Principal, name: str) -> Endpoint:
    """The endpoint to change.

    Raises:
        ResourceDoesNotExist, PermissionDenied: as `find_managed`.
        InvalidParameterValue: the registry, or the catalogue, says what it serves.
    """
    endpoint = find_managed(session, caller, name)
    require_not_of_catalogue(endpoint, "changed")
    staged = legacy.of_endpoint(session, endpoint.id)
    if staged is not None:
        raise InvalidParameterValue(
            f"Endpoint '{name}' serves registered model '{staged.registered_model_name}' by stage: move its versions "
            "between stages, change the compute configuration of a stage, or disable serving"
        )
    return endpoint


def _require_updatable(endpoint: Endpoint) -> None:
    if endpoint.stopped:
        raise InvalidParameterValue(f"Endpoint '{endpoint.name}' is stopped; start it first")
    if endpoint.config_update == ConfigUpdate.IN_PROGRESS:
        raise being_updated(endpoint)


def _require_stops_and_starts(endpoint: Endpoint, verb: str) -> None:
    if endpoint.kind not in (None, EntityKind.CUSTOM_MODEL):
        raise InvalidParameterValue(
            f"Endpoint '{endpoint.name}' of type {endpoint.kind} cannot be {verb}: only those of custom models can"
        )


def _require_stoppable(endpoint: Endpoint) -> None:
    _require_stops_and_starts(endpoint, "stopped")
    if endpoint.config_update == ConfigUpdate.IN_PROGRESS:
        raise being_updated(endpoint)
    if endpoint.route_optimized:
        raise InvalidParameterValue(f"Endpoint '{endpoint.name}' cannot be stopped: it is route optimized")
    if endpoint.stopped:
        raise InvalidParameterValue(f"Endpoint '{endpoint.name}' is stopped already")
    if endpoint.active_version is None:
        raise InvalidParameterValue(f"Endpoint '{endpoint.name}' cannot be stopped: no configuration serves")


def _move(deployment: Deployment, trigger: Trigger, message: str) -> None:
    """Where the table has no such move, the deployment has ended already and stays as it is."""
    phase = TRANSITIONS.get((DeploymentPhase(deployment.phase), trigger))
    if phase is not None:
        deployment.phase, deployment.trigger, deployment.message = phase, trigger, message
