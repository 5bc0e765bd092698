"""The embedded MLflow server: `python -m moorage.supervisor.mlflow_server DIR SOCKET --workers N`.

MLflow's own FastAPI application under uvicorn on a Unix socket, without the `mlflow server` command around
it: that one imports MLflow a second time in a process that only waits (twice the memory, twice the start).
What it hands to its workers by environment is set here instead.

MLflow's UI asks for everything relative to its own page, so it is served below `/mlflow` by taking the prefix
off. MLflow's `--static-prefix` would move its REST API too, which clients expect at `/api/2.0/mlflow`.
"""

from __future__ import annotations

import argparse
import fcntl
import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import uvicorn

from moorage.supervisor.linux import die_with_parent

PREFIX = "/mlflow"
_FACTORY = "moorage.supervisor.mlflow_server:create_app"
_DIRECTORY = "MOORAGE_MLFLOW_DIRECTORY"
_GRACEFUL_SECONDS = 1

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class MlflowChanged(RuntimeError):
    """The installed MLflow reads its server configuration from other places than this module sets."""


def mlflow_environment(directory: Path, origins: tuple[str, ...]) -> dict[str, str]:
    """What MLflow's server reads from its environment.

    The socket is private to this user and the gateway, which checks `Host` and the caller before it forwards;
    so MLflow accepts any `Host`. `origins` are where its UI is served, for its own check of `Origin`.
    """
    return {
        _DIRECTORY: str(directory),
        "_MLFLOW_SERVER_FILE_STORE": store_uri(directory),
        "_MLFLOW_SERVER_REGISTRY_STORE": store_uri(directory),
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(directory / "artifacts"),
        "_MLFLOW_SGI_NAME": "uvicorn",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_SERVER_ALLOWED_HOSTS": "*",
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(dict.fromkeys(origins)),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }


def store_uri(directory: Path) -> str:
    """The database of runs and registered models."""
    return f"sqlite:///{directory}/mlflow.db"


def create_app() -> Application:
    """What each uvicorn worker serves. Makes or migrates MLflow's database first, one worker at a time.

    Raises:
        MlflowChanged: see there.
    """
    die_with_parent()
    directory = Path(os.environ[_DIRECTORY])

    import mlflow.server as server
    from mlflow.server.handlers import initialize_backend_stores

    for name, value in (
        (server.BACKEND_STORE_URI_ENV_VAR, store_uri(directory)),
        (server.ARTIFACTS_DESTINATION_ENV_VAR, str(directory / "artifacts")),
        (server.SERVE_ARTIFACTS_ENV_VAR, "true"),
    ):
        if os.environ.get(name) != value:
            raise MlflowChanged(f"this MLflow reads {name}, which Moorage does not know how to set")
    with (directory / "migration.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        initialize_backend_stores(store_uri(directory), store_uri(directory), "mlflow-artifacts:/")

    from mlflow.server.fastapi_app import app

    return without_prefix(app)


def without_prefix(app: Application) -> Application:
    """`app` reached both at its own paths and below `PREFIX`; `PREFIX` alone redirects to its page."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path == PREFIX:
            await send(
                {
                    "type": "http.response.start",
                    "status": 307,
                    "headers": [(b"location", PREFIX.encode() + b"/"), (b"content-length", b"0")],
                }
            )
            await send({"type": "http.response.body", "body": b""})
            return
        if path.startswith(PREFIX + "/"):
            scope = {**scope, "path": path[len(PREFIX) :]}
            raw = scope.get("raw_path")
            if raw:
                scope["raw_path"] = raw[len(PREFIX) :]
        await app(scope, receive, send)

    return serve


def main(argv: list[str] | None = None) -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="moorage.supervisor.mlflow_server")
    parser.add_argument("directory", type=Path)
    parser.add_argument("socket", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--origin", action="append", default=[])
    arguments = parser.parse_args(argv)
    arguments.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    arguments.socket.unlink(missing_ok=True)
    os.environ.update(mlflow_environment(arguments.directory, tuple(arguments.origin)))
    uvicorn.run(
        _FACTORY,
        factory=True,
        uds=str(arguments.socket),
        workers=arguments.workers,
        timeout_graceful_shutdown=_GRACEFUL_SECONDS,
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
