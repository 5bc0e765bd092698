"""The first start, and what each later one checks again: the data directory, its lock, its encryption key."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping

from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from moorage.control.admin_env import connection_variables, write_admin_env
from moorage.control.bootstrap import AdminCredentials, prepare
from moorage.control.encryption_key import KeyProblem
from moorage.control.rate_limits import LimitsDoNotHold
from moorage.datadir import DataDirectory, DataDirectoryError
from moorage.settings import Settings
from moorage.supervisor import linux

_PREDECESSOR_SECONDS = 20.0
_POLL_SECONDS = 0.1


class CannotStart(Exception):
    """The configuration or the data directory makes a start impossible; the message is one clear line."""


@contextlib.contextmanager
def held(
    data: DataDirectory,
    *,
    for_other_users: bool = False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[int]:
    """Make the directory, as `DataDirectory.create` does, and hold it for this server alone. Gives the lock's
    descriptor.

    The control plane inherits the descriptor, so the directory stays held while it stops the replicas of a
    server that was killed; a start that meets this waits for it.

    Raises:
        CannotStart: another server holds the directory, or it cannot be made or written.
    """
    try:
        data.create(for_other_users=for_other_users)
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
        CannotStart: a key that is none, or not the one of the database, a database of a newer version or out of
            reach, a directory that cannot be written, rate limits that cannot be enforced.
    """
    try:
        credentials = prepare(settings, data, os.environ if environ is None else environ)
        write_admin_env(data.admin_env, connection_variables(settings.base_url, credentials.token))
    except (KeyProblem, LimitsDoNotHold) as error:
        raise CannotStart(str(error)) from error
    except CommandError as error:
        raise CannotStart(f"the database in {data.root} was made by a newer version of Moorage ({error})") from error
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise CannotStart(f"cannot use the database in {data.root}: {cause}") from error
    except OSError as error:
        raise CannotStart(f"cannot write in data directory {data.root}: {error.strerror}") from error
    return credentials


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _recorded_pid(descriptor: int) -> int:
    text = os.pread(descriptor, 32, 0).strip()
    return int(text) if text.isdigit() else 0
