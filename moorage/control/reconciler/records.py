"""The reconciler's reads and writes, each one short transaction. Synchronous: call them in a thread."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, delete, func, or_, select, true
from sqlalchemy.orm import Session

from moorage.api.ai_gateway import AiGateway
from moorage.api.configs import AutoCaptureOutput
from moorage.api.endpoints import TelemetryConfig
from moorage.api.rate_limits import CompiledLimit
from moorage.api.routing import Principal
from moorage.api.served_entities import EntityKind, EntitySpec, stored_spec
from moorage.compute.base import ReplicaProcess
from moorage.control.legacy import rows as legacy_rows
from moorage.control.legacy.plan import Plan, Progress
from moorage.control.legacy.rows import NO_ROOM, StagedModel, entity_of
from moorage.control.lifecycle import DeploymentPhase, IllegalTransition, Trigger, advance
from moorage.control.notification_texts import Outcome
from moorage.control.notifications import Outbox
from moorage.control.rate_limits import compiled_limits, gateway_limits
from moorage.control.store import endpoints, identity, legacy
from moorage.control.store.endpoint_grants import all_grants
from moorage.control.store.engine import Sessions, reading
from moorage.control.store.models import Config, Deployment, Endpoint, Event, ModelAccount, Replica

_NOTHING_CONFIGURED = Outbox()


@dataclass(frozen=True, slots=True)
class DeploymentRecord:
    """A deployment as the reconciler works on it."""

    id: str
    endpoint_id: str
    served_name: str
    spec: EntitySpec
    phase: DeploymentPhase
    message: str
    model_path: str | None


@dataclass(frozen=True, slots=True)
class ConfigRecord:
    """A configuration: ids of deployments and percentages of the traffic by served name. Version 0 is none."""

    version: int = 0
    served: dict[str, str] = field(default_factory=dict)
    traffic: dict[str, int] = field(default_factory=dict)
    auto_capture: AutoCaptureOutput | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EndpointRecord:
    """An endpoint with its active and its pending configuration, and the deployments that it has and had.

    `with_replicas` are the deployments of which a replica is written down; `grants` are levels by principal id.
    `staged` is set where it serves a registered model by stage.
    """

    id: str
    name: str
    creator_id: str
    deleting: bool
    stopped: bool
    config_update: str
    active: ConfigRecord
    pending: ConfigRecord
    deployments: dict[str, DeploymentRecord]
    with_replicas: frozenset[str]
    grants: Mapping[str, str] = field(default_factory=dict)
    limits: tuple[CompiledLimit, ...] = ()
    limits_name_principals: bool = False
    gateway: AiGateway | None = None
    telemetry: TelemetryConfig | None = None
    staged: StagedModel | None = None
    kind: EntityKind | None = None

    def plan(self) -> Plan | None:
        """What there should be of an endpoint that serves by stage, where that is something else than there is."""
        if self.staged is None or self.staged.stages is None:
            return None
        served = [self.deployments[one] for one in self.active.served.values()]
        present = [entity_of(one.id, one.spec, one.phase) for one in served]
        wanted = self.staged.plan(present, self.active.aliases)
        ids = {one.name: one.deployment_id for one in wanted.entities}
        same = ids == self.active.served and wanted.aliases == self.active.aliases
        same = same and wanted.drawn == next(iter(self.active.traffic), None)
        told = wanted.config_update == self.config_update and self.staged.problem != NO_ROOM
        return None if same and told else wanted


class Records:
    """What the reconciler needs of the store."""

    def __init__(self, sessions: Sessions, outbox: Outbox = _NOTHING_CONFIGURED) -> None:
        self._sessions = sessions
        self._outbox = outbox

    def tokens(self, now: int) -> dict[str, Principal]:
        """Valid tokens' principals by digest."""
        with reading(self._sessions) as session:
            return identity.principals_by_digest(session, now)

    def endpoint(self, endpoint_id: str) -> EndpointRecord | None:
        """One endpoint, or `None` when its row is gone."""
        found = self._endpoints(Endpoint.id == endpoint_id)
        return found[0] if found else None

    def endpoints(self) -> list[EndpointRecord]:
        """Every endpoint, also those being deleted."""
        return self._endpoints(true())

    def _endpoints(self, wanted: ColumnElement[bool]) -> list[EndpointRecord]:
        """In as many queries for one as for a thousand."""
        shown = or_(Config.version == Endpoint.active_version, Config.version == Endpoint.pending_version)
        with reading(self._sessions) as session:
            rows = session.scalars(select(Endpoint).where(wanted)).all()
            configs: dict[tuple[str, int | None], Config] = {
                (one.endpoint_id, one.version): one
                for one in session.scalars(select(Config).join(Endpoint).where(wanted, shown))
            }
            deployments: defaultdict[str, dict[str, DeploymentRecord]] = defaultdict(dict)
            for one in session.scalars(select(Deployment).join(Endpoint).where(wanted)):
                deployments[one.endpoint_id][one.id] = _record(one)
            grants = all_grants(session, rows)
            staged = legacy.by_endpoint(session)
            limits = {row.id: compiled_limits(session, row) for row in rows}
            with_replicas: defaultdict[str, set[str]] = defaultdict(set)
            of_replicas = select(Deployment.endpoint_id, Deployment.id).join(Endpoint).join(Replica).where(wanted)
            for endpoint_id, deployment_id in session.execute(of_replicas):
                with_replicas[endpoint_id].add(deployment_id)
        found = []
        for row in rows:
            active = configs.get((row.id, row.active_version))
            pending = configs.get((row.id, row.pending_version))
            found.append(
                EndpointRecord(
                    id=row.id,
                    name=row.name,
                    creator_id=row.creator_id,
                    deleting=row.deleting,
                    stopped=row.stopped,
                    config_update=row.config_update,
                    active=_config(active),
                    pending=_config(pending),
                    deployments=deployments[row.id],
                    with_replicas=frozenset(with_replicas[row.id]),
                    grants=grants[row.id],
                    limits=limits[row.id],
                    limits_name_principals=any(one.principal for one in gateway_limits(row)),
                    gateway=AiGateway.model_validate(row.ai_gateway) if row.ai_gateway else None,
                    telemetry=TelemetryConfig.model_validate(row.telemetry_config) if row.telemetry_config else None,
                    kind=EntityKind(row.kind) if row.kind else None,
                    staged=StagedModel.of(staged[row.id]) if row.id in staged else None,
                )
            )
        return found

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

    def environments(self) -> frozenset[tuple[str, str]]:
        """Keys of environments that a deployment uses, each with the id of the endpoint's creator."""
        used = select(Deployment.environment_key, Endpoint.creator_id).join(Endpoint).distinct()
        with reading(self._sessions) as session:
            return frozenset((key, creator) for key, creator in session.execute(used) if key)

    def model_number(self, creator_id: str, is_free: Callable[[int], bool]) -> int:
        """The number, from 1 on, of the system user that a creator's models run as; given out once for good."""
        with reading(self._sessions) as session:
            account = session.get(ModelAccount, creator_id)
        if account is not None:
            return account.number
        with self._sessions.begin() as session:
            account = session.get(ModelAccount, creator_id)
            if account is None:
                last = session.scalar(select(func.max(ModelAccount.number))) or 0
                number = next(one for one in itertools.count(last + 1) if is_free(one))
                account = ModelAccount(creator_id=creator_id, number=number)
                session.add(account)
            return account.number

    def switch(self, endpoint_id: str, now: int) -> bool:
        """Make the pending configuration the active one. Whether there was one to switch to."""
        with self._sessions.begin() as session:
            row = session.get(Endpoint, endpoint_id, with_for_update=True)
            if row is None or row.pending_version is None or row.config_update != "IN_PROGRESS":
                return False
            version = row.pending_version
            row.active_version, row.pending_version = version, None
            row.config_update, row.last_updated_timestamp = "NOT_UPDATING", now
            self._outbox.queue(session, row, Outcome.SUCCEEDED, version, "The configuration serves.", now)
            return True

    def fail_update(self, endpoint_id: str, reason: str, now: int) -> bool:
        """Mark the update in progress as failed. Whether one was."""
        with self._sessions.begin() as session:
            row = session.get(Endpoint, endpoint_id, with_for_update=True)
            if row is None or row.config_update != "IN_PROGRESS":
                return False
            row.config_update, row.last_updated_timestamp = "UPDATE_FAILED", now
            version = row.pending_version or row.last_version
            self._outbox.queue(session, row, Outcome.FAILED, version, reason, now)
            return True

    def follow_stages(self, record: EndpointRecord, wanted: Plan, now: int) -> bool:
        """Make the plan for an endpoint that serves by stage the configuration that serves.

        False: it has changed in the meantime, or the workspace has no room; then nothing is done.
        """
        with self._sessions.begin() as session:
            row = session.get(Endpoint, record.id, with_for_update=True)
            served = legacy.of_endpoint(session, record.id)
            if row is None or served is None or (row.active_version or 0) != record.active.version:
                return False
            if StagedModel.of(served) != record.staged:
                return False
            if not legacy_rows.write(session, row, served, wanted, record.active.aliases, now):
                return False
            if record.config_update == "IN_PROGRESS" and wanted.config_update != "IN_PROGRESS":
                self._queue_end(session, row, record, wanted, now)
            return True

    def _queue_end(self, session: Session, row: Endpoint, record: EndpointRecord, wanted: Plan, now: int) -> None:
        """Have it told how bringing up the newest versions has ended."""
        targets = [one for one in wanted.entities if one.name in wanted.targets.values()]
        ids = [one.deployment_id for one in targets if one.progress is Progress.FAILED]
        failed = [record.deployments[one] for one in ids if one is not None]
        words = "\n".join(f"{one.served_name}: {one.message}" for one in failed) or "The configuration serves."
        outcome = Outcome.FAILED if failed else Outcome.SUCCEEDED
        self._outbox.queue(session, row, outcome, row.last_version, words, now)

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
        """Its events stay, as far as there is room for those of endpoints that are no more."""
        with self._sessions.begin() as session:
            session.execute(delete(Endpoint).where(Endpoint.id == endpoint_id))
            endpoints.prune_events_of_deleted(session)

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
        event = Event(
            endpoint_id=endpoint.id,
            endpoint_name=endpoint.name,
            served_name=served_name,
            event_type=event_type,
            status=status,
            trigger=trigger,
            message=message,
            timestamp=now,
        )
        with self._sessions.begin() as session:
            endpoints.add_event(session, event)


def _config(config: Config | None) -> ConfigRecord:
    if config is None:
        return ConfigRecord()
    routes = (config.body.get("traffic_config") or {}).get("routes", [])
    capture = config.body.get("auto_capture_config")
    return ConfigRecord(
        version=config.version,
        served={entity["name"]: entity["deployment_id"] for entity in config.body["served_entities"]},
        traffic={route["served_model_name"]: route["traffic_percentage"] for route in routes},
        auto_capture=AutoCaptureOutput.model_validate(capture) if capture else None,
        aliases=config.body.get("aliases", {}),
    )


def _record(row: Deployment) -> DeploymentRecord:
    return DeploymentRecord(
        id=row.id,
        endpoint_id=row.endpoint_id,
        served_name=row.served_name,
        spec=stored_spec(row.spec),
        phase=DeploymentPhase(row.phase),
        message=row.message,
        model_path=row.model_path,
    )
