"""The Python interpreters on this machine, and which of them a model's environment is made with."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from moorage.environments.errors import EnvironmentBuildError
from moorage.environments.log import BuildLog
from moorage.environments.uv_process import Uv, explain

OLDEST_PYTHON = (3, 9)
_DOWNLOADS_ALLOWED = {"automatic", "auto", "true", "1"}


@dataclass(frozen=True, slots=True)
class Interpreter:
    """An interpreter: its executable, full version ("3.11.7") and implementation ("cpython")."""

    path: Path
    version: str
    implementation: str

    @property
    def minor(self) -> tuple[int, int]:
        version = Version(self.version)
        return version.major, version.minor


async def find_interpreter(uv: Uv, wanted: str | None, log: BuildLog) -> Interpreter:
    """The interpreter for a model logged with Python `wanted`; None stands for the server's own version.

    Another micro version of the same minor one is taken when the exact one is not here, which the log says.
    Python is downloaded only where the server's `UV_PYTHON_DOWNLOADS` says `automatic`.

    Raises:
        EnvironmentBuildError: none will do; the message says which versions are on this machine.
    """
    if wanted is None:
        wanted = platform.python_version()
        log.line(f"the model names no Python version; the server's own is taken: {wanted}")
    version = Version(wanted)
    if (version.major, version.minor) < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        raise EnvironmentBuildError(f"the model needs Python {wanted}; models run on Python {oldest} and later")
    installed = await _installed(uv)
    found = choose(installed, wanted)
    if found is None and uv.environment.get("UV_PYTHON_DOWNLOADS", "").lower() in _DOWNLOADS_ALLOWED:
        with log.step(f"download Python {wanted}"):
            download = await uv.run("python", "install", wanted, on_line=log.line)
            if download.status != 0:
                raise EnvironmentBuildError(f"Python {wanted} cannot be downloaded: {explain(download.error_lines)}")
        installed = await _installed(uv)
        found = choose(installed, wanted)
    if found is None:
        versions = ", ".join(dict.fromkeys(each.version for each in installed)) or "none"
        raise EnvironmentBuildError(
            f"the model needs Python {wanted}, which is not on this machine; installed versions: {versions}"
        )
    if found.version != wanted:
        log.line(f"the model was logged with Python {wanted}; Python {found.version} is used")
    return found


def choose(installed: Sequence[Interpreter], wanted: str) -> Interpreter | None:
    """The interpreter of exactly the version `wanted`, else the newest of its minor version, else None."""
    version = Version(wanted)
    same_minor = [each for each in installed if each.minor == (version.major, version.minor)]
    for each in same_minor:
        if each.version == wanted:
            return each
    return max(same_minor, key=lambda each: Version(each.version), default=None)


def parse_listing(text: str) -> list[Interpreter]:
    """The regular CPython interpreters in the output of `uv python list --output-format json`."""
    return [
        Interpreter(Path(entry["path"]), entry["version"], entry["implementation"])
        for entry in json.loads(text)
        if entry.get("path") and entry["implementation"] == "cpython" and entry.get("variant") in (None, "default")
    ]


def search_path(path: str) -> str:
    """`path` with the server's own interpreter first, and version managers' shims replaced by what they hold.

    A shim runs only the version that is selected at the moment, so the others would seem to be absent.
    """
    folders = [str(Path(sys.base_prefix, "bin"))]
    for folder in path.split(os.pathsep):
        if Path(folder).name == "shims":
            root = Path(folder).parent
            held = [*root.glob("versions/3.*/bin"), *root.glob("installs/python/3.*/bin")]
            folders += sorted(map(str, held))
        elif folder:
            folders.append(folder)
    return os.pathsep.join(dict.fromkeys(folders))


async def _installed(uv: Uv) -> list[Interpreter]:
    path = search_path(uv.environment.get("PATH", ""))
    arguments = ("python", "list", "--only-installed", "--output-format", "json")
    listing = await uv.run(*arguments, search_path=path)
    if listing.status != 0:
        raise EnvironmentBuildError(
            f"the Python versions on this machine cannot be listed: {explain(listing.error_lines)}"
        )
    return parse_listing(listing.output)
