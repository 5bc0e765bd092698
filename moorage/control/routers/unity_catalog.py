"""Registered models in Unity Catalog, in MLflow's dialect.

Source: MLflow, `protos/databricks_uc_registry_service`.
"""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request

from moorage.api.errors import NotImplementedHere
from moorage.api.unity_catalog import (
    CatalogAlias,
    CatalogModelAnswer,
    CatalogModelOutput,
    CatalogModelPage,
    CatalogVersionAnswer,
    CatalogVersionOutput,
    CatalogVersionPage,
    CreateCatalogModel,
    CreateCatalogVersion,
    DownloadUri,
    FilesApiForModels,
    OfCatalogAlias,
    OfCatalogModel,
    OfCatalogModelTag,
    OfCatalogVersion,
    OfCatalogVersionTag,
    Page,
    SearchCatalogVersions,
    SetCatalogAlias,
    SetCatalogModelTag,
    SetCatalogVersionTag,
    Tag,
    UpdateCatalogModel,
    UpdateCatalogVersion,
)
from moorage.api.wire import Empty
from moorage.control.dependencies import Caller
from moorage.control.routers.requests import parameters
from moorage.control.unity_catalog import OwnedModel, UnityCatalogService
from moorage.registry.unity_catalog import CatalogVersion, NewVersion

router = APIRouter(prefix="/api/2.0/mlflow/unity-catalog", tags=["registered_models"])


def _service(request: Request) -> UnityCatalogService:
    return cast(UnityCatalogService, request.app.state.unity_catalog)


Service = Annotated[UnityCatalogService, Depends(_service)]
OfModel = Annotated[OfCatalogModel, Depends(parameters(OfCatalogModel))]
OfModelTag = Annotated[OfCatalogModelTag, Depends(parameters(OfCatalogModelTag))]
OfAlias = Annotated[OfCatalogAlias, Depends(parameters(OfCatalogAlias))]
OfVersion = Annotated[OfCatalogVersion, Depends(parameters(OfCatalogVersion))]
OfVersionTag = Annotated[OfCatalogVersionTag, Depends(parameters(OfCatalogVersionTag))]
OfPage = Annotated[Page, Depends(parameters(Page))]
OfSearch = Annotated[SearchCatalogVersions, Depends(parameters(SearchCatalogVersions))]

NO_CREDENTIALS = (
    "This server gives out no credentials of a cloud storage: files of models move through its Files API "
    "(/api/2.0/fs/files/Models/...), as clients of MLflow 3 do unless the environment variable "
    "MLFLOW_USE_DATABRICKS_SDK_MODEL_ARTIFACTS_REPO_FOR_UC is set to false; unset it, or set it to true"
)


@router.post("/registered-models/create", response_model_exclude_none=True)
def create_catalog_model(caller: Caller, service: Service, body: CreateCatalogModel) -> CatalogModelAnswer:
    tags = {tag.key: tag.value for tag in body.tags}
    return _model_answer(service.create_model(caller, body.name, body.description, tags))


@router.patch("/registered-models/update", response_model_exclude_none=True)
def update_catalog_model(caller: Caller, service: Service, body: UpdateCatalogModel) -> CatalogModelAnswer:
    changed = service.update_model(caller, body.name, new_name=body.new_name, description=body.description)
    return _model_answer(changed)


@router.delete("/registered-models/delete")
def delete_catalog_model(caller: Caller, service: Service, given: OfModel) -> Empty:
    service.delete_model(caller, given.name)
    return Empty()


@router.get("/registered-models/get", response_model_exclude_none=True)
def get_catalog_model(caller: Caller, service: Service, given: OfModel) -> CatalogModelAnswer:
    return _model_answer(service.model(caller, given.name))


@router.get("/registered-models/search", response_model_exclude_none=True)
def search_catalog_models(caller: Caller, service: Service, given: OfPage) -> CatalogModelPage:
    found, token = service.models(caller, "", given)
    return CatalogModelPage(registered_models=tuple(map(_model, found)), next_page_token=token)


@router.post("/registered-models/set-tag")
def set_catalog_model_tag(caller: Caller, service: Service, body: SetCatalogModelTag) -> Empty:
    service.set_model_tag(caller, body.name, body.key, body.value)
    return Empty()


@router.delete("/registered-models/delete-tag")
def delete_catalog_model_tag(caller: Caller, service: Service, given: OfModelTag) -> Empty:
    service.delete_model_tag(caller, given.name, given.key)
    return Empty()


@router.post("/registered-models/alias")
def set_catalog_model_alias(caller: Caller, service: Service, body: SetCatalogAlias) -> Empty:
    service.set_alias(caller, body.name, body.alias, body.version)
    return Empty()


@router.delete("/registered-models/alias")
def delete_catalog_model_alias(caller: Caller, service: Service, given: OfAlias) -> Empty:
    service.delete_alias(caller, given.name, given.alias)
    return Empty()


