"""Signing browsers in and out: by a token, a one-time code, or at the OpenID Connect provider."""

from __future__ import annotations

from typing import Annotated, cast
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request, Response

from moorage import __version__
from moorage.api.errors import ApiError, EndpointNotFound
from moorage.api.sessions import SESSION_COOKIE, CreateSignInLink, SessionInfo, SessionState, SignIn, SignInLink
from moorage.api.wire import Empty
from moorage.control.dependencies import Caller, OptionalCaller
from moorage.control.oauth.pages import local_path, refusal_page, see_other, sign_in_page
from moorage.control.oauth.service import OAuthService
from moorage.control.oauth.sessions import ATTEMPT_SECONDS
from moorage.control.oauth.short_lived_tokens import IssuedToken
from moorage.control.oauth.token_endpoint import read_form
from moorage.control.pages import is_built, page
from moorage.control.routers.oauth import Body
from moorage.control.routers.pages import Bundle

router = APIRouter(tags=["sessions"])

_ATTEMPT_COOKIE = "moorage_sign_in"
_SESSION = "/api/2.0/moorage/session"


def _service(request: Request) -> OAuthService:
    return cast(OAuthService, request.app.state.oauth)


OAuth = Annotated[OAuthService, Depends(_service)]


@router.get(_SESSION, response_model_exclude_none=True)
def session_state(oauth: OAuth, caller: OptionalCaller) -> SessionState:
    """Who the caller is, if anybody, and how one may sign in."""
    state = SessionState(version=__version__, sign_in_with_provider=oauth.provider is not None)
    if caller is None:
        return state
    fields = {"user_name": caller.user_name, "user_id": caller.id, "is_admin": caller.admin}
    return state.model_copy(update={**fields, "display_name": caller.display_name or caller.user_name})


@router.post(_SESSION)
def sign_in(oauth: OAuth, body: SignIn, response: Response) -> SessionInfo:
    issued = oauth.sessions.sign_in(body.token)
    _set_session(oauth, response, issued)
    return SessionInfo(user_name=issued.principal.user_name, expiry_time=issued.expiry_time)


@router.delete(_SESSION)
def sign_out(oauth: OAuth, caller: Caller, response: Response) -> Empty:
    oauth.sessions.end(caller)
    response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="lax", secure=oauth.secure_cookies)
    return Empty()


@router.post("/api/2.0/moorage/sign-in-links")
def create_sign_in_link(oauth: OAuth, caller: Caller, body: CreateSignInLink) -> SignInLink:
    return oauth.sessions.invite(caller, body.user_name)


@router.get("/login")
def sign_in_form(oauth: OAuth, bundle: Bundle, code: str | None = None, return_to: str = "/") -> Response:
    """The page that asks for a token; with the one-time code that the server prints, signed in at once.

    It is the web UI's, or a plain form where that is not built.
    """
    if code is None:
        if is_built(bundle):
            return page(bundle)
        return sign_in_page(local_path(return_to), with_provider=oauth.provider is not None)
    try:
        issued = oauth.sessions.redeem(code)
    except ApiError as error:
        return refusal_page(error.message, error.status)
    return _signed_in(oauth, issued, return_to)


@router.post("/login")
def sign_in_with_token(oauth: OAuth, body: Body) -> Response:
    try:
        form = read_form(body)
        issued = oauth.sessions.sign_in(form.get("token", ""))
    except ApiError as error:
        return_to = local_path(dict(parse_qsl(body.decode(errors="replace"))).get("return_to", "/"))
        return sign_in_page(return_to, with_provider=oauth.provider is not None, problem=error.message)
    return _signed_in(oauth, issued, form.get("return_to", "/"))


@router.get("/oidc/login")
def begin_at_provider(oauth: OAuth, request: Request, return_to: str = "/") -> Response:
    if oauth.provider is None:
        raise EndpointNotFound(f"No API found for 'GET {request.url.path}'")
    try:
        url, attempt = oauth.provider.begin(local_path(return_to))
    except ApiError as error:
        return refusal_page(error.message, error.status)
    response = see_other(url)
    # Lax, not Strict: the browser brings it back from the provider's site.
    response.set_cookie(
        _ATTEMPT_COOKIE, attempt, max_age=ATTEMPT_SECONDS, path="/oidc", httponly=True, samesite="lax",
        secure=oauth.secure_cookies,
    )  # fmt: skip
    return response


@router.get("/oidc/callback")
def finish_at_provider(oauth: OAuth, request: Request) -> Response:
    if oauth.provider is None:
        raise EndpointNotFound(f"No API found for 'GET {request.url.path}'")
    try:
        cookie = request.cookies.get(_ATTEMPT_COOKIE, "")
        verified, return_to = oauth.provider.finish(cookie, dict(request.query_params))
        issued = oauth.sessions.admit(verified)
    except ApiError as error:
        response: Response = refusal_page(error.message, error.status)
    else:
        response = _signed_in(oauth, issued, return_to)
    response.delete_cookie(
        _ATTEMPT_COOKIE, path="/oidc", httponly=True, samesite="lax", secure=oauth.secure_cookies
    )
    return response


def _signed_in(oauth: OAuthService, issued: IssuedToken, return_to: str) -> Response:
    response = see_other(local_path(return_to))
    _set_session(oauth, response, issued)
    return response


def _set_session(oauth: OAuthService, response: Response, issued: IssuedToken) -> None:
    left = (issued.expiry_time - oauth.tokens.deps.clock()) // 1000
    # Lax, not Strict: a browser that comes back from the provider's site, or follows a link here, is signed in.
    response.set_cookie(
        SESSION_COOKIE, issued.text, max_age=max(left, 0), path="/", httponly=True, samesite="lax",
        secure=oauth.secure_cookies,
    )  # fmt: skip
    response.headers["Cache-Control"] = "no-store"
