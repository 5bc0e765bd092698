"""MLflow with Databricks' URIs where models, runs and files are in an MLflow server that runs somewhere else."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import mlflow
import pandas as pd
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import NotFound
from mlflow import MlflowClient
from server import Server, running_server, wait_for
from test_databricks_uris import NOTEBOOK, TRACKING, run_script

NAME = "main.default.m"
U1 = "/api/2.0/mlflow/unity-catalog"
U2 = "/api/2.1/unity-catalog/models"
FILES = "/api/2.0/fs/files/Models/main/default"
SECONDS = 30.0
BLOCK = bytes(range(256)) * 4096
BLOCKS = 128
MOST_GROWTH_KB = 30 << 10


class ExternalMlflow:
    """`mlflow server` on a port that it keeps; its database and its files are in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.artifacts = folder / "artifacts"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, again too. It takes seconds until it answers."""
        dropped = ("DATABRICKS_", "MLFLOW_", "MOORAGE_")
        command = [str(Path(sys.executable).with_name("mlflow")), "server", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1", "--serve-artifacts"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        command += ["--artifacts-destination", str(self.artifacts)]
        kept = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
        with (self.folder / "mlflow.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**kept, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                start_new_session=True,
            )

    def wait_until_it_answers(self) -> None:
        wait_for("the external MLflow server answers", self._answers, 2 * SECONDS)

    def stop(self) -> None:
        """End it and what it has started."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(SECONDS)
        self.process = None

    def files(self) -> list[str]:
        """The files of registered versions that it has, relative to its store."""
        found = (self.artifacts / "registered-models").rglob("*")
        return sorted(str(path.relative_to(self.artifacts)) for path in found if path.is_file())

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "mlflow.log").read_text()
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/health").status_code == 200
        return False


@pytest.fixture(scope="module")
def external(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExternalMlflow]:
    one = ExternalMlflow(tmp_path_factory.mktemp("external"))
    try:
        one.start()
        yield one
    finally:
        one.stop()


@pytest.fixture(scope="module")
def server(external: ExternalMlflow) -> Iterator[Server]:
    with running_server(settings={"MOORAGE_MLFLOW_URI": external.url}) as running:
        external.wait_until_it_answers()  # the two start at the same time
        yield running


@pytest.fixture(scope="module")
def workspace(server: Server) -> WorkspaceClient:
    return WorkspaceClient(host=server.url, token=server.token, auth_type="pat")


