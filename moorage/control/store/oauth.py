"""Rows of OAuth: grants by the digest of their text, client secrets, and tokens that live for hours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from moorage.control.store.models import OAuthGrant, OAuthSecret, Token, User
from moorage.identity.tokens import NEVER, TokenKind, token_digest


class GrantKind(StrEnum):
    """What a grant is exchanged for: tokens, new tokens, or a browser's session."""

    CODE = "code"
    REFRESH = "refresh"
    SIGN_IN = "sign_in"


def add_grant(
    session: Session,
    kind: GrantKind,
    text: str,
    user_id: str,
    *,
    family: str,
    expiry_time: int,
    details: Mapping[str, str],
) -> None:
    """Keep a grant by the digest of its text."""
    session.add(
        OAuthGrant(
            digest=token_digest(text),
            kind=kind,
            user_id=user_id,
            details=dict(details),
            expiry_time=expiry_time,
            family=family,
        )
    )
    session.flush()


def grant(session: Session, kind: GrantKind, text: str, now: int) -> tuple[OAuthGrant, User] | None:
    """An unexpired grant, used or not, with its user, who is active."""
    return session.execute(
        select(OAuthGrant, User)
        .join(User, User.id == OAuthGrant.user_id)
        .where(
            OAuthGrant.digest == token_digest(text),
            OAuthGrant.kind == kind,
            OAuthGrant.expiry_time > now,
            User.active.is_(True),
        )
    ).first()


def revoke_family(session: Session, family: str) -> Sequence[str]:
    """Delete the grants and tokens of one consent or client secret. Returns the digests of the tokens."""
    session.execute(delete(OAuthGrant).where(OAuthGrant.family == family))
    digests = session.scalars(select(Token.digest).where(Token.family == family)).all()
    session.execute(delete(Token).where(Token.family == family))
    return digests


def delete_expired(session: Session, now: int, limit: int) -> None:
    """Remove some of the grants and short-lived tokens that no longer open anything."""
    grants = select(OAuthGrant.digest).where(OAuthGrant.expiry_time <= now).limit(limit)
    session.execute(delete(OAuthGrant).where(OAuthGrant.digest.in_(grants)))
    tokens = (
        select(Token.id)
        .where(Token.expiry_time != NEVER, Token.expiry_time <= now, Token.kind != TokenKind.PERSONAL)
        .limit(limit)
    )
    session.execute(delete(Token).where(Token.id.in_(tokens)))


def delete_oldest(session: Session, user_id: str, kind: TokenKind, keep: int, limit: int) -> Sequence[str]:
    """Delete a user's oldest tokens of a kind while there are more than `keep`. Returns their digests."""
    of_kind = (Token.user_id == user_id, Token.kind == kind)
    count = session.scalar(select(func.count()).select_from(Token).where(*of_kind)) or 0
    if count <= keep:
        return []
    oldest = select(Token.digest).where(*of_kind).order_by(Token.creation_time, Token.id)
    digests = session.scalars(oldest.limit(min(count - keep, limit))).all()
    session.execute(delete(Token).where(Token.digest.in_(digests)))
    return digests


def client_secrets(session: Session, service_principal_id: str) -> Sequence[OAuthSecret]:
    """Oldest first."""
    return session.scalars(
        select(OAuthSecret)
        .where(OAuthSecret.service_principal_id == service_principal_id)
        .order_by(OAuthSecret.create_time, OAuthSecret.id)
    ).all()


def matching_client_secret(
    session: Session, service_principal_id: str, secret: str, now: int
) -> OAuthSecret | None:
    """The unexpired secret of that text."""
    return session.scalar(
        select(OAuthSecret).where(
            OAuthSecret.service_principal_id == service_principal_id,
            OAuthSecret.digest == token_digest(secret),
            OAuthSecret.expire_time > now,
        )
    )
