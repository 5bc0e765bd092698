"""Sign-in at an OpenID Connect provider: a scripted one, over real HTTP."""

from __future__ import annotations

import json
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import pytest
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from control_harness import ANN, ControlPlane, control_plane
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from moorage.control.oauth.service import OAuthService
from moorage.control.store.engine import reading
from moorage.control.store.models import User

CLIENT, SECRET = "moorage", "provider-secret"


class Provider:
    """A provider whose user has already consented; `claims` and `header` change its ID tokens."""

    def __init__(self) -> None:
        self.key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256", "kid": "k1"})
        self.signing_key: Any = self.key
        self.header: dict[str, Any] = {}
        self.claims: dict[str, Any] = {"email": ANN.user_name, "email_verified": True, "name": "Ann"}
        self.about: dict[str, Any] | None = None
        self.metadata: dict[str, Any] = {}
        self.asked: dict[str, str] = {}
        self.code = "the-code"
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.issuer = f"http://127.0.0.1:{self.server.server_address[1]}"

    def visit(self, url: str) -> dict[str, str]:
        """What a browser brings back from the provider's own pages."""
        assert url.startswith(f"{self.issuer}/authorize?")
        self.asked = dict(parse_qsl(urlsplit(url).query))
        return {"code": self.code, "state": self.asked["state"]}

    def answer(self, path: str, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        if path == "/.well-known/openid-configuration":
            return 200, {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "userinfo_endpoint": f"{self.issuer}/about",
                "jwks_uri": f"{self.issuer}/keys",
                **self.metadata,
            }
        if path == "/keys":
            return 200, KeySet([self.key]).as_dict(private=False)
        if path == "/about":
            assert authorization == "Bearer at"
            return 200, self.about or {}
        assert path == "/token"
        if b64decode(authorization.removeprefix("Basic ")).decode() != f"{CLIENT}:{SECRET}":
            return 401, {"error": "invalid_client"}
        challenge = create_s256_code_challenge(form["code_verifier"])
        if form["code"] != self.code or challenge != self.asked["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        assert self.asked["code_challenge_method"] == "S256"
        assert form["redirect_uri"] == self.asked["redirect_uri"] == "https://models.example.com/oidc/callback"
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": CLIENT, "sub": "u1", "iat": now, "exp": now + 300,
            "nonce": self.asked["nonce"], **self.claims,
        }  # fmt: skip
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": "ES256", "kid": "k1", **self.header}
        text = jwt.encode(header, claims, self.signing_key, algorithms=[header["alg"]])
        return 200, {"access_token": "at", "token_type": "Bearer", "expires_in": 300, "id_token": text}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                form = dict(parse_qsl(self.rfile.read(int(self.headers.get("content-length", 0))).decode()))
                status, document = provider.answer(self.path, form, self.headers.get("authorization", ""))
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                """Keep the test's output clean."""

        return Handler


@pytest.fixture
def provider() -> Iterator[Provider]:
    provider = Provider()
    thread = threading.Thread(target=provider.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield provider
    finally:
        provider.server.shutdown()
        thread.join()
        provider.server.server_close()


@contextmanager
def plane_with(folder: Path, provider: Provider, **fields: Any) -> Iterator[ControlPlane]:
    """A control plane whose settings name the provider."""
    with control_plane(folder) as plane:
        plane.client.app.state.oauth = _oauth(plane, provider, fields)  # type: ignore[attr-defined]
        yield plane


def _oauth(plane: ControlPlane, provider: Provider, fields: dict[str, Any]) -> OAuthService:
    tokens = plane.client.app.state.oauth.tokens  # type: ignore[attr-defined]
    settings = type(tokens.deps.settings).model_validate(
        {
            **tokens.deps.settings.model_dump(exclude_unset=True),
            "oidc_issuer": provider.issuer,
            "oidc_client_id": CLIENT,
            "oidc_client_secret": SECRET,
            **fields,
        }
    )
    return OAuthService(replace(tokens.deps, settings=settings), tokens.site)


@pytest.fixture
def plane(tmp_path: Path, provider: Provider) -> Iterator[ControlPlane]:
    with plane_with(tmp_path, provider) as plane:
        yield plane


def begin(plane: ControlPlane, return_to: str = "/") -> tuple[str, str]:
    """Where the browser is sent, and the cookie that it keeps."""
    response = plane.request("GET", f"/oidc/login?{urlencode({'return_to': return_to})}", None)
    assert response.status_code == 303, response.text
    cookie = response.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=lax", "Secure", "Path=/oidc"} <= {part.strip() for part in cookie.split(";")}
    plane.client.cookies.clear()
    return response.headers["location"], cookie.partition(";")[0]


def finish(plane: ControlPlane, cookie: str, answer: dict[str, str]) -> Any:
    headers = {"cookie": cookie} if cookie else {}
    response = plane.request("GET", f"/oidc/callback?{urlencode(answer)}", None, headers=headers)
    plane.client.cookies.clear()
    return response


def sign_in(plane: ControlPlane, provider: Provider, return_to: str = "/") -> Any:
    url, cookie = begin(plane, return_to)
    return finish(plane, cookie, provider.visit(url))


def refused(response: Any, *words: str) -> None:
    assert response.status_code == 403, response.text
    assert "moorage_session" not in response.headers.get("set-cookie", "")
    for word in words:
        assert word in response.text


def test_a_user_whom_the_provider_knows_is_signed_in(plane: ControlPlane, provider: Provider) -> None:
    response = sign_in(plane, provider, "/ui?page=1")
    assert (response.status_code, response.headers["location"]) == (303, "/ui?page=1")
    assert any(value.startswith("moorage_session=") for value in response.headers.get_list("set-cookie"))
    _, principal = plane.notifier.tokens[-1]
    assert principal is not None
    assert principal.id == ANN.id
    asked = provider.asked
    assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT)
    assert asked["scope"].split() == ["openid", "email", "profile"]


def test_the_sign_in_page_offers_the_provider(plane: ControlPlane) -> None:
    page = plane.request("GET", "/login?return_to=/ui", None).text
    assert 'href="/oidc/login?return_to=%2Fui"' in page


def test_the_address_may_come_from_the_users_own_page(plane: ControlPlane, provider: Provider) -> None:
    provider.claims = {}
    provider.about = {"sub": "u1", "email": ANN.user_name.upper(), "email_verified": True}
    assert sign_in(plane, provider).status_code == 303
    provider.about["sub"] = "u2"
    refused(sign_in(plane, provider), "not valid")


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"email": "zoe@example.com"}, "no account"),
        ({"email_verified": False}, "not verified"),
        ({"email_verified": None}, "not verified"),
        ({"email": "ann"}, "no e-mail address"),
        ({"nonce": "another"}, "not valid"),
        ({"nonce": None}, "not valid"),
        ({"aud": "another"}, "not valid"),
        ({"aud": [CLIENT, "another"], "azp": "another"}, "not valid"),
        ({"iss": "https://another.example"}, "not valid"),
        ({"exp": 1}, "not valid"),
        ({"exp": None}, "not valid"),
        ({"at_hash": "wrong"}, "not valid"),
    ],
)
def test_an_id_token_must_be_for_this_sign_in(
    plane: ControlPlane, provider: Provider, claims: dict[str, Any], words: str
) -> None:
    provider.claims |= claims
    refused(sign_in(plane, provider), words)
    assert plane.notifier.tokens == []


