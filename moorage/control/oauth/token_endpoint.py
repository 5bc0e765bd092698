"""The token endpoint: what each grant is exchanged for. Source: RFC 6749, 7523, 7636 and 9396."""

from __future__ import annotations

import hmac
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

from authlib.oauth2.rfc7636 import create_s256_code_challenge
from pydantic import ValidationError
from sqlalchemy.orm import Session

from moorage.api.endpoints import PermissionLevel
from moorage.api.oauth import (
    AUTHORIZATION_DETAILS,
    InvalidClient,
    InvalidGrant,
    InvalidRequest,
    OAuthError,
    OAuthTokenAnswer,
)
from moorage.api.routing import PrincipalKind
from moorage.control.oauth.clients import ALL_APIS, PUBLIC_CLIENTS, granted_scope
from moorage.control.oauth.failure_limit import FailureLimit
from moorage.control.oauth.short_lived_tokens import (
    ACCESS_TOKEN_SECONDS,
    IssuedToken,
    ShortLivedTokens,
    tell_revoked,
)
from moorage.control.store import groups, identity
from moorage.control.store import oauth as store
from moorage.control.store.endpoint_grants import grants
from moorage.control.store.engine import reading
from moorage.control.store.models import Endpoint, OAuthGrant, OAuthSecret, User
from moorage.identity.access import permission_level
from moorage.identity.tokens import TokenKind, new_opaque_token, token_digest

_REFRESH_TOKEN_SECONDS = 30 * 24 * 3600
# Two processes of a client may share a refresh token: the second to renew it is refused, not taken for a thief.
_SHARED_SECONDS = 10
_MOST_FIELDS = 50
_ACTION_LEVELS = {
    "query_inference_endpoint": PermissionLevel.CAN_QUERY,
    "manage_inference_endpoint": PermissionLevel.CAN_MANAGE,
}
_COUNTED = {"invalid_client", "invalid_grant"}

Form = Mapping[str, str]


