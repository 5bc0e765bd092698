"""A model whose code is an enemy's: what it tries against the server and other models, and is refused.

Models are users of their own only where the server is root, so these tests need to be.
"""

from __future__ import annotations

import ctypes
import os
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import mlflow
import pandas as pd
import pytest
from mlflow.pyfunc import PythonModel
from models import pins
from server import OTHER_TOKEN, Server, endpoint_body, running_server, wait_for

if os.geteuid() != 0:
    if os.environ.get("CI"):
        pytest.fail("these tests need root, which CI has", pytrace=False)
    pytest.skip("only root can run models as other users", allow_module_level=True)

SECRET = "sesame-4711"
VARIABLES = {"A_SECRET": SECRET}
Attempt = Callable[..., str]


def enemy() -> PythonModel:
    """Does what the column `do` says to what the column `to` names. Answers `refused: ERRNO`, or what it got."""

    class Enemy(PythonModel):
        def predict(self, context, model_input, params=None):
            import ctypes
            import errno
            import os
            import signal
            import socket

            def read(path):
                with open(path, "rb") as file:
                    return file.read(200).decode(errors="replace")

            def write(path):
                with open(path, "a") as file:
                    file.write("x")

            def connect(path):
                with socket.socket(socket.AF_UNIX) as sock:
                    sock.settimeout(5)
                    sock.connect(path)
                    try:
                        sock.sendall(b'{"op": "hello"}\n')
                        return sock.recv(100).decode(errors="replace") or "hung up"
                    except (BrokenPipeError, ConnectionResetError):
                        return "hung up"

            def memory(pid):
                with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as file:
                    file.seek(int(maps.readline().split("-")[0], 16))
                    return repr(file.read(16))

            def trace(pid):
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.ptrace(0x4206, int(pid), None, None) != 0:  # PTRACE_SEIZE: it goes on undisturbed
                    raise OSError(ctypes.get_errno(), "ptrace")

            def redirect(path):
                own = os.path.dirname(os.getcwd()) + "/s"
                os.rename(own, own + ".mine")
                os.symlink(path, own)

            deeds = {
                "answer": lambda _: "done",
                "read": read,
                "write": write,
                "make": lambda path: os.mkdir(path),
                "list": lambda path: " ".join(os.listdir(path)),
                "delete": lambda path: os.unlink(path),
                "connect": connect,
                "environ": lambda pid: read(f"/proc/{pid}/environ"),
                "memory": memory,
                "descriptors": lambda pid: " ".join(os.listdir(f"/proc/{pid}/fd")),
                "trace": trace,
                "signal": lambda pid: os.kill(int(pid), signal.SIGCONT),
                "become root": lambda _: os.setuid(0),
                "who": lambda _: f"{os.getuid()} {os.getgid()} {os.getgroups()}",
                "own environ": lambda _: "\n".join(f"{k}={v}" for k, v in os.environ.items()),
                "own descriptors": lambda _: "\n".join(
                    os.readlink(f"/proc/self/fd/{one}") for one in sorted(os.listdir("/proc/self/fd"), key=int)[:-1]
                ),
                "redirect": redirect,
            }
            answers = []
            for deed, target in zip(model_input["do"], model_input["to"], strict=True):
                try:
                    answers.append(str(deeds[deed](target)))
                except OSError as error:
                    answers.append(f"refused: {errno.errorcode.get(error.errno, error)}")
            return answers

    return Enemy()


