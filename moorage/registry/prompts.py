"""Prompts of Unity Catalog on MLflow's own: registered models with a tag, whose versions hold a template in a tag.

What MLflow's client writes when its registry is MLflow itself is read here, and the other way round.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from moorage.api.errors import (
    AlreadyExists,
    ApiError,
    InvalidParameterValue,
    NotFound,
    ResourceAlreadyExists,
    ResourceDoesNotExist,
)
from moorage.api.prompts import (
    NewPromptVersion,
    Prompt,
    PromptAlias,
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
from moorage.registry.mlflow_api import MlflowApi, MlflowRefusal
from moorage.registry.tags import tags_of

_IS_PROMPT = "mlflow.prompt.is_prompt"
_TEXT = "mlflow.prompt.text"
_TYPE = "_mlflow_prompt_type"
_CHAT, _PLAIN = "chat", "text"
_HIDDEN = ("mlflow.prompt.", "moorage.")
_LINKED = "mlflow.linkedPrompts"
# MLflow wants a source of every version, and takes this one of a prompt's.
_SOURCE = "dummy-source"
_LATEST = "latest"
_PAGES_AT_ONCE = 20
_MISSING = "RESOURCE_DOES_NOT_EXIST"
_TAKEN = "RESOURCE_ALREADY_EXISTS"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class PromptRegistry:
    """Operations on prompts. Threads may share it.

    Every method raises, besides what it says itself:
        ResourceDoesNotExist: there is no such prompt or version; a registered model that is no prompt is none.
        InvalidParameterValue: a tag that is kept for what MLflow and this server write down.
        MlflowRefusal: MLflow's own word on what it is given.
        TemporarilyUnavailable: MLflow does not answer.
    """

    mlflow: MlflowApi
    _linking: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def create(self, name: str, wanted: PromptInput) -> Prompt:
        """
        Raises:
            AlreadyExists: there is a prompt of that name.
            ResourceAlreadyExists: there is a registered model of that name.
        """
        tags = [*_own(wanted.tags), {"key": _IS_PROMPT, "value": "true"}]
        document = {"name": name, "description": wanted.description, "tags": tags}
        try:
            made = self.mlflow.call("POST", "registered-models/create", document)
        except MlflowRefusal as refusal:
            if refusal.error_code != _TAKEN:
                raise
            raise self._taken(name) from refusal
        return _prompt(made["registered_model"])

    def get(self, name: str) -> Prompt:
        return _prompt(self._model(name))

    def update(self, name: str, wanted: PromptInput) -> Prompt:
        tags = _own(wanted.tags)
        self._model(name)
        if wanted.description is not None:
            document = {"name": name, "description": wanted.description}
            self.mlflow.call("PATCH", "registered-models/update", document)
        for tag in tags:
            self.mlflow.call("POST", "registered-models/set-tag", {"name": name, **tag})
        return self.get(name)

    def delete(self, name: str) -> None:
        """
        Raises:
            InvalidParameterValue: it has versions.
        """
        if self._model(name).get("latest_versions"):
            raise InvalidParameterValue(f"Prompt '{name}' cannot be deleted: delete all of its versions first")
        self.mlflow.call("DELETE", "registered-models/delete", {"name": name})

    def search(self, wanted: SearchPrompts, readable: Callable[[Collection[str]], set[str]]) -> PromptList:
        """A page of the prompts in a schema whose names are among the `readable` ones.

        As many prompts as MLflow's own page has of them; pages that would be empty are passed over, but not for ever.
        """
        above = f"{wanted.catalog_schema.catalog_name}.{wanted.catalog_schema.schema_name}."
        # In MLflow's LIKE an underscore stands for any character, so what it finds is looked at again.
        conditions = [f"tags.`{_IS_PROMPT}` = 'true'", f"name LIKE '{above}%'"]
        query = {
            "filter": " AND ".join([*conditions, wanted.filter] if wanted.filter.strip() else conditions),
            "max_results": wanted.max_results,
            "page_token": wanted.page_token or None,
        }
        for _ in range(_PAGES_AT_ONCE):
            page = self.mlflow.call("GET", "registered-models/search", query=query)
            found = [one for one in page.get("registered_models", ()) if one["name"].startswith(above)]
            seen = readable({one["name"] for one in found}) if found else set()
            query["page_token"] = page.get("next_page_token") or None
            if seen or query["page_token"] is None:
                break
        prompts = tuple(_prompt(one) for one in found if one["name"] in seen)
        return PromptList(prompts=prompts, next_page_token=query["page_token"])

    def set_tag(self, name: str, tag: PromptTag) -> None:
        own = _own([tag])
        self._model(name)
        self.mlflow.call("POST", "registered-models/set-tag", {"name": name, **own[0]})

    def delete_tag(self, name: str, key: str) -> None:
        _require_own(key)
        self._model(name)
        self.mlflow.call("DELETE", "registered-models/delete-tag", {"name": name, "key": key})

    def create_version(self, name: str, wanted: NewPromptVersion) -> PromptVersion:
        """
        Raises:
            InvalidParameterValue: also, the template is none.
        """
        text, kind = _stored_template(wanted.template)
        tags = [tag for tag in _own(wanted.tags, but=_TYPE) if tag["key"] != _TYPE]
        stored = {_IS_PROMPT: "true", _TEXT: text, _TYPE: kind}
        model = self._model(name)
        document = {
            "name": name,
            "source": _SOURCE,
            "description": wanted.description,
            "tags": [*tags, *({"key": key, "value": value} for key, value in stored.items())],
        }
        made = self.mlflow.call("POST", "model-versions/create", document)
        return _prompt_version(model, made["model_version"])

    def get_version(self, name: str, version: str) -> PromptVersion:
        return _prompt_version(*self._version(name, version))

    def version_by_alias(self, name: str, alias: str) -> PromptVersion:
        """The version that the alias names; `latest` is the newest one's.

        Raises:
            NotFound: instead of `ResourceDoesNotExist`. MLflow's client makes None of that, and stumbles over it
                where it loads a prompt by its alias.
        """
        try:
            model = self._model(name)
            aliases = {one["alias"]: str(one["version"]) for one in model.get("aliases", ())}
            if alias.casefold() == _LATEST:
                newest = max((int(one["version"]) for one in model.get("latest_versions", ())), default=None)
                version = None if newest is None else str(newest)
            else:
                version = aliases.get(alias)
            if version is None:
                raise NotFound(f"Prompt '{name}' has no alias '{alias}'.")
            return _prompt_version(model, self._version_of(name, version))
        except ResourceDoesNotExist as error:
            raise NotFound(error.message) from error

    def update_version(self, name: str, version: str, wanted: PromptVersionInput) -> PromptVersion:
        """
        Raises:
            InvalidParameterValue: also, another template than the version has.
        """
        tags = _own(wanted.tags)
        found = self.get_version(name, version)
        if wanted.template is not None and _stored_template(wanted.template) != _stored_template(found.template):
            raise InvalidParameterValue(
                "Invalid value for 'prompt_version.template': a version keeps its template; create a new version"
            )
        of_version = {"name": name, "version": version}
        if wanted.description is not None:
            document = {**of_version, "description": wanted.description}
            self.mlflow.call("PATCH", "model-versions/update", document)
        for tag in tags:
            self.mlflow.call("POST", "model-versions/set-tag", {**of_version, **tag})
        return self.get_version(name, version)

    def delete_version(self, name: str, version: str) -> None:
        self._version(name, version)
        self.mlflow.call("DELETE", "model-versions/delete", {"name": name, "version": version})

    def search_versions(self, name: str, wanted: SearchPromptVersions) -> PromptVersionList:
        """A page of the prompt's versions, newest first."""
        model = self._model(name)
        query = {
            "filter": f"name = '{name}' AND tags.`{_IS_PROMPT}` = 'true'",
            "max_results": wanted.max_results,
            "order_by": "version_number DESC",
            "page_token": wanted.page_token or None,
        }
        page = self.mlflow.call("GET", "model-versions/search", query=query)
        found = (one for one in page.get("model_versions", ()) if _TEXT in tags_of(one))
        versions = tuple(_prompt_version(model, one) for one in found)
        return PromptVersionList(prompt_versions=versions, next_page_token=page.get("next_page_token") or None)

    def set_version_tag(self, name: str, version: str, tag: PromptTag) -> None:
        own = _own([tag])
        self._version(name, version)
        self.mlflow.call("POST", "model-versions/set-tag", {"name": name, "version": version, **own[0]})

    def delete_version_tag(self, name: str, version: str, key: str) -> None:
        _require_own(key)
        self._version(name, version)
        self.mlflow.call("DELETE", "model-versions/delete-tag", {"name": name, "version": version, "key": key})

    def set_alias(self, name: str, alias: str, version: str) -> None:
        self._version(name, version)
        document = {"name": name, "alias": alias, "version": version}
        self.mlflow.call("POST", "registered-models/alias", document)

    def delete_alias(self, name: str, alias: str) -> None:
        self._model(name)
        self.mlflow.call("DELETE", "registered-models/alias", {"name": name, "alias": alias})

    def link_to_models(self, links: Sequence[PromptVersionLink], model_ids: Iterable[str]) -> None:
        """Note in the logged models' tags that they use these versions.

        Raises:
            InvalidParameterValue: a model's tag is not of the form that MLflow gives it.
        """
        self._require_versions(links)
        for model_id in model_ids:
            path = f"logged-models/{quote(model_id, safe='')}"
            with self._linking:
                model = self.mlflow.call("GET", path)["model"]
                linked = _with_links(tags_of(model["info"]), links)
                if linked is not None:
                    tags = [{"key": _LINKED, "value": linked}]
                    self.mlflow.call("PATCH", f"{path}/tags", {"tags": tags})

    def link_to_runs(self, links: Sequence[PromptVersionLink], run_ids: Iterable[str]) -> None:
        """Note in the runs' tags that they use these versions.

        Raises:
            InvalidParameterValue: a run's tag is not of the form that MLflow gives it.
        """
        self._require_versions(links)
        for run_id in run_ids:
            with self._linking:
                run = self.mlflow.call("GET", "runs/get", query={"run_id": run_id})["run"]
                linked = _with_links(tags_of(run["data"]), links)
                if linked is not None:
                    document = {"run_id": run_id, "key": _LINKED, "value": linked}
                    self.mlflow.call("POST", "runs/set-tag", document)

    def link_to_traces(self, links: Sequence[PromptVersionLink], trace_ids: Iterable[str]) -> None:
        """Note which versions the traces use: for searches by prompt, and in their tags.

        Raises:
            InvalidParameterValue: a trace's tag is not of the form that MLflow gives it.
        """
        self._require_versions(links)
        entries = [link.model_dump() for link in dict.fromkeys(links)]
        for trace_id in trace_ids:
            path = f"traces/{quote(trace_id, safe='')}"
            with self._linking:
                if entries:
                    document = {"trace_id": trace_id, "prompt_versions": entries}
                    self.mlflow.call("POST", "traces/link-prompts", document)
                trace = self.mlflow.call("GET", f"{path}/info")["trace_info"]
                linked = _with_links(tags_of(trace), links)
                if linked is not None:
                    self.mlflow.call("PATCH", f"{path}/tags", {"key": _LINKED, "value": linked})

    def _model(self, name: str) -> dict[str, Any]:
        """The prompt as MLflow's registered model."""
        missing = f"Prompt with name '{name}' not found."
        try:
            model = self.mlflow.call("GET", "registered-models/get", query={"name": name})["registered_model"]
        except MlflowRefusal as refusal:
            raise _or_missing(refusal, missing) from refusal
        if tags_of(model).get(_IS_PROMPT) != "true":
            raise ResourceDoesNotExist(missing)
        return dict(model)

    def _version(self, name: str, version: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The prompt, and the version of it, as MLflow's."""
        return self._model(name), self._version_of(name, version)

    def _version_of(self, name: str, version: str) -> dict[str, Any]:
        missing = f"Prompt '{name}' has no version {version}."
        query = {"name": name, "version": version}
        try:
            found = self.mlflow.call("GET", "model-versions/get", query=query)["model_version"]
        except MlflowRefusal as refusal:
            raise _or_missing(refusal, missing) from refusal
        if not {_IS_PROMPT, _TEXT} <= tags_of(found).keys():
            raise ResourceDoesNotExist(missing)
        return dict(found)

    def _require_versions(self, links: Iterable[PromptVersionLink]) -> None:
        links = set(links)
        for name in {link.name for link in links}:
            self._model(name)
        for link in links:
            self._version_of(link.name, link.version)

    def _taken(self, name: str) -> ApiError:
        try:
            self._model(name)
        except ResourceDoesNotExist:
            return ResourceAlreadyExists(
                f"A prompt cannot be called '{name}': there is a registered model of that name."
            )
        return AlreadyExists(f"Prompt with name '{name}' already exists.")


def _or_missing(refusal: MlflowRefusal, message: str) -> ApiError:
    """MLflow speaks of registered models and their versions: here they are prompts."""
    return ResourceDoesNotExist(message) if refusal.error_code == _MISSING else refusal


def _stored_template(template: str) -> tuple[str, str]:
    """The text that MLflow keeps of a template, and of which type it is.

    Raises:
        InvalidParameterValue: it is no JSON of a string, or of chat messages.
    """
    refusal = InvalidParameterValue(
        "Invalid value for 'prompt_version.template': must be JSON, a string or a non-empty array of messages, each "
        "an object with 'role'"
    )
    try:
        found = json.loads(template)
    except (ValueError, RecursionError) as error:
        raise refusal from error
    if isinstance(found, str):
        if "\0" in found or any("\ud800" <= character <= "\udfff" for character in found):
            raise InvalidParameterValue(
                "Invalid value for 'prompt_version.template': must be text without NUL and halves of surrogate pairs"
            )
        return found, _PLAIN
    if not isinstance(found, list) or not found or not all(isinstance(one, dict) and "role" in one for one in found):
        raise refusal
    return json.dumps(found), _CHAT


def _require_own(key: str, but: str | None = None) -> None:
    if key != but and (key == _TYPE or key.startswith(_HIDDEN)):
        raise InvalidParameterValue(f"Invalid value for 'key': the tag '{key}' is kept for the registry itself")


def _own(tags: Iterable[PromptTag], but: str | None = None) -> list[dict[str, str]]:
    """As MLflow takes them, the last one of each key.

    Raises:
        InvalidParameterValue: one of them is the registry's, other than `but`.
    """
    for tag in tags:
        _require_own(tag.key, but)
    return [{"key": key, "value": value} for key, value in {tag.key: tag.value for tag in tags}.items()]


def _shown(of: dict[str, Any]) -> tuple[PromptTag, ...]:
    return tuple(PromptTag(key=k, value=v) for k, v in tags_of(of).items() if not k.startswith(_HIDDEN))


def _aliases(model: dict[str, Any]) -> tuple[PromptAlias, ...]:
    return tuple(PromptAlias(alias=one["alias"], version=str(one["version"])) for one in model.get("aliases", ()))


def _timestamp(milliseconds: int | str) -> str:
    when = _EPOCH + timedelta(milliseconds=int(milliseconds))
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _prompt(model: dict[str, Any]) -> Prompt:
    return Prompt(
        name=model["name"],
        creation_timestamp=_timestamp(model["creation_timestamp"]),
        last_updated_timestamp=_timestamp(model["last_updated_timestamp"]),
        description=model.get("description"),
        aliases=_aliases(model),
        tags=_shown(model),
    )


def _prompt_version(model: dict[str, Any], version: dict[str, Any]) -> PromptVersion:
    """Of the chat messages MLflow has the JSON already."""
    tags, number = tags_of(version), str(version["version"])
    text = tags[_TEXT]
    return PromptVersion(
        name=version["name"],
        version=number,
        creation_timestamp=_timestamp(version["creation_timestamp"]),
        last_updated_timestamp=_timestamp(version["last_updated_timestamp"]),
        description=version.get("description"),
        template=text if tags.get(_TYPE) == _CHAT else json.dumps(text),
        aliases=tuple(alias for alias in _aliases(model) if alias.version == number),
        tags=_shown(version),
    )


def _with_links(tags: dict[str, str], links: Iterable[PromptVersionLink]) -> str | None:
    """The value of the tag that lists what is linked, with these; None where it has them already.

    Raises:
        InvalidParameterValue: its value is no list.
    """
    try:
        linked = json.loads(tags.get(_LINKED, "[]"))
    except ValueError:
        linked = None
    if not isinstance(linked, list):
        raise InvalidParameterValue(f"The tag '{_LINKED}' does not hold a list of prompt versions")
    known = len(linked)
    for link in links:
        entry = {"name": link.name, "version": link.version}
        if entry not in linked:
            linked.append(entry)
    return json.dumps(linked) if len(linked) > known else None
