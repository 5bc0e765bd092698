"""A control plane on a real database in a temporary folder, with a registry and a notifier made up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from moorage.api.errors import ResourceDoesNotExist
from moorage.api.principal import encode_principal
from moorage.api.routing import PRINCIPAL_HEADER, Principal
from moorage.control.app import ControlDependencies, create_app
from moorage.control.store.engine import Sessions, make_sessions, migrate, open_database, reading
from moorage.control.store.models import Config, Deployment, Endpoint, User
from moorage.datadir import DataDirectory
from moorage.registry.client import ModelVersion
from moorage.settings import Settings

ENDPOINTS = "/api/2.0/serving-endpoints"
ADMIN = Principal(id="1000", user_name="admin@example.com", display_name="Ad Min", admin=True)
ANN = Principal(id="1001", user_name="ann@example.com", display_name="Ann")
BOB = Principal(id="1002", user_name="bob@example.com", display_name="Bob")


@dataclass
class FakeRegistry:
    """Knows the versions that it is given; `failure` is raised instead when set."""

    versions: dict[tuple[str, str], ModelVersion] = field(default_factory=dict)
    failure: Exception | None = None

    def add(self, name: str, version: str, status: str = "READY") -> None:
        self.versions[name, version] = ModelVersion(name, version, status)

    def model_version(self, name: str, version: str) -> ModelVersion:
        if self.failure is not None:
            raise self.failure
        try:
            return self.versions[name, version]
        except KeyError:
            raise ResourceDoesNotExist(f"Version {version} of registered model '{name}' does not exist") from None

    def download(self, name: str, version: str, destination: Path) -> Path:
        raise NotImplementedError


@dataclass
class RecordingNotifier:
    sessions: Sessions
    endpoints: list[str] = field(default_factory=list)
    tokens: list[tuple[str, Principal | None]] = field(default_factory=list)
    committed: list[bool] = field(default_factory=list)

    def endpoint_changed(self, endpoint_id: str) -> None:
        with reading(self.sessions) as session:
            self.committed.append(session.get(Endpoint, endpoint_id) is not None)
        self.endpoints.append(endpoint_id)

    def token_changed(self, digest: str, principal: Principal | None) -> None:
        self.tokens.append((digest, principal))


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


@contextmanager
def control_plane(folder: Path) -> Iterator[ControlPlane]:
    data = DataDirectory(folder / "data")
    data.create()
    engine = open_database(data.database, busy_seconds=0.05)
    migrate(engine)
    sessions = make_sessions(engine)
    with sessions.begin() as session:
        for who in (ADMIN, ANN, BOB):
            session.add(
                User(
                    id=who.id,
                    user_name=who.user_name,
                    display_name=who.display_name,
                    active=True,
                    admin=who.admin,
                    created_at=1,
                )
            )
    registry, notifier, clock = FakeRegistry(), RecordingNotifier(sessions), Clock()
    registry.add("ads1", "1")
    registry.add("ads1", "2")
    registry.add("prod.ml.fraud", "3")
    settings = Settings(data_dir=data.root, public_url="https://models.example.com/")
    app = create_app(ControlDependencies(settings, data, sessions, registry, notifier, clock))
    # Whatever is not turned into an answer must show as an answer of status 500, as it would to a client.
    client = TestClient(app, raise_server_exceptions=False, follow_redirects=False)
    try:
        yield ControlPlane(data, sessions, registry, notifier, clock, client)
    finally:
        engine.dispose()


def entity(**fields: Any) -> dict[str, Any]:
    return {"entity_name": "ads1", "entity_version": "1", **fields}