class Site:
    """A server with endpoints of the enemy's model: `enemy` and `sibling` of one creator, `stranger` of another.

    `sibling-fresh` is a sibling that was started as a new program, not as a fork.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.stranger = httpx.Client(
            base_url=server.url, headers={"Authorization": f"Bearer {OTHER_TOKEN}"}, timeout=60
        )
        _log(server, "main.default.enemy", server.token)
        _log(server, "main.other.enemy", OTHER_TOKEN)
        server.create("enemy", "main.default.enemy")
        server.create("sibling", "main.default.enemy", environment_vars=VARIABLES)
        server.create("sibling-fresh", "main.default.enemy", environment_vars={**VARIABLES, "OMP_NUM_THREADS": "1"})
        body = endpoint_body("stranger", "main.other.enemy", environment_vars=VARIABLES)
        answer = self.stranger.post("/api/2.0/serving-endpoints", json=body)
        assert answer.status_code == 200, answer.text
        for name in ("enemy", "sibling", "sibling-fresh", "stranger"):
            server.ready(name)

    def attempt(self, do: str, to: object = "") -> str:
        """What the enemy gets of it."""
        answer = self.server.query("enemy", {"dataframe_records": [{"do": do, "to": str(to)}]})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["predictions"][0])

    def pid(self, endpoint: str) -> int:
        return self.server.replicas()[self.replica(endpoint)]

    def replica(self, endpoint: str) -> str:
        client = self.stranger if endpoint == "stranger" else self.server.http
        answer = client.get(f"/api/2.0/serving-endpoints/{endpoint}/replicas")
        assert answer.status_code == 200, answer.text
        [one] = answer.json()["replicas"]
        return str(one["id"])

    def folder(self, endpoint: str) -> Path:
        return self.server.data_dir / "run" / "replicas" / self.replica(endpoint)

    def log(self, endpoint: str) -> Path:
        [path] = (self.server.data_dir / "deployments").glob(f"*/{self.replica(endpoint)}.log")
        return path


def _log(server: Server, name: str, token: str) -> None:
    with server.as_client(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABRICKS_TOKEN", token)
        patch.setenv("MLFLOW_TRACKING_TOKEN", token)
        mlflow.set_experiment(name)
        with mlflow.start_run():
            mlflow.pyfunc.log_model(
                name="model",
                python_model=enemy(),
                input_example=pd.DataFrame({"do": ["answer"], "to": [""]}),
                registered_model_name=name,
                pip_requirements=pins(),
            )


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_server(with_other_user=True, settings={"MOORAGE_REPLICA_WAIT_SECONDS": "5"}) as server:
        made = Site(server)
        yield made
        made.stranger.close()


@pytest.fixture
def attempt(site: Site) -> Iterator[Attempt]:
    """Try something; afterwards the enemy must still serve."""
    yield site.attempt
    assert site.attempt("answer") == "done"


def test_the_enemy_is_the_same_user_as_its_siblings_and_nobody_elses(site: Site) -> None:
    own, sibling, stranger = (_user(site.pid(name)) for name in ("enemy", "sibling", "stranger"))
    assert own == sibling
    assert len({own, stranger, os.getuid()}) == 3
    assert site.attempt("who") == f"{own} {own} []"


@pytest.mark.parametrize(
    "name",
    ["encryption.key", "moorage.db", "moorage.db-wal", "admin.env", "lock", "oauth-signing-key.pem",
     "run/server/snapshot.json", "logs/control.log", "logs/gateway-0.log", "mlflow/mlflow.db"],
)  # fmt: skip
def test_files_of_the_server_cannot_be_read_or_written(site: Site, attempt: Attempt, name: str) -> None:
    path = site.server.data_dir / name
    wait_for(f"{name} is there", path.exists, 30)
    assert attempt("read", path) == "refused: EACCES"
    assert attempt("write", path) == "refused: EACCES"
    assert attempt("delete", path) == "refused: EACCES"


@pytest.mark.parametrize(
    "name", ["", "run", "run/server", "run/replicas", "run/templates", "models", "environments", "deployments",
             "logs", "mlflow", "spool", "tables"]
)  # fmt: skip
def test_folders_cannot_be_listed_or_written(site: Site, attempt: Attempt, name: str) -> None:
    folder = site.server.data_dir / name
    assert attempt("list", folder) == "refused: EACCES"
    assert attempt("write", folder / "new") == "refused: EACCES"
    assert attempt("make", folder / "new-folder") == "refused: EACCES"


def test_models_and_environments_cannot_be_changed(site: Site, attempt: Attempt) -> None:
    [*models] = (site.server.data_dir / "models").iterdir()
    assert len(models) == 2
    for model in models:
        assert attempt("write", model / "MLmodel") == "refused: EACCES"
        assert attempt("write", model / "new") == "refused: EACCES"
    assert attempt("write", Path(pd.__file__)) == "refused: EACCES"


@pytest.mark.parametrize("name", ["run/server/control.sock", "run/server/mlflow.sock"])
def test_sockets_of_the_server_cannot_be_reached(site: Site, attempt: Attempt, name: str) -> None:
    assert stat.S_ISSOCK((site.server.data_dir / name).stat().st_mode)
    assert attempt("connect", site.server.data_dir / name) == "refused: EACCES"


def test_sockets_of_other_models_cannot_be_reached(site: Site, attempt: Attempt) -> None:
    assert attempt("connect", site.folder("stranger") / "s") == "refused: EACCES"
    assert attempt("connect", site.folder("sibling") / "s") == "hung up"


def test_templates_obey_no_model(site: Site, attempt: Attempt) -> None:
    templates = site.server.data_dir / "run" / "templates"
    own, other = (str(_user(site.pid(name))) for name in ("enemy", "stranger"))
    [own_socket], [other_socket] = (list((templates / uid).glob("*[0-9a-f]")) for uid in (own, other))
    assert attempt("connect", own_socket) == "hung up"
    assert attempt("connect", other_socket) == "refused: EACCES"


@pytest.mark.parametrize("victim", ["sibling", "sibling-fresh", "stranger"])
def test_other_models_cannot_be_looked_into(site: Site, attempt: Attempt, victim: str) -> None:
    pid = site.pid(victim)
    for deed in ("environ", "memory", "descriptors"):
        assert attempt(deed, pid) == "refused: EACCES", deed
    assert attempt("trace", pid) == "refused: EPERM"


@pytest.mark.parametrize("part", ["moorage.control", "moorage.gateway", "moorage.supervisor.mlflow_server"])
def test_the_server_cannot_be_looked_into_or_signalled(site: Site, attempt: Attempt, part: str) -> None:
    pid = site.server.part(part)
    assert pid
    for deed in ("environ", "memory", "descriptors"):
        assert attempt(deed, pid) == "refused: EACCES", deed
    for deed in ("trace", "signal"):
        assert attempt(deed, pid) == "refused: EPERM", deed


def test_models_of_other_creators_cannot_be_signalled(site: Site, attempt: Attempt) -> None:
    assert attempt("signal", site.pid("stranger")) == "refused: EPERM"


@pytest.mark.skipif(
    ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), ctypes.c_uint32(1)) < 6,
    reason="this kernel's Landlock knows no scopes (Linux 6.12)",
)
@pytest.mark.parametrize("victim", ["sibling", "sibling-fresh"])
def test_models_of_the_same_creator_cannot_be_signalled(site: Site, attempt: Attempt, victim: str) -> None:
    assert attempt("signal", site.pid(victim)) == "refused: EPERM"


def test_logs_of_other_models_cannot_be_read_or_written(site: Site, attempt: Attempt) -> None:
    for deed in ("read", "write", "delete"):
        assert attempt(deed, site.log("stranger")) == "refused: EACCES"
    assert attempt("list", site.folder("stranger")) == "refused: EACCES"
    assert attempt("delete", site.log("enemy")) == "refused: EACCES"


def test_no_way_leads_to_root(site: Site, attempt: Attempt) -> None:
    assert attempt("become root") == "refused: EPERM"
    status = Path(f"/proc/{site.pid('enemy')}/status").read_text()
    assert "\nNoNewPrivs:\t1\n" in status
    assert "\nCapEff:\t0000000000000000\n" in status
    assert "\nCapPrm:\t0000000000000000\n" in status


def test_environment_and_descriptors_hold_nothing_of_the_server(site: Site, attempt: Attempt) -> None:
    seen = dict(line.partition("=")[::2] for line in attempt("own environ").splitlines())
    folder = str(site.folder("enemy"))
    assert (seen["HOME"], seen["TMPDIR"]) == (f"{folder}/work", f"{folder}/tmp")
    ours = ("MOORAGE_", "DATABRICKS_", "MLFLOW_TRACKING_", "MLFLOW_REGISTRY_", "UV_", "PIP_")
    assert [name for name in seen if name.startswith(ours)] == []
    assert SECRET not in str(seen)
    descriptors = attempt("own descriptors").splitlines()
    log = str(site.log("enemy"))
    assert descriptors[:3] == ["/dev/null", log, log]
    assert [one for one in descriptors[3:] if not one.startswith(("socket:", "pipe:", "anon_inode:"))] == []


def test_a_secret_is_given_to_its_own_model_alone(site: Site) -> None:
    body = {"dataframe_records": [{"do": "own environ", "to": ""}]}
    for name in ("sibling", "sibling-fresh"):
        assert f"A_SECRET={SECRET}" in site.server.query(name, body).json()["predictions"][0]
    answer = site.stranger.post("/serving-endpoints/stranger/invocations", json=body)
    assert f"A_SECRET={SECRET}" in answer.json()["predictions"][0]


def test_requests_do_not_follow_a_model_that_puts_another_socket_in_the_place_of_its_own(site: Site) -> None:
    """The gateway may connect to every socket: it must not be led to one that the model itself could not reach."""
    folder = site.folder("enemy")
    assert site.attempt("redirect", site.folder("stranger") / "s") == "None"
    gateway = site.server.part("moorage.gateway")
    os.kill(gateway, signal.SIGKILL)  # its successor does not know the way yet

    def answer() -> httpx.Response | None:
        try:
            return site.server.query("enemy", {"dataframe_records": [{"do": "who", "to": ""}]})
        except httpx.TransportError:  # there is no gateway
            return None

    answered = wait_for("an answer", answer, 60)
    assert answered.status_code in (502, 503), answered.text
    (folder / "s").unlink()
    (folder / "s.mine").rename(folder / "s")

    def serves() -> bool:
        return bool(answer().status_code == 200)  # type: ignore[union-attr]

    wait_for("the enemy serves again", serves, 60)


def _user(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("Uid:")))
