"""The OAuth authorization server: its metadata, keys, tokens, and the page that asks for consent."""

from __future__ import annotations

from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse

from moorage.api.errors import BadRequest
from moorage.api.oauth import AuthorizationServerMetadata, OAuthTokenAnswer
from moorage.api.routing import CLIENT_HEADER
from moorage.control.dependencies import OptionalCaller
from moorage.control.oauth.authorization import RefusedToClient, grant_code, read_request
from moorage.control.oauth.clients import SCOPES
from moorage.control.oauth.pages import consent_page, refusal_page, see_other, sign_in_page
from moorage.control.oauth.service import OAuthService
from moorage.control.oauth.token_endpoint import read_form

router = APIRouter(prefix="/oidc", tags=["oauth"])

_CACHE = "public, max-age=300"


def _service(request: Request) -> OAuthService:
    return cast(OAuthService, request.app.state.oauth)


async def _body(request: Request) -> bytes:
    return await request.body()


OAuth = Annotated[OAuthService, Depends(_service)]
Body = Annotated[bytes, Depends(_body)]


@router.get("/.well-known/oauth-authorization-server")
@router.get("/.well-known/openid-configuration")
async def metadata(oauth: OAuth, response: Response) -> AuthorizationServerMetadata:
    response.headers["Cache-Control"] = _CACHE
    issuer = oauth.tokens.issuer
    return AuthorizationServerMetadata(
        issuer=issuer,
        authorization_endpoint=f"{issuer}/v1/authorize",
        token_endpoint=f"{issuer}/v1/token",
        jwks_uri=f"{issuer}/jwks.json",
        response_types_supported=("code",),
        grant_types_supported=oauth.token_endpoint.grant_types,
        code_challenge_methods_supported=("S256",),
        token_endpoint_auth_methods_supported=("client_secret_basic", "client_secret_post", "none"),
        scopes_supported=SCOPES,
        subject_types_supported=("public",),
        id_token_signing_alg_values_supported=("ES256",),
    )


@router.get("/jwks.json")
async def keys(oauth: OAuth, response: Response) -> dict[str, Any]:
    response.headers["Cache-Control"] = _CACHE
    return oauth.tokens.keys.public()


@router.post("/v1/token", response_model_exclude_none=True)
def token(oauth: OAuth, body: Body, request: Request, response: Response) -> OAuthTokenAnswer:
    response.headers["Cache-Control"] = "no-store"
    address = request.headers.get(CLIENT_HEADER, "")
    return oauth.token_endpoint.answer(read_form(body), request.headers.get("authorization"), address)


@router.get("/v1/authorize")
def ask_for_consent(oauth: OAuth, caller: OptionalCaller, request: Request) -> Response:
    query = request.url.query
    try:
        wanted = read_request(query)
    except BadRequest as error:
        return refusal_page(error.message)
    except RefusedToClient as refused:
        return see_other(refused.location)
    if caller is None:
        return sign_in_page(f"/oidc/v1/authorize?{query}", with_provider=oauth.provider is not None)
    return consent_page(caller.user_name, wanted, query)


@router.post("/v1/authorize")
def take_consent(oauth: OAuth, caller: OptionalCaller, body: Body, request: Request) -> Response:
    try:
        wanted = read_request(request.url.query)
        decision = read_form(body).get("decision")
    except RefusedToClient as refused:
        return see_other(refused.location)
    except BadRequest as error:
        return refusal_page(error.message)
    if caller is None:
        return _signed_out()
    if decision != "allow":
        return see_other(wanted.location(error="access_denied", error_description="The user did not consent."))
    return see_other(grant_code(oauth.tokens.deps, caller, wanted))


def _signed_out() -> HTMLResponse:
    return refusal_page("You are no longer signed in. Start again from the client.", status=403)
