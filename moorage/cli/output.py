"""What the commands print: text that is safe on a terminal, and JSON as the API gave it."""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, TextIO

_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # CSI: colours, cursor movements
    r"|(?:\x1b\]|\x9d)[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"  # OSC: titles, links, the clipboard
    r"|(?:\x1b[PX^_]|[\x90\x98\x9e\x9f])[^\x1b\x9c\n]*(?:\x1b\\|\x9c)?"  # DCS, SOS, PM, APC
    r"|\x1b[ -/]*[0-~]?"
)
_JOINERS = "\u200c\u200d"
_CONTROL_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


class OutputFormat(StrEnum):
    """`text` is for people, `json` is exactly what the API answered."""

    TEXT = "text"
    JSON = "json"


def write(text: str) -> None:
    """A line, or several, to the standard output."""
    _write(text, sys.stdout)


def write_error(text: str) -> None:
    """To the standard error: progress, and what went wrong."""
    _write(text, sys.stderr)


def write_json(document: Any) -> None:
    """An answer of the API; control characters are escaped, as JSON can."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    # C1 controls may stand unescaped in JSON, and would be obeyed by a terminal.
    _write(text if _harmless(text) else json.dumps(document, indent=2), sys.stdout)


def harmless(text: str) -> str:
    """`text` without escape sequences and control characters; lines and tabs stay, so do all letters."""
    text = _ESCAPES.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    if text.isascii() and text.isprintable():
        return text
    return "".join(each for each in text if each in "\n\t" or not _is_control(each))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their longest cell; nothing is cut. Line ends in a cell become spaces."""
    cells = [[" ".join(cell.split()) or "-" for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def local_time(milliseconds: object) -> str:
    """Milliseconds since the epoch in the time zone of this machine, `-` for none."""
    if not isinstance(milliseconds, int) or milliseconds <= 0:
        return "-"
    try:
        return datetime.fromtimestamp(milliseconds / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, OSError, ValueError):
        return str(milliseconds)


def _write(text: str, stream: TextIO) -> None:
    if stream.isatty():
        text = harmless(text)
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    stream.flush()


def _harmless(text: str) -> bool:
    return not any(_is_control(each) for each in text if each not in "\n\t")


def _is_control(character: str) -> bool:
    return character not in _JOINERS and unicodedata.category(character) in _CONTROL_CATEGORIES
