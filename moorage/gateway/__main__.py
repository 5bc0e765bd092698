"""`python -m moorage.gateway --fd N --worker I`: one gateway worker on an inherited listening socket."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import resource
import socket
from collections.abc import AsyncIterator

import uvicorn
import uvloop

from moorage.api.addresses import is_forbidden_address
from moorage.asgi import serve_until_signal
from moorage.datadir import DataDirectory
from moorage.gateway.app import Gateway, sweep_for_ever
from moorage.gateway.credentials import CredentialOpener
from moorage.gateway.engine_replicas import EngineReplicas
from moorage.gateway.following import ControlPlaneFollower, load_snapshot
from moorage.gateway.http_client import HttpClient
from moorage.gateway.language_models import LanguageModels
from moorage.gateway.limiting import rate_limiter
from moorage.gateway.meters import Meters
from moorage.gateway.proxy import Upstreams
from moorage.gateway.routing import RoutingTable
from moorage.gateway.tracing import tracer_of_environment
from moorage.guardrails.client import GuardrailClient
from moorage.settings import Settings
from moorage.telemetry.request_log import RequestLog


def _reaches_all(_: str) -> bool:
    return False


@contextlib.asynccontextmanager
async def running_gateway(
    settings: Settings, data: DataDirectory, worker: int, workspace_id: str
) -> AsyncIterator[Gateway]:
    """The application with its background tasks."""
    meters = Meters()
    table = RoutingTable(meters, CredentialOpener(data))
    load_snapshot(data.snapshot, table)
    upstreams = Upstreams(settings, data, workspace_id)
    limiter, tracer = rate_limiter(settings), tracer_of_environment()
    follower = ControlPlaneFollower(table, meters, upstreams.control_session(), f"worker-{worker}")
    http = HttpClient(_reaches_all if settings.allow_metadata_addresses else is_forbidden_address)
    log = RequestLog(data.spool, f"gateway-{worker}", max_body_bytes=settings.payload_max_bytes)
    guardrails = GuardrailClient(data.guardrails_socket, settings.guardrail_timeout_seconds)
    models = LanguageModels(
        settings, http, limiter, log, guardrails, EngineReplicas(settings, table, follower)
    )
    tasks = [asyncio.create_task(follower.run()), asyncio.create_task(sweep_for_ever(table, limiter, models, log))]
    try:
        yield Gateway(settings, table, meters, upstreams, follower, limiter, models, log, tracer)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await follower.send_metrics()
        await guardrails.close()
        log.close()
        http.close()
        await limiter.close()
        await upstreams.close()
        if tracer is not None:
            await asyncio.to_thread(tracer.close)


async def serve(settings: Settings, listener: socket.socket, worker: int, workspace_id: str) -> None:
    """Serve until SIGTERM, then drain."""
    async with running_gateway(settings, DataDirectory(settings.data_dir), worker, workspace_id) as app:
        config = uvicorn.Config(
            app,
            http="httptools",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            date_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=int(settings.drain_seconds) or None,
            backlog=2048,
        )
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        await serve_until_signal(config, [listener], stopping=app.end_streams)


def _raise_descriptor_limit() -> None:
    """As many connections as the system lets this process have: shells start it with 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def main() -> None:
    """Parse the command line and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--worker", type=int, default=0)
    parser.add_argument("--workspace-id", required=True)
    arguments = parser.parse_args()
    settings = Settings()
    _raise_descriptor_limit()
    logging.basicConfig(level=settings.log_level, format="%(levelname)s %(name)s: %(message)s")
    listener = socket.socket(fileno=arguments.fd)
    uvloop.run(serve(settings, listener, arguments.worker, arguments.workspace_id))


if __name__ == "__main__":
    main()
