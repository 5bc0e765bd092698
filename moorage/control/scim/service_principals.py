"""Service principals: what programs call as."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

from sqlalchemy.orm import Session

from moorage.api.routing import Principal, PrincipalKind
from moorage.api.scim import (
    Document,
    NewServicePrincipal,
    NotUnique,
    ScimServicePrincipal,
    ServicePrincipalFields,
)
from moorage.control.scim.memberships import group_view, join_groups
from moorage.control.scim.resources import (
    Resources,
    changeable_values,
    complex_values,
    given_values,
    require_admin,
)
from moorage.control.scim.schemas import SERVICE_PRINCIPAL
from moorage.control.store import identity
from moorage.control.store.models import User
from moorage.identity.ids import new_user_id


class ServicePrincipalService(Resources[User, ServicePrincipalFields]):
    schema = SERVICE_PRINCIPAL
    fields = ServicePrincipalFields

    def create(self, caller: Principal, request: NewServicePrincipal) -> Document:
        """Make a service principal, which is active unless the request says otherwise and has no secret yet.

        Raises:
            Forbidden: the caller is no admin.
            NotUnique: the application id is taken.
            BadScimRequest: one of the groups does not exist.
        """
        require_admin(caller)
        application_id = request.applicationId or str(uuid.uuid4())
        with self._deps.sessions.begin() as session:
            if identity.find_user(session, application_id) is not None:
                raise NotUnique(f"Service principal with application id '{application_id}' already exists.")
            row = User(
                id=new_user_id(),
                user_name=application_id,
                kind=PrincipalKind.SERVICE_PRINCIPAL,
                active=True,
                created_at=self._deps.clock(),
            )
            self._write(session, row, request)
            identity.insert_user(session, row)
            join_groups(session, row.id, given_values(request.groups))
            # No gateway need know: what has no token yet opens nothing.
            return self._document(session, row)

    def _rows(self, session: Session) -> Sequence[User]:
        return identity.users(session, PrincipalKind.SERVICE_PRINCIPAL)

    def _row(self, session: Session, resource_id: str) -> User | None:
        row = identity.user(session, resource_id)
        return row if row is not None and row.kind == PrincipalKind.SERVICE_PRINCIPAL else None

    def _documents(self, session: Session, rows: Sequence[User]) -> Iterator[ScimServicePrincipal]:
        view = group_view(session)
        return (
            ScimServicePrincipal(
                id=row.id,
                applicationId=row.user_name,
                displayName=row.display_name or row.user_name,
                active=row.active,
                groups=view.of_principal(row.id),
                entitlements=complex_values(row.entitlements),
                roles=complex_values(row.roles),
                externalId=row.external_id,
            )
            for row in rows
        )

    def _changeable(self, session: Session, row: User) -> Document:
        document = {
            "displayName": row.display_name or None,
            "active": row.active,
            "entitlements": changeable_values(row.entitlements),
            "roles": changeable_values(row.roles),
            "externalId": row.external_id,
        }
        return {attribute: value for attribute, value in document.items() if value is not None}

    def _write(self, session: Session, row: User, fields: ServicePrincipalFields) -> None:
        row.display_name = fields.displayName or row.user_name
        row.active = row.active if fields.active is None else fields.active
        row.entitlements = given_values(fields.entitlements)
        row.roles = given_values(fields.roles)
        row.external_id = fields.externalId

    def _remove(self, session: Session, row: User) -> None:
        identity.delete_user(session, row)
