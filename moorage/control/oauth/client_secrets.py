"""OAuth secrets of service principals, for administrators."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from moorage.api.errors import QuotaExceeded, ResourceDoesNotExist
from moorage.api.oauth import ClientSecretInfo, ClientSecretList, CreateClientSecret, CreatedClientSecret
from moorage.api.routing import Principal, PrincipalKind
from moorage.control.dependencies import ControlDependencies
from moorage.control.oauth.short_lived_tokens import tell_revoked
from moorage.control.store import identity
from moorage.control.store import oauth as store
from moorage.control.store.engine import reading
from moorage.control.store.models import OAuthSecret
from moorage.control.token_management import require_admin
from moorage.identity.ids import new_object_id
from moorage.identity.tokens import new_client_secret, token_digest

_MOST_SECRETS = 5
_HINT_CHARACTERS = 8


@dataclass(frozen=True, slots=True)
class ClientSecrets:
    """Every method raises PermissionDenied for a caller who is no administrator, and ResourceDoesNotExist when there
    is no service principal of that id."""

    deps: ControlDependencies

    def create(
        self, caller: Principal, service_principal_id: str, request: CreateClientSecret
    ) -> CreatedClientSecret:
        """Make a secret. Its text is in this answer and nowhere else.

        Raises:
            QuotaExceeded: the service principal has five unexpired ones.
        """
        require_admin(caller)
        now = self.deps.clock()
        text = new_client_secret()
        row = OAuthSecret(
            id=new_object_id(),
            service_principal_id=service_principal_id,
            digest=token_digest(text),
            hint=text[:_HINT_CHARACTERS],
            create_time=now,
            expire_time=now + request.lifetime_seconds * 1000,
        )
        with self.deps.sessions.begin() as session:
            _require_service_principal(session, service_principal_id)
            for secret in store.client_secrets(session, service_principal_id):
                if secret.expire_time <= now:
                    session.delete(secret)
            session.flush()
            if len(store.client_secrets(session, service_principal_id)) >= _MOST_SECRETS:
                raise QuotaExceeded(
                    f"A service principal may have {_MOST_SECRETS} OAuth secrets; delete one of them first"
                )
            session.add(row)
        return CreatedClientSecret(**self._info(row).model_dump(), secret=text)

    def list(self, caller: Principal, service_principal_id: str) -> ClientSecretList:
        """Oldest first, without their text."""
        require_admin(caller)
        with reading(self.deps.sessions) as session:
            _require_service_principal(session, service_principal_id)
            rows = store.client_secrets(session, service_principal_id)
            return ClientSecretList(secrets=tuple(self._info(row) for row in rows))

    def delete(self, caller: Principal, service_principal_id: str, secret_id: str) -> None:
        """Delete a secret, and revoke the access tokens that it was exchanged for.

        Raises:
            ResourceDoesNotExist: the service principal has no secret of that id.
        """
        require_admin(caller)
        with self.deps.sessions.begin() as session:
            _require_service_principal(session, service_principal_id)
            row = session.get(OAuthSecret, secret_id)
            if row is None or row.service_principal_id != service_principal_id:
                raise ResourceDoesNotExist(f"OAuth secret with id '{secret_id}' does not exist.")
            session.delete(row)
            revoked = store.revoke_family(session, secret_id)
        tell_revoked(self.deps.notifier, revoked)
        self.deps.notifier.wait_until_taken()

    def _info(self, row: OAuthSecret) -> ClientSecretInfo:
        return ClientSecretInfo(
            id=row.id,
            secret_hash=row.digest,
            status="ACTIVE" if row.expire_time > self.deps.clock() else "EXPIRED",
            create_time=_utc(row.create_time),
            update_time=_utc(row.create_time),
            expire_time=_utc(row.expire_time),
        )


def _require_service_principal(session: Session, user_id: str) -> None:
    user = identity.user(session, user_id)
    if user is None or user.kind != PrincipalKind.SERVICE_PRINCIPAL:
        raise ResourceDoesNotExist(f"Service principal with id '{user_id}' does not exist.")


def _utc(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
