"""What the API does with privileges on catalogs, schemas and models, as Unity Catalog has it."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from moorage.api.errors import InvalidParameterValue, PermissionDenied, ResourceDoesNotExist
from moorage.api.grants import (
    APPLICABLE,
    EffectivePermissions,
    EffectivePrivilege,
    EffectivePrivilegeAssignment,
    Permissions,
    Privilege,
    PrivilegeAssignment,
    SecurableType,
    UpdatePermissions,
)
from moorage.api.permissions import ModelLevel
from moorage.api.routing import Principal
from moorage.control.dependencies import ControlDependencies
from moorage.control.store import groups, identity, legacy, registered_models
from moorage.control.store import privileges as store
from moorage.control.store.engine import reading
from moorage.control.store.privileges import Held, Securable
from moorage.identity.model_access import model_level

_TYPES = {
    "catalog": SecurableType.CATALOG,
    "schema": SecurableType.SCHEMA,
    "function": SecurableType.FUNCTION,
    "model": SecurableType.FUNCTION,
    "registered_model": SecurableType.FUNCTION,
}
_FORMS = {SecurableType.CATALOG: ("CATALOG", 1), SecurableType.SCHEMA: ("CATALOG.SCHEMA", 2)}
_EVERYBODY = "account users"
_FEWEST = 150
_MOST = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for. `size` counts privileges; None: all of them."""

    size: int | None
    after: tuple[str, str] | None

    @staticmethod
    def of(field: str, size: int | None, token: str | None) -> Page:
        """`size` is that of the parameter `field`: a principal's privileges are never torn apart, so it has a least.

        Raises:
            InvalidParameterValue: it is less, or no answer has had such a token.
        """
        if size is not None and size != 0 and size < _FEWEST:
            raise InvalidParameterValue(f"Invalid value for '{field}': must be 0 or at least {_FEWEST}")
        return Page(None if size is None else min(size, _MOST) or _MOST, _after(token) if token else None)


@dataclass(frozen=True, slots=True)
class _Holder:
    """A principal with all that it has of what is asked for: privileges on the securable, then those above it."""

    name: str
    id: str
    privileges: Sequence[tuple[Securable, Privilege]]


@dataclass(frozen=True, slots=True)
class GrantService:
    """Every method raises, besides what it says:

    InvalidParameterValue: the type of the securable is not known, or its name is none of that type.
    ResourceDoesNotExist: there is no such model, or no such principal.
    PermissionDenied: the caller may not manage the securable. Everybody may read what they have themselves.
    TemporarilyUnavailable: the model registry does not answer.
    """

    deps: ControlDependencies

    def get(
        self, caller: Principal, securable_type: str, full_name: str, principal: str | None, page: Page
    ) -> Permissions:
        """What is granted on the securable itself, to one principal or to all."""
        securable = self._securable(securable_type, full_name)
        with reading(self.deps.sessions) as session:
            only = _readable(session, caller, securable, principal)
            holders, token = _page(_holders(session, [securable], only), page)
        return Permissions(privilege_assignments=tuple(map(_assignment, holders)), next_page_token=token)

    def effective(
        self, caller: Principal, securable_type: str, full_name: str, principal: str | None, page: Page
    ) -> EffectivePermissions:
        """As `get`, with what is granted on the schema and the catalog that the securable lies in."""
        securable = self._securable(securable_type, full_name)
        with reading(self.deps.sessions) as session:
            only = _readable(session, caller, securable, principal)
            holders, token = _page(_holders(session, [securable, *securable.above], only), page)
        found = tuple(
            EffectivePrivilegeAssignment(
                principal=one.name,
                privileges=tuple(_effective(securable, source, privilege) for source, privilege in one.privileges),
            )
            for one in holders
        )
        return EffectivePermissions(privilege_assignments=found, next_page_token=token)

    def update(
        self, caller: Principal, securable_type: str, full_name: str, request: UpdatePermissions
    ) -> Permissions:
        """Make all of these changes, or none.

        Raises:
            InvalidParameterValue: a privilege is none that may be granted on the securable.
        """
        securable = self._securable(securable_type, full_name)
        with self.deps.sessions.begin() as session:
            _require_manager(session, caller, securable)
            before = store.levels(store.held(session, [securable]))
            for number, change in enumerate(request.changes):
                where = f"changes[{number}]"
                add = _privileges(securable.type, f"{where}.add", change.add)
                remove = _privileges(securable.type, f"{where}.remove", change.remove)
                if both := set(add).intersection(remove):
                    raise InvalidParameterValue(
                        f"Invalid value for '{where}': '{min(both)}' cannot be added and removed at once"
                    )
                principal_id = _principal_id(session, change.principal)
                store.grant(session, securable, principal_id, add)
                store.revoke(session, securable, principal_id, remove)
            changed = store.levels(store.held(session, [securable])) != before
            concerned = _served_by_stage(session, securable) if changed else []
            holders = list(_holders(session, [securable], None))
        self._tell(concerned)
        if request.omit_permissions_in_response:
            return Permissions()
        return Permissions(privilege_assignments=tuple(map(_assignment, holders)))

    def _securable(self, securable_type: str, full_name: str) -> Securable:
        """For use outside of any transaction: it may ask the registry."""
        kind = _TYPES.get(securable_type.lower())
        if kind is None:
            raise InvalidParameterValue(
                f"The securable type '{securable_type}' is not recognised: it must be one of "
                f"{', '.join(repr(one) for one in _TYPES)}"
            )
        if kind is SecurableType.FUNCTION:
            if not self.deps.registry.has_model(full_name):
                raise ResourceDoesNotExist(f"Registered model '{full_name}' not found.")
            return Securable.model(full_name)
        form, count = _FORMS[kind]
        parts = full_name.split(".")
        if len(parts) != count or not all(parts):
            raise InvalidParameterValue(f"Invalid value for 'full_name': a {kind.lower()} is named {form}")
        return Securable(kind, full_name)

    def _tell(self, endpoints: Sequence[str]) -> None:
        """Registry and API go by the change with the next request; this is for the gateways, which do not ask."""
        for endpoint_id in endpoints[:-1]:
            self.deps.notifier.endpoint_changed(endpoint_id)
        for endpoint_id in endpoints[-1:]:
            self.deps.notifier.wait_until_routed(endpoint_id)


