"""The authorization endpoint: a request by a client for a user's consent, and the code that it is answered with."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode

from moorage.api.errors import ApiError, BadRequest
from moorage.api.routing import Principal
from moorage.control.dependencies import ControlDependencies
from moorage.control.oauth.clients import PUBLIC_CLIENTS, granted_scope, is_loopback
from moorage.control.store import identity
from moorage.control.store import oauth as store
from moorage.identity.tokens import new_opaque_token

_CODE_SECONDS = 60
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_MOST_FIELDS = 50


class RefusedToClient(ApiError):
    """The request is refused, and its client is told by a redirect to `location`."""

    status = 303

    def __init__(self, location: str) -> None:
        super().__init__("The request is refused.")
        self.location = location


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A request that may be put to the user. `challenge` is of PKCE with SHA-256."""

    client_id: str
    redirect_uri: str
    scope: str
    state: str
    challenge: str

    def location(self, **answer: str) -> str:
        """Where the browser takes the answer to the client."""
        return _location(self.redirect_uri, self.state, answer)


def read_request(query: str) -> AuthorizationRequest:
    """The request in a query string.

    Raises:
        BadRequest: the client or where it wants the answer is unknown: nothing may be sent there.
        RefusedToClient: the client asked for what there is not.
    """
    try:
        pairs = parse_qsl(query, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise BadRequest("The request cannot be read.") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise BadRequest("No parameter may be given twice.")
    client_id, redirect_uri = fields.get("client_id", ""), fields.get("redirect_uri", "")
    if client_id not in PUBLIC_CLIENTS:
        raise BadRequest("The client id is unknown.")
    if not is_loopback(redirect_uri):
        raise BadRequest("redirect_uri must be http://localhost:PORT or http://127.0.0.1:PORT.")
    state = fields.get("state", "")

    def refuse(code: str, description: str) -> RefusedToClient:
        return RefusedToClient(
            _location(redirect_uri, state, {"error": code, "error_description": description})
        )

    if fields.get("response_type") != "code":
        raise refuse("unsupported_response_type", "response_type must be code.")
    challenge = fields.get("code_challenge", "")
    if fields.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(challenge):
        raise refuse("invalid_request", "A code_challenge with code_challenge_method=S256 is needed.")
    scope = granted_scope(fields.get("scope", ""))
    if scope is None:
        raise refuse("invalid_scope", "scope may only hold all-apis and offline_access.")
    if "assume_group" in fields:
        raise refuse("invalid_request", "assume_group is not supported.")
    return AuthorizationRequest(client_id, redirect_uri, scope, state, challenge)


def grant_code(deps: ControlDependencies, caller: Principal, request: AuthorizationRequest) -> str:
    """Where the browser takes the code that the user's consent gives the client."""
    code = new_opaque_token()
    with deps.sessions.begin() as session:
        owner = identity.user(session, caller.id)
        if owner is None or not owner.active:
            return request.location(error="access_denied", error_description="The user is not active.")
        store.add_grant(
            session,
            store.GrantKind.CODE,
            code,
            owner.id,
            family=secrets.token_hex(16),
            expiry_time=deps.clock() + _CODE_SECONDS * 1000,
            details={
                "client_id": request.client_id,
                "redirect_uri": request.redirect_uri,
                "scope": request.scope,
                "challenge": request.challenge,
            },
        )
    return request.location(code=code)


def _location(redirect_uri: str, state: str, answer: dict[str, str]) -> str:
    return f"{redirect_uri}?{urlencode({**answer, **({'state': state} if state else {})})}"
