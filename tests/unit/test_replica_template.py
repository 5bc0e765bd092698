"""Real template processes and the replicas that they start.

Most have a made-up `mlflow` on their import path, which loads in no time; one has the real one and a real model.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from moorage.replica import frames
from moorage.replica.process import start_ticks

LAUNCHER = Path(frames.__file__).with_name("launch.py")
SECONDS = 60.0
T = TypeVar("T")

STUBS = {
    "pandas.py": "",
    "mlflow/__init__.py": "",
    "mlflow/pyfunc/__init__.py": "",
    "mlflow/pyfunc/scoring_server.py": """
import os, time
from collections import namedtuple

Response = namedtuple("Response", "response status")

class Metadata:
    flavors = {}
    def get_input_schema(self):
        return None

class Model:
    metadata = Metadata()

def load_model(path):
    while os.path.exists(path + "/wait"):
        time.sleep(0.01)
    if os.path.exists(path + "/broken"):
        raise SystemExit("no such luck")
    return Model()

def invocations(body, content_type, model, schema):
    return Response('{"predictions": "%s"}' % os.environ.get("FLAVOUR"), 200)
""",
    "starts_threads/__init__.py": """
import os, threading
with open(os.environ["IMPORTS"], "a") as file:
    file.write("x")
threading.Thread(target=threading.Event().wait, daemon=True).start()
""",
    "cannot_be_imported.py": "raise ValueError('broken')",
    "harmless.py": "",
}


def until(look: Callable[[], T]) -> T:
    """The first true value of `look`."""
    deadline = time.monotonic() + SECONDS
    while not (value := look()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)
    return value


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    except OSError:
        return False


def read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}


class Replica:
    """What is known of a replica from outside."""

    def __init__(self, config: dict[str, Any], answer: dict[str, Any]) -> None:
        self.config = config
        self.pid = answer["pid"]
        self.answer = answer
        self.folder = Path(config["folder"])

    @property
    def status(self) -> dict[str, Any]:
        return read(self.folder / "status.json")

    @property
    def exit(self) -> dict[str, Any]:
        return read(self.folder / "exit.json")

    @property
    def log(self) -> str:
        return Path(self.config["log"]).read_text()

    def until_phase(self, phase: str) -> dict[str, Any]:
        until(lambda: self.status.get("phase") == phase or not alive(self.pid))
        assert self.status["phase"] == phase, self.log
        return self.status

    def ask(self, frame: bytes) -> bytes:
        """The payload of the one frame that it answers."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(SECONDS)
            sock.connect(self.config["socket"])
            sock.sendall(frame)
            decoder = frames.Decoder()
            while not (arrived := decoder.feed(sock.recv(65536))):
                pass
            return arrived[0][2]

    def predict(self, body: bytes) -> Any:
        head, answer = frames.decode_response(
            self.ask(frames.encode_request(1, 0, 0, b"application/json", b"an-id", body))
        )
        assert head.status == 200, answer
        return json.loads(answer)


