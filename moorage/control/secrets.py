"""What the API does with secret scopes, secrets and the grants on scopes."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from sqlalchemy.orm import Session

from moorage.api.errors import (
    InternalError,
    InvalidParameterValue,
    MalformedRequest,
    NotImplementedHere,
    PermissionDenied,
    ResourceAlreadyExists,
    ResourceDoesNotExist,
    ResourceLimitExceeded,
)
from moorage.api.routing import Principal
from moorage.api.secrets import (
    AclItem,
    AclList,
    AclPermission,
    CreateScope,
    PutAcl,
    PutSecret,
    ScopeBackendType,
    ScopeList,
    SecretList,
    SecretMetadata,
    SecretScopeOutput,
    SecretValue,
)
from moorage.control.dependencies import ControlDependencies
from moorage.control.secret_access import Accessor, may, scope_permission
from moorage.control.secret_values import decrypt_secret, encrypt_secret
from moorage.control.store import groups, permissions
from moorage.control.store import secrets as store
from moorage.control.store.engine import reading
from moorage.control.store.models import Secret, SecretScope
from moorage.control.store.permissions import ObjectType
from moorage.encryption import CannotDecrypt

MOST_SCOPES = 1000
MOST_SECRETS = 1000  # of a scope
LONGEST_VALUE = 128 * 1024

_SCOPE = ObjectType.SECRET_SCOPE


@dataclass(frozen=True, slots=True)
class SecretService:
    """Every method that names a scope raises `ResourceDoesNotExist` when there is no such scope, and
    `PermissionDenied` when the caller lacks the permission that the method names."""

    deps: ControlDependencies

    def create_scope(self, caller: Principal, request: CreateScope) -> None:
        """Make an empty scope. Every user may.

        Raises:
            ResourceAlreadyExists: the name is taken.
            ResourceLimitExceeded: the workspace has as many scopes as it may.
            InvalidParameterValue: another initial principal than `users`.
            NotImplementedHere: a scope of Azure Key Vault.
        """
        if request.scope_backend_type is not ScopeBackendType.DATABRICKS:
            raise NotImplementedHere("Secret scopes in Azure Key Vault are not supported; use 'DATABRICKS'")
        if request.initial_manage_principal not in (None, groups.USERS):
            raise InvalidParameterValue(
                f"Invalid value for 'initial_manage_principal': must be '{groups.USERS}', or left out"
            )
        with self.deps.sessions.begin() as session:
            if store.scope(session, request.scope) is not None:
                raise ResourceAlreadyExists(f"Secret scope '{request.scope}' already exists.")
            if store.count_scopes(session) >= MOST_SCOPES:
                raise ResourceLimitExceeded(f"The workspace has {MOST_SCOPES} secret scopes, the most it may have")
            row = SecretScope(
                name=request.scope,
                backend_type=request.scope_backend_type,
                created_by=caller.id,
                created_at=self.deps.clock(),
            )
            store.insert_scope(session, row)
            for_all = request.initial_manage_principal is not None
            manager = groups.memberships(session).users_id if for_all else caller.id
            permissions.grant(session, _SCOPE, request.scope, manager, AclPermission.MANAGE)

    def list_scopes(self, caller: Principal) -> ScopeList:
        """The scopes on which the caller has any permission, by name."""
        accessor = Accessor.of(caller)
        with reading(self.deps.sessions) as session:
            grants = permissions.all_grants(session, _SCOPE)
            seen = [
                SecretScopeOutput(name=one.name, backend_type=ScopeBackendType(one.backend_type))
                for one in store.scopes(session)
                if scope_permission(accessor, grants.get(one.name, {})) is not None
            ]
        return ScopeList(scopes=tuple(seen))

    def delete_scope(self, caller: Principal, scope: str) -> None:
        """Remove a scope with its secrets. Needs MANAGE."""
        with self.deps.sessions.begin() as session:
            _require(session, caller, scope, AclPermission.MANAGE)
            store.delete_scope(session, scope)
        self.deps.notifier.secrets_changed(scope)

    def put(self, caller: Principal, request: PutSecret) -> None:
        """Write a secret, over the one of that key. Needs WRITE.

        Raises:
            MalformedRequest: both values are given, or none.
            InvalidParameterValue: the value is too long, or `bytes_value` no base64.
            ResourceLimitExceeded: the scope has as many secrets as it may.
        """
        value = _value(request)
        with self.deps.sessions.begin() as session:
            _require(session, caller, request.scope, AclPermission.WRITE)
            is_new = not store.has_secret(session, request.scope, request.key)
            if is_new and store.count_secrets(session, request.scope) >= MOST_SECRETS:
                raise ResourceLimitExceeded(
                    f"Secret scope '{request.scope}' has {MOST_SECRETS} secrets, the most it may have"
                )
            row = Secret(
                scope=request.scope,
                key=request.key,
                ciphertext=encrypt_secret(self.deps.encryption, request.scope, request.key, value),
                last_updated_timestamp=self.deps.clock(),
            )
            store.put_secret(session, row)
        self.deps.notifier.secrets_changed(request.scope)

    def get(self, caller: Principal, scope: str, key: str) -> SecretValue:
        """A secret with its value. Needs READ.

        Raises:
            ResourceDoesNotExist: the scope has no secret of that key.
            InternalError: it cannot be decrypted.
        """
        with reading(self.deps.sessions) as session:
            _require(session, caller, scope, AclPermission.READ)
            row = store.secret(session, scope, key)
        if row is None:
            raise _no_such_secret(scope, key)
        try:
            value = decrypt_secret(self.deps.encryption, row)
        except CannotDecrypt as error:
            raise InternalError(f"Secret '{key}' of secret scope '{scope}' cannot be decrypted: {error}") from error
        return SecretValue(key=key, value=base64.b64encode(value).decode("ascii"))

    def list(self, caller: Principal, scope: str) -> SecretList:
        """The secrets of a scope by key, without their values. Needs READ."""
        with reading(self.deps.sessions) as session:
            _require(session, caller, scope, AclPermission.READ)
            found = store.secrets(session, scope)
        return SecretList(secrets=tuple(SecretMetadata(key=k, last_updated_timestamp=at) for k, at in found))

    def delete(self, caller: Principal, scope: str, key: str) -> None:
        """Remove a secret. Needs WRITE.

        Raises:
            ResourceDoesNotExist: the scope has no secret of that key.
        """
        with self.deps.sessions.begin() as session:
            _require(session, caller, scope, AclPermission.WRITE)
            row = store.secret(session, scope, key)
            if row is None:
                raise _no_such_secret(scope, key)
            store.delete_secret(session, row)
        self.deps.notifier.secrets_changed(scope)

    def put_acl(self, caller: Principal, request: PutAcl) -> None:
        """Give a principal a permission, in place of the one that it has. Needs MANAGE.

        Raises:
            InvalidParameterValue: there is no such principal.
        """
        with self.deps.sessions.begin() as session:
            _require(session, caller, request.scope, AclPermission.MANAGE)
            principal_id = _principal_id(session, request.principal)
            permissions.grant(session, _SCOPE, request.scope, principal_id, request.permission)
        self.deps.notifier.secrets_changed(request.scope)

    def get_acl(self, caller: Principal, scope: str, principal: str) -> AclItem:
        """The permission that a principal itself was given. Needs MANAGE.

        Raises:
            InvalidParameterValue: there is no such principal.
            ResourceDoesNotExist: it was given none.
        """
        with reading(self.deps.sessions) as session:
            _require(session, caller, scope, AclPermission.MANAGE)
            principal_id = _principal_id(session, principal)
            level = permissions.grants(session, _SCOPE, scope).get(principal_id)
            name = store.principal_names(session, [principal_id])[principal_id]
        if level is None:
            raise _no_such_acl(scope, principal)
        return AclItem(principal=name, permission=AclPermission(level))

    def list_acls(self, caller: Principal, scope: str) -> AclList:
        """The permissions that were given on a scope, by the name of the principal. Needs MANAGE."""
        with reading(self.deps.sessions) as session:
            _require(session, caller, scope, AclPermission.MANAGE)
            grants = permissions.grants(session, _SCOPE, scope)
            names = store.principal_names(session, grants.keys())
        items = (AclItem(principal=name, permission=AclPermission(grants[one])) for one, name in names.items())
        return AclList(items=tuple(sorted(items, key=lambda item: item.principal)))

    def delete_acl(self, caller: Principal, scope: str, principal: str) -> None:
        """Take back the permission that a principal itself was given. Needs MANAGE.

        Raises:
            ResourceDoesNotExist: there is no such principal, or it was given none.
        """
        with self.deps.sessions.begin() as session:
            _require(session, caller, scope, AclPermission.MANAGE)
            principal_id = store.principal_id(session, principal)
            if principal_id is None or principal_id not in permissions.grants(session, _SCOPE, scope):
                raise _no_such_acl(scope, principal)
            permissions.revoke(session, _SCOPE, scope, [principal_id])
        self.deps.notifier.secrets_changed(scope)


def _require(session: Session, caller: Principal, scope: str, needed: AclPermission) -> None:
    if store.scope(session, scope) is None:
        raise ResourceDoesNotExist(f"Secret scope '{scope}' does not exist.")
    if not may(Accessor.of(caller), permissions.grants(session, _SCOPE, scope), needed):
        raise PermissionDenied(
            f"User '{caller.user_name}' does not have {needed} permission on secret scope '{scope}'."
        )


def _value(request: PutSecret) -> bytes:
    if (request.string_value is None) == (request.bytes_value is None):
        raise MalformedRequest("Exactly one of 'string_value' and 'bytes_value' must be given")
    if request.string_value is not None:
        field, value = "string_value", request.string_value.encode()
    else:
        field, value = "bytes_value", _decoded(request.bytes_value or "")
    if len(value) > LONGEST_VALUE:
        raise InvalidParameterValue(f"Invalid value for '{field}': must have at most {LONGEST_VALUE} bytes")
    return value


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise InvalidParameterValue("Invalid value for 'bytes_value': must be base64") from None


def _principal_id(session: Session, name: str) -> str:
    found = store.principal_id(session, name)
    if found is None:
        raise InvalidParameterValue(
            f"Invalid value for 'principal': there is no user, service principal or group '{name}'"
        )
    return found


def _no_such_secret(scope: str, key: str) -> ResourceDoesNotExist:
    return ResourceDoesNotExist(f"Secret '{key}' of secret scope '{scope}' does not exist.")


def _no_such_acl(scope: str, principal: str) -> ResourceDoesNotExist:
    return ResourceDoesNotExist(f"Secret scope '{scope}' has no ACL of principal '{principal}'.")
