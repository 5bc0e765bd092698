"""MLflow's own server in this process, on a database in a temporary folder, to try translations onto it."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import httpx
from mlflow.tracking._tracking_service import utils

from moorage.registry.mlflow_api import MlflowApi
from moorage.supervisor.mlflow_server import mlflow_environment, store_uri


@lru_cache(maxsize=1)
def mlflow_folder() -> Path:
    """Where the server keeps its things: `artifacts` is its artifact store."""
    return Path(tempfile.mkdtemp(prefix="moorage-mlflow-"))


@lru_cache(maxsize=1)
def mlflow_api() -> MlflowApi:
    """The API of the one server that all tests of a process share: they give their models names of their own."""
    folder = mlflow_folder()
    os.environ.update(mlflow_environment(folder, ()))

    from mlflow.server.handlers import initialize_backend_stores

    (folder / "artifacts").mkdir()
    with _own_tracking_uri():
        initialize_backend_stores(store_uri(folder), store_uri(folder), "mlflow-artifacts:/")
    return MlflowApi(httpx.Client(transport=httpx.WSGITransport(app=mlflow_app), base_url="http://localhost"))


def mlflow_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The server's WSGI application; `mlflow_api` has made its database.

    It looks logged models up through the tracking URI of its process, which is that of the tests' clients here.
    """
    from mlflow.server import app

    with _own_tracking_uri():
        answer: Iterable[bytes] = app(environ, start_response)
    return answer


_serving = threading.Lock()
_under_way: list[tuple[str | None, str | None]] = []
_VARIABLE = "MLFLOW_TRACKING_URI"


@contextmanager
def _own_tracking_uri() -> Iterator[None]:
    """For the time of the block, and of others at the same time, the process's tracking URI is the server's."""
    with _serving:
        if not _under_way:
            of_clients = utils._tracking_uri, os.environ.get(_VARIABLE)
            utils.set_tracking_uri(store_uri(mlflow_folder()))
        else:
            of_clients = _under_way[0]
        _under_way.append(of_clients)
    try:
        yield
    finally:
        with _serving:
            utils._tracking_uri, variable = _under_way.pop()
            if _under_way:
                utils._tracking_uri = store_uri(mlflow_folder())
            elif variable is None:
                os.environ.pop(_VARIABLE, None)
            else:
                os.environ[_VARIABLE] = variable
