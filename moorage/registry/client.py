"""The MLflow model registry as the control plane sees it: does a version exist, and where are its files."""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import requests
import yaml

from moorage.api.errors import (
    InternalError,
    InvalidParameterValue,
    ResourceDoesNotExist,
    TemporarilyUnavailable,
)
from moorage.registry.tags import USER, is_pending, visible
from moorage.separation import make_readable

if TYPE_CHECKING:
    from mlflow import MlflowClient

_logger = logging.getLogger(__name__)

_importing = threading.Lock()

_READY = "READY"
_PENDING = "PENDING_REGISTRATION"
_MISSING = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")
_VERSIONS_AT_ONCE = 1000
_MODELS_AT_ONCE = 20
_MOST_FILES = 2000
_MODEL_FILE = "MLmodel"
# A request of a user waits for these, so MLflow's own minutes of patience are too much.
_HTTP_LIMITS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0.5",
}


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


def load_mlflow() -> Any:
    """The `mlflow` package with all that the registry needs of it; the first call takes seconds.

    One thread at a time: its modules import one another, and two threads that begin at different ends of the
    circle would wait for each other.
    """
    with _importing:
        mlflow = importlib.import_module("mlflow")
        for module in ("artifacts", "exceptions", "tracking", "store.artifact.artifact_repository_registry"):
            importlib.import_module(f"mlflow.{module}")
        return mlflow


