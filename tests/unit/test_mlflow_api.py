"""Calls of MLflow's REST API: what comes back, and what is said of what does not."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from moorage.api.errors import ApiError, InternalError, TemporarilyUnavailable
from moorage.registry.mlflow_api import _MOST_AT_ONCE, MlflowApi, MlflowRefusal


def api(answer: Callable[[httpx.Request], httpx.Response]) -> MlflowApi:
    return MlflowApi(httpx.Client(transport=httpx.MockTransport(answer), base_url="http://mlflow.example.com/below/"))


def test_a_call_sends_what_is_not_none_and_returns_the_document() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"a": 1})

    assert api(answer).call("POST", "runs/create", {"x": None, "y": 2}, query={"p": None, "q": "3"}) == {"a": 1}
    assert str(asked[0].url) == "http://mlflow.example.com/below/api/2.0/mlflow/runs/create?q=3"
    assert json.loads(asked[0].content) == {"y": 2}


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, b'{"error_code": "X", "message": "y"}', MlflowRefusal),
        (503, b'{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "y"}', MlflowRefusal),
        (429, b"slowly", TemporarilyUnavailable),
        (502, b"<html>", TemporarilyUnavailable),
        (503, b"", TemporarilyUnavailable),
        (504, b"[]", TemporarilyUnavailable),
        (401, b"no", InternalError),
        (403, b'{"error_code": "PERMISSION_DENIED"}', InternalError),
        (500, b"<html>", InternalError),
        (302, b"", InternalError),
        (200, b"[]", InternalError),
        (200, b"<html>", InternalError),
    ],
)
def test_what_is_no_answer_is_an_error(status: int, body: bytes, error: type[ApiError]) -> None:
    with pytest.raises(ApiError) as raised:
        api(lambda _request: httpx.Response(status, content=body)).call("GET", "experiments/get")
    assert type(raised.value) is error
    if isinstance(raised.value, MlflowRefusal):
        assert (raised.value.status, str(raised.value)) == (status, "y")


def test_a_question_is_asked_where_the_server_has_moved_and_a_change_is_not() -> None:
    def moved(request: httpx.Request) -> httpx.Response:
        if request.url.scheme == "https":
            return httpx.Response(200, json={"asked": request.method})
        return httpx.Response(301, headers={"location": str(request.url.copy_with(scheme="https"))})

    assert api(moved).call("GET", "experiments/get") == {"asked": "GET"}
    with pytest.raises(InternalError):
        api(moved).call("POST", "experiments/create", {})


def test_a_server_that_is_away_is_said_so() -> None:
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.RemoteProtocolError("disconnected", request=request)

    with pytest.raises(TemporarilyUnavailable):
        api(away).call("GET", "experiments/get")


def test_a_server_that_hangs_takes_some_threads_and_no_more() -> None:
    waiting, go_on = threading.Semaphore(0), threading.Event()

    def hang(_request: httpx.Request) -> httpx.Response:
        waiting.release()
        assert go_on.wait(60)
        return httpx.Response(200, json={"a": 1})

    hanging = api(hang)
    with ThreadPoolExecutor(_MOST_AT_ONCE) as pool:
        try:
            calls = [pool.submit(hanging.call, "GET", "experiments/get") for _ in range(_MOST_AT_ONCE)]
            assert all(waiting.acquire(timeout=20) for _ in calls)
            with pytest.raises(TemporarilyUnavailable):
                hanging.call("GET", "experiments/get")
        finally:
            go_on.set()
        assert [call.result(20) for call in calls] == [{"a": 1}] * _MOST_AT_ONCE
    assert hanging.call("GET", "experiments/get") == {"a": 1}


def test_calls_that_fail_give_their_turn_back() -> None:
    def away(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    failing = api(away)
    for _ in range(_MOST_AT_ONCE + 1):
        with pytest.raises(TemporarilyUnavailable, match="does not answer"):
            failing.call("GET", "experiments/get")
    failing.http = httpx.Client(
        transport=httpx.MockTransport(lambda _request: httpx.Response(200, json={})), base_url="http://mlflow.example.com"
    )
    assert failing.call("GET", "experiments/get") == {}


def test_an_external_server_hears_the_credential() -> None:
    external = MlflowApi.at("http://mlflow.example.com", {"authorization": "Basic x"})
    request = external.http.build_request("GET", "/api/2.0/mlflow/runs/get")
    assert (str(request.url), request.headers["authorization"]) == (
        "http://mlflow.example.com/api/2.0/mlflow/runs/get",
        "Basic x",
    )
