"""The reconciler's reads and writes, each one short transaction. Synchronous: call them in a thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from moorage.api.routing import Principal
from moorage.compute.base import ReplicaProcess
from moorage.control.lifecycle import DeploymentPhase, IllegalTransition, Trigger, advance
from moorage.control.store import identity
from moorage.control.store.engine import Sessions, reading
from moorage.control.store.models import Config, Deployment, Endpoint, Event, Replica

_KEPT_EVENTS = 1000  # an endpoint


@dataclass(frozen=True, slots=True)
class DeploymentRecord:
    """A deployment as the reconciler works on it."""

    id: str
    endpoint_id: str
    served_name: str
    spec: dict[str, Any]
    phase: DeploymentPhase
    message: str
    model_path: str | None


@dataclass(frozen=True, slots=True)
class EndpointRecord:
    """An endpoint with the deployments its active and its pending configuration want, by served name."""

    id: str
    name: str
    creator_id: str
    deleting: bool
    stopped: bool
    config_update: str
    active: dict[str, str]
    pending: dict[str, str]
    active_traffic: dict[str, int]
    deployments: dict[str, DeploymentRecord]


class Records:
    """What the reconciler needs of the store."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def endpoint_ids(self) -> list[str]:
        """Every endpoint, also those being deleted."""
        with reading(self._sessions) as session:
            return list(session.scalars(select(Endpoint.id)))

    def tokens(self, now: int) -> dict[str, Principal]:
        """Valid tokens' principals by digest."""
        with reading(self._sessions) as session:
            return identity.principals_by_digest(session, now)

    def endpoint(self, endpoint_id: str) -> EndpointRecord | None:
        """One endpoint, or `None` when its row is gone."""
        with reading(self._sessions) as session:
            row = session.get(Endpoint, endpoint_id)
            if row is None:
                return None
            active = _config(session, row.id, row.active_version)
            pending = _config(session, row.id, row.pending_version)
            deployments = session.scalars(select(Deployment).where(Deployment.endpoint_id == endpoint_id))
            return EndpointRecord(
                id=row.id,
                name=row.name,
                creator_id=row.creator_id,
                deleting=row.deleting,
                stopped=row.stopped,
                config_update=row.config_update,
                active=_wanted(active),
                pending=_wanted(pending),
                active_traffic=_traffic(active),
                deployments={one.id: _record(one) for one in deployments},
            )

    def advance(self, deployment_id: str, trigger: Trigger, message: str = "") -> DeploymentPhase | None:
        """Move a deployment; `None` when the table has no such move or the row is gone (a stale result)."""
        with self._sessions.begin() as session:
            row = session.get(Deployment, deployment_id)
            if row is None:
                return None
            try:
                phase = advance(DeploymentPhase(row.phase), trigger)
            except IllegalTransition:
                return None
            row.phase, row.trigger, row.message = phase, trigger, message
            return phase

    def say(self, deployment_id: str, message: str) -> None:
        """Set a deployment's message without moving it."""
        with self._sessions.begin() as session:
            row = session.get(Deployment, deployment_id)
            if row is not None:
                row.message = message

    def set_model_path(self, deployment_id: str, path: str) -> None:
        with self._sessions.begin() as session:
            row = session.get(Deployment, deployment_id)
            if row is not None:
                row.model_path = path

    def set_environment(self, deployment_id: str, key: str) -> None:
        with self._sessions.begin() as session:
            row = session.get(Deployment, deployment_id)
            if row is not None:
                row.environment_key = key

    def environment_keys(self) -> frozenset[str]:
        """Keys of environments that a deployment uses."""
        with reading(self._sessions) as session:
            return frozenset(key for key in session.scalars(select(Deployment.environment_key)) if key)

    def switch(self, endpoint_id: str, now: int) -> bool:
        """Make the pending configuration the active one. Whether there was one to switch to."""
        with self._sessions.begin() as session:
            row = session.get(Endpoint, endpoint_id, with_for_update=True)
            if row is None or row.pending_version is None or row.config_update != "IN_PROGRESS":
                return False
            row.active_version, row.pending_version = row.pending_version, None
            row.config_update, row.last_updated_timestamp = "NOT_UPDATING", now
            return True

    def fail_update(self, endpoint_id: str, now: int) -> bool:
        """Mark the update in progress as failed. Whether one was."""
        with self._sessions.begin() as session:
            row = session.get(Endpoint, endpoint_id, with_for_update=True)
            if row is None or row.config_update != "IN_PROGRESS":
                return False
            row.config_update, row.last_updated_timestamp = "UPDATE_FAILED", now
            return True

    def replicas(self, deployment_id: str) -> list[ReplicaProcess]:
        """Replicas written down as started, with their processes."""
        with reading(self._sessions) as session:
            rows = session.scalars(select(Replica).where(Replica.deployment_id == deployment_id))
            return [
                ReplicaProcess(row.id, row.address, row.pid, row.started_at)
                for row in rows
                if row.pid is not None and row.started_at is not None
            ]

    def replica_ids(self) -> frozenset[str]:
        with reading(self._sessions) as session:
            return frozenset(session.scalars(select(Replica.id).where(Replica.pid.is_not(None))))

    def add_replica(self, deployment_id: str, replica: ReplicaProcess, now: int) -> None:
        with self._sessions.begin() as session:
            session.merge(
                Replica(
                    id=replica.replica_id,
                    deployment_id=deployment_id,
                    address=replica.address,
                    pid=replica.pid,
                    started_at=replica.started_at,
                    created_at=now,
                )
            )

    def remove_replica(self, replica_id: str) -> None:
        with self._sessions.begin() as session:
            session.execute(delete(Replica).where(Replica.id == replica_id))

    def remove_endpoint(self, endpoint_id: str) -> None:
        with self._sessions.begin() as session:
            session.execute(delete(Endpoint).where(Endpoint.id == endpoint_id))

    def model_paths(self) -> frozenset[str]:
        """Model folders that a deployment uses."""
        with reading(self._sessions) as session:
            return frozenset(path for path in session.scalars(select(Deployment.model_path)) if path)

    def add_event(
        self,
        endpoint: EndpointRecord,
        served_name: str | None,
        event_type: str,
        status: str,
        trigger: str,
        message: str,
        now: int,
    ) -> None:
        """Record what happened; the oldest of an endpoint's events make room."""
        with self._sessions.begin() as session:
            session.add(
                Event(
                    endpoint_id=endpoint.id,
                    endpoint_name=endpoint.name,
                    served_name=served_name,
                    event_type=event_type,
                    status=status,
                    trigger=trigger,
                    message=message,
                    timestamp=now,
                )
            )
            session.flush()
            oldest = session.scalar(
                select(Event.id)
                .where(Event.endpoint_id == endpoint.id)
                .order_by(Event.id.desc())
                .offset(_KEPT_EVENTS)
                .limit(1)
            )
            if oldest is not None:
                session.execute(delete(Event).where(Event.endpoint_id == endpoint.id, Event.id <= oldest))


def _config(session: Session, endpoint_id: str, version: int | None) -> Config | None:
    return None if version is None else session.get(Config, (endpoint_id, version))


def _wanted(config: Config | None) -> dict[str, str]:
    if config is None:
        return {}
    return {entity["name"]: entity["deployment_id"] for entity in config.body["served_entities"]}


def _traffic(config: Config | None) -> dict[str, int]:
    if config is None:
        return {}
    routes = (config.body.get("traffic_config") or {}).get("routes", [])
    return {route["served_model_name"]: route["traffic_percentage"] for route in routes}


def _record(row: Deployment) -> DeploymentRecord:
    return DeploymentRecord(
        id=row.id,
        endpoint_id=row.endpoint_id,
        served_name=row.served_name,
        spec=dict(row.spec),
        phase=DeploymentPhase(row.phase),
        message=row.message,
        model_path=row.model_path,
    )
