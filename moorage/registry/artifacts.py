"""The files in MLflow's artifact store. A path is relative to the store's root, its parts separated by '/'."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Protocol

from moorage.api.errors import AlreadyExists, InvalidParameterValue, ResourceConflict

CHUNK_BYTES = 1024 * 1024
_LONGEST_PART = 255  # bytes of a file's name on Linux
_MOST_PARTS = 100
_LONGEST_PATH = 3500  # bytes; with the root it must stay below 4096


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a folder. `modified` is in milliseconds since the epoch, None where the store does not say."""

    path: str
    is_folder: bool
    size: int = 0
    modified: int | None = None

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


class OpenArtifact(Protocol):
    """A file that is being read. What it holds is that of one moment, whoever replaces it meanwhile."""

    @property
    def entry(self) -> Entry: ...

    def chunks(self, start: int, length: int) -> Iterator[bytes]:
        """These bytes of the file, in pieces of `CHUNK_BYTES` at most. To be asked for once.

        Raises:
            BrokenOff: the store gives less than there should be.
            TemporarilyUnavailable: the store does not answer.
        """
        ...

    def close(self) -> None: ...


class ArtifactStore(Protocol):
    """Where MLflow's server keeps the files of runs, logged models and registered versions. Threads may share it.

    Every method raises `InvalidParameterValue` for what is no path of a file in the store, and
    `TemporarilyUnavailable` when the store does not answer.
    """

    @property
    def staging(self) -> Path:
        """The folder of this machine in which files are made that `put` takes."""
        ...

    def find(self, path: str) -> Entry | None:
        """What is there, if anything is."""
        ...

    def entries(self, path: str) -> list[Entry]:
        """What is in that folder, by name; nothing when there is no such folder."""
        ...

    def open(self, path: str) -> OpenArtifact | None:
        """The file there, if there is one. Whoever opens it closes it."""
        ...

    def put(self, source: Path, path: str, *, replace: bool) -> None:
        """Make the file of this machine `source` the one at that path, all at once. `source` is gone then.

        Raises:
            AlreadyExists: there is a file, and it may not be replaced.
            InvalidParameterValue: a folder is there, or a file is where a folder would have to be.
        """
        ...

    def make_folder(self, path: str) -> None:
        """Have a folder there. In a store that has no empty folders nothing happens.

        Raises:
            InvalidParameterValue: a file is there.
        """
        ...

    def delete_folder(self, path: str) -> None:
        """Remove an empty folder; nothing when it is not there.

        Raises:
            InvalidParameterValue: it is not empty, or a file.
        """
        ...

    def delete(self, path: str) -> None:
        """Remove a file, or a folder and all below; nothing when it is not there."""
        ...


class BrokenOff(Exception):
    """A file ended before its size."""


def path_parts(path: str) -> tuple[str, ...]:
    """
    Raises:
        InvalidParameterValue: empty, or with parts that lead elsewhere or name no file.
    """
    parts = tuple(path.strip("/").split("/"))
    if len(parts) > _MOST_PARTS:
        raise InvalidParameterValue(f"Invalid path: it has more than {_MOST_PARTS} parts")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise InvalidParameterValue(f"Invalid path '{path}': it must name a file below the artifact store's root")
    try:
        sizes = [len(part.encode()) for part in parts]
    except UnicodeEncodeError:
        raise InvalidParameterValue("Invalid path: it must be valid Unicode text") from None
    if max(sizes) > _LONGEST_PART or sum(sizes) + len(sizes) > _LONGEST_PATH:
        raise InvalidParameterValue(
            f"Invalid path: it must have {_LONGEST_PATH} bytes at most, each part {_LONGEST_PART} at most"
        )
    return parts


def in_the_way(path: str) -> InvalidParameterValue:
    """The error of a file that cannot be put where it should."""
    return InvalidParameterValue(f"Invalid path '{path}': it is a directory, or a part of it is a file")


