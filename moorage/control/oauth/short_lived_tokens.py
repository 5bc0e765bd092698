"""Tokens that live for hours: OAuth access tokens and browsers' sessions. Made, published, deleted when expired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from moorage.api.routing import Principal
from moorage.control.dependencies import ControlDependencies, Notifier, Site
from moorage.control.oauth.signing import SigningKeys
from moorage.control.store import groups, identity
from moorage.control.store import oauth as store
from moorage.control.store.models import Token, User
from moorage.identity.ids import new_token_id
from moorage.identity.tokens import TokenKind, new_opaque_token, token_digest

ACCESS_TOKEN_SECONDS = 3600
SESSION_SECONDS = 12 * 3600
_ACCESS_TOKEN_TYPE = "at+jwt"  # RFC 9068
_MOST_PER_USER = 10_000
_DELETED_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token that is in the database. `replaced` are the digests of those that made room for it."""

    text: str
    expiry_time: int
    digest: str
    principal: Principal
    replaced: Sequence[str]

    def publish(self, notifier: Notifier) -> None:
        """Have every gateway know it. After the commit."""
        notifier.token_changed(self.digest, self.principal)
        tell_revoked(notifier, self.replaced)
        notifier.wait_until_taken()


def tell_revoked(notifier: Notifier, digests: Sequence[str]) -> None:
    for digest in digests:
        notifier.token_changed(digest, None)


@dataclass(frozen=True, slots=True)
class ShortLivedTokens:
    """Each token made deletes some that have expired, so that their number is bounded by those in use."""

    deps: ControlDependencies
    site: Site
    keys: SigningKeys

    @property
    def issuer(self) -> str:
        return f"{self.site.base_url}/oidc"

    def access_token(
        self,
        session: Session,
        owner: User,
        *,
        client_id: str,
        scope: str,
        family: str,
        only_endpoint: str | None = None,
    ) -> IssuedToken:
        """An access token of OAuth: a signed JWT, of which the digest is kept like that of any token."""
        now = self.deps.clock()
        token_id = new_token_id()
        issued = now // 1000
        expiry = issued + ACCESS_TOKEN_SECONDS
        claims = {
            "iss": self.issuer,
            "aud": self.site.workspace_id,
            "sub": owner.user_name,
            "client_id": client_id,
            "scope": scope,
            "iat": issued,
            "exp": expiry,
            "jti": token_id,
        }
        token = Token(
            id=token_id,
            user_id=owner.id,
            comment=client_id,
            creation_time=now,
            expiry_time=expiry * 1000,
            kind=TokenKind.OAUTH,
            only_endpoint=only_endpoint,
            family=family,
        )
        return self._keep(session, owner, token, self.keys.sign(claims, _ACCESS_TOKEN_TYPE))

    def session_token(self, session: Session, owner: User, latest: int | None = None) -> IssuedToken:
        """A browser's session, which ends at `latest`, in milliseconds, when that is sooner than usual."""
        now = self.deps.clock()
        end = now + SESSION_SECONDS * 1000
        token = Token(
            id=new_token_id(),
            user_id=owner.id,
            creation_time=now,
            expiry_time=end if latest is None else min(end, latest),
            kind=TokenKind.SESSION,
        )
        return self._keep(session, owner, token, new_opaque_token())

    def _keep(self, session: Session, owner: User, token: Token, text: str) -> IssuedToken:
        token.digest = token_digest(text)
        store.delete_expired(session, self.deps.clock(), _DELETED_AT_ONCE)
        identity.insert_token(session, token)
        kind = TokenKind(token.kind)
        replaced = store.delete_oldest(session, owner.id, kind, _MOST_PER_USER, _DELETED_AT_ONCE)
        principal = identity.principal_of(owner, token, groups.memberships(session))
        return IssuedToken(text, token.expiry_time, token.digest, principal, replaced)
