"""What a process of a model gives up before it runs anybody's code."""

from __future__ import annotations

import ctypes
import os
import resource
import struct

_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_RESTRICT_SELF = 446
_LANDLOCK_ASK_VERSION = 1
_LANDLOCK_SCOPE_SIGNAL = 1 << 1
_LANDLOCK_WITH_SCOPES = 6  # Linux 6.12

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def hide() -> None:
    """Close memory, environment and descriptors of this process to others of the same user, also to debuggers.

    A fork inherits it, a new program does not.
    """
    _prctl(_PR_SET_DUMPABLE, 0)


def give_up_privileges() -> None:
    """Nothing that this process starts may have more rights than it: no set-user-ID program either."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def fence() -> bool:
    """Leave this process without any hold on others than those it starts: no signals, no looking into memory.

    Call it before there are threads, and after `give_up_privileges`. Whether the kernel can (Linux 6.12 with
    Landlock); where it cannot, nothing has changed.
    """
    version = _libc.syscall(
        ctypes.c_long(_LANDLOCK_CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_uint32(_LANDLOCK_ASK_VERSION)
    )
    if version < _LANDLOCK_WITH_SCOPES:
        return False
    attributes = struct.pack("=QQQ", 0, 0, _LANDLOCK_SCOPE_SIGNAL)  # nothing of files, nothing of the network
    ruleset = _libc.syscall(
        ctypes.c_long(_LANDLOCK_CREATE_RULESET), attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0)
    )
    if ruleset < 0:
        return False
    try:
        return not _libc.syscall(ctypes.c_long(_LANDLOCK_RESTRICT_SELF), ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def limit_memory(more_bytes: int) -> None:
    """Let this process, and each that it starts, have so many bytes of its own beyond what it has now.

    Beyond that an allocation fails: a `MemoryError` in Python. It cannot be taken back.
    """
    with open("/proc/self/statm", "rb") as file:
        pages = int(file.read().split()[5])  # data and stack, not only what is in use
    wanted = pages * resource.getpagesize() + more_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, wanted))


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), *[ctypes.c_ulong(0)] * 3):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