def read_form(body: bytes) -> dict[str, str]:
    """The fields of a form body; those without a value are absent.

    Raises:
        InvalidRequest: it is no form, or has a field twice.
    """
    try:
        fields = parse_qsl(body.decode("utf-8"), errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise InvalidRequest("The body must be a form (application/x-www-form-urlencoded).") from None
    form = dict(fields)
    if len(form) != len(fields):
        raise InvalidRequest("No field may be given twice.")
    return form


class TokenEndpoint:
    """Exchanges grants for tokens."""

    def __init__(self, tokens: ShortLivedTokens) -> None:
        self._tokens = tokens
        self._deps = tokens.deps
        self._failures = FailureLimit(tokens.deps.clock)
        self._grants: dict[str, Callable[[Form, str, str | None], OAuthTokenAnswer]] = {
            "client_credentials": self._client_credentials,
            "urn:ietf:params:oauth:grant-type:jwt-bearer": self._assertion,
            "authorization_code": self._code,
            "refresh_token": self._refresh,
        }

    @property
    def grant_types(self) -> tuple[str, ...]:
        return tuple(self._grants)

    def answer(self, form: Form, authorization: str | None, address: str) -> OAuthTokenAnswer:
        """The tokens for a grant. `authorization` is the request's header, `address` where it comes from.

        Raises:
            OAuthError: the grant is refused; status 429 for one who failed too often.
        """
        exchange = self._grants.get(form.get("grant_type", ""))
        if exchange is None:
            raise OAuthError("unsupported_grant_type", f"grant_type must be one of {', '.join(self._grants)}.")
        if "assume_group" in form:
            # A token that ignored it would have more rights than asked for.
            raise InvalidRequest("assume_group is not supported.")
        client_id, secret = _client(form, authorization)
        try:
            return exchange(form, client_id, secret)
        except OAuthError as error:
            if error.code in _COUNTED:
                self._failures.failed(address)
            raise

    def _client_credentials(self, form: Form, client_id: str, secret: str | None) -> OAuthTokenAnswer:
        _scope(form)
        with reading(self._deps.sessions) as session:  # who may not have one does not get the write lock
            self._authenticated(session, client_id, secret)
        with self._deps.sessions.begin() as session:
            client, credential = self._authenticated(session, client_id, secret)
            only_endpoint = _only_endpoint(session, client, form)
            issued = self._tokens.access_token(
                session,
                client,
                client_id=client_id,
                scope=ALL_APIS,
                family=credential.id,
                only_endpoint=only_endpoint,
            )
        return self._published(issued, ALL_APIS)  # and no refresh token: this client can ask again at any time

    def _authenticated(self, session: Session, client_id: str, secret: str | None) -> tuple[User, OAuthSecret]:
        client = identity.find_user(session, client_id) if client_id else None
        if client is None or secret is None or client.kind != PrincipalKind.SERVICE_PRINCIPAL or not client.active:
            raise InvalidClient
        credential = store.matching_client_secret(session, client.id, secret, self._deps.clock())
        if credential is None:
            raise InvalidClient
        return client, credential

    def _assertion(self, form: Form, _client_id: str, _secret: str | None) -> OAuthTokenAnswer:
        """A data-plane token for an access token of ours."""
        assertion = _required(form, "assertion")
        _required(form, "authorization_details")
        with reading(self._deps.sessions) as session:
            self._asserted(session, assertion)
        with self._deps.sessions.begin() as session:
            owner, client_id, family = self._asserted(session, assertion)
            only_endpoint = _only_endpoint(session, owner, form)
            issued = self._tokens.access_token(
                session, owner, client_id=client_id, scope=ALL_APIS, family=family, only_endpoint=only_endpoint
            )
        return self._published(issued, ALL_APIS)

    def _asserted(self, session: Session, assertion: str) -> tuple[User, str, str]:
        """Whose access token it is, and its client and family."""
        # That it is in the database with this digest says more than its signature: it is ours, and not revoked.
        found = identity.valid_token(session, token_digest(assertion), self._deps.clock())
        if found is not None:
            token, owner = found
            if token.kind == TokenKind.OAUTH and token.only_endpoint is None and token.family is not None:
                return owner, token.comment, token.family
        raise InvalidGrant("The assertion is no valid OAuth access token of this workspace.")

    def _code(self, form: Form, client_id: str, _secret: str | None) -> OAuthTokenAnswer:
        code, verifier = _required(form, "code"), _required(form, "code_verifier")
        redirect_uri = _required(form, "redirect_uri")
        _require_public(client_id)
        refused = InvalidGrant("The authorization code is unknown, expired, used, or for another client.")
        revoked: list[str] = []
        with self._deps.sessions.begin() as session:
            found = store.grant(session, store.GrantKind.CODE, code, self._deps.clock())
            answer = None
            if found is not None:
                grant, owner = found
                if grant.used_time is not None:
                    revoked += store.revoke_family(session, grant.family)
                else:
                    # One try: whoever has a code without its verifier is not who asked for it.
                    grant.used_time = self._deps.clock()
                    bound = grant.details
                    if (
                        bound["client_id"] == client_id
                        and bound["redirect_uri"] == redirect_uri
                        and _matches(verifier, bound["challenge"])
                    ):
                        answer = self._renewable(session, owner, grant, bound["scope"])
        return self._settled(answer, refused, revoked)

    def _refresh(self, form: Form, client_id: str, _secret: str | None) -> OAuthTokenAnswer:
        text = _required(form, "refresh_token")
        _require_public(client_id)
        asked = granted_scope(form["scope"]) if "scope" in form else None
        refused = InvalidGrant("The refresh token is unknown, expired, used, or for another client. Sign in again.")
        revoked: list[str] = []
        with self._deps.sessions.begin() as session:
            found = store.grant(session, store.GrantKind.REFRESH, text, self._deps.clock())
            answer = None
            if found is not None and found[0].details["client_id"] == client_id:
                grant, owner = found
                now = self._deps.clock()
                if grant.used_time is None:
                    scope = grant.details["scope"]
                    if "scope" in form and (asked is None or not set(asked.split()) <= set(scope.split())):
                        raise OAuthError("invalid_scope", "scope must be within that of the sign-in.")
                    grant.used_time = now
                    answer = self._renewable(session, owner, grant, scope)
                elif now - grant.used_time > _SHARED_SECONDS * 1000:
                    revoked += store.revoke_family(session, grant.family)
        return self._settled(answer, refused, revoked)

    def _renewable(
        self, session: Session, owner: User, grant: OAuthGrant, scope: str
    ) -> tuple[IssuedToken, str, str | None]:
        """An access token, its scope, and the next refresh token where the user consented to one."""
        client_id = grant.details["client_id"]
        issued = self._tokens.access_token(session, owner, client_id=client_id, scope=scope, family=grant.family)
        if "offline_access" not in scope.split():
            return issued, scope, None
        refresh_token = new_opaque_token()
        store.add_grant(
            session,
            store.GrantKind.REFRESH,
            refresh_token,
            owner.id,
            family=grant.family,
            expiry_time=self._deps.clock() + _REFRESH_TOKEN_SECONDS * 1000,
            details={"client_id": client_id, "scope": scope},
        )
        return issued, scope, refresh_token

    def _settled(
        self, answer: tuple[IssuedToken, str, str | None] | None, refused: InvalidGrant, revoked: list[str]
    ) -> OAuthTokenAnswer:
        if answer is None:
            tell_revoked(self._deps.notifier, revoked)
            self._deps.notifier.wait_until_taken()
            raise refused
        return self._published(*answer)

    def _published(self, issued: IssuedToken, scope: str, refresh_token: str | None = None) -> OAuthTokenAnswer:
        issued.publish(self._deps.notifier)
        return OAuthTokenAnswer(
            access_token=issued.text, expires_in=ACCESS_TOKEN_SECONDS, scope=scope, refresh_token=refresh_token
        )


def _client(form: Form, authorization: str | None) -> tuple[str, str | None]:
    """Client id and secret, of HTTP Basic or of the form. The id is empty when there is none."""
    client_id, secret = form.get("client_id", ""), form.get("client_secret")
    scheme, _, credential = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return client_id, secret
    try:
        user, _, password = b64decode(credential.strip(), validate=True).decode().partition(":")
    except (Base64Error, ValueError):
        raise InvalidClient("The Authorization header is no HTTP Basic credential.") from None
    if secret is not None or client_id not in ("", user):
        raise InvalidRequest("The client may authenticate in one way only.")
    return user, password


def _required(form: Form, name: str) -> str:
    value = form.get(name)
    if not value:
        raise InvalidRequest(f"Missing required field '{name}'.")
    return value


def _require_public(client_id: str) -> None:
    if client_id not in PUBLIC_CLIENTS:
        raise InvalidClient("The client id is unknown.")


def _scope(form: Form) -> str:
    scope = granted_scope(form.get("scope", ""))
    if scope is None:
        raise OAuthError("invalid_scope", "scope may only hold 'all-apis' and 'offline_access'.")
    return scope


def _matches(verifier: str, challenge: str) -> bool:
    if not verifier.isascii():
        return False
    return hmac.compare_digest(create_s256_code_challenge(verifier), challenge)


def _only_endpoint(session: Session, owner: User, form: Form) -> str | None:
    """The id of the endpoint to which `authorization_details` confine a token; None where there are none."""
    text = form.get("authorization_details")
    if text is None:
        return None
    try:
        (detail,) = AUTHORIZATION_DETAILS.validate_json(text)
    except ValidationError:
        raise OAuthError(
            "invalid_authorization_details",
            "authorization_details must be a list of one workspace_permission on a serving endpoint.",
        ) from None
    endpoint = session.get(Endpoint, detail.endpoint_id)
    if endpoint is not None and not endpoint.deleting:
        principal = identity.owner_principal(owner, groups.memberships(session))
        level = permission_level(principal, grants(session, endpoint))
        if level is not None and all(level.allows(_ACTION_LEVELS[action]) for action in detail.actions):
            return endpoint.id
    raise OAuthError(
        "access_denied", f"The endpoint does not exist, or '{owner.user_name}' has not the right to query it."
    )
