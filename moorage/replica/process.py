"""What a process knows and says of itself: its status file, its start ticks, its bounded log."""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import sys
import threading
import time
from typing import Any, Dict

MARKER = re.compile(rb"(?m)^\[earlier lines were dropped: the log reached its limit; (\d{1,18}) bytes so far\]\n")
"""The line that a log begins with once it was cut: how many bytes of it have gone."""

MARKER_BYTES = 2048
"""Where in a log the marker is searched for: another thread may write between the cut and the marker."""


def start_ticks(pid: int) -> int:
    """When the kernel started `pid`, in clock ticks since boot: with the pid, a name that is never reused.

    Raises:
        OSError: there is no such process.
    """
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[19])


def peer_uid(sock: socket.socket) -> int:
    """The user of the process at the other end of a connected Unix socket, as of its `connect` or `listen`."""
    _, uid, _ = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)


def write_json(path: str, document: Dict[str, Any]) -> None:
    """Replace the file in one step, so that a reader sees the old document or the new one."""
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(document, file)
    os.replace(temporary, path)


def log(level: str, message: str) -> None:
    """A line of the replica's own in its log, in the form of the model server's lines."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S +0000", time.gmtime())
    sys.stderr.write(f"[{stamp}] [{os.getpid()}] [{level}] {message}\n")
    sys.stderr.flush()


class Status:
    """`status.json` in the replica's folder: how the control plane follows it, also after its own restart."""

    def __init__(self, path: str, replica_id: str) -> None:
        self._path = path
        self._document: Dict[str, Any] = {
            "replica_id": replica_id,
            "pid": os.getpid(),
            "started_at": start_ticks(os.getpid()),
            "phase": "loading",
            "message": "",
        }

    def update(self, **changes: Any) -> None:
        """Change and write."""
        self._document.update(changes)
        write_json(self._path, self._document)


class BoundedLog:
    """Points stdout and stderr at one file and keeps that file under `limit` bytes.

    When the file is over the limit its newer half is kept, in place: every writer appends, so none needs to
    know. What is written between the copy and the cut is lost; a first line says that lines are missing, and how
    many bytes have gone since the log began, so that who follows it knows where in it he is.
    """

    _LOOK_SECONDS = 0.5

    def __init__(self, path: str, limit: int) -> None:
        self._path = path
        self._limit = limit

    def redirect(self) -> None:
        """Make descriptors 1 and 2, and Python's streams, append to the file."""
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)
        sys.stdout = os.fdopen(1, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)

    def watch(self) -> None:
        """Start a thread that trims the file from now on."""
        threading.Thread(target=self._watch, name="moorage-log", daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(self._LOOK_SECONDS)
            try:
                self.trim()
            except OSError as error:  # a full disk must not stop the serving
                log("WARNING", f"cannot bound the log: {error}")
                time.sleep(10)

    def trim(self) -> None:
        """Cut the file to its newer half when it is over the limit."""
        if os.stat(self._path).st_size <= self._limit:
            return
        with open(self._path, "r+b") as file, open(self._path, "ab", buffering=0) as end:
            earlier = MARKER.search(file.read(MARKER_BYTES))
            dropped = int(earlier.group(1)) - earlier.end() if earlier else 0
            dropped += file.seek(-(self._limit // 2), os.SEEK_END)
            begun, newline, kept = file.read().partition(b"\n")
            marker = b"[earlier lines were dropped: the log reached its limit; %d bytes so far]\n"
            text = marker % (dropped + len(begun) + len(newline)) + kept
            file.truncate(0)
            end.write(text)