class MlflowRegistry:
    """The registry behind an MLflow tracking URI. MLflow is imported by the first call: it takes seconds.

    MLflow reads its credential and time limits from the environment, so they are set in this process's.
    Children of the control plane get an environment of their own, without them.
    """

    def __init__(self, tracking_uri: str, token: Callable[[], str | None]) -> None:
        self._tracking_uri = tracking_uri
        self._token = token

    def model_version(self, name: str, version: str) -> ModelVersion:
        with self._failures_of(name, version):
            return _version(self._client().get_model_version(name, version))

    def model_versions(self, name: str) -> list[ModelVersion]:
        if "'" in name and '"' in name:
            raise InvalidParameterValue(f"The model registry cannot be asked for a name with both quotes: {name}")
        quoted = f'"{name}"' if "'" in name else f"'{name}'"
        found: list[ModelVersion] = []
        token: str | None = None
        with self._failures():
            while True:
                page = self._client().search_model_versions(f"name={quoted}", _VERSIONS_AT_ONCE, page_token=token)
                found += map(_version, page)
                token = page.token
                if not token:
                    return found

    def changed_since(self, timestamp: int) -> dict[str, int]:
        changed: dict[str, int] = {}
        token: str | None = None
        newest_first = ["last_updated_timestamp DESC"]
        with self._failures():
            while True:
                page = self._client().search_registered_models(None, _MODELS_AT_ONCE, newest_first, token)
                for one in page:
                    if one.last_updated_timestamp < timestamp:
                        return changed
                    changed[one.name] = one.last_updated_timestamp
                token = page.token
                if not token:
                    return changed

    def files(self, name: str, version: str) -> ModelFiles:
        with self._failures_of(name, version), tempfile.TemporaryDirectory() as folder:
            uri = self._client().get_model_version_download_uri(name, version)
            registry = load_mlflow().store.artifact.artifact_repository_registry
            repository = registry.get_artifact_repository(uri)
            paths: list[str] = []
            folders: list[str | None] = [None]
            while folders and len(paths) < _MOST_FILES:
                for one in repository.list_artifacts(folders.pop()):
                    if one.is_dir:
                        folders.append(one.path)
                    else:
                        paths.append(one.path)
            if _MODEL_FILE not in paths:
                raise InvalidParameterValue(
                    f"Version {version} of registered model '{name}' holds no {_MODEL_FILE} file; "
                    "register the folder that an MLflow flavor's log_model wrote"
                )
            text = Path(repository.download_artifacts(_MODEL_FILE, folder)).read_text("utf-8", "replace")
        try:
            document = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise InvalidParameterValue(f"The {_MODEL_FILE} of version {version} of '{name}' is damaged") from error
        return ModelFiles(document if isinstance(document, dict) else {}, tuple(paths))

    def transition_stage(self, name: str, version: str, stage: str, archive_existing: bool) -> ModelVersion:
        with self._failures_of(name, version), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # stages are an older way of MLflow's
            client = self._client()
            return _version(client.transition_model_version_stage(name, version, stage, archive_existing))

    def has_model(self, name: str) -> bool:
        mlflow = load_mlflow()
        with self._failures():
            try:
                self._client().get_registered_model(name)
            except mlflow.exceptions.MlflowException as error:
                # A name that the registry refuses belongs to no model.
                if str(error.error_code) in (*_MISSING, "INVALID_PARAMETER_VALUE"):
                    return False
                raise
        return True

    def download(self, name: str, version: str, destination: Path) -> Path:
        if destination.is_dir():
            return destination
        destination.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=_unfinished_prefix(destination), dir=destination.parent))
        try:
            model = self._fetch(name, version, unfinished)
            if not (model / _MODEL_FILE).is_file():
                raise InvalidParameterValue(
                    f"Version {version} of registered model '{name}' holds no {_MODEL_FILE} file; "
                    "register the folder that an MLflow flavor's log_model wrote"
                )
            make_readable(model)
            _move_into_place(model, destination)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return destination

    def _fetch(self, name: str, version: str, folder: Path) -> Path:
        with self._failures_of(name, version):
            uri = self._client().get_model_version_download_uri(name, version)
            return Path(
                load_mlflow().artifacts.download_artifacts(
                    artifact_uri=uri, dst_path=str(folder), tracking_uri=self._tracking_uri
                )
            )

    def _client(self) -> MlflowClient:
        for variable, value in _HTTP_LIMITS.items():
            os.environ.setdefault(variable, value)
        token = self._token()
        if token is None:
            os.environ.pop("MLFLOW_TRACKING_TOKEN", None)
        else:
            os.environ["MLFLOW_TRACKING_TOKEN"] = token

        mlflow = load_mlflow()
        # Sources such as `models:/m-...` are resolved by MLflow through the process-wide URI.
        mlflow.set_tracking_uri(self._tracking_uri)
        client: MlflowClient = mlflow.MlflowClient(
            tracking_uri=self._tracking_uri, registry_uri=self._tracking_uri
        )
        return client

    @contextmanager
    def _failures_of(self, name: str, version: str) -> Iterator[None]:
        """Turn MLflow's failures, those about this version too, into ours."""
        mlflow = load_mlflow()
        with self._failures():
            try:
                yield
            except mlflow.exceptions.MlflowException as error:
                code = str(error.error_code)
                if code in _MISSING:
                    raise ResourceDoesNotExist(
                        f"Version {version} of registered model '{name}' does not exist in the model registry"
                    ) from error
                if code == "INVALID_PARAMETER_VALUE":
                    raise InvalidParameterValue(
                        f"The model registry refused version {version} of model '{name}': {error.message}"
                    ) from error
                raise

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Turn MLflow's failures into ours."""
        mlflow = load_mlflow()
        try:
            yield
        except mlflow.exceptions.MlflowException as error:
            if str(error.error_code) in ("UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED"):
                _logger.exception("MLflow at %s refused the server's own credential", self._tracking_uri)
                raise InternalError("The model registry refused the server's credential") from error
            _logger.warning("MLflow at %s failed: %s", self._tracking_uri, error)
            raise TemporarilyUnavailable("The model registry does not answer", retry_after_seconds=5) from error
        except (requests.RequestException, ConnectionError, TimeoutError) as error:
            _logger.warning("MLflow at %s cannot be reached: %s", self._tracking_uri, error)
            raise TemporarilyUnavailable("The model registry does not answer", retry_after_seconds=5) from error


def _version(found: Any) -> ModelVersion:
    """MLflow's object as ours. To MLflow a version that still waits for its files is ready."""
    tags = dict(found.tags or {})
    return ModelVersion(
        name=str(found.name),
        version=str(found.version),
        status=_PENDING if is_pending(tags) else str(found.status),
        status_message=str(found.status_message or ""),
        source=str(found.source or ""),
        run_id=found.run_id or None,
        stage=str(found.current_stage or ""),
        run_link=str(found.run_link or ""),
        description=str(found.description or ""),
        user_id=str(found.user_id or tags.get(USER, "")),
        creation_timestamp=int(found.creation_timestamp or 0),
        last_updated_timestamp=int(found.last_updated_timestamp or 0),
        tags=visible(tags),
        aliases=tuple(found.aliases or ()),
    )


def discard_unfinished_downloads(folder: Path) -> None:
    """Remove what downloads that were killed left in `folder`. Only when none is running."""
    for path in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(path, ignore_errors=True)


_UNFINISHED = ".unfinished-"


def _unfinished_prefix(destination: Path) -> str:
    return f"{_UNFINISHED}{destination.name}-"


def _move_into_place(model: Path, destination: Path) -> None:
    try:
        model.rename(destination)
    except OSError:
        # Another download of the same version was first; its files are the same.
        if not destination.is_dir():
            raise