@router.get("/registered-models/alias", response_model_exclude_none=True)
def get_catalog_version_by_alias(caller: Caller, service: Service, given: OfAlias) -> CatalogVersionAnswer:
    return _version_answer(service.version_of_alias(caller, given.name, given.alias))


@router.get("/registered-models:is-databricks-sdk-models-artifact-repository-enabled")
def is_files_api_used_for_models(_caller: Caller) -> FilesApiForModels:
    return FilesApiForModels(is_databricks_sdk_models_artifact_repository_enabled=True)


@router.post("/model-versions/create", response_model_exclude_none=True)
def create_catalog_version(caller: Caller, service: Service, body: CreateCatalogVersion) -> CatalogVersionAnswer:
    new = NewVersion(
        name=body.name,
        source=body.source,
        user=caller.user_name,
        description=body.description,
        tags={tag.key: tag.value for tag in body.tags},
        run_id=body.run_id,
        run_workspace_id=body.run_tracking_server_id,
        model_id=body.model_id,
    )
    return _version_answer(service.create_version(caller, new))


@router.post("/model-versions/finalize", response_model_exclude_none=True)
def finalize_catalog_version(caller: Caller, service: Service, body: OfCatalogVersion) -> CatalogVersionAnswer:
    return _version_answer(service.finalize_version(caller, body.name, body.version))


@router.patch("/model-versions/update", response_model_exclude_none=True)
def update_catalog_version(caller: Caller, service: Service, body: UpdateCatalogVersion) -> CatalogVersionAnswer:
    return _version_answer(service.describe_version(caller, body.name, body.version, body.description))


@router.delete("/model-versions/delete")
def delete_catalog_version(caller: Caller, service: Service, given: OfVersion) -> Empty:
    service.delete_version(caller, given.name, given.version)
    return Empty()


@router.get("/model-versions/get", response_model_exclude_none=True)
def get_catalog_version(caller: Caller, service: Service, given: OfVersion) -> CatalogVersionAnswer:
    return _version_answer(service.version(caller, given.name, given.version))


@router.get("/model-versions/search", response_model_exclude_none=True)
def search_catalog_versions(caller: Caller, service: Service, given: OfSearch) -> CatalogVersionPage:
    found, token = service.search_versions(caller, given.filter, given)
    return CatalogVersionPage(model_versions=tuple(map(_version, found)), next_page_token=token)


@router.get("/model-versions/get-download-uri")
def get_catalog_version_download_uri(caller: Caller, service: Service, given: OfVersion) -> DownloadUri:
    found = service.version(caller, given.name, given.version)
    return DownloadUri(artifact_uri=found.files or found.source)


@router.post("/model-versions/set-tag")
def set_catalog_version_tag(caller: Caller, service: Service, body: SetCatalogVersionTag) -> Empty:
    service.set_version_tag(caller, body.name, body.version, body.key, body.value)
    return Empty()


@router.delete("/model-versions/delete-tag")
def delete_catalog_version_tag(caller: Caller, service: Service, given: OfVersionTag) -> Empty:
    service.delete_version_tag(caller, given.name, given.version, given.key)
    return Empty()


@router.post("/model-versions/generate-temporary-credentials")
def generate_catalog_version_credentials(_caller: Caller) -> Empty:
    raise NotImplementedHere(NO_CREDENTIALS)


@router.post("/model-versions/emit-lineage")
def emit_catalog_version_lineage(_caller: Caller) -> Empty:
    """Clients say which job or notebook loads a version; nothing is kept of it."""
    return Empty()


def _model_answer(found: OwnedModel) -> CatalogModelAnswer:
    return CatalogModelAnswer(registered_model=_model(found))


def _model(found: OwnedModel) -> CatalogModelOutput:
    model = found.model
    return CatalogModelOutput(
        name=model.name,
        creation_timestamp=model.created_at,
        last_updated_timestamp=model.updated_at,
        user_id=model.created_by or found.owner,
        description=model.description,
        aliases=tuple(CatalogAlias(alias=alias, version=version) for alias, version in model.aliases),
        tags=tuple(Tag(key=key, value=value) for key, value in model.tags.items()),
    )


def _version_answer(found: CatalogVersion) -> CatalogVersionAnswer:
    return CatalogVersionAnswer(model_version=_version(found))


def _version(found: CatalogVersion) -> CatalogVersionOutput:
    return CatalogVersionOutput(
        name=found.name,
        version=found.version,
        creation_timestamp=found.created_at,
        last_updated_timestamp=found.updated_at,
        user_id=found.created_by,
        description=found.description,
        source=found.source,
        run_id=found.run_id,
        run_experiment_id=found.run_experiment_id,
        run_tracking_server_id=found.run_workspace_id,
        status=found.status,
        status_message=found.status_message,
        storage_location=found.files,
        aliases=tuple(CatalogAlias(alias=alias, version=found.version) for alias in found.aliases),
        tags=tuple(Tag(key=key, value=value) for key, value in found.tags.items()),
        model_id=found.model_id,
    )
