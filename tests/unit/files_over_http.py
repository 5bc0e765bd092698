"""Registered versions with files in MLflow's store, and a control plane that clients reach over HTTP by a token."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from control_harness import ANN, BOB, ControlPlane
from mlflow_in_process import mlflow_api

from moorage.api.artifact_uris import databricks_uri
from moorage.api.principal import encode_principal
from moorage.api.routing import PRINCIPAL_HEADER, Principal
from moorage.registry.mlflow_api import MlflowRefusal
from moorage.registry.tags import PENDING, REGISTRATION

TOKENS = {"dapi-ann": ANN, "dapi-bob": BOB}
_MLFLOW_PATHS = ("/api/2.0/mlflow/runs/get", "/api/2.0/mlflow/logged-models/", "/api/2.0/mlflow/artifacts/list")


def experiment(name: str, location: str | None = None) -> str:
    """The id of the experiment of that name, made when it is not there."""
    query = {"experiment_name": name}
    try:
        return str(mlflow_api().call("GET", "experiments/get-by-name", query=query)["experiment"]["experiment_id"])
    except MlflowRefusal:
        made = mlflow_api().call("POST", "experiments/create", {"name": name, "artifact_location": location})
        return str(made["experiment_id"])


def new_run() -> tuple[str, str]:
    """A run without files: its id and that of its experiment."""
    owner = experiment("runs-of-files")
    run = mlflow_api().call("POST", "runs/create", {"experiment_id": owner, "start_time": 1})["run"]
    return run["info"]["run_id"], owner


def new_logged_model(experiment_id: str) -> tuple[str, str]:
    """A logged model without files: its id and its artifact URI."""
    info = mlflow_api().call("POST", "logged-models", {"experiment_id": experiment_id, "name": "m"})["model"]["info"]
    return info["model_id"], info["artifact_uri"]


def new_model(plane: ControlPlane, owner: Principal = ANN) -> str:
    """The name of a new registered model in Unity Catalog form."""
    name = f"main.ml.m{uuid.uuid4().hex[:10]}"
    mlflow_api().call("POST", "registered-models/create", {"name": name})
    plane.client.app.state.registry_access.created(owner, name)  # type: ignore[attr-defined]
    return name


def new_version(name: str, *, pending: bool = True, source: str | None = None) -> str:
    """The number of a new version; its files are those of a logged model of its own, or at `source`."""
    model_id = None
    if source is None:
        model_id, source = new_logged_model(experiment("registered-models", "mlflow-artifacts:/registered-models"))
    tags = [{"key": REGISTRATION, "value": PENDING}] if pending else []
    made = mlflow_api().call(
        "POST", "model-versions/create", {"name": name, "source": source, "model_id": model_id, "tags": tags}
    )
    return str(made["model_version"]["version"])


def register(name: str, version: str) -> None:
    """The version has its files."""
    query = {"name": name, "version": version, "key": REGISTRATION}
    mlflow_api().call("DELETE", "model-versions/delete-tag", query)


def files_of(name: str, version: str) -> str:
    """Where the Files API has them."""
    return f"/Models/{name.replace('.', '/')}/{version}"


@contextmanager
def served(plane: ControlPlane) -> Iterator[str]:
    """The URL at which the control plane answers whoever has one of `TOKENS`, and MLflow what artifacts need of it.

    It stands for the gateway, which puts the caller in a header and rewrites artifact URIs.
    """
    app = plane.client.app

    async def gateway(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        caller = TOKENS.get(headers.get(b"authorization", b"").decode().removeprefix("Bearer "))
        path = scope["path"]
        if caller is not None and path.startswith(_MLFLOW_PATHS) and "/credentials-for-" not in path:
            found = mlflow_api().http.get(f"{path}?{scope['query_string'].decode()}")
            document = found.json()
            for kind in ("run", "model"):
                if kind in document:
                    info = document[kind]["info"]
                    info["artifact_uri"] = databricks_uri(info["artifact_uri"])
            from starlette.responses import JSONResponse

            await JSONResponse(document, found.status_code)(scope, receive, send)
            return
        # The settings know the server under an https URL, and it is not at the port that they say.
        passed = [pair for pair in scope["headers"] if pair[0] != b"authorization"]
        passed.append((b"x-forwarded-proto", b"http"))
        if caller is not None:
            passed.append((PRINCIPAL_HEADER.lower().encode(), encode_principal(caller).encode()))
        await app({**scope, "headers": passed}, receive, send)

    server = uvicorn.Server(uvicorn.Config(gateway, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        host, port = server.servers[0].sockets[0].getsockname()[:2]
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