@pytest.fixture(scope="module")
def notebook(server: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The notebook has run: there is a registered version, and an endpoint that serves it."""
    done = run_script(server, tmp_path_factory.mktemp("notebook"), NOTEBOOK)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{server.log_tail()}"
    assert "predictions:" in done.stdout


@contextmanager
def plain_mlflow(server: Server, external: ExternalMlflow) -> Iterator[MlflowClient]:
    """MLflow's client in this process, with the external server's own URI and no credential."""
    with server.as_client(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", external.url)
        patch.delenv("MLFLOW_TRACKING_TOKEN", raising=False)
        yield MlflowClient(tracking_uri=external.url, registry_uri=external.url)


def test_a_notebook_runs_and_its_endpoint_serves(server: Server, notebook: None) -> None:
    answer = server.query("regression", {"dataframe_records": [{"x": 1.0, "y": 2.0}]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"] == [pytest.approx(7.0)]
    assert not list((server.data_dir / "mlflow").rglob("*.pkl")), "files of models are kept on this side"


def test_runs_artifacts_and_traces(server: Server, external: ExternalMlflow, tmp_path: Path) -> None:
    done = run_script(server, tmp_path, TRACKING)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{server.log_tail()}"
    run_id = done.stdout.split("tracked ")[1].strip()
    with plain_mlflow(server, external) as client:
        assert client.get_run(run_id).info.artifact_uri.startswith("mlflow-artifacts:/")
        there = client.download_artifacts(run_id, "files/below/a file ü.txt", str(tmp_path))
    assert Path(there).read_text() == "odd name"


def test_plain_mlflow_at_the_external_server_has_the_same_model(
    server: Server, external: ExternalMlflow, notebook: None
) -> None:
    with plain_mlflow(server, external) as client:
        version = client.get_model_version_by_alias(NAME, "champion")
        assert version.version == "1"
        assert version.source.startswith("mlflow-artifacts:/registered-models/")
        assert "moorage.registration" not in version.tags
        model = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
        assert model.predict(pd.DataFrame({"x": [1.0], "y": [2.0]})).tolist() == [pytest.approx(7.0)]


def test_files_come_back_as_they_are_in_the_external_store(
    server: Server, external: ExternalMlflow, workspace: WorkspaceClient, notebook: None
) -> None:
    listed = [one.path for one in workspace.files.list_directory_contents("/Models/main/default/m/1")]
    files = [path for path in external.files() if path.endswith("/model.pkl")]
    assert len(files) == 1
    assert "/Models/main/default/m/1/model.pkl" in listed
    content = (external.artifacts / files[0]).read_bytes()
    file = "/Models/main/default/m/1/model.pkl"
    assert workspace.files.download(file).contents.read() == content
    assert workspace.files.get_metadata(file).content_length == len(content)
    ranged = server.http.get(f"{FILES}/m/1/model.pkl", headers={"Range": "bytes=5-24"})
    assert (ranged.status_code, ranged.content) == (206, content[5:25])
    assert ranged.headers["content-range"] == f"bytes 5-24/{len(content)}"
    last = server.http.get(f"{FILES}/m/1/model.pkl", headers={"Range": "bytes=-7"})
    assert (last.status_code, last.content) == (206, content[-7:])


def test_a_deleted_model_leaves_no_files(
    server: Server, external: ExternalMlflow, workspace: WorkspaceClient
) -> None:
    before = external.files()
    make_version(server, "short")
    for path, content in (("MLmodel", b"flavors: {}\n"), ("data/a b.bin", BLOCK)):
        assert put(server, f"short/1/{path}", content).status_code == 204
    assert finalize(server, "short").json()["model_version"]["status"] == "READY"
    listed = workspace.registered_models.list(catalog_name="main", schema_name="default")
    assert "main.default.short" in [one.full_name for one in listed]
    assert workspace.files.download("/Models/main/default/short/1/data/a b.bin").contents.read() == BLOCK
    assert len(external.files()) == len(before) + 2
    workspace.registered_models.delete("main.default.short")
    assert external.files() == before
    for gone in (
        lambda: workspace.registered_models.get("main.default.short"),
        lambda: workspace.files.download("/Models/main/default/short/1/MLmodel"),
    ):
        with pytest.raises(NotFound):
            gone()


def test_large_files_do_not_pass_through_memory(server: Server) -> None:
    make_version(server, "large")
    assert put(server, "large/1/first", b"x").status_code == 204  # what the first file loads no large one costs
    pid = server.part("moorage.control")
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak is that of now
    before = peak_kb(pid)
    assert put(server, "large/1/weights", (BLOCK for _ in range(BLOCKS))).status_code == 204
    with server.http.stream("GET", f"{FILES}/large/1/weights") as answer:
        assert int(answer.headers["content-length"]) == BLOCKS * len(BLOCK)
        assert all(piece == BLOCK for piece in answer.iter_bytes(len(BLOCK)))
    assert answer.num_bytes_downloaded == BLOCKS * len(BLOCK)
    assert peak_kb(pid) - before < MOST_GROWTH_KB


def test_while_the_external_server_is_away_it_is_said_so_and_endpoints_serve(
    server: Server, external: ExternalMlflow, notebook: None
) -> None:
    """It goes in the middle of a registration and of a download, and comes back."""
    make_version(server, "waiting")
    assert put(server, "waiting/1/MLmodel", b"flavors: {}\n").status_code == 204
    assert put(server, "waiting/1/weights", (BLOCK for _ in range(BLOCKS))).status_code == 204
    with server.http.stream("GET", f"{FILES}/waiting/1/weights") as answer:
        pieces = answer.iter_raw()
        next(pieces)
        external.stop()
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
            list(pieces)

    asked: dict[str, Callable[[], httpx.Response]] = {
        "a model of U1": lambda: server.http.get(f"{U1}/registered-models/get", params={"name": NAME}),
        "models of U1": lambda: server.http.get(f"{U1}/registered-models/search"),
        "a new model of U1": lambda: server.http.post(f"{U1}/registered-models/create", json={"name": f"{NAME}2"}),
        "the end of a registration": lambda: finalize(server, "waiting"),
        "models of U2": lambda: server.http.get(U2),
        "a model of U2": lambda: server.http.get(f"{U2}/{NAME}"),
        "no model of U2": lambda: server.http.delete(f"{U2}/{NAME}"),
        "a file": lambda: server.http.get(f"{FILES}/m/1/MLmodel"),
        "a new file": lambda: put(server, "waiting/1/late", BLOCK),
        "no file": lambda: server.http.delete(f"{FILES}/waiting/1/MLmodel"),
        "a directory": lambda: server.http.get(f"{FILES.replace('/files/', '/directories/')}/m/1"),
        "MLflow's own API": lambda: server.http.get("/api/2.0/mlflow/registered-models/get", params={"name": NAME}),
    }
    for what, ask in asked.items():
        answer = ask()
        assert answer.status_code == 503, (what, answer.text)
        assert answer.json()["error_code"] == "TEMPORARILY_UNAVAILABLE", what
        assert set(answer.json()) == {"error_code", "message"}, what
        assert int(answer.headers["retry-after"]) > 0, what
    served = server.query("regression", {"dataframe_records": [{"x": 1.0, "y": 2.0}]})
    assert served.json() == {"predictions": [pytest.approx(7.0)]}

    external.start()
    external.wait_until_it_answers()
    assert asked["a model of U2"]().json()["full_name"] == NAME
    assert asked["a file"]().status_code == 200
    assert asked["a new file"]().status_code == 204
    late = server.http.get(f"{FILES}/waiting/1/late")
    assert (late.status_code, late.content) == (200, BLOCK)
    finalized = asked["the end of a registration"]()
    assert finalized.json()["model_version"]["status"] == "READY"
    assert put(server, "waiting/1/late", b"later").status_code == 403


def make_version(server: Server, name: str) -> None:
    """A first version of a new model, which waits for its files, made as MLflow's client makes it."""
    model = {"name": f"main.default.{name}"}
    for path, more in (("registered-models/create", {}), ("model-versions/create", {"source": "dbfs:/elsewhere"})):
        answer = server.http.post(f"{U1}/{path}", json={**model, **more})
        assert answer.status_code == 200, answer.text


def put(server: Server, path: str, content: bytes | Iterator[bytes]) -> httpx.Response:
    return server.http.put(f"{FILES}/{path}", content=content)


def finalize(server: Server, name: str) -> httpx.Response:
    body = {"name": f"main.default.{name}", "version": "1"}
    return server.http.post(f"{U1}/model-versions/finalize", json=body)


def peak_kb(pid: int) -> int:
    """The most memory that the process had at once."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])
