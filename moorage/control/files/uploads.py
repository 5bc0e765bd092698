"""Files on their way into the artifact store.

A file is made in the store's staging folder and put into the store when it is whole. An upload in parts has a folder
of its own there, with a file for each part; it outlives a restart of this process, its token too.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from moorage.api.errors import BadRequest, InvalidParameterValue, NotFound
from moorage.api.files import UploadedPart
from moorage.encryption import SEALED_PREFIX, CannotDecrypt, Encryption
from moorage.registry.artifacts import CHUNK_BYTES

_logger = logging.getLogger(__name__)

LEFT_AFTER_SECONDS = 24 * 3600.0
_SWEEP_SECONDS = 3600.0
_PURPOSE = "file-upload"
_DONE = "done"
_LOCKS = 64
_NO_COPY = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV, errno.EPERM)


class Session(BaseModel):
    """An upload in parts: the file as its owner names it, and whether it may replace one."""

    model_config = ConfigDict(frozen=True)

    id: str
    user: str
    file: str
    replace: bool


@dataclass(frozen=True, slots=True)
class Uploads:
    staging: Path
    encryption: Encryption
    _locks: tuple[Lock, ...] = field(default_factory=lambda: tuple(Lock() for _ in range(_LOCKS)), init=False)

    @asynccontextmanager
    async def received(self, chunks: AsyncIterator[bytes], length: int | None) -> AsyncIterator[Path]:
        """A file with these bytes, gone afterwards unless it was moved. `length` is what the client announced.

        Raises:
            BadRequest: it broke off, or has another length.
        """
        path = self._files / secrets.token_hex(16)
        try:
            await _write(path, chunks, length)
            yield path
        finally:
            await run_in_threadpool(path.unlink, missing_ok=True)

    def start(self, user: str, file: str, *, replace: bool) -> str:
        """The token of a new upload in parts."""
        session = Session(id=secrets.token_hex(16), user=user, file=file, replace=replace)
        self._folder(session.id).mkdir(mode=0o700, parents=True)
        return self.encryption.seal(_PURPOSE, session.model_dump_json()).removeprefix(SEALED_PREFIX)

    def session(self, token: str, user: str, file: str) -> Session:
        """
        Raises:
            InvalidParameterValue: no token of that user's upload of that file.
        """
        try:
            found = Session.model_validate_json(self.encryption.open(_PURPOSE, f"{SEALED_PREFIX}{token}"))
        except (CannotDecrypt, ValidationError):
            found = None
        if found is None or (found.user, found.file) != (user, file):
            raise InvalidParameterValue("Invalid value for 'session_token': it belongs to no upload of this file")
        return found

    def require_under_way(self, upload: str) -> None:
        """
        Raises:
            NotFound: the upload was completed, aborted or given up.
        """
        if not self._folder(upload).is_dir() or self.is_done(upload):
            raise _no_upload()

    def is_done(self, upload: str) -> bool:
        """Whether it was completed, not long ago."""
        return (self._folder(upload) / _DONE).exists()

    def add_part(self, upload: str, number: int, received: Path) -> str:
        """Take in a part, in place of an earlier one of that number. Returns its tag.

        Raises:
            NotFound: the upload was completed, aborted or given up.
        """
        self.require_under_way(upload)
        folder, tag = self._folder(upload), secrets.token_hex(16)
        earlier = list(folder.glob(f"{number}.*"))
        try:
            received.rename(_part(folder, number, tag))
        except FileNotFoundError:
            raise _no_upload() from None
        for one in earlier:
            one.unlink(missing_ok=True)
        return tag

    @contextmanager
    def completing(self, upload: str) -> Iterator[None]:
        """For one at a time: a client that waits too long asks again."""
        with self._locks[int(upload[:8], 16) % _LOCKS]:
            yield

    def join(self, upload: str, parts: Sequence[UploadedPart]) -> Path:
        """One file of these parts by their numbers; the parts stay. The bytes do not come into this process.

        Raises:
            InvalidParameterValue: a number is missing or there twice, or a tag is not that of the part.
            NotFound: the upload was completed, aborted or given up.
        """
        self.require_under_way(upload)
        ordered = sorted(parts, key=lambda part: part.part_number)
        if not ordered or [part.part_number for part in ordered] != list(range(1, len(ordered) + 1)):
            raise InvalidParameterValue("Invalid value for 'parts': must have every part from 1 on, each once")
        folder = self._folder(upload)
        stored = [_stored(folder, part) for part in ordered]  # before any byte is copied
        joined = self._files / secrets.token_hex(16)
        try:
            with joined.open("xb") as whole:
                for number, path in enumerate(stored, start=1):
                    _append(path, whole, number)
        except BaseException:
            joined.unlink(missing_ok=True)
            raise
        return joined

    def finish(self, upload: str) -> None:
        """Remove the parts. For a while it is remembered that the upload was completed."""
        folder = self._folder(upload)
        (folder / _DONE).touch()
        for path in folder.iterdir():
            if path.name != _DONE:
                path.unlink(missing_ok=True)

    def abort(self, upload: str) -> None:
        """Remove the parts; nothing when there are none."""
        aborted = self._sessions / f"{upload}.aborted"
        try:
            self._folder(upload).rename(aborted)  # so that no part comes in any more
        except FileNotFoundError:
            return
        shutil.rmtree(aborted)

    def sweep(self, now: float) -> None:
        """Remove what was left more than a day ago. `now` is in seconds since the epoch."""
        for folder, remove in ((self._sessions, shutil.rmtree), (self._files, os.unlink)):
            for path in folder.iterdir() if folder.is_dir() else ():
                try:
                    if path.stat().st_mtime < now - LEFT_AFTER_SECONDS:
                        remove(path)
                except FileNotFoundError:
                    continue  # it was completed or aborted just now

    def discard_files(self) -> None:
        """Remove what an earlier process was receiving when it ended: nobody sends the rest. Parts stay."""
        shutil.rmtree(self._files)

    async def sweep_for_ever(self) -> None:
        """Sweep, now and every hour."""
        while True:
            try:
                await run_in_threadpool(self.sweep, time.time())
            except Exception:
                _logger.exception("uploads that were left could not be removed; again in an hour")
            await asyncio.sleep(_SWEEP_SECONDS)

    @property
    def _files(self) -> Path:
        folder = self.staging / "files"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    @property
    def _sessions(self) -> Path:
        return self.staging / "sessions"

    def _folder(self, upload: str) -> Path:
        return self._sessions / upload


async def _write(path: Path, chunks: AsyncIterator[bytes], length: int | None) -> None:
    """The disk is written to by other threads, so that the loop serves others meanwhile, a batch at a time."""
    file = await run_in_threadpool(path.open, "xb")
    size, batch, pending = 0, 0, list[bytes]()
    try:
        async for chunk in chunks:
            pending.append(chunk)
            batch += len(chunk)
            if batch >= CHUNK_BYTES:
                await run_in_threadpool(file.writelines, pending)
                size, batch, pending = size + batch, 0, []
        await run_in_threadpool(file.writelines, pending)
        size += batch
    except ClientDisconnect:
        raise BadRequest("The upload broke off.") from None
    finally:
        await run_in_threadpool(file.close)
    if length is not None and size != length:
        raise BadRequest(f"The upload has {size} bytes, not the {length} of its Content-Length.")


def _part(folder: Path, number: int, tag: str) -> Path:
    return folder / f"{number}.{tag}"


def _stored(folder: Path, part: UploadedPart) -> Path:
    """Where a part lies. Clients give its tag as the header had it, in quotes."""
    tag = part.etag.strip('"')
    path = _part(folder, part.part_number, tag)
    if not tag.isalnum() or not path.is_file():
        raise InvalidParameterValue(f"Invalid value for 'parts': part {part.part_number} has another etag")
    return path


def _append(path: Path, whole: BinaryIO, number: int) -> None:
    try:
        part = path.open("rb")
    except FileNotFoundError:
        raise InvalidParameterValue(f"Invalid value for 'parts': part {number} was sent again meanwhile") from None
    with part:
        left = os.fstat(part.fileno()).st_size
        while left > 0:
            copied = _copy(part.fileno(), whole.fileno(), left)
            if not copied:
                raise OSError(errno.EIO, "a part of an upload became shorter", str(path))
            left -= copied


def _copy(source: int, target: int, count: int) -> int:
    """Copy bytes from where one file is to where the other is, in the kernel. Returns how many, 0 at the end."""
    try:
        return os.copy_file_range(source, target, count)
    except OSError as error:
        if error.errno not in _NO_COPY:
            raise
        return os.sendfile(target, source, None, count)  # on file systems that do not have the other


def _no_upload() -> NotFound:
    return NotFound("No such upload: it was completed, aborted, or left for more than a day.")
