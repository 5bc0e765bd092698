"""`python -m moorage.control`: the control plane on its private socket."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import threading
import time

import uvicorn
import uvloop

from moorage.api.routing import Principal
from moorage.asgi import serve_until_signal
from moorage.compute.local import LocalCompute
from moorage.control.app import ControlDependencies, create_app
from moorage.control.publisher import RoutingPublisher
from moorage.control.reconciler.context import Context
from moorage.control.reconciler.reconciler import Reconciler
from moorage.control.reconciler.records import Records
from moorage.control.routers import internal
from moorage.control.store.engine import make_sessions, migrate, open_database
from moorage.datadir import DataDirectory
from moorage.environments.builder import EnvironmentBuilder
from moorage.identity.tokens import new_token, token_digest
from moorage.registry.client import MlflowRegistry, discard_unfinished_downloads, load_mlflow
from moorage.settings import Settings

_logger = logging.getLogger(__name__)

_STOP_DRAIN_SECONDS = 8.0


def _now() -> int:
    return time.time_ns() // 1_000_000


def _registry(settings: Settings, service_token: str) -> MlflowRegistry:
    """The registry behind this server: its own MLflow through the gateway, or the one at `mlflow_uri`."""
    if settings.mlflow_uri is not None:
        token = os.environ.get("MLFLOW_TRACKING_TOKEN")
        return MlflowRegistry(settings.mlflow_uri, lambda: token)
    return MlflowRegistry(settings.local_url, lambda: service_token)


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM, then stop the replicas."""
    data = DataDirectory(settings.data_dir)
    engine = open_database(data.database)
    await asyncio.to_thread(migrate, engine)
    sessions = make_sessions(engine)
    service_token = new_token()
    publisher = RoutingPublisher(data.snapshot)
    registry = _registry(settings, service_token)
    context = Context(
        settings=settings,
        data=data,
        records=Records(sessions),
        registry=registry,
        builder=EnvironmentBuilder(settings, data),
        compute=LocalCompute(settings, data),
        publisher=publisher,
        clock=_now,
    )
    await asyncio.to_thread(discard_unfinished_downloads, data.models)
    reconciler = Reconciler(context)
    await reconciler.start()
    # The control plane reads models through the same port as everybody, as a principal of its own that ends with it.
    publisher.publish_token(
        token_digest(service_token),
        Principal(id=f"service-{secrets.token_hex(4)}", user_name="moorage-control-plane"),
    )
    threading.Thread(target=load_mlflow, name="import-mlflow", daemon=True).start()
    app = create_app(ControlDependencies(settings, data, sessions, registry, reconciler, _now))
    app.include_router(internal.router)
    app.state.publisher = publisher
    app.state.reconciler = reconciler
    data.control_socket.unlink(missing_ok=True)
    config = uvicorn.Config(
        app, uds=str(data.control_socket), lifespan="off", log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=2,
    )  # fmt: skip
    try:
        await serve_until_signal(config)
    finally:
        await reconciler.close(min(settings.drain_seconds, _STOP_DRAIN_SECONDS))
        engine.dispose()


def main() -> None:
    """Serve with the settings of the environment."""
    settings = Settings()
    logging.basicConfig(level=settings.log_level, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    os.umask(0o077)
    uvloop.run(serve(settings))


if __name__ == "__main__":
    main()
