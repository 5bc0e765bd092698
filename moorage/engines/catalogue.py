"""The catalogue of models that are there without being asked for: the default one, and what was added to it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from moorage.api.engines import CatalogueEntry
from moorage.api.validation import error_from

_DEFAULT = Path(__file__).with_name("catalogue.yaml")
_HEADING = "# Models beside those of the default catalogue; `moorage models` writes here too.\n"

_Document = dict[str, Any]


class CatalogueError(Exception):
    """A catalogue cannot be read or written; the message names the file, the entry and the field."""


def read(added: Path) -> list[CatalogueEntry]:
    """The entries, those of `added` (which need not be there) in place of default ones of the same name.

    Raises:
        CatalogueError: see there.
    """
    entries: dict[str, CatalogueEntry] = {}
    for path in (_DEFAULT, added):
        names = set()
        for number, document in enumerate(_documents(path)):
            name = _name_of(document, number, path)
            if name in names:
                raise CatalogueError(f"{path}: models[{number}]: there is another entry named '{name}'")
            names.add(name)
            entries.pop(name, None)
            if document.get("enabled") is not False:
                entries[name] = _entry(document, number, path)
    return list(entries.values())


def add(added: Path, entry: CatalogueEntry) -> None:
    """Write the entry into `added`, in place of one of the same name. Comments in there are lost.

    Raises:
        CatalogueError: the file has mistakes of its own, or cannot be written.
    """
    document = entry.model_dump(mode="json", exclude_none=True)
    _change(added, lambda documents: [*_without(documents, entry.name), document])


def remove(added: Path, name: str) -> bool:
    """Take a model out of the catalogue: one that was added, and a default one too. Whether it was in there.

    Raises:
        CatalogueError: see `add`.
    """
    if all(entry.name != name for entry in read(added)):
        return False
    default = any(document["name"] == name for document in _documents(_DEFAULT))
    gone = [{"name": name, "enabled": False}] if default else []
    _change(added, lambda documents: [*_without(documents, name), *gone])
    return True


def _without(documents: list[_Document], name: str) -> list[_Document]:
    return [document for document in documents if document["name"] != name]


def _change(added: Path, change: Callable[[list[_Document]], list[_Document]]) -> None:
    """Read, change and write the file in one step, as far as others do it this way too."""
    try:
        with _held(added):
            read(added)  # so that nobody's mistakes are written again
            text = yaml.safe_dump({"models": change(_documents(added))}, sort_keys=False, allow_unicode=True)
            temporary = added.with_name(f".{added.name}.{os.getpid()}.tmp")
            with temporary.open("w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(_HEADING + text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(added)
    except OSError as error:
        raise CatalogueError(f"{added} cannot be written: {error.strerror}") from error


@contextmanager
def _held(added: Path) -> Iterator[None]:
    descriptor = os.open(added.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _entry(document: _Document, number: int, path: Path) -> CatalogueEntry:
    try:
        return CatalogueEntry.model_validate(document)
    except ValidationError as error:
        reason = error_from(error.errors()).message
        raise CatalogueError(f"{path}: models[{number}] ('{document['name']}'): {reason}") from error


def _name_of(document: Any, number: int, path: Path) -> str:
    if not isinstance(document, dict):
        raise CatalogueError(f"{path}: models[{number}] must be an object")
    name = document.get("name")
    if not isinstance(name, str) or not name:
        raise CatalogueError(f"{path}: models[{number}]: 'name' must be a text")
    return name


def _documents(path: Path) -> list[Any]:
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CatalogueError(f"{path} cannot be read: {error}") from error
    if document is None:
        return []
    models = document.get("models") if isinstance(document, dict) else None
    if not isinstance(models, list):
        raise CatalogueError(f"{path}: 'models' must be a list")
    return models