def _readable(session: Session, caller: Principal, securable: Securable, principal: str | None) -> str | None:
    """The id of the one principal that is asked for, if any. Who may not ask does not learn whether there is one."""
    if principal is not None and principal.casefold() == caller.user_name.casefold():
        return caller.id
    _require_manager(session, caller, securable)
    return None if principal is None else _principal_id(session, principal)


def _require_manager(session: Session, caller: Principal, securable: Securable) -> None:
    if caller.admin:
        return
    if securable.type is SecurableType.FUNCTION:
        level = model_level(caller, registered_models.rights(session, securable.full_name))
        if level is ModelLevel.CAN_MANAGE:
            return
    elif Privilege.MANAGE in store.held_by(caller, store.held(session, [securable, *securable.above])):
        return
    raise PermissionDenied(
        f"User '{caller.user_name}' does not have {Privilege.MANAGE} on {securable.type.lower()} "
        f"'{securable.full_name}'."
    )


def _principal_id(session: Session, name: str) -> str:
    """Everybody is a group under the name that Unity Catalog has for it, too."""
    user = identity.find_user(session, name)
    group = None if user is not None else groups.find(session, name)
    if group is None and name.casefold() == _EVERYBODY:
        group = groups.find(session, groups.USERS)
    found = user or group
    if found is None:
        raise ResourceDoesNotExist(f"Principal: {name} does not exist.")
    return found.id


def _privileges(kind: SecurableType, where: str, given: Sequence[str]) -> list[Privilege]:
    for number, one in enumerate(given):
        if one not in APPLICABLE[kind]:
            raise InvalidParameterValue(
                f"Invalid value for '{where}[{number}]': on a {kind.lower()} it must be one of "
                f"{', '.join(APPLICABLE[kind])}"
            )
    return [Privilege(one) for one in given]


def _served_by_stage(session: Session, securable: Securable) -> list[str]:
    """The ids of the endpoints that go by the rights on a model for which privileges on the securable hold."""
    return [
        endpoint.id
        for served, endpoint in legacy.all_models(session)
        if securable in ((model := Securable.model(served.registered_model_name)), *model.above)
    ]


def _holders(session: Session, securables: Sequence[Securable], only: str | None) -> Iterator[_Holder]:
    """By name; where `only` is the id of a principal, that one alone."""
    granted: Held = store.held(session, securables)
    names = store.principal_names(session, securables)
    for principal_id, name in sorted(names.items(), key=lambda one: (one[1], one[0])):
        has = [
            (securable, privilege)
            for securable in securables
            for privilege in _ordered(granted.get(securable, {}).get(principal_id, ()))
        ]
        if has and only in (None, principal_id):
            yield _Holder(name, principal_id, has)


def _ordered(privileges: Collection[Privilege]) -> list[Privilege]:
    return [one for one in Privilege if one in privileges]


def _page(holders: Iterator[_Holder], page: Page) -> tuple[list[_Holder], str | None]:
    """Those on the page, and the token of the next one."""
    waiting = [one for one in holders if page.after is None or (one.name, one.id) > page.after]
    if page.size is None:
        return waiting, None
    shown: list[_Holder] = []
    count = 0
    for one in waiting:
        count += len(one.privileges)
        if count > page.size:
            last = shown[-1]
            return shown, base64.urlsafe_b64encode(json.dumps([last.name, last.id]).encode()).decode()
        shown.append(one)
    return shown, None


def _after(token: str) -> tuple[str, str]:
    try:
        name, principal_id = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, TypeError, RecursionError):
        name, principal_id = None, None
    if isinstance(name, str) and isinstance(principal_id, str):
        return name, principal_id
    raise InvalidParameterValue("Invalid value for 'page_token': must be the next_page_token of an answer")


def _assignment(holder: _Holder) -> PrivilegeAssignment:
    return PrivilegeAssignment(principal=holder.name, privileges=tuple(one for _, one in holder.privileges))


def _effective(securable: Securable, source: Securable, privilege: Privilege) -> EffectivePrivilege:
    if source == securable:
        return EffectivePrivilege(privilege=privilege)
    return EffectivePrivilege(
        privilege=privilege, inherited_from_type=source.type, inherited_from_name=source.full_name
    )
