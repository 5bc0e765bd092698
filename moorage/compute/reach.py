"""What another user than root needs to run an interpreter: which folders on the way are closed to it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from moorage.compute import as_model
from moorage.datadir import DataDirectory
from moorage.replica import frames

REPLICA_CODE = Path(frames.__file__).parent
_CAP_SYS_ADMIN = 21
_NEEDED_CAPABILITIES = {0: "CAP_CHOWN", 1: "CAP_DAC_OVERRIDE", 3: "CAP_FOWNER", 5: "CAP_KILL", 6: "CAP_SETGID",
                        7: "CAP_SETUID"}  # fmt: skip
_MOST_LINKS = 40


class OutOfReach(Exception):
    """Models cannot run as users of their own; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Cover:
    """A closed folder, as `as_model` is to show it: only with these folders and links (path, target) in it."""

    at: str
    binds: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)


def places(data: DataDirectory) -> tuple[Path, ...]:
    """The folders that a model needs beside its interpreter."""
    return (REPLICA_CODE, data.root, data.run)


def covers(python: Path, others: Iterable[Path], to_be_opened: Path | None = None) -> list[dict[str, object]]:
    """What `as_model` has to show so that every user can run `python` and enter `others`; usually nothing.

    `to_be_opened` counts as open already.

    Raises:
        OutOfReach: a folder on the way is closed to others, and this process may not make a view without it.
    """
    found: dict[Path, Cover] = {}
    ways = [_Way.along(path) for path in (*_homes(python), *others)]
    for end in sorted({way.end for way in ways}):  # a folder comes before what is in it
        closed = _closed(end, to_be_opened)
        if end != to_be_opened and not end.stat().st_mode & 0o001:
            raise OutOfReach(_explain(end))
        if closed is not None:
            cover = found.setdefault(closed, Cover(str(closed)))
            if not _is_within(end, cover.binds):
                cover.binds.append(str(end))
    for link, target in dict.fromkeys(link for way in (*ways, _Way.along(python)) for link in way.links):
        closed = _closed(link.parent, to_be_opened)
        if closed is not None:
            cover = found.setdefault(closed, Cover(str(closed)))
            if not _is_within(link, cover.binds):
                cover.links.append((str(link), target))
    if found and not _has_capability(_CAP_SYS_ADMIN):
        raise OutOfReach(_explain(min(found)))
    return [asdict(one) for one in found.values()]


def as_user(uid: int, python: Path, others: Iterable[Path]) -> list[str]:
    """What stands in front of a command of that interpreter which another user is to run; it needs `HOME`.

    Raises:
        OutOfReach: as `covers` does.
    """
    return [sys.executable, "-I", "-S", as_model.__file__, str(uid), json.dumps(covers(python, others))]


def require_capabilities() -> None:
    """
    Raises:
        OutOfReach: this process is root without what it takes to act for other users.
    """
    missing = [name for number, name in _NEEDED_CAPABILITIES.items() if not _has_capability(number)]
    if missing:
        raise OutOfReach(
            f"models cannot run as users of their own: this process is root without {', '.join(missing)}. Give it"
            " these, run the server as another user than root, or set MOORAGE_MODEL_UID_BASE=0 to run models as root."
        )


def _homes(python: Path) -> list[Path]:
    """The folders that an interpreter lives of: its environment's and that of the Python it was made with."""
    environment = python.parent.parent
    homes = [environment, _Way.along(python).end.parent.parent]
    try:
        lines = (environment / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        name, _, value = line.partition("=")
        if name.strip() == "home":
            homes.append(Path(value.strip()).parent)
    homes = [home for home in homes if home == environment or any(home.glob("lib*/python3*/os.py"))]
    if python == Path(sys.executable):  # packages that are installed as links to where they are worked on
        entries = {Path(entry) for entry in sys.path if entry} - {Path.cwd()}
        homes += [entry for entry in entries if entry.is_dir() and _closed(entry.resolve()) != entry.resolve()]
    return homes


@dataclass(frozen=True, slots=True)
class _Way:
    """The way to a file or folder: where it ends, and the links (path, target) that it takes."""

    end: Path
    links: list[tuple[Path, str]]

    @classmethod
    def along(cls, path: Path) -> _Way:
        rest = list(reversed(path.absolute().parts[1:]))
        here = Path("/")
        links: list[tuple[Path, str]] = []
        while rest:
            part = rest.pop()
            if part == "..":
                here = here.parent
                continue
            step = here / part
            if step.is_symlink() and len(links) < _MOST_LINKS:
                target = os.readlink(step)
                links.append((step, target))
                words = list(Path(target).parts)
                if words[:1] == ["/"]:
                    here, words = Path("/"), words[1:]
                rest += reversed(words)
                continue
            here = step
        return cls(here, links)


def _closed(folder: Path, to_be_opened: Path | None = None) -> Path | None:
    """The topmost of the folder and those above it that others may not pass."""
    for one in (*reversed(folder.parents), folder):
        if one != to_be_opened and one.is_dir() and not one.stat().st_mode & 0o001:
            return one
    return None


def _is_within(path: Path, folders: Iterable[str]) -> bool:
    return any(path.is_relative_to(one) for one in folders)


def _explain(closed: Path) -> str:
    return (
        f"models run as users of their own, and {closed} is closed to them (mode"
        f" {closed.stat().st_mode & 0o7777:04o}). Keep data directory and Python elsewhere, open the folder to"
        f" passers-by (chmod o+x {closed}), run the server as another user than root, or set"
        " MOORAGE_MODEL_UID_BASE=0 to run models as root."
    )


def _has_capability(number: int) -> bool:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    effective = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> number & 1)
