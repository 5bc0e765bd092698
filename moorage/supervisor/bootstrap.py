"""The first start, and what each later one checks again: the data directory, its lock, its encryption key."""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from moorage.control.admin_env import connection_variables, write_admin_env
from moorage.control.bootstrap import AdminCredentials, prepare
from moorage.datadir import DataDirectory, DataDirectoryError
from moorage.settings import Settings
from moorage.supervisor import linux

ENCRYPTION_KEY_VARIABLE = "MOORAGE_ENCRYPTION_KEY"
_KEY_BYTES = 32
_PREDECESSOR_SECONDS = 20.0
_POLL_SECONDS = 0.1


class CannotStart(Exception):
    """The configuration or the data directory makes a start impossible; the message is one clear line."""


@contextlib.contextmanager
def held(
    data: DataDirectory,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[int]:
    """Make the directory and hold it for this server alone. Gives the lock's descriptor.

    The control plane inherits the descriptor, so the directory stays held while it stops the replicas of a
    server that was killed; a start that meets this waits for it.

    Raises:
        CannotStart: another server holds the directory, or it cannot be made or written.
    """
    try:
        data.create()
        descriptor = os.open(data.lock, os.O_RDWR | os.O_CREAT, 0o600)
    except DataDirectoryError as error:
        raise CannotStart(str(error)) from error
    except OSError as error:
        raise CannotStart(f"cannot write in data directory {data.root}: {error.strerror}") from error
    try:
        deadline = clock() + _PREDECESSOR_SECONDS
        while not _lock(descriptor):
            holder = _recorded_pid(descriptor)
            if linux.is_running(holder) or clock() > deadline:
                raise CannotStart(f"data directory {data.root} is in use by another Moorage server (pid {holder})")
            sleep(_POLL_SECONDS)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def prepare_data(
    settings: Settings, data: DataDirectory, environ: Mapping[str, str] | None = None
) -> AdminCredentials:
    """Encryption key, database, workspace, administrator and `admin.env`. Safe to run again at each start.

    Raises:
        CannotStart: a key that is none, a database of a newer version or out of reach, a directory that cannot
            be written.
    """
    try:
        ensure_encryption_key(data.encryption_key, os.environ if environ is None else environ)
        credentials = prepare(settings, data)
        write_admin_env(data.admin_env, connection_variables(settings.base_url, credentials.token))
    except CommandError as error:
        raise CannotStart(f"the database in {data.root} was made by a newer version of Moorage ({error})") from error
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise CannotStart(f"cannot use the database in {data.root}: {cause}") from error
    except OSError as error:
        raise CannotStart(f"cannot write in data directory {data.root}: {error.strerror}") from error
    return credentials


def ensure_encryption_key(path: Path, environ: Mapping[str, str]) -> None:
    """Make the key file unless there is one or the environment brings a key. A key is never replaced: what
    it encrypted would be lost.

    Raises:
        CannotStart: the key in the environment or the file is not 32 bytes in URL-safe base64.
    """
    given = environ.get(ENCRYPTION_KEY_VARIABLE)
    if given is not None:
        _check_key(given, ENCRYPTION_KEY_VARIABLE)
        return
    if not path.exists():
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(base64.urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    _check_key(path.read_text(encoding="ascii", errors="replace"), str(path))


def _check_key(text: str, source: str) -> None:
    try:
        key = base64.b64decode(text.strip().encode("ascii", "replace"), altchars=b"-_", validate=True)
    except binascii.Error:
        key = b""
    if len(key) != _KEY_BYTES:
        raise CannotStart(f"{source} does not hold an encryption key: {_KEY_BYTES} bytes in URL-safe base64")


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _recorded_pid(descriptor: int) -> int:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else 0
