"""What the API does with personal access tokens: everybody handles their own."""

from __future__ import annotations

from dataclasses import dataclass

from moorage.api.errors import InvalidToken, NotFound, QuotaExceeded, ResourceDoesNotExist
from moorage.api.routing import Principal
from moorage.api.tokens import CreatedToken, CreateToken, EditToken, TokenInfo, TokenList
from moorage.control.dependencies import ControlDependencies
from moorage.control.store import groups
from moorage.control.store import identity as store
from moorage.control.store.engine import reading
from moorage.control.store.models import Token
from moorage.identity.ids import new_token_id
from moorage.identity.tokens import MOST_TOKENS_PER_USER, expiry_time, new_token, token_digest


def make_token(
    deps: ControlDependencies, owner_id: str, request: CreateToken, created_by_id: str
) -> tuple[str, Token]:
    """Make a personal token, and have every gateway know it. Returns its text, which is kept nowhere, and its row.

    Raises:
        QuotaExceeded: the owner has as many unexpired tokens as one may have.
        InvalidToken: the owner is no user, or no longer an active one.
    """
    now = deps.clock()
    text = new_token()
    token = Token(
        id=new_token_id(),
        digest=token_digest(text),
        user_id=owner_id,
        comment=request.comment,
        creation_time=now,
        expiry_time=expiry_time(now, request.lifetime_seconds),
        created_by_id=created_by_id,
    )
    with deps.sessions.begin() as session:
        owner = store.user(session, owner_id)
        if owner is None or not owner.active:
            raise InvalidToken
        store.delete_expired_tokens(session, owner_id, now)
        if store.count_personal_tokens(session, owner_id) >= MOST_TOKENS_PER_USER:
            raise QuotaExceeded(
                f"User '{owner.user_name}' has {MOST_TOKENS_PER_USER} tokens, the most one may have; delete one first"
            )
        store.insert_token(session, token)
        principal = store.principal_of(owner, token, groups.memberships(session))
    deps.notifier.token_changed(token.digest, principal)
    deps.notifier.wait_until_taken()
    return text, token


@dataclass(frozen=True, slots=True)
class TokenService:
    deps: ControlDependencies

    def create(self, caller: Principal, request: CreateToken) -> CreatedToken:
        """Make a token for the caller. Its text is in this answer and nowhere else.

        Raises:
            QuotaExceeded: the caller has as many unexpired tokens as one may have.
            InvalidToken: the caller is no user, or no longer an active one.
        """
        text, token = make_token(self.deps, caller.id, request, caller.id)
        return CreatedToken(token_value=text, token_info=_info(token))

    def list(self, caller: Principal) -> TokenList:
        """The caller's personal tokens, oldest first."""
        with reading(self.deps.sessions) as session:
            tokens = store.personal_tokens(session, caller.id)
            return TokenList(token_infos=tuple(_info(token) for token in tokens))

    def edit(self, caller: Principal, token_id: str, request: EditToken) -> None:
        """Change one of the caller's tokens.

        Raises:
            NotFound: the caller has no token of that id.
        """
        with self.deps.sessions.begin() as session:
            token = store.personal_token(session, caller.id, token_id)
            if token is None:
                raise NotFound(f"Token with id '{token_id}' does not exist.")
            if request.comment is not None:
                token.comment = request.comment

    def delete(self, caller: Principal, token_id: str) -> None:
        """Revoke one of the caller's tokens.

        Raises:
            ResourceDoesNotExist: the caller has no token of that id.
        """
        with self.deps.sessions.begin() as session:
            token = store.take_token(session, caller.id, token_id)
        if token is None:
            raise ResourceDoesNotExist(f"Token with id '{token_id}' does not exist.")
        self.deps.notifier.token_changed(token.digest, None)
        self.deps.notifier.wait_until_taken()


def _info(token: Token) -> TokenInfo:
    return TokenInfo(
        token_id=token.id,
        creation_time=token.creation_time,
        expiry_time=token.expiry_time,
        comment=token.comment,
    )
