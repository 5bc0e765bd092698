"""OAuth and tokens with the unmodified Databricks SDK, and browsers' sessions over real HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk import errors as sdk_errors
from databricks.sdk.common.types.fieldmask import FieldMask
from databricks.sdk.oauth import Consent, OAuthClient, SessionCredentials
from databricks.sdk.service.serving import (
    DataframeSplitInput,
    ServingEndpointAccessControlRequest,
    ServingEndpointPermissionLevel,
)
from databricks.sdk.service.settings import PublicTokenInfo, TokenInfo
from joserfc import jwt
from joserfc.jwk import KeySet
from server import OTHER_TOKEN, OTHER_USER, Server, endpoint_body

REDIRECT = "http://localhost:8020"
ME = "/api/2.0/preview/scim/v2/Me"
SESSION = "/api/2.0/moorage/session"


@dataclass(frozen=True)
class Robot:
    """A service principal, and the secret with which it comes."""

    id: str
    application_id: str
    secret_id: str
    secret: str

    def client(self, server: Server) -> WorkspaceClient:
        return WorkspaceClient(
            host=server.url, client_id=self.application_id, client_secret=self.secret, auth_type="oauth-m2m"
        )


@pytest.fixture(scope="module")
def admin(server: Server) -> WorkspaceClient:
    return WorkspaceClient(host=server.url, token=server.token, auth_type="pat")


@pytest.fixture
def robot(admin: WorkspaceClient) -> Iterator[Robot]:
    made = admin.service_principals.create(display_name="robot", active=True)
    secret = admin.service_principal_secrets_proxy.create(made.id)
    yield Robot(made.id, made.application_id, secret.id, secret.secret)
    admin.service_principals.delete(made.id)


@pytest.fixture(scope="module")
def optimized(server: Server, registered: Any) -> Iterator[str]:
    """The name of a READY endpoint that is route-optimized."""
    name, iris = "oauth-optimized", registered("iris")
    body = {**endpoint_body(name, iris.name), "route_optimized": True}
    assert server.http.post("/api/2.0/serving-endpoints", json=body).status_code == 200
    server.ready(name)
    yield name
    server.delete(name)


def share(admin: WorkspaceClient, endpoint: str, robot: Robot) -> None:
    admin.serving_endpoints.update_permissions(
        admin.serving_endpoints.get(endpoint).id,
        access_control_list=[
            ServingEndpointAccessControlRequest(
                service_principal_name=robot.application_id,
                permission_level=ServingEndpointPermissionLevel.CAN_QUERY,
            )
        ],
    )


def bearer(server: Server, token: str, path: str = ME, **options: Any) -> httpx.Response:
    method = options.pop("method", "GET")
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.request(method, server.url + path, headers=headers, timeout=60, **options)


def test_a_service_principal_works_with_its_client_id_and_secret(server: Server, robot: Robot) -> None:
    client = robot.client(server)
    me = client.current_user.me()
    assert (me.id, me.user_name) == (robot.id, robot.application_id)
    text = client.config.oauth_token().access_token
    document = httpx.get(f"{server.url}/oidc/jwks.json").json()
    claims = jwt.decode(text, KeySet.import_key_set(document), algorithms=["ES256"]).claims
    assert (claims["iss"], claims["sub"]) == (f"{server.url}/oidc", robot.application_id)
    assert claims["aud"] == str(client.get_workspace_id())


def test_a_wrong_secret_is_a_clear_error(server: Server, robot: Robot) -> None:
    with pytest.raises(ValueError, match="invalid_client"):
        Robot(robot.id, robot.application_id, "", "dose00").client(server).current_user.me()


def test_a_deleted_secret_ends_the_access_at_once(server: Server, admin: WorkspaceClient, robot: Robot) -> None:
    token = robot.client(server).config.oauth_token().access_token
    assert bearer(server, token).status_code == 200
    [listed] = admin.service_principal_secrets_proxy.list(robot.id)
    assert (listed.id, listed.status) == (robot.secret_id, "ACTIVE")
    admin.service_principal_secrets_proxy.delete(robot.id, robot.secret_id)
    assert bearer(server, token).status_code == 403
    assert list(admin.service_principal_secrets_proxy.list(robot.id)) == []


def test_a_deactivated_service_principal_is_out_at_once(server: Server, admin: WorkspaceClient, robot: Robot) -> None:
    token = robot.client(server).config.oauth_token().access_token
    admin.service_principals.update(robot.id, application_id=robot.application_id, active=False)
    assert bearer(server, token).status_code == 403
    with pytest.raises(ValueError, match="invalid_client"):
        robot.client(server).current_user.me()


def test_the_data_plane_client_queries_and_its_token_opens_nothing_else(
    server: Server, admin: WorkspaceClient, robot: Robot, optimized: str, iris_endpoint: str, registered: Any
) -> None:
    share(admin, optimized, robot)
    share(admin, iris_endpoint, robot)
    rows = registered("iris").rows
    split = DataframeSplitInput(columns=list(rows.columns), data=rows.to_numpy().tolist())
    client = robot.client(server)
    answer = client.serving_endpoints_data_plane.query(optimized, dataframe_split=split)
    assert answer.predictions == [0, 0, 0, 1, 1, 2, 2, 2]
    info = client.serving_endpoints.get(optimized).data_plane_info.query_info
    narrow = client.serving_endpoints_data_plane._dpts.token(info.endpoint_url, info.authorization_details)
    body = {"json": {"dataframe_split": split.as_dict()}, "method": "POST"}
    query = "/serving-endpoints/{}/invocations"
    assert bearer(server, narrow.access_token, query.format(optimized), **body).status_code == 200
    assert bearer(server, narrow.access_token, query.format(iris_endpoint), **body).status_code == 403
    for path in (ME, "/api/2.0/serving-endpoints", "/api/2.0/mlflow/experiments/get"):
        assert bearer(server, narrow.access_token, path).status_code == 403
    assert httpx.post(f"{server.url}{SESSION}", json={"token": narrow.access_token}).status_code == 403
    assert client.serving_endpoints.query(iris_endpoint, dataframe_split=split).predictions


def test_without_the_right_to_query_there_is_no_data_plane_token(
    server: Server, admin: WorkspaceClient, robot: Robot, optimized: str
) -> None:
    details = admin.serving_endpoints.get(optimized).data_plane_info.query_info.authorization_details
    form = {"grant_type": "client_credentials", "scope": "all-apis", "authorization_details": details}
    answer = httpx.post(f"{server.url}/oidc/v1/token", data=form, auth=(robot.application_id, robot.secret))
    assert (answer.status_code, answer.json()["error"]) == (400, "access_denied")
    share(admin, optimized, robot)
    answer = httpx.post(f"{server.url}/oidc/v1/token", data=form, auth=(robot.application_id, robot.secret))
    assert answer.status_code == 200, answer.text


def test_tokens_are_edited_and_managed(server: Server, admin: WorkspaceClient) -> None:
    other = WorkspaceClient(host=server.url, token=OTHER_TOKEN, auth_type="pat")
    made = other.tokens.create(comment="before", lifetime_seconds=600)
    token_id = made.token_info.token_id
    other.tokens.update(token_id, PublicTokenInfo(comment="after"), FieldMask(["comment"]))
    assert {info.token_id: info.comment for info in other.tokens.list()}[token_id] == "after"
    with pytest.raises(sdk_errors.NotFound):
        admin.tokens.update(token_id, PublicTokenInfo(comment="x"), FieldMask(["comment"]))
    listed = list(admin.token_management.list(created_by_username=OTHER_USER))
    assert token_id in [info.token_id for info in listed]
    assert {info.created_by_username for info in listed} == {OTHER_USER}
    assert token_id in [info.token_id for info in admin.token_management.list(created_by_id=listed[0].owner_id)]
    seen = TokenInfo(comment="seen")
    edited = admin.token_management.update_token_management(token_id, seen, FieldMask(["comment"]))
    assert edited.comment == admin.token_management.get(token_id).token_info.comment == "seen"
    with pytest.raises(sdk_errors.PermissionDenied):
        list(other.token_management.list())
    assert bearer(server, made.token_value).status_code == 200
    admin.token_management.delete(token_id)
    assert bearer(server, made.token_value).status_code == 403
    with pytest.raises(sdk_errors.NotFound):
        admin.token_management.get(token_id)


def test_a_token_on_behalf_of_a_service_principal(server: Server, admin: WorkspaceClient, robot: Robot) -> None:
    made = admin.token_management.create_obo_token(robot.application_id, comment="ci", lifetime_seconds=600)
    me = WorkspaceClient(host=server.url, token=made.token_value, auth_type="pat").current_user.me()
    assert (me.id, made.token_info.comment) == (robot.id, "ci")
    assert str(made.token_info.owner_id) == robot.id


@pytest.fixture
def browser(server: Server) -> Iterator[httpx.Client]:
    """A browser that is signed in as the user without rights."""
    with httpx.Client(base_url=server.url, timeout=60) as client:
        form = {"token": OTHER_TOKEN, "return_to": "/"}
        answer = client.post("/login", data=form, headers={"Origin": server.url})
        assert (answer.status_code, answer.headers["location"]) == (303, "/"), answer.text
        yield client


def consented(server: Server, browser: httpx.Client) -> tuple[Consent, dict[str, str]]:
    """What the SDK began, and what the browser brings to its callback after the user's consent."""
    consent = OAuthClient.from_host(server.url, "databricks-cli", REDIRECT).initiate_consent()
    page = browser.get(consent.authorization_url)
    assert page.status_code == 200, page.text
    action = re.search(r'action="([^"]+)"', page.text)
    assert action is not None
    assert OTHER_USER in page.text
    path = action[1].replace("&amp;", "&")
    answer = browser.post(path, data={"decision": "allow"}, headers={"Origin": server.url})
    assert answer.status_code == 303, answer.text
    location = answer.headers["location"]
    assert location.startswith(f"{REDIRECT}?")
    return consent, dict(parse_qsl(urlsplit(location).query))


