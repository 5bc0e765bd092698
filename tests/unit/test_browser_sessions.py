"""Signing browsers in and out, without processes; and what of a cookie the gateway takes."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from control_harness import ADMIN, ANN, ControlPlane, control_plane

from moorage.api.errors import PermissionDenied
from moorage.api.routing import Principal
from moorage.control.bootstrap import prepare
from moorage.control.oauth.pages import local_path
from moorage.control.store import oauth
from moorage.control.store.engine import reading
from moorage.control.store.models import Token, User
from moorage.datadir import DataDirectory
from moorage.gateway.cookies import require_own_page, session_authorization
from moorage.identity.tokens import token_digest
from moorage.settings import Settings

SESSION = "/api/2.0/moorage/session"
LINKS = "/api/2.0/moorage/sign-in-links"


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[ControlPlane]:
    with control_plane(tmp_path) as plane:
        yield plane


def new_token(plane: ControlPlane, **fields: Any) -> str:
    return str(plane.request("POST", "/api/2.0/token/create", ANN, json=fields).json()["token_value"])


def sign_in(plane: ControlPlane, token: str) -> Any:
    return plane.request("POST", SESSION, None, json={"token": token})


def session_of(plane: ControlPlane, response: Any) -> tuple[str, Principal]:
    """The session's token in the answer's cookie, and whom the gateways were told it belongs to."""
    cookie = response.headers["set-cookie"]
    name, _, value = cookie.partition(";")[0].partition("=")
    assert name == "moorage_session"
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=lax", "secure", "path=/"} <= attributes
    digest, principal = plane.notifier.tokens[-1]
    assert digest == token_digest(value)
    assert principal is not None
    return value, principal


def test_a_token_signs_a_browser_in_for_twelve_hours(plane: ControlPlane) -> None:
    response = sign_in(plane, new_token(plane))
    assert response.status_code == 200, response.text
    end = plane.clock.now + 12 * 3_600_000
    assert response.json() == {"user_name": ANN.user_name, "expiry_time": end}
    value, principal = session_of(plane, response)
    assert (principal.id, principal.expiry_time) == (ANN.id, end)
    assert "max-age=43200" in response.headers["set-cookie"].lower()
    assert value not in response.text
    tokens = plane.request("GET", "/api/2.0/token/list", ANN).json()["token_infos"]
    assert len(tokens) == 1


def test_a_session_ends_no_later_than_the_token_it_was_made_with(plane: ControlPlane) -> None:
    response = sign_in(plane, new_token(plane, lifetime_seconds=60))
    assert response.json()["expiry_time"] == plane.clock.now + 60_000


def test_what_opens_nothing_signs_nobody_in(plane: ControlPlane) -> None:
    short, narrow = new_token(plane, lifetime_seconds=60), "narrow"
    with plane.sessions.begin() as session:
        digest = token_digest(narrow)
        session.add(
            Token(id="n", digest=digest, user_id=ANN.id, creation_time=1, only_endpoint="e", kind="oauth")
        )
    running, _ = session_of(plane, sign_in(plane, new_token(plane)))
    plane.clock.now += 60_000
    for text in (short, narrow, running, "nonsense"):
        response = sign_in(plane, text)
        assert (response.status_code, response.json()["error_code"]) == (403, "PERMISSION_DENIED")
        assert "set-cookie" not in response.headers
    assert sign_in(plane, "").status_code == 400


def test_signing_out_ends_the_session_and_nothing_else(plane: ControlPlane) -> None:
    token = new_token(plane)
    value, principal = session_of(plane, sign_in(plane, token))
    by_token = ANN.model_copy(update={"token_id": plane.notifier.tokens[0][1].token_id})  # type: ignore[union-attr]
    before = len(plane.notifier.tokens)
    assert plane.request("DELETE", SESSION, by_token).json() == {}
    assert len(plane.notifier.tokens) == before
    response = plane.request("DELETE", SESSION, principal)
    assert response.json() == {}
    assert plane.notifier.tokens[-1] == (token_digest(value), None)
    assert 'moorage_session=""' in response.headers["set-cookie"]
    assert plane.request("DELETE", SESSION, principal).status_code == 200
    assert sign_in(plane, token).status_code == 200


def test_the_form_signs_in_and_goes_on(plane: ControlPlane) -> None:
    body = urlencode({"token": new_token(plane), "return_to": "/oidc/v1/authorize?a=b&c=d"})
    response = plane.request("POST", "/login", None, content=body)
    assert (response.status_code, response.headers["location"]) == (303, "/oidc/v1/authorize?a=b&c=d")
    session_of(plane, response)


def test_the_form_says_what_is_wrong_and_keeps_where_to_go(plane: ControlPlane) -> None:
    body = urlencode({"token": "wrong", "return_to": '/x?"><script>'})
    response = plane.request("POST", "/login", None, content=body)
    assert response.status_code == 403
    assert "Invalid access token" in response.text
    assert 'value="/x?&quot;&gt;&lt;script&gt;"' in response.text
    assert "set-cookie" not in response.headers
    assert plane.request("POST", "/login", None, content=b"\xff=\xff").status_code == 403


@pytest.mark.parametrize(
    "path", ["https://evil.example", "//evil.example", "/\\evil.example", "evil", "", "/a\nb", "/\t/evil.example"]
)
def test_sign_in_leads_to_this_server_only(plane: ControlPlane, path: str) -> None:
    assert local_path(path) == "/"
    body = urlencode({"token": new_token(plane), "return_to": path})
    assert plane.request("POST", "/login", None, content=body).headers["location"] == "/"


def test_the_code_that_the_server_prints_signs_the_administrator_in_once(plane: ControlPlane) -> None:
    data = DataDirectory(plane.data.root)
    credentials = prepare(Settings(data_dir=data.root, admin_user="root@localhost"), data, {})
    code = credentials.sign_in_code
    assert code.encode() not in data.database.read_bytes()
    response = plane.request("GET", f"/login?code={code}", None)
    assert (response.status_code, response.headers["location"]) == (303, "/")
    _, principal = session_of(plane, response)
    assert (principal.user_name, principal.admin) == ("root@localhost", True)
    again = plane.request("GET", f"/login?code={code}", None)
    assert (again.status_code, "set-cookie" in again.headers) == (403, False)


def test_an_administrators_link_signs_its_user_in_once(plane: ControlPlane) -> None:
    answer = plane.request("POST", LINKS, ADMIN, json={"user_name": ANN.user_name})
    assert answer.status_code == 200, answer.text
    link = answer.json()
    assert link["expiry_time"] == plane.clock.now + 24 * 3_600_000
    root, _, code = link["url"].partition("/login?code=")
    assert root == "https://models.example.com"
    assert code.encode() not in plane.data.database.read_bytes()
    _, principal = session_of(plane, plane.request("GET", f"/login?code={code}", None))
    assert (principal.user_name, principal.admin) == (ANN.user_name, False)
    assert plane.request("GET", f"/login?code={code}", None).status_code == 403


def test_only_administrators_make_links_and_only_for_users_who_may_sign_in(plane: ControlPlane) -> None:
    assert plane.request("POST", LINKS, ANN, json={"user_name": ANN.user_name}).status_code == 403
    for nobody in ("nosuch@example.com", "0f3a5c3e-7d1e-4f57-9d65-9f0d3ac1d8a1"):
        assert plane.request("POST", LINKS, ADMIN, json={"user_name": nobody}).status_code == 404
    with plane.sessions.begin() as session:
        session.get_one(User, ANN.id).active = False
    refused = plane.request("POST", LINKS, ADMIN, json={"user_name": ANN.user_name})
    assert (refused.status_code, refused.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_a_code_lives_for_its_time_and_is_for_nothing_else(plane: ControlPlane) -> None:
    def code(kind: oauth.GrantKind) -> str:
        text = secrets.token_urlsafe()
        with plane.sessions.begin() as session:
            oauth.add_grant(
                session, kind, text, ANN.id, family="f", expiry_time=plane.clock.now + 1000, details={}
            )
        return text

    late, other = code(oauth.GrantKind.SIGN_IN), code(oauth.GrantKind.REFRESH)
    assert plane.request("GET", f"/login?code={other}", None).status_code == 403
    plane.clock.now += 1000
    assert plane.request("GET", f"/login?code={late}", None).status_code == 403
    inactive = code(oauth.GrantKind.SIGN_IN)
    with plane.sessions.begin() as session:
        session.get_one(User, ANN.id).active = False
    assert plane.request("GET", f"/login?code={inactive}", None).status_code == 403


def test_expired_sessions_leave_the_database(plane: ControlPlane) -> None:
    token = new_token(plane)
    sign_in(plane, token)
    plane.clock.now += 12 * 3_600_000
    sign_in(plane, token)
    with reading(plane.sessions) as session:
        assert session.query(Token).filter_by(kind="session").count() == 1


def test_without_a_provider_there_is_no_way_to_one(plane: ControlPlane) -> None:
    for path in ("/oidc/login", "/oidc/callback?code=x&state=y"):
        assert plane.request("GET", path, None).status_code == 404
    assert "/oidc/login" not in plane.request("GET", "/login", None).text


@pytest.mark.parametrize(
    ("cookie", "token"),
    [
        (b"moorage_session=abc", b"abc"),
        (b"a=b; moorage_session=abc; c=d", b"abc"),
        (b"a=b;moorage_session=abc==", b"abc=="),
        (b"moorage_session=", None),
        (b"xmoorage_session=abc", None),
        (b"moorage_session", None),
        (b"", None),
    ],
)
def test_the_gateway_finds_the_session_among_cookies(cookie: bytes, token: bytes | None) -> None:
    found = session_authorization([(b"host", b"h"), (b"cookie", cookie)])
    assert found == (None if token is None else b"Bearer " + token)


@pytest.mark.parametrize(
    ("origin", "own"),
    [
        (b"http://localhost:8080", True),
        (b"http://localhost:8081", False),
        (b"http://evil.example", False),
        (b"null", False),
        (b"", False),
        (None, False),
    ],
)
def test_a_change_by_cookie_needs_a_page_of_this_server(origin: bytes | None, own: bool) -> None:
    headers = [(b"host", b"localhost:8080"), *([(b"origin", origin)] if origin is not None else [])]
    if own:
        require_own_page(headers)
    else:
        with pytest.raises(PermissionDenied, match="Origin"):
            require_own_page(headers)


def test_a_change_by_cookie_needs_a_host() -> None:
    with pytest.raises(PermissionDenied):
        require_own_page([(b"origin", b"")])
