"""Checks of real models by a real server: every step, nothing left behind, and the command's exit statuses."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import warnings
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow.models import infer_signature
from mlflow.pyfunc import PythonModel
from models import MISSING_PACKAGE, pins
from server import OTHER_TOKEN, Server, data_directory, heed_interrupts, is_alive, wait_for

CHECKS = "/api/2.0/model-checks"
STEPS = ["registry", "fetch", "environment", "load", "signature", "example", "batching"]
_SECONDS = 120.0

Json = dict[str, Any]


# Classes inside functions: those of a module would be pickled by reference to it, which a replica cannot import.


def refuses() -> PythonModel:
    class Refuses(PythonModel):
        def predict(self, context, model_input, params=None):
            raise ValueError("no row is good enough")

    return Refuses()


def loads_for_ever() -> PythonModel:
    class LoadsForEver(PythonModel):
        def load_context(self, context):
            import time

            print("reading the weights", flush=True)
            time.sleep(3600)

        def predict(self, context, model_input, params=None):
            return model_input

    return LoadsForEver()


def register(server: Server, name: str, model: PythonModel, *, with_example: bool = False) -> str:
    rows = pd.DataFrame({"a": [1.0, 2.0]})
    with server.as_client(), warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        mlflow.set_experiment("checks")
        with mlflow.start_run():
            mlflow.pyfunc.log_model(
                name="model",
                python_model=model,
                registered_model_name=name,
                signature=infer_signature(rows, rows["a"]),
                input_example=rows if with_example else None,
                pip_requirements=pins(),
            )
    return name


def begin(server: Server, model: str, **fields: object) -> str:
    answer = server.http.post(CHECKS, json={"entity_name": model, "entity_version": "1", **fields})
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert [step["name"] for step in document["steps"]] == STEPS
    return str(document["check_id"])


def get(server: Server, check_id: str) -> Json:
    answer = server.http.get(f"{CHECKS}/{check_id}")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def finished(server: Server, check_id: str) -> Json:
    def look() -> Json | None:
        check = get(server, check_id)
        return check if check["state"] in ("SUCCEEDED", "FAILED") else None

    return wait_for("the check ends", look, _SECONDS)


def by_name(check: Json) -> dict[str, Json]:
    return {step["name"]: step for step in check["steps"]}


def states(check: Json) -> list[str]:
    return [step["state"] for step in check["steps"]]


def traces(server: Server) -> set[tuple[str, str]]:
    """What a check might leave: replicas' folders and sockets, deployments' folders, rows; of others' too."""
    found = {("replica", path.name) for path in (server.data_dir / "run" / "replicas").glob("*")}
    found |= {("folder", path.name) for path in (server.data_dir / "deployments").iterdir()}
    database = sqlite3.connect(f"file:{server.data_dir / 'moorage.db'}?mode=ro", uri=True)
    try:
        for table in ("deployments", "endpoints"):
            found |= {(table, row[0]) for row in database.execute(f"SELECT id FROM {table}")}
    finally:
        database.close()
    return found


@pytest.fixture(scope="module", autouse=True)
def _catalogue(server: Server) -> None:
    server.wait_for_catalogue()


def loading_replica(server: Server, known: set[tuple[str, str]]) -> int:
    """The pid of a replica that loads and is not one of the known; 0 when there is none."""
    for path in (server.data_dir / "run" / "replicas").glob("*/status.json"):
        try:
            status = json.loads(path.read_text())
        except (FileNotFoundError, ValueError):
            continue
        if ("replica", path.parent.name) not in known and status["phase"] == "loading":
            return int(status["pid"])
    return 0


