"""What the API does with registered models in Unity Catalog: who may, and what is noted of it.

The levels are those of the registry's other routes. A model that is not there is not found, whoever asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import select

from moorage.api.errors import InvalidParameterValue, PermissionDenied
from moorage.api.permissions import ModelLevel
from moorage.api.routing import Principal
from moorage.api.unity_catalog import Page, check_full_name
from moorage.control.dependencies import ControlDependencies
from moorage.control.registry_access import RegistryAccess
from moorage.control.store import identity
from moorage.control.store import registered_models as store
from moorage.control.store.engine import reading
from moorage.control.store.models import User
from moorage.registry.registrations import Registrations
from moorage.registry.unity_catalog import CatalogModel, CatalogModels, CatalogVersion, NewVersion

_AT_ONCE = 100
_FILTER = re.compile(r"""\s*(name|run_id)\s*=\s*(?:'([^']*)'|"([^"]*)")\s*""")


@dataclass(frozen=True, slots=True)
class OwnedModel:
    """`owner` is the name of the user or the application id of the service principal, where it is known."""

    model: CatalogModel
    owner: str | None


@dataclass(frozen=True, slots=True)
class UnityCatalogService:
    """Every method asks MLflow.

    Raises:
        PermissionDenied: the caller lacks the level on the model.
        ResourceDoesNotExist, MlflowRefusal: there is no such model, version or alias.
        TemporarilyUnavailable: MLflow does not answer.
    """

    deps: ControlDependencies
    access: RegistryAccess
    registrations: Registrations

    def create_model(
        self, caller: Principal, name: str, description: str, tags: Mapping[str, str]
    ) -> OwnedModel:
        """
        Raises:
            ResourceAlreadyExists: a model of that name is there.
        """
        self.access.require_creation(caller, name)
        model = self._models.create_model(name, description, tags, caller.user_name)
        try:
            self.access.created(caller, name)
        except Exception:
            # A model without an owner would be everybody's to read, and its maker could not even delete it.
            self._models.delete_model(name)
            raise
        return OwnedModel(model, caller.user_name)

    def model(self, caller: Principal, name: str) -> OwnedModel:
        self._require(caller, name, ModelLevel.CAN_READ)
        return self._owned(self._models.model(name))

    def models(self, caller: Principal, start: str, page: Page) -> tuple[list[OwnedModel], str | None]:
        """A page of the models that the caller may read and whose names begin with `start`, and the next one's token.

        Raises:
            InvalidParameterValue: no answer has had such a token.
        """
        found, token = self._models.models(start, page.max_results or _AT_ONCE, page.page_token)
        readable = self.access.readable(caller, {one.name for one in found})
        owners = self._owners(readable)
        return [OwnedModel(one, owners.get(one.name)) for one in found if one.name in readable], token

    def update_model(
        self,
        caller: Principal,
        name: str,
        *,
        new_name: str | None = None,
        description: str | None = None,
        owner: str | None = None,
    ) -> OwnedModel:
        """Change what is not None.

        Raises:
            ResourceAlreadyExists: a model of the new name is there.
            InvalidParameterValue: no user and no service principal is called as the new owner is.
        """
        renamed = new_name is not None and new_name != name
        manages = renamed or owner is not None
        self._require(caller, name, ModelLevel.CAN_MANAGE if manages else ModelLevel.CAN_EDIT)
        owner_id = None if owner is None else self._principal_id(owner)
        self._models.model(name)
        if new_name is not None and renamed:
            self.access.require_creation(caller, new_name)
            self._rename(name, new_name)
            name = new_name
        if description is not None:
            self._models.describe_model(name, description)
        if owner_id is not None:
            self.access.owned(name, owner_id)
        return self._owned(self._models.model(name))

    def delete_model(self, caller: Principal, name: str) -> None:
        """Remove the model with its versions and their files."""
        self._require(caller, name, ModelLevel.CAN_MANAGE)
        self._models.model(name)
        owner_id = self.access.owner(name)
        deleted = self._models.delete_model(name)
        try:
            self.access.deleted(name, owner_id)
        finally:
            self._models.discard(deleted)

    def set_model_tag(self, caller: Principal, name: str, key: str, value: str) -> None:
        self._require(caller, name, ModelLevel.CAN_EDIT)
        self._models.model(name)
        self._models.set_model_tag(name, key, value)

    def delete_model_tag(self, caller: Principal, name: str, key: str) -> None:
        self._require(caller, name, ModelLevel.CAN_EDIT)
        self._models.model(name)
        self._models.delete_model_tag(name, key)

    def create_version(self, caller: Principal, new: NewVersion) -> CatalogVersion:
        """Make a version that waits for its files.

        The client brings them itself, wherever they are from, so the caller needs no right on `source`.
        """
        self._require(caller, new.name, ModelLevel.CAN_EDIT)
        self._models.model(new.name)
        return self._models.create_version(new)

    def finalize_version(self, caller: Principal, name: str, version: str) -> CatalogVersion:
        """The version has its files: it is ready. A second time changes nothing.

        Raises:
            TemporarilyUnavailable: too, while a file of it is still being put in its place.
        """
        self._require(caller, name, ModelLevel.CAN_EDIT)
        found = self._models.version(name, version)
        if found.backing is None:
            return self._models.finalize(name, version)
        with self.registrations.registering(found.backing):
            return self._models.finalize(name, version)

    def version(self, caller: Principal, name: str, version: str) -> CatalogVersion:
        self._require(caller, name, ModelLevel.CAN_READ)
        return self._models.version(name, version)

    def version_of_alias(self, caller: Principal, name: str, alias: str) -> CatalogVersion:
        self._require(caller, name, ModelLevel.CAN_READ)
        return self._models.version_of_alias(name, alias)

    def versions_of(self, caller: Principal, name: str, page: Page) -> tuple[list[CatalogVersion], str | None]:
        """A page of the versions of a model, newest first, and the token of the next page.

        Raises:
            InvalidParameterValue: no answer has had such a token.
        """
        self._require(caller, name, ModelLevel.CAN_READ)
        self._models.model(name)
        return self._models.versions("name", name, page.max_results or _AT_ONCE, page.page_token)

    def search_versions(
        self, caller: Principal, wanted: str, page: Page
    ) -> tuple[list[CatalogVersion], str | None]:
        """A page of the versions that the filter `wanted` lets through and the caller may read, and the next's token.

        Raises:
            InvalidParameterValue: it is no such filter, or no answer has had such a token.
        """
        member, value = _filter(wanted)
        count = page.max_results or _AT_ONCE
        found, token = self._models.versions(member, value, count, page.page_token)
        readable = self.access.readable(caller, {one.name for one in found})
        return [one for one in found if one.name in readable], token

    def describe_version(
        self, caller: Principal, name: str, version: str, description: str | None
    ) -> CatalogVersion:
        """Change the description when it is not None."""
        self._require(caller, name, ModelLevel.CAN_EDIT)
        found = self._models.version(name, version)
        if description is None:
            return found
        self._models.describe_version(name, version, description)
        return self._models.version(name, version)

    def delete_version(self, caller: Principal, name: str, version: str) -> None:
        """Remove the version, its aliases and its files."""
        self._require(caller, name, ModelLevel.CAN_MANAGE)
        self._models.discard([self._models.delete_version(name, version)])

    def set_version_tag(self, caller: Principal, name: str, version: str, key: str, value: str) -> None:
        self._require(caller, name, ModelLevel.CAN_EDIT)
        self._models.version(name, version)
        self._models.set_version_tag(name, version, key, value)

    def delete_version_tag(self, caller: Principal, name: str, version: str, key: str) -> None:
        self._require(caller, name, ModelLevel.CAN_EDIT)
        self._models.version(name, version)
        self._models.delete_version_tag(name, version, key)

    def set_alias(self, caller: Principal, name: str, alias: str, version: str) -> None:
        self._require(caller, name, ModelLevel.CAN_MANAGE_PRODUCTION_VERSIONS)
        self._models.version(name, version)
        self._models.set_alias(name, alias, version)

    def delete_alias(self, caller: Principal, name: str, alias: str) -> None:
        self._require(caller, name, ModelLevel.CAN_MANAGE_PRODUCTION_VERSIONS)
        self._models.delete_alias(name, alias)

    @property
    def _models(self) -> CatalogModels:
        return CatalogModels(self.deps.mlflow, self.deps.artifacts)

    def _require(self, caller: Principal, name: str, needed: ModelLevel) -> None:
        try:
            self.access.require(caller, name, needed)
        except PermissionDenied:
            self._models.model(name)
            raise

    def _rename(self, name: str, new_name: str) -> None:
        owner_id = self.access.owner(name)
        self._models.rename_model(name, new_name)
        try:
            self.access.renamed(name, new_name, owner_id)
        except Exception:
            self._models.rename_model(new_name, name)
            raise

    def _owned(self, model: CatalogModel) -> OwnedModel:
        return OwnedModel(model, self._owners([model.name]).get(model.name))

    def _owners(self, names: Collection[str]) -> dict[str, str]:
        """The owners of these models by name of the model, but of those that have none."""
        with reading(self.deps.sessions) as session:
            ids = {name: rights.owner_id for name, rights in store.all_rights(session, names).items()}
            wanted = select(User.id, User.user_name).where(User.id.in_(set(filter(None, ids.values()))))
            called = dict(session.execute(wanted).all())
        return {name: called[one] for name, one in ids.items() if one in called}

    def _principal_id(self, name: str) -> str:
        with reading(self.deps.sessions) as session:
            found = identity.find_user(session, name)
        if found is None:
            raise InvalidParameterValue(
                f"Invalid value for 'owner': '{name}' is neither the name of a user nor the application id of a "
                "service principal"
            )
        return found.id


def _filter(wanted: str) -> tuple[str | None, str]:
    """The member and its value of `name = '...'` or `run_id = '...'`; no member for an empty filter.

    Raises:
        InvalidParameterValue: it is another one.
    """
    if not wanted.strip():
        return None, ""
    match = _FILTER.fullmatch(wanted)
    if match is None:
        raise InvalidParameterValue(
            "Invalid value for 'filter': must be name = 'catalog.schema.model' or run_id = '...' and nothing else"
        )
    member, value = match[1], match[2] if match[2] is not None else match[3]
    if member == "name":
        try:
            check_full_name(value)
        except ValueError as error:
            raise InvalidParameterValue(f"Invalid value for 'filter': the name {error}") from error
    return member, value
