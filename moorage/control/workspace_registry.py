"""Registered models as the workspace's registry shows them: MLflow's, with what is known of them beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from moorage.api.artifact_uris import databricks_uri
from moorage.api.permissions import ModelLevel
from moorage.api.routing import Principal
from moorage.api.workspace_registry import (
    LatestVersion,
    OfModelList,
    OfRegisteredModel,
    RegisteredModel,
    RegisteredModelAnswer,
    RegisteredModelDatabricks,
    RegisteredModelList,
)
from moorage.control.dependencies import ControlDependencies
from moorage.control.store import identity, registered_models
from moorage.control.store.engine import reading
from moorage.identity.model_access import ModelRights, model_level, require_model_level
from moorage.registry.tags import USER, is_pending, tags_of, visible
from moorage.registry.unity_catalog import require_token

_PENDING = "PENDING_REGISTRATION"


@dataclass(frozen=True, slots=True)
class WorkspaceRegistry:
    """Its methods raise what MLflow refuses as it does, and `TemporarilyUnavailable` when that does not answer."""

    deps: ControlDependencies

    def model(self, caller: Principal, request: OfRegisteredModel) -> RegisteredModelAnswer:
        """One model.

        Raises:
            PermissionDenied: the caller may not read it.
            MlflowRefusal: there is none of that name.
        """
        with reading(self.deps.sessions) as session:
            rights = registered_models.rights(session, request.name)
            owner = _owner(session, rights)
        level = require_model_level(caller, request.name, rights, ModelLevel.CAN_READ)
        found = self.deps.mlflow.call("GET", "registered-models/get", query={"name": request.name})
        shown = _shown(found["registered_model"], owner)
        return RegisteredModelAnswer(
            registered_model_databricks=RegisteredModelDatabricks(
                **shown.model_dump(), id=request.name, permission_level=level
            )
        )

    def models(self, caller: Principal, request: OfModelList) -> RegisteredModelList:
        """A page of the models that the caller may read, by name.

        Raises:
            InvalidParameterValue: no answer has had such a page token.
        """
        require_token(request.page_token or "")
        page = self.deps.mlflow.call("GET", "registered-models/search", query=request.model_dump())
        found = page.get("registered_models", [])
        with reading(self.deps.sessions) as session:
            rights = registered_models.all_rights(session, [one["name"] for one in found])
            shown = tuple(
                _shown(one, _owner(session, rights[one["name"]]))
                for one in found
                if model_level(caller, rights[one["name"]]) is not None
            )
        return RegisteredModelList(registered_models=shown, next_page_token=page.get("next_page_token") or None)


def _owner(session: Session, rights: ModelRights) -> str | None:
    owner = identity.user(session, rights.owner_id) if rights.owner_id is not None else None
    return owner.user_name if owner is not None else None


def _shown(found: Mapping[str, Any], owner: str | None) -> RegisteredModel:
    versions = tuple(_version(one) for one in found.get("latest_versions", ()))
    tags = tags_of(found)
    maker = found.get("user_id") or tags.get(USER) or owner
    document = {**found, "user_id": maker, "latest_versions": versions, "tags": _visible(tags)}
    return RegisteredModel.model_validate(document)


def _version(found: Mapping[str, Any]) -> LatestVersion:
    tags = tags_of(found)
    document = {
        **found,
        "user_id": found.get("user_id") or tags.get(USER),
        "source": databricks_uri(found.get("source", "")),
        "status": _PENDING if is_pending(tags) else found.get("status"),
        "tags": _visible(tags),
    }
    return LatestVersion.model_validate(document)


def _visible(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in visible(tags).items()]
