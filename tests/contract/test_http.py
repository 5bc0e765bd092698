"""What any HTTP client sees, byte by byte: paths, credentials, bodies, and the one shape of errors."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from server import OTHER_TOKEN, OTHER_USER, Server

MARKER = "keep-this-to-yourself"
LIMIT = 16 * 1024 * 1024
ROW = {
    "sepal length (cm)": 5.1,
    "sepal width (cm)": 3.5,
    "petal length (cm)": 1.4,
    "petal width (cm)": 0.2,
}
API = "/api/2.0/serving-endpoints"


@pytest.fixture
def path(iris_endpoint: str) -> str:
    return f"/serving-endpoints/{iris_endpoint}/invocations"


@pytest.fixture
def anonymous(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def error_of(answer: httpx.Response, status: int, code: str) -> str:
    """The message of an error answer of the one shape."""
    assert answer.status_code == status, answer.text[:2000]
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-request-id"]
    body = answer.json()
    assert body["error_code"] == code, body
    assert isinstance(body["message"], str)
    assert body["message"]
    assert "detail" not in body
    assert "error" not in body
    return str(body["message"])


def post(server: Server, path: str, content: bytes, content_type: str = "application/json") -> httpx.Response:
    return server.http.post(path, content=content, headers={"Content-Type": content_type})


def test_trailing_slash_is_answered_and_not_redirected(server, path, iris_endpoint):
    assert server.http.get(f"{API}/").status_code == 200
    assert server.http.get(f"{API}/{iris_endpoint}/").json()["name"] == iris_endpoint
    assert server.http.post(f"{path}/", json={"dataframe_records": [ROW]}).json() == {"predictions": [0]}


def test_basic_credential_of_user_token_is_accepted(server, anonymous, path, iris_endpoint):
    auth = ("token", server.token)
    assert anonymous.get(f"{API}/{iris_endpoint}", auth=auth).status_code == 200
    answer = anonymous.post(path, json={"dataframe_records": [ROW]}, auth=auth)
    assert answer.json() == {"predictions": [0]}


def test_no_credential_is_401(anonymous, path):
    for answer in (anonymous.get(API), anonymous.post(path, json={"dataframe_records": [ROW]})):
        error_of(answer, 401, "UNAUTHENTICATED")


@pytest.mark.parametrize("kind", ["Digest abc", "Bearer", "Basic !!!", "Basic dG9rZW4="])
def test_credential_of_unknown_form_is_refused(anonymous, path, kind):
    answer = anonymous.post(path, json={"dataframe_records": [ROW]}, headers={"Authorization": kind})
    assert answer.status_code in (401, 403)
    error_of(answer, answer.status_code, "UNAUTHENTICATED" if answer.status_code == 401 else "PERMISSION_DENIED")


def test_unknown_token_is_403(anonymous, path):
    headers = {"Authorization": f"Bearer dapi{'f' * 32}"}
    for answer in (anonymous.get(API, headers=headers), anonymous.post(path, json={}, headers=headers)):
        assert error_of(answer, 403, "PERMISSION_DENIED") == "Invalid access token."


def test_user_without_right_is_403_with_user_level_and_endpoint(anonymous, path, iris_endpoint):
    headers = {"Authorization": f"Bearer {OTHER_TOKEN}"}
    answers = {
        "CAN_QUERY": anonymous.post(path, json={"dataframe_records": [{"x": MARKER}]}, headers=headers),
        "CAN_VIEW": anonymous.get(f"{API}/{iris_endpoint}", headers=headers),
        "CAN_MANAGE": anonymous.delete(f"{API}/{iris_endpoint}", headers=headers),
    }
    for level, answer in answers.items():
        message = error_of(answer, 403, "PERMISSION_DENIED")
        for word in (OTHER_USER, level, iris_endpoint):
            assert word in message
        assert MARKER not in answer.text
        assert "stack_trace" not in answer.json()
    seen = [one["name"] for one in anonymous.get(API, headers=headers).json().get("endpoints", [])]
    assert iris_endpoint not in seen


def test_discovery_needs_no_credential(server, anonymous):
    answer = anonymous.get("/.well-known/databricks-config")
    assert answer.status_code == 200
    assert answer.json()["workspace_id"]
    assert answer.json()["oidc_endpoint"] == f"{server.url}/oidc"


def test_health_needs_no_credential(anonymous):
    answer = anonymous.get("/health")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ready"


@pytest.mark.parametrize(
    ("method", "unknown"),
    [
        ("GET", "/api/2.0/no/such/thing"),
        ("GET", "/no-such-page"),
        ("PUT", API),
        ("PATCH", "/.well-known/databricks-config"),
        ("GET", "/serving-endpoints/any/invocations"),
        ("POST", "/serving-endpoints/a/b/invocations"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
    ],
)
def test_unknown_route_or_method_is_404_with_its_code(server, method, unknown):
    message = error_of(server.http.request(method, unknown), 404, "ENDPOINT_NOT_FOUND")
    assert message == f"No API found for '{method} {unknown}'"


def test_query_of_unknown_endpoint_is_404(server):
    message = error_of(server.query("nobody-made-this", {"inputs": [1]}), 404, "ENDPOINT_NOT_FOUND")
    assert "nobody-made-this" in message


def test_query_of_unknown_served_model_is_404(server, iris_endpoint):
    url = f"/serving-endpoints/{iris_endpoint}/served-models/nope/invocations"
    assert "nope" in error_of(server.http.post(url, json={"inputs": [1]}), 404, "RESOURCE_DOES_NOT_EXIST")


def test_query_of_named_served_model_is_answered_by_it(server, iris_endpoint):
    served = server.detail(iris_endpoint)["config"]["served_entities"][0]["name"]
    url = f"/serving-endpoints/{iris_endpoint}/served-models/{served}/invocations"
    answer = server.http.post(url, json={"dataframe_records": [ROW]})
    assert answer.json() == {"predictions": [0]}
    assert answer.headers["served-model-name"] == served


def test_request_id_is_taken_and_returned(server, path):
    headers = {"x-request-id": "my-own-id-1"}
    good = server.http.post(path, json={"dataframe_records": [ROW]}, headers=headers)
    bad = server.http.post(path, content=b"{", headers=headers)
    control = server.http.get(f"{API}/nobody-made-this", headers=headers)
    for answer in (good, bad, control):
        assert answer.headers["x-request-id"] == "my-own-id-1"


def test_request_without_id_gets_one(server, path):
    answers = [server.http.post(path, json={"dataframe_records": [ROW]}) for _ in range(2)]
    answers.append(server.http.get(API))
    assert len({answer.headers["x-request-id"] for answer in answers}) == 3


def test_every_format_gives_the_same_answer(server, path):
    names, values = list(ROW), list(ROW.values())
    bodies: list[dict[str, Any]] = [
        {"dataframe_split": {"columns": names, "data": [values]}},
        {"dataframe_split": {"columns": names[::-1], "data": [values[::-1]], "index": [7]}},
        {"dataframe_records": [ROW]},
        {"dataframe_records": [{**ROW, "another": MARKER}]},
        {"instances": [ROW]},
        {"inputs": {name: [value] for name, value in ROW.items()}},
        {"inputs": ROW},
        {"inputs": [ROW], "client_request_id": "c", "usage_context": {}, "signature_name": "s"},
    ]
    for body in bodies:
        answer = server.http.post(path, json=body)
        assert answer.json() == {"predictions": [0]}, body


def test_csv_body_is_answered(server, path):
    text = ",".join(ROW) + "\n" + ",".join(map(str, ROW.values())) + "\n6.7,3.0,5.2,2.3\n"
    for content_type in ("text/csv", "text/csv; charset=UTF-8"):
        assert post(server, path, text.encode(), content_type).json() == {"predictions": [0, 2]}


def test_csv_cell_of_wrong_type_or_empty_csv_is_400(server, path):
    header = ",".join(ROW)
    for text in (f"{header}\n{MARKER},1,1,1\n", ""):
        error_of(post(server, path, text.encode(), "text/csv"), 400, "BAD_REQUEST")


def test_body_without_content_type_is_read_as_json(server, path):
    request = server.http.build_request("POST", path, content=json.dumps({"dataframe_records": [ROW]}).encode())
    request.headers.pop("content-type", None)
    assert server.http.send(request).json() == {"predictions": [0]}


def test_content_type_of_a_html_form_reaches_the_control_plane_as_json(server):
    """`curl -d` sends it."""
    form = "application/x-www-form-urlencoded"
    answer = post(server, API, b'{"name": "has/slash"}', form)
    error_of(answer, 400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/json; charset=latin-1", "application/json; format=pandas-split", "image/png"],
)
def test_unsupported_content_type_is_415_as_json(server, path, content_type):
    body = json.dumps({"dataframe_records": [ROW]}).encode()
    error_of(post(server, path, body, content_type), 415, "BAD_REQUEST")


def test_body_of_the_limit_is_read(server, path):
    body = json.dumps({"dataframe_records": [ROW]}).encode()
    assert post(server, path, body + b" " * (LIMIT - len(body))).json() == {"predictions": [0]}


def test_body_over_the_limit_is_400_and_names_the_limit(server, path):
    for url in (path, API):
        message = error_of(post(server, url, b" " * (LIMIT + 1)), 400, "BAD_REQUEST")
        assert "16777216" in message


def test_chunked_body_over_the_limit_is_400(server, path):
    def chunks() -> Iterator[bytes]:
        for _ in range(17):
            yield b" " * 1024 * 1024

    for url in (path, API):
        answer = server.http.post(url, content=chunks(), headers={"Content-Type": "application/json"})
        assert "16777216" in error_of(answer, 400, "BAD_REQUEST")


def test_compressed_body_is_refused(server, path):
    body = gzip.compress(json.dumps({"dataframe_records": [ROW]}).encode())
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    assert "Content-Encoding" in error_of(server.http.post(path, content=body, headers=headers), 400, "BAD_REQUEST")


DEEP = b'{"inputs": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        pytest.param(b"", "BAD_REQUEST", "", id="empty"),
        pytest.param(MARKER.encode(), "BAD_REQUEST", "", id="no JSON"),
        pytest.param(b'{"inputs": ["' + MARKER.encode(), "BAD_REQUEST", "", id="broken off"),
        pytest.param(json.dumps([MARKER]).encode(), "BAD_REQUEST", "dataframe_split", id="a list"),
        pytest.param(json.dumps(MARKER).encode(), "BAD_REQUEST", "dataframe_split", id="a string"),
        pytest.param(json.dumps({"rows": MARKER}).encode(), "BAD_REQUEST", "", id="no format"),
        pytest.param(
            json.dumps({"inputs": [MARKER], "instances": [MARKER]}).encode(),
            "BAD_REQUEST",
            "inputs",
            id="two formats",
        ),
        pytest.param(
            json.dumps({"dataframe_records": [{"sepal length (cm)": 1.0, "x": 2}]}).encode(),
            "INVALID_PARAMETER_VALUE",
            "petal width (cm)",
            id="missing columns",
        ),
        pytest.param(
            json.dumps({"dataframe_records": [{**ROW, "sepal width (cm)": "wide"}]}).encode(),
            "BAD_REQUEST",
            "sepal width (cm)",
            id="wrong type",
        ),
        pytest.param(
            json.dumps({"dataframe_records": {"x": MARKER}}).encode(), "BAD_REQUEST", "", id="records no list"
        ),
        pytest.param(json.dumps({"dataframe_split": [MARKER]}).encode(), "BAD_REQUEST", "", id="split a list"),
        pytest.param(
            json.dumps({"dataframe_split": {"columns": ["a", "b"], "data": [[MARKER]]}}).encode(),
            "BAD_REQUEST",
            "",
            id="too few values",
        ),
        pytest.param(
            json.dumps({"dataframe_records": [{**ROW, "sepal width (cm)": float("nan")}]}).encode(),
            "BAD_REQUEST",
            "NaN",
            id="NaN literal",
        ),
        pytest.param(DEEP, "BAD_REQUEST", "", id="10000 deep"),
        pytest.param(b'{"inputs": ["\xff\xfe"]}', "BAD_REQUEST", "", id="invalid UTF-8"),
        pytest.param(b"\x00" * 100, "BAD_REQUEST", "", id="zeros"),
    ],
)
def test_bad_body_is_400_of_the_one_shape_and_is_not_repeated(server, path, content, code, says):
    answer = post(server, path, content)
    assert says in error_of(answer, 400, code)
    assert MARKER not in answer.text
    assert len(answer.json()["message"]) < 5000
    assert server.query(path.split("/")[2], {"dataframe_records": [ROW]}).json() == {"predictions": [0]}


def test_no_bad_body_ends_a_replica(server, path):
    before = server.replicas()
    for content in (DEEP, b"\xff", b"{" * 1000, b'{"dataframe_split": {"data": 1, "columns": 2, "index": 3}}'):
        assert 400 <= post(server, path, content).status_code < 500
    assert before.items() <= server.replicas().items()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", DEEP, b'{"name": NaN}', b"\x00"], ids=lambda c: repr(c[:12])
)
def test_bad_body_of_a_control_plane_route_is_400_of_the_one_shape(server, content):
    answer = post(server, API, content)
    assert answer.status_code == 400
    error_of(answer, 400, answer.json()["error_code"])


@pytest.mark.parametrize("inner", ["/internal/health", "/internal/watch", "/internal/report", "/internal"])
def test_internal_routes_are_not_reachable_from_outside(server, inner):
    for variant in (inner, f"{inner}/", inner.replace("internal", "%69nternal"), f"/{inner}", f"/api/..{inner}"):
        for method in ("GET", "POST"):
            answer = server.http.request(method, f"{server.url}{variant}", headers={"x-moorage-internal": "1"})
            error_of(answer, 404, "ENDPOINT_NOT_FOUND")


def test_principal_header_of_a_client_has_no_effect(server, anonymous):
    from moorage.api.principal import encode_principal
    from moorage.api.routing import PRINCIPAL_HEADER, Principal

    forged = encode_principal(
        Principal(id="1", user_name="forged@example.com", display_name="F", admin=True, token_id="0", expiry_time=-1)
    )
    headers = {PRINCIPAL_HEADER: forged, "x-moorage-internal": "1"}
    me = "/api/2.0/preview/scim/v2/Me"
    error_of(anonymous.get(me, headers=headers), 401, "UNAUTHENTICATED")
    answer = anonymous.get(me, headers={**headers, "Authorization": f"Bearer {OTHER_TOKEN}"})
    assert answer.json()["userName"] == OTHER_USER


def test_mlflow_api_through_the_port_needs_the_token(server, anonymous):
    search = "/api/2.0/mlflow/registered-models/search"
    for route in (search, "/ajax-api/2.0/mlflow/registered-models/search", "/mlflow/", "/api/2.0/mlflow-artifacts"):
        error_of(anonymous.get(route), 401, "UNAUTHENTICATED")
    assert server.http.get(search).status_code == 200


def test_page_of_another_site_cannot_use_a_browsers_credential(server):
    answer = server.http.post(API, json={"name": "from-afar"}, headers={"Origin": "http://evil.example"})
    error_of(answer, 403, "PERMISSION_DENIED")
