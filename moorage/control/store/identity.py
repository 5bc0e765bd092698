"""Rows of users, tokens and workspace facts, and the principals they stand for."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import CursorResult, Select, delete, func, or_, select
from sqlalchemy.orm import Session

from moorage.api.routing import Principal
from moorage.control.store.models import Token, User, WorkspaceSetting

_WORKSPACE_ID = "workspace_id"


def ensure_workspace_id(session: Session, candidate: str) -> str:
    """The id of this workspace; `candidate` becomes it when there is none yet."""
    setting = session.get(WorkspaceSetting, _WORKSPACE_ID)
    if setting is None:
        setting = WorkspaceSetting(key=_WORKSPACE_ID, value=candidate)
        session.add(setting)
        session.flush()
    return setting.value


def ensure_admin(session: Session, user_name: str, *, user_id: str, timestamp: int) -> User:
    """The user of that name, as an active admin; made with `user_id` when there is none."""
    user = find_user(session, user_name)
    if user is None:
        user = User(id=user_id, user_name=user_name, display_name=user_name, created_at=timestamp)
        session.add(user)
    user.active = True
    user.admin = True
    session.flush()
    return user


def find_user(session: Session, user_name: str) -> User | None:
    return session.scalar(select(User).where(User.user_name == user_name))


def user(session: Session, user_id: str) -> User | None:
    return session.get(User, user_id)


def insert_token(session: Session, token: Token) -> None:
    session.add(token)
    session.flush()


def tokens_of(session: Session, user_id: str) -> Sequence[Token]:
    """A user's tokens, oldest first, expired ones too."""
    return session.scalars(
        select(Token).where(Token.user_id == user_id).order_by(Token.creation_time, Token.id)
    ).all()


def count_tokens(session: Session, user_id: str) -> int:
    return session.scalar(select(func.count()).select_from(Token).where(Token.user_id == user_id)) or 0


def delete_expired_tokens(session: Session, user_id: str, now: int) -> int:
    """Remove a user's tokens that no longer open anything, and say how many they were."""
    done = session.execute(
        delete(Token).where(Token.user_id == user_id, Token.expiry_time != -1, Token.expiry_time <= now)
    )
    assert isinstance(done, CursorResult)
    return done.rowcount


def take_token(session: Session, user_id: str, token_id: str) -> Token | None:
    """Delete a user's token and return what it was, or None when that user has none of that id."""
    token = session.get(Token, token_id)
    if token is None or token.user_id != user_id:
        return None
    session.delete(token)
    session.flush()
    return token


def principals_by_digest(session: Session, now: int) -> dict[str, Principal]:
    """Who each valid token belongs to, by the token's digest: what the gateways need to know."""
    rows = session.execute(_valid_tokens(now))
    return {token.digest: principal_of(owner, token) for token, owner in rows}


def principal_by_digest(session: Session, digest: str, now: int) -> Principal | None:
    """Who a token belongs to, or None when it is unknown or expired, or its user inactive."""
    row = session.execute(_valid_tokens(now).where(Token.digest == digest)).first()
    return principal_of(row[1], row[0]) if row else None


def principal_of(owner: User, token: Token) -> Principal:
    return Principal(
        id=owner.id,
        user_name=owner.user_name,
        display_name=owner.display_name,
        admin=owner.admin,
        token_id=token.id,
        expiry_time=token.expiry_time,
    )


def _valid_tokens(now: int) -> Select[Token, User]:
    return (
        select(Token, User)
        .join(User, User.id == Token.user_id)
        .where(User.active.is_(True), or_(Token.expiry_time == -1, Token.expiry_time > now))
    )
