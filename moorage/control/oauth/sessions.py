"""Browsers' sessions: signed in with a token, a one-time code or at an OpenID Connect provider."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, func, select

from moorage.api.errors import InvalidToken, PermissionDenied, ResourceDoesNotExist
from moorage.api.routing import Principal, PrincipalKind
from moorage.api.sessions import SignInLink
from moorage.control.oauth.short_lived_tokens import IssuedToken, ShortLivedTokens
from moorage.control.oauth.sign_in_codes import new_sign_in_code
from moorage.control.store import identity
from moorage.control.store import oauth as store
from moorage.control.store.models import Token, User
from moorage.control.token_management import require_admin
from moorage.identity.ids import new_user_id
from moorage.identity.tokens import NEVER, TokenKind, token_digest

ATTEMPT_SECONDS = 600
"""The time for signing in at the OpenID Connect provider."""
INVITATION_SECONDS = 24 * 3600
"""How long a link that an administrator made for a user can be used."""


@dataclass(frozen=True, slots=True)
class VerifiedUser:
    """Who somebody is by the word of the OpenID Connect provider."""

    email: str
    name: str


@dataclass(frozen=True, slots=True)
class BrowserSessions:
    tokens: ShortLivedTokens

    def sign_in(self, token_text: str) -> IssuedToken:
        """A session for the owner of a token; it ends no later than the token does.

        Raises:
            InvalidToken: it opens nothing, or is itself a session's or a data-plane token.
        """
        deps = self.tokens.deps
        with deps.sessions.begin() as session:
            found = identity.valid_token(session, token_digest(token_text), deps.clock())
            if found is None:
                raise InvalidToken
            token, owner = found
            if token.kind == TokenKind.SESSION or token.only_endpoint is not None:
                raise InvalidToken
            latest = None if token.expiry_time == NEVER else token.expiry_time
            issued = self.tokens.session_token(session, owner, latest)
        return self._published(issued)

    def invite(self, caller: Principal, user_name: str) -> SignInLink:
        """A link that signs that user in, once: the first way in where no OpenID Connect provider is.

        Raises:
            PermissionDenied: the caller is no administrator.
            ResourceDoesNotExist: there is no such user who may sign in.
        """
        require_admin(caller)
        deps = self.tokens.deps
        now = deps.clock()
        expiry_time = now + INVITATION_SECONDS * 1000
        with deps.sessions.begin() as session:
            user = session.scalar(select(User).where(User.user_name == user_name))
            if user is None or not user.active or user.kind != PrincipalKind.USER:
                raise ResourceDoesNotExist(f"There is no active user '{user_name}'.")
            code = new_sign_in_code(session, user.id, now, expiry_time)
        return SignInLink(url=f"{self.tokens.site.base_url}/login?code={code}", expiry_time=expiry_time)

    def redeem(self, code: str) -> IssuedToken:
        """A session for a one-time code.

        Raises:
            InvalidToken: the code is unknown, expired or used.
        """
        deps = self.tokens.deps
        with deps.sessions.begin() as session:
            found = store.grant(session, store.GrantKind.SIGN_IN, code, deps.clock())
            if found is None:
                raise InvalidToken("The sign-in code is unknown, expired or used.")
            grant, owner = found
            session.delete(grant)
            issued = self.tokens.session_token(session, owner)
        return self._published(issued)

    def admit(self, verified: VerifiedUser) -> IssuedToken:
        """A session for the user with that e-mail address; made when the settings allow it.

        Raises:
            PermissionDenied: there is no such user, or the user is inactive.
        """
        deps = self.tokens.deps
        with deps.sessions.begin() as session:
            users = session.scalars(select(User).where(func.lower(User.user_name) == verified.email.lower())).all()
            if not users and deps.settings.oidc_create_users:
                user = User(
                    id=new_user_id(),
                    user_name=verified.email.lower(),
                    display_name=verified.name or verified.email,
                    created_at=deps.clock(),
                )
                session.add(user)
                session.flush()
                users = [user]
            allowed = [user for user in users if user.active and user.kind == PrincipalKind.USER]
            if len(users) != 1 or not allowed:
                raise PermissionDenied(f"'{verified.email}' has no account here that may sign in.")
            issued = self.tokens.session_token(session, allowed[0])
        return self._published(issued)

    def end(self, caller: Principal) -> None:
        """Sign the caller's session out; a caller with another credential has none."""
        deps = self.tokens.deps
        with deps.sessions.begin() as session:
            token = session.get(Token, caller.token_id) if caller.token_id is not None else None
            if token is None or token.kind != TokenKind.SESSION:
                return
            digest = token.digest
            session.execute(delete(Token).where(Token.id == token.id))
        deps.notifier.token_changed(digest, None)
        deps.notifier.wait_until_taken()

    def _published(self, issued: IssuedToken) -> IssuedToken:
        issued.publish(self.tokens.deps.notifier)
        return issued
