"""Groups: `admins` and `users`, which every workspace has, and those that admins make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy.orm import Session

from moorage.api.routing import Principal, PrincipalKind
from moorage.api.scim import (
    BadScimRequest,
    ComplexValue,
    Document,
    GivenValue,
    GroupFields,
    NotUnique,
    ScimGroup,
    ScimType,
)
from moorage.control.scim.memberships import group_view
from moorage.control.scim.resources import (
    Resources,
    changeable_values,
    complex_values,
    given_values,
    require_admin,
)
from moorage.control.scim.schemas import GROUP
from moorage.control.store import groups, identity
from moorage.control.store.models import Group
from moorage.identity.ids import new_group_id

_OF_EVERY_WORKSPACE = (groups.ADMINS, groups.USERS)
_COLLECTIONS = {PrincipalKind.USER: "Users", PrincipalKind.SERVICE_PRINCIPAL: "ServicePrincipals"}


class GroupService(Resources[Group, GroupFields]):
    schema = GROUP
    fields = GroupFields

    def create(self, caller: Principal, request: GroupFields) -> Document:
        """Make a group.

        Raises:
            Forbidden: the caller is no admin.
            NotUnique: the name is taken.
            BadScimRequest: one of the members does not exist.
        """
        require_admin(caller)
        with self._changing() as session:
            group = Group(id=new_group_id(), display_name="", created_at=self._deps.clock())
            self._rename(session, group, request.displayName)
            groups.insert(session, group)
            self._write(session, group, request)
            return self._document(session, group)

    def _rows(self, session: Session) -> Sequence[Group]:
        return groups.all_groups(session)

    def _row(self, session: Session, resource_id: str) -> Group | None:
        return groups.group(session, resource_id)

    def _documents(self, session: Session, rows: Sequence[Group]) -> Iterator[ScimGroup]:
        view = group_view(session)
        principals = identity.names_by_id(session)
        members = groups.member_ids_by_group(session)

        def member(member_id: str) -> ComplexValue:
            if member_id in view.names:
                return ComplexValue(value=member_id, display=view.names[member_id], ref=f"Groups/{member_id}")
            kind, display = principals[member_id]
            return ComplexValue(value=member_id, display=display, ref=f"{_COLLECTIONS[kind]}/{member_id}")

        for group in rows:
            everybody = group.id == view.memberships.users_id
            yield ScimGroup(
                id=group.id,
                displayName=group.display_name,
                members=tuple(map(member, principals if everybody else members.get(group.id, ()))),
                groups=view.of_group(group.id),
                entitlements=complex_values(group.entitlements),
                roles=complex_values(group.roles),
                externalId=group.external_id,
            )

    def _changeable(self, session: Session, row: Group) -> Document:
        held = identity.names_by_id(session) if row.display_name == groups.USERS else None
        members = held if held is not None else groups.member_ids(session, row.id)
        document = {
            "displayName": row.display_name,
            "members": changeable_values(members),
            "entitlements": changeable_values(row.entitlements),
            "roles": changeable_values(row.roles),
            "externalId": row.external_id,
        }
        return {attribute: value for attribute, value in document.items() if value is not None}

    def _write(self, session: Session, row: Group, fields: GroupFields) -> None:
        if fields.displayName != row.display_name:
            self._rename(session, row, fields.displayName)
        row.entitlements = given_values(fields.entitlements)
        row.roles = given_values(fields.roles)
        row.external_id = fields.externalId
        if row.display_name == groups.USERS:
            _require_everybody(session, fields.members)
        else:
            _set_members(session, row, given_values(fields.members or ()))

    def _remove(self, session: Session, row: Group) -> None:
        if row.display_name in _OF_EVERY_WORKSPACE:
            raise BadScimRequest(ScimType.MUTABILITY, f"The group '{row.display_name}' cannot be deleted.")
        groups.remove(session, row)

    def _rename(self, session: Session, row: Group, name: str) -> None:
        if row.display_name in _OF_EVERY_WORKSPACE:
            raise BadScimRequest(ScimType.MUTABILITY, f"The group '{row.display_name}' cannot be renamed.")
        other = groups.find(session, name)
        if other is not None and other.id != row.id:
            raise NotUnique(f"Group with name '{name}' already exists.")
        row.display_name = name


def _set_members(session: Session, group: Group, wanted: Sequence[str]) -> None:
    held = set(groups.member_ids(session, group.id))
    joining = [one for one in wanted if one not in held]
    if joining:
        known = {*identity.names_by_id(session), *groups.names_by_id(session)}
        for one in joining:
            if one not in known:
                raise BadScimRequest(
                    ScimType.INVALID_VALUE,
                    f"Invalid value for 'members': there is no user, service principal or group with id '{one}'",
                )
        groups.add_members(session, group.id, joining)
    groups.remove_members(session, group.id, held.difference(wanted))
    if group.id in groups.memberships(session).groups_above(group.id):
        raise BadScimRequest(
            ScimType.INVALID_VALUE,
            f"Invalid value for 'members': the group '{group.display_name}' would be in itself",
        )


def _require_everybody(session: Session, members: Sequence[GivenValue] | None) -> None:
    if members is not None and set(given_values(members)) != set(identity.names_by_id(session)):
        raise BadScimRequest(
            ScimType.MUTABILITY,
            f"The members of the group '{groups.USERS}' cannot be changed: "
            "every user and service principal is in it, and nothing else.",
        )
