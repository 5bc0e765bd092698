"""The server that the tests share, and its clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from server import Server, running_server

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from models import Registered

Register = Callable[[str], "Registered"]


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One server for the whole run. Tests make endpoints of their own names and leave others' alone."""
    with running_server(with_other_user=True) as running:
        yield running


@pytest.fixture(scope="session")
def registered(server: Server) -> Register:
    """Registers the model of `models.MODELS` with that name, once in the run."""
    from models import Registry

    return Registry(server).register


@pytest.fixture
def workspace(server: Server) -> WorkspaceClient:
    from databricks.sdk import WorkspaceClient

    return WorkspaceClient(host=server.url, token=server.token, auth_type="pat")


@pytest.fixture
def deploy_client(server: Server) -> Iterator[Any]:
    from mlflow.deployments import get_deploy_client

    with server.as_client():
        yield get_deploy_client("databricks")


@pytest.fixture(scope="session")
def iris_endpoint(server: Server, registered: Register) -> str:
    """The name of a READY endpoint that serves the iris classifier, for tests that change nothing about it."""
    server.create("shared-iris", registered("iris").name)
    server.ready("shared-iris")
    return "shared-iris"
