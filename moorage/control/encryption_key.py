"""The encryption key: where it comes from, whether it is the database's, and its rotation.

It is in the data directory's `encryption.key`, or in `MOORAGE_ENCRYPTION_KEY`. The database holds a sealed value of
no meaning, the check, which says whether a key is the one that everything else was encrypted with.

A rotation writes the new key beside the old one, encrypts everything anew in one transaction, the check included, and
then puts the new key in the old one's place. After a death midway the check says which of the two files is the key.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, event, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from moorage.control.secret_values import decrypt_secret, encrypt_secret
from moorage.control.store.engine import Sessions, make_sessions, migrate, open_database, reading
from moorage.control.store.models import Secret, WorkspaceSetting
from moorage.control.store.sealed import replace_sealed
from moorage.datadir import DataDirectory
from moorage.encryption import (
    BadKey,
    CannotDecrypt,
    Encryption,
    key_text,
    new_key,
    parse_key,
    same_key_id,
)
from moorage.settings import ENCRYPTION_KEY_VARIABLE

_CHECK = "encryption_check"  # its setting, and its purpose


class KeyProblem(Exception):
    """There is no key, or not the right one; the message is one clear line. Nothing was changed."""


def settle_key(data: DataDirectory, sessions: Sessions, environ: Mapping[str, str]) -> None:
    """Finish or undo a rotation that was broken off, make the key of a new data directory, and see that it is right.

    Safe to run again. No other process may do so at the same time.

    Raises:
        KeyProblem: see there.
        OSError: a file cannot be read or written.
    """
    with reading(sessions) as session:
        check = _check(session)
    if ENCRYPTION_KEY_VARIABLE not in environ:
        _settle_rotation(data, check)
        if check is None and not data.encryption_key.exists():
            _write_key(data.encryption_key, new_key())
    key = _read_key(data, environ)
    if check is None:
        with sessions.begin() as session:
            session.add(WorkspaceSetting(key=_CHECK, value=Encryption(key).seal(_CHECK, "")))
    elif not _opens(key, check):
        raise _not_the_key(_source(data, environ))


def open_encryption(data: DataDirectory, sessions: Sessions, environ: Mapping[str, str]) -> Encryption:
    """The encryption of a data directory whose key has been settled.

    Raises:
        KeyProblem: see there.
        OSError: the key's file cannot be read.
    """
    key = _read_key(data, environ)
    with reading(sessions) as session:
        check = _check(session)
    if check is not None and not _opens(key, check):
        raise _not_the_key(_source(data, environ))
    return Encryption(key)


def rotate_key(data: DataDirectory, environ: Mapping[str, str], new_key_variable: str | None = None) -> None:
    """Put a new key in the place of the present one and encrypt everything anew. The directory must be held.

    Where the key comes from `MOORAGE_ENCRYPTION_KEY`, `new_key_variable` names the variable with the new one, which
    its owner then has to put there; otherwise it is made here and written to the key's file.

    Raises:
        KeyProblem: see there; or a secret cannot be decrypted.
        OSError: a file cannot be read or written.
        sqlalchemy.exc.SQLAlchemyError, sqlite3.Error, alembic.util.CommandError: the database cannot be used.
    """
    _require_one_source(environ, new_key_variable)
    with _durable_database(data.database) as engine:
        migrate(engine)
        sessions = make_sessions(engine)
        settle_key(data, sessions, environ)
        old = _read_key(data, environ)
        if new_key_variable is not None:
            _encrypt_anew(sessions, old, _given_key(environ, new_key_variable, old))
        else:
            new = _other_key(old)
            _write_key(data.new_encryption_key, new)
            _encrypt_anew(sessions, old, new)
            _replace_key(data)
        _drop_what_was_replaced(engine)


def _settle_rotation(data: DataDirectory, check: str | None) -> None:
    new = data.new_encryption_key
    if not new.exists():
        return
    if check is not None and _file_opens(new, check):
        _replace_key(data)
    elif check is None or _file_opens(data.encryption_key, check):
        new.unlink()
    else:
        raise KeyProblem(
            f"neither {data.encryption_key} nor {new} is the key that the secrets in {data.database} were encrypted "
            "with; put that one back"
        )


def _require_one_source(environ: Mapping[str, str], new_key_variable: str | None) -> None:
    in_environment = ENCRYPTION_KEY_VARIABLE in environ
    if in_environment and new_key_variable is None:
        raise KeyProblem(
            f"the encryption key comes from {ENCRYPTION_KEY_VARIABLE}: put a new one into another variable and name "
            "that with --new-key-env"
        )
    if not in_environment and new_key_variable is not None:
        raise KeyProblem(f"--new-key-env is only for a key that comes from {ENCRYPTION_KEY_VARIABLE}")


def _given_key(environ: Mapping[str, str], variable: str, old: bytes) -> bytes:
    if variable not in environ:
        raise KeyProblem(f"there is no environment variable {variable} with the new encryption key")
    new = _parse(environ[variable], variable)
    if same_key_id(new, old):
        raise KeyProblem(f"{variable} must hold another key than {ENCRYPTION_KEY_VARIABLE}")
    return new


def _other_key(old: bytes) -> bytes:
    while same_key_id(new := new_key(), old):
        pass
    return new


def _encrypt_anew(sessions: Sessions, old: bytes, new: bytes) -> None:
    encryption = Encryption(new, old)

    def resealed(token: str) -> str:
        try:
            return encryption.reseal(token)
        except CannotDecrypt:  # a text of some user's that looks like one, or a value that is lost already
            return token

    with sessions.begin() as session:
        for scope, key in session.execute(select(Secret.scope, Secret.key)).all():
            row = session.get_one(Secret, (scope, key))
            try:
                value = decrypt_secret(encryption, row)
            except CannotDecrypt as error:
                words = f"secret '{key}' of secret scope '{scope}' cannot be decrypted: {error}"
                raise KeyProblem(f"{words}; delete or replace it first") from error
            row.ciphertext = encrypt_secret(encryption, scope, key, value)
            session.flush()
            session.expunge(row)
        replace_sealed(session, resealed)


def _read_key(data: DataDirectory, environ: Mapping[str, str]) -> bytes:
    if ENCRYPTION_KEY_VARIABLE in environ:
        return _parse(environ[ENCRYPTION_KEY_VARIABLE], ENCRYPTION_KEY_VARIABLE)
    return _read_file(data.encryption_key)


def _read_file(path: Path) -> bytes:
    try:
        text = path.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        raise KeyProblem(
            f"{path} is missing, the key that the secrets in this data directory were encrypted with; put it back"
        ) from None
    return _parse(text, str(path))


def _parse(text: str, source: str) -> bytes:
    try:
        return parse_key(text)
    except BadKey as error:
        raise KeyProblem(f"{source} is {error}") from error


def _check(session: Session) -> str | None:
    setting = session.get(WorkspaceSetting, _CHECK)
    return setting.value if setting is not None else None


def _opens(key: bytes, check: str) -> bool:
    try:
        Encryption(key).open(_CHECK, check)
    except CannotDecrypt:
        return False
    return True


def _file_opens(path: Path, check: str) -> bool:
    try:
        return _opens(_read_file(path), check)
    except KeyProblem:
        return False


def _source(data: DataDirectory, environ: Mapping[str, str]) -> str:
    return ENCRYPTION_KEY_VARIABLE if ENCRYPTION_KEY_VARIABLE in environ else str(data.encryption_key)


def _not_the_key(source: str) -> KeyProblem:
    return KeyProblem(
        f"{source} is not the key that the secrets in this data directory were encrypted with; put that one back"
    )


def _write_key(path: Path, key: bytes) -> None:
    """The whole file or none, with mode 0600, and on the disk when this returns."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{key_text(key)}\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    _sync_folder(path.parent)


def _replace_key(data: DataDirectory) -> None:
    data.new_encryption_key.replace(data.encryption_key)
    _sync_folder(data.root)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _durable_database(location: Path) -> Iterator[Engine]:
    """The database such that a commit is on the disk when it returns."""
    engine = open_database(location)
    event.listen(engine, "connect", _wait_for_the_disk)
    try:
        yield engine
    finally:
        engine.dispose()


def _wait_for_the_disk(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _drop_what_was_replaced(engine: Engine) -> None:
    """Free pages and the journal hold earlier values, and those of secrets that were deleted, under the old key."""
    connection = engine.raw_connection()
    try:
        for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
            connection.cursor().execute(statement)
    finally:
        connection.close()
