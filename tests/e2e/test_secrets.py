"""Secrets in models: the value reaches the replica that may have it, and is nowhere else."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.pyfunc import PythonModel
from models import pins
from server import START_SECONDS, Server, data_directory, is_alive, wait_for

API = "/api/2.0/secrets"
MODEL = "main.default.tells_its_digest"
ROWS = {"dataframe_split": {"columns": ["name"], "data": [["TOKEN"]]}}
_BLOCK = 1 << 22

Json = dict[str, Any]


def register(server: Server) -> None:
    # A class inside a function: one of a module would be pickled by reference to it.
    class TellsItsDigest(PythonModel):
        def predict(self, context, model_input, params=None):
            import hashlib
            import os

            values = [os.environ.get(name, "") for name in model_input["name"]]
            return [hashlib.sha256(value.encode()).hexdigest() for value in values]

    with server.as_client(), warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        mlflow.set_experiment("secrets")
        with mlflow.start_run():
            mlflow.pyfunc.log_model(
                name="model", python_model=TellsItsDigest(), registered_model_name=MODEL, pip_requirements=pins()
            )


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    """One whose data directory can be searched: nobody else puts secrets into it."""
    with data_directory() as data_dir:
        server = Server(data_dir)
        try:
            register(server)
            post(server, "scopes/create", scope="team")
            yield server
            server.stop()
        finally:
            server.kill()


def post(server: Server, path: str, **body: str) -> None:
    answer = server.http.post(f"{API}/{path}", json=body)
    assert answer.status_code == 200, answer.text


def put(server: Server, key: str, value: str | None = None) -> str:
    """A secret with a value that occurs nowhere by chance."""
    value = value or f"v{secrets.token_hex(16)}"
    post(server, "put", scope="team", key=key, string_value=value)
    return value


def digest(server: Server, endpoint: str) -> str:
    answer = server.query(endpoint, ROWS)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["predictions"][0])


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def uses(key: str, **variables: str) -> dict[str, str]:
    return {"TOKEN": f"{{{{secrets/team/{key}}}}}", **variables}


def replica_of(server: Server, known: set[str]) -> int:
    """The pid of the one ready replica that is not known."""
    [found] = [pid for name, pid in server.replicas().items() if name not in known]
    return found


@pytest.mark.parametrize("extra", [{}, {"OMP_NUM_THREADS": "1"}], ids=["fork", "fresh"])
def test_a_model_gets_the_value_and_the_value_is_nowhere_else(own_server, extra):
    server, name = own_server, "holds-" + "-".join(["a", *extra]).lower().replace("_", "-")
    known = set(server.replicas())
    value = put(server, "token")
    created = server.create(name, MODEL, environment_vars=uses("token", **extra))
    server.ready(name)
    assert digest(server, name) == sha256(value)
    granted = replica_of(server, known)
    # Another model of the same environment, forked later by the same template.
    known = set(server.replicas())
    server.create(f"{name}-not", MODEL, environment_vars={"OTHER": "x"})
    server.ready(f"{name}-not")
    assert digest(server, f"{name}-not") == sha256("")
    refused = server.create(f"{name}-missing", MODEL, environment_vars=uses("token", LATER="{{secrets/team/token}}"))
    assert value not in str(refused)
    server.delete(f"{name}-missing")

    assert uses("token", **extra) == created["pending_config"]["served_entities"][0]["environment_vars"]
    assert_answers_are_clean(server, name, value)
    assert "build.log" in assert_files_are_clean(server, value)
    ours = server.processes()
    assert granted in ours
    assert len(ours) >= 7  # supervisor, gateway, control plane, MLflow (two), a template, both replicas
    for pid in all_processes():
        assert not holds(f"/proc/{pid}/cmdline", value), pid
        if pid != granted:
            assert not holds(f"/proc/{pid}/environ", value), pid
    assert in_memory(granted, value)
    stranger = replica_of(server, known)
    [template] = {parent(stranger), parent(granted)}
    for pid in (stranger, template):
        assert not in_memory(pid, value), "a later replica could read it"
    for endpoint in (name, f"{name}-not"):
        server.delete(endpoint)
    wait_for("the replica is gone", lambda: not is_alive(granted), 30)
    assert_files_are_clean(server, value)


def assert_answers_are_clean(server: Server, name: str, value: str) -> None:
    served = f"/api/2.0/serving-endpoints/{name}/served-models/tells_its_digest-1"
    paths = [
        "/api/2.0/serving-endpoints",
        f"/api/2.0/serving-endpoints/{name}",
        f"/api/2.0/serving-endpoints/{name}/events",
        f"/api/2.0/serving-endpoints/{name}/config-versions",
        f"/api/2.0/serving-endpoints/{name}/metrics",
        f"{served}/build-logs",
        f"{served}/logs",
        f"{served}/log-files",
        f"{API}/scopes/list",
        f"{API}/list?scope=team",
        f"{API}/acls/list?scope=team",
        "/metrics",
    ]
    for path in paths:
        answer = server.http.get(path)
        assert answer.status_code == 200, (path, answer.text)
        assert value not in answer.text, path
        assert base64.b64encode(value.encode()).decode() not in answer.text, path


def assert_files_are_clean(server: Server, value: str) -> set[str]:
    """Every file of the data directory and the server's own output, whole; the names of those looked at."""
    looked_at = set()
    forms = [value.encode(), base64.b64encode(value.encode())[:32], value.encode().hex().encode()]
    # What is removed meanwhile is passed over, as `rglob` would not.
    there = (Path(folder, name) for folder, _, names in os.walk(server.data_dir) for name in names)
    for path in [server.log_path, *there]:
        with suppress(FileNotFoundError):
            if path.is_file() and not path.is_symlink():
                content = path.read_bytes()
                assert not any(form in content for form in forms), path
                looked_at.add(path.name)
    expected = {"moorage.db", "moorage.db-wal", "encryption.key", "control.log", "snapshot.json"}
    assert expected <= looked_at
    return looked_at


