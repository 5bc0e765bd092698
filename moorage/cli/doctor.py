"""`moorage doctor`: what this machine lacks, found before a server trips over it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import uv
from packaging.version import Version

from moorage.compute.reach import REPLICA_CODE, OutOfReach, covers, require_capabilities
from moorage.environments.interpreters import parse_listing, search_path
from moorage.separation import NOT_SEPARATED, models_are_separated
from moorage.settings import Settings
from moorage.supervisor.sockets import CannotListen, listen

_OLDEST_PYTHON = (3, 11)
_GIB = 1024**3
_LITTLE_DISK = 5 * _GIB
_LEAST_DISK = _GIB // 2
_LITTLE_MEMORY = 2 * _GIB
_UV_SECONDS = 60


class Outcome(StrEnum):
    """What a check found. Only `FAILED` would stop the server."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    name: str
    outcome: Outcome
    message: str


def examine(settings: Settings) -> list[Finding]:
    """Every check, for a server with these settings. Starts nothing and leaves nothing behind."""
    checks: tuple[Callable[[], Finding], ...] = (
        check_python,
        check_uv,
        check_interpreters,
        lambda: check_data_directory(settings.data_dir),
        lambda: check_separation(settings),
        lambda: check_disk(settings.data_dir),
        lambda: check_port(settings.host, settings.port),
        lambda: check_memory(Path("/proc/meminfo")),
    )
    return [check() for check in checks]


def check_python() -> Finding:
    """The interpreter that runs the server."""
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] < _OLDEST_PYTHON:
        return Finding("python", Outcome.FAILED, f"{found}; the server needs 3.11 or later")
    return Finding("python", Outcome.OK, found)


def check_uv() -> Finding:
    """`uv`, which builds the environments of models."""
    try:
        path = uv.find_uv_bin()
        answer = _run_uv(path, "--version")
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("uv", Outcome.FAILED, f"cannot be run ({error}); install it with: pip install uv")
    return Finding("uv", Outcome.OK, f"{answer.strip()} at {path}")


def check_interpreters() -> Finding:
    """The Python versions that models can be served with."""
    try:
        listing = _run_uv(uv.find_uv_bin(), "python", "list", "--only-installed", "--output-format", "json")
        versions = {each.version for each in parse_listing(listing)}
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return Finding("pythons for models", Outcome.WARNING, f"cannot be listed ({error})")
    if not versions:
        return Finding("pythons for models", Outcome.WARNING, "uv finds none")
    return Finding("pythons for models", Outcome.OK, ", ".join(sorted(versions, key=Version)))


def check_data_directory(path: Path) -> Finding:
    """Whether the directory, or the nearest one above it that exists, can be written."""
    existing = _existing(path)
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        return Finding("data directory", Outcome.FAILED, f"cannot write in {existing}: {error.strerror}")
    state = "" if existing == path else " (does not exist yet)"
    return Finding("data directory", Outcome.OK, f"{path}{state}")


def check_separation(settings: Settings) -> Finding:
    """Whether models would run as users of their own."""
    name, root = "separation of models", settings.data_dir
    if not models_are_separated(settings):
        return Finding(name, Outcome.WARNING, NOT_SEPARATED)
    try:
        require_capabilities()
        covers(Path(sys.executable), (REPLICA_CODE, root), to_be_opened=root)
    except OutOfReach as error:
        return Finding(name, Outcome.FAILED, str(error))
    return Finding(name, Outcome.OK, f"each creator's models run as a user above {settings.model_uid_base}")


def check_disk(path: Path) -> Finding:
    """Room for models and environments, which take a gigabyte or more each."""
    free = shutil.disk_usage(_existing(path)).free
    message = f"{free / _GIB:.1f} GiB free at {path}"
    if free < _LEAST_DISK:
        return Finding("disk", Outcome.FAILED, f"{message}; environments of models need more")
    outcome = Outcome.WARNING if free < _LITTLE_DISK else Outcome.OK
    return Finding("disk", outcome, message)


def check_port(host: str, port: int) -> Finding:
    """Whether the server could listen where it is told to."""
    try:
        for one in listen(host, port, 1):
            one.close()
    except CannotListen as error:
        return Finding("port", Outcome.FAILED, str(error))
    return Finding("port", Outcome.OK, f"{port} on {host} is free" if port else f"any on {host}")


def check_memory(meminfo: Path) -> Finding:
    """What is available now, by the kernel's own estimate in `meminfo` (proc(5), in kB)."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        available = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return Finding("memory", Outcome.WARNING, f"{meminfo} does not say what is available")
    message = f"{available / _GIB:.1f} GiB available, {os.cpu_count()} cores"
    if available < _LITTLE_MEMORY:
        return Finding("memory", Outcome.WARNING, f"{message}; a server with one small model takes about 1 GiB")
    return Finding("memory", Outcome.OK, message)


def _existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _run_uv(path: str, *arguments: str) -> str:
    environment = {**os.environ, "PATH": search_path(os.environ.get("PATH", ""))}
    return subprocess.run(
        [path, *arguments], capture_output=True, text=True, check=True, timeout=_UV_SECONDS, env=environment
    ).stdout
