"""A folder of segments: files that processes append records to, and that another process takes once they are closed.

A segment is held with `flock` by the process that writes it. The lock goes when the segment is closed and when that
process dies, so one that can be locked is whole, or ends in a record that was torn. A record is in the page cache
when `append` returns: it survives the death of the process, not that of the machine.

A segment begins with `MAGIC`. A record is `<crc: u32> <kind: u8> <lengths of three parts: u32>` (little endian), then
the parts; the checksum is over all that follows it. Nothing but the standard library is imported here: gateways do.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

MAGIC = b"moorage spool 1\n"
SEGMENT_BYTES = 16 * 1024 * 1024
SEGMENT_SECONDS = 2.0

_CRC = struct.Struct("<I")
_LENGTHS = struct.Struct("<BIII")
_HEAD = struct.Struct("<IBIII")
_NAME = re.compile(r"(?P<writer>[A-Za-z0-9_-]{1,64})\.(?P<number>\d{20})\.segment")
_UNFINISHED = ".new"
_FORGOTTEN_SECONDS = 60.0


class Record(NamedTuple):
    """One record; `kind` says what the parts mean."""

    kind: int
    head: bytes
    first: bytes = b""
    second: bytes = b""


class Segment(NamedTuple):
    """A segment by its file. The numbers of a writer's segments only grow, also over its restarts."""

    path: Path
    writer: str
    number: int
    size: int


class SegmentWriter:
    """Appends records to segments of its own, named after `writer`: no other live process may have that name.

    `clock` counts seconds, `now` nanoseconds since the epoch. A process that appends must call `rotate` now and then.
    """

    def __init__(
        self,
        folder: Path,
        writer: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self._folder = folder
        self._writer = writer
        self._clock = clock
        self._now = now
        self._descriptor = -1
        self._size = 0
        self._opened = 0.0
        self._number = 0

    def append(self, kind: int, head: bytes, first: bytes = b"", second: bytes = b"") -> None:
        """Write a record with one system call.

        Raises:
            OSError: the disk is full, say; nothing of the record is kept.
        """
        descriptor = self._descriptor
        if descriptor < 0:
            descriptor = self._open()
        lengths = _LENGTHS.pack(kind, len(head), len(first), len(second))
        checksum = crc32(second, crc32(first, crc32(head, crc32(lengths))))
        size = _HEAD.size + len(head) + len(first) + len(second)
        if os.writev(descriptor, (_CRC.pack(checksum), lengths, head, first, second)) != size:
            self._take_back()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += size
        if self._size >= SEGMENT_BYTES:
            self.close()

    def rotate(self) -> None:
        """Close a segment that is 2 s old, so that its records are soon read."""
        if self._descriptor >= 0 and self._clock() - self._opened >= SEGMENT_SECONDS:
            self.close()

    def close(self) -> None:
        """Give the segment over, if there is one; the next record begins another."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _open(self) -> int:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        number = self._next_number()
        # Under another name until it is locked: who looks for segments must not find one that seems abandoned.
        unfinished = self._folder / f"{self._writer}.{os.getpid()}{_UNFINISHED}"
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.write(descriptor, MAGIC) != len(MAGIC):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.rename(unfinished, self._folder / f"{self._writer}.{number:020d}.segment")
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        self._size = len(MAGIC)
        self._opened = self._clock()
        self._number = number
        return descriptor

    def _next_number(self) -> int:
        """Above every number of this writer so far: what was read remembers the highest, and takes no lower one.

        The time alone would not do, because clocks are set back; nor would a file alone, because an older copy of
        the folder may be restored.
        """
        path = self._folder / f"{self._writer}.number"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            known = os.pread(descriptor, 20, 0)
            stored = int(known) if known.isdigit() else 0
            number = max(self._now() // 1000, stored + 1, self._number + 1)
            if os.pwrite(descriptor, b"%020d" % number, 0) != 20:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)
        return number

    def _take_back(self) -> None:
        """A part of a record was written: what is appended after it could not be read."""
        try:
            os.ftruncate(self._descriptor, self._size)
        except OSError:
            self.close()


def closed_segments(folder: Path, *, now: Callable[[], float] = time.time) -> list[Segment]:
    """The segments that may be read, oldest first. Of each writer all up to the first that is still written.

    Raises:
        OSError: the folder cannot be read. None is there when there is no folder.
    """
    found: dict[str, list[Segment]] = {}
    for path, status in _listed(folder):
        match = _NAME.fullmatch(path.name)
        if match is not None:
            segment = Segment(path, match["writer"], int(match["number"]), status.st_size)
            found.setdefault(segment.writer, []).append(segment)
        elif path.name.endswith(_UNFINISHED) and now() - status.st_mtime > _FORGOTTEN_SECONDS:
            path.unlink(missing_ok=True)
    closed = []
    for segments in found.values():
        segments.sort(key=lambda one: one.number)
        for segment in segments:
            if not _is_closed(segment.path):
                break
            closed.append(segment)
    return sorted(closed, key=lambda one: (one.number, one.writer))


def spool_bytes(folder: Path) -> int:
    """How long all segments are together, those that are still written included."""
    return sum(status.st_size for path, status in _listed(folder) if _NAME.fullmatch(path.name))


def read_segment(path: Path) -> tuple[list[Record], int]:
    """The records of a closed segment, and how many bytes behind them are of a record that was torn.

    Raises:
        OSError: it cannot be read.
    """
    return parse_segment(path.read_bytes())


def parse_segment(data: bytes) -> tuple[list[Record], int]:
    """As `read_segment`, of its content."""
    if not data.startswith(MAGIC):
        return [], len(data)
    records = []
    place = len(MAGIC)
    while place + _HEAD.size <= len(data):
        checksum, kind, *lengths = _HEAD.unpack_from(data, place)
        end = place + _HEAD.size + sum(lengths)
        if end > len(data) or crc32(memoryview(data)[place + _CRC.size : end]) != checksum:
            break
        records.append(Record(kind, *_cut(data, place + _HEAD.size, lengths)))
        place = end
    return records, len(data) - place


def _cut(data: bytes, place: int, lengths: Sequence[int]) -> Iterable[bytes]:
    for length in lengths:
        yield data[place : place + length]
        place += length


def _listed(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """What is in the folder. Others work there too: a file that was renamed or deleted after the list was made is
    left out."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        try:
            status = entry.stat()
        except FileNotFoundError:
            continue
        yield Path(entry.path), status


def _is_closed(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
