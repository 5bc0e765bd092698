"""Registered models of Unity Catalog in MLflow's own registry: a model there is one whose name has three levels.

MLflow knows no version that waits for its files, and takes files of its artifact store for a version only where a run
or a logged model has them. So a version gets a logged model of its own, the backing model, in the experiment
`registered-models`: its folder is the version's, and a tag of the version says whether its files are there. Whoever
calls has looked at the caller's rights.
"""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moorage.api.artifact_uris import MLFLOW_SCHEME, VERSIONS_FOLDER, artifact_path, databricks_uri
from moorage.api.errors import (
    ApiError,
    InvalidParameterValue,
    ResourceAlreadyExists,
    ResourceConflict,
    ResourceDoesNotExist,
)
from moorage.api.unity_catalog import VersionStatus, is_full_name
from moorage.registry.artifacts import ArtifactStore
from moorage.registry.mlflow_api import MlflowApi, MlflowRefusal
from moorage.registry.tags import (
    MODEL_ID,
    PENDING,
    REGISTRATION,
    RUN_EXPERIMENT,
    RUN_WORKSPACE,
    SOURCE,
    USER,
    is_pending,
    is_prompt,
    tags_of,
    visible,
)

_logger = logging.getLogger(__name__)

_EXPERIMENT = VERSIONS_FOLDER
_MOST_AT_ONCE = 1000
_EXISTS = "RESOURCE_ALREADY_EXISTS"
_MISSING = "RESOURCE_DOES_NOT_EXIST"
_BACKED = re.compile(rf"{VERSIONS_FOLDER}/models/(m-[0-9A-Za-z]+)(?:/.*)?", re.DOTALL)
_LOGGED_MODEL = re.compile(r"models:/(m-[0-9a-f]+)")
_LOGGED_FILES = re.compile(r".+/models/(m-[0-9A-Za-z]+)/artifacts", re.DOTALL)
_NOT_IN_MODEL_IDS = re.compile(r"[/:.%\"']")


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """A registered model. Timestamps are milliseconds since the epoch; an alias is a name and a version."""

    name: str
    created_at: int
    updated_at: int
    description: str
    aliases: tuple[tuple[str, str], ...]
    tags: Mapping[str, str]
    created_by: str | None


@dataclass(frozen=True, slots=True)
class CatalogVersion:
    """A version as its readers see it: `source` and `tags` are what its maker gave.

    `model_id` is the logged model that it was made from, or else the one that has its files.
    `files` is where its files are, as a Databricks client reads it; None where the registry has to be asked.
    `backing` is the logged model that has them, None where they are somebody else's.
    """

    name: str
    version: str
    created_at: int
    updated_at: int
    description: str
    status: VersionStatus
    status_message: str
    source: str
    files: str | None
    backing: str | None
    run_id: str | None
    run_experiment_id: str | None
    run_workspace_id: str | None
    model_id: str | None
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    created_by: str | None


@dataclass(frozen=True, slots=True)
class NewVersion:
    """What a version is made of. `user` is the name of who makes it."""

    name: str
    source: str
    user: str
    description: str = ""
    tags: Mapping[str, str] | None = None
    run_id: str | None = None
    run_workspace_id: str | None = None
    model_id: str | None = None


