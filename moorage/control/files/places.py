"""Which path of the Files API is which file of the artifact store, and who may read and write it.

`/Models/CATALOG/SCHEMA/MODEL/VERSION/...` are the files of a registered version: who may read the model reads them,
and who may edit it writes them until the version is registered. `/WorkspaceInternal/Mlflow/Artifacts/...` are those
of runs and logged models, which everybody reads and writes, as in MLflow itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from moorage.api.artifact_uris import FILES_ROOT, VERSIONS_FOLDER, artifact_path, path_of_file
from moorage.api.errors import InvalidParameterValue, NotFound, PermissionDenied
from moorage.api.permissions import ModelLevel
from moorage.api.routing import Principal
from moorage.control.dependencies import ControlDependencies
from moorage.control.registry_access import RegistryAccess
from moorage.registry.artifacts import path_parts
from moorage.registry.mlflow_api import MlflowRefusal
from moorage.registry.registrations import Registrations
from moorage.registry.tags import is_pending, tags_of
from moorage.registry.unity_catalog import backing_of

MODELS_ROOT = "/Models/"
_OF_A_VERSION = 4  # catalog, schema, model and version
_ARTIFACTS = "artifacts"
_OF_A_RUN = re.compile(r"runs:/+([0-9A-Za-z_-]+)/(.+)", re.DOTALL)
_LOCATION_TAG = "mlflow.artifactLocation"  # of a trace


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a registered model. Its files change only while it waits for them."""

    name: str
    number: str


@dataclass(frozen=True, slots=True)
class Place:
    """A file or folder as a caller names it, its path in the artifact store, and the version whose it is, if any."""

    file: str
    path: str
    version: Version | None = None
    is_root: bool = False
    """Whether it is the folder of all files of `version`."""


