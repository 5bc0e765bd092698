"""Users, and the caller's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy.orm import Session

from moorage.api.errors import InvalidToken
from moorage.api.routing import Principal, PrincipalKind
from moorage.api.scim import (
    ComplexValue,
    Document,
    Forbidden,
    NewUser,
    NotUnique,
    PersonName,
    ScimUser,
    Selection,
    UserFields,
)
from moorage.control.scim import listing
from moorage.control.scim.memberships import GroupView, group_view, join_groups
from moorage.control.scim.resources import (
    Resources,
    as_document,
    changeable_values,
    complex_values,
    given_values,
    require_admin,
)
from moorage.control.scim.schemas import USER
from moorage.control.store import identity
from moorage.control.store.engine import reading
from moorage.control.store.models import User
from moorage.identity.ids import new_user_id

_ONES_OWN = frozenset({"displayName", "name"})


class UserService(Resources[User, UserFields]):
    schema = USER
    fields = UserFields

    def me(self, caller: Principal, selection: Selection) -> Document:
        """The caller as a user, also when it is a service principal.

        Raises:
            InvalidToken: there is no such user any more.
        """
        with reading(self._deps.sessions) as session:
            user = identity.user(session, caller.id)
            if user is None:
                raise InvalidToken
            return listing.select(as_document(_document(user, group_view(session))), selection)

    def create(self, caller: Principal, request: NewUser) -> Document:
        """Make a user, who is active unless the request says otherwise and has no token yet.

        Raises:
            Forbidden: the caller is no admin.
            NotUnique: the name is taken, by a service principal perhaps.
            BadScimRequest: one of the groups does not exist.
        """
        require_admin(caller)
        with self._deps.sessions.begin() as session:
            if identity.find_user(session, request.userName) is not None:
                raise NotUnique(f"User with username '{request.userName}' already exists.")
            user = User(
                id=new_user_id(), user_name=request.userName, active=True, created_at=self._deps.clock()
            )
            self._write(session, user, request)
            identity.insert_user(session, user)
            join_groups(session, user.id, given_values(request.groups))
            # No gateway need know: what has no token yet opens nothing.
            return self._document(session, user)

    def _rows(self, session: Session) -> Sequence[User]:
        return identity.users(session, PrincipalKind.USER)

    def _row(self, session: Session, resource_id: str) -> User | None:
        user = identity.user(session, resource_id)
        return user if user is not None and user.kind == PrincipalKind.USER else None

    def _documents(self, session: Session, rows: Sequence[User]) -> Iterator[ScimUser]:
        view = group_view(session)
        return (_document(user, view) for user in rows)

    def _changeable(self, session: Session, row: User) -> Document:
        name = {"givenName": row.given_name, "familyName": row.family_name}
        document = {
            "displayName": row.display_name or None,
            "name": {part: text for part, text in name.items() if text is not None} or None,
            "active": row.active,
            "entitlements": changeable_values(row.entitlements),
            "roles": changeable_values(row.roles),
            "externalId": row.external_id,
        }
        return {attribute: value for attribute, value in document.items() if value is not None}

    def _write(self, session: Session, row: User, fields: UserFields) -> None:
        name = fields.name
        row.given_name = name.givenName if name is not None else None
        row.family_name = name.familyName if name is not None else None
        whole_name = " ".join(part for part in (row.given_name, row.family_name) if part)[:255]
        row.display_name = fields.displayName or whole_name or row.user_name
        row.active = row.active if fields.active is None else fields.active
        row.entitlements = given_values(fields.entitlements)
        row.roles = given_values(fields.roles)
        row.external_id = fields.externalId

    def _remove(self, session: Session, row: User) -> None:
        identity.delete_user(session, row)

    def _require_right(self, caller: Principal, resource_id: str) -> None:
        if caller.id != resource_id:
            require_admin(caller)

    def _require_right_to_change(self, caller: Principal, before: Document, after: Document) -> None:
        changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
        if not caller.admin and not changed <= _ONES_OWN:
            raise Forbidden(
                f"Users may change their own 'displayName' and 'name'; only admins may change "
                f"{', '.join(repr(name) for name in sorted(changed - _ONES_OWN))}."
            )


def _document(user: User, view: GroupView) -> ScimUser:
    shown = user.display_name or user.user_name
    named = user.given_name is not None or user.family_name is not None
    is_person = user.kind == PrincipalKind.USER
    return ScimUser(
        id=user.id,
        userName=user.user_name,
        displayName=shown,
        active=user.active,
        name=PersonName(givenName=user.given_name, familyName=user.family_name)
        if named
        else PersonName(givenName=shown),
        emails=(ComplexValue(value=user.user_name, type="work", primary=True),) if is_person else (),
        groups=view.of_principal(user.id),
        entitlements=complex_values(user.entitlements),
        roles=complex_values(user.roles),
        externalId=user.external_id,
    )
