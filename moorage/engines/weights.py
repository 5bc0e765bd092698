"""Finds the files of models: in installed packages, on this machine, on Hugging Face's hub."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from moorage.api.engines import Engine

PACKAGE = "package:"
HUB = "hf:"
REGISTRY = "models:/"
FORMS = f"{PACKAGE}DISTRIBUTION, an absolute path, {HUB}ORGANISATION/REPOSITORY[/FILE] or {REGISTRY}NAME/VERSION"

_DISTRIBUTION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
_MOST_NAMES = 20


class WeightsError(Exception):
    """The files cannot be had; the message says why and what to do."""


class Kind(StrEnum):
    """What is looked for, by how its name ends; a folder in the form of Hugging Face's has none."""

    GGUF = ".gguf"
    ONNX = ".onnx"
    TOKENIZER = "tokenizer.json"
    FOLDER = ""


KIND_OF = {Engine.LLAMA_CPP: Kind.GGUF, Engine.ONNX: Kind.ONNX, Engine.VLLM: Kind.FOLDER}


def find(source: str, kind: Kind, cache: Path, say: Callable[[str], None]) -> Path:
    """The absolute path of a model's file or folder, fetched to `cache` when it is not here.

    `say` is told how that goes, in lines. What has been fetched is found again without the hub.

    Raises:
        WeightsError: see there.
    """
    missing = why_missing(source)
    if missing:
        raise WeightsError(missing)
    if source.startswith(PACKAGE):
        return _in_package(source.removeprefix(PACKAGE), kind)
    if source.startswith(HUB):
        from moorage.engines.hub import fetch

        return fetch(source.removeprefix(HUB), kind, cache, say)
    if source.startswith(REGISTRY):
        raise WeightsError(f"{source} is a model of the registry, whose files are fetched by its own means")
    path = Path(source)
    if path.is_dir():
        return in_folder_of_kind(path, kind)
    if not path.name.endswith(kind.value) or kind is Kind.FOLDER:
        raise WeightsError(f"{path} is no {described(kind)}")
    return path


def in_folder(folder: Path, engine: Engine) -> Path:
    """What the engine takes of a model that MLflow has logged.

    Raises:
        WeightsError: there is no such file, or more than one.
    """
    return in_folder_of_kind(folder, KIND_OF[engine])


def in_folder_of_kind(folder: Path, kind: Kind) -> Path:
    """The one file of that kind below a folder; raises as `in_folder`.

    A folder in the form of Hugging Face's is the one that has the `config.json`.
    """
    if kind is Kind.FOLDER:
        found = {file.relative_to(folder).as_posix() for file in folder.rglob("config.json")}
        return (folder / choose(found, Kind.FOLDER, folder.name)).parent
    names = {file.relative_to(folder).as_posix() for file in folder.rglob(f"*{kind.value}") if file.is_file()}
    return folder / choose(names, kind, folder.name)


def choose(names: set[str], kind: Kind, place: str) -> str:
    """The one name of that kind among the paths of files; of a file in parts the first.

    Where there are several, the one that lies highest counts when it is alone there.

    Raises:
        WeightsError: there is none, or it cannot be said which.
    """
    ending = kind.value or "config.json"
    found = {name for name in names if name.endswith(ending) and not _is_later_part(name)}
    if not found:
        raise WeightsError(f"{place} has no {described(kind)}")
    depth = min(name.count("/") for name in found)
    highest = sorted(name for name in found if name.count("/") == depth)
    if len(highest) > 1:
        shown = ", ".join(highest[:_MOST_NAMES]) + (", ..." if len(highest) > _MOST_NAMES else "")
        raise WeightsError(f"{place} has {len(highest)} files that end in {ending}; say which: {shown}")
    return highest[0]


def parts_of(name: str, names: set[str]) -> list[str]:
    """The files that make up a model: of one in parts all of them, of one for the ONNX runtime its data too."""
    match = _PART.search(name)
    if match is None:
        return [name, *sorted({f"{name}_data", f"{name}.data"} & names)]
    stem, total = name[: match.start()], int(match[2])
    return [f"{stem}-{number:05}-of-{total:05}.gguf" for number in range(1, total + 1)]


def described(kind: Kind) -> str:
    """What it is, in words."""
    return f"file that ends in {kind.value}" if kind.value else "folder with a config.json of a Hugging Face model"


def why_missing(source: str) -> str:
    """Why the files cannot be had, as far as it can be said without fetching anything; nothing when they can."""
    if source.startswith(PACKAGE):
        name = source.removeprefix(PACKAGE)
        if not _DISTRIBUTION.fullmatch(name):
            return f"{name!r} is no name of a package"
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            return f"the package {name} is not installed (pip install --no-deps {name})"
        return ""
    if source.startswith((HUB, REGISTRY)):
        return ""
    if not source.startswith("/"):
        return f"{source!r} does not say where the files are; give {FORMS}"
    return "" if Path(source).exists() else f"there is no {source}"


def _in_package(name: str, kind: Kind) -> Path:
    """The package is not imported: its code's dependencies need not be there."""
    if kind is Kind.FOLDER:
        names = {str(one): one for one in importlib.metadata.files(name) or () if one.name == "config.json"}
        return Path(str(names[choose(set(names), kind, f"the package {name}")].locate())).parent
    files = {str(one): one for one in importlib.metadata.files(name) or () if one.name.endswith(kind.value)}
    path = Path(str(files[choose(set(files), kind, f"the package {name}")].locate()))
    if not path.is_file():
        raise WeightsError(f"{path} of the package {name} is not there; install the package again")
    return path


def _is_later_part(name: str) -> bool:
    match = _PART.search(name)
    return match is not None and int(match[1]) != 1
