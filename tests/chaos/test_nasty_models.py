"""Model code without manners: what it does stays in its process, and what it starts goes with it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import mlflow
import pandas as pd
import pytest
from load import load_on
from mlflow.pyfunc import PythonModel
from models import Registered, Registry, pins
from server import Server, is_alive, running_server, wait_for

pytestmark = pytest.mark.alone

NAME = "nasty"
NEIGHBOUR = "well-behaved"


def nasty() -> PythonModel:
    """Does what the column `do` says."""

    class Nasty(PythonModel):
        def predict(self, context, model_input, params=None):
            import os
            import subprocess
            import sys

            wish = str(model_input["do"].iloc[0])
            sleep = [sys.executable, "-c", "import time; time.sleep(1000)"]
            answer = wish
            if wish == "print":
                for _ in range(20_000):
                    print("x" * 1000)
            if wish == "change folder":
                os.chdir("/")
                os.umask(0)
                os.environ.clear()
            if wish == "close":
                os.closerange(0, 4096)
            if wish == "leave":
                sys.exit(7)
            if wish == "spawn":
                answer = subprocess.Popen(sleep).pid
            if wish == "spawn apart":
                answer = subprocess.Popen(sleep, start_new_session=True).pid
            return [str(answer)] * len(model_input)

    return Nasty()


@pytest.fixture(scope="module")
def patient() -> Iterator[Server]:
    with running_server(settings={"MOORAGE_REPLICA_LOG_BYTES": "1000000"}) as server:
        with server.as_client():
            mlflow.set_experiment("nasty")
            with mlflow.start_run():
                mlflow.pyfunc.log_model(
                    name="model",
                    python_model=nasty(),
                    input_example=pd.DataFrame({"do": ["answer"]}),
                    registered_model_name="main.default.nasty",
                    pip_requirements=pins(),
                )
        server.create(NAME, "main.default.nasty")
        server.ready(NAME)
        yield server


@pytest.fixture(scope="module")
def neighbour(patient: Server) -> Registered:
    found = Registry(patient).register("iris")
    patient.create(NEIGHBOUR, found.name, found.version)
    patient.ready(NEIGHBOUR)
    return found


def ask(server: Server, do: str) -> str | int:
    """The prediction, or the status of an answer without one."""
    answer = server.query(NAME, {"dataframe_records": [{"do": do}]})
    return str(answer.json()["predictions"][0]) if answer.status_code == 200 else answer.status_code


def answers(server: Server) -> None:
    wait_for("it answers", lambda: ask(server, "answer") == "answer", 60)


@pytest.mark.parametrize(("do", "outcome"), [("print", "print"), ("change folder", "change folder"), ("leave", 400)])
def test_replica_lives_on_after(patient, neighbour, do, outcome):
    answers(patient)
    before = patient.replicas()
    with load_on(patient, NEIGHBOUR, neighbour) as load:
        assert ask(patient, do) == outcome
        answers(patient)
    assert load.failures == []
    assert patient.replicas() == before


def test_a_log_stays_within_its_bound(patient):
    answers(patient)
    ask(patient, "print")

    def sizes() -> list[int]:
        return [path.stat().st_size for path in (patient.data_dir / "deployments").glob("*/*.log")]

    wait_for("the logs are cut", lambda: max(sizes()) <= 1_000_000, 30)


def test_replica_that_closes_its_descriptors_is_replaced(patient, neighbour):
    answers(patient)
    before = patient.replicas()
    with load_on(patient, NEIGHBOUR, neighbour) as load:
        assert ask(patient, "close") in (500, 502, 503)
        answers(patient)
    assert load.failures == []
    assert patient.replicas().keys() != before.keys()


@pytest.mark.parametrize("how", ["spawn", "spawn apart"])
def test_what_a_model_started_goes_when_its_replica_is_stopped(patient, how):
    answers(patient)
    child = int(ask(patient, how))
    assert is_alive(child)
    patient.delete(NAME)
    wait_for("its child is gone", lambda: not is_alive(child), 30)
    patient.create(NAME, "main.default.nasty")
    patient.ready(NAME)


def test_what_a_model_started_goes_when_its_replica_dies(patient):
    answers(patient)
    child = int(ask(patient, "spawn"))
    detail = patient.http.get(f"/api/2.0/serving-endpoints/{NAME}/replicas").json()
    os.kill(patient.replicas()[detail["replicas"][0]["id"]], signal.SIGKILL)
    wait_for("its child is gone", lambda: not is_alive(child), 30)
    answers(patient)