@pytest.mark.parametrize("case", ["another key", "its public key as a secret", "another type of key"])
def test_an_id_token_must_be_signed_by_the_provider(plane: ControlPlane, provider: Provider, case: str) -> None:
    if case == "another key":
        provider.signing_key = ECKey.generate_key("P-256")
    elif case == "another type of key":
        provider.signing_key, provider.header = RSAKey.generate_key(2048), {"alg": "RS256"}
    else:
        provider.signing_key = OctKey.import_key(provider.key.as_pem(private=False).decode().replace("-----", ""))
        provider.header = {"alg": "HS256"}
    refused(sign_in(plane, provider), "not valid")


def test_an_answer_belongs_to_the_browser_that_asked(plane: ControlPlane, provider: Provider) -> None:
    url, cookie = begin(plane)
    answer = provider.visit(url)
    _, other_cookie = begin(plane)
    refused(finish(plane, "", answer), "not begun in this browser")
    refused(finish(plane, other_cookie, answer), "not begun in this browser")
    refused(finish(plane, cookie, {**answer, "state": ""}), "not begun in this browser")
    refused(finish(plane, f"{cookie[:-4]}AAAA", answer), "not begun in this browser")
    refused(finish(plane, cookie, {"state": answer["state"], "error": "<b>access_denied"}), "&lt;b&gt;access_denied")
    refused(finish(plane, cookie, {**answer, "code": "stolen"}), "not valid")
    assert finish(plane, cookie, answer).status_code == 303