@dataclass(frozen=True, slots=True)
class LocalArtifacts:
    """The embedded server's store: a folder of this machine. Links in it lead nowhere outside."""

    root: Path

    @property
    def staging(self) -> Path:
        """Beside the store, not in it: what lies there MLflow would list."""
        return self.root.parent / "uploads"

    def find(self, path: str) -> Entry | None:
        return _entry(self._at(path), "/".join(path_parts(path)))

    def entries(self, path: str) -> list[Entry]:
        folder, path = self._at(path), "/".join(path_parts(path))
        try:
            names = os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        found = (_entry(folder / name, f"{path}/{name}") for name in sorted(names) if _is_text(name))
        return [entry for entry in found if entry is not None]

    def open(self, path: str) -> OpenArtifact | None:
        try:
            file = self._at(path).open("rb")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        about = os.fstat(file.fileno())
        modified = about.st_mtime_ns // 1_000_000
        return _OpenFile(Entry("/".join(path_parts(path)), False, about.st_size, modified), file)

    def put(self, source: Path, path: str, *, replace: bool) -> None:
        target = self._at(path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise in_the_way(path) from None
        if target.is_dir():
            raise in_the_way(path)
        try:
            _move(source, target, replace)
        except FileExistsError:
            raise AlreadyExists(f"The file '{path}' already exists.") from None
        except FileNotFoundError:
            if not source.exists():
                raise
            raise ResourceConflict(f"The folder of '{path}' was deleted meanwhile.") from None

    def make_folder(self, path: str) -> None:
        try:
            self._at(path).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise in_the_way(path) from None

    def delete_folder(self, path: str) -> None:
        try:
            self._at(path).rmdir()
        except FileNotFoundError:
            return
        except NotADirectoryError:
            raise InvalidParameterValue(f"'{path}' is no directory") from None
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise InvalidParameterValue(f"The directory '{path}' is not empty") from None

    def delete(self, path: str) -> None:
        parts = path_parts(path)
        # A link is removed itself, so only where it lies has to be inside.
        found = self._inside(self.root.joinpath(*parts[:-1]), path) / parts[-1]
        if found.is_dir() and not found.is_symlink():
            shutil.rmtree(found)
        elif found.is_symlink() or found.exists():
            found.unlink(missing_ok=True)

    def _at(self, path: str) -> Path:
        return self._inside(self.root.joinpath(*path_parts(path)), path)

    def _inside(self, place: Path, path: str) -> Path:
        root = os.path.realpath(self.root)
        if not Path(os.path.realpath(place)).is_relative_to(root):
            raise InvalidParameterValue(f"Invalid path '{path}': it leads out of the artifact store")
        return place


@dataclass(slots=True)
class _OpenFile:
    entry: Entry
    _file: BufferedReader

    def chunks(self, start: int, length: int) -> Iterator[bytes]:
        self._file.seek(start)
        while length > 0:
            chunk = self._file.read(min(CHUNK_BYTES, length))
            if not chunk:
                raise BrokenOff(f"'{self.entry.path}' became shorter while it was read")
            length -= len(chunk)
            yield chunk

    def close(self) -> None:
        self._file.close()


def _entry(place: Path, path: str) -> Entry | None:
    try:
        about = place.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    modified = about.st_mtime_ns // 1_000_000
    if place.is_dir():
        return Entry(path, True, modified=modified)
    return Entry(path, False, about.st_size, modified)


def _is_text(name: str) -> bool:
    """Whether a name on disk is UTF-8; others no request can spell."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _move(source: Path, target: Path, replace: bool) -> None:
    """
    Raises:
        FileExistsError: `target` exists, and it may not be replaced.
    """
    try:
        _rename(source, target, replace)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # The store is on another file system: what takes long goes under another name, which MLflow may list.
        near = target.with_name(f".{secrets.token_hex(8)}.upload")
        try:
            shutil.copyfile(source, near)
            _rename(near, target, replace)
        finally:
            near.unlink(missing_ok=True)
        source.unlink()


def _rename(source: Path, target: Path, replace: bool) -> None:
    if replace:
        os.replace(source, target)
    else:
        os.link(source, target)
        source.unlink()
