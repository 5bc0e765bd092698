"""Secrets in the place of values: `{{secrets/SCOPE/KEY}}` in environment variables and credentials of providers.

A configuration keeps the reference. The value is looked up by the right of the endpoint's creator: for a variable
each time that a replica starts, for a credential whenever a route is published, also when secrets have changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.orm import Session

from moorage.api.errors import InvalidParameterValue, PermissionDenied
from moorage.api.external_models import SECRET_REFERENCE
from moorage.api.routing import Principal
from moorage.api.secrets import AclPermission
from moorage.api.served_entities import CustomModelSpec, EntitySpec, ExternalModelSpec
from moorage.control.secret_access import Accessor, may
from moorage.control.secret_values import decrypt_secret
from moorage.control.store import permissions
from moorage.control.store import secrets as store
from moorage.control.store.engine import Sessions, reading
from moorage.control.store.permissions import ObjectType
from moorage.encryption import CannotDecrypt, Encryption

_LONGEST_VARIABLE = 32 * 4096  # bytes of NAME=VALUE with its closing NUL: the kernel's MAX_ARG_STRLEN


class SecretUnreadable(Exception):
    """A secret that something refers to cannot be had; the message names both, and says why."""


class Place(StrEnum):
    """What may refer to a secret."""

    VARIABLE = "environment variable"
    CREDENTIAL = "credential"


@dataclass(frozen=True, slots=True)
class SecretReference:
    """The environment variable or the credential `name` refers to a secret."""

    place: Place
    name: str
    scope: str
    key: str


def secret_references(place: Place, values: Mapping[str, str]) -> Iterator[SecretReference]:
    """Those of the values, by name, that are references as a whole."""
    for name, value in values.items():
        if reference := SECRET_REFERENCE.fullmatch(value):
            yield SecretReference(place, name, reference["scope"], reference["key"])


def references_of(spec: EntitySpec) -> Iterator[SecretReference]:
    """The secrets that a served entity refers to."""
    if isinstance(spec, CustomModelSpec):
        return secret_references(Place.VARIABLE, spec.environment_vars)
    if isinstance(spec, ExternalModelSpec):
        return secret_references(Place.CREDENTIAL, spec.references)
    return iter(())


def require_secrets(
    session: Session, specs: Iterable[EntitySpec], caller: Principal, *, creator_id: str | None = None
) -> None:
    """Whether these may refer to the secrets that they refer to.

    Their endpoint's creator must be able to read each, because it is read by that right, and so must the caller: who
    may manage an endpoint could otherwise take any secret of its creator. `creator_id` is None for an endpoint that
    the caller creates.

    Raises:
        InvalidParameterValue: there is no such secret.
        PermissionDenied: the caller or the creator lacks READ on its scope.
    """
    used = [(spec, reference) for spec in specs for reference in references_of(spec)]
    if not used:
        return
    accessors: list[Accessor | None] = [Accessor.of(caller)]
    if creator_id is not None and creator_id != caller.id:
        accessors.append(Accessor.of_user(session, creator_id))
    for spec, reference in used:
        referrer = f"{reference.place} '{reference.name}' of '{spec.name}'"
        if store.scope(session, reference.scope) is None:
            raise _does_not_exist(reference, referrer)
        grants = permissions.grants(session, ObjectType.SECRET_SCOPE, reference.scope)
        for accessor in accessors:
            if accessor is None or not may(accessor, grants, AclPermission.READ):
                who = f"User '{accessor.user_name}'" if accessor else "The creator of the endpoint"
                raise PermissionDenied(
                    f"{who} does not have READ permission on secret scope '{reference.scope}', to whose key "
                    f"'{reference.key}' {referrer} refers."
                )
        if not store.has_secret(session, reference.scope, reference.key):
            raise _does_not_exist(reference, referrer)


class SecretReader:
    """Gives replicas and routes the values. Synchronous: call it in a thread."""

    def __init__(self, sessions: Sessions, encryption: Encryption) -> None:
        self._sessions = sessions
        self._encryption = encryption

    def require(self, specs: Iterable[EntitySpec], caller: Principal) -> None:
        """`require_secrets` for what the caller starts."""
        with reading(self._sessions) as session:
            require_secrets(session, specs, caller)

    def variables(self, variables: Mapping[str, str], user_id: str) -> dict[str, str]:
        """Environment variables with the secrets' values as they are now, read by the right of that user.

        Raises:
            SecretUnreadable: see there; or it is nothing that an environment variable can hold.
        """
        return self._resolved(Place.VARIABLE, variables, user_id)

    def credentials(self, references: Mapping[str, str], user_id: str) -> dict[str, str]:
        """What these credentials are now, read by the right of that user.

        Raises:
            SecretUnreadable: see there; or it is empty.
        """
        return self._resolved(Place.CREDENTIAL, references, user_id)

    def _resolved(self, place: Place, values: Mapping[str, str], user_id: str) -> dict[str, str]:
        resolved = dict(values)
        wanted = list(secret_references(place, values))
        if not wanted:
            return resolved
        with reading(self._sessions) as session:
            accessor = Accessor.of_user(session, user_id)
            for reference in wanted:
                value = self._value(session, reference, accessor)
                _require_usable(reference, value)
                resolved[reference.name] = value
        return resolved

    def _value(self, session: Session, reference: SecretReference, accessor: Accessor | None) -> str:
        if accessor is None:
            raise _unreadable(reference, "the user by whose right it would be read is not active any more")
        grants = permissions.grants(session, ObjectType.SECRET_SCOPE, reference.scope)
        row = None
        if store.scope(session, reference.scope) is not None:
            if not may(accessor, grants, AclPermission.READ):
                lacking = f"does not have READ permission on secret scope '{reference.scope}'"
                raise _unreadable(reference, f"user '{accessor.user_name}', by whose right it is read, {lacking}")
            row = store.secret(session, reference.scope, reference.key)
        if row is None:
            raise _unreadable(reference, "it does not exist")
        try:
            return decrypt_secret(self._encryption, row).decode()
        except CannotDecrypt as error:
            raise _unreadable(reference, str(error)) from error
        except UnicodeDecodeError:
            raise _unreadable(reference, "it is not text in UTF-8") from None  # the cause holds the value


def _require_usable(reference: SecretReference, value: str) -> None:
    if "\x00" in value:
        raise _unreadable(reference, "it holds a NUL character")
    if reference.place is Place.CREDENTIAL and not value.strip():
        raise _unreadable(reference, "it is empty")
    if reference.place is Place.VARIABLE and len(f"{reference.name}={value}".encode()) >= _LONGEST_VARIABLE:
        raise _unreadable(reference, f"with its name it has more than the {_LONGEST_VARIABLE} bytes of a variable")


def _does_not_exist(reference: SecretReference, referrer: str) -> InvalidParameterValue:
    return InvalidParameterValue(
        f"{referrer[0].upper()}{referrer[1:]} refers to key '{reference.key}' of secret scope "
        f"'{reference.scope}', which does not exist"
    )


def _unreadable(reference: SecretReference, why: str) -> SecretUnreadable:
    return SecretUnreadable(
        f"The secret {{{{secrets/{reference.scope}/{reference.key}}}}} of {reference.place} {reference.name} cannot "
        f"be read: {why}."
    )
