"""The first start and the later ones: lock, key, administrator, `admin.env`."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

import pytest
from sqlalchemy import text

from moorage.control.admin_env import connection_variables, read_admin_env, write_admin_env
from moorage.control.store import identity
from moorage.control.store.engine import make_sessions, open_database
from moorage.datadir import DataDirectory
from moorage.encryption import key_text, new_key
from moorage.identity.tokens import token_digest
from moorage.settings import Settings
from moorage.supervisor.bootstrap import CannotStart, held, prepare_data

DEAD_PID = 2**22 + 1  # above the kernel's largest process id


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    return directory


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def principal_of(data: DataDirectory, token: str) -> tuple[str, bool] | None:
    engine = open_database(data.database)
    try:
        with make_sessions(engine)() as session:
            found = identity.principal_by_digest(session, token_digest(token), 0)
            return None if found is None else (found.user_name, found.admin)
    finally:
        engine.dispose()


def test_a_second_server_is_refused_and_told_by_whom(data: DataDirectory) -> None:
    with held(data), pytest.raises(CannotStart) as failure, held(data):
        pass
    assert str(failure.value) == (
        f"data directory {data.root} is in use by another Moorage server (pid {os.getpid()})"
    )
    with held(data):
        assert data.lock.read_text() == f"{os.getpid()}\n"


def test_a_start_waits_for_what_is_left_of_a_killed_server(data: DataDirectory) -> None:
    left = os.open(data.lock, os.O_RDWR | os.O_CREAT)
    os.write(left, f"{DEAD_PID}\n".encode())
    fcntl.flock(left, fcntl.LOCK_EX)
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            os.close(left)

    with held(data, sleep=sleep):
        assert len(waits) == 3


def test_a_start_does_not_wait_for_ever(data: DataDirectory) -> None:
    left = os.open(data.lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(left, fcntl.LOCK_EX)
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    with pytest.raises(CannotStart, match="in use"), held(data, clock=lambda: now, sleep=sleep):
        pass
    os.close(left)
    assert 10 < now < 60


def test_a_file_in_place_of_the_data_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotStart, match="cannot use"), held(DataDirectory(tmp_path / "file")):
        pass


def test_the_first_start_makes_an_administrator_whose_token_is_in_admin_env(data: DataDirectory) -> None:
    settings = Settings(data_dir=data.root, port=8123)
    credentials = prepare_data(settings, data, {})
    assert credentials.created
    assert mode(data.admin_env) == 0o600
    assert read_admin_env(data.admin_env) == {
        "DATABRICKS_HOST": "http://127.0.0.1:8123",
        "DATABRICKS_TOKEN": credentials.token,
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:8123",
        "MLFLOW_TRACKING_TOKEN": credentials.token,
    }
    assert principal_of(data, credentials.token) == ("admin@localhost", True)
    assert credentials.token.encode() not in data.database.read_bytes()


def test_a_later_start_keeps_the_token_and_refreshes_the_host(data: DataDirectory) -> None:
    first = prepare_data(Settings(data_dir=data.root, port=8123), data, {})
    second = prepare_data(Settings(data_dir=data.root, port=9000), data, {})
    assert not second.created
    assert second.token == first.token
    assert read_admin_env(data.admin_env)["DATABRICKS_HOST"] == "http://127.0.0.1:9000"


@pytest.mark.parametrize("damage", ["missing", "unknown token", "no token"])
def test_a_lost_or_worthless_token_is_replaced(data: DataDirectory, damage: str) -> None:
    settings = Settings(data_dir=data.root)
    first = prepare_data(settings, data, {})
    if damage == "missing":
        data.admin_env.unlink()
    elif damage == "unknown token":
        write_admin_env(data.admin_env, connection_variables("http://x", "dapi" + "0" * 32))
    else:
        data.admin_env.write_text("# empty\n")
    second = prepare_data(settings, data, {})
    assert second.created
    assert second.token != first.token
    assert principal_of(data, second.token) == ("admin@localhost", True)


def test_a_newer_or_damaged_database_is_refused_in_words(data: DataDirectory) -> None:
    settings = Settings(data_dir=data.root)
    prepare_data(settings, data, {})
    engine = open_database(data.database)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(CannotStart, match="was made by a newer version of Moorage"):
        prepare_data(settings, data, {})
    data.database.write_bytes(b"this is no database" * 100)
    with pytest.raises(CannotStart, match="cannot use the database"):
        prepare_data(settings, data, {})


def test_a_key_that_is_not_the_databases_is_refused_in_words(data: DataDirectory) -> None:
    settings = Settings(data_dir=data.root)
    prepare_data(settings, data, {})
    other = key_text(new_key())
    data.encryption_key.write_text(other)
    with pytest.raises(CannotStart, match=rf"^{data.encryption_key} is not the key") as failure:
        prepare_data(settings, data, {})
    assert other not in str(failure.value)
    data.encryption_key.unlink()
    with pytest.raises(CannotStart, match=rf"^{data.encryption_key} is missing"):
        prepare_data(settings, data, {})
    assert not data.encryption_key.exists()
