"""What administrators do with the personal tokens of others, service principals' among them."""

from __future__ import annotations

from dataclasses import dataclass

from moorage.api.errors import NotFound, PermissionDenied, ResourceDoesNotExist
from moorage.api.routing import Principal, PrincipalKind
from moorage.api.tokens import (
    CreatedOnBehalfToken,
    CreateOnBehalfToken,
    EditToken,
    ManagedToken,
    ManagedTokenInfo,
    ManagedTokenList,
)
from moorage.control.dependencies import ControlDependencies, Site
from moorage.control.store import identity as store
from moorage.control.store.engine import reading
from moorage.control.store.managed_tokens import TokenRow, managed_token, managed_tokens
from moorage.control.tokens import make_token


@dataclass(frozen=True, slots=True)
class TokenManagement:
    """Every method raises PermissionDenied for a caller who is no administrator."""

    deps: ControlDependencies
    site: Site

    def list(self, caller: Principal, made_by_id: str | None, made_by_name: str | None) -> ManagedTokenList:
        """All personal tokens, or those of one maker, oldest first."""
        require_admin(caller)
        with reading(self.deps.sessions) as session:
            rows = managed_tokens(session, made_by_id, made_by_name)
            return ManagedTokenList(token_infos=tuple(self._info(row) for row in rows))

    def get(self, caller: Principal, token_id: str) -> ManagedToken:
        """
        Raises:
            ResourceDoesNotExist: there is no such token.
        """
        require_admin(caller)
        with reading(self.deps.sessions) as session:
            row = managed_token(session, token_id)
            if row is None:
                raise ResourceDoesNotExist(f"Token with id '{token_id}' does not exist.")
            return ManagedToken(token_info=self._info(row))

    def edit(self, caller: Principal, token_id: str, request: EditToken) -> ManagedTokenInfo:
        """The token as it is afterwards.

        Raises:
            NotFound: there is no such token.
        """
        require_admin(caller)
        with self.deps.sessions.begin() as session:
            row = managed_token(session, token_id)
            if row is None:
                raise NotFound(f"Token with id '{token_id}' does not exist.")
            if request.comment is not None:
                row[0].comment = request.comment
            return self._info(row)

    def delete(self, caller: Principal, token_id: str) -> None:
        """Revoke anybody's token.

        Raises:
            ResourceDoesNotExist: there is no such token.
        """
        require_admin(caller)
        with self.deps.sessions.begin() as session:
            row = managed_token(session, token_id)
            if row is None:
                raise ResourceDoesNotExist(f"Token with id '{token_id}' does not exist.")
            digest = row[0].digest
            session.delete(row[0])
        self.deps.notifier.token_changed(digest, None)
        self.deps.notifier.wait_until_taken()

    def create_on_behalf(self, caller: Principal, request: CreateOnBehalfToken) -> CreatedOnBehalfToken:
        """Make a token for a service principal. Its text is in this answer and nowhere else.

        Raises:
            ResourceDoesNotExist: there is no active service principal of that application id.
            QuotaExceeded: it has as many unexpired tokens as one may have.
        """
        require_admin(caller)
        with reading(self.deps.sessions) as session:
            owner = store.find_user(session, request.application_id)
            if owner is None or owner.kind != PrincipalKind.SERVICE_PRINCIPAL or not owner.active:
                raise ResourceDoesNotExist(
                    f"There is no active service principal with application id '{request.application_id}'."
                )
        text, token = make_token(self.deps, owner.id, request, caller.id)
        return CreatedOnBehalfToken(token_value=text, token_info=self.get(caller, token.id).token_info)

    def _info(self, row: TokenRow) -> ManagedTokenInfo:
        token, owner, maker = row
        return ManagedTokenInfo(
            token_id=token.id,
            creation_time=token.creation_time,
            expiry_time=token.expiry_time,
            comment=token.comment,
            created_by_id=int(maker.id),
            created_by_username=maker.user_name,
            owner_id=int(owner.id),
            workspace_id=int(self.site.workspace_id),
        )


def require_admin(caller: Principal) -> None:
    """
    Raises:
        PermissionDenied: the caller is no administrator.
    """
    if not caller.admin:
        raise PermissionDenied(f"User '{caller.user_name}' is no administrator of this workspace.")
