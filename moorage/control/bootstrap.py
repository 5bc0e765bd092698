"""What the database holds before the first request: schema, workspace id, administrator, its token."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from moorage.control.admin_env import TOKEN_VARIABLE, read_admin_env
from moorage.control.encryption_key import settle_key
from moorage.control.oauth.sign_in_codes import new_sign_in_code
from moorage.control.rate_limits import require_stored_enforceable
from moorage.control.store import identity
from moorage.control.store.engine import make_sessions, migrate, open_database
from moorage.control.store.models import Token, User
from moorage.datadir import DataDirectory
from moorage.identity.ids import new_token_id, new_user_id, new_workspace_id
from moorage.identity.tokens import NEVER, new_token, token_digest
from moorage.settings import Settings

_SIGN_IN_SECONDS = 600
_TOKEN_COMMENT = "made at the first start, kept in admin.env"


@dataclass(frozen=True, slots=True)
class AdminCredentials:
    """The administrator of the workspace and a token of theirs in plain text. `created`: it was made just now.

    `sign_in_code` opens a browser's session for them, once, within ten minutes.
    """

    user_name: str
    token: str
    created: bool
    sign_in_code: str
    workspace_id: str


def prepare(settings: Settings, data: DataDirectory, environ: Mapping[str, str]) -> AdminCredentials:
    """Bring the database to the newest schema, settle its encryption key, and make the administrator.

    The token in `admin.env` is kept as long as it opens the administrator's account; else a new one is made.
    Safe to run again, also after a death midway.

    Raises:
        KeyProblem: the encryption key is missing, or another than the database's.
        LimitsDoNotHold: an endpoint has rate limits that the gateways of these settings cannot enforce.
        alembic.util.CommandError: the database was made by a newer Moorage.
        sqlalchemy.exc.SQLAlchemyError: the database cannot be used.
        OSError: `admin.env` or the key is there and cannot be read.
    """
    engine = open_database(data.database)
    now = time.time_ns() // 1_000_000
    try:
        migrate(engine)
        sessions = make_sessions(engine)
        settle_key(data, sessions, environ)
        with sessions.begin() as session:
            require_stored_enforceable(session, settings)
            workspace = identity.ensure_workspace_id(session, new_workspace_id())
            admin = identity.ensure_admin(session, settings.admin_user, user_id=new_user_id(), timestamp=now)
            code = new_sign_in_code(session, admin.id, now, now + _SIGN_IN_SECONDS * 1000)
            kept = _kept_token(session, data, admin, now)
            if kept is not None:
                return AdminCredentials(admin.user_name, kept, False, code, workspace)
            text = new_token()
            identity.insert_token(
                session,
                Token(
                    id=new_token_id(),
                    digest=token_digest(text),
                    user_id=admin.id,
                    comment=_TOKEN_COMMENT,
                    creation_time=now,
                    expiry_time=NEVER,
                ),
            )
            return AdminCredentials(admin.user_name, text, True, code, workspace)
    finally:
        engine.dispose()


def _kept_token(session: Session, data: DataDirectory, admin: User, now: int) -> str | None:
    try:
        token = read_admin_env(data.admin_env).get(TOKEN_VARIABLE)
    except FileNotFoundError:
        return None
    if not token:
        return None
    principal = identity.principal_by_digest(session, token_digest(token), now)
    return token if principal is not None and principal.id == admin.id else None