def test_the_sdks_browser_flow_signs_a_user_in(server: Server, browser: httpx.Client) -> None:
    consent, callback = consented(server, browser)
    credentials = consent.exchange_callback_parameters(callback)
    first = credentials.token()
    client = WorkspaceClient(host=server.url, token=first.access_token, auth_type="pat")
    assert client.current_user.me().user_name == OTHER_USER
    with pytest.raises(ValueError, match="invalid_grant"):
        consent.exchange_callback_parameters(callback)
    assert bearer(server, first.access_token).status_code == 403


def test_the_sdk_renews_its_access(server: Server, browser: httpx.Client) -> None:
    consent, callback = consented(server, browser)
    credentials = consent.exchange_callback_parameters(callback)
    first = credentials.token()
    second = credentials.refresh()
    assert bearer(server, second.access_token).json()["userName"] == OTHER_USER
    assert first.refresh_token != second.refresh_token
    token_endpoint = f"{server.url}/oidc/v1/token"
    again = SessionCredentials(first, token_endpoint, "databricks-cli")
    with pytest.raises(ValueError, match="invalid_grant"):
        again.refresh()
    third = SessionCredentials(second, token_endpoint, "databricks-cli").refresh()
    assert bearer(server, third.access_token).status_code == 200


def test_nobody_consents_from_another_page(server: Server, browser: httpx.Client) -> None:
    consent = OAuthClient.from_host(server.url, "databricks-cli", REDIRECT).initiate_consent()
    for headers in ({"Origin": "http://localhost:1"}, {"Origin": "null"}, {}):
        answer = browser.post(consent.authorization_url, data={"decision": "allow"}, headers=headers)
        assert answer.status_code == 403
        assert "location" not in answer.headers


