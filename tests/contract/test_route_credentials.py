"""Every route of the running server without a credential, and with one that opens nothing any more."""

from __future__ import annotations

import socket
import time
from typing import Any

import httpx
import pytest
from route_access import ROUTES, Needs, Route
from server import Server, wait_for

from moorage.api.surfaces import SURFACE_PATHS

BEHIND_THE_CONTROL_PLANE = [
    Route("POST", "/serving-endpoints/nosuch/invocations", Needs.CREDENTIAL, body={}),
    Route("POST", "/serving-endpoints/nosuch/served-models/m/invocations", Needs.CREDENTIAL, body={}),
    Route("POST", "/42/serving-endpoints/nosuch/invocations", Needs.CREDENTIAL, body={}),
    Route("POST", "/realtime-inference/nosuch/invocations", Needs.CREDENTIAL, body={}),
    *(Route("POST", path, Needs.CREDENTIAL, body={"model": "nosuch"}) for path in SURFACE_PATHS),
    *(Route(method, path, Needs.CREDENTIAL) for path in SURFACE_PATHS for method in ("GET", "PUT", "DELETE")),
    Route("GET", "/serving-endpoints/models", Needs.CREDENTIAL),
    Route("GET", "/serving-endpoints/models/nosuch", Needs.CREDENTIAL),
    Route("GET", "/api/2.0/mlflow/experiments/get", Needs.CREDENTIAL),
    Route("POST", "/api/2.0/mlflow/registered-models/create", Needs.CREDENTIAL, body={"name": "nosuch"}),
    Route("GET", "/ajax-api/2.0/mlflow/registered-models/search", Needs.CREDENTIAL),
    Route("GET", "/api/2.0/mlflow-artifacts/artifacts", Needs.CREDENTIAL),
    Route("GET", "/mlflow/", Needs.CREDENTIAL),
    Route("GET", "/nosuch", Needs.CREDENTIAL),
]
SIGN_OUT = "/api/2.0/moorage/session"  # says 401 whatever is wrong, as signing in there does
CLOSED = [one for one in ROUTES if one.needs > Needs.NOTHING and one.template != SIGN_OUT] + BEHIND_THE_CONTROL_PLANE
REFUSALS = {
    "no credential": (401, "UNAUTHENTICATED"),
    "unknown token": (403, "PERMISSION_DENIED"),
    "expired token": (403, "PERMISSION_DENIED"),
    "revoked token": (403, "PERMISSION_DENIED"),
    "password": (401, "UNAUTHENTICATED"),
    "unknown cookie": (403, "PERMISSION_DENIED"),
}


@pytest.fixture(scope="module")
def credentials(server: Server) -> dict[str, dict[str, str]]:
    """Headers by what is wrong with them. Both tokens were good a moment ago."""

    def made(**fields: Any) -> tuple[str, str]:
        answer = server.http.post("/api/2.0/token/create", json=fields).json()
        return answer["token_value"], answer["token_info"]["token_id"]

    def bearer(token: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}"}

    revoked, revoked_id = made()
    expired, _ = made(lifetime_seconds=2)
    me = "/api/2.0/preview/scim/v2/Me"
    for token in (revoked, expired):
        assert httpx.get(f"{server.url}{me}", headers=bearer(token)).status_code == 200
    assert server.http.post("/api/2.0/token/delete", json={"token_id": revoked_id}).status_code == 200
    refused = lambda: httpx.get(f"{server.url}{me}", headers=bearer(expired)).status_code == 403  # noqa: E731
    wait_for("the token expires", refused, 10)
    return {
        "no credential": {},
        "unknown token": bearer("dapi" + "0" * 32),
        "expired token": bearer(expired),
        "revoked token": bearer(revoked),
        "password": {"Authorization": "Basic YWRtaW46cGFzc3dvcmQ="},
        "unknown cookie": {"Cookie": "moorage_session=nosuch", "Origin": server.url},
    }


@pytest.mark.parametrize("wrong", REFUSALS)
def test_no_route_answers_a_credential_that_opens_nothing(server, credentials, wrong):
    """One test a credential, all routes in it, so that a route that answers is named beside the others."""
    answered = []
    with httpx.Client(base_url=server.url, timeout=20) as http:
        for route in CLOSED:
            answer = http.request(
                route.method, route.url, json=route.body, params=route.query, headers=credentials[wrong]
            )
            if (answer.status_code, answer.json().get("error_code")) != REFUSALS[wrong]:
                answered.append(f"{route}: {answer.status_code} {answer.text[:100]}")
    assert answered == []


def test_revoked_token_is_refused_at_once_under_load(server, iris_endpoint, registered):
    """It is good until the answer to its revocation, and never after."""
    made = server.http.post("/api/2.0/token/create", json={}).json()
    body = {"dataframe_records": registered("iris").rows.to_dict("records")}
    headers = {"Authorization": f"Bearer {made['token_value']}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=20) as http:
        path = f"/serving-endpoints/{iris_endpoint}/invocations"
        assert [http.post(path, json=body).status_code for _ in range(50)] == [200] * 50
        token_id = made["token_info"]["token_id"]
        began = time.monotonic()
        assert server.http.post("/api/2.0/token/delete", json={"token_id": token_id}).status_code == 200
        assert [http.post(path, json=body).status_code for _ in range(50)] == [403] * 50
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"])
def test_queries_are_posts(server, iris_endpoint, method):
    """Another method is a 4xx in the one error shape, and nothing is asked."""
    own = f"/serving-endpoints/{iris_endpoint}/invocations"
    for path in (*SURFACE_PATHS, own, "/serving-endpoints//invocations"):
        answer = server.http.request(method, path)
        assert answer.status_code in (404, 405), (path, answer.status_code, answer.text[:200])
        if method != "HEAD":
            assert answer.json().keys() >= {"error_code", "message"}


@pytest.mark.parametrize(
    "path",
    [
        "/serving-endpoints//invocations", "/serving-endpoints/../serving-endpoints/x/invocations",
        "/serving-endpoints/%2e%2e/x/invocations", "/serving-endpoints/a%2Fb/invocations",
        "/serving-endpoints/..%2f..%2finternal/health", "/serving-endpoints/../internal/health", "//internal/health",
        "/%69nternal/health", "/internal/health", "/serving-endpoints/chat//completions",
    ],
)  # fmt: skip
def test_paths_that_only_look_like_a_query_are_none(server, path):
    with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port), timeout=20) as raw:
        raw.sendall(
            f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.token}\r\nconnection: close\r\n"
            "content-length: 2\r\n\r\n{}".encode()
        )
        data = b""
        while piece := raw.recv(65536):
            data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.split(b" ", 2)[1] in (b"404", b"405"), data[:300]
    assert b"error_code" in body