@dataclass(frozen=True, slots=True)
class CatalogModels:
    """Every method asks MLflow.

    Raises:
        ResourceDoesNotExist, MlflowRefusal: there is no such model, version or alias; prompts are no models.
        MlflowRefusal: what else MLflow refuses.
        TemporarilyUnavailable: MLflow does not answer.
    """

    mlflow: MlflowApi
    artifacts: ArtifactStore

    def create_model(self, name: str, description: str, tags: Mapping[str, str], user: str) -> CatalogModel:
        """
        Raises:
            ResourceAlreadyExists: a model or a prompt of that name is there.
        """
        document = {"name": name, "description": description, "tags": _tag_list({**tags, USER: user})}
        try:
            answer = self.mlflow.call("POST", "registered-models/create", document)
        except MlflowRefusal as refusal:
            if refusal.error_code == _EXISTS:
                raise ResourceAlreadyExists(refusal.message) from refusal
            raise
        return _model(answer["registered_model"])

    def model(self, name: str) -> CatalogModel:
        document = self.mlflow.call("GET", "registered-models/get", query={"name": name})["registered_model"]
        if is_prompt(tags_of(document)):
            raise ResourceDoesNotExist(f"Registered Model with name={name} not found")
        return _model(document)

    def models(self, start: str, count: int, page_token: str) -> tuple[list[CatalogModel], str | None]:
        """A page of the models whose names have three levels and begin with `start`, and the token of the next one.

        Raises:
            InvalidParameterValue: no answer has had such a token.
        """
        require_token(page_token)
        wanted = f"name LIKE {_quoted(f'{start}%' if start else '%.%.%')}"
        query = {"filter": wanted, "max_results": min(count, _MOST_AT_ONCE), "page_token": page_token or None}
        answer = self.mlflow.call("GET", "registered-models/search", query=query)
        # To LIKE `_` is any character, and upper and lower case may be the same.
        found = (one for one in answer.get("registered_models", []) if one["name"].startswith(start))
        return [_model(one) for one in found if is_full_name(one["name"])], answer.get("next_page_token")

    def describe_model(self, name: str, description: str) -> None:
        self.mlflow.call("PATCH", "registered-models/update", {"name": name, "description": description})

    def rename_model(self, name: str, new_name: str) -> None:
        """
        Raises:
            ResourceAlreadyExists: a model or a prompt of the new name is there.
        """
        try:
            self.mlflow.call("POST", "registered-models/rename", {"name": name, "new_name": new_name})
        except MlflowRefusal as refusal:
            if refusal.error_code == _EXISTS:
                # MLflow's own message holds the statement of its database.
                raise ResourceAlreadyExists(f"Registered model '{new_name}' already exists") from refusal
            raise

    def delete_model(self, name: str) -> list[CatalogVersion]:
        """Remove the model and its versions from the registry; what they were, for `discard`."""
        versions = list(self._all_versions(name))
        self.mlflow.call("DELETE", "registered-models/delete", {"name": name})
        return versions

    def set_model_tag(self, name: str, key: str, value: str) -> None:
        self.mlflow.call("POST", "registered-models/set-tag", {"name": name, "key": key, "value": value})

    def delete_model_tag(self, name: str, key: str) -> None:
        self.mlflow.call("DELETE", "registered-models/delete-tag", {"name": name, "key": key})

    def create_version(self, new: NewVersion) -> CatalogVersion:
        """Make a version that waits for its files: `finalize` makes it ready.

        Raises:
            ResourceConflict: the experiment that the files of versions are in is somebody else's.
        """
        experiment = self._experiment_of_run(new.run_id)
        hidden = {
            REGISTRATION: PENDING,
            SOURCE: new.source,
            USER: new.user,
            MODEL_ID: new.model_id,
            RUN_WORKSPACE: new.run_workspace_id,
            RUN_EXPERIMENT: experiment,
        }
        tags = {**(new.tags or {}), **{key: value for key, value in hidden.items() if value}}
        backing = self._create_backing(new.name, new.run_id if experiment is not None else None)
        document = {
            "name": new.name,
            "source": backing["artifact_uri"],
            "model_id": backing["model_id"],
            "run_id": new.run_id,
            "description": new.description,
            "tags": _tag_list(tags),
        }
        try:
            answer = self.mlflow.call("POST", "model-versions/create", document)
        except MlflowRefusal:
            self._delete_backing(backing["model_id"])
            raise
        return _version(answer["model_version"])

    def version(self, name: str, version: str) -> CatalogVersion:
        query = {"name": name, "version": version}
        return self._with_files(self.mlflow.call("GET", "model-versions/get", query=query)["model_version"])

    def version_of_alias(self, name: str, alias: str) -> CatalogVersion:
        try:
            answer = self.mlflow.call("GET", "registered-models/alias", query={"name": name, "alias": alias})
        except MlflowRefusal as refusal:
            if refusal.message == f"Registered model alias {alias} not found.":
                raise ResourceDoesNotExist(refusal.message) from refusal
            raise
        return self._with_files(answer["model_version"])

    def versions(
        self, member: str | None, value: str, count: int, page_token: str
    ) -> tuple[list[CatalogVersion], str | None]:
        """A page of the versions whose `name` or `run_id`, which `member` says, is `value`; of all when it is None.

        Versions of a model have the newest in front. The token is that of the next page.

        Raises:
            InvalidParameterValue: no answer has had such a token.
        """
        require_token(page_token)
        query = {
            "filter": None if member is None else f"{member} = {_quoted(value)}",
            "max_results": min(count, _MOST_AT_ONCE),
            "order_by": "version_number DESC" if member == "name" else None,
            "page_token": page_token or None,
        }
        answer = self.mlflow.call("GET", "model-versions/search", query=query)
        found = (one for one in answer.get("model_versions", []) if is_full_name(one["name"]))
        return [_version(one) for one in found], answer.get("next_page_token")

    def describe_version(self, name: str, version: str, description: str) -> None:
        document = {"name": name, "version": version, "description": description}
        self.mlflow.call("PATCH", "model-versions/update", document)

    def finalize(self, name: str, version: str) -> CatalogVersion:
        """The version has its files: it is ready. Nothing changes when it was before."""
        found = self.version(name, version)
        if found.status != VersionStatus.PENDING_REGISTRATION:
            return found
        if found.backing is not None:
            done = {"model_id": found.backing, "status": "LOGGED_MODEL_READY"}
            self.mlflow.call("PATCH", f"logged-models/{found.backing}", done)
        key = {"name": name, "version": version, "key": REGISTRATION}
        self.mlflow.call("DELETE", "model-versions/delete-tag", key)
        return self.version(name, version)

    def delete_version(self, name: str, version: str) -> CatalogVersion:
        """Remove the version from the registry; what it was, for `discard`."""
        found = self.version(name, version)
        self.mlflow.call("DELETE", "model-versions/delete", {"name": name, "version": version})
        return found

    def discard(self, deleted: Sequence[CatalogVersion]) -> None:
        """Remove the files of versions that are no longer in the registry, where no other version has them too.

        What cannot be removed stays, and the log says so: nothing refers to it.
        """
        for version in deleted:
            if version.backing is None:
                continue
            try:
                if self._is_shared(version.backing):
                    continue
                self.artifacts.delete(f"{VERSIONS_FOLDER}/models/{version.backing}")
                self._delete_backing(version.backing)
            except (ApiError, OSError):
                _logger.exception("The files of version %s of %s were not removed", version.version, version.name)

    def set_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        document = {"name": name, "version": version, "key": key, "value": value}
        self.mlflow.call("POST", "model-versions/set-tag", document)

    def delete_version_tag(self, name: str, version: str, key: str) -> None:
        document = {"name": name, "version": version, "key": key}
        self.mlflow.call("DELETE", "model-versions/delete-tag", document)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        document = {"name": name, "alias": alias, "version": version}
        self.mlflow.call("POST", "registered-models/alias", document)

    def delete_alias(self, name: str, alias: str) -> None:
        if alias not in dict(self.model(name).aliases):
            raise ResourceDoesNotExist(f"Registered model '{name}' has no alias '{alias}'")
        self.mlflow.call("DELETE", "registered-models/alias", {"name": name, "alias": alias})

    def _all_versions(self, name: str) -> Iterator[CatalogVersion]:
        token: str | None = ""
        while token is not None:
            found, token = self.versions("name", name, _MOST_AT_ONCE, token)
            yield from found

    def _with_files(self, document: dict[str, Any]) -> CatalogVersion:
        """A version of whose files it is said where they are."""
        name, version = document["name"], document["version"]
        if is_prompt(tags_of(document)):
            raise ResourceDoesNotExist(f"Model Version (name={name}, version={version}) not found")
        if artifact_path(document.get("source", "")) is not None:
            return _version(document)
        return _version(document, self._download_uri(name, version))

    def _download_uri(self, name: str, version: str) -> str:
        query = {"name": name, "version": version}
        return str(self.mlflow.call("GET", "model-versions/get-download-uri", query=query)["artifact_uri"])

    def _experiment_of_run(self, run_id: str | None) -> str | None:
        """The run may be another server's, or deleted."""
        if run_id is None:
            return None
        try:
            answer = self.mlflow.call("GET", "runs/get", query={"run_id": run_id})
        except MlflowRefusal as refusal:
            if refusal.error_code == _MISSING:
                return None
            raise
        return str(answer["run"]["info"]["experiment_id"])

    def _create_backing(self, name: str, run_id: str | None) -> dict[str, Any]:
        """A logged model for the files of a version of that model: its `model_id` and `artifact_uri`, and more.

        Its run is the version's: MLflow's client, when it copies a version, asks the logged model for the run.
        """
        document = {
            "experiment_id": self._experiment(),
            "name": _NOT_IN_MODEL_IDS.sub("_", name),
            "source_run_id": run_id,
        }
        info: dict[str, Any] = self.mlflow.call("POST", "logged-models", document)["model"]["info"]
        if _backing(info["artifact_uri"]) != info["model_id"]:
            self._delete_backing(info["model_id"])
            raise ResourceConflict(
                f"MLflow's experiment '{_EXPERIMENT}' keeps its files elsewhere than in "
                f"{MLFLOW_SCHEME}{VERSIONS_FOLDER}, where the files of versions belong; rename that experiment"
            )
        return info

    def _experiment(self) -> str:
        """The id of the experiment for backing models, made or restored when it is not there."""
        try:
            found = self._find_experiment()
        except MlflowRefusal as refusal:
            if refusal.error_code != _MISSING:
                raise
            location = f"{MLFLOW_SCHEME}{VERSIONS_FOLDER}"
            try:
                document = {"name": _EXPERIMENT, "artifact_location": location}
                return str(self.mlflow.call("POST", "experiments/create", document)["experiment_id"])
            except MlflowRefusal as late:
                if late.error_code != _EXISTS:
                    raise
                found = self._find_experiment()  # another request was first
        if found["lifecycle_stage"] == "deleted":
            self.mlflow.call("POST", "experiments/restore", {"experiment_id": found["experiment_id"]})
        return str(found["experiment_id"])

    def _find_experiment(self) -> dict[str, Any]:
        query = {"experiment_name": _EXPERIMENT}
        found: dict[str, Any] = self.mlflow.call("GET", "experiments/get-by-name", query=query)["experiment"]
        return found

    def _delete_backing(self, model_id: str) -> None:
        """One that is not there any more is deleted."""
        try:
            self.mlflow.call("DELETE", f"logged-models/{model_id}")
        except MlflowRefusal as refusal:
            if refusal.error_code != _MISSING:
                raise

    def _is_shared(self, backing: str) -> bool:
        """Whether versions in the registry, copies of others, have the files of that backing model."""
        location = f"{VERSIONS_FOLDER}/models/{backing}"
        for pattern in (f"{MLFLOW_SCHEME}{location}%", f"models:/{backing}"):
            if next(self._versions_of_source(pattern), None) is not None:
                return True
        for copy in self._versions_of_source("models:/%/%"):
            if _backing(self._download_uri(copy["name"], copy["version"])) == backing:
                return True
        return False

    def _versions_of_source(self, pattern: str) -> Iterator[dict[str, Any]]:
        token: str | None = None
        while True:
            query = {"filter": f"source_path LIKE '{pattern}'", "max_results": _MOST_AT_ONCE, "page_token": token}
            answer = self.mlflow.call("GET", "model-versions/search", query=query)
            yield from answer.get("model_versions", [])
            token = answer.get("next_page_token")
            if not token:
                return


