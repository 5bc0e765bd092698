"""Environment variables that are secrets: `{{secrets/SCOPE/KEY}}` in the place of a value.

A configuration keeps the reference. The value is looked up each time that a replica starts, by the right of the
endpoint's creator, and goes to that replica alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from moorage.api.errors import InvalidParameterValue, PermissionDenied
from moorage.api.external_models import SECRET_REFERENCE
from moorage.api.routing import Principal
from moorage.api.secrets import AclPermission
from moorage.api.served_entities import CustomModelSpec
from moorage.control.secret_access import Accessor, may
from moorage.control.secret_values import decrypt_secret
from moorage.control.store import permissions
from moorage.control.store import secrets as store
from moorage.control.store.engine import Sessions, reading
from moorage.control.store.permissions import ObjectType
from moorage.encryption import CannotDecrypt, Encryption

_LONGEST_VARIABLE = 32 * 4096  # bytes of NAME=VALUE with its closing NUL: the kernel's MAX_ARG_STRLEN


class SecretUnreadable(Exception):
    """A secret that a variable refers to cannot be had; the message names both, and says why."""


@dataclass(frozen=True, slots=True)
class SecretVariable:
    """An environment variable that refers to a secret."""

    name: str
    scope: str
    key: str


def secret_variables(variables: Mapping[str, str]) -> Iterator[SecretVariable]:
    """Those whose whole value is a reference."""
    for name, value in variables.items():
        if reference := SECRET_REFERENCE.fullmatch(value):
            yield SecretVariable(name, reference["scope"], reference["key"])


def require_secrets(
    session: Session, specs: Iterable[CustomModelSpec], caller: Principal, *, creator_id: str | None = None
) -> None:
    """Whether these may refer to the secrets that they refer to.

    Their endpoint's creator must be able to read each, because replicas read it by that right, and so must the
    caller: who may manage an endpoint could otherwise take any secret of its creator. `creator_id` is None for an
    endpoint that the caller creates.

    Raises:
        InvalidParameterValue: there is no such secret.
        PermissionDenied: the caller or the creator lacks READ on its scope.
    """
    used = [(spec, variable) for spec in specs for variable in secret_variables(spec.environment_vars)]
    if not used:
        return
    accessors: list[Accessor | None] = [Accessor.of(caller)]
    if creator_id is not None and creator_id != caller.id:
        accessors.append(Accessor.of_user(session, creator_id))
    for spec, variable in used:
        of_variable = f"environment variable '{variable.name}' of '{spec.name}'"
        if store.scope(session, variable.scope) is None:
            raise _does_not_exist(variable, of_variable)
        grants = permissions.grants(session, ObjectType.SECRET_SCOPE, variable.scope)
        for accessor in accessors:
            if accessor is None or not may(accessor, grants, AclPermission.READ):
                who = f"User '{accessor.user_name}'" if accessor else "The creator of the endpoint"
                raise PermissionDenied(
                    f"{who} does not have READ permission on secret scope '{variable.scope}', to whose key "
                    f"'{variable.key}' {of_variable} refers."
                )
        if not store.has_secret(session, variable.scope, variable.key):
            raise _does_not_exist(variable, of_variable)


class SecretReader:
    """Gives replicas the values. Synchronous: call it in a thread."""

    def __init__(self, sessions: Sessions, encryption: Encryption) -> None:
        self._sessions = sessions
        self._encryption = encryption

    def require(self, specs: Iterable[CustomModelSpec], caller: Principal) -> None:
        """`require_secrets` for what the caller starts."""
        with reading(self._sessions) as session:
            require_secrets(session, specs, caller)

    def resolve(self, variables: Mapping[str, str], user_id: str) -> dict[str, str]:
        """The variables with the secrets' values as they are now, read by the right of that user.

        Raises:
            SecretUnreadable: see there; or it is nothing that an environment variable can hold.
        """
        resolved = dict(variables)
        wanted = list(secret_variables(variables))
        if not wanted:
            return resolved
        with reading(self._sessions) as session:
            accessor = Accessor.of_user(session, user_id)
            for variable in wanted:
                resolved[variable.name] = self._value(session, variable, accessor)
        return resolved

    def _value(self, session: Session, variable: SecretVariable, accessor: Accessor | None) -> str:
        if accessor is None:
            raise _unreadable(variable, "the user by whose right it would be read is not active any more")
        grants = permissions.grants(session, ObjectType.SECRET_SCOPE, variable.scope)
        row = None
        if store.scope(session, variable.scope) is not None:
            if not may(accessor, grants, AclPermission.READ):
                lacking = f"does not have READ permission on secret scope '{variable.scope}'"
                raise _unreadable(variable, f"user '{accessor.user_name}', by whose right it is read, {lacking}")
            row = store.secret(session, variable.scope, variable.key)
        if row is None:
            raise _unreadable(variable, "it does not exist")
        try:
            value = decrypt_secret(self._encryption, row).decode()
        except CannotDecrypt as error:
            raise _unreadable(variable, str(error)) from error
        except UnicodeDecodeError:
            raise _unreadable(variable, "it is not text in UTF-8") from None  # the cause holds the value
        if "\x00" in value:
            raise _unreadable(variable, "it holds a NUL character")
        if len(f"{variable.name}={value}".encode()) >= _LONGEST_VARIABLE:
            raise _unreadable(variable, f"with its name it has more than the {_LONGEST_VARIABLE} bytes of a variable")
        return value


def _does_not_exist(variable: SecretVariable, of_variable: str) -> InvalidParameterValue:
    return InvalidParameterValue(
        f"{of_variable[0].upper()}{of_variable[1:]} refers to key '{variable.key}' of secret scope "
        f"'{variable.scope}', which does not exist"
    )


def _unreadable(variable: SecretVariable, why: str) -> SecretUnreadable:
    return SecretUnreadable(
        f"The secret {{{{secrets/{variable.scope}/{variable.key}}}}} of environment variable {variable.name} cannot "
        f"be read: {why}."
    )