def test_a_good_model_passes_with_its_times_and_leaves_nothing(server, registered):
    model = registered("iris").name
    before = traces(server)
    check = finished(server, begin(server, model))
    assert check["state"] == "SUCCEEDED", json.dumps(check, indent=1)
    assert check["message"] == f"{model} version 1 can be served."
    assert states(check) == ["OK"] * len(STEPS)
    steps = by_name(check)
    load, example = steps["load"]["figures"], steps["example"]["figures"]
    assert 0 < load["load_seconds"] <= steps["load"]["seconds"]
    assert 0 < load["own_bytes"] < load["resident_bytes"]
    assert load["resident_bytes"] > 50 * 1024**2
    assert example["status"] == 200
    assert 0 < example["predict_seconds"] <= steps["example"]["seconds"]
    assert steps["batching"]["figures"] == {"path": "array"}
    assert steps["fetch"]["figures"]["size_bytes"] > 1000
    assert "the server's own environment is used" in check["build_log"]
    assert traces(server) <= before


def test_a_model_that_does_not_load_fails_there_with_its_log(server, registered):
    before = traces(server)
    check = finished(server, begin(server, registered("load_raises").name))
    assert check["state"] == "FAILED"
    assert states(check) == ["OK"] * 3 + ["FAILED"] + ["SKIPPED"] * 3
    words = by_name(check)["load"]["message"]
    assert "RuntimeError: the weights are missing" in words.splitlines()[0]
    assert "looking for the weights" in words
    assert "Traceback" in words
    assert traces(server) <= before


def test_a_model_that_refuses_its_own_example_fails_there(server):
    model = register(server, "main.default.refuses", refuses(), with_example=True)
    before = traces(server)
    check = finished(server, begin(server, model))
    assert states(check) == ["OK"] * 5 + ["FAILED", "SKIPPED"], json.dumps(check, indent=1)
    words = by_name(check)["example"]["message"]
    assert "status 400" in words
    assert "no row is good enough" in words
    assert traces(server) <= before


def test_a_requirement_that_does_not_exist_fails_the_environment(server, registered):
    before = traces(server)
    check = finished(server, begin(server, registered("cannot_install").name))
    assert states(check) == ["OK", "OK", "FAILED"] + ["SKIPPED"] * 4
    assert MISSING_PACKAGE in by_name(check)["environment"]["message"]
    assert MISSING_PACKAGE in check["build_log"]
    assert traces(server) <= before


def test_a_model_without_signature_and_example_passes_with_a_warning(server, registered):
    check = finished(server, begin(server, registered("no_signature").name))
    assert check["state"] == "SUCCEEDED"
    steps = by_name(check)
    assert (steps["signature"]["state"], steps["example"]["state"]) == ("WARNING", "SKIPPED")
    assert "seconds" in steps["example"]
    assert steps["batching"]["figures"] == {"path": "mlflow"}


def test_an_unknown_model_is_refused_as_create_refuses_it(server):
    entity = {"entity_name": "main.default.nosuch", "entity_version": "1"}
    body = {"name": "nosuch", "config": {"served_entities": [entity]}}
    created = server.http.post("/api/2.0/serving-endpoints", json=body)
    checked = server.http.post(CHECKS, json=entity)
    assert checked.status_code == 404
    assert checked.json() == created.json()


def test_a_canceled_check_ends_its_replica_and_others_see_none_of_it(server):
    model = register(server, "main.default.loads_for_ever", loads_for_ever())
    before = traces(server)
    check_id = begin(server, model)
    pid = wait_for("the model is being loaded", lambda: loading_replica(server, before), _SECONDS)
    assert by_name(get(server, check_id))["load"]["state"] == "RUNNING"
    others = {"Authorization": f"Bearer {OTHER_TOKEN}"}
    for method in ("GET", "DELETE"):
        assert server.http.request(method, f"{CHECKS}/{check_id}", headers=others).status_code == 404
    assert is_alive(pid)
    assert server.http.delete(f"{CHECKS}/{check_id}").status_code == 200
    assert not is_alive(pid)
    assert server.http.get(f"{CHECKS}/{check_id}").status_code == 404
    assert traces(server) <= before


