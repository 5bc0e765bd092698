"""Becomes a model's user and runs a command: `python -I -S as_model.py UID COVERS COMMAND...`

It is started by root, by its path, and imports nothing but the standard library. COVERS is JSON: a list of
`{"at", "binds", "links"}`, folders that are closed to others though what the command needs lies in them. The
command gets a view of the file system of its own, where such a folder holds nothing but `binds`, folders at their
own paths, and `links`, pairs of path and target.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any

_CLONE_NEWNS = 0x00020000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT = 1, 2, 4, 32
_MS_BIND, _MS_REC, _MS_SLAVE = 4096, 16384, 1 << 19
_PR_SET_NO_NEW_PRIVS = 38
_CANNOT_RUN = 126

_libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> None:
    """Does not return."""
    uid, covers, command = int(arguments[0]), json.loads(arguments[1]), arguments[2:]
    if covers:
        _own_view(covers)
    os.umask(0o077)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), *[ctypes.c_ulong(0)] * 3), "no_new_privs")
    try:
        os.chdir(os.environ["HOME"])
        os.execv(command[0], command)
    except OSError as error:
        print(f"user {uid} cannot run {command[0]}: {error}", file=sys.stderr)
        os._exit(_CANNOT_RUN)


def _own_view(covers: list[dict[str, Any]]) -> None:
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    # What is mounted later shows here too; nothing of this shows elsewhere.
    _mount(None, "/", None, _MS_REC | _MS_SLAVE)
    held = {path: os.open(path, os.O_PATH | os.O_DIRECTORY) for cover in covers for path in cover["binds"]}
    os.umask(0)
    for cover in covers:
        at = cover["at"]
        _mount("tmpfs", at, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0711,size=1m")
        for path in cover["binds"]:
            os.makedirs(path, mode=0o711, exist_ok=True)
            _mount(f"/proc/self/fd/{held[path]}", path, None, _MS_BIND | _MS_REC)
        for path, target in cover["links"]:
            os.makedirs(os.path.dirname(path), mode=0o711, exist_ok=True)
            os.symlink(target, path)
        _mount(None, at, None, _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)
    for descriptor in held.values():
        os.close(descriptor)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind, options)]
    _check(_libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]), f"mount on {target}")


def _check(status: int, what: str) -> None:
    if status != 0:
        number = ctypes.get_errno()
        print(f"cannot become a model's user: {what}: {os.strerror(number)}", file=sys.stderr)
        os._exit(_CANNOT_RUN)


if __name__ == "__main__":
    main(sys.argv[1:])
