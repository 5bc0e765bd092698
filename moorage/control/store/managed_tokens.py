"""Personal tokens of everybody, with who owns and who made them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session, aliased

from moorage.control.store.models import Token, User
from moorage.identity.tokens import TokenKind

_Maker = aliased(User)

TokenRow = tuple[Token, User, User]
"""A token, its owner and who made it. One whose maker is gone counts as made by its owner."""


def managed_token(session: Session, token_id: str) -> TokenRow | None:
    return next(iter(_rows(session, Token.id == token_id)), None)


def managed_tokens(session: Session, made_by_id: str | None, made_by_name: str | None) -> Sequence[TokenRow]:
    """Oldest first, of those makers where they are given."""
    wanted = []
    if made_by_id is not None:
        wanted.append(func.coalesce(_Maker.id, User.id) == made_by_id)
    if made_by_name is not None:
        wanted.append(func.coalesce(_Maker.user_name, User.user_name) == made_by_name)
    return _rows(session, *wanted)


def _rows(session: Session, *wanted: ColumnElement[bool]) -> Sequence[TokenRow]:
    rows = (
        select(Token, User, _Maker)
        .join(User, User.id == Token.user_id)
        .outerjoin(_Maker, _Maker.id == Token.created_by_id)
        .where(Token.kind == TokenKind.PERSONAL, *wanted)
        .order_by(Token.creation_time, Token.id)
    )
    return [(token, owner, maker or owner) for token, owner, maker in session.execute(rows)]
