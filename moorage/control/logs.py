"""Logs of a deployment, read from its folder while they are being written."""

from __future__ import annotations

import os
from pathlib import Path

from moorage.datadir import DataDirectory

LOG_BYTES = 1024 * 1024
_TAG_LENGTH = 5


def build_log(data: DataDirectory, deployment_id: str) -> str:
    """The newest part of the log of how the deployment was built, or nothing when there is none yet."""
    return tail(data.build_log(deployment_id), LOG_BYTES)


def service_log(data: DataDirectory, deployment_id: str) -> str:
    """What every replica printed last, each line tagged with the first characters of the replica's id.

    The replicas share one bound, so that a talkative one cannot hide the others. The one that wrote last is last.
    """
    folder = data.deployment(deployment_id)
    build = data.build_log(deployment_id)
    files = sorted((path for path in folder.glob("*.log") if path != build), key=_last_written)
    return "".join(_tagged_tail(path, LOG_BYTES // len(files)) for path in files)


def tail(path: Path, limit: int) -> str:
    """The last `limit` bytes of a text file, from the beginning of a line; nothing when there is no file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit))
            text = file.read(limit)
    except FileNotFoundError:
        return ""
    return _whole_lines(text, cut=size > limit)


def _tagged_tail(path: Path, limit: int) -> str:
    """As many last lines as fit in `limit` bytes with their tags."""
    tag = path.stem[:_TAG_LENGTH]
    text = tail(path, limit).removesuffix("\n")
    if not text:
        return ""
    # Not `splitlines`: a progress bar's carriage returns do not end a line.
    tagged = "".join(f"[{tag}] {line}\n" for line in text.split("\n")).encode()
    return _whole_lines(tagged[-limit:], cut=len(tagged) > limit)


def _whole_lines(text: bytes, *, cut: bool) -> str:
    if cut and b"\n" in text:
        text = text.partition(b"\n")[2]
    return text.decode(errors="replace")


def _last_written(path: Path) -> tuple[float, str]:
    try:
        return path.stat().st_mtime, path.name
    except FileNotFoundError:
        return 0.0, path.name
