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

from moorage.asgi import serve_until_signal
from moorage.datadir import DataDirectory
from moorage.gateway.app import Gateway, sweep_for_ever
from moorage.gateway.following import ControlPlaneFollower, load_snapshot
from moorage.gateway.limiting import rate_limiter
from moorage.gateway.meters import Meters
from moorage.gateway.proxy import Upstreams
from moorage.gateway.routing import RoutingTable
from moorage.gateway.tracing import tracer_of_environment
from moorage.settings import Settings


@contextlib.asynccontextmanager
async def running_gateway(settings: Settings, data: DataDirectory, worker: int) -> AsyncIterator[Gateway]:
    """The application with its background tasks."""
    meters = Meters()
    table = RoutingTable(meters)
    load_snapshot(data.snapshot, table)
    upstreams = Upstreams(settings, data)
    limiter, tracer = rate_limiter(settings), tracer_of_environment()
    follower = ControlPlaneFollower(table, meters, upstreams.control_session(), f"worker-{worker}")
    tasks = [asyncio.create_task(follower.run()), asyncio.create_task(sweep_for_ever(table, limiter))]
    try:
        yield Gateway(settings, table, meters, upstreams, follower, limiter, tracer)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await follower.send_metrics()
        await limiter.close()
        await upstreams.close()
        if tracer is not None:
            await asyncio.to_thread(tracer.close)


async def serve(settings: Settings, listener: socket.socket, worker: int) -> None:
    """Serve until SIGTERM, then drain."""
    async with running_gateway(settings, DataDirectory(settings.data_dir), worker) as app:
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
    arguments = parser.parse_args()
    settings = Settings()
    _raise_descriptor_limit()
    logging.basicConfig(level=settings.log_level, format="%(levelname)s %(name)s: %(message)s")
    listener = socket.socket(fileno=arguments.fd)
    uvloop.run(serve(settings, listener, arguments.worker))


if __name__ == "__main__":
    main()
