"""Artifact URIs in what MLflow and Databricks clients say to each other, each in the form that the other one reads.

MLflow's server tells of `mlflow-artifacts:/...`, which its client cannot open with the tracking URI `databricks`.
Such a client is known by the Databricks SDK, through which it sends its requests; every other hears MLflow as it is.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Collection
from urllib.parse import parse_qs, urlsplit

import orjson

from moorage.api.artifact_uris import (
    DATABRICKS_ROOT,
    MLFLOW_SCHEME,
    VERSIONS_FOLDER,
    artifact_path,
    databricks_uri,
    is_of_registered_versions,
    mlflow_uri,
    plain_path,
)
from moorage.api.errors import PermissionDenied
from moorage.api.registry_access import LOGGED_MODELS

LONGEST_REQUEST = 4 << 20
"""Longer bodies pass as they are: no request of MLflow's that names an artifact URI is near it."""

_SDK = b"databricks-sdk-"
_API = re.compile(r"/(?:ajax-)?api/\d+\.\d+/mlflow/")
_ARTIFACTS = re.compile(
    r"(?:/mlflow)?/(?:ajax-)?api/\d+\.\d+/mlflow-artifacts/(?:artifacts|presigned|mpu/[^/]+)(?:/(.*))?", re.DOTALL
)
_FILES_OF_LOGGED_MODEL = re.compile(r"(?:/mlflow)?/(?:ajax-)?api/\d+\.\d+/mlflow/logged-models/([^/]+)/artifacts/.*")
_CREATE_EXPERIMENT = re.compile(r".*/mlflow/experiments/create", re.DOTALL)
_READING = ("GET", "HEAD")
_OF_THE_SERVER = {"", "file", "http", "https", "ftp", "sftp"}
_LONGEST_HELD = 8 * 1024  # bytes of a string: URIs are shorter, and a longer one passes as it is
_CREATE_VERSION = "/mlflow/model-versions/create"
_RESOURCES = (
    re.compile(r"models:/(?P<model_id>m-[^/]+)$"),
    re.compile(rf"{MLFLOW_SCHEME}[^/]+/models/(?P<model_id>m-[^/]+)/"),
    re.compile(rf"(?:runs:/|{MLFLOW_SCHEME}[^/]+/)(?P<run_id>[0-9a-f]{{32}})/"),
)


def from_databricks_client(headers: Collection[tuple[bytes, bytes]], path: str) -> bool:
    """Whether a request of MLflow's API comes from a client that takes Databricks' URIs."""
    return _API.match(path) is not None and any(name == b"user-agent" and _SDK in value for name, value in headers)


def require_unregistered(method: str, path: str) -> None:
    """
    Raises:
        PermissionDenied: it would change files of registered versions, which come through the Files API and stay.
    """
    match = _ARTIFACTS.fullmatch(_normal(path))
    if match is not None and method not in _READING and is_of_registered_versions(match[1] or ""):
        raise PermissionDenied(f"Files of registered model versions ('{VERSIONS_FOLDER}/') cannot be changed.")


def files_read(method: str, path: str, query: str) -> str | None:
    """Which files of the artifact store a request reads, when they may be those of registered versions.

    Returns:
        A path in the store, or `logged-models/ID` for those of a logged model; None of any other request.
    """
    plain = _normal(path)
    if method not in _READING:
        return None
    if match := _FILES_OF_LOGGED_MODEL.fullmatch(plain):
        return f"{LOGGED_MODELS}{match[1]}"
    match = _ARTIFACTS.fullmatch(plain)
    if match is None:
        return None
    asked = [match[1]] if match[1] else parse_qs(query).get("path", [])
    return next((plain_path(one) for one in asked if is_of_registered_versions(one)), None)


def creates_experiment(method: str, path: str) -> bool:
    return method == "POST" and _CREATE_EXPERIMENT.fullmatch(_normal(path)) is not None


def require_own_place(body: bytes, *, admin: bool) -> None:
    """What `creates_experiment` says where it has its files.

    Raises:
        PermissionDenied: an experiment is to be made whose runs would write among files of registered versions, or
            to this machine's disk or to other servers as MLflow's server may, which is for administrators.
    """
    try:
        document = json.loads(body)
        document = json.loads(document) if isinstance(document, str) else document
        given = [document.get(name) for name in ("artifact_location", "artifactLocation")]
    except (ValueError, AttributeError, RecursionError):
        return  # MLflow says what is wrong with it
    for location in (one for one in given if isinstance(one, str) and one):
        path = artifact_path(location)
        if path is not None and is_of_registered_versions(path):
            raise PermissionDenied(f"'{VERSIONS_FOLDER}/' is for files of registered versions: choose another place.")
        if not admin and urlsplit(location).scheme.lower() in _OF_THE_SERVER:
            raise PermissionDenied(
                "Only administrators may choose an 'artifact_location' on the server's disk or on another web server."
            )


def _normal(path: str) -> str:
    """As MLflow's server reads it."""
    return posixpath.normpath(re.sub("/+", "/", path))


def to_mlflow(body: bytes, path: str) -> bytes:
    """A JSON document that a Databricks client sends to that path, for MLflow."""
    translated = _TO_MLFLOW.whole(body)
    return _with_resource(translated) if path.rstrip("/").endswith(_CREATE_VERSION) else translated


def _with_resource(body: bytes) -> bytes:
    """A version to be made, with the run or logged model in which its source is: MLflow wants it told."""
    try:
        document = orjson.loads(body)
        source = document["source"]
        match = next((found for one in _RESOURCES if (found := one.match(source))), None)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return body  # MLflow says what is wrong with it
    if match is None or document.get("model_id") or all(document.get(name) for name in match.groupdict()):
        return body
    return orjson.dumps({**document, **match.groupdict()})


def to_databricks(answer: bytes) -> bytes:
    """A JSON document of MLflow's, for a Databricks client."""
    return _TO_DATABRICKS.whole(answer)


class Answer:
    """Makes a JSON document of MLflow's one for a Databricks client, in pieces as they come."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """What can go on by now."""
        done, self._held = _TO_DATABRICKS.partly(self._held + piece)
        if len(self._held) > _LONGEST_HELD:
            done, self._held = done + self._held, b""
        return done

    def end(self) -> bytes:
        """The rest."""
        return self._held


class _Strings:
    """Changes those strings of a JSON document that begin with a prefix."""

    def __init__(self, prefix: str, change: Callable[[str], str]) -> None:
        self._start = b'"' + prefix.encode()
        self._whole = re.compile(re.escape(self._start) + b'[^"]*"')
        self._change = change

    def whole(self, document: bytes) -> bytes:
        return self._whole.sub(self._changed, document) if self._start in document else document

    def partly(self, document: bytes) -> tuple[bytes, bytes]:
        """The document with what may be the beginning of such a string cut off, and that."""
        done, at = bytearray(), 0
        for match in self._whole.finditer(document):
            done += document[at : match.start()] + self._changed(match)
            at = match.end()
        last = document.rfind(b'"', at)
        tail = document[last:] if last >= 0 else b""
        if tail and (tail.startswith(self._start) or self._start.startswith(tail)):
            return bytes(done + document[at:last]), tail
        return bytes(done + document[at:]), b""

    def _changed(self, match: re.Match[bytes]) -> bytes:
        return b'"' + self._change(match[0][1:-1].decode("latin-1")).encode("latin-1") + b'"'


_TO_MLFLOW = _Strings(DATABRICKS_ROOT, mlflow_uri)
_TO_DATABRICKS = _Strings(MLFLOW_SCHEME, databricks_uri)
