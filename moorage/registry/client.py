"""The MLflow model registry as the control plane sees it: does a version exist, and where are its files."""

from __future__ import annotations

import itertools
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml

from moorage.api.errors import InternalError, InvalidParameterValue, ResourceDoesNotExist, TemporarilyUnavailable
from moorage.api.unity_catalog import PROMPT_TAG
from moorage.registry.artifacts import LocalArtifacts
from moorage.registry.mlflow_api import MlflowApi, MlflowRefusal
from moorage.registry.model_folders import ModelFolder, model_folder
from moorage.registry.tags import USER, is_pending, tags_of, visible
from moorage.separation import make_readable

_logger = logging.getLogger(__name__)

_READY = "READY"
_PENDING = "PENDING_REGISTRATION"
_MISSING = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")
_INVALID = "INVALID_PARAMETER_VALUE"
_VERSIONS_AT_ONCE = 1000
_MODELS_AT_ONCE = 20
_MOST_FILES = 2000
_MODEL_FILE = "MLmodel"


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version of a registered model. `status` and `stage` are MLflow's, `source` where its files were logged.

    Timestamps are milliseconds since the epoch.
    """

    name: str
    version: str
    status: str = _READY
    status_message: str = ""
    source: str = ""
    run_id: str | None = None
    stage: str = ""
    run_link: str = ""
    description: str = ""
    user_id: str = ""
    creation_timestamp: int = 0
    last_updated_timestamp: int = 0
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    def require_ready(self) -> None:
        """
        Raises:
            InvalidParameterValue: the registry has not finished with this version, or failed to make it.
        """
        if self.status != _READY:
            reason = f": {self.status_message}" if self.status_message else ""
            raise InvalidParameterValue(
                f"Version {self.version} of registered model '{self.name}' must have status READY to be served, "
                f"it has {self.status}{reason}"
            )


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What a version consists of: its MLmodel document, and the paths of its files."""

    document: Mapping[str, Any]
    paths: tuple[str, ...]


class ModelRegistry(Protocol):
    """What serving needs of a registry. Names are `model` or `catalog.schema.model`."""

    def model_version(self, name: str, version: str) -> ModelVersion:
        """Look a version up, whatever its status.

        Raises:
            ResourceDoesNotExist: no such model or version.
            TemporarilyUnavailable: the registry does not answer.
        """
        ...

    def has_model(self, name: str) -> bool:
        """Whether there is a model of that name, with versions or without.

        Raises:
            TemporarilyUnavailable: the registry does not answer.
        """
        ...

    def model_versions(self, name: str) -> list[ModelVersion]:
        """Every version of a model, whatever its status; none when there is no such model.

        Raises:
            InvalidParameterValue: the registry cannot be asked for a model of that name.
            TemporarilyUnavailable: the registry does not answer.
        """
        ...

    def changed_since(self, timestamp: int) -> dict[str, int]:
        """The models that were last changed at `timestamp` (milliseconds since the epoch) or later, each with when.

        Raises:
            TemporarilyUnavailable: the registry does not answer.
        """
        ...

    def files(self, name: str, version: str) -> ModelFiles:
        """What a version consists of, without its large files; raises as `download`."""
        ...

    def transition_stage(self, name: str, version: str, stage: str, archive_existing: bool) -> ModelVersion:
        """Move a version to a stage, and the others that are there to Archived where that is wanted.

        Raises:
            ResourceDoesNotExist: no such model or version.
            InvalidParameterValue: the registry refuses it.
            TemporarilyUnavailable: the registry does not answer.
        """
        ...

    def download(self, name: str, version: str, destination: Path) -> Path:
        """Put the model's folder at `destination`, complete or not at all, and return that path.

        Raises:
            ResourceDoesNotExist: no such model or version, or its files are gone.
            InvalidParameterValue: the version's files are no MLflow model.
            TemporarilyUnavailable: the registry does not answer.
        """
        ...