@dataclass(frozen=True, slots=True)
class Places:
    deps: ControlDependencies
    access: RegistryAccess
    registrations: Registrations

    def to_read(self, caller: Principal, file: str) -> Place:
        """
        Raises:
            NotFound: no path that could be a file's; MlflowRefusal says so of a version that is not there.
            PermissionDenied: the caller may not read it.
            InvalidParameterValue: parts of it lead elsewhere, or the version's files are not in the artifact store.
        """
        return self._place(caller, file, ModelLevel.CAN_READ)

    def require_writable(self, caller: Principal, file: str) -> Place:
        """Where the file is to be written later; raises as `writing`, which is to be asked again then."""
        with self.writing(caller, file) as place:
            return place

    @contextmanager
    def writing(self, caller: Principal, file: str) -> Iterator[Place]:
        """Where the file is to be written. The version is not registered before the block has ended.

        Raises:
            NotFound, PermissionDenied, InvalidParameterValue: as `to_read`; the caller may not write it, or the
                version is registered, and its files do not change.
            ResourceConflict: the version is being registered at this moment.
        """
        place = self._place(caller, file, ModelLevel.CAN_EDIT)
        # Where a version waits for its files, these are those of a backing model.
        backing = backing_of(place.path) if place.version is not None else None
        with nullcontext() if backing is None else self.registrations.changing(backing):
            if place.version is None:
                _require_open(place.path)
            else:
                self._require_pending(place.version)
            yield place

    def of_version(self, caller: Principal, version: Version, path: str) -> Place:
        """The file or folder at `path` of that version, to be read; the root when `path` is empty.

        Raises:
            PermissionDenied, InvalidParameterValue: as `to_read`.
        """
        self.access.require(caller, version.name, ModelLevel.CAN_READ)
        return self._below(version, path, path)

    def artifact(self, caller: Principal, folder: str, path: str, *, write: bool) -> str:
        """The path in the store of a file below that folder, which everybody may read and write.

        Raises:
            InvalidParameterValue: no path of a file.
            PermissionDenied: it is one of a registered version, which the caller may not read, or is to be written.
        """
        whole = "/".join((folder, *path_parts(path)))
        _require_visible(whole)
        self.access.require_files(caller, whole)
        if write:
            _require_open(whole)
        return whole

    def run_folder(self, run_id: str) -> str:
        """
        Raises:
            InvalidParameterValue: the run's files are not in the artifact store.
        """
        run = self.deps.mlflow.call("GET", "runs/get", query={"run_id": run_id})["run"]
        return _folder(run["info"].get("artifact_uri", ""), f"run '{run_id}'")

    def logged_model_folder(self, model_id: str) -> str:
        """
        Raises:
            InvalidParameterValue: the model's files are not in the artifact store.
        """
        model = self.deps.mlflow.call("GET", f"logged-models/{_segment(model_id)}")["model"]
        return _folder(model["info"].get("artifact_uri", ""), f"logged model '{model_id}'")

    def trace_folder(self, request_id: str) -> str:
        """
        Raises:
            InvalidParameterValue: the trace's files are not in the artifact store.
        """
        info = self.deps.mlflow.call("GET", f"traces/{_segment(request_id)}/info")["trace_info"]
        tags = tags_of(info)
        return _folder(tags.get(_LOCATION_TAG, ""), f"trace '{request_id}'")

    def is_empty_root(self, place: Place) -> bool:
        """Whether nothing is at that place because what has its files there has none yet."""
        if place.version is not None:
            return place.is_root
        parts = place.path.removesuffix(f"/{_ARTIFACTS}").split("/")
        try:
            match parts:
                case [_, "models", model_id]:
                    folder = self.logged_model_folder(model_id)
                case [_, run_id]:
                    folder = self.run_folder(run_id)
                case _:
                    return False
            return folder == "/".join((*parts, _ARTIFACTS))
        except MlflowRefusal as refusal:
            if refusal.status < 500:
                return False
            raise

    def _require_pending(self, version: Version) -> None:
        """
        Raises:
            PermissionDenied: the version is registered.
        """
        query = {"name": version.name, "version": version.number}
        found = self.deps.mlflow.call("GET", "model-versions/get", query=query)["model_version"]
        if not is_pending(tags_of(found)):
            raise PermissionDenied(
                f"Version {version.number} of model '{version.name}' is registered: its files do not change."
            )

    def _place(self, caller: Principal, file: str, needed: ModelLevel) -> Place:
        if file.startswith(MODELS_ROOT):
            parts = file.removeprefix(MODELS_ROOT).split("/", _OF_A_VERSION)
            names = parts[: _OF_A_VERSION - 1]
            if len(parts) < _OF_A_VERSION or not all(parts[:_OF_A_VERSION]) or any("." in name for name in names):
                raise _no_place(file)
            version = Version(".".join(names), parts[_OF_A_VERSION - 1])
            self.access.require(caller, version.name, needed)
            return self._below(version, "".join(parts[_OF_A_VERSION:]), file)
        path = path_of_file(file)
        if path is None:
            raise _no_place(file)
        path = "/".join(path_parts(path))
        _require_visible(path)
        self.access.require_files(caller, path)
        return Place(file, path)

    def _below(self, version: Version, path: str, file: str) -> Place:
        query = {"name": version.name, "version": version.number}
        answer: dict[str, Any] = self.deps.mlflow.call("GET", "model-versions/get-download-uri", query=query)
        folder = self._folder_of_version(answer.get("artifact_uri", ""), version)
        whole = "/".join((folder, *path_parts(path))) if path else folder
        return Place(file, whole, version, is_root=not path)

    def _folder_of_version(self, uri: str, version: Version) -> str:
        """The path in the store that the URI of a version's files says.

        Raises:
            InvalidParameterValue: it says another place.
        """
        match = _OF_A_RUN.fullmatch(uri)
        if match is None:
            return _folder(uri, f"version {version.number} of model '{version.name}'")
        run_id, path = match[1], path_parts(match[2])
        folder = "/".join((self.run_folder(run_id), *path))
        if self.deps.artifacts.find(folder) is not None:
            return folder
        logged = self._logged_in(run_id, path[0])
        return folder if logged is None else "/".join((logged, *path[1:]))

    def _logged_in(self, run_id: str, name: str) -> str | None:
        """The folder of the logged model that the run has made under that name, if it has made one."""
        run = self.deps.mlflow.call("GET", "runs/get", query={"run_id": run_id})["run"]
        wanted = {"experiment_ids": [run["info"]["experiment_id"]], "filter": f"source_run_id = '{run_id}'"}
        found = self.deps.mlflow.call("POST", "logged-models/search", wanted).get("models", ())
        named = (one["info"] for one in found if one["info"].get("name") == name)
        model = next(named, None)
        if model is None:
            return None
        return _folder(model.get("artifact_uri", ""), f"logged model '{model['model_id']}'")


def _segment(identifier: str) -> str:
    """An id as a part of a URL's path.

    Raises:
        InvalidParameterValue: it would lead elsewhere.
    """
    path_parts(identifier)
    return quote(identifier, safe="")


def _folder(uri: str, whose: str) -> str:
    """The path in the store that an artifact URI says.

    Raises:
        InvalidParameterValue: it says another place.
    """
    path = artifact_path(uri)
    if path is None:
        raise InvalidParameterValue(
            f"The files of {whose} are at '{uri}', not in the artifact store: they cannot be reached this way."
        )
    return "/".join(path_parts(path))


def _no_place(file: str) -> NotFound:
    return NotFound(
        f"No file can be at '{file}': the files are below '{MODELS_ROOT}CATALOG/SCHEMA/MODEL/VERSION' and "
        f"'{FILES_ROOT}EXPERIMENT/Runs/RUN' or '{FILES_ROOT}EXPERIMENT/LoggedModels/MODEL'."
    )


def _require_visible(path: str) -> None:
    """
    Raises:
        PermissionDenied: it is, or lists, a folder that has registered versions of several models.
    """
    parts = path.split("/")
    if parts[0] == VERSIONS_FOLDER and (len(parts) < 4 or parts[1] != "models" or parts[3] != _ARTIFACTS):
        raise PermissionDenied("The files of registered versions are read one version at a time.")


def _require_open(path: str) -> None:
    """
    Raises:
        PermissionDenied: it is a file of a registered version.
    """
    if path.split("/")[0] == VERSIONS_FOLDER:
        raise PermissionDenied(f"The files of registered versions are written below '{MODELS_ROOT}' alone.")
