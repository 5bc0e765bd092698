"""The artifact store of an external MLflow server, reached over that server's REST API."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import httpx

from moorage.api.errors import (
    AlreadyExists,
    InternalError,
    InvalidParameterValue,
    NotImplementedHere,
    TemporarilyUnavailable,
)
from moorage.registry.artifacts import CHUNK_BYTES, BrokenOff, Entry, OpenArtifact, in_the_way, path_parts
from moorage.registry.mlflow_api import FROM_PROXIES, MlflowRefusal

_logger = logging.getLogger(__name__)

_ROOT = "/api/2.0/mlflow-artifacts/artifacts"
# The server may move a whole file from or to its object store before it says anything, or delete thousands.
_OF_FILES = httpx.Timeout(30.0, read=600.0)
_OF_LISTS = httpx.Timeout(30.0)
_REFUSED_OURSELVES = (401, 403)
_SERVES_NONE = "--no-serve-artifacts"


@dataclass(frozen=True, slots=True)
class RemoteArtifacts:
    """`http` is a client whose base is the server. It says no times of files, and has no empty folders."""

    http: httpx.Client
    staging: Path

    def find(self, path: str) -> Entry | None:
        path = _plain(path)
        return next((entry for entry in self._list(path.rpartition("/")[0]) if entry.path == path), None)

    def entries(self, path: str) -> list[Entry]:
        return self._list(_plain(path))

    def open(self, path: str) -> OpenArtifact | None:
        entry = self.find(path)
        return None if entry is None or entry.is_folder else _RemoteFile(self.http, entry)

    def put(self, source: Path, path: str, *, replace: bool) -> None:
        """As in the protocol; where replacing is refused, two at the same time may still replace each other."""
        there = self.find(path)
        if there is not None and there.is_folder:
            raise in_the_way(path)
        if there is not None and not replace:
            raise AlreadyExists(f"The file '{path}' already exists.")
        with source.open("rb") as file:
            self._ask("PUT", _address(path), content=file)
        source.unlink()

    def make_folder(self, path: str) -> None:
        there = self.find(path)
        if there is not None and not there.is_folder:
            raise in_the_way(path)

    def delete_folder(self, path: str) -> None:
        there = self.find(path)
        if there is not None and not there.is_folder:
            raise InvalidParameterValue(f"'{path}' is no directory")
        if there is not None and self.entries(path):
            raise InvalidParameterValue(f"The directory '{path}' is not empty")

    def delete(self, path: str) -> None:
        if self.find(path) is not None:
            self._ask("DELETE", _address(path))

    def _list(self, folder: str) -> list[Entry]:
        answer = self._ask("GET", _ROOT, _OF_LISTS, params={"path": folder} if folder else None)
        prefix = f"{folder}/" if folder else ""
        try:
            found = [_entry(prefix, one) for one in answer.json().get("files", [])]
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            _logger.exception("a list of MLflow's artifacts cannot be read")
            raise InternalError("The artifact store gave an answer that cannot be read") from error
        return sorted(found, key=lambda entry: entry.name)

    def _ask(
        self, method: str, address: str, timeout: httpx.Timeout = _OF_FILES, **options: Any
    ) -> httpx.Response:
        try:
            answer = self.http.request(method, address, timeout=timeout, **options)
        except httpx.TransportError as error:
            raise _unreachable(error) from error
        _raise_for(answer)
        return answer


@dataclass(slots=True)
class _RemoteFile:
    """Where the server's answers have no ranges, what is before one is received and dropped."""

    http: httpx.Client
    entry: Entry
    _answer: httpx.Response | None = field(default=None, init=False)

    def chunks(self, start: int, length: int) -> Iterator[bytes]:
        if length <= 0:
            return
        try:
            answer = self._asked_for(start, length)
            if answer.status_code == httpx.codes.PARTIAL_CONTENT:
                start = 0
            for chunk in answer.iter_bytes(CHUNK_BYTES):
                if len(chunk) <= start:
                    start -= len(chunk)
                    continue
                wanted = chunk[start : start + length]
                start, length = 0, length - len(wanted)
                yield wanted
                if not length:
                    return
        except httpx.TransportError as error:
            raise _unreachable(error) from error
        raise BrokenOff(f"'{self.entry.path}' is shorter than the artifact store says")

    def close(self) -> None:
        if self._answer is not None:
            self._answer.close()

    def _asked_for(self, start: int, length: int) -> httpx.Response:
        headers = {"accept-encoding": "identity"}
        if length < self.entry.size:
            headers["range"] = f"bytes={start}-{start + length - 1}"
        request = self.http.build_request("GET", _address(self.entry.path), headers=headers, timeout=_OF_FILES)
        answer = self._answer = self.http.send(request, stream=True)
        if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise BrokenOff(f"'{self.entry.path}' became shorter while it was read")
        if answer.status_code == httpx.codes.PARTIAL_CONTENT:
            began = answer.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0]
            if began != str(start):
                raise BrokenOff(f"The artifact store gave another range of '{self.entry.path}'")
            return answer
        if answer.status_code != httpx.codes.OK:
            answer.read()
        _raise_for(answer)
        return answer


def _plain(path: str) -> str:
    """
    Raises:
        InvalidParameterValue: as `path_parts`, or MLflow would take it for another path: it decodes what it is
            given until nothing is left to decode.
    """
    plain = "/".join(path_parts(path))
    if unquote(plain) != plain:
        raise InvalidParameterValue(f"Invalid path '{path}': it must not have percent-encoded characters in it")
    return plain


def _address(path: str) -> str:
    return f"{_ROOT}/{quote(_plain(path))}"


def _entry(prefix: str, document: dict[str, Any]) -> Entry:
    is_folder = bool(document.get("is_dir"))
    return Entry(f"{prefix}{document['path']}", is_folder, 0 if is_folder else int(document.get("file_size", 0)))


def _unreachable(error: httpx.TransportError) -> TemporarilyUnavailable:
    _logger.warning("MLflow's artifacts cannot be reached: %s", type(error).__name__)
    return _unavailable()


def _unavailable() -> TemporarilyUnavailable:
    return TemporarilyUnavailable("The artifact store does not answer", retry_after_seconds=5)


def _raise_for(answer: httpx.Response) -> None:
    """
    Raises:
        MlflowRefusal: MLflow's own 4xx or 5xx.
        NotImplementedHere: the server has no artifacts.
        TemporarilyUnavailable: what stands before the server cannot reach it.
        InternalError: it refuses this server's credential.
    """
    if answer.status_code == httpx.codes.OK:
        return
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE and _SERVES_NONE in answer.text:
        raise NotImplementedHere("The MLflow server has no artifact store: start it with `--serve-artifacts`")
    if answer.status_code in _REFUSED_OURSELVES:
        _logger.error("MLflow refused the server's own credential: %s", answer.text[:500])
        raise InternalError("The artifact store refused the server's credential")
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict) and answer.status_code in FROM_PROXIES:
        _logger.warning("MLflow's artifacts cannot be reached: status %d", answer.status_code)
        raise _unavailable()
    if not isinstance(document, dict):
        document = {"message": f"The artifact store answered with status {answer.status_code}"}
    code, message = document.get("error_code", "INTERNAL_ERROR"), document.get("message", "")
    raise MlflowRefusal(answer.status_code, str(code), str(message))
