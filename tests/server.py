"""A real server for tests: started as its user starts it, on a free port, with a data directory of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from mlflow.tracking import fluent
from mlflow.tracking._model_registry import utils as registry
from mlflow.tracking._tracking_service import utils as tracking

READY_LINE = re.compile(r"^Moorage is ready at (\S+)$", re.MULTILINE)
START_SECONDS = 60.0
STOP_SECONDS = 30.0
OTHER_USER = "other@example.com"
OTHER_TOKEN = "dapi" + "0123456789abcdef" * 2
_TAIL_BYTES = 6000
_CLIENT_PREFIXES = ("DATABRICKS_", "MLFLOW_", "MOORAGE_")
_CATALOGUE_ENDPOINTS = 2
_SETTLED = {"NOT_UPDATING", "UPDATE_FAILED", "UPDATE_CANCELED"}

Json = dict[str, Any]
T = TypeVar("T")


def wait_for(what: str, look: Callable[[], T], seconds: float, pace: float = 0.05) -> T:
    """The first true value of `look`; fails the test when there is none within `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = look()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:.0f} s: {what}")
        time.sleep(pace)


def heed_interrupts() -> None:
    """For `preexec_fn`: what a shell started in the background ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Server:
    """One `moorage serve` and what its clients need to reach it."""

    def __init__(self, data_dir: Path, *, with_other_user: bool = False, settings: dict[str, str] | None = None):
        """Start it and wait until it says that it is ready. `settings` are further environment variables."""
        self.data_dir = data_dir
        self.log_path = data_dir.with_name(f"{data_dir.name}.log")
        if with_other_user:
            _make_other_user(data_dir)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(_CLIENT_PREFIXES)}
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "moorage", "serve", "--data-dir", str(data_dir), "--port", "0"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**inherited, **(settings or {})},
                start_new_session=True,
            )
        try:
            self.url = self._wait_until_ready()
            self.env = _read_env(data_dir / "admin.env")
        except BaseException:
            self.kill()
            raise
        self.token = self.env["DATABRICKS_TOKEN"]
        # With a lower limit of idle connections, httpx closes some that a thread has been given and not yet used.
        limits = httpx.Limits(max_connections=100, max_keepalive_connections=100)
        headers = {"Authorization": f"Bearer {self.token}"}
        self.http = httpx.Client(base_url=self.url, headers=headers, timeout=60, limits=limits)

    def log_tail(self) -> str:
        """The end of what the server and its parts have logged."""
        files = [self.log_path, *sorted((self.data_dir / "logs").glob("*.log"))]
        parts = [f"--- {path.name}\n{path.read_text(errors='replace')[-_TAIL_BYTES:]}" for path in files]
        return "\n".join(parts)

    def stop(self) -> None:
        """SIGTERM; it must leave with 0 within 30 s, and nothing of it may stay."""
        self.http.close()
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            tail = self.log_tail()
            self.kill()
            pytest.fail(f"the server did not stop within {STOP_SECONDS:.0f} s of SIGTERM:\n{tail}")
        took = time.monotonic() - began
        left = self.processes()
        tail = self.log_tail()
        self.kill()
        assert status == 0, f"the server left with {status} after {took:.1f} s:\n{tail}"
        assert left == [], f"processes outlived the server: {left}\n{tail}"

    def kill(self) -> None:
        """SIGKILL to the server and to every process it started."""
        while pids := self.processes():
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.poll()
            time.sleep(0.01)
        self.process.wait(STOP_SECONDS)

    def processes(self) -> list[int]:
        """The server and its parts: every process that was started with this data directory."""
        needle = str(self.data_dir).encode()
        return [pid for pid in _live_pids() if needle in _proc(pid, "cmdline") + _proc(pid, "environ")]

    def part(self, module: str) -> int:
        """The pid of the server's child that runs `python -m module`; 0 when there is none now."""
        for pid in _live_pids():
            words = _proc(pid, "cmdline").split(b"\0")
            if b"-m" in words and module.encode() in words and _parent(pid) == self.process.pid:
                return pid
        return 0

    def replicas(self) -> dict[str, int]:
        """Replica id to pid, of the replicas that say that they are ready."""
        found = {}
        for path in (self.data_dir / "run" / "replicas").glob("*/status.json"):
            with suppress(FileNotFoundError, ValueError):
                status = json.loads(path.read_text())
                if status.get("phase") == "ready" and is_alive(status["pid"]):
                    found[path.parent.name] = int(status["pid"])
        return found

    def environments(self) -> list[Path]:
        """The folders of finished environments."""
        return sorted(path.parent for path in (self.data_dir / "environments").glob("*/ready.json"))

    @contextmanager
    def as_client(self) -> Iterator[None]:
        """Run with the environment variables that point every client at this server, in its default experiment.

        MLflow remembers the experiment and the URIs that were set last for the whole process: another server's would
        follow here, and what is set here does not follow elsewhere.
        """
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fluent, "_active_experiment_id", None)
            patch.setattr(tracking, "_tracking_uri", None)
            patch.setattr(registry, "_registry_uri", None)
            for name in list(os.environ):
                if name.startswith(_CLIENT_PREFIXES):
                    patch.delenv(name)
            for name, value in self.env.items():
                patch.setenv(name, value)
            try:
                yield
            finally:
                for name in [one for one in os.environ if one.startswith(_CLIENT_PREFIXES)]:
                    del os.environ[name]

    def create(self, name: str, model: str, version: str = "1", **entity: object) -> Json:
        """Ask for an endpoint with one served entity, and return the answer."""
        answer = self.http.post("/api/2.0/serving-endpoints", json=endpoint_body(name, model, version, **entity))
        assert answer.status_code == 200, answer.text
        return answer.json()

    def detail(self, name: str) -> Json:
        answer = self.http.get(f"/api/2.0/serving-endpoints/{name}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wait_for_catalogue(self) -> None:
        """Wait until the endpoints of the model catalogue, which appear by themselves, have settled."""

        def have_settled() -> bool:
            endpoints = self.http.get("/api/2.0/serving-endpoints").json().get("endpoints", [])
            states = [one["state"]["config_update"] for one in endpoints if one["name"].startswith("databricks-")]
            return len(states) == _CATALOGUE_ENDPOINTS and all(state in _SETTLED for state in states)

        wait_for("the endpoints of the catalogue", have_settled, 60)

    def settled(self, name: str, seconds: float = 120.0) -> Json:
        """The endpoint, once its update has ended one way or the other."""

        def look() -> Json | None:
            detail = self.detail(name)
            return detail if detail["state"]["config_update"] in _SETTLED else None

        return wait_for(f"the update of {name} ends", look, seconds)

    def ready(self, name: str, seconds: float = 120.0) -> Json:
        """The endpoint, once it is READY; fails when its update does."""
        detail = self.settled(name, seconds)
        assert detail["state"]["ready"] == "READY", json.dumps(detail, indent=1) + self.build_log(name)
        return detail

    def delete(self, name: str) -> None:
        assert self.http.delete(f"/api/2.0/serving-endpoints/{name}").status_code == 200

    def query(self, name: str, body: object, **headers: str) -> httpx.Response:
        return self.http.post(f"/serving-endpoints/{name}/invocations", json=body, headers=headers)

    def build_log(self, name: str) -> str:
        return self._log_of(name, "build-logs")

    def service_log(self, name: str) -> str:
        return self._log_of(name, "logs")

    def _log_of(self, name: str, kind: str) -> str:
        detail = self.detail(name)
        config = detail.get("config") or detail["pending_config"]
        served = config["served_entities"][0]["name"]
        query = "" if "config" in detail else f"?config_version={config['config_version']}"
        answer = self.http.get(f"/api/2.0/serving-endpoints/{name}/served-models/{served}/{kind}{query}")
        assert answer.status_code == 200, answer.text
        return str(answer.json()["logs"])

    def _wait_until_ready(self) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            match = READY_LINE.search(self.log_path.read_bytes()[self._log_start :].decode(errors="replace"))
            if match is not None:
                return match[1]
            if self.process.poll() is not None:
                pytest.fail(f"the server left with {self.process.returncode} at its start:\n{self.log_tail()}")
            time.sleep(0.05)
        pytest.fail(f"the server was not ready within {START_SECONDS:.0f} s:\n{self.log_tail()}")


@contextmanager
def data_directory() -> Iterator[Path]:
    """A path for a data directory that is short enough for sockets; removed with its log afterwards."""
    root = Path(tempfile.mkdtemp(prefix="mrg-"))
    try:
        yield root / "d"
    finally:
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def running_server(
    *, with_other_user: bool = False, settings: dict[str, str] | None = None
) -> Iterator[Server]:
    """A server for the time of the block, stopped as its user stops it."""
    with data_directory() as data_dir:
        server = Server(data_dir, with_other_user=with_other_user, settings=settings)
        try:
            yield server
        except BaseException:
            server.kill()
            raise
        server.stop()


def endpoint_body(name: str, model: str, version: str = "1", **entity: object) -> Json:
    """The body that creates an endpoint of one served entity."""
    served = {
        "entity_name": model,
        "entity_version": version,
        "workload_size": "Small",
        "scale_to_zero_enabled": False,
        **entity,
    }
    return {"name": name, "config": {"served_entities": [served]}}


def is_alive(pid: int) -> bool:
    return _state(pid) not in ("", "Z")


def _make_other_user(data_dir: Path) -> None:
    """A user without rights, in the database before the server's first start; the text of its token is known."""
    from moorage.control.store.engine import make_sessions, migrate, open_database
    from moorage.control.store.identity import insert_token
    from moorage.control.store.models import Token, User
    from moorage.datadir import DataDirectory
    from moorage.identity.tokens import token_digest

    data = DataDirectory(data_dir)
    data.create()
    engine = open_database(data.database)
    migrate(engine)
    with make_sessions(engine).begin() as session:
        session.add(User(id="4242424242424242", user_name=OTHER_USER, display_name="Other", created_at=1))
        session.flush()
        token = Token(id="0" * 64, digest=token_digest(OTHER_TOKEN), user_id="4242424242424242", creation_time=1)
        insert_token(session, token)
    engine.dispose()


def _read_env(path: Path) -> dict[str, str]:
    lines = (line.removeprefix("export ").partition("=") for line in path.read_text().splitlines())
    return {name: value.strip("'\"") for name, equals, value in lines if equals}


def _live_pids() -> list[int]:
    pids = (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())
    return [pid for pid in pids if pid != os.getpid() and is_alive(pid)]


def _proc(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _state(pid: int) -> str:
    words = _proc(pid, "stat").rpartition(b")")[2].split()
    return words[0].decode() if words else ""


def _parent(pid: int) -> int:
    words = _proc(pid, "stat").rpartition(b")")[2].split()
    return int(words[1]) if words else 0
