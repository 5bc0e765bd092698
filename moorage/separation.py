"""Models as users of their own: whether that is so, and what of the disk they may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from moorage.settings import Settings

NOT_SEPARATED = (
    "models run as the user of this server: their code can read its data directory, with keys and database, and"
    " what other models are given; serve trusted models only, or run the server as root"
)


def models_are_separated(settings: Settings) -> bool:
    """Whether models run as users of their own. Only root can make a process another user's."""
    return settings.model_uid_base > 0 and os.geteuid() == 0


def make_readable(folder: Path) -> None:
    """Let every user read what is in `folder`, and run what its owner may run. Links stay as they are."""
    _open(folder)
    for path, folders, files in os.walk(folder):
        for name in (*folders, *files):
            _open(Path(path, name))


def _open(path: Path) -> None:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return
    wanted = 0o755 if stat.S_ISDIR(mode) or mode & 0o100 else 0o644
    if mode & wanted != wanted:
        path.chmod(stat.S_IMODE(mode) | wanted)


def make_bytecode_readable(packages: Path) -> None:
    """Let every user read the compiled modules of packages that are readable themselves.

    What root compiled while it kept its files to itself, nobody else could use: each start would compile anew.
    """
    for path, folders, files in os.walk(packages):
        if Path(path).name == "__pycache__":
            for name in files:
                _open(Path(path, name))
        elif "__pycache__" in folders and Path(path).stat().st_mode & 0o005 == 0o005:
            _open(Path(path, "__pycache__"))
