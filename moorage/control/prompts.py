"""What the API does with prompts of Unity Catalog. Rights on a prompt are those on a registered model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from moorage.api.permissions import ModelLevel
from moorage.api.prompts import (
    CreatePrompt,
    LinkToModels,
    LinkToRuns,
    LinkToTraces,
    NewPromptVersion,
    Prompt,
    PromptInput,
    PromptList,
    PromptTag,
    PromptVersion,
    PromptVersionInput,
    PromptVersionLink,
    PromptVersionList,
    SearchPrompts,
    SearchPromptVersions,
)
from moorage.api.routing import Principal
from moorage.control.registry_access import RegistryAccess
from moorage.registry.prompts import PromptRegistry
from moorage.registry.unity_catalog import require_token


@dataclass(frozen=True, slots=True)
class PromptService:
    """`PromptRegistry` for callers with rights: each method raises what that does.

    Besides:
        PermissionDenied: the caller has a lower level on the prompt than the operation takes.
    """

    registry: PromptRegistry
    access: RegistryAccess

    def create(self, caller: Principal, request: CreatePrompt) -> Prompt:
        self.access.require_creation(caller, request.name)
        made = self.registry.create(request.name, request.prompt)
        try:
            self.access.created(caller, request.name)
        except Exception:
            # A prompt without an owner would be everybody's to read, and its maker could not even delete it.
            self.registry.delete(request.name)
            raise
        return made

    def get(self, caller: Principal, name: str) -> Prompt:
        self.access.require(caller, name, ModelLevel.CAN_READ)
        return self.registry.get(name)

    def update(self, caller: Principal, name: str, wanted: PromptInput) -> Prompt:
        self.access.require(caller, name, ModelLevel.CAN_EDIT)
        return self.registry.update(name, wanted)

    def delete(self, caller: Principal, name: str) -> None:
        self.access.require(caller, name, ModelLevel.CAN_MANAGE)
        owner_id = self.access.owner(name)
        self.registry.delete(name)
        self.access.deleted(name, owner_id)

    def search(self, caller: Principal, request: SearchPrompts) -> PromptList:
        """Those that the caller may read.

        Raises:
            InvalidParameterValue: no answer has had such a page token.
        """
        require_token(request.page_token)
        return self.registry.search(request, lambda names: self.access.readable(caller, names))

    def set_tag(self, caller: Principal, name: str, tag: PromptTag) -> None:
        self.access.require(caller, name, ModelLevel.CAN_EDIT)
        self.registry.set_tag(name, tag)

    def delete_tag(self, caller: Principal, name: str, key: str) -> None:
        self.access.require(caller, name, ModelLevel.CAN_EDIT)
        self.registry.delete_tag(name, key)

    def create_version(self, caller: Principal, name: str, wanted: NewPromptVersion) -> PromptVersion:
        self.access.require(caller, name, ModelLevel.CAN_EDIT)
        return self.registry.create_version(name, wanted)

    def get_version(self, caller: Principal, name: str, version: str) -> PromptVersion:
        self.access.require(caller, name, ModelLevel.CAN_READ)
        return self.registry.get_version(name, version)

    def version_by_alias(self, caller: Principal, name: str, alias: str) -> PromptVersion:
        self.access.require(caller, name, ModelLevel.CAN_READ)
        return self.registry.version_by_alias(name, alias)

    def update_version(
        self, caller: Principal, name: str, version: str, wanted: PromptVersionInput
    ) -> PromptVersion:
        self.access.require(caller, name, ModelLevel.CAN_EDIT)
        return self.registry.update_version(name, version, wanted)

    def delete_version(self, caller: Principal, name: str, version: str) -> None:
        self.access.require(caller, name, ModelLevel.CAN_MANAGE)
        self.registry.delete_version(name, version)

    def search_versions(self, caller: Principal, name: str, request: SearchPromptVersions) -> PromptVersionList:
        """Raises as `search`."""
        self.access.require(caller, name, ModelLevel.CAN_READ)
        require_token(request.page_token)
        return self.registry.search_versions(name, request)

    def set_version_tag(self, caller: Principal, name: str, version: str, tag: PromptTag) -> None:
        self.access.require(caller, name, ModelLevel.CAN_EDIT)
        self.registry.set_version_tag(name, version, tag)

    def delete_version_tag(self, caller: Principal, name: str, version: str, key: str) -> None:
        self.access.require(caller, name, ModelLevel.CAN_EDIT)
        self.registry.delete_version_tag(name, version, key)

    def set_alias(self, caller: Principal, name: str, alias: str, version: str) -> None:
        self.access.require(caller, name, ModelLevel.CAN_MANAGE_PRODUCTION_VERSIONS)
        self.registry.set_alias(name, alias, version)

    def delete_alias(self, caller: Principal, name: str, alias: str) -> None:
        self.access.require(caller, name, ModelLevel.CAN_MANAGE_PRODUCTION_VERSIONS)
        self.registry.delete_alias(name, alias)

    def link_to_models(self, caller: Principal, request: LinkToModels) -> None:
        self._require_readable(caller, request.prompt_versions)
        self.registry.link_to_models(request.prompt_versions, request.model_ids)

    def link_to_traces(self, caller: Principal, request: LinkToTraces) -> None:
        self._require_readable(caller, request.prompt_versions)
        self.registry.link_to_traces(request.prompt_versions, request.trace_ids)

    def link_to_runs(self, caller: Principal, request: LinkToRuns) -> None:
        self._require_readable(caller, request.prompt_versions)
        self.registry.link_to_runs(request.prompt_versions, request.run_ids)

    def _require_readable(self, caller: Principal, links: Iterable[PromptVersionLink]) -> None:
        """Runs, logged models and traces are everybody's to write to: the prompts alone have rights."""
        for name in sorted({link.name for link in links}):
            self.access.require(caller, name, ModelLevel.CAN_READ)