def test_without_a_session_the_browser_is_asked_to_sign_in(server: Server) -> None:
    consent = OAuthClient.from_host(server.url, "databricks-cli", REDIRECT).initiate_consent()
    page = httpx.get(consent.authorization_url)
    assert 'action="/login"' in page.text
    answer = httpx.post(consent.authorization_url, data={"decision": "allow"}, headers={"Origin": server.url})
    assert (answer.status_code, "location" in answer.headers) == (403, False)


def test_a_session_opens_what_its_user_may_and_changes_need_a_page_of_this_server(
    server: Server, browser: httpx.Client, iris_endpoint: str
) -> None:
    assert browser.get(ME).json()["userName"] == OTHER_USER
    own, create = {"Origin": server.url}, "/api/2.0/token/create"
    made = browser.post(create, json={}, headers=own)
    assert made.status_code == 200
    query = f"/serving-endpoints/{iris_endpoint}/invocations"
    for headers in ({}, {"Origin": "http://localhost:1"}, {"Origin": "null"}):
        for path in (create, query, "/api/2.0/mlflow/experiments/create"):
            answer = browser.post(path, json={}, headers=headers)
            assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED"), path
    # From its own page the query gets as far as the question of rights.
    assert "CAN_QUERY" in browser.post(query, json={}, headers=own).json()["message"]
    token_id = made.json()["token_info"]["token_id"]
    assert browser.post("/api/2.0/token/delete", json={"token_id": token_id}, headers=own).status_code == 200


def test_a_credential_in_the_header_counts_before_the_cookie(server: Server, browser: httpx.Client) -> None:
    headers = {"Authorization": f"Bearer {server.token}"}
    me = browser.get(ME, headers=headers).json()
    assert me["userName"] != OTHER_USER
    answer = browser.get(ME, headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == 403


def test_signing_out_ends_the_session(server: Server, browser: httpx.Client) -> None:
    stolen = {"Cookie": f"moorage_session={browser.cookies['moorage_session']}"}
    assert httpx.get(f"{server.url}{ME}", headers=stolen).status_code == 200
    answer = browser.delete(SESSION, headers={"Origin": server.url})
    assert answer.status_code == 200
    assert "moorage_session" not in browser.cookies
    assert httpx.get(f"{server.url}{ME}", headers=stolen).status_code == 403
    assert browser.get(ME).status_code == 401


def test_the_session_survives_the_json_way_too(server: Server) -> None:
    with httpx.Client(base_url=server.url) as client:
        answer = client.post(SESSION, json={"token": OTHER_TOKEN})
        assert answer.json()["user_name"] == OTHER_USER
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert client.get(ME).json()["userName"] == OTHER_USER
    assert httpx.post(f"{server.url}{SESSION}", json={"token": "wrong"}).status_code == 403
    foreign = {"Origin": "http://evil.example"}
    assert httpx.post(f"{server.url}{SESSION}", json={"token": OTHER_TOKEN}, headers=foreign).status_code == 403
