"""The catalogue of models that are there without being asked for: the default one, and what was added to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from moorage.api.engines import CatalogueEntry
from moorage.api.validation import error_from

_DEFAULT = Path(__file__).with_name("catalogue.yaml")


class CatalogueError(Exception):
    """A catalogue cannot be read; the message names the file, the entry and the field."""


def read(added: Path) -> list[CatalogueEntry]:
    """The entries, those of `added` (which need not be there) in place of default ones of the same name.

    Raises:
        CatalogueError: see there.
    """
    entries: dict[str, CatalogueEntry] = {}
    for path in (_DEFAULT, added):
        for number, document in enumerate(_documents(path)):
            if isinstance(document, dict) and document.get("enabled") is False:
                entries.pop(str(document.get("name")), None)
                continue
            try:
                entry = CatalogueEntry.model_validate(document)
            except ValidationError as error:
                raise CatalogueError(f"{path}: models[{number}]: {error_from(error.errors()).message}") from error
            entries[entry.name] = entry
    return list(entries.values())


def _documents(path: Path) -> list[Any]:
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CatalogueError(f"{path} cannot be read: {error}") from error
    models = (document or {}).get("models", []) if isinstance(document or {}, dict) else None
    if not isinstance(models, list):
        raise CatalogueError(f"{path}: 'models' must be a list")
    return models
