"""`moorage endpoints` as its users start it, against a real server: an endpoint from its creation to its end."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from server import Json, Server, heed_interrupts, wait_for

ENDPOINT = "cli-wine"
PATH = f"/api/2.0/serving-endpoints/{ENDPOINT}"
SECONDS = 180


def environment(server: Server, **more: str) -> dict[str, str]:
    """Of somebody who has evaluated `moorage env`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DATABRICKS_", "MOORAGE_"))}
    return {**kept, **server.env, **more}


def start(server: Server, *arguments: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "moorage", "endpoints", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(server, **more),
        preexec_fn=heed_interrupts,
    )


def run(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    process = start(server, *arguments)
    try:
        out, err = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
        process.wait()
    assert server.token not in out + err
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def succeeded(server: Server, *arguments: str) -> str:
    done = run(server, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def answer(server: Server, path: str) -> Json:
    got = server.http.get(path)
    assert got.status_code == 200, got.text
    return got.json()


@pytest.fixture(scope="module")
def endpoint(server: Server, registered) -> Iterator[subprocess.CompletedProcess[str]]:
    """The endpoint, made and waited for by the command, whose outcome this is."""
    model = registered("misbehaves")
    options = ["--workload-size", "Small", "--env", "COLOUR=red", "--tag", "team=cellar", "--description", "Reds"]
    done = run(server, "create", ENDPOINT, "--model", f"models:/{model.name}/latest", *options)
    yield done
    server.http.delete(PATH)


def test_create_waits_until_the_endpoint_is_ready(server, endpoint):
    assert endpoint.returncode == 0, endpoint.stderr
    assert f"{ENDPOINT}: Ready" in endpoint.stderr.splitlines()
    assert "SERVED_ENTITY_READY" in endpoint.stderr
    assert "State:          Ready\n" in endpoint.stdout
    detail = server.detail(ENDPOINT)
    assert detail["state"]["ready"] == "READY"
    assert (detail["tags"], detail["description"]) == ([{"key": "team", "value": "cellar"}], "Reds")
    [entity] = detail["config"]["served_entities"]
    assert (entity["workload_size"], entity["environment_vars"]) == ("Small", {"COLOUR": "red"})


@pytest.mark.parametrize(
    ("command", "path"),
    [
        ("list", "/api/2.0/serving-endpoints"),
        (f"get {ENDPOINT}", PATH),
        (f"events {ENDPOINT} --limit 3", f"{PATH}/events?page_size=3"),
        (f"logs {ENDPOINT}", f"{PATH}/served-models/misbehaves-1/logs"),
        (f"build-logs {ENDPOINT} --config-version 1", f"{PATH}/served-models/misbehaves-1/build-logs"),
    ],
)
def test_json_is_the_answer_of_the_api(server, endpoint, command, path):
    assert json.loads(succeeded(server, *command.split(), "--output", "json")) == answer(server, path)


def test_texts_show_the_endpoint(server, endpoint):
    [line] = [line for line in succeeded(server, "list").splitlines() if line.startswith(f"{ENDPOINT} ")]
    assert "  Ready  " in line
    assert "misbehaves-1: main.default.misbehaves/1" in line
    assert "COLOUR" in succeeded(server, "get", ENDPOINT)
    events = succeeded(server, "events", ENDPOINT).splitlines()
    assert "Endpoint created by" in events[0]
    assert "ready" in succeeded(server, "build-logs", ENDPOINT)


def test_a_query_reaches_the_model_and_its_log(server, endpoint):
    body = json.dumps({"dataframe_records": [{"do": "whisper"}]})
    assert json.loads(succeeded(server, "query", ENDPOINT, "--json", body)) == {"predictions": ["whisper"]}
    wait_for(
        "the model's own words are in the log",
        lambda: "asked to whisper" in succeeded(server, "logs", ENDPOINT),
        10,
        pace=0.5,
    )


def test_the_input_example_of_the_model_is_sent(server, iris_endpoint):
    assert len(json.loads(succeeded(server, "query", iris_endpoint, "--example"))["predictions"]) == 2


def test_a_log_is_followed_until_ctrl_c(server, endpoint):
    process = start(server, "logs", ENDPOINT, "--follow")
    try:
        assert process.stdout is not None
        assert "loads its model" in process.stdout.readline()
        server.query(ENDPOINT, {"dataframe_records": [{"do": "be followed"}]})
        assert any("asked to be followed" in line for line in process.stdout)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, err) == (130, ""), out


def test_a_build_log_is_followed_to_its_end(server, endpoint):
    followed = succeeded(server, "build-logs", ENDPOINT, "--follow")
    assert followed == succeeded(server, "build-logs", ENDPOINT)


def test_a_reader_that_leaves_early_is_no_error_to_speak_of(server, endpoint):
    process = start(server, "logs", ENDPOINT, "--follow")
    try:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        server.query(ENDPOINT, {"dataframe_records": [{"do": "talk to nobody"}]})
        assert process.wait(30) != 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.wait()


def test_names_are_completed_in_the_shell(server, endpoint):
    words = {"COMP_WORDS": "moorage endpoints get cli-w", "COMP_CWORD": "3", "_MOORAGE_COMPLETE": "complete_bash"}
    for more, names in ((words, [ENDPOINT]), ({**words, "DATABRICKS_HOST": "http://127.0.0.1:9"}, [])):
        # By the name under which it is installed: the variable is named after it.
        done = subprocess.run(
            [Path(sys.executable).with_name("moorage")],
            env=environment(server, **more),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.stdout.split(), done.stderr) == (names, "")


def test_an_update_that_fails_ends_with_3_and_leaves_what_served(server, endpoint, registered):
    model = registered("load_raises")
    done = run(server, "update", ENDPOINT, "--entity-name", model.name, "--entity-version", model.version)
    assert done.returncode == 3
    words = "The model could not be loaded: RuntimeError: the weights are missing"
    assert f"error: {ENDPOINT}: load_raises-1: {words}" in done.stderr
    shown = succeeded(server, "get", ENDPOINT)
    assert "State:          Ready (update failed)\n" in shown
    assert words in shown
    version = server.detail(ENDPOINT)["pending_config"]["config_version"]
    assert "the weights are missing" in succeeded(server, "logs", ENDPOINT, "--config-version", str(version))
    assert server.query(ENDPOINT, {"dataframe_records": [{"do": "go on"}]}).status_code == 200


def test_traffic_is_split_and_shifted(server, endpoint, registered):
    model = registered("misbehaves")
    entities = [
        {"name": name, "entity_name": model.name, "entity_version": model.version, "scale_to_zero_enabled": False}
        for name in ("a", "b")
    ]
    routes = [
        {"served_model_name": "a", "traffic_percentage": 100},
        {"served_model_name": "b", "traffic_percentage": 0},
    ]
    body = json.dumps({"served_entities": entities, "traffic_config": {"routes": routes}})
    succeeded(server, "update", ENDPOINT, "--json", body)
    succeeded(server, "update", ENDPOINT, "--traffic", "a=25,b=75")
    assert "a 25%, b 75%" in succeeded(server, "list")
    body = json.dumps({"dataframe_records": [{"do": "answer b"}]})
    succeeded(server, "query", ENDPOINT, "--served-model", "b", "--json", body)
    wait_for(
        "b has answered, whatever the traffic",
        lambda: "asked to answer b" in succeeded(server, "logs", ENDPOINT, "--served-model", "b"),
        10,
        pace=0.5,
    )
    done = run(server, "logs", ENDPOINT)
    assert (done.returncode, done.stderr) == (
        2, f"error: endpoint '{ENDPOINT}' serves several: give --served-model, one of a, b\n"
    )  # fmt: skip


def test_stop_and_start(server, endpoint):
    assert "is stopped" in succeeded(server, "stop", ENDPOINT)
    assert "State:          Stopped\n" in succeeded(server, "get", ENDPOINT)
    done = run(server, "query", ENDPOINT, "--json", "{}")
    assert (done.returncode, done.stderr.partition(":")[0]) == (1, "error")
    assert json.loads(succeeded(server, "start", ENDPOINT, "-o", "json"))["state"]["ready"] == "READY"


def test_delete_asks_on_a_terminal(server, endpoint):
    done = run(server, "delete", ENDPOINT)
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert answered_on_a_terminal(server, "n") == 1
    assert server.http.get(PATH).status_code == 200
    assert answered_on_a_terminal(server, "y") == 0
    assert server.http.get(PATH).status_code == 404
    done = run(server, "get", ENDPOINT)
    assert done.returncode == 1
    assert done.stderr == f"error: RESOURCE_DOES_NOT_EXIST: Endpoint with name '{ENDPOINT}' not found.\n"


def answered_on_a_terminal(server: Server, word: str) -> int:
    """The exit status of `delete` when its question on a terminal is answered with that."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "moorage", "endpoints", "delete", ENDPOINT],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(server),
        )
        try:
            shown = b""
            while b"?" not in shown:
                shown += os.read(ours, 1000)
            assert f"Delete endpoint '{ENDPOINT}'?".encode() in shown
            os.write(ours, f"{word}\n".encode())
            return process.wait(60)
        finally:
            process.kill()
            process.wait()
    finally:
        os.close(ours)
        os.close(theirs)