class Template:
    """A template process in a folder of its own, and all that it starts."""

    def __init__(self, folder: Path, python_path: str = "") -> None:
        self.folder = folder
        self.socket = str(folder / "t.sock")
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "OPENBLAS_NUM_THREADS": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "IMPORTS": str(folder / "imports"),
            "PYTHONDONTWRITEBYTECODE": "1",
            **({"PYTHONPATH": python_path} if python_path else {}),
        }
        self.replicas: list[Replica] = []
        log = folder / "template.log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(LAUNCHER), "template", self.socket, "v1", str(log), "100000", str(os.getuid())],
                env=self.environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.until_up()

    def until_up(self) -> dict[str, Any]:
        def hello() -> dict[str, Any] | None:
            assert self.process.poll() is None, (self.folder / "template.log").read_text()
            with contextlib.suppress(OSError):
                return self.call({"op": "hello"})
            return None

        return until(hello)

    def call(self, *requests: Any, environment: bytes | None = None) -> dict[str, Any]:
        """Send the requests in one piece, with a file of that content, and return the answer to the last."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(SECONDS)
            sock.connect(self.socket)
            lines = [request if isinstance(request, bytes) else json.dumps(request).encode() for request in requests]
            with tempfile.TemporaryFile() as file:
                file.write(environment or b"")
                file.flush()
                descriptors = [file.fileno()] if environment is not None else []
                socket.send_fds(sock, [b"".join(line + b"\n" for line in lines)], descriptors)
            with sock.makefile("rb") as answers:
                return json.loads([answers.readline() for _ in lines][-1])

    def warm(self, *modules: str) -> dict[str, Any]:
        return self.call({"op": "warm", "modules": modules})

    def spawn(self, model: Path, variables: dict[str, str] | None = None) -> Replica:
        name = f"r{len(self.replicas)}"
        variables = variables or {}
        config = {
            "replica_id": name,
            "endpoint": "an-endpoint",
            "served_name": "an-entity",
            "folder": str(self.folder / name),
            "socket": str(self.folder / f"{name}.sock"),
            "log": str(self.folder / f"{name}.log"),
            "log_bytes": 1_000_000,
            "model_path": str(model),
            "chosen_variables": sorted(variables),
            "batching": "auto",
            "threads": 2,
            "strict_json": True,
            "orphan_seconds": 600.0,
            "client_uid": os.getuid(),
            "memory_bytes": 0,
        }
        environment = json.dumps({**self.environment, **variables}).encode()
        answer = self.call({"op": "spawn", "replica": config}, environment=environment)
        assert "error" not in answer, answer
        self.replicas.append(Replica(config, answer))
        return self.replicas[-1]

    def clean_up(self) -> None:
        for replica in self.replicas:
            if alive(replica.pid) and start_ticks(replica.pid) == replica.answer["started_at"]:
                os.kill(replica.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: a socket's path has at most 107 bytes."""
    made = Path(tempfile.mkdtemp(prefix="moorage-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def template(folder: Path) -> Iterator[Template]:
    """A template that finds the stubs instead of MLflow."""
    for name, text in STUBS.items():
        (folder / "stubs" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "stubs" / name).write_text(text)
    running = Template(folder, python_path=str(folder / "stubs"))
    yield running
    running.clean_up()


@pytest.fixture
def model(folder: Path) -> Path:
    """A folder that the made-up MLflow loads; with a file `wait` it goes on loading, with `broken` it fails."""
    made = folder / "model"
    made.mkdir()
    return made


def test_hello_names_the_process_and_its_code(template):
    hello = template.call({"op": "hello"})
    assert hello == {
        "pid": template.process.pid,
        "started_at": start_ticks(template.process.pid),
        "version": "v1",
    }


def test_bad_requests_are_answered_and_the_template_lives_on(template):
    for bad in (b"no json", b"[]", {"op": "dance"}, {}, {"op": "spawn", "replica": {}}):
        assert "error" in template.call(bad)
    assert template.call({"op": "hello"})["pid"] == template.process.pid


def test_client_that_leaves_before_its_answers_does_no_harm(template):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(template.socket)
        sock.sendall(b'{"op": "hello"}\n' * 5000)
    assert template.until_up()["pid"] == template.process.pid
    assert template.process.poll() is None


def test_modules_are_imported_once_and_one_that_fails_is_left_to_the_replicas(template):
    assert "seconds" in template.warm("harmless", "cannot_be_imported", "json")
    assert "seconds" in template.warm("cannot_be_imported")
    assert (template.folder / "template.log").read_text().count("cannot import cannot_be_imported") == 1


def test_replica_goes_from_loading_to_ready_and_answers(template, model):
    (model / "wait").touch()
    template.warm()
    replica = template.spawn(model, {"FLAVOUR": "vanilla"})
    assert replica.answer["mode"] == "fork"
    assert replica.answer["started_at"] == start_ticks(replica.pid)
    status = replica.until_phase("loading")
    assert (status["replica_id"], status["pid"], status["started_at"]) == (
        "r0",
        replica.pid,
        replica.answer["started_at"],
    )
    (model / "wait").unlink()
    status = replica.until_phase("ready")
    assert (status["batching"], status["fast_path"], status["warm_up"]) == (False, None, "no input example")
    assert json.loads(replica.ask(frames.encode(frames.HELLO, 1))) == {"replica_id": "r0", "pid": replica.pid}
    assert replica.predict(b"{}") == {"predictions": "vanilla"}
    assert Path(f"/proc/{replica.pid}/cwd").resolve() == (replica.folder / "work").resolve()
    assert os.getsid(replica.pid) == replica.pid


def test_replica_that_is_asked_to_stop_says_so(template, model):
    replica = template.spawn(model)
    replica.until_phase("ready")
    replica.predict(b"{}")
    os.kill(replica.pid, signal.SIGTERM)
    until(lambda: replica.exit)
    assert replica.exit == {"code": 0, "words": "exited with status 0"}
    assert replica.status["phase"] == "stopped"


def test_replica_whose_model_cannot_be_loaded_says_why(template, model):
    (model / "broken").touch()
    replica = template.spawn(model)
    until(lambda: replica.exit)
    assert replica.exit["code"] == 3
    assert replica.status["phase"] == "failed"
    assert replica.status["message"] == "SystemExit: no such luck"
    assert "Traceback" in replica.log


def test_crash_is_written_into_the_folder_of_the_replica(template, model):
    replica, other = template.spawn(model), template.spawn(model)
    replica.until_phase("ready")
    other.until_phase("ready")
    os.kill(replica.pid, signal.SIGKILL)
    until(lambda: replica.exit)
    assert replica.exit == {"signal": 9, "words": "killed by SIGKILL"}
    assert not other.exit
    assert alive(other.pid)


@pytest.mark.parametrize(
    ("variable", "mode"),
    [("OMP_NUM_THREADS", "fresh"), ("PYTHONHASHSEED", "fresh"), ("FLAVOUR", "fork"), ("MY_OMP_", "fork")],
)
def test_variable_that_libraries_read_on_import_makes_a_fresh_process(template, model, variable, mode):
    template.warm()
    replica = template.spawn(model, {variable: "2", "FLAVOUR": "mint"})
    assert replica.answer["mode"] == mode
    status = replica.until_phase("ready")
    assert status["pid"] == replica.pid
    command = Path(f"/proc/{replica.pid}/cmdline").read_bytes().split(b"\0")
    assert (b"replica" in command) == (mode == "fresh")
    assert replica.predict(b"{}") == {"predictions": "mint"}
    os.kill(replica.pid, signal.SIGKILL)
    until(lambda: replica.exit)
    assert replica.exit["signal"] == 9


@pytest.mark.parametrize("variables", [{"TOKEN": "hunter2"}, {"TOKEN": "hunter2", "OMP_NUM_THREADS": "1"}])
def test_an_environment_is_in_no_file_and_no_command_line(template, model, variables):
    replica = template.spawn(model, variables)
    replica.until_phase("ready")
    template.spawn(model, {"FLAVOUR": "hunter3"}).until_phase("ready")
    written = [path for path in template.folder.rglob("*") if path.is_file()]
    assert {"status.json", "template.log", "r0.log"} <= {path.name for path in written}
    assert not any(b"hunter" in path.read_bytes() for path in written)
    for pid in (template.process.pid, replica.pid):
        assert b"hunter" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_descriptors_do_not_gather_in_the_template(template, model):
    folder = Path(f"/proc/{template.process.pid}/fd")
    template.spawn(model).until_phase("ready")
    until(lambda: len(list(folder.iterdir())) < 12)
    before = len(list(folder.iterdir()))
    for request in ({"op": "hello"}, b"no json", {"op": "spawn", "replica": {}}):
        template.call(request, environment=b"{}")
    replica = template.spawn(model)
    replica.until_phase("ready")
    until(lambda: len(list(folder.iterdir())) == before)
    left = [os.readlink(path) for path in Path(f"/proc/{replica.pid}/fd").iterdir()]
    assert not any("deleted" in target for target in left)


def test_a_replica_whose_environment_cannot_be_read_ends_alone(template, model):
    config = template.spawn(model, {"FLAVOUR": "mint"}).config
    other = {**config, "folder": str(template.folder / "other")}
    answer = template.call({"op": "spawn", "replica": other}, environment=b"no json")
    until(lambda: not alive(answer["pid"]))
    until(lambda: read(template.folder / "other" / "exit.json"))
    assert template.call({"op": "hello"})["pid"] == template.process.pid


@pytest.mark.parametrize("how", ["stop", "crash"])
def test_replicas_outlive_their_template(template, model, how):
    replica = template.spawn(model, {"FLAVOUR": "mocha"})
    replica.until_phase("ready")
    if how == "stop":
        assert template.call({"op": "stop"}) == {}
        assert template.process.wait(SECONDS) == 0
        assert not os.path.exists(template.socket)
    else:
        template.process.kill()
        template.process.wait()
    assert replica.predict(b"{}") == {"predictions": "mocha"}
    assert replica.status["phase"] == "ready"


def test_library_that_starts_threads_is_left_out_and_the_replicas_stay_children(template, model):
    replica = template.spawn(model)
    replica.until_phase("ready")
    pid = template.process.pid
    assert template.warm("starts_threads") == {"restarting": True}
    assert template.until_up()["pid"] == pid
    assert "seconds" in template.warm("starts_threads", "starts_threads.more")
    assert (template.folder / "imports").read_text() == "x"
    assert len(os.listdir(f"/proc/{pid}/task")) == 1
    assert replica.predict(b"{}") == {"predictions": "None"}
    os.kill(replica.pid, signal.SIGKILL)
    until(lambda: replica.exit)
    assert replica.exit["signal"] == 9
    later = template.spawn(model)
    assert later.until_phase("ready")["replica_id"] == "r1"


def test_replica_that_ends_while_the_template_begins_again_is_recorded_at_once(template, model):
    replica = template.spawn(model)
    replica.until_phase("ready")
    began = time.monotonic()
    os.kill(template.process.pid, signal.SIGSTOP)
    os.kill(replica.pid, signal.SIGKILL)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(template.socket)
        sock.sendall(b'{"op": "warm", "modules": ["starts_threads"]}\n')
        os.kill(template.process.pid, signal.SIGCONT)
        until(lambda: replica.exit)
    assert replica.exit["signal"] == 9
    assert time.monotonic() - began < 4  # the template's own look comes after five seconds


def test_real_model_is_forked_from_a_template_with_the_real_libraries(folder):
    import mlflow
    import numpy as np
    from mlflow.models import infer_signature
    from sklearn.linear_model import LinearRegression

    frame = np.arange(12.0).reshape(6, 2)
    mlflow.sklearn.save_model(
        LinearRegression().fit(frame, frame.sum(axis=1)),
        str(folder / "model"),
        signature=infer_signature(frame[:2]),
        input_example=frame[:2],
        serialization_format="cloudpickle",
        pip_requirements=["mlflow"],
    )
    template = Template(folder)
    try:
        first, second = (template.warm("mlflow.sklearn")["seconds"] for _ in range(2))
        assert second < first / 5
        replica = template.spawn(folder / "model")
        status = replica.until_phase("ready")
        assert (status["batching"], status["fast_path"]) == (True, "tensor")
        assert status["warm_up"] == "input example answered"
        assert any(name.startswith("sklearn.") for name in status["imports"])
        [prediction] = replica.predict(b'{"inputs": [[1, 2]]}')["predictions"]
        assert prediction == pytest.approx(3.0)
        os.kill(replica.pid, signal.SIGKILL)
        until(lambda: replica.exit)
    finally:
        template.clean_up()