def test_an_attempt_ends_after_ten_minutes(
    plane: ControlPlane, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, cookie = begin(plane)
    answer = provider.visit(url)
    later = time.time() + 601
    monkeypatch.setattr("moorage.control.oauth.identity_provider.time.time", lambda: later)
    refused(finish(plane, cookie, answer), "took too long")


def test_sign_in_leads_back_to_this_server_only(plane: ControlPlane, provider: Provider) -> None:
    assert sign_in(plane, provider, "https://evil.example").headers["location"] == "/"


def test_users_are_made_where_that_is_allowed(tmp_path: Path, provider: Provider) -> None:
    fields = {"oidc_create_users": True, "oidc_allowed_domains": "example.com"}
    provider.claims |= {"email": "Zoe@Example.com", "name": "Zoe"}
    with plane_with(tmp_path, provider, **fields) as plane:
        for _ in range(2):
            assert sign_in(plane, provider).status_code == 303
        with reading(plane.sessions) as session:
            [zoe] = session.query(User).filter_by(user_name="zoe@example.com").all()
        assert (zoe.display_name, zoe.kind, zoe.active) == ("Zoe", "user", True)
        _, principal = plane.notifier.tokens[-1]
        assert principal is not None
        assert (principal.id, principal.admin) == (zoe.id, False)
        provider.claims["email"] = "zoe@evil.example"
        refused(sign_in(plane, provider), "evil.example", "may not sign in")
        provider.claims["email"] = "zoe@example.com@evil.example"
        refused(sign_in(plane, provider))


def test_who_may_not_sign_in_here_does_not(plane: ControlPlane, provider: Provider) -> None:
    with plane.sessions.begin() as session:
        session.get_one(User, ANN.id).active = False
    refused(sign_in(plane, provider), "no account")
    with plane.sessions.begin() as session:
        session.get_one(User, ANN.id).active = True
        session.add(User(id="77", user_name=ANN.user_name.upper(), created_at=1))
    refused(sign_in(plane, provider), "no account")
    with plane.sessions.begin() as session:
        session.add(User(id="78", user_name="robot@example.com", created_at=1, kind="service_principal"))
    provider.claims["email"] = "robot@example.com"
    refused(sign_in(plane, provider), "no account")


@pytest.mark.parametrize(
    "metadata", [{"issuer": "https://another.example"}, {"token_endpoint": None}, {"jwks_uri": 5}]
)
def test_a_provider_that_is_another_is_not_used(
    plane: ControlPlane, provider: Provider, metadata: dict[str, Any]
) -> None:
    provider.metadata = metadata
    response = plane.request("GET", "/oidc/login", None)
    assert response.status_code == 503
    assert "set-cookie" not in response.headers
    provider.metadata = {}
    assert sign_in(plane, provider).status_code == 303


def test_the_verifier_is_not_in_the_address(plane: ControlPlane, provider: Provider) -> None:
    url, cookie = begin(plane)
    query = parse_qs(urlsplit(url).query)
    assert "code_verifier" not in query
    assert query["code_challenge_method"] == ["S256"]
    assert cookie.startswith("moorage_sign_in=")
