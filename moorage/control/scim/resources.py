"""What users, service principals and groups have in common: how one is read, listed, changed and deleted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar, Generic, TypeVar

from pydantic import ValidationError
from sqlalchemy.orm import Session

from moorage.api.routing import Principal
from moorage.api.scim import (
    BadScimRequest,
    ComplexValue,
    Document,
    Forbidden,
    GivenValue,
    ListQuery,
    PatchRequest,
    ResourceNotFound,
    ScimList,
    ScimType,
    Selection,
)
from moorage.api.validation import error_from
from moorage.api.wire import WireInput, WireOutput
from moorage.control.dependencies import ControlDependencies
from moorage.control.scim import listing, patches
from moorage.control.scim.schemas import Schema
from moorage.control.store import identity
from moorage.control.store.engine import reading

Row = TypeVar("Row")
Fields = TypeVar("Fields", bound=WireInput)


class Resources(ABC, Generic[Row, Fields]):
    """One kind of resource. `fields` is what of it can be changed, as PUT takes it.

    Every change is made known to the gateways before it is answered: a principal that lost a right has lost it by
    then. No change may leave the workspace without an active administrator.
    """

    schema: ClassVar[Schema]
    fields: ClassVar[type[WireInput]]

    def __init__(self, deps: ControlDependencies) -> None:
        self._deps = deps

    def list(self, query: ListQuery) -> ScimList:
        """
        Raises:
            BadScimRequest: the filter or sort order cannot be understood.
        """
        with reading(self._deps.sessions) as session:
            found = [as_document(one) for one in self._documents(session, self._rows(session))]
        return listing.page(found, query, self.schema)

    def get(self, resource_id: str, selection: Selection) -> Document:
        """
        Raises:
            ResourceNotFound: there is none of this kind with that id.
        """
        with reading(self._deps.sessions) as session:
            return listing.select(self._document(session, self._found(session, resource_id)), selection)

    def patch(self, caller: Principal, resource_id: str, request: PatchRequest) -> Document:
        """Change single attributes, and answer the resource as it is then.

        Raises:
            Forbidden: the caller may not change this.
            ResourceNotFound: there is none of this kind with that id.
            BadScimRequest: an operation cannot be followed, or its outcome breaks a rule.
            NotUnique: another one has the name.
        """
        self._require_right(caller, resource_id)
        with self._changing() as session:
            row = self._found(session, resource_id)
            before = self._changeable(session, row)
            after = patches.apply(before, request.Operations, self.schema)
            self._require_right_to_change(caller, before, after)
            self._write(session, row, self._valid(after))
            return self._document(session, row)

    def replace(self, caller: Principal, resource_id: str, fields: Fields) -> Document:
        """Change all attributes to what `fields` says: those that it leaves out are emptied.

        Raises:
            Forbidden: the caller is no admin.
            ResourceNotFound: there is none of this kind with that id.
            BadScimRequest: a rule would be broken.
            NotUnique: another one has the name.
        """
        require_admin(caller)
        with self._changing() as session:
            row = self._found(session, resource_id)
            self._write(session, row, fields)
            return self._document(session, row)

    def delete(self, caller: Principal, resource_id: str) -> None:
        """Remove it, and what it was given.

        Raises:
            Forbidden: the caller is no admin.
            ResourceNotFound: there is none of this kind with that id.
            BadScimRequest: it must stay.
        """
        require_admin(caller)
        with self._changing() as session:
            self._remove(session, self._found(session, resource_id))

    @abstractmethod
    def _rows(self, session: Session) -> Sequence[Row]: ...

    @abstractmethod
    def _row(self, session: Session, resource_id: str) -> Row | None: ...

    @abstractmethod
    def _documents(self, session: Session, rows: Sequence[Row]) -> Iterable[WireOutput]:
        """What is answered of them; consumed while the transaction lasts."""

    @abstractmethod
    def _changeable(self, session: Session, row: Row) -> Document:
        """What of it can be changed, as the JSON of `fields`."""

    @abstractmethod
    def _write(self, session: Session, row: Row, fields: Fields) -> None:
        """Make the row what `fields` says."""

    @abstractmethod
    def _remove(self, session: Session, row: Row) -> None: ...

    def _require_right(self, caller: Principal, resource_id: str) -> None:
        require_admin(caller)

    def _require_right_to_change(self, caller: Principal, before: Document, after: Document) -> None:
        require_admin(caller)

    def _found(self, session: Session, resource_id: str) -> Row:
        row = self._row(session, resource_id)
        if row is None:
            raise ResourceNotFound(self.schema.resource, resource_id)
        return row

    def _document(self, session: Session, row: Row) -> Document:
        (document,) = self._documents(session, [row])
        return as_document(document)

    def _valid(self, document: Document) -> Fields:
        try:
            return self.fields.model_validate(document)  # type: ignore[return-value]
        except ValidationError as invalid:
            raise BadScimRequest(ScimType.INVALID_VALUE, error_from(invalid.errors()).message) from None

    @contextmanager
    def _changing(self) -> Iterator[Session]:
        with self._deps.sessions.begin() as session:
            yield session
            session.flush()
            if not identity.has_active_admin(session):
                raise BadScimRequest(
                    ScimType.MUTABILITY,
                    "This would leave the workspace without an active administrator: "
                    "put another active user into the group 'admins' first.",
                )
        self._deps.notifier.principals_changed()


def require_admin(caller: Principal) -> None:
    """
    Raises:
        Forbidden: the caller is none.
    """
    if not caller.admin:
        raise Forbidden(f"Only admins of the workspace may do this; '{caller.user_name}' is none.")


def as_document(resource: WireOutput) -> Document:
    return resource.model_dump(mode="json", by_alias=True, exclude_none=True)


def given_values(values: Iterable[GivenValue]) -> list[str]:
    """Each once, in the order given."""
    return list(dict.fromkeys(one.value for one in values))


def complex_values(values: Iterable[str]) -> tuple[ComplexValue, ...]:
    return tuple(ComplexValue(value=one) for one in values)


def changeable_values(values: Iterable[str]) -> list[Document]:
    return [{"value": one} for one in values]
