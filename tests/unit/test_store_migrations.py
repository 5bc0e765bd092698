"""The schema that migrations make, and how SQLite is opened."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError, OperationalError

from moorage.control.store import engine as store_engine
from moorage.control.store.endpoints import NameTaken, find, insert, mark_deleting
from moorage.control.store.engine import is_unavailable, make_sessions, migrate, open_database, reading
from moorage.control.store.models import Base, Deployment, Endpoint, Token


def endpoint(identifier: str, name: str = "ads") -> Endpoint:
    return Endpoint(
        id=identifier,
        name=name,
        creator="ann",
        creator_id="1",
        creation_timestamp=1,
        last_updated_timestamp=1,
        tags=[],
        deleting=False,
    )


@pytest.fixture
def database(tmp_path: Path):
    engine = open_database(tmp_path / "m.db")
    migrate(engine)
    yield engine
    engine.dispose()


def test_models_and_migrations_make_the_same_schema(database) -> None:
    with database.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_migrations_have_every_table_and_index_of_the_models(database) -> None:
    schema = inspect(database)
    assert set(schema.get_table_names()) == {*Base.metadata.tables, "alembic_version"}
    for name, table in Base.metadata.tables.items():
        assert {i["name"] for i in schema.get_indexes(name)} >= {i.name for i in table.indexes}


def test_migrating_twice_keeps_what_is_there(database) -> None:
    sessions = make_sessions(database)
    with sessions.begin() as session:
        insert(session, endpoint("a"), None, [])
    migrate(database)
    with reading(sessions) as session:
        assert find(session, "ads") is not None


def test_the_migrations_are_packaged_beside_the_code() -> None:
    folder = Path(store_engine.__file__).parent / "migrations"
    assert (folder / "env.py").is_file()
    assert (folder / "script.py.mako").is_file()
    assert list((folder / "versions").glob("0001_*.py"))


def test_sqlite_is_opened_for_many_readers_and_one_patient_writer(database) -> None:
    with database.connect() as connection:
        pragmas = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 1, "foreign_keys": 1, "busy_timeout": 5000}


def test_foreign_keys_hold(database) -> None:
    sessions = make_sessions(database)
    with pytest.raises(IntegrityError), sessions.begin() as session:
        session.add(Token(id="t", digest="d", user_id="nobody", comment="", creation_time=1, expiry_time=-1))


def test_an_endpoint_takes_its_deployments_with_it(database) -> None:
    sessions = make_sessions(database)
    deployment = Deployment(id="d", endpoint_id="a", served_name="s", spec={}, creator="ann", creation_timestamp=1)
    with sessions.begin() as session:
        insert(session, endpoint("a"), None, [deployment])
    with sessions.begin() as session:
        session.delete(session.get_one(Endpoint, "a"))
    with reading(sessions) as session:
        assert session.get(Deployment, "d") is None


def test_a_name_is_taken_by_a_live_endpoint_only(database) -> None:
    sessions = make_sessions(database)
    with sessions.begin() as session:
        insert(session, endpoint("a"), None, [])
    with pytest.raises(NameTaken), sessions.begin() as session:
        insert(session, endpoint("b"), None, [])
    with pytest.raises(IntegrityError), sessions.begin() as session:
        session.add(endpoint("b"))
    with sessions.begin() as session:
        mark_deleting(session, session.get_one(Endpoint, "a"), 2)
        insert(session, endpoint("b"), None, [])
    with reading(sessions) as session:
        found = find(session, "ads")
        assert found is not None
        assert found.id == "b"


def test_transactions_that_read_and_then_write_do_not_lose_each_other(database) -> None:
    sessions = make_sessions(database)
    with sessions.begin() as session:
        insert(session, endpoint("a"), None, [])

    def count_up() -> None:
        for _ in range(25):
            with sessions.begin() as session:
                session.get_one(Endpoint, "a").last_version += 1

    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(sessions) as session:
        assert session.get_one(Endpoint, "a").last_version == 100


def test_readers_do_not_wait_for_a_writer(database) -> None:
    sessions = make_sessions(database)
    with sessions.begin() as writer:
        insert(writer, endpoint("a"), None, [])
        with reading(sessions) as session:
            assert find(session, "ads") is None


def test_a_locked_database_is_told_from_a_broken_one(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    engine = open_database(f"sqlite:///{path}", busy_seconds=0.05)
    migrate(engine)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OperationalError) as locked, engine.begin():
        pass
    other.close()
    with pytest.raises(OperationalError) as broken, engine.begin() as connection:
        connection.execute(text("SELECT * FROM nothing"))
    assert is_unavailable(locked.value)
    assert not is_unavailable(broken.value)
    engine.dispose()
