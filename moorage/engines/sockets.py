"""The socket of an engine: it is made under another name, and who is connected can be counted."""

from __future__ import annotations

import os
from pathlib import Path

from moorage.engines.config import EngineConfig

_CONNECTED = ("02", "03")  # not yet accepted, and accepted: SS_CONNECTING and SS_CONNECTED of linux/net.h


def first_name(config: EngineConfig) -> str:
    """Where an engine listens before it is ready, in its folder, which is its working directory.

    The name ends as llama.cpp wants it, is short wherever the folder is, and belongs to no other socket of the
    machine: the kernel knows the connections by it, also when the file has been given another.
    """
    return f"{config.replica_id}.sock"


def publish(config: EngineConfig) -> None:
    """Have it found at its path: from now on requests may come."""
    link = config.folder / f"{config.replica_id}.link"
    link.unlink(missing_ok=True)
    link.symlink_to(config.folder / first_name(config))
    os.replace(link, config.socket)


def withdraw(config: EngineConfig) -> None:
    """Nobody finds it there any more; connections that are there stay."""
    config.socket.unlink(missing_ok=True)


def connections(name: str) -> int:
    """How many are connected to the socket that was bound to `name`, those not yet accepted included."""
    rows = Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()[1:]
    found = 0
    for row in rows:
        words = row.split(maxsplit=7)
        found += len(words) == 8 and words[5] in _CONNECTED and words[7] == name
    return found
