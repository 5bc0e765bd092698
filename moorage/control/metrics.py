"""What the API tells of how endpoints do: metrics for scrapers, their history, and the replicas there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from moorage.api.errors import PermissionDenied
from moorage.api.metrics_history import ConfigChange, MetricsHistory
from moorage.api.replicas import ReplicaList, ReplicaOutput, ReplicaState
from moorage.api.routing import Availability, EndpointRoute, Principal
from moorage.api.workloads import CONCURRENCY_PER_REPLICA
from moorage.compute.base import ReplicaPhase, ReplicaProcess
from moorage.control.dependencies import ControlDependencies
from moorage.control.endpoint_rows import deployment_ids, find_visible
from moorage.control.lifecycle import DeploymentPhase
from moorage.control.metric_series import Span, Steps
from moorage.control.store import endpoints as store
from moorage.control.store import metric_minutes
from moorage.control.store.engine import reading
from moorage.control.store.models import Deployment, Endpoint, Replica
from moorage.telemetry.aggregate import EntityCounts, EntityKey
from moorage.telemetry.exposition import (
    EntityMetrics,
    Exposition,
    ServerMetrics,
    endpoint_families,
    render,
    server_families,
)

_STATES = {
    ReplicaPhase.STARTING: ReplicaState.STARTING,
    ReplicaPhase.LOADING: ReplicaState.LOADING,
    ReplicaPhase.WARMING: ReplicaState.WARMING,
    ReplicaPhase.READY: ReplicaState.READY,
}


@dataclass(frozen=True, slots=True)
class MetricsService:
    """`accept` is the Accept header of the request."""

    deps: ControlDependencies

    def endpoint(self, caller: Principal, name: str, accept: str) -> Exposition:
        """An endpoint's metrics of now and of the last minute, under Databricks' names.

        Raises:
            ResourceDoesNotExist: no such endpoint.
            PermissionDenied: the caller may not see it.
        """
        with reading(self.deps.sessions) as session:
            endpoint, _ = find_visible(session, caller, name)
            served = _served_names(session, endpoint)
        route = next((one for one in self.deps.telemetry.routes().values() if one.id == endpoint.id), None)
        ready = _ready(route) if route is not None else {}
        keys = [EntityKey(endpoint.id, one) for one in (*served, "")]
        counts = self.deps.telemetry.aggregate.counts(keys)
        return render(endpoint_families([self._entity(name, key, ready, counts, {}) for key in keys]), accept)

    def server(self, caller: Principal, accept: str) -> Exposition:
        """The metrics of the whole server.

        Raises:
            PermissionDenied: the caller is no administrator.
        """
        if not caller.admin:
            raise PermissionDenied("Only administrators may read the metrics of the server.")
        telemetry = self.deps.telemetry
        routes = telemetry.routes()
        counts, in_flight = telemetry.aggregate.counts(), telemetry.aggregate.in_flight()
        names = {route.id: name for name, route in routes.items()}
        ready: dict[EntityKey, int] = {}
        for route in routes.values():
            ready.update(_ready(route))
        # An endpoint that is gone is left out at once: a new one may have its name.
        keys = [key for key in {**ready, **counts} if not key.endpoint_id or key.endpoint_id in names]
        entities = [
            self._entity(names.get(key.endpoint_id, ""), key, ready, counts, in_flight) for key in keys
        ]
        states = Counter(route.availability for route in routes.values())
        server = ServerMetrics(
            endpoints={state.value: states[state] for state in Availability},
            environments=sum(1 for _ in self.deps.data.environments.glob("*/ready.json")),
        )
        return render(server_families(entities, server), accept)

    def history(
        self, caller: Principal, name: str, start_time: int | None, end_time: int | None, step_seconds: int | None
    ) -> MetricsHistory:
        """How an endpoint did from `start_time` to `end_time` (milliseconds since the epoch), the present minute
        included; the last hour when neither is given.

        Raises:
            ResourceDoesNotExist: no such endpoint.
            PermissionDenied: the caller may not see it.
            InvalidParameterValue: the time ends before it starts, or is longer than what is kept.
        """
        span = Span.of(start_time, end_time, step_seconds, self.deps.clock())
        telemetry = self.deps.telemetry
        with reading(self.deps.sessions) as session:
            with telemetry.nothing_written():
                # What the transaction sees does not change after its first read.
                endpoint, _ = find_visible(session, caller, name)
                unwritten = telemetry.aggregate.unwritten(endpoint.id)
            steps = Steps(span, _served_names(session, endpoint))
            metric_minutes.read(session, endpoint.id, span.start, span.end, steps.step)
            changes = [
                ConfigChange(timestamp=config.start_time, config_version=config.version)
                for config in reversed(store.configs(session, endpoint.id))
                if span.start <= config.start_time < span.end
            ]
        for key, minute in unwritten.items():
            if span.holds(key.minute):
                steps.step(key).add(minute)
        return MetricsHistory(
            step_seconds=span.step // 1000,
            timestamps=tuple(span.timestamps),
            series=steps.series(),
            config_changes=tuple(changes),
        )

    def replicas(self, caller: Principal, name: str) -> ReplicaList:
        """The live replicas of an endpoint, also those of a configuration that is on its way in or out.

        Raises:
            ResourceDoesNotExist: no such endpoint.
            PermissionDenied: the caller may not see it.
        """
        with reading(self.deps.sessions) as session:
            endpoint, _ = find_visible(session, caller, name)
            rows = session.execute(
                select(Replica, Deployment)
                .join(Deployment, Deployment.id == Replica.deployment_id)
                .where(Deployment.endpoint_id == endpoint.id)
                .order_by(Deployment.served_name, Replica.created_at, Replica.id)
            ).all()
            active = _active_deployments(session, endpoint)
        route = self.deps.telemetry.routes().get(name)
        routed = {one.id for served in route.served for one in served.replicas} if route is not None else set()
        usage, now = self.deps.telemetry.usage(), self.deps.clock()
        found = []
        for replica, deployment in rows:
            state = self._state(replica)
            if state is None:
                continue
            left = deployment.phase == DeploymentPhase.RETIRING or deployment.id in active
            if state is ReplicaState.READY and left and replica.id not in routed:
                state = ReplicaState.DRAINING
            used = usage.get(replica.id)
            found.append(
                ReplicaOutput(
                    id=replica.id,
                    served_entity_name=deployment.served_name,
                    state=state,
                    creation_timestamp=replica.created_at,
                    age_seconds=max(0, now - replica.created_at) / 1000,
                    memory_bytes=used.memory_bytes if used is not None else None,
                    cpu_percentage=used.cpu_percentage if used is not None else None,
                )
            )
        return ReplicaList(replicas=tuple(found))

    def _state(self, replica: Replica) -> ReplicaState | None:
        """None for one that has ended, or is just about to."""
        if replica.pid is None or replica.started_at is None:
            return ReplicaState.STARTING
        process = ReplicaProcess(replica.id, replica.address, replica.pid, replica.started_at)
        return _STATES.get(self.deps.observe_replica(process).phase)

    def _entity(
        self,
        name: str,
        key: EntityKey,
        ready: Mapping[EntityKey, int],
        counts: Mapping[EntityKey, EntityCounts],
        in_flight: Mapping[EntityKey, int],
    ) -> EntityMetrics:
        gauges = self.deps.telemetry.gauges().get(key)
        return EntityMetrics(
            endpoint=name,
            served=key.served,
            counts=counts.get(key) or EntityCounts(),
            replicas=ready.get(key, 0),
            provisioned_concurrency=ready.get(key, 0) * CONCURRENCY_PER_REPLICA,
            in_flight=in_flight.get(key, 0),
            cpu=gauges.cpu if gauges is not None else None,
            memory=gauges.memory if gauges is not None else None,
            memory_bytes=self.deps.telemetry.memory_bytes().get(key),
        )


def _ready(route: EndpointRoute) -> dict[EntityKey, int]:
    """How many replicas take requests, by served entity."""
    return {EntityKey(route.id, served.name): len(served.replicas) for served in route.served}


def _served_names(session: Session, endpoint: Endpoint) -> list[str]:
    """The served entities of the configuration that serves, in its order."""
    if endpoint.active_version is None:
        return []
    config = store.config(session, endpoint.id, endpoint.active_version)
    return [str(entity["name"]) for entity in config.body["served_entities"]] if config is not None else []


def _active_deployments(session: Session, endpoint: Endpoint) -> set[str]:
    if endpoint.active_version is None:
        return set()
    config = store.config(session, endpoint.id, endpoint.active_version)
    return deployment_ids([config]) if config is not None else set()
