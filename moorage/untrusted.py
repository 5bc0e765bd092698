"""Files that a model's process may have written: read so that they can mislead nobody."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

_MOST_BYTES = 1024 * 1024


def read_document(path: Path) -> dict[str, Any]:
    """The JSON object in a file; empty when there is none, or it is a link, no regular file, or over 1 MiB.

    The folder of the file must be in a folder of ours. Values are whatever the writer chose.
    """
    try:
        # A pipe in the file's place must not be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return {}
            text = file.read(_MOST_BYTES + 1)
        document = json.loads(text) if len(text) <= _MOST_BYTES else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def whole_number(value: object) -> int:
    """`value` where it is a whole number above zero that the kernel may have given out, else 0."""
    return value if type(value) is int and 0 < value < 1 << 63 else 0
