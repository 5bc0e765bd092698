"""Where a table of a name in three levels is."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

from moorage.datadir import DataDirectory
from moorage.settings import Settings

_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,128}")
_OTHER = re.compile(r"[^A-Za-z0-9_-]")
_KEPT = 100
_DIGEST = 12


class NoTableName(Exception):
    """Not a name in three levels."""


@dataclass(frozen=True, slots=True)
class TablePlace:
    """The folder of all tables, a path or a URL, and what opens it."""

    root: str
    storage_options: dict[str, str]

    @classmethod
    def of(cls, settings: Settings, data: DataDirectory) -> TablePlace:
        given = settings.tables_storage_options
        options = json.loads(given.get_secret_value()) if given is not None else {}
        return cls((settings.tables_uri or str(data.tables)).rstrip("/"), options)

    def location(self, name: str) -> str:
        """Where the table `catalog.schema.table` is: a folder for each level.

        A level that holds anything but letters, digits, `_` and `-`, or is long, is cut and marked by its digest:
        it must be a legal name of a folder everywhere, and lead nowhere else.

        Raises:
            NoTableName: see there.
        """
        levels = name.split(".")
        if len(levels) != 3 or not all(levels):
            raise NoTableName(f"'{name}' is not a name of the form catalog.schema.table")
        return "/".join((self.root, *map(_folder, levels)))


def _folder(level: str) -> str:
    if _PLAIN.fullmatch(level):
        return level
    digest = hashlib.sha256(level.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    return f"{_OTHER.sub('_', level)[:_KEPT]}-{digest}"