def test_a_killed_control_plane_and_a_stopped_server_leave_no_replica_of_a_check():
    with data_directory() as data_dir:
        server = Server(data_dir)
        try:
            server.wait_for_catalogue()
            before = traces(server)
            model = register(server, "main.default.loads_for_ever", loads_for_ever())
            check_id = begin(server, model)
            pid = wait_for("the model is being loaded", lambda: loading_replica(server, before), _SECONDS)
            control = server.part("moorage.control")
            os.kill(control, signal.SIGKILL)
            wait_for("another control plane", lambda: server.part("moorage.control") not in (0, control), 30)

            def forgotten() -> bool:
                return server.http.get(f"{CHECKS}/{check_id}").status_code == 404

            wait_for("the new control plane answers", forgotten, 30)
            assert not is_alive(pid)
            assert traces(server) == before

            begin(server, model)
            wait_for("the model is being loaded", lambda: loading_replica(server, before), _SECONDS)
            server.stop()  # fails when a process is left
            assert traces(server) == before
        finally:
            server.kill()


def run_command(server: Server, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DATABRICKS_", "MOORAGE_"))}
    environment = {**kept, "DATABRICKS_HOST": server.url, "DATABRICKS_TOKEN": server.token, **variables}
    command = [sys.executable, "-m", "moorage", "check", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_SECONDS)


def test_the_command_says_each_step_and_the_verdict(server, registered):
    done = run_command(server, f"models:/{registered('iris').name}/1", "--env", "MODE=fast")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["ok", "registry"], ["ok", "fetch"]]
    assert [line.split()[1] for line in lines if line.startswith("ok ")] == STEPS
    assert lines[-1] == f"{registered('iris').name} version 1 can be served."


def test_the_command_fails_with_1_for_a_model_that_could_not_be_served(server, registered):
    name = registered("load_raises").name
    done = run_command(server, f"models:/{name}/1")
    assert done.returncode == 1
    assert "the weights are missing" in done.stdout
    assert done.stdout.rstrip().endswith(f"{name} version 1 cannot be served: it fails at 'load'.")
    unbuilt = run_command(server, f"models:/{registered('cannot_install').name}/1")
    assert unbuilt.returncode == 1
    assert "The end of the build log:" in unbuilt.stdout
    unknown = run_command(server, "models:/main.default.nosuch/1")
    assert unknown.returncode == 1
    assert "RESOURCE_DOES_NOT_EXIST" in unknown.stderr


def test_the_command_prints_the_answer_of_the_api_as_json(server, registered):
    with server.as_client():
        mlflow.MlflowClient().set_registered_model_alias(registered("iris").name, "champion", "1")
    done = run_command(server, f"models:/{registered('iris').name}@champion", "--output", "json")
    assert done.returncode == 0, done.stderr
    check = json.loads(done.stdout)
    assert (check["state"], check["entity_version"]) == ("SUCCEEDED", "1")
    assert check == get(server, check["check_id"])


def test_the_command_tells_wrong_usage_from_a_server_that_is_away(server):
    assert run_command(server, "iris").returncode == 2
    assert run_command(server, "models:/iris/1", "--env", "nothing").returncode == 2
    away = run_command(server, "models:/iris/1", DATABRICKS_HOST="http://127.0.0.1:9")
    assert away.returncode == 4
    assert "cannot reach http://127.0.0.1:9" in away.stderr


def test_interrupting_the_command_cancels_the_check(server):
    model = register(server, "main.default.loads_for_ever_too", loads_for_ever())
    before = traces(server)
    environment = {**os.environ, "DATABRICKS_HOST": server.url, "DATABRICKS_TOKEN": server.token}
    command = [sys.executable, "-m", "moorage", "check", f"models:/{model}/1"]
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=heed_interrupts,
    )
    try:
        pid = wait_for("the model is being loaded", lambda: loading_replica(server, before), _SECONDS)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, output
    wait_for("the replica is gone", lambda: not is_alive(pid), 10)
    wait_for("nothing is left", lambda: traces(server) <= before, 10)
