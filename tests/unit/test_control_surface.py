"""What holds for every route of the control plane: paths, who calls, and the one error shape."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from control_harness import ANN, ENDPOINTS, ControlPlane, control_plane, entity
from databricks.sdk.errors import parser
from requests import Request, Response

from moorage.api.principal import decode_principal, encode_principal
from moorage.api.routing import PRINCIPAL_HEADER

NAMED = f"{ENDPOINTS}/nosuch"
CLIENT_SECRETS = "/api/2.0/accounts/servicePrincipals/4712/credentials/secrets"
PERMISSIONS = "/api/2.0/permissions/clusters/0a1b"
UC = "/api/2.1/unity-catalog"
UC_OF_MLFLOW = "/api/2.0/mlflow/unity-catalog"
PROMPT = f"{UC_OF_MLFLOW}/prompts/nosuch"
SCIM = "/api/2.0/preview/scim/v2"
SCIM_KINDS = ("Users", "Groups", "ServicePrincipals")
V2 = "/api/2.0/preview/mlflow/endpoints-v2"
OF_V2 = {
    "GET": (
        "list",
        "get-status",
        "list-versions",
        "get-version-status",
        "list-version-aliases",
        "get-event-history",
        "get-version-metrics",
        "get-version-replicas",
        "get-supported-workload-sizes",
    ),
    "POST": ("enable", "disable", "restart-compute-config-update", "get-version-logs", "get-version-build-logs"),
    "PUT": ("update-compute-config",),
}
OF_REGISTRY = {
    "transition-requests": {
        "create": "POST", "list": "GET", "approve": "POST", "reject": "POST", "delete": "DELETE",
    },
    "comments": {"create": "POST", "list": "GET", "update": "PATCH", "delete": "DELETE"},
    "registry-webhooks": {"create": "POST", "list": "GET", "update": "PATCH", "delete": "DELETE", "test": "POST"},
}  # fmt: skip
OF_UC = {
    "registered-models": {
        "create": "POST", "update": "PATCH", "delete": "DELETE", "get": "GET", "search": "GET",
        "alias": "POST DELETE GET", "set-tag": "POST", "delete-tag": "DELETE",
    },
    "model-versions": {
        "create": "POST", "update": "PATCH", "delete": "DELETE", "get": "GET", "search": "GET",
        "generate-temporary-credentials": "POST", "get-download-uri": "GET", "finalize": "POST",
        "set-tag": "POST", "delete-tag": "DELETE", "emit-lineage": "POST",
    },
}  # fmt: skip
OF_MODELS = {
    "": "GET POST",
    "/versions": "POST",
    "/a.b.m7": "GET PATCH DELETE",
    "/a.b.m7/aliases/live": "GET PUT DELETE",
    "/a.b.m7/versions": "GET",
    "/a.b.m7/versions/77": "GET PATCH DELETE",
    "/a.b.m7/versions/77/finalize": "PATCH",
}
ROUTES = [
    ("GET", ENDPOINTS),
    ("POST", ENDPOINTS),
    ("GET", NAMED),
    ("DELETE", NAMED),
    ("GET", f"{NAMED}/events"),
    ("GET", f"{NAMED}/events/stream"),
    ("GET", f"{NAMED}/openapi"),
    ("GET", f"{NAMED}/inference-table"),
    ("GET", f"{NAMED}/inference-table/rows"),
    ("GET", f"{NAMED}/metrics"),
    ("GET", f"{NAMED}/metrics-history"),
    ("GET", f"{NAMED}/replicas"),
    ("GET", "/metrics"),
    ("GET", "/api/2.0/moorage/usage"),
    ("PUT", f"{NAMED}/config"),
    ("POST", f"{NAMED}/config:cancel"),
    ("POST", f"{NAMED}/config:stop"),
    ("POST", f"{NAMED}/config:start"),
    ("POST", f"{NAMED}/config:rollback"),
    ("GET", f"{NAMED}/config-versions"),
    ("PATCH", f"{NAMED}/tags"),
    ("PATCH", f"{NAMED}/notifications"),
    ("PATCH", f"{NAMED}/telemetry-config"),
    ("PUT", f"{NAMED}/rate-limits"),
    ("PUT", f"{NAMED}/ai-gateway"),
    ("GET", f"{NAMED}/served-models/m/logs"),
    ("GET", f"{NAMED}/served-models/m/build-logs"),
    ("GET", f"{NAMED}/served-models/m/build-logs/stream"),
    ("GET", f"{NAMED}/served-models/m/logs/stream"),
    ("GET", f"{NAMED}/served-models/m/log-files"),
    ("POST", f"{ENDPOINTS}/pt"),
    ("PUT", f"{ENDPOINTS}/pt/nosuch/config"),
    ("GET", f"{ENDPOINTS}/get-model-optimization-info/ads1/1"),
    ("POST", "/api/2.0/external-function"),
    ("GET", "/api/2.0/audit-log"),
    ("GET", "/api/2.0/audit-log/export"),
    ("POST", "/api/2.0/token/create"),
    ("GET", "/api/2.0/token/list"),
    ("POST", "/api/2.0/token/delete"),
    ("PATCH", "/api/2.0/token/70ce"),
    ("GET", "/api/2.0/token-management/tokens"),
    *((method, "/api/2.0/token-management/tokens/70ce") for method in ("GET", "PATCH", "DELETE")),
    ("POST", "/api/2.0/token-management/on-behalf-of/tokens"),
    ("GET", CLIENT_SECRETS),
    ("POST", CLIENT_SECRETS),
    ("DELETE", f"{CLIENT_SECRETS}/5ec2e7"),
    ("DELETE", "/api/2.0/moorage/session"),
    ("POST", "/api/2.0/moorage/sign-in-links"),
    ("POST", "/api/2.0/secrets/scopes/create"),
    ("GET", "/api/2.0/secrets/scopes/list"),
    ("POST", "/api/2.0/secrets/scopes/delete"),
    ("POST", "/api/2.0/secrets/put"),
    ("GET", "/api/2.0/secrets/list"),
    ("GET", "/api/2.0/secrets/get"),
    ("POST", "/api/2.0/secrets/delete"),
    ("POST", "/api/2.0/secrets/acls/put"),
    ("GET", "/api/2.0/secrets/acls/get"),
    ("GET", "/api/2.0/secrets/acls/list"),
    ("POST", "/api/2.0/secrets/acls/delete"),
    ("GET", f"{SCIM}/Me"),
    *((method, f"{SCIM}/{kind}") for kind in SCIM_KINDS for method in ("GET", "POST")),
    *((method, f"{SCIM}/{kind}/4711") for kind in SCIM_KINDS for method in ("GET", "PATCH", "PUT", "DELETE")),
    *((method, f"{V2}/{rest}") for method, rests in OF_V2.items() for rest in rests),
    ("PUT", "/api/2.0/preview/model-serving-api/endpoints-v2/update-compute-config"),
    ("POST", "/api/2.0/mlflow/databricks/model-versions/transition-stage"),
    ("GET", "/api/2.0/mlflow/databricks/registered-models/get"),
    ("GET", "/api/2.0/mlflow/registered-models/list"),
    *((m, f"/api/2.0/mlflow/{kind}/{rest}") for kind, rests in OF_REGISTRY.items() for rest, m in rests.items()),
    ("POST", "/api/2.0/model-checks"),
    ("GET", "/api/2.0/model-checks/c0ffee"),
    ("DELETE", "/api/2.0/model-checks/c0ffee"),
    ("GET", PERMISSIONS),
    ("PUT", PERMISSIONS),
    ("PATCH", PERMISSIONS),
    ("GET", f"{PERMISSIONS}/permissionLevels"),
    *((method, f"{UC}/models{rest}") for rest, methods in OF_MODELS.items() for method in methods.split()),
    ("PATCH", f"{UC}/securable-tags/FUNCTION/a.b.m7"),
    ("PATCH", f"{UC}/subentity-tags/FUNCTION/a.b.m7/77"),
    ("POST", f"{UC}/temporary-model-version-credentials"),
    *(
        (method, f"{UC_OF_MLFLOW}/{kind}/{rest}")
        for kind, rests in OF_UC.items()
        for rest, methods in rests.items()
        for method in methods.split()
    ),
    ("GET", f"{UC_OF_MLFLOW}/registered-models:is-databricks-sdk-models-artifact-repository-enabled"),
    *((method, f"{UC}/permissions/schema/a.b") for method in ("GET", "PATCH")),
    ("GET", f"{UC}/effective-permissions/schema/a.b"),
    ("GET", f"{UC}/privilege-assignments/schema/a.b"),
    ("GET", f"{UC}/effective-privilege-assignments/schema/a.b"),
    *(("POST", f"{UC_OF_MLFLOW}/prompts{rest}") for rest in ("", "/search")),
    *(("POST", f"{UC_OF_MLFLOW}/prompt-versions/links-to-{kind}") for kind in ("models", "runs", "traces")),
    *((method, f"{PROMPT}{rest}") for rest in ("", "/versions/77") for method in ("GET", "PATCH", "DELETE")),
    *(("POST", f"{PROMPT}{rest}") for rest in ("/tags", "/versions", "/versions/search", "/versions/77/tags")),
    *(("DELETE", f"{PROMPT}{rest}") for rest in ("/tags/tier", "/versions/77/tags/tier")),
    *((method, f"{PROMPT}/aliases/live") for method in ("POST", "DELETE")),
    ("GET", f"{PROMPT}/versions/by-alias/live"),
    *((method, "/api/2.0/fs/files/Volumes") for method in ("GET", "PUT", "DELETE", "POST")),
    *((method, "/api/2.0/fs/directories/Volumes") for method in ("GET", "PUT", "DELETE")),
    *(("POST", f"/api/2.0/fs/create-{what}") for what in ("download-url", "upload-part-urls", "abort-upload-url")),
    *(("GET", f"/api/2.0/mlflow/model-versions/{rest}") for rest in ("list-artifacts", "get-signed-download-uri")),
    *(("POST", f"/api/2.0/mlflow/artifacts/credentials-for-{what}") for what in ("read", "write")),
    *(
        ("POST", f"/api/2.0/mlflow/logged-models/m-7/artifacts/credentials-for-{what}")
        for what in ("download", "upload")
    ),
    *(("GET", f"/api/2.0/mlflow/traces/tr-7/credentials-for-data-{what}") for what in ("download", "upload")),
]
OPEN = ("GET", "/.well-known/databricks-config")
SIGN_IN = [  # open to everybody; most answer with pages
    ("GET", "/oidc/.well-known/oauth-authorization-server"),
    ("GET", "/oidc/.well-known/openid-configuration"),
    ("GET", "/oidc/jwks.json"),
    ("POST", "/oidc/v1/token"),
    ("GET", "/oidc/v1/authorize"),
    ("POST", "/oidc/v1/authorize"),
    ("POST", "/api/2.0/moorage/session"),
    ("GET", "/login"),
    ("GET", "/"),
    ("GET", "/ml"),
    ("GET", "/ml/{path}"),
    ("GET", "/ml/experiments"),
    ("GET", "/ml/experiments/{path}"),
    ("GET", "/explore/data/models/{catalog}/{schema}/{model}"),
    ("GET", "/explore/data/models/{catalog}/{schema}/{model}/version/{version}"),
    ("GET", "/settings"),
    ("GET", "/settings/{path}"),
    ("GET", "/favicon.svg"),
    ("GET", "/api/2.0/moorage/session"),
    ("POST", "/login"),
    ("GET", "/oidc/login"),
    ("GET", "/oidc/callback"),
]
SIGNED = [  # the address is the credential
    ("GET", "/api/2.0/fs/signed/{token}"),
    ("PUT", "/api/2.0/fs/signed/{token}"),
    ("PUT", "/api/2.0/fs/signed/parts/{token}"),
    ("DELETE", "/api/2.0/fs/signed/uploads/{token}"),
]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """One for all: no test leaves anything in it that another one would look at."""
    with control_plane(tmp_path_factory.mktemp("plane")) as plane:
        yield plane


def assert_error(response: Any, status: int, code: str) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    document = response.json()
    assert document["error_code"] == code
    assert isinstance(document["message"], str)
    assert document["message"]
    assert set(document) <= {"error_code", "message", "details"}
    assert "Traceback" not in document["message"]
    return str(document["message"])


def test_the_list_of_routes_above_is_complete(plane: ControlPlane) -> None:
    paths = plane.client.app.openapi()["paths"]  # type: ignore[attr-defined]
    served = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    names = {
        "nosuch": "{name}",
        "/m/": "/{served_model_name}/",
        "c0ffee": "{check_id}",
        "token/70ce": "token/{token_id}",
        "tokens/70ce": "tokens/{token_id}",
        "/4712/": "/{service_principal_id}/",
        "5ec2e7": "{secret_id}",
        "Users/4711": "Users/{user_id}",
        "Groups/4711": "Groups/{group_id}",
        "ServicePrincipals/4711": "ServicePrincipals/{principal_id}",
        "/ads1/1": "/{entity_name}/{version}",
        "/clusters/0a1b": "/{object_type}/{object_id}",
        "/schema/a.b": "/{securable_type}/{full_name}",
        "/FUNCTION/": "/{securable_type}/",
        "a.b.m7/77": "{full_name}/{version}",
        "a.b.m7": "{full_name}",
        "/versions/77": "/versions/{version}",
        "/Volumes": "/{path}",
        "/m-7/": "/{model_id}/",
        "/tr-7/": "/{request_id}/",
        "/tags/tier": "/tags/{key}",
        "/live": "/{alias}",
    }
    listed = {(m, functools.reduce(lambda path, name: path.replace(name, names[name]), names, p)) for m, p in ROUTES}
    assert served == {*listed, OPEN, *SIGN_IN, *SIGNED}


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_route_answers_without_a_principal(plane: ControlPlane, method: str, path: str, slash: str) -> None:
    body = {"json": {"name": "ads", "token_id": "x"}} if method == "POST" else {}
    response = plane.request(method, path + slash, None, **body)
    assert_error(response, 401, "UNAUTHENTICATED")
    assert "WWW-Authenticate" in response.headers


@pytest.mark.parametrize("value", ["", "x", "bm90IGpzb24=", "e30="])
def test_a_principal_that_cannot_be_read_is_none(plane: ControlPlane, value: str) -> None:
    assert_error(plane.request("GET", ENDPOINTS, None, headers={PRINCIPAL_HEADER: value}), 401, "UNAUTHENTICATED")


def test_a_principal_survives_its_header() -> None:
    odd = ANN.model_copy(update={"display_name": "Änn Ω\n"})
    assert decode_principal(encode_principal(odd)) == odd


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if NAMED in route[1]])
def test_every_route_of_an_unknown_endpoint_says_so(plane: ControlPlane, method: str, path: str) -> None:
    # What the routes that need a body need; the others ignore it.
    body = {"json": {"served_entities": [entity()], "config_version": 1}} if method in ("PUT", "POST") else {}
    message = assert_error(plane.request(method, path, **body), 404, "RESOURCE_DOES_NOT_EXIST")
    assert message == "Endpoint with name 'nosuch' not found."


@pytest.mark.parametrize(("method", "path"), [("POST", ENDPOINTS), ("POST", "/api/2.0/token/delete")])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "body is empty"),
        (b"{nope", "not valid JSON"),
        (b"[]", "Expected an object"),
        (b'"x"', "Expected an object"),
        (b"\xff\xfe\x00", "JSON"),
        (b"[" * 100_000, "JSON"),
        (b'{"name": ' + b"9" * 5000 + b"}", "JSON"),
    ],
)
def test_every_route_refuses_a_body_that_is_no_object(
    plane: ControlPlane, method: str, path: str, content: bytes, message: str
) -> None:
    response = plane.request(method, path, content=content)
    assert message in assert_error(response, 400, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(
            (method, path)
            for path in dict.fromkeys(path for _, path in ROUTES)
            for method in ("PUT", "PATCH", "HEAD")
            if (method, path) not in ROUTES and not (method == "PATCH" and path.startswith("/api/2.0/token/"))
            # Their last word may be the name of what another method changes.
            and not path.endswith(("/search", "/models/versions"))
        ),
            ("GET", "/nosuch"),
        ("GET", "/api/2.0/nosuch/"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", f"{ENDPOINTS}/a%2Fb"),
        ("POST", f"{ENDPOINTS}/ads"),
        ("DELETE", ENDPOINTS),
        ("POST", "/.well-known/databricks-config"),
    ],
)
def test_an_unknown_route_and_a_wrong_method_are_not_found(plane: ControlPlane, method: str, path: str) -> None:
    response = plane.request(method, path)
    assert response.status_code == 404
    if method != "HEAD":
        message = assert_error(response, 404, "ENDPOINT_NOT_FOUND")
        assert message == f"No API found for '{method} {path.replace('%2F', '/')}'"


@pytest.mark.parametrize(("method", "path"), [*ROUTES, OPEN])
def test_a_trailing_slash_changes_nothing_and_nothing_redirects(plane: ControlPlane, method: str, path: str) -> None:
    first, second = plane.request(method, path), plane.request(method, f"{path}/")
    assert first.status_code == second.status_code
    assert not 300 <= first.status_code < 400
    if path != "/api/2.0/token/create":
        assert first.json() == second.json()


def test_an_internal_failure_shows_its_request_id_and_nothing_else(
    plane: ControlPlane, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plane.registry, "failure", RuntimeError("a password: hunter2"))
    body = {"name": "ads", "config": {"served_entities": [{"entity_name": "ads1", "entity_version": "1"}]}}
    response = plane.request("POST", ENDPOINTS, json=body, headers={"x-request-id": "req-7"})
    message = assert_error(response, 500, "INTERNAL_ERROR")
    assert "req-7" in message
    assert "hunter2" not in response.text
    assert [record for record in caplog.records if "req-7" in record.getMessage() and record.exc_info]


def test_a_busy_database_can_be_tried_again(plane: ControlPlane) -> None:
    with sqlite3.connect(plane.data.database, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        response = plane.request("POST", ENDPOINTS, json={"name": "ads"})
        assert plane.request("GET", ENDPOINTS).status_code == 200
    other.close()
    assert_error(response, 503, "TEMPORARILY_UNAVAILABLE")
    assert response.headers["Retry-After"] == "1"
    assert plane.request("POST", ENDPOINTS, json={"name": "ads"}).status_code == 200


def test_a_message_may_quote_what_utf8_cannot_hold(plane: ControlPlane) -> None:
    body = b'{"name": "a", "ai_gateway": {}, "config": {"served_entities": [{"environment_vars": {"\\ud800": 1}}]}}'
    assert_error(plane.request("POST", ENDPOINTS, content=body), 400, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("method", "path", "error"),
    [("GET", NAMED, "NotFound"), ("GET", "/api/2.0/nosuch", "NotFound"), ("POST", ENDPOINTS, "BadRequest")],
)
def test_the_sdk_makes_its_own_errors_of_ours(plane: ControlPlane, method: str, path: str, error: str) -> None:
    answer = plane.request(method, path, content=b"{}")
    response = Response()
    response.status_code = answer.status_code
    response._content = answer.content
    response.headers.update(answer.headers)
    response.request = Request(method, f"http://localhost{path}").prepare()
    raised = parser._Parser().get_api_error(response)
    assert error in {base.__name__ for base in type(raised).__mro__}
    assert str(raised) == answer.json()["message"]


def test_host_metadata_needs_no_credential_and_may_be_cached(plane: ControlPlane) -> None:
    response = plane.request(*OPEN, None)
    document = response.json()
    assert document["oidc_endpoint"] == "https://models.example.com/oidc"
    assert document["host_type"] == "WORKSPACE_HOST"
    assert document["workspace_id"].isdigit()
    assert len(document["workspace_id"]) == 16
    assert int(document["workspace_id"]) < 2**53
    assert "max-age" in response.headers["cache-control"]
