"""One-time codes that sign a browser in."""

from __future__ import annotations

import secrets

from sqlalchemy.orm import Session

from moorage.control.store import oauth as store
from moorage.identity.tokens import new_opaque_token

_DELETED_AT_ONCE = 1000


def new_sign_in_code(session: Session, user_id: str, now: int, expiry_time: int) -> str:
    """A code that opens one session of that user until `expiry_time`; times are milliseconds since the epoch."""
    code = new_opaque_token()
    store.delete_expired(session, now, _DELETED_AT_ONCE)
    family = secrets.token_hex(16)
    store.add_grant(
        session, store.GrantKind.SIGN_IN, code, user_id, family=family, expiry_time=expiry_time, details={}
    )
    return code
