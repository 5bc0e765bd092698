"""Logs of a deployment, read from its folder while they are being written."""

from __future__ import annotations

import os
from pathlib import Path

from moorage.api.endpoints import LogFile, LogFileList
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
    files = replica_logs(data, deployment_id)
    return "".join(_tagged_tail(path, LOG_BYTES // len(files)) for path in files)


def replica_logs(data: DataDirectory, deployment_id: str) -> list[Path]:
    """The logs of the deployment's replicas, named by their ids; the one that was written to last is last."""
    build = data.build_log(deployment_id)
    return sorted((path for path in build.parent.glob("*.log") if path != build), key=_last_written)


def tag(replica_id: str) -> str:
    """What stands in front of a replica's lines where those of several are together."""
    return replica_id[:_TAG_LENGTH]


def log_files(data: DataDirectory, deployment_id: str) -> LogFileList:
    """Which replicas have logs, the one that wrote last first."""
    found = []
    for path in reversed(replica_logs(data, deployment_id)):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        written = status.st_mtime_ns // 1_000_000
        found.append(LogFile(replica=path.stem, tag=tag(path.stem), last_written=written, size=status.st_size))
    return LogFileList(log_files=tuple(found))


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
    text = tail(path, limit).removesuffix("\n")
    if not text:
        return ""
    # Not `splitlines`: a progress bar's carriage returns do not end a line.
    tagged = "".join(f"[{tag(path.stem)}] {line}\n" for line in text.split("\n")).encode()
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
