"""The database: how it is opened, brought to the newest schema, and used in transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, TimeoutError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

_BUSY_SECONDS = 5
_SQLITE_BEGIN = "moorage_sqlite_begin"
_MIGRATIONS = Path(__file__).parent / "migrations"

Sessions = sessionmaker[Session]


def open_database(location: str | Path, *, busy_seconds: float = _BUSY_SECONDS) -> Engine:
    """An engine for an SQLAlchemy URL, or for the SQLite file at a path.

    SQLite runs in WAL with foreign keys, waits up to `busy_seconds` for a lock, and takes the write lock when
    a transaction begins, so that one that reads and then writes cannot lose to another between the two.
    """
    url = f"sqlite:///{location}" if isinstance(location, Path) else location
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True)
    # One connection for each thread that serves requests, and some for the reconciler.
    engine = create_engine(url, connect_args={"timeout": busy_seconds}, pool_size=16, max_overflow=48)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def make_sessions(engine: Engine) -> Sessions:
    """The factory of sessions; rows stay readable after their transaction has ended."""
    return sessionmaker(engine, expire_on_commit=False)


@contextmanager
def reading(sessions: Sessions) -> Iterator[Session]:
    """A transaction that only reads: one consistent view, and no lock that a writer would wait for."""
    with sessions() as session:
        session.connection(execution_options={_SQLITE_BEGIN: "BEGIN DEFERRED"})
        yield session


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest version; safe to run again.

    Raises:
        alembic.util.CommandError: the database was made by a newer Moorage.
    """
    with engine.begin() as connection:
        command.upgrade(_alembic_config(connection), "head")


def is_unavailable(error: Exception) -> bool:
    """Whether the database was busy or out of reach, so that the same request may succeed later."""
    if isinstance(error, TimeoutError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.OperationalError):
        return error.orig.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return error.connection_invalidated


def _alembic_config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _prepare_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    # Without this the driver decides when a transaction begins, and reads run outside of any.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(_SQLITE_BEGIN, "BEGIN IMMEDIATE"))
