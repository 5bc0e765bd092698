"""The supervisor's parts: logs, sockets, health, what children may see, processes by identity."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from moorage.datadir import DataDirectory
from moorage.settings import Settings
from moorage.supervisor import linux
from moorage.supervisor.child import describe_exit
from moorage.supervisor.health import Health, fetch_health
from moorage.supervisor.logs import BoundedLog, OutputPump
from moorage.supervisor.mlflow_server import Receive, Scope, Send, without_prefix
from moorage.supervisor.programs import control_spec, gateway_specs, mlflow_spec, tables_spec
from moorage.supervisor.sockets import CannotListen, listen


def test_a_log_keeps_its_limit_and_one_older_file(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "logs" / "x.log", limit=100)
    for number in range(50):
        log.write(f"line {number:03}\n".encode())
    log.close()
    newest, older = log.path.read_text(), log.path.with_name("x.log.1").read_text()
    assert len(newest) <= 100
    assert len(older) <= 100
    assert (older + newest).splitlines() == [f"line {number:03}" for number in range(33, 50)]


def test_a_log_goes_on_where_an_earlier_server_ended(tmp_path: Path) -> None:
    for word in (b"one\n", b"two\n"):
        log = BoundedLog(tmp_path / "x.log", limit=100)
        log.write(word)
        log.close()
    assert (tmp_path / "x.log").read_text() == "one\ntwo\n"


def test_a_log_that_cannot_be_written_loses_lines_and_recovers(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    log = BoundedLog(tmp_path / "logs" / "x.log")
    log.write(b"lost\n")
    (tmp_path / "logs").unlink()
    log.write(b"kept\n")
    log.close()
    assert log.path.read_text() == "kept\n"


def test_output_without_an_end_of_line_and_endless_lines_are_taken(tmp_path: Path) -> None:
    async def pump() -> str:
        shown = io.StringIO()
        reader = asyncio.StreamReader(limit=1000)
        reader.feed_data(b"a" * 5000 + b"\nshort\nbroken \xff\nno end")
        reader.feed_eof()
        await OutputPump("x", BoundedLog(tmp_path / "x.log"), shown).run(reader)
        return shown.getvalue()

    lines = asyncio.run(pump()).splitlines()
    assert "".join(line.removeprefix("[x] ") for line in lines[:-3]) == "a" * 5000
    assert lines[-3:] == ["[x] short", "[x] broken \ufffd", "[x] no end"]


def test_a_taken_port_is_refused_even_when_its_holder_shares_it() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(CannotListen) as failure:
            listen("127.0.0.1", port, 2)
    assert str(failure.value) == (f"port {port} on 127.0.0.1 is taken by another program; choose one with --port")


def test_port_zero_gives_every_worker_a_socket_on_the_same_free_port() -> None:
    sockets = listen("127.0.0.1", 0, 3)
    try:
        assert len({one.getsockname() for one in sockets}) == 1
        assert sockets[0].getsockname()[1] > 0
        for one in sockets:
            assert one.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
            assert one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    finally:
        for one in sockets:
            one.close()


def test_a_port_that_was_just_in_use_is_free_again() -> None:
    [listener] = listen("127.0.0.1", 0, 1)
    address = listener.getsockname()
    with socket.create_connection(address):
        listener.setblocking(True)
        connection, _ = listener.accept()
        connection.close()
    listener.close()
    for one in listen(address[0], address[1], 1):
        one.close()


@pytest.mark.parametrize(
    ("host", "reason"),
    [("192.0.2.1", "is not an address of this machine"), ("no such host", "cannot listen on host")],
)
def test_a_host_that_is_not_here_is_named(host: str, reason: str) -> None:
    with pytest.raises(CannotListen, match=reason):
        listen(host, 0, 1)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b'HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\n{"status":"ready"}', Health(True)),
        (
            b"HTTP/1.1 503 Service Unavailable\r\n\r\n"
            b'{"status":"not_ready","components":{"gateway":"ok","mlflow":"not reachable"}}',
            Health(False, "mlflow not reachable"),
        ),
        (b'HTTP/1.1 503 No\r\n\r\n{"status":"ready"}', Health(False, "/health answered 503: ready")),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", Health(False, "/health answered 200 without a JSON document")),
        (b"HTTP/1.1 200 OK\r\n\r\n[]", Health(False, "/health answered 200 without a JSON object")),
        (b"nonsense", Health(False, "the gateway does not answer yet (no HTTP answer)")),
    ],
)
def test_health_is_read_from_the_answer(answer: bytes, expected: Health) -> None:
    async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async def ask() -> Health:
        server = await asyncio.start_server(reply, "127.0.0.1", 0)
        async with server:
            return await fetch_health(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")

    assert asyncio.run(ask()) == expected


def test_no_answer_at_all_is_a_reason_too() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        health = asyncio.run(fetch_health(url, timeout_seconds=0.05))
    assert health == Health(False, "the gateway does not answer yet")
    assert not asyncio.run(fetch_health(url)).ready


ENVIRON = {
    "PATH": "/bin",
    "MOORAGE_ENCRYPTION_KEY": "k",
    "MOORAGE_ENV_INDEX_URL": "https://user:pass@index.example",
    "UV_INDEX_URL": "https://user:pass@index.example",
    "OPENAI_API_KEY": "k",
    "AWS_SECRET_ACCESS_KEY": "k",
    "DATABRICKS_TOKEN": "t",
    "MLFLOW_TRACKING_URI": "http://elsewhere",
    "MLFLOW_TRACKING_TOKEN": "t",
}


def test_gateway_and_mlflow_see_no_secrets_but_gateways_the_key_of_sealed_credentials(tmp_path: Path) -> None:
    index = "https://user:pass@index.example"
    settings = Settings.model_validate({"data_dir": tmp_path, "env_index_url": index})
    gateways = gateway_specs(settings, [5, 7], "4711", ENVIRON)
    mlflow = mlflow_spec(settings, DataDirectory(tmp_path), ENVIRON)
    for spec in (*gateways, mlflow):
        assert spec.environment["PATH"] == "/bin"
        seen = {"PATH", "MOORAGE_ENCRYPTION_KEY"} if spec in gateways else {"PATH"}
        assert set(spec.environment) & set(ENVIRON) == seen
    assert [spec.descriptors for spec in gateways] == [(5,), (7,)]
    assert gateways[1].command[-4:] == ("--fd", "7", "--worker", "1")
    assert gateways[0].environment["MOORAGE_DATA_DIR"] == str(tmp_path)
    assert not any(name.startswith("MOORAGE_") for name in mlflow.environment)


def test_the_control_plane_sees_what_it_needs_but_no_clients_configuration(tmp_path: Path) -> None:
    environment = control_spec(Settings(data_dir=tmp_path), ENVIRON).environment
    assert environment["MOORAGE_ENCRYPTION_KEY"] == "k"
    assert environment["UV_INDEX_URL"]
    assert not {"DATABRICKS_TOKEN", "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN"} & set(environment)


def test_the_writer_of_tables_sees_credentials_of_a_store_only_where_the_tables_are_in_one(tmp_path: Path) -> None:
    of_stores = {"AWS_REGION": "eu-central-1", "GOOGLE_APPLICATION_CREDENTIALS": "/key", "AZURE_CLIENT_ID": "c"}
    environ = {**ENVIRON, **of_stores}
    options = {"tables_storage_options": '{"AWS_ALLOW_HTTP": "true"}', "redis_url": "redis://:pass@host"}
    here = tables_spec(Settings.model_validate({"data_dir": tmp_path, **options}), "4711", environ)
    assert not [name for name in here.environment if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))]
    there = {"data_dir": tmp_path, "tables_uri": "s3://bucket/tables", **options}
    settings = Settings.model_validate(there)
    elsewhere = tables_spec(settings, "4711", environ)
    stores = {name for name in environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))}
    assert stores <= set(elsewhere.environment)
    for spec in (here, elsewhere):
        assert spec.command[-2:] == ("--workspace-id", "4711")
        assert not set(spec.environment) & (set(ENVIRON) - {"PATH", "AWS_SECRET_ACCESS_KEY"})
        own = {name for name in spec.environment if name.startswith("MOORAGE_")}
        assert {"MOORAGE_DATA_DIR", "MOORAGE_TABLES_STORAGE_OPTIONS", "MOORAGE_PAYLOAD_MAX_BYTES"} <= own
        assert not own & {"MOORAGE_REDIS_URL", "MOORAGE_ADMIN_USER", "MOORAGE_ENCRYPTION_KEY"}
    for gateway in gateway_specs(settings, [5], "4711", environ):
        assert not [name for name in gateway.environment if name.startswith("MOORAGE_TABLES_")]
        assert gateway.environment["MOORAGE_PAYLOAD_MAX_BYTES"]


def test_credentials_of_another_mlflow_server_reach_those_who_call_it(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, mlflow_uri="http://mlflow.example")
    for spec in (control_spec(settings, ENVIRON), *gateway_specs(settings, [5], "4711", ENVIRON)):
        assert spec.environment["MLFLOW_TRACKING_TOKEN"] == "t"
        assert "MLFLOW_TRACKING_URI" not in spec.environment


@pytest.mark.parametrize(
    ("path", "served"),
    [
        ("/mlflow/", "/"),
        ("/mlflow/ajax-api/2.0/mlflow/runs/get", "/ajax-api/2.0/mlflow/runs/get"),
        ("/api/2.0/mlflow/runs/get", "/api/2.0/mlflow/runs/get"),
        ("/mlflowers", "/mlflowers"),
    ],
)
def test_mlflow_is_served_at_its_own_paths_and_below_its_prefix(path: str, served: str) -> None:
    seen: list[tuple[str, bytes]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope["path"], scope["raw_path"]))

    async def nothing(*_: object) -> dict[str, object]:
        return {}

    scope = {"type": "http", "path": path, "raw_path": path.encode()}
    asyncio.run(without_prefix(app)(scope, nothing, nothing))  # type: ignore[arg-type]
    assert seen == [(served, served.encode())]


def test_a_process_is_killed_only_under_its_own_start_time() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        stat = linux.read_stat(process.pid)
        assert stat is not None
        assert stat.parent == os.getpid()
        assert not linux.kill_verified(process.pid, stat.started_at - 1)
        assert process.poll() is None
        assert linux.kill_verified(process.pid, stat.started_at)
        assert process.wait(10) == -signal.SIGKILL
        assert not linux.kill_verified(process.pid, stat.started_at)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "exited with status 0"), (3, "exited with status 3"), (-9, "was killed by SIGKILL"),
     (-250, "was killed by signal 250")],
)  # fmt: skip
def test_an_exit_status_in_words(status: int, words: str) -> None:
    assert describe_exit(status) == words
