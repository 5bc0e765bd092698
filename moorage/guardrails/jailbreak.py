"""A second opinion on sentences that may be attempts to get around a model's rules: the classifier of jailguard."""

from __future__ import annotations

import os
from pathlib import Path

from moorage.guardrails.installed import ModelFiles

_FOLDER_VARIABLE = "JAILGUARD_MODEL_DIR"
_FILE_NAME = "all-MiniLM-L6-v2.onnx"
_INJECTION = 0.5


class JailbreakClassifier:
    """Scores sentences, about 50 ms of one core each. It holds the interpreter's lock meanwhile."""

    def __init__(self, files: ModelFiles, folder: Path) -> None:
        """`folder` is made, and gets a link to the model."""
        # The library looks for its model in the folder of this variable, and would fetch one if it were empty.
        folder.mkdir(mode=0o700, exist_ok=True)
        link = folder / _FILE_NAME
        link.unlink(missing_ok=True)
        link.symlink_to(files.model.resolve())
        os.environ[_FOLDER_VARIABLE] = str(folder)
        import jailguard

        self._score = jailguard.score
        self._score("load the model")

    def is_injection(self, sentence: str) -> bool:
        return float(self._score(sentence)) >= _INJECTION
