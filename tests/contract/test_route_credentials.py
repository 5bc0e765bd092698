"""Every route of the running server without a credential, and with one that opens nothing any more."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from route_access import ROUTES, Needs, Route
from server import Server, wait_for

BEHIND_THE_CONTROL_PLANE = [
    Route("POST", "/serving-endpoints/nosuch/invocations", Needs.CREDENTIAL, body={}),
    Route("POST", "/serving-endpoints/nosuch/served-models/m/invocations", Needs.CREDENTIAL, body={}),
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
