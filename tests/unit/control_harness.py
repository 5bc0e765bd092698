"""A control plane on a real database in a temporary folder, with a registry and a notifier made up."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
from fastapi.testclient import TestClient

from moorage.api.errors import ResourceDoesNotExist
from moorage.api.principal import encode_principal
from moorage.api.routing import PRINCIPAL_HEADER, EndpointRoute, Principal
from moorage.compute.base import Observation, ReplicaPhase, ReplicaProcess
from moorage.control.app import ControlDependencies, create_app
from moorage.control.checks.service import ModelChecks
from moorage.control.reconciler.context import Context
from moorage.control.secret_references import SecretReader
from moorage.control.store import groups
from moorage.control.store.engine import Sessions, make_sessions, migrate, open_database, reading
from moorage.control.store.models import Config, Deployment, Endpoint, User
from moorage.control.telemetry import Telemetry
from moorage.datadir import DataDirectory
from moorage.encryption import Encryption
from moorage.registry.artifacts import LocalArtifacts
from moorage.registry.client import ModelFiles, ModelVersion
from moorage.registry.mlflow_api import MlflowApi
from moorage.settings import Settings
from moorage.telemetry.usage import Reading, UsageSampler

ENDPOINTS = "/api/2.0/serving-endpoints"
ENCRYPTION_KEY = bytes(range(32))
ADMIN = Principal(id="1000", user_name="admin@example.com", display_name="Ad Min", admin=True)
ANN = Principal(id="1001", user_name="ann@example.com", display_name="Ann")
BOB = Principal(id="1002", user_name="bob@example.com", display_name="Bob")


@dataclass
class FakeRegistry:
    """Knows the versions that it is given, and when models were changed; `failure` is raised instead when set."""

    versions: dict[tuple[str, str], ModelVersion] = field(default_factory=dict)
    changes: dict[str, int] = field(default_factory=dict)
    contents: dict[str, ModelFiles] = field(default_factory=dict)
    failure: Exception | None = None

    def add(self, name: str, version: str, status: str = "READY", stage: str = "") -> None:
        self.versions[name, version] = ModelVersion(name, version, status, stage=stage)

    def model_version(self, name: str, version: str) -> ModelVersion:
        if self.failure is not None:
            raise self.failure
        try:
            return self.versions[name, version]
        except KeyError:
            raise ResourceDoesNotExist(f"Version {version} of registered model '{name}' does not exist") from None

    def has_model(self, name: str) -> bool:
        if self.failure is not None:
            raise self.failure
        return any(one == name for one, _ in self.versions)

    def model_versions(self, name: str) -> list[ModelVersion]:
        if self.failure is not None:
            raise self.failure
        return [found for (one, _), found in self.versions.items() if one == name]

    def changed_since(self, timestamp: int) -> dict[str, int]:
        if self.failure is not None:
            raise self.failure
        return {name: when for name, when in self.changes.items() if when >= timestamp}

    def files(self, name: str, version: str) -> ModelFiles:
        return self.contents.get(name, ModelFiles({"flavors": {"python_function": {}, "sklearn": {}}}, ("MLmodel",)))

    def transition_stage(self, name: str, version: str, stage: str, archive_existing: bool) -> ModelVersion:
        moved = self.model_version(name, version)
        if archive_existing:
            for one in self.model_versions(name):
                if one.stage == stage:
                    self.versions[name, one.version] = replace(one, stage="Archived")
        self.versions[name, version] = replace(moved, stage=stage)
        return self.versions[name, version]

    def download(self, name: str, version: str, destination: Path) -> Path:
        raise NotImplementedError


@dataclass
class RecordingNotifier:
    sessions: Sessions
    endpoints: list[str] = field(default_factory=list)
    tokens: list[tuple[str, Principal | None]] = field(default_factory=list)
    principals: int = 0
    routed: list[str] = field(default_factory=list)
    scopes: list[str] = field(default_factory=list)
    committed: list[bool] = field(default_factory=list)

    def endpoint_changed(self, endpoint_id: str) -> None:
        with reading(self.sessions) as session:
            self.committed.append(session.get(Endpoint, endpoint_id) is not None)
        self.endpoints.append(endpoint_id)

    def wait_until_routed(self, endpoint_id: str) -> None:
        self.endpoint_changed(endpoint_id)
        self.routed.append(endpoint_id)

    def secrets_changed(self, scope: str) -> None:
        self.scopes.append(scope)

    def token_changed(self, digest: str, principal: Principal | None) -> None:
        self.tokens.append((digest, principal))

    def principals_changed(self) -> None:
        self.principals += 1

    def wait_until_taken(self) -> None:
        """There is no gateway."""


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now


@dataclass(frozen=True)
class ControlPlane:
    data: DataDirectory
    sessions: Sessions
    registry: FakeRegistry
    notifier: RecordingNotifier
    clock: Clock
    client: TestClient
    telemetry: Telemetry
    routes: dict[str, EndpointRoute]
    phases: dict[str, ReplicaPhase]

    def request(self, method: str, path: str, caller: Principal | None = ANN, **options: Any) -> Any:
        """The answer; `caller` None sends no principal."""
        headers = dict(options.pop("headers", {}))
        if caller is not None:
            headers[PRINCIPAL_HEADER] = encode_principal(caller)
        return self.client.request(method, path, headers=headers, **options)

    def create(self, name: str = "ads", caller: Principal = ANN, **fields: Any) -> dict[str, Any]:
        """Create an endpoint of one entity, or what `fields` say, and answer its detail."""
        body = {"name": name, "config": {"served_entities": [entity()]}, **fields}
        response = self.request("POST", ENDPOINTS, caller, json=body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def activate(self, endpoint_id: str, phase: str = "READY") -> None:
        """What the reconciler does when the pending configuration is ready."""
        with self.sessions.begin() as session:
            endpoint = session.get_one(Endpoint, endpoint_id)
            endpoint.active_version, endpoint.pending_version = endpoint.pending_version, None
            endpoint.config_update = "NOT_UPDATING"
            for deployment in session.query(Deployment).filter_by(endpoint_id=endpoint_id):
                deployment.phase = phase

    def deployment_ids(self, endpoint_id: str, version: int = 1) -> dict[str, str]:
        with reading(self.sessions) as session:
            config = session.get_one(Config, (endpoint_id, version))
            return {e["name"]: e["deployment_id"] for e in config.body["served_entities"]}


@lru_cache(maxsize=1)
def _empty_database() -> Path:
    """A database of the newest schema: one a process, because making it is most of what a control plane costs."""
    path = Path(tempfile.mkdtemp(prefix="moorage-schema-")) / "moorage.db"
    engine = open_database(path)
    migrate(engine)
    engine.dispose()  # what is in the write-ahead log goes into the file with the last connection
    return path


def _no_mlflow(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("no MLflow here", request=request)


@contextmanager
def control_plane(
    folder: Path, mlflow: MlflowApi | None = None, artifacts: Path | None = None, **chosen: Any
) -> Iterator[ControlPlane]:
    """`artifacts` is the folder of MLflow's artifact store; without `mlflow` there is none to be reached."""
    data = DataDirectory(folder / "data")
    data.create()
    shutil.copyfile(_empty_database(), data.database)
    engine = open_database(data.database, busy_seconds=0.05)
    sessions = make_sessions(engine)
    with sessions.begin() as session:
        for who in (ADMIN, ANN, BOB):
            session.add(
                User(
                    id=who.id,
                    user_name=who.user_name,
                    display_name=who.display_name,
                    active=True,
                    created_at=1,
                )
            )
        session.flush()
        groups.add_members(session, groups.memberships(session).admins_id, [ADMIN.id])
    registry, notifier, clock = FakeRegistry(), RecordingNotifier(sessions), Clock()
    registry.add("ads1", "1")
    registry.add("ads1", "2")
    registry.add("prod.ml.fraud", "3")
    settings = Settings(data_dir=data.root, public_url="https://models.example.com/", **chosen)
    routes: dict[str, EndpointRoute] = {}
    sampler = UsageSampler(lambda _pid, _started_at: True, lambda _pid: Reading(1.0, 2**30))
    telemetry = Telemetry(sessions, lambda: routes, sampler, clock)
    phases: dict[str, ReplicaPhase] = {}
    encryption = Encryption(ENCRYPTION_KEY)

    def observe(replica: ReplicaProcess) -> Observation:
        return Observation(phases.get(replica.replica_id, ReplicaPhase.READY))

    app = create_app(
        ControlDependencies(
            settings, data, sessions, registry, notifier, clock, telemetry, observe, encryption,
            mlflow or MlflowApi(httpx.Client(transport=httpx.MockTransport(_no_mlflow))),
            LocalArtifacts(artifacts or data.mlflow / "artifacts"),
        ),
        bundle=folder / "no-bundle",
    )
    # A check that is accepted never runs: the client's event loop ends with each request.
    secrets = SecretReader(sessions, encryption)
    context = SimpleNamespace(settings=settings, data=data, registry=registry, clock=clock, secrets=secrets)
    app.state.model_checks = ModelChecks(cast(Context, context))
    # Whatever is not turned into an answer must show as an answer of status 500, as it would to a client.
    client = TestClient(app, raise_server_exceptions=False, follow_redirects=False)
    try:
        yield ControlPlane(data, sessions, registry, notifier, clock, client, telemetry, routes, phases)
    finally:
        engine.dispose()


def entity(**fields: Any) -> dict[str, Any]:
    return {"entity_name": "ads1", "entity_version": "1", **fields}