def backing_of(path: str) -> str | None:
    """The id of the backing model whose files are in that folder of the artifact store, or below it."""
    match = _BACKED.fullmatch(path)
    return match[1] if match is not None else None


def require_token(token: str) -> None:
    """
    Raises:
        InvalidParameterValue: it is no token of a page. MLflow fails on some that are none.
    """
    if not token:
        return
    try:
        offset = json.loads(base64.b64decode(token, validate=True))["offset"]
    except (ValueError, KeyError, TypeError, RecursionError):
        offset = None
    if type(offset) is not int or not 0 < offset < 2**31:
        raise InvalidParameterValue("Invalid value for 'page_token': must be the next_page_token of an answer")


def _quoted(value: str) -> str:
    """A value in a filter of MLflow's. None has both kinds of quotes."""
    return f'"{value}"' if "'" in value else f"'{value}'"


def _tag_list(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def _backing(uri: str) -> str | None:
    """The backing model whose folder has the files at that URI."""
    return backing_of(artifact_path(uri) or "")


def _logged_model(uri: str) -> str | None:
    """The logged model that a version was made from, when it was made from one of that URI or from its files."""
    match = _LOGGED_MODEL.fullmatch(uri) or _LOGGED_FILES.fullmatch(artifact_path(uri) or "")
    return match[1] if match is not None else None


def _model(document: Mapping[str, Any]) -> CatalogModel:
    tags = tags_of(document)
    return CatalogModel(
        name=document["name"],
        created_at=int(document.get("creation_timestamp", 0)),
        updated_at=int(document.get("last_updated_timestamp", 0)),
        description=document.get("description", ""),
        aliases=tuple((one["alias"], str(one["version"])) for one in document.get("aliases", [])),
        tags=visible(tags),
        created_by=tags.get(USER) or document.get("user_id") or None,
    )


def _version(document: Mapping[str, Any], files: str | None = None) -> CatalogVersion:
    """`files` is where its files are, when that was asked for."""
    tags, source = tags_of(document), document.get("source", "")
    if artifact_path(source) is not None:
        files = source
    logged = _logged_model(tags.get(SOURCE) or source)
    pending = is_pending(tags)
    return CatalogVersion(
        name=document["name"],
        version=str(document["version"]),
        created_at=int(document.get("creation_timestamp", 0)),
        updated_at=int(document.get("last_updated_timestamp", 0)),
        description=document.get("description", ""),
        status=VersionStatus.PENDING_REGISTRATION if pending else VersionStatus(document.get("status", "READY")),
        status_message=document.get("status_message", ""),
        source=tags.get(SOURCE) or databricks_uri(source),
        files=None if files is None else databricks_uri(files),
        backing=_backing(source),
        run_id=document.get("run_id") or None,
        run_experiment_id=tags.get(RUN_EXPERIMENT),
        run_workspace_id=tags.get(RUN_WORKSPACE),
        # Never none of a version with files of its own: MLflow's client cannot copy a version without one.
        model_id=tags.get(MODEL_ID) or logged or _logged_model(files or ""),
        aliases=tuple(document.get("aliases", ())),
        tags=visible(tags),
        created_by=tags.get(USER) or document.get("user_id") or None,
    )
