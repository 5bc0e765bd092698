"""Models that take memory without end: ended by name, and nobody else's matter."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from load import load_on
from mlflow.pyfunc import PythonModel
from models import Registered, Registry, pins
from server import Json, Server, running_server, wait_for

pytestmark = pytest.mark.alone

MIB = 1024 * 1024
LIMIT_MIB = 700
NEIGHBOUR = "modest-iris"
GLUTTON = "glutton"
KILLED = re.compile(rf"killed: memory (\d+) MiB over the limit of {LIMIT_MIB} MiB|killed: memory ([\d.]+) GiB over")

ENDED_TWICE = (500, "The model process ended while it answered this request, twice.")


def glutton() -> PythonModel:
    """Takes memory as the column `do` says."""

    class Glutton(PythonModel):
        def predict(self, context, model_input, params=None):
            import os
            import signal
            import subprocess
            import sys
            import time

            wish = str(model_input["do"].iloc[0])
            held = []
            while wish == "grow":
                held.append(bytearray(b"x" * (8 << 20)))
            if wish == "leap":  # faster than anybody looks
                held.append(bytearray(64 << 30))
            if wish == "child":
                code = "held = []\nwhile True: held.append(bytearray(b'x' * (8 << 20)))"
                ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
                return [ended.stderr.strip().splitlines()[-1]] * len(model_input)
            if wish == "fork":
                held.append(bytearray(b"x" * (200 << 20)))
                forks = []
                while len(forks) < 4 and (fork := os.fork()):
                    forks.append(fork)
                if not fork:
                    time.sleep(60)
                    os._exit(0)
                time.sleep(3)
                for fork in forks:
                    os.kill(fork, signal.SIGKILL)
                    os.waitpid(fork, 0)
            return [wish] * len(model_input)

    return Glutton()


@pytest.fixture(scope="module")
def limited() -> Iterator[Server]:
    with running_server(settings={"MOORAGE_REPLICA_MEMORY_BYTES": str(LIMIT_MIB * MIB)}) as server:
        with server.as_client():
            mlflow.set_experiment("memory")
            with mlflow.start_run():
                mlflow.pyfunc.log_model(
                    name="model",
                    python_model=glutton(),
                    input_example=pd.DataFrame({"do": ["eat"]}),
                    registered_model_name="main.default.glutton",
                    pip_requirements=pins(),
                )
        server.create(GLUTTON, "main.default.glutton")
        server.ready(GLUTTON)
        yield server


@pytest.fixture(scope="module")
def neighbour(limited: Server) -> Registered:
    found = Registry(limited).register("iris")
    limited.create(NEIGHBOUR, found.name, found.version)
    limited.ready(NEIGHBOUR)
    return found


def ask(server: Server, do: str) -> tuple[int, Json]:
    answer = server.query(GLUTTON, {"dataframe_records": [{"do": do}]})
    return answer.status_code, answer.json()


def eats_again(server: Server) -> None:
    wait_for("it answers again", lambda: ask(server, "eat") == (200, {"predictions": ["eat"]}), 60)


def endings(server: Server) -> list[Json]:
    events = server.http.get(f"/api/2.0/serving-endpoints/{GLUTTON}/events?page_size=100").json()["events"]
    return [event for event in events if event["event_type"] == "REPLICA_ENDED"]


def test_replica_that_grows_without_end_is_killed_and_the_event_names_limit_and_peak(limited, neighbour):
    with load_on(limited, NEIGHBOUR, neighbour) as load:
        began = time.monotonic()
        status, answer = ask(limited, "grow")
        took = time.monotonic() - began
        eats_again(limited)
    assert (status, answer["message"]) == ENDED_TWICE
    assert took < 60
    assert load.failures == []
    messages = [event["message"] for event in endings(limited)]
    assert messages
    for message in messages:
        found = KILLED.search(message)
        assert found, message
        peak = float(found[1] or float(found[2]) * 1024)
        assert LIMIT_MIB < peak < 2.5 * LIMIT_MIB
    assert limited.detail(GLUTTON)["state"]["ready"] == "READY"


def test_one_allocation_that_is_far_too_large_fails_and_the_replica_lives_on(limited):
    eats_again(limited)
    before = limited.replicas()
    status, answer = ask(limited, "leap")
    assert status >= 400
    assert "MemoryError" in str(answer) or "allocate" in str(answer), answer
    eats_again(limited)
    assert limited.replicas() == before


def test_what_a_model_starts_counts_too(limited):
    eats_again(limited)
    seen = len(endings(limited))
    status, answer = ask(limited, "child")
    assert (status, answer["message"]) == ENDED_TWICE
    eats_again(limited)
    new = endings(limited)[: -seen or None]
    assert new
    assert all(KILLED.search(event["message"]) for event in new), new
    assert [line for line in _commands() if "held = []" in line] == []


def test_forks_do_not_count_what_they_share(limited):
    eats_again(limited)
    before = limited.replicas()
    assert ask(limited, "fork") == (200, {"predictions": ["fork"]})
    assert limited.replicas() == before


def test_a_restarted_control_plane_goes_on_watching(limited):
    eats_again(limited)
    replicas = limited.replicas()
    dead = limited.part("moorage.control")
    os.kill(dead, signal.SIGKILL)
    wait_for("another control plane", lambda: limited.part("moorage.control") not in (0, dead), 30)
    wait_for("it is up", lambda: limited.http.get("/health").status_code == 200, 60)

    def adopted() -> bool:
        events = limited.http.get(f"/api/2.0/serving-endpoints/{GLUTTON}/events?page_size=100").json()["events"]
        return any(event["event_type"] == "REPLICA_ADOPTED" for event in events)

    wait_for("the replica is adopted", adopted, 30)
    assert limited.replicas() == replicas
    seen = len(endings(limited))
    status, answer = ask(limited, "grow")
    assert (status, answer["message"]) == ENDED_TWICE
    eats_again(limited)
    new = endings(limited)[: -seen or None]
    assert new
    assert all(KILLED.search(event["message"]) for event in new), new


def _commands() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found.append(path.read_text(errors="replace"))
    return found