class MlflowRegistry:
    """MLflow's registry, of the embedded server or an external one.

    Args:
        api: the server's.
        artifacts: the embedded server's files; those of an external one are read by MLflow's client.
        tracking_uri: where that client finds the server.
        token: what it is let in by.
    """

    def __init__(
        self, api: MlflowApi, artifacts: LocalArtifacts | None, tracking_uri: str, token: str | None
    ) -> None:
        self._api = api
        self._artifacts = artifacts
        self._tracking_uri = tracking_uri
        self._token = token

    def model_version(self, name: str, version: str) -> ModelVersion:
        with _failures_of(name, version):
            query = {"name": name, "version": version}
            found = self._api.call("GET", "model-versions/get", query=query)["model_version"]
            if PROMPT_TAG in tags_of(found):
                raise _no_version(name, version)
            return _version(found)

    def model_versions(self, name: str) -> list[ModelVersion]:
        if "'" in name and '"' in name:
            raise InvalidParameterValue(f"The model registry cannot be asked for a name with both quotes: {name}")
        quoted = f'"{name}"' if "'" in name else f"'{name}'"
        query = {"filter": f"name={quoted}", "max_results": _VERSIONS_AT_ONCE}
        return [_version(one) for one in self._pages("model-versions", "model_versions", query)]

    def changed_since(self, timestamp: int) -> dict[str, int]:
        query = {"max_results": _MODELS_AT_ONCE, "order_by": "last_updated_timestamp DESC"}
        changed: dict[str, int] = {}
        for one in self._pages("registered-models", "registered_models", query):
            when = int(one.get("last_updated_timestamp") or 0)
            if when < timestamp:
                break
            changed[str(one["name"])] = when
        return changed

    def _pages(self, kind: str, field: str, query: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """What a search finds, page by page."""
        token: str | None = None
        while True:
            with _failures():
                page = self._api.call("GET", f"{kind}/search", query={**query, "page_token": token})
            yield from page.get(field) or ()
            token = page.get("next_page_token")
            if not token:
                return

    def files(self, name: str, version: str) -> ModelFiles:
        folder = self._folder(name, version)
        with _file_failures_of(name, version):
            paths = tuple(itertools.islice(folder.paths(), _MOST_FILES))
            if _MODEL_FILE not in paths and len(paths) < _MOST_FILES:
                raise _no_model(name, version)
            text = folder.read(_MODEL_FILE).decode("utf-8", "replace")
        try:
            document = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InvalidParameterValue(f"The {_MODEL_FILE} of version {version} of '{name}' is damaged") from error
        return ModelFiles(document if isinstance(document, dict) else {}, paths)

    def transition_stage(self, name: str, version: str, stage: str, archive_existing: bool) -> ModelVersion:
        document = {"name": name, "version": version, "stage": stage, "archive_existing_versions": archive_existing}
        with _failures_of(name, version):
            answer = self._api.call("POST", "model-versions/transition-stage", document)
            return _version(answer["model_version"])

    def has_model(self, name: str) -> bool:
        with _failures():
            try:
                found = self._api.call("GET", "registered-models/get", query={"name": name})["registered_model"]
            except MlflowRefusal as refusal:
                # A name that the registry refuses belongs to no model.
                if refusal.error_code in (*_MISSING, _INVALID):
                    return False
                raise
        return PROMPT_TAG not in tags_of(found)

    def download(self, name: str, version: str, destination: Path) -> Path:
        if destination.is_dir():
            return destination
        folder = self._folder(name, version)
        with _file_failures_of(name, version), _unfinished_folder(destination) as unfinished:
            model = folder.copy(unfinished)
            if not (model / _MODEL_FILE).is_file():
                raise _no_model(name, version)
            make_readable(model)
            _move_into_place(model, destination)
        return destination

    def _folder(self, name: str, version: str) -> ModelFolder:
        with _failures_of(name, version):
            query = {"name": name, "version": version}
            answer = self._api.call("GET", "model-versions/get-download-uri", query=query)
        return model_folder(answer.get("artifact_uri", ""), self._artifacts, self._tracking_uri, self._token)


@contextmanager
def _failures_of(name: str, version: str) -> Iterator[None]:
    """Turn MLflow's refusals of this version, and of all else, into ours."""
    with _failures():
        try:
            yield
        except MlflowRefusal as refusal:
            if refusal.error_code in _MISSING:
                raise _no_version(name, version) from refusal
            if refusal.error_code == _INVALID:
                raise InvalidParameterValue(
                    f"The model registry refused version {version} of model '{name}': {refusal.message}"
                ) from refusal
            raise


@contextmanager
def _failures() -> Iterator[None]:
    """Turn what MLflow refuses for no fault of the caller's into something that is worth another try."""
    try:
        yield
    except MlflowRefusal as refusal:
        _logger.warning("MLflow failed with %s: %s", refusal.error_code, refusal.message)
        raise TemporarilyUnavailable("The model registry does not answer", retry_after_seconds=5) from refusal


@contextmanager
def _file_failures_of(name: str, version: str) -> Iterator[None]:
    try:
        yield
    except ResourceDoesNotExist as error:
        raise ResourceDoesNotExist(
            f"The files of version {version} of registered model '{name}' are gone: {error.message}"
        ) from error
    except OSError as error:
        _logger.exception("the files of version %s of model '%s' cannot be copied", version, name)
        raise InternalError(
            f"The files of version {version} of registered model '{name}' cannot be copied: {error.strerror or error}"
        ) from error


def _no_version(name: str, version: str) -> ResourceDoesNotExist:
    return ResourceDoesNotExist(
        f"Version {version} of registered model '{name}' does not exist in the model registry"
    )


def _no_model(name: str, version: str) -> InvalidParameterValue:
    return InvalidParameterValue(
        f"Version {version} of registered model '{name}' holds no {_MODEL_FILE} file; "
        "register the folder that an MLflow flavor's log_model wrote"
    )


def _version(found: Mapping[str, Any]) -> ModelVersion:
    """MLflow's object as ours. To MLflow a version that still waits for its files is ready."""
    tags = tags_of(found)
    return ModelVersion(
        name=str(found["name"]),
        version=str(found["version"]),
        status=_PENDING if is_pending(tags) else str(found.get("status") or _READY),
        status_message=str(found.get("status_message") or ""),
        source=str(found.get("source") or ""),
        run_id=found.get("run_id") or None,
        stage=str(found.get("current_stage") or ""),
        run_link=str(found.get("run_link") or ""),
        description=str(found.get("description") or ""),
        user_id=str(found.get("user_id") or tags.get(USER, "")),
        creation_timestamp=int(found.get("creation_timestamp") or 0),
        last_updated_timestamp=int(found.get("last_updated_timestamp") or 0),
        tags=visible(tags),
        aliases=tuple(found.get("aliases") or ()),
    )


def discard_unfinished_downloads(folder: Path) -> None:
    """Remove what downloads that were killed left in `folder`. Only when none is running."""
    for path in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(path, ignore_errors=True)


_UNFINISHED = ".unfinished-"


@contextmanager
def _unfinished_folder(destination: Path) -> Iterator[Path]:
    """An empty folder beside `destination`, and gone afterwards with what is still in it."""
    destination.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = tempfile.mkdtemp(prefix=f"{_UNFINISHED}{destination.name}-", dir=destination.parent)
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _move_into_place(model: Path, destination: Path) -> None:
    try:
        model.rename(destination)
    except OSError:
        # Another download of the same version was first; its files are the same.
        if not destination.is_dir():
            raise
