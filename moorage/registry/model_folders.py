"""The folder of files that a version of a registered model consists of, wherever the registry says that it is.

Most are in the embedded server's artifact store, a folder of this machine. MLflow's client, which takes seconds to
import and a hundred megabytes, is there for all others.
"""

from __future__ import annotations

import importlib
import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests

from moorage.api.artifact_uris import artifact_path, plain_path
from moorage.api.errors import InternalError, InvalidParameterValue, ResourceDoesNotExist, TemporarilyUnavailable
from moorage.registry.artifacts import BrokenOff, Entry, LocalArtifacts, path_parts

_logger = logging.getLogger(__name__)

# MLflow's own limits are minutes; what fails is tried again by who asked.
_HTTP_LIMITS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0.5",
}

_importing = threading.Lock()


class ModelFolder(Protocol):
    """Every method raises `ResourceDoesNotExist` when there is nothing (any more), and `TemporarilyUnavailable` when
    what has the files does not answer."""

    def paths(self) -> Iterator[str]:
        """Those of the files, relative to the folder; the files that are in no folder below it come first."""
        ...

    def read(self, path: str) -> bytes:
        """A small file."""
        ...

    def copy(self, destination: Path) -> Path:
        """Put all that is in it into `destination`, which is empty, or a folder below; which one is returned."""
        ...


def model_folder(uri: str, artifacts: LocalArtifacts | None, tracking_uri: str, token: str | None) -> ModelFolder:
    """The one at that URI, in `artifacts` if it is there. Others are MLflow's to find: it asks the server at
    `tracking_uri`, with `token`.

    Raises:
        InvalidParameterValue: it is no path of the store.
    """
    path, parts = artifact_path(uri), urlsplit(uri)
    if artifacts is None or path is None or parts.netloc or parts.query or parts.fragment:
        return _FolderElsewhere(uri, tracking_uri, token)
    # MLflow's server reads paths so; it is what the caller's right was looked at for.
    return _StoredFolder(artifacts, "/".join(path_parts(plain_path(path))))


@dataclass(frozen=True, slots=True)
class _StoredFolder:
    artifacts: LocalArtifacts
    path: str

    def paths(self) -> Iterator[str]:
        return (self._relative(entry) for entry in self._walk() if not entry.is_folder)

    def read(self, path: str) -> bytes:
        return b"".join(self._chunks(f"{self.path}/{path}"))

    def copy(self, destination: Path) -> Path:
        for entry in self._walk():
            target = destination.joinpath(*path_parts(self._relative(entry)))
            if entry.is_folder:
                target.mkdir(parents=True, exist_ok=True)
                continue
            with target.open("wb") as file:
                for chunk in self._chunks(entry.path):
                    file.write(chunk)
        return destination

    def _walk(self) -> Iterator[Entry]:
        """What is in the folder, and then what is in those below it, each folder before what it holds."""
        folders = [self.path]
        while folders:
            folder = folders.pop()
            entries = self.artifacts.entries(folder)
            if not entries and folder == self.path:
                raise ResourceDoesNotExist(f"There are no files at '{folder}' of the artifact store")
            yield from entries
            folders += [entry.path for entry in entries if entry.is_folder]

    def _relative(self, entry: Entry) -> str:
        return entry.path.removeprefix(f"{self.path}/")

    def _chunks(self, path: str) -> Iterator[bytes]:
        file = self.artifacts.open(path)
        if file is None:
            raise ResourceDoesNotExist(f"There is no file '{path}' in the artifact store")
        with closing(file):
            try:
                yield from file.chunks(0, file.entry.size)
            except BrokenOff as error:
                raise TemporarilyUnavailable(str(error), retry_after_seconds=5) from error


@dataclass(frozen=True, slots=True)
class _FolderElsewhere:
    uri: str
    tracking_uri: str
    token: str | None

    def paths(self) -> Iterator[str]:
        with self._mlflow() as mlflow:
            repository = self._repository(mlflow)
            folders: list[str | None] = [None]
            while folders:
                folder = folders.pop()
                entries = repository.list_artifacts(folder)
                if not entries and folder is None:
                    raise ResourceDoesNotExist(f"There are no files at '{self.uri}'")
                yield from (entry.path for entry in entries if not entry.is_dir)
                folders += [entry.path for entry in entries if entry.is_dir]

    def read(self, path: str) -> bytes:
        with self._mlflow() as mlflow, tempfile.TemporaryDirectory() as folder:
            return Path(self._repository(mlflow).download_artifacts(path, folder)).read_bytes()

    def copy(self, destination: Path) -> Path:
        with self._mlflow() as mlflow:
            downloaded: str = mlflow.artifacts.download_artifacts(
                artifact_uri=self.uri, dst_path=str(destination), tracking_uri=self.tracking_uri
            )
        return Path(downloaded)

    def _repository(self, mlflow: Any) -> Any:
        return mlflow.store.artifact.artifact_repository_registry.get_artifact_repository(self.uri)

    @contextmanager
    def _mlflow(self) -> Iterator[Any]:
        """MLflow, its failures turned into ours.

        It reads its credential and time limits from the environment, so they are set in this process's. Children of
        the control plane get an environment of their own, without them.
        """
        for variable, value in _HTTP_LIMITS.items():
            os.environ.setdefault(variable, value)
        if self.token is None:
            os.environ.pop("MLFLOW_TRACKING_TOKEN", None)
        else:
            os.environ["MLFLOW_TRACKING_TOKEN"] = self.token
        mlflow = load_mlflow()
        # Sources such as `models:/m-...` are resolved by MLflow through the process-wide URI.
        mlflow.set_tracking_uri(self.tracking_uri)
        try:
            yield mlflow
        except mlflow.exceptions.MlflowException as error:
            code = str(error.error_code)
            if code in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"):
                raise ResourceDoesNotExist(error.message) from error
            if code == "INVALID_PARAMETER_VALUE":
                raise InvalidParameterValue(error.message) from error
            if code in ("UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED"):
                _logger.exception("the server's own credential is refused for the files at %s", self.uri)
                raise InternalError("The artifact store refused the server's credential") from error
            raise self._unavailable(error) from error
        except (requests.RequestException, ConnectionError, TimeoutError) as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> TemporarilyUnavailable:
        _logger.warning("the files at %s cannot be read: %s", self.uri, error)
        return TemporarilyUnavailable("The artifact store does not answer", retry_after_seconds=5)


def load_mlflow() -> Any:
    """The `mlflow` package with all that is needed of it here; the first call takes seconds.

    One thread at a time: its modules import one another, and two threads that begin at different ends of the
    circle would wait for each other.
    """
    with _importing:
        mlflow = importlib.import_module("mlflow")
        for module in ("artifacts", "exceptions", "store.artifact.artifact_repository_registry"):
            importlib.import_module(f"mlflow.{module}")
        return mlflow
