"""Servers close connections that were idle for seconds; what is sent at that moment is lost. So none is used then."""

from __future__ import annotations

import asyncio
import socketserver
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from moorage.datadir import DataDirectory
from moorage.gateway.proxy import Upstreams
from moorage.registry.mlflow_api import MlflowApi
from moorage.settings import Settings

IDLE = 1.2  # seconds; Gunicorn closes after 2, Uvicorn after 5


class UnixServer(socketserver.ThreadingUnixStreamServer):
    """Answers `{}` to everything; `connections` is how many there were."""

    daemon_threads = True
    block_on_close = False  # clients keep theirs
    connections = 0

    def get_request(self):  # type: ignore[no-untyped-def]
        accepted = super().get_request()
        self.connections += 1
        return accepted[0], ("local", 0)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    data = DataDirectory(tmp_path / "data")
    data.create()
    return data


def server_at(path: Path) -> Iterator[UnixServer]:
    with UnixServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def mlflow(data: DataDirectory) -> Iterator[UnixServer]:
    yield from server_at(data.mlflow_socket)


@pytest.fixture
def control(data: DataDirectory) -> Iterator[UnixServer]:
    yield from server_at(data.control_socket)


def test_the_control_plane_asks_mlflow_on_no_old_connection(data: DataDirectory, mlflow: UnixServer) -> None:
    api = MlflowApi.on_socket(data.mlflow_socket)
    for pause, connections in ((0.0, 1), (IDLE, 1), (0.0, 2)):
        api.call("POST", "experiments/create", {})
        assert mlflow.connections == connections
        time.sleep(pause)


def test_a_gateway_asks_the_control_plane_on_no_old_connection(data: DataDirectory, control: UnixServer) -> None:
    async def ask() -> None:
        upstreams = Upstreams(Settings(data_dir=data.root), data, "1")
        for pause, connections in ((0.0, 1), (IDLE, 1), (0.0, 2)):
            async with upstreams.control_session().post("http://localhost/", data=b"{}") as answer:
                await answer.read()
            assert control.connections == connections
            await asyncio.sleep(pause)
        await upstreams.close()

    asyncio.run(ask())
