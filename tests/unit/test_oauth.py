"""The token endpoint, consent and the keys, without processes. What a gateway does with the tokens is not here."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from control_harness import ADMIN, ANN, BOB, ControlPlane, control_plane
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from moorage.api.routing import CLIENT_HEADER, Principal
from moorage.control.oauth.clients import is_loopback
from moorage.control.oauth.signing import SigningKeys
from moorage.control.store.engine import reading
from moorage.control.store.models import OAuthGrant, OAuthSecret, Token, User
from moorage.control.store.permissions import ObjectType, grant
from moorage.identity.tokens import token_digest

ROBOT = "4712"
ROBOT_ID = "0b8f6a52-9d3e-4c55-8f0e-0123456789ab"
TOKEN = "/oidc/v1/token"
AUTHORIZE = "/oidc/v1/authorize"
SECRETS = f"/api/2.0/accounts/servicePrincipals/{ROBOT}/credentials/secrets"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
REDIRECT = "http://localhost:8020"
VERIFIER = "v" * 43


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        with plane.sessions.begin() as session:
            session.add(
                User(id=ROBOT, user_name=ROBOT_ID, display_name="robot", created_at=1, kind="service_principal")
            )
        yield plane


def form(plane: ControlPlane, path: str = TOKEN, caller: Principal | None = None, **fields: str) -> Any:
    headers = {CLIENT_HEADER: "10.0.0.1"}
    return plane.request("POST", path, caller, content=urlencode(fields), headers=headers)


def new_secret(plane: ControlPlane, **fields: Any) -> dict[str, Any]:
    response = plane.request("POST", SECRETS, ADMIN, json=fields)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def machine_token(plane: ControlPlane, secret: str, **fields: str) -> Any:
    fields = {"client_id": ROBOT_ID, "client_secret": secret, "scope": "all-apis", **fields}
    return form(plane, grant_type="client_credentials", **fields)


def refusal(response: Any, status: int, code: str) -> str:
    assert (response.status_code, response.json().get("error")) == (status, code), response.text
    assert set(response.json()) == {"error", "error_description"}
    assert response.headers["content-type"] == "application/json"
    return str(response.json()["error_description"])


def consent_query(**fields: str) -> str:
    wanted = {
        "response_type": "code",
        "client_id": "databricks-cli",
        "redirect_uri": REDIRECT,
        "scope": "all-apis offline_access",
        "state": "st&te",
        "code_challenge": create_s256_code_challenge(VERIFIER),
        "code_challenge_method": "S256",
        **fields,
    }
    return urlencode({name: value for name, value in wanted.items() if value})


def consent(plane: ControlPlane, caller: Principal = ANN, **fields: str) -> dict[str, str]:
    """The parameters with which the browser is sent to the client."""
    response = form(plane, f"{AUTHORIZE}?{consent_query(**fields)}", caller, decision="allow")
    assert response.status_code == 303, response.text
    location = urlsplit(response.headers["location"])
    assert f"{location.scheme}://{location.netloc}" == REDIRECT
    return {name: value for name, (value,) in parse_qs(location.query).items()}


def exchange(plane: ControlPlane, text: str, **fields: str) -> Any:
    fields = {
        "client_id": "databricks-cli", "code": text, "code_verifier": VERIFIER, "redirect_uri": REDIRECT, **fields,
    }  # fmt: skip
    return form(plane, grant_type="authorization_code", **fields)


def refresh(plane: ControlPlane, text: str, **fields: str) -> Any:
    fields = {"client_id": "databricks-cli", "refresh_token": text, **fields}
    return form(plane, grant_type="refresh_token", **fields)


def told(plane: ControlPlane, token: str) -> list[Principal | None]:
    """What the gateways were told of a token, in order."""
    return [principal for digest, principal in plane.notifier.tokens if digest == token_digest(token)]


def details(endpoint_id: str, *actions: str, **fields: Any) -> str:
    detail = {
        "type": "workspace_permission",
        "object_type": "serving-endpoints",
        "object_path": f"/serving-endpoints/{endpoint_id}",
        "actions": list(actions or ("query_inference_endpoint",)),
        **fields,
    }
    return json.dumps([detail])


def test_a_service_principal_exchanges_its_secret_for_an_hour_of_access(plane: ControlPlane) -> None:
    response = machine_token(plane, new_secret(plane)["secret"])
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    answer = response.json()
    assert answer | {"access_token": ""} == {
        "access_token": "", "token_type": "Bearer", "expires_in": 3600, "scope": "all-apis",
    }  # fmt: skip
    [principal] = told(plane, answer["access_token"])
    assert principal is not None
    assert (principal.id, principal.user_name, principal.kind) == (ROBOT, ROBOT_ID, "service_principal")
    assert principal.expiry_time == plane.clock.now // 1000 * 1000 + 3_600_000
    keys = KeySet.import_key_set(plane.request("GET", "/oidc/jwks.json", None).json())
    token = jwt.decode(answer["access_token"], keys, algorithms=["ES256"])
    assert token.header["typ"] == "at+jwt"
    assert token.claims["iss"] == "https://models.example.com/oidc"
    assert token.claims["sub"] == token.claims["client_id"] == ROBOT_ID
    assert token.claims["exp"] - token.claims["iat"] == 3600
    assert token.claims["scope"] == "all-apis"


def test_the_client_may_authenticate_with_http_basic(plane: ControlPlane) -> None:
    secret = new_secret(plane)["secret"]
    body = {"content": "grant_type=client_credentials&scope=all-apis"}
    options: dict[str, Any] = {"auth": (ROBOT_ID, secret)}
    assert plane.client.post(TOKEN, **body, **options).status_code == 200
    options = {"auth": (ROBOT_ID, secret + "x")}
    response = plane.client.post(TOKEN, **body, **options)
    refusal(response, 401, "invalid_client")
    assert response.headers["www-authenticate"].startswith("Basic")
    both = plane.client.post(TOKEN, content=body["content"] + "&client_secret=x", auth=(ROBOT_ID, secret))
    refusal(both, 400, "invalid_request")


@pytest.mark.parametrize(
    "fields",
    [{"client_secret": "dose0"}, {"client_secret": ""}, {"client_id": ANN.user_name}, {"client_id": ""}],
)
def test_a_wrong_client_gets_nothing(plane: ControlPlane, fields: dict[str, str]) -> None:
    secret = new_secret(plane)["secret"]
    refusal(machine_token(plane, secret, **fields), 401, "invalid_client")
    assert plane.notifier.tokens == []


def test_secrets_end_and_inactive_service_principals_get_nothing(plane: ControlPlane) -> None:
    secret = new_secret(plane, lifetime="60s")["secret"]
    assert machine_token(plane, secret).status_code == 200
    with plane.sessions.begin() as session:
        session.get_one(User, ROBOT).active = False
    refusal(machine_token(plane, secret), 401, "invalid_client")
    with plane.sessions.begin() as session:
        session.get_one(User, ROBOT).active = True
    plane.clock.now += 60_000
    refusal(machine_token(plane, secret), 401, "invalid_client")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"grant_type": ""}, "unsupported_grant_type"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange"}, "unsupported_grant_type"),
        ({"scope": "sql"}, "invalid_scope"),
        ({"assume_group": "g"}, "invalid_request"),
        ({"authorization_details": "no json"}, "invalid_authorization_details"),
        ({"authorization_details": "[]"}, "invalid_authorization_details"),
        ({"authorization_details": details("nosuch")}, "access_denied"),
        ({"authorization_details": details("x", object_path="/clusters/x")}, "invalid_authorization_details"),
        ({"authorization_details": details("x", "delete")}, "invalid_authorization_details"),
        ({"authorization_details": details("x", actions=[])}, "invalid_authorization_details"),
    ],
)
def test_a_request_for_what_there_is_not_is_refused(plane: ControlPlane, fields: dict[str, str], code: str) -> None:
    fields = {"grant_type": "client_credentials", "client_id": ROBOT_ID, "client_secret": new_secret(plane)["secret"],
              **fields}  # fmt: skip
    refusal(form(plane, **fields), 400, code)
    assert plane.notifier.tokens == []


@pytest.mark.parametrize("body", [b"\xff\xfe=1", b"grant_type=a&grant_type=b", b"&".join([b"a=1"] * 60)])
def test_a_body_that_is_no_form_is_refused(plane: ControlPlane, body: bytes) -> None:
    refusal(plane.request("POST", TOKEN, None, content=body), 400, "invalid_request")


def test_guessing_is_slowed_down_and_locks_nobody_out(plane: ControlPlane) -> None:
    secret = new_secret(plane)["secret"]
    for _ in range(20):
        refusal(machine_token(plane, "guess"), 401, "invalid_client")
    response = machine_token(plane, "guess")
    refusal(response, 429, "temporarily_unavailable")
    assert 0 < int(response.headers["retry-after"]) <= 61
    assert machine_token(plane, secret).status_code == 200
    plane.clock.now += 60_000
    refusal(machine_token(plane, "guess"), 401, "invalid_client")


def test_client_secrets_are_shown_once_and_kept_as_digests(plane: ControlPlane) -> None:
    made = new_secret(plane)
    assert (made["status"], made["create_time"], made["expire_time"]) == (
        "ACTIVE", "2023-11-14T22:13:20.000Z", "2025-11-13T22:13:20.000Z",
    )  # fmt: skip
    assert made["secret"].encode() not in plane.data.database.read_bytes()
    listed = plane.request("GET", SECRETS, ADMIN).json()["secrets"]
    assert listed == [{name: value for name, value in made.items() if name != "secret"}]
    with reading(plane.sessions) as session:
        assert session.get_one(OAuthSecret, made["id"]).digest == made["secret_hash"]


def test_five_secrets_are_enough_and_expired_ones_make_room(plane: ControlPlane) -> None:
    new_secret(plane, lifetime="10s")
    plane.clock.now += 1  # they are listed oldest first
    for _ in range(4):
        new_secret(plane)
    response = plane.request("POST", SECRETS, ADMIN)
    assert (response.status_code, response.json()["error_code"]) == (400, "QUOTA_EXCEEDED")
    plane.clock.now += 10_000
    assert plane.request("GET", SECRETS, ADMIN).json()["secrets"][0]["status"] == "EXPIRED"
    new_secret(plane)
    assert len(plane.request("GET", SECRETS, ADMIN).json()["secrets"]) == 5


def test_a_deleted_secret_takes_its_tokens_along(plane: ControlPlane) -> None:
    kept, leaked = new_secret(plane), new_secret(plane)
    good, bad = (machine_token(plane, one["secret"]).json()["access_token"] for one in (kept, leaked))
    assert plane.request("DELETE", f"{SECRETS}/{leaked['id']}", ADMIN).json() == {}
    assert told(plane, bad)[-1] is None
    assert told(plane, good)[-1] is not None
    refusal(machine_token(plane, leaked["secret"]), 401, "invalid_client")
    assert plane.request("DELETE", f"{SECRETS}/{leaked['id']}", ADMIN).status_code == 404


@pytest.mark.parametrize("caller", [ANN, BOB])
def test_only_administrators_handle_client_secrets(plane: ControlPlane, caller: Principal) -> None:
    secret = new_secret(plane)
    for method, path in (("POST", SECRETS), ("GET", SECRETS), ("DELETE", f"{SECRETS}/{secret['id']}")):
        assert plane.request(method, path, caller).status_code == 403
    assert len(plane.request("GET", SECRETS, ADMIN).json()["secrets"]) == 1


@pytest.mark.parametrize("user_id", [ANN.id, "77"])
def test_only_service_principals_have_client_secrets(plane: ControlPlane, user_id: str) -> None:
    for method in ("POST", "GET"):
        response = plane.request(method, SECRETS.replace(ROBOT, user_id), ADMIN)
        assert (response.status_code, response.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


@pytest.mark.parametrize("lifetime", ["0s", "-1s", "soon", "63072001s", "1h"])
def test_a_secret_needs_a_lifetime_in_seconds(plane: ControlPlane, lifetime: str) -> None:
    response = plane.request("POST", SECRETS, ADMIN, json={"lifetime": lifetime})
    assert (response.status_code, response.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_a_data_plane_token_is_for_one_endpoint_that_its_owner_may_query(plane: ControlPlane) -> None:
    endpoint_id = plane.create("ads")["id"]
    secret = new_secret(plane)["secret"]
    control = machine_token(plane, secret).json()["access_token"]
    wanted = {"grant_type": JWT_BEARER, "assertion": control, "authorization_details": details(endpoint_id)}
    refusal(form(plane, **wanted), 400, "access_denied")
    with plane.sessions.begin() as session:
        grant(session, ObjectType.SERVING_ENDPOINT, endpoint_id, ROBOT, "CAN_QUERY")
    narrow = form(plane, **wanted)
    assert narrow.status_code == 200, narrow.text
    [principal] = told(plane, narrow.json()["access_token"])
    assert principal is not None
    assert (principal.id, principal.only_endpoint) == (ROBOT, endpoint_id)
    # The way of the published guide: in one step, with the client's secret.
    direct = machine_token(plane, secret, authorization_details=details(endpoint_id))
    [principal] = told(plane, direct.json()["access_token"])
    assert principal is not None
    assert principal.only_endpoint == endpoint_id
    refusal(
        machine_token(plane, secret, authorization_details=details(endpoint_id, "manage_inference_endpoint")),
        400, "access_denied",
    )  # fmt: skip


def test_only_a_whole_and_valid_access_token_is_an_assertion(plane: ControlPlane) -> None:
    endpoint_id = plane.create("ads", ANN)["id"]
    with plane.sessions.begin() as session:
        grant(session, ObjectType.SERVING_ENDPOINT, endpoint_id, ROBOT, "CAN_QUERY")

    def assertion(token: str) -> Any:
        return form(plane, grant_type=JWT_BEARER, assertion=token, authorization_details=details(endpoint_id))

    secret = new_secret(plane)
    control = machine_token(plane, secret["secret"]).json()["access_token"]
    narrow = assertion(control).json()["access_token"]
    pat = plane.request("POST", "/api/2.0/token/create", ANN).json()["token_value"]
    for wrong in (narrow, pat, control[:-1], "x"):
        refusal(assertion(wrong), 400, "invalid_grant")
    refusal(form(plane, grant_type=JWT_BEARER, assertion=control), 400, "invalid_request")
    assert assertion(control).status_code == 200
    plane.request("DELETE", f"{SECRETS}/{secret['id']}", ADMIN)
    assert told(plane, narrow)[-1] is None
    refusal(assertion(control), 400, "invalid_grant")


def test_an_expired_access_token_is_no_assertion_and_leaves_the_database(plane: ControlPlane) -> None:
    secret = new_secret(plane)["secret"]
    control = machine_token(plane, secret).json()["access_token"]
    plane.clock.now += 3_600_000
    response = form(plane, grant_type=JWT_BEARER, assertion=control, authorization_details=details("x"))
    refusal(response, 400, "invalid_grant")
    machine_token(plane, secret)
    with reading(plane.sessions) as session:
        assert session.query(Token).filter_by(kind="oauth").count() == 1


def test_a_user_consents_and_the_client_gets_tokens(plane: ControlPlane) -> None:
    answer = consent(plane)
    assert answer["state"] == "st&te"
    response = exchange(plane, answer["code"])
    assert response.status_code == 200, response.text
    tokens = response.json()
    assert tokens["scope"] == "all-apis offline_access"
    [principal] = told(plane, tokens["access_token"])
    assert principal is not None
    assert (principal.id, principal.only_endpoint) == (ANN.id, None)
    assert answer["code"].encode() not in plane.data.database.read_bytes()
    assert tokens["refresh_token"].encode() not in plane.data.database.read_bytes()


def test_without_offline_access_there_is_no_refresh_token(plane: ControlPlane) -> None:
    answer = exchange(plane, consent(plane, scope="all-apis")["code"]).json()
    assert "refresh_token" not in answer
    assert answer["scope"] == "all-apis"


@pytest.mark.parametrize(
    "fields",
    [
        {"code_verifier": "w" * 43},
        {"code_verifier": "vé" * 30},
        {"redirect_uri": "http://localhost:8021"},
        {"code": "x"},
    ],
)
def test_a_code_is_bound_to_its_request_and_has_one_try(plane: ControlPlane, fields: dict[str, str]) -> None:
    code = consent(plane)["code"]
    refusal(exchange(plane, code, **fields), 400, "invalid_grant")
    if "code" not in fields:
        refusal(exchange(plane, code), 400, "invalid_grant")
    assert plane.notifier.tokens == []


def test_a_code_lives_for_a_minute(plane: ControlPlane) -> None:
    code = consent(plane)["code"]
    plane.clock.now += 60_000
    refusal(exchange(plane, code), 400, "invalid_grant")


def test_a_code_presented_twice_revokes_what_it_gave(plane: ControlPlane) -> None:
    code = consent(plane)["code"]
    tokens = exchange(plane, code).json()
    refusal(exchange(plane, code), 400, "invalid_grant")
    assert told(plane, tokens["access_token"])[-1] is None
    refusal(refresh(plane, tokens["refresh_token"]), 400, "invalid_grant")


def test_a_refresh_token_is_good_once_and_its_second_use_revokes_all(plane: ControlPlane) -> None:
    other = exchange(plane, consent(plane)["code"]).json()
    first = exchange(plane, consent(plane)["code"]).json()
    second = refresh(plane, first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    plane.clock.now += 11_000
    refusal(refresh(plane, first["refresh_token"]), 400, "invalid_grant")
    assert told(plane, first["access_token"])[-1] is None
    assert told(plane, second["access_token"])[-1] is None
    refusal(refresh(plane, second["refresh_token"]), 400, "invalid_grant")
    assert told(plane, other["access_token"])[-1] is not None
    assert refresh(plane, other["refresh_token"]).status_code == 200


def test_two_processes_that_renew_at_once_do_not_sign_the_user_out(plane: ControlPlane) -> None:
    first = exchange(plane, consent(plane)["code"]).json()
    second = refresh(plane, first["refresh_token"]).json()
    refusal(refresh(plane, first["refresh_token"]), 400, "invalid_grant")
    assert refresh(plane, second["refresh_token"]).status_code == 200


def test_a_refresh_token_ends_with_time_its_client_and_its_user(plane: ControlPlane) -> None:
    text = exchange(plane, consent(plane)["code"]).json()["refresh_token"]
    refusal(refresh(plane, text, client_id="another"), 401, "invalid_client")
    refusal(refresh(plane, text, scope="all-apis sql"), 400, "invalid_scope")
    with plane.sessions.begin() as session:
        session.get_one(User, ANN.id).active = False
    refusal(refresh(plane, text), 400, "invalid_grant")
    with plane.sessions.begin() as session:
        session.get_one(User, ANN.id).active = True
    text = refresh(plane, text).json()["refresh_token"]
    plane.clock.now += 30 * 24 * 3_600_000
    refusal(refresh(plane, text), 400, "invalid_grant")
    exchange(plane, consent(plane)["code"])
    with reading(plane.sessions) as session:
        assert session.query(OAuthGrant).count() == 2


def test_a_user_who_denies_gives_nothing(plane: ControlPlane) -> None:
    response = form(plane, f"{AUTHORIZE}?{consent_query()}", ANN, decision="deny")
    query = parse_qs(urlsplit(response.headers["location"]).query)
    assert (query["error"], query["state"]) == (["access_denied"], ["st&te"])
    assert form(plane, f"{AUTHORIZE}?{consent_query()}", ANN).headers["location"].count("access_denied") == 1


def test_consent_needs_somebody_signed_in(plane: ControlPlane) -> None:
    page = plane.request("GET", f"{AUTHORIZE}?{consent_query()}", None)
    assert page.status_code == 200
    assert 'action="/login"' in page.text
    assert f'value="{AUTHORIZE}?{consent_query()}"' in unescape(page.text)
    assert form(plane, f"{AUTHORIZE}?{consent_query()}", None, decision="allow").status_code == 403
    with reading(plane.sessions) as session:
        assert session.query(OAuthGrant).count() == 0


def test_the_consent_page_says_who_and_cannot_be_framed_or_scripted(plane: ControlPlane) -> None:
    odd = ANN.model_copy(update={"user_name": "<script>alert(1)</script>"})
    query = consent_query(state='"><script>x')
    page = plane.request("GET", f"{AUTHORIZE}?{query}", odd)
    assert page.status_code == 200
    assert "<script" not in page.text
    assert "&lt;script&gt;alert(1)" in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert f"form-action 'self' {REDIRECT}" in policy
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.example/", "http://localhost", "http://localhost:0", "http://localhost:65536",
        "http://localhost.evil.example:80", "http://user@localhost:80", "http://localhost:80@evil.example",
        "http://localhost:80/?x=1", "http://localhost:80/#x", "http://127.0.0.1:80\\@evil.example", "//localhost:80",
        "http://[::1]:80", "javascript:alert(1)", "http://localhost:8020\n", "HTTP://evil.example:80", "",
    ],
)  # fmt: skip
def test_answers_go_to_the_users_own_machine_only(plane: ControlPlane, uri: str) -> None:
    assert not is_loopback(uri)
    for method in ("GET", "POST"):
        path = f"{AUTHORIZE}?{consent_query(redirect_uri=uri)}"
        response = plane.request(method, path, ANN, content="decision=allow")
        assert response.status_code == 400
        assert "location" not in response.headers
    assert is_loopback("http://127.0.0.1:8021/callback")


def test_an_unknown_client_is_not_answered(plane: ControlPlane) -> None:
    response = plane.request("GET", f"{AUTHORIZE}?{consent_query(client_id='evil')}", ANN)
    assert (response.status_code, "location" in response.headers) == (400, False)
    assert plane.request("GET", f"{AUTHORIZE}?{consent_query()}&client_id=evil", ANN).status_code == 400


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": ""}, "invalid_request"),
        ({"scope": "all-apis sql"}, "invalid_scope"),
        ({"assume_group": "g"}, "invalid_request"),
    ],
)
def test_a_bad_request_is_told_to_its_client(plane: ControlPlane, fields: dict[str, str], error: str) -> None:
    for method in ("GET", "POST"):
        response = plane.request(method, f"{AUTHORIZE}?{consent_query(**fields)}", ANN, content="decision=allow")
        assert response.status_code == 303
        query = parse_qs(urlsplit(response.headers["location"]).query)
        assert (query["error"], query["state"]) == ([error], ["st&te"])
        assert "error_description" in query


def test_the_metadata_names_what_there_is(plane: ControlPlane) -> None:
    document = plane.request("GET", "/oidc/.well-known/oauth-authorization-server", None).json()
    assert document == plane.request("GET", "/oidc/.well-known/openid-configuration", None).json()
    assert document["issuer"] == "https://models.example.com/oidc"
    assert document["token_endpoint"] == "https://models.example.com/oidc/v1/token"
    assert document["authorization_endpoint"] == "https://models.example.com/oidc/v1/authorize"
    assert document["jwks_uri"] == "https://models.example.com/oidc/jwks.json"
    assert "client_credentials" in document["grant_types_supported"]
    assert document["code_challenge_methods_supported"] == ["S256"]


def test_the_keys_are_kept_private_and_can_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    old = SigningKeys(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKeys(path).public() == old.public()
    assert all("d" not in key for key in old.public()["keys"])
    text = old.sign({"exp": 100}, "a")
    path.write_bytes(ECKey.generate_key("P-256").as_pem(private=True) + path.read_bytes())
    new = SigningKeys(path)
    assert len(new.public()["keys"]) == 2
    assert new.verify(text, "a", 99) == {"exp": 100}
    assert new.verify(text, "b", 99) is None
    assert new.verify(text, "a", 101) is None
    assert old.verify(new.sign({"exp": 100}, "a"), "a", 99) is None
    assert new.verify(text[:-4] + "AAAA", "a", 99) is None


@pytest.mark.parametrize("content", [b"", b"nonsense", ECKey.generate_key("P-384").as_pem(private=True)])
def test_a_key_file_that_is_none_is_not_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"key\.pem"):
        SigningKeys(path)
    assert path.read_bytes() == content


def test_a_user_has_a_bounded_number_of_access_tokens(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moorage.control.oauth.short_lived_tokens._MOST_PER_USER", 3)
    secret = new_secret(plane)["secret"]
    tokens = []
    for _ in range(5):
        plane.clock.now += 1
        tokens.append(machine_token(plane, secret).json()["access_token"])
    assert [told(plane, token)[-1] is None for token in tokens] == [True, True, False, False, False]
    digests = {hashlib.sha256(token.encode()).hexdigest() for token in tokens[2:]}
    with reading(plane.sessions) as session:
        assert {token.digest for token in session.query(Token).filter_by(kind="oauth")} == digests


def test_personal_lists_do_not_show_access_tokens(plane: ControlPlane) -> None:
    access = exchange(plane, consent(plane)["code"]).json()["access_token"]
    with reading(plane.sessions) as session:
        token_id = session.query(Token).filter_by(digest=token_digest(access)).one().id
    assert plane.request("GET", "/api/2.0/token/list", ANN).json() == {"token_infos": []}
    assert plane.request("GET", "/api/2.0/token-management/tokens", ADMIN).json() == {"token_infos": []}
    assert plane.request("POST", "/api/2.0/token/delete", ANN, json={"token_id": token_id}).status_code == 404
    assert plane.request("DELETE", f"/api/2.0/token-management/tokens/{token_id}", ADMIN).status_code == 404
