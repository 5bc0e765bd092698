"""Rows of users, tokens and workspace facts, and the principals they stand for."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, CursorResult, Select, delete, func, or_, select
from sqlalchemy.orm import Session

from moorage.api.routing import Principal, PrincipalKind
from moorage.control.store import groups, permissions
from moorage.control.store.groups import Memberships
from moorage.control.store.models import Group, Token, User, WorkspaceSetting
from moorage.identity.tokens import TokenKind

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
    """The user of that name, active and in the group of admins; made with `user_id` when there is none."""
    user = find_user(session, user_name)
    if user is None:
        user = User(id=user_id, user_name=user_name, display_name=user_name, created_at=timestamp)
        session.add(user)
    user.active = True
    session.flush()
    groups.add_members(session, groups.memberships(session).admins_id, [user.id])
    return user


def find_user(session: Session, user_name: str) -> User | None:
    """The user of that name, or the service principal of that application id, without regard to case."""
    found = session.scalar(select(User).where(User.user_name == user_name))
    if found is not None:
        return found
    # SQLite's `lower` knows ASCII only.
    folded = user_name.casefold()
    named = session.execute(select(User.id, User.user_name))
    return next((session.get_one(User, one) for one, name in named if name.casefold() == folded), None)


def user(session: Session, user_id: str) -> User | None:
    return session.get(User, user_id)


def users(session: Session, kind: PrincipalKind) -> Sequence[User]:
    """All of a kind, the one made first in front."""
    return session.scalars(select(User).where(User.kind == kind).order_by(User.created_at, User.id)).all()


def names_by_id(session: Session) -> dict[str, tuple[PrincipalKind, str]]:
    """What every user and service principal is, and what to call it, the one made first in front."""
    rows = session.execute(
        select(User.id, User.kind, User.display_name, User.user_name).order_by(User.created_at, User.id)
    )
    return {one: (PrincipalKind(kind), display or name) for one, kind, display, name in rows}


def has_active_admin(session: Session) -> bool:
    memberships = groups.memberships(session)
    active = session.scalars(select(User.id).where(User.active.is_(True)))
    return any(memberships.is_admin(one) for one in active)


def insert_user(session: Session, user: User) -> None:
    session.add(user)
    session.flush()


def delete_user(session: Session, user: User) -> None:
    """Remove a user or service principal with its tokens, OAuth secrets and grants, memberships and permissions.

    What it created stays.
    """
    session.execute(delete(Token).where(Token.user_id == user.id))
    groups.remove_everywhere(session, user.id)
    permissions.forget_principal(session, user.id)
    session.delete(user)
    session.flush()


def insert_token(session: Session, token: Token) -> None:
    session.add(token)
    session.flush()


def personal_tokens(session: Session, user_id: str) -> Sequence[Token]:
    """A user's personal tokens, oldest first, expired ones too."""
    return session.scalars(
        select(Token).where(*_personal(user_id)).order_by(Token.creation_time, Token.id)
    ).all()


def personal_token(session: Session, user_id: str, token_id: str) -> Token | None:
    return session.scalar(select(Token).where(*_personal(user_id), Token.id == token_id))


def count_personal_tokens(session: Session, user_id: str) -> int:
    return session.scalar(select(func.count()).select_from(Token).where(*_personal(user_id))) or 0


def delete_expired_tokens(session: Session, user_id: str, now: int) -> int:
    """Remove a user's tokens that no longer open anything, and say how many they were."""
    done = session.execute(
        delete(Token).where(Token.user_id == user_id, Token.expiry_time != -1, Token.expiry_time <= now)
    )
    assert isinstance(done, CursorResult)
    return done.rowcount


def take_token(session: Session, user_id: str, token_id: str) -> Token | None:
    """Delete a user's personal token and return what it was, or None when that user has none of that id."""
    token = personal_token(session, user_id, token_id)
    if token is None:
        return None
    session.delete(token)
    session.flush()
    return token


def principals_by_digest(session: Session, now: int) -> dict[str, Principal]:
    """Who each valid token belongs to, by the token's digest: what the gateways need to know."""
    memberships = groups.memberships(session)
    rows = session.execute(_valid_tokens(now))
    return {token.digest: principal_of(owner, token, memberships) for token, owner in rows}


def principal_by_digest(session: Session, digest: str, now: int) -> Principal | None:
    """Who a token belongs to, or None when it is unknown or expired, or its user inactive."""
    row = session.execute(_valid_tokens(now).where(Token.digest == digest)).first()
    return principal_of(row[1], row[0], groups.memberships(session)) if row else None


def valid_token(session: Session, digest: str, now: int) -> tuple[Token, User] | None:
    """A token and its owner, or None when it is unknown or expired, or its user inactive."""
    return session.execute(_valid_tokens(now).where(Token.digest == digest)).first()


def principal_of(owner: User, token: Token, memberships: Memberships) -> Principal:
    """Who a token stands for. A data-plane token has no more than the right to query its endpoint."""
    return owner_principal(owner, memberships).model_copy(
        update={
            "only_endpoint": token.only_endpoint,
            "token_id": token.id,
            "expiry_time": token.expiry_time,
        }
    )


def entitlements(session: Session, principal: Principal) -> frozenset[str]:
    """What a user or service principal is entitled to, by its own row or by those of its groups."""
    rows = [session.get(User, principal.id), *(session.get(Group, one) for one in principal.groups)]
    return frozenset(one for row in rows if row is not None for one in row.entitlements)


def owner_principal(owner: User, memberships: Memberships) -> Principal:
    """Who a user or service principal is, whatever the credential."""
    member_of = memberships.groups_of(owner.id)
    return Principal(
        id=owner.id,
        user_name=owner.user_name,
        display_name=owner.display_name,
        kind=PrincipalKind(owner.kind),
        admin=memberships.admins_id in member_of,
        groups=member_of,
    )


def _personal(user_id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return Token.user_id == user_id, Token.kind == TokenKind.PERSONAL


def _valid_tokens(now: int) -> Select[Token, User]:
    return (
        select(Token, User)
        .join(User, User.id == Token.user_id)
        .where(User.active.is_(True), or_(Token.expiry_time == -1, Token.expiry_time > now))
    )