def all_processes() -> list[int]:
    pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    return [pid for pid in pids if pid != os.getpid()]


def holds(path: str, value: str) -> bool:
    try:
        return value.encode() in Path(path).read_bytes()
    except OSError:  # it has ended, or is another user's
        return False


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


def in_memory(pid: int, value: str) -> bool:
    """Whether the writable memory of a process holds the value."""
    needle = value.encode()
    with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if match is None:
                continue
            place, end, rest = int(match[1], 16), int(match[2], 16), b""
            while place < end:
                memory.seek(place)
                try:
                    block = memory.read(min(_BLOCK, end - place))
                except OSError:  # a device's
                    break
                if not block:
                    break
                if needle in rest + block:
                    return True
                place, rest = place + len(block), block[-len(needle) :]
    return False


def test_a_changed_secret_is_there_at_the_next_start_of_a_replica(own_server):
    server = own_server
    known = set(server.replicas())
    first = put(server, "changing")
    server.create("changing", MODEL, environment_vars=uses("changing"))
    server.ready("changing")
    second = put(server, "changing")
    assert digest(server, "changing") == sha256(first)
    os.kill(replica_of(server, known), signal.SIGKILL)
    wait_for("a replica with the new value", lambda: digest(server, "changing") == sha256(second), 60)
    server.delete("changing")


def test_a_missing_secret_fails_the_deployment_with_its_name(own_server):
    server = own_server
    put(server, "short-lived")
    server.create("short", MODEL, environment_vars=uses("short-lived"))
    server.ready("short")
    assert server.http.post("/api/2.0/serving-endpoints/short/config:stop").status_code == 200
    wait_for("it has stopped", lambda: server.detail("short")["state"]["ready"] == "NOT_READY", 30)
    post(server, "delete", scope="team", key="short-lived")
    assert server.http.post("/api/2.0/serving-endpoints/short/config:start").status_code == 200
    detail = server.settled("short")
    assert detail["state"]["config_update"] == "UPDATE_FAILED"
    words = "The secret {{secrets/team/short-lived}} of environment variable TOKEN cannot be read: it does not exist."
    [served] = detail["pending_config"]["served_entities"]
    assert served["state"]["deployment_state_message"] == words
    events = server.http.get("/api/2.0/serving-endpoints/short/events").json()["events"]
    assert any(words in event["message"] for event in events)
    log = server.http.get(
        "/api/2.0/serving-endpoints/short/served-models/tells_its_digest-1/build-logs", params={"config_version": 2}
    )
    assert words in log.json()["logs"]
    server.delete("short")


def test_a_model_check_reads_the_secret_and_does_not_show_it(own_server):
    server = own_server
    value = put(server, "checked")
    body = {"entity_name": MODEL, "entity_version": "1", "environment_vars": uses("checked")}
    check_id = server.http.post("/api/2.0/model-checks", json=body).json()["check_id"]

    def finished() -> Json | None:
        check = server.http.get(f"/api/2.0/model-checks/{check_id}").json()
        return check if check["state"] in ("SUCCEEDED", "FAILED") else None

    check = wait_for("the check ends", finished, 120)
    assert check["state"] == "SUCCEEDED", check
    assert value not in str(check)


def rotate(server: Server) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "moorage", "secrets", "rotate-key", "--data-dir", str(server.data_dir)]
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("MOORAGE_")}
    return subprocess.run(command, env=inherited, capture_output=True, text=True, timeout=120)


def test_a_rotated_key_opens_what_was_encrypted_before_and_another_stops_the_start():
    with data_directory() as data_dir:
        server = Server(data_dir)
        try:
            post(server, "scopes/create", scope="team")
            value, key = put(server, "kept"), (data_dir / "encryption.key").read_text()
            running = rotate(server)
            assert (running.returncode, running.stdout) == (1, "")
            assert "is in use by another Moorage server" in running.stderr
            server.stop()
            stopped = rotate(server)
            assert stopped.returncode == 0, stopped.stderr
            renewed = (data_dir / "encryption.key").read_text()
            assert renewed != key

            (data_dir / "encryption.key").write_text(key)
            command = [sys.executable, "-m", "moorage", "serve", "--data-dir", str(data_dir), "--port", "0"]
            refused = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS)
            assert refused.returncode == 2
            assert f"error: {data_dir / 'encryption.key'} is not the key that the secrets" in refused.stderr
            (data_dir / "encryption.key").write_text(renewed)

            server = Server(data_dir)
            answer = server.http.get(f"{API}/get", params={"scope": "team", "key": "kept"})
            assert base64.b64decode(answer.json()["value"]).decode() == value
            server.stop()
        finally:
            server.kill()
