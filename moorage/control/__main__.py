"""`python -m moorage.control`: the control plane on its private socket."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import secrets
import time

import uvicorn
import uvloop

from moorage.api.mlflow_credential import authorization
from moorage.api.routing import Principal
from moorage.api.workloads import DEFAULT_REPLICA_MEMORY_BYTES
from moorage.asgi import serve_until_signal
from moorage.compute.local import LocalCompute, is_alive
from moorage.control.app import ControlDependencies, add_routes, create_app
from moorage.control.audit import forget_for_ever
from moorage.control.checks.run import discard_leftovers
from moorage.control.checks.service import ModelChecks
from moorage.control.encryption_key import open_encryption
from moorage.control.foundation_models import FoundationModels
from moorage.control.notification_sender import NotificationSender
from moorage.control.notifications import Outbox
from moorage.control.publisher import RoutingPublisher
from moorage.control.reconciler.context import Context
from moorage.control.reconciler.entity_table import EntityTable
from moorage.control.reconciler.reconciler import Reconciler
from moorage.control.reconciler.records import Records
from moorage.control.routers import internal
from moorage.control.secret_references import SecretReader
from moorage.control.store.engine import make_sessions, migrate, open_database
from moorage.control.telemetry import Telemetry
from moorage.datadir import DataDirectory
from moorage.environments.builder import EnvironmentBuilder
from moorage.identity.tokens import new_token, token_digest
from moorage.registry.artifacts import ArtifactStore, LocalArtifacts
from moorage.registry.client import MlflowRegistry, discard_unfinished_downloads
from moorage.registry.mlflow_api import MlflowApi
from moorage.registry.remote_artifacts import RemoteArtifacts
from moorage.settings import Settings
from moorage.telemetry.usage import UsageSampler

_logger = logging.getLogger(__name__)

_STOP_DRAIN_SECONDS = 8.0
_CHECKS_CLOSE_SECONDS = 3.0
_NOTIFICATIONS_CLOSE_SECONDS = 2.0


def _now() -> int:
    return time.time_ns() // 1_000_000


def _mlflow_api(settings: Settings, data: DataDirectory) -> MlflowApi:
    if settings.mlflow_uri is not None:
        return MlflowApi.at(settings.mlflow_uri, authorization(os.environ))
    return MlflowApi.on_socket(data.mlflow_socket)


def _artifacts(settings: Settings, data: DataDirectory, mlflow: MlflowApi) -> ArtifactStore:
    if settings.mlflow_uri is not None:
        return RemoteArtifacts(mlflow.http, data.mlflow / "uploads")
    return LocalArtifacts(data.mlflow / "artifacts")


def _registry(settings: Settings, mlflow: MlflowApi, artifacts: ArtifactStore, service_token: str) -> MlflowRegistry:
    """The registry behind this server. Where MLflow's client is needed, it goes through the gateway, or to the server
    at `mlflow_uri`."""
    if isinstance(artifacts, LocalArtifacts):
        return MlflowRegistry(mlflow, artifacts, settings.local_url, service_token)
    return MlflowRegistry(mlflow, None, str(settings.mlflow_uri), os.environ.get("MLFLOW_TRACKING_TOKEN"))


def _settle_memory() -> None:
    """Have the collector leave alone what stays for good."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM, then stop the replicas."""
    data = DataDirectory(settings.data_dir)
    engine = open_database(data.database)
    await asyncio.to_thread(migrate, engine)
    sessions = make_sessions(engine)
    encryption = await asyncio.to_thread(open_encryption, data, sessions, os.environ)
    service_token = new_token()
    publisher = RoutingPublisher(data.snapshot)
    mlflow = _mlflow_api(settings, data)
    artifacts = _artifacts(settings, data, mlflow)
    registry = _registry(settings, mlflow, artifacts, service_token)
    compute = LocalCompute(settings, data)
    room = settings.replica_memory_bytes or DEFAULT_REPLICA_MEMORY_BYTES
    telemetry = Telemetry(sessions, publisher.routes, UsageSampler(is_alive), _now, replica_memory_bytes=room)
    context = Context(
        settings=settings,
        data=data,
        records=Records(sessions, Outbox.of(settings)),
        registry=registry,
        builder=EnvironmentBuilder(settings, data),
        compute=compute,
        publisher=publisher,
        clock=_now,
        telemetry=telemetry,
        secrets=SecretReader(sessions, encryption),
        encryption=encryption,
        entities=EntityTable(data.spool, _now),
    )
    await asyncio.to_thread(discard_unfinished_downloads, data.models)
    reconciler = Reconciler(context)
    await reconciler.start()
    telemetry.start()
    notifications = NotificationSender(settings, sessions, _now)
    notifications.start()
    await asyncio.to_thread(discard_leftovers, data)
    checks = ModelChecks(context)
    # MLflow's client in the control plane reads through the same port as everybody, as a principal of its own that
    # ends with the process.
    publisher.publish_token(
        token_digest(service_token),
        Principal(
            id=f"service-{secrets.token_hex(4)}", user_name="moorage-control-plane", reads_every_model=True
        ),
    )
    dependencies = ControlDependencies(
        settings, data, sessions, registry, reconciler, _now, telemetry, compute.observe, encryption,
        mlflow, artifacts,
    )  # fmt: skip
    app = create_app(dependencies)
    add_routes(app, internal.router)
    app.state.publisher = publisher
    app.state.reconciler = reconciler
    app.state.model_checks = checks
    forgetting = asyncio.create_task(forget_for_ever(app.state.audit_log, _now, settings.audit_days))
    uploads = app.state.files.uploads
    await asyncio.to_thread(uploads.discard_files)
    sweeping = asyncio.create_task(uploads.sweep_for_ever())
    foundation_models = FoundationModels(sessions, data.catalogue, reconciler.endpoint_changed, _now)
    cataloguing = asyncio.create_task(foundation_models.follow_for_ever())
    watching = asyncio.create_task(app.state.stage_watcher.watch_for_ever(settings.stage_poll_seconds))
    _settle_memory()
    data.control_socket.unlink(missing_ok=True)
    config = uvicorn.Config(
        app, uds=str(data.control_socket), lifespan="off", log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=2,
    )  # fmt: skip
    try:
        await serve_until_signal(config, stopping=app.state.followers.close)
    finally:
        forgetting.cancel()
        sweeping.cancel()
        watching.cancel()
        cataloguing.cancel()
        await checks.close(_CHECKS_CLOSE_SECONDS)
        await asyncio.gather(
            reconciler.close(min(settings.drain_seconds, _STOP_DRAIN_SECONDS)),
            notifications.close(_NOTIFICATIONS_CLOSE_SECONDS),
        )
        await telemetry.close()
        engine.dispose()


def main() -> None:
    """Serve with the settings of the environment."""
    settings = Settings()
    logging.basicConfig(level=settings.log_level, format="%(levelname)s %(name)s: %(message)s")
    for chatty in ("alembic", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    os.umask(0o077)
    uvloop.run(serve(settings))


if __name__ == "__main__":
    main()
