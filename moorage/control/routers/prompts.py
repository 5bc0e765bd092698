"""Prompts of Unity Catalog, as MLflow's client asks with the registry URI `databricks-uc`."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Request

from moorage.api.prompts import (
    CreatePrompt,
    CreatePromptVersion,
    LinkToModels,
    LinkToRuns,
    LinkToTraces,
    Prompt,
    PromptList,
    PromptName,
    PromptTag,
    PromptVersion,
    PromptVersionList,
    SearchPrompts,
    SearchPromptVersions,
    SetPromptAlias,
    UpdatePrompt,
    UpdatePromptVersion,
    VersionNumber,
)
from moorage.api.wire import Empty, Text
from moorage.control.dependencies import Caller
from moorage.control.prompts import PromptService

_NOTHING = Empty()
_PROMPT = "/prompts/{name}"
_VERSION = "/prompts/{name}/versions/{version}"
_LINKS = "/prompt-versions"

router = APIRouter(prefix="/api/2.0/mlflow/unity-catalog", tags=["prompts"])


def _service(request: Request) -> PromptService:
    return cast(PromptService, request.app.state.prompts)


Prompts = Annotated[PromptService, Depends(_service)]


@router.post("/prompts", response_model_exclude_none=True)
def create_prompt(caller: Caller, prompts: Prompts, body: CreatePrompt) -> Prompt:
    return prompts.create(caller, body)


@router.post("/prompts/search", response_model_exclude_none=True)
def search_prompts(caller: Caller, prompts: Prompts, body: SearchPrompts) -> PromptList:
    return prompts.search(caller, body)


@router.get(_PROMPT, response_model_exclude_none=True)
def get_prompt(caller: Caller, prompts: Prompts, name: PromptName) -> Prompt:
    return prompts.get(caller, name)


@router.patch(_PROMPT, response_model_exclude_none=True)
def update_prompt(caller: Caller, prompts: Prompts, name: PromptName, body: UpdatePrompt) -> Prompt:
    return prompts.update(caller, name, body.prompt)


@router.delete(_PROMPT)
def delete_prompt(caller: Caller, prompts: Prompts, name: PromptName) -> Empty:
    prompts.delete(caller, name)
    return _NOTHING


@router.post(f"{_PROMPT}/tags")
def set_prompt_tag(caller: Caller, prompts: Prompts, name: PromptName, body: PromptTag) -> Empty:
    prompts.set_tag(caller, name, body)
    return _NOTHING


# Keys of tags may hold slashes, and the client puts them into the path as they are.
@router.delete(f"{_PROMPT}/tags/{{key:path}}")
def delete_prompt_tag(caller: Caller, prompts: Prompts, name: PromptName, key: Text) -> Empty:
    prompts.delete_tag(caller, name, key)
    return _NOTHING


@router.post(f"{_PROMPT}/aliases/{{alias}}")
def set_prompt_alias(
    caller: Caller, prompts: Prompts, name: PromptName, alias: Text, body: SetPromptAlias
) -> Empty:
    prompts.set_alias(caller, name, alias, body.version)
    return _NOTHING


@router.delete(f"{_PROMPT}/aliases/{{alias}}")
def delete_prompt_alias(caller: Caller, prompts: Prompts, name: PromptName, alias: Text) -> Empty:
    prompts.delete_alias(caller, name, alias)
    return _NOTHING


@router.post(f"{_PROMPT}/versions", response_model_exclude_none=True)
def create_prompt_version(
    caller: Caller, prompts: Prompts, name: PromptName, body: CreatePromptVersion
) -> PromptVersion:
    return prompts.create_version(caller, name, body.prompt_version)


@router.post(f"{_PROMPT}/versions/search", response_model_exclude_none=True)
def search_prompt_versions(
    caller: Caller, prompts: Prompts, name: PromptName, body: SearchPromptVersions | None = None
) -> PromptVersionList:
    return prompts.search_versions(caller, name, body or SearchPromptVersions())


@router.get(f"{_PROMPT}/versions/by-alias/{{alias}}", response_model_exclude_none=True)
def get_prompt_version_by_alias(
    caller: Caller, prompts: Prompts, name: PromptName, alias: Text
) -> PromptVersion:
    return prompts.version_by_alias(caller, name, alias)


@router.get(_VERSION, response_model_exclude_none=True)
def get_prompt_version(
    caller: Caller, prompts: Prompts, name: PromptName, version: VersionNumber
) -> PromptVersion:
    return prompts.get_version(caller, name, version)


@router.patch(_VERSION, response_model_exclude_none=True)
def update_prompt_version(
    caller: Caller, prompts: Prompts, name: PromptName, version: VersionNumber, body: UpdatePromptVersion
) -> PromptVersion:
    return prompts.update_version(caller, name, version, body.prompt_version)


@router.delete(_VERSION)
def delete_prompt_version(caller: Caller, prompts: Prompts, name: PromptName, version: VersionNumber) -> Empty:
    prompts.delete_version(caller, name, version)
    return _NOTHING


@router.post(f"{_VERSION}/tags")
def set_prompt_version_tag(
    caller: Caller, prompts: Prompts, name: PromptName, version: VersionNumber, body: PromptTag
) -> Empty:
    prompts.set_version_tag(caller, name, version, body)
    return _NOTHING


@router.delete(f"{_VERSION}/tags/{{key:path}}")
def delete_prompt_version_tag(
    caller: Caller, prompts: Prompts, name: PromptName, version: VersionNumber, key: Text
) -> Empty:
    prompts.delete_version_tag(caller, name, version, key)
    return _NOTHING


@router.post(f"{_LINKS}/links-to-models")
def link_prompt_versions_to_models(caller: Caller, prompts: Prompts, body: LinkToModels) -> Empty:
    prompts.link_to_models(caller, body)
    return _NOTHING


@router.post(f"{_LINKS}/links-to-traces")
def link_prompts_to_traces(caller: Caller, prompts: Prompts, body: LinkToTraces) -> Empty:
    prompts.link_to_traces(caller, body)
    return _NOTHING


@router.post(f"{_LINKS}/links-to-runs")
def link_prompt_versions_to_runs(caller: Caller, prompts: Prompts, body: LinkToRuns) -> Empty:
    prompts.link_to_runs(caller, body)
    return _NOTHING
