"""Registered models in Unity Catalog's own dialect. Source: Databricks REST reference, registered models.

Versions are made by MLflow's client, here by the routes that it takes when it is told to use no others
(`MLFLOW_ENABLE_UC_NATIVE_MODEL_REGISTRY`). Source: MLflow, `protos/unity_catalog_service`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends

from moorage.api.artifact_uris import MLFLOW_SCHEME, VERSIONS_FOLDER, databricks_uri
from moorage.api.errors import InvalidParameterValue, NotImplementedHere
from moorage.api.unity_catalog import (
    CreateModelVersion,
    CreateRegisteredModel,
    FullName,
    IncludeAliases,
    ListRegisteredModels,
    ModelVersionInfo,
    ModelVersionPage,
    Page,
    RegisteredModelAlias,
    RegisteredModelInfo,
    RegisteredModelPage,
    SetAlias,
    Tag,
    UpdateModelVersion,
    UpdateRegisteredModel,
    UpdateTags,
    VersionNumber,
    check_full_name,
)
from moorage.api.wire import Empty, ShortText
from moorage.control.dependencies import Caller
from moorage.control.routers.requests import parameters
from moorage.control.routers.unity_catalog import NO_CREDENTIALS, Service
from moorage.control.unity_catalog import OwnedModel
from moorage.registry.unity_catalog import CatalogVersion, NewVersion

_ROOT = "/api/2.1/unity-catalog"
_MODELS = f"{_ROOT}/models"
_MODEL = f"{_MODELS}/{{full_name}}"
_VERSION = f"{_MODEL}/versions/{{version}}"
_ALIAS = f"{_MODEL}/aliases/{{alias}}"
_STORAGE = databricks_uri(f"{MLFLOW_SCHEME}{VERSIONS_FOLDER}")
_TAGGED = "FUNCTION"  # what Unity Catalog calls a registered model where any securable may stand

router = APIRouter(tags=["registered_models"])

ListGiven = Annotated[ListRegisteredModels, Depends(parameters(ListRegisteredModels))]
PageGiven = Annotated[Page, Depends(parameters(Page))]
Include = Annotated[IncludeAliases, Depends(parameters(IncludeAliases))]


@router.post(_MODELS, response_model_exclude_none=True)
def create_registered_model(caller: Caller, service: Service, body: CreateRegisteredModel) -> RegisteredModelInfo:
    if body.storage_location and body.storage_location.rstrip("/") != _STORAGE:
        raise InvalidParameterValue(
            "Invalid value for 'storage_location': must be left out: the files of all models are in the server's "
            "own artifact store"
        )
    tags = {tag.key: tag.value for tag in body.tags}
    return _model(service.create_model(caller, body.full_name, body.comment, tags))


@router.get(_MODELS, response_model_exclude_none=True)
def list_registered_models(caller: Caller, service: Service, given: ListGiven) -> RegisteredModelPage:
    found, token = service.models(caller, given.start, given)
    listed = tuple(_model(one).model_copy(update={"tags": None}) for one in found)
    return RegisteredModelPage(registered_models=listed, next_page_token=token)


@router.post(f"{_MODELS}/versions", response_model_exclude_none=True)
def create_model_version(caller: Caller, service: Service, body: CreateModelVersion) -> ModelVersionInfo:
    new = NewVersion(
        name=body.full_name,
        source=body.source,
        user=caller.user_name,
        description=body.comment,
        tags={tag.key: tag.value for tag in body.tags},
        run_id=body.run_id,
        run_workspace_id=body.run_tracking_server_id,
        model_id=body.model_id,
    )
    return _version(service.create_version(caller, new))


@router.get(_MODEL, response_model_exclude_none=True)
def get_registered_model(
    caller: Caller, service: Service, full_name: FullName, given: Include
) -> RegisteredModelInfo:
    return _model(service.model(caller, full_name), aliases=given.include_aliases)


@router.patch(_MODEL, response_model_exclude_none=True)
def update_registered_model(
    caller: Caller, service: Service, full_name: FullName, body: UpdateRegisteredModel
) -> RegisteredModelInfo:
    new_name = None if body.new_name is None else _renamed(full_name, body.new_name)
    changed = service.update_model(
        caller, full_name, new_name=new_name, description=body.comment, owner=body.owner
    )
    return _model(changed)


@router.delete(_MODEL)
def delete_registered_model(caller: Caller, service: Service, full_name: FullName) -> Empty:
    service.delete_model(caller, full_name)
    return Empty()


@router.put(_ALIAS)
def set_registered_model_alias(
    caller: Caller, service: Service, full_name: FullName, alias: ShortText, body: SetAlias
) -> RegisteredModelAlias:
    service.set_alias(caller, full_name, alias, str(body.version_num))
    return _alias(full_name, alias, str(body.version_num))


@router.delete(_ALIAS)
def delete_registered_model_alias(
    caller: Caller, service: Service, full_name: FullName, alias: ShortText
) -> Empty:
    service.delete_alias(caller, full_name, alias)
    return Empty()


@router.get(_ALIAS, response_model_exclude_none=True)
def get_model_version_by_alias(
    caller: Caller, service: Service, full_name: FullName, alias: ShortText, given: Include
) -> ModelVersionInfo:
    return _version(service.version_of_alias(caller, full_name, alias), aliases=given.include_aliases)


@router.get(f"{_MODEL}/versions", response_model_exclude_none=True)
def list_model_versions(
    caller: Caller, service: Service, full_name: FullName, given: PageGiven
) -> ModelVersionPage:
    found, token = service.versions_of(caller, full_name, given)
    listed = tuple(_version(one).model_copy(update={"tags": None}) for one in found)
    return ModelVersionPage(model_versions=listed, next_page_token=token)


@router.get(_VERSION, response_model_exclude_none=True)
def get_model_version(
    caller: Caller, service: Service, full_name: FullName, version: VersionNumber, given: Include
) -> ModelVersionInfo:
    return _version(service.version(caller, full_name, str(version)), aliases=given.include_aliases)


@router.patch(_VERSION, response_model_exclude_none=True)
def update_model_version(
    caller: Caller, service: Service, full_name: FullName, version: VersionNumber, body: UpdateModelVersion
) -> ModelVersionInfo:
    return _version(service.describe_version(caller, full_name, str(version), body.comment))


@router.delete(_VERSION)
def delete_model_version(caller: Caller, service: Service, full_name: FullName, version: VersionNumber) -> Empty:
    service.delete_version(caller, full_name, str(version))
    return Empty()


@router.patch(f"{_VERSION}/finalize", response_model_exclude_none=True)
def finalize_model_version(
    caller: Caller, service: Service, full_name: FullName, version: VersionNumber
) -> ModelVersionInfo:
    return _version(service.finalize_version(caller, full_name, str(version)))


@router.patch(f"{_ROOT}/securable-tags/{{securable_type}}/{{full_name}}")
def update_registered_model_tags(
    caller: Caller, service: Service, securable_type: str, full_name: FullName, body: UpdateTags
) -> Empty:
    _require_model(securable_type)
    for key in body.changes.remove:
        service.delete_model_tag(caller, full_name, key)
    for tag in body.changes.add_tags:
        service.set_model_tag(caller, full_name, tag.key, tag.value)
    return Empty()


@router.patch(f"{_ROOT}/subentity-tags/{{securable_type}}/{{full_name}}/{{version}}")
def update_model_version_tags(
    caller: Caller,
    service: Service,
    securable_type: str,
    full_name: FullName,
    version: VersionNumber,
    body: UpdateTags,
) -> Empty:
    _require_model(securable_type)
    for key in body.changes.remove:
        service.delete_version_tag(caller, full_name, str(version), key)
    for tag in body.changes.add_tags:
        service.set_version_tag(caller, full_name, str(version), tag.key, tag.value)
    return Empty()


@router.post(f"{_ROOT}/temporary-model-version-credentials")
def generate_model_version_credentials(_caller: Caller) -> Empty:
    raise NotImplementedHere(NO_CREDENTIALS)


def _require_model(securable_type: str) -> None:
    if securable_type.upper() != _TAGGED:
        raise InvalidParameterValue(
            f"Invalid value for 'securable_type': must be {_TAGGED}, which registered models are; this server keeps "
            "tags of no other securables"
        )


def _renamed(full_name: str, new_name: str) -> str:
    """`new_name` within the schema of `full_name`; as it is when it has levels of its own."""
    renamed = new_name if "." in new_name else f"{full_name.rpartition('.')[0]}.{new_name}"
    try:
        return check_full_name(renamed)
    except ValueError as error:
        raise InvalidParameterValue(f"Invalid value for 'new_name': {error}") from error


def _alias(full_name: str, alias: str, version: str) -> RegisteredModelAlias:
    catalog, schema, model = full_name.split(".")
    return RegisteredModelAlias(
        alias_name=alias, version_num=int(version), model_name=model, catalog_name=catalog, schema_name=schema
    )


def _tags(tags: Mapping[str, str]) -> tuple[Tag, ...]:
    return tuple(Tag(key=key, value=value) for key, value in tags.items())


def _model(found: OwnedModel, *, aliases: bool = False) -> RegisteredModelInfo:
    model = found.model
    catalog, schema, name = model.name.split(".")
    return RegisteredModelInfo(
        name=name,
        catalog_name=catalog,
        schema_name=schema,
        full_name=model.name,
        comment=model.description,
        owner=found.owner,
        created_at=model.created_at,
        created_by=model.created_by or found.owner,
        updated_at=model.updated_at,
        storage_location=_STORAGE,
        browse_only=False,
        aliases=tuple(_alias(model.name, *one) for one in model.aliases) if aliases else None,
        tags=_tags(model.tags),
    )


def _version(found: CatalogVersion, *, aliases: bool = False) -> ModelVersionInfo:
    catalog, schema, name = found.name.split(".")
    workspace = found.run_workspace_id or ""
    return ModelVersionInfo(
        model_name=name,
        catalog_name=catalog,
        schema_name=schema,
        version=int(found.version),
        source=found.source,
        comment=found.description,
        run_id=found.run_id,
        run_workspace_id=int(workspace) if workspace.isascii() and workspace.isdigit() else None,
        status=found.status,
        storage_location=found.files,
        created_at=found.created_at,
        created_by=found.created_by,
        updated_at=found.updated_at,
        id=found.backing,
        model_id=found.model_id,
        aliases=tuple(_alias(found.name, one, found.version) for one in found.aliases) if aliases else None,
        tags=_tags(found.tags),
    )
