"""Real models of every kind, served for real: right predictions, and failures that say why."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from models import MISSING_PACKAGE, MODELS, Registered, own_predictions
from server import Json, Server, wait_for

GOOD = ["iris", "mixed", "xgboost", "lightgbm", "with_params", "tensor", "no_signature", "own_environment"]
SERVED = [*GOOD, "misbehaves", "load_raises", "cannot_install"]
UNEXPECTED = "Encountered an unexpected error while evaluating the model"


def endpoint_of(kind: str) -> str:
    return f"served-{kind.replace('_', '-')}"


@pytest.fixture(scope="module", autouse=True)
def endpoints(server: Server, registered) -> Iterator[None]:
    """One endpoint for each model, all asked for before any is waited for."""
    models = {kind: registered(kind) for kind in SERVED}
    for kind, model in models.items():
        server.create(endpoint_of(kind), model.name, model.version)
    yield
    for kind in SERVED:
        server.delete(endpoint_of(kind))


def payload(rows: Any) -> Json:
    """Rows as a client sends them."""
    if isinstance(rows, np.ndarray):
        return {"inputs": rows.tolist()}
    data = [[_plain(value) for value in row] for row in rows.astype(object).to_numpy().tolist()]
    return {"dataframe_split": {"columns": list(rows.columns), "data": data}}


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, pd.Timestamp) else value


def predictions(server: Server, kind: str, body: Json) -> Any:
    answer = server.query(endpoint_of(kind), body)
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"]


@pytest.mark.parametrize("kind", GOOD)
def test_predictions_are_the_models_own(server, registered, kind):
    server.ready(endpoint_of(kind), 240)
    model: Registered = registered(kind)
    for rows in (model.rows, model.rows[:1]):
        got = predictions(server, kind, payload(rows))
        if kind == "own_environment":
            assert got == ["six 1.16.0, cloudpickle 3.1.1"] * len(rows)
        else:
            assert got == own_predictions(server, model, rows)


@pytest.mark.parametrize("form", ["dataframe_records", "inputs", "instances"])
def test_mixed_columns_are_understood_in_every_form(server, registered, form):
    server.ready(endpoint_of("mixed"))
    model = registered("mixed")
    split = payload(model.rows)["dataframe_split"]
    records = [dict(zip(split["columns"], row, strict=True)) for row in split["data"]]
    assert predictions(server, "mixed", {form: records}) == own_predictions(server, model, model.rows)


def test_mixed_columns_may_come_in_any_order(server, registered):
    server.ready(endpoint_of("mixed"))
    model = registered("mixed")
    shuffled = payload(model.rows[model.rows.columns[::-1]])
    assert predictions(server, "mixed", shuffled) == own_predictions(server, model, model.rows)


def test_params_reach_the_model(server, registered):
    server.ready(endpoint_of("with_params"))
    model = registered("with_params")
    params = {"factor": 0.5, "offset": -1}
    got = predictions(server, "with_params", {**payload(model.rows), "params": params})
    assert got == own_predictions(server, model, model.rows, params) == ["-0.5 m", "0.25 m", "-3 m"]


def test_param_of_wrong_type_is_400_and_named(server, registered):
    server.ready(endpoint_of("with_params"))
    body = {**payload(registered("with_params").rows), "params": {"offset": "far"}}
    answer = server.query(endpoint_of("with_params"), body)
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    assert "offset" in answer.json()["message"]


def test_tensor_of_wrong_shape_is_400_and_says_the_shapes(server):
    server.ready(endpoint_of("tensor"))
    answer = server.query(endpoint_of("tensor"), {"inputs": [[1.0, 2.0, 3.0]]})
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    assert "(1, 3)" in answer.json()["message"]


def test_many_clients_at_once_get_each_their_own_answer(server, registered):
    """Answers that were predicted together are cut up rightly."""
    from concurrent.futures import ThreadPoolExecutor

    server.ready(endpoint_of("xgboost"))
    rows = registered("xgboost").rows
    expected = own_predictions(server, registered("xgboost"), rows)

    def ask(number: int) -> bool:
        first = number % len(rows)
        got = predictions(server, "xgboost", payload(rows[first : first + 2]))
        return bool(got == expected[first : first + 2])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(200)))


def test_endpoint_of_own_environment_says_so_in_its_build_log(server):
    server.ready(endpoint_of("own_environment"), 240)
    log = server.build_log(endpoint_of("own_environment"))
    for step in ("resolve", "download", "install", "verify import", "load model"):
        assert step in log, log


def test_second_endpoint_of_the_same_requirements_is_ready_in_3_seconds(server, registered):
    server.ready(endpoint_of("own_environment"), 240)
    for kind in SERVED:
        server.settled(endpoint_of(kind), 240)
    built = server.environments()
    assert len(built) == 1
    model = registered("same_environment")
    began = time.monotonic()
    server.create("served-second", model.name, model.version)
    server.ready("served-second", 30)
    took = time.monotonic() - began
    assert server.environments() == built
    assert predictions_of(server, "served-second", model) == [{"a": 2}, {"a": 4}]
    server.delete("served-second")
    assert took <= 3.0, server.build_log("served-second")


def predictions_of(server: Server, name: str, model: Registered) -> Any:
    return server.query(name, payload(model.rows)).json()["predictions"]


def failed_entity(server: Server, kind: str) -> Json:
    detail = server.settled(endpoint_of(kind), 240)
    assert detail["state"]["config_update"] == "UPDATE_FAILED"
    assert detail["state"]["ready"] == "NOT_READY"
    assert "config" not in detail
    [entity] = detail["pending_config"]["served_entities"]
    assert entity["state"]["deployment"] == "DEPLOYMENT_FAILED"
    return entity


def test_requirements_that_cannot_be_installed_fail_the_update_with_the_reason(server):
    message = failed_entity(server, "cannot_install")["state"]["deployment_state_message"]
    assert MISSING_PACKAGE in message
    log = server.build_log(endpoint_of("cannot_install"))
    assert MISSING_PACKAGE in log.rstrip().splitlines()[-1]


def test_model_that_cannot_be_loaded_fails_the_update_with_reason_and_log(server):
    message = failed_entity(server, "load_raises")["state"]["deployment_state_message"]
    assert "RuntimeError: the weights are missing" in message
    assert "Last lines of its log" in message
    assert "in load_context" in message
    assert "the weights are missing" in server.build_log(endpoint_of("load_raises"))
    assert "looking for the weights" in server.service_log(endpoint_of("load_raises"))


def test_endpoint_that_failed_answers_queries_with_400(server):
    failed_entity(server, "load_raises")
    answer = server.query(endpoint_of("load_raises"), {"inputs": [1]})
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "BAD_REQUEST"
    assert "not ready" in answer.json()["message"]


def wish(server: Server, do: str, **headers: str) -> Any:
    server.ready(endpoint_of("misbehaves"))
    return server.query(endpoint_of("misbehaves"), {"dataframe_records": [{"do": do}]}, **headers)


def test_exception_of_the_model_is_400_with_its_message_and_trace(server):
    answer = wish(server, "raise", **{"x-request-id": "raise-1"})
    body = answer.json()
    assert answer.status_code == 400
    assert body["error_code"] == "BAD_REQUEST"
    assert UNEXPECTED in body["message"]
    assert "the reason" in body["message"]
    assert "ValueError: the reason" in body["stack_trace"]
    wait_for("the log has the request id", lambda: "raise-1" in server.service_log(endpoint_of("misbehaves")), 5)


def test_model_that_calls_sys_exit_is_400_and_goes_on_serving(server):
    before = server.replicas()
    answer = wish(server, "sys.exit")
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "BAD_REQUEST"
    assert "sys.exit(3)" in answer.json()["message"]
    assert wish(server, "answer").json() == {"predictions": ["answer"]}
    assert before.items() <= server.replicas().items()


def test_model_that_ends_its_process_is_5xx_and_serves_again(server):
    name = endpoint_of("misbehaves")
    answer = wish(server, "os._exit")
    assert answer.status_code in (500, 503)
    assert answer.json()["error_code"] in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE")
    body = {"dataframe_records": [{"do": "answer"}]}
    wait_for("the endpoint answers again", lambda: server.query(name, body).status_code == 200, 30, pace=0.2)
    wait_for("the endpoint is READY again", lambda: server.detail(name)["state"]["ready"] == "READY", 30)
    events = server.http.get(f"/api/2.0/serving-endpoints/{name}/events").json()["events"]
    assert any("REPLICA" in event["event_type"] and "9" in event["message"] for event in events), events


def test_what_a_model_prints_is_in_its_service_log(server):
    assert wish(server, "sing").status_code == 200
    log = wait_for("the line arrives", lambda: _log_with(server, "asked to sing"), 5)
    assert all(line.startswith("[") for line in log.splitlines())


def _log_with(server: Server, words: str) -> str:
    log = server.service_log(endpoint_of("misbehaves"))
    return log if words in log else ""


def test_every_model_is_known():
    elsewhere = {"same_environment", "traced", "as_told"}
    assert set(SERVED) | elsewhere == set(MODELS)
