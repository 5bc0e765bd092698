"""The key of a data directory: made once, checked at each start, replaced without losing anything."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from moorage.cli.main import app
from moorage.control import encryption_key as module
from moorage.control.encryption_key import KeyProblem, open_encryption, rotate_key, settle_key
from moorage.control.secret_values import decrypt_secret, encrypt_secret
from moorage.control.store.engine import Sessions, make_sessions, migrate, open_database, reading
from moorage.control.store.models import Deployment, Endpoint, Secret, SecretScope, WorkspaceSetting
from moorage.datadir import DataDirectory
from moorage.encryption import CannotDecrypt, Encryption, key_text, new_key, parse_key
from moorage.settings import ENCRYPTION_KEY_VARIABLE
from moorage.supervisor.bootstrap import held

VALUES = {
    ("team", "a"): b"one",
    ("team", "b"): b"\x00\xff" * 600,
    ("other", "a"): b"",
    ("other", "long"): b"x" * 131072,
}
PURPOSE, PROVIDER_KEY = "openai_api_key", "sk-plain-1"
LOOKALIKE = "moorage-sealed:1:bm90.b3Vycw=="


class Place:
    """A data directory with secrets and a sealed value in it."""

    def __init__(self, data: DataDirectory, environ: dict[str, str]) -> None:
        self.data, self.environ = data, environ
        self.engine = open_database(data.database)
        migrate(self.engine)
        self.sessions: Sessions = make_sessions(self.engine)

    def settle(self) -> None:
        settle_key(self.data, self.sessions, self.environ)

    def fill(self) -> None:
        encryption = open_encryption(self.data, self.sessions, self.environ)
        with self.sessions.begin() as session:
            for scope in {scope for scope, _ in VALUES}:
                session.add(SecretScope(name=scope, backend_type="DATABRICKS", created_by="1", created_at=1))
            session.flush()
            for (scope, key), value in VALUES.items():
                ciphertext = encrypt_secret(encryption, scope, key, value)
                session.add(Secret(scope=scope, key=key, ciphertext=ciphertext, last_updated_timestamp=7))
            session.add(
                Endpoint(
                    id="e", name="e", creator="a", creator_id="1", creation_timestamp=1, last_updated_timestamp=1,
                    description=LOOKALIKE, tags=[],
                )
            )  # fmt: skip
            session.flush()
            sealed = encryption.seal(PURPOSE, PROVIDER_KEY)
            spec = {"models": [{"openai_config": {"key": sealed, "base": LOOKALIKE, "n": 1}}, None]}
            session.add(
                Deployment(id="d", endpoint_id="e", served_name="s", spec=spec, creator="a", creation_timestamp=1)
            )

    def assert_whole(self) -> None:
        """Everything opens with the key of the next start, and no trace of a rotation is left."""
        self.settle()
        encryption = open_encryption(self.data, self.sessions, self.environ)
        with reading(self.sessions) as session:
            rows = {(row.scope, row.key): row for row in session.query(Secret)}
            assert {place: decrypt_secret(encryption, row) for place, row in rows.items()} == VALUES
            assert {row.last_updated_timestamp for row in rows.values()} == {7}
            [model, nothing] = session.get_one(Deployment, "d").spec["models"]
            config = model["openai_config"]
            assert encryption.open(PURPOSE, config["key"]) == PROVIDER_KEY
            assert (config["base"], config["n"], nothing) == (LOOKALIKE, 1, None)
            assert session.get_one(Endpoint, "e").description == LOOKALIKE
        assert not self.data.new_encryption_key.exists()

    def opened_by(self, key: bytes) -> bool:
        """Whether any secret, or the sealed value, opens with that key."""
        encryption, opened = Encryption(key), False
        with reading(self.sessions) as session:
            for row in session.query(Secret):
                try:
                    decrypt_secret(encryption, row)
                    opened = True
                except CannotDecrypt:
                    pass
            try:
                sealed = session.get_one(Deployment, "d").spec["models"][0]["openai_config"]["key"]
                encryption.open(PURPOSE, sealed)
                opened = True
            except CannotDecrypt:
                pass
        return opened

    def key(self) -> bytes:
        return parse_key(self.data.encryption_key.read_text())


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    return directory


@pytest.fixture
def place(data: DataDirectory) -> Iterator[Place]:
    made = Place(data, {})
    made.settle()
    made.fill()
    yield made
    made.engine.dispose()


@pytest.fixture
def by_variable(data: DataDirectory) -> Iterator[Place]:
    """One whose key comes from the environment."""
    made = Place(data, {ENCRYPTION_KEY_VARIABLE: key_text(new_key()), "NEXT": key_text(new_key())})
    made.settle()
    made.fill()
    yield made
    made.engine.dispose()


def files(data: DataDirectory) -> set[str]:
    return {path.name for path in data.root.iterdir() if "encryption" in path.name}


def test_a_key_is_made_once_for_its_owner_alone(data: DataDirectory) -> None:
    place = Place(data, {})
    place.settle()
    first = data.encryption_key.read_bytes()
    assert len(parse_key(first.decode())) == 32
    assert stat.S_IMODE(data.encryption_key.stat().st_mode) == 0o600
    place.settle()
    assert data.encryption_key.read_bytes() == first
    assert files(data) == {"encryption.key"}


def test_a_key_of_before_the_check_is_kept(data: DataDirectory) -> None:
    place, key = Place(data, {}), key_text(new_key())
    data.encryption_key.write_text(key)
    place.settle()
    assert data.encryption_key.read_text() == key
    open_encryption(data, place.sessions, {})


@pytest.mark.parametrize("damage", ["", "too short", "\x00" * 44])
def test_a_damaged_key_is_named_and_left_as_it_is(place: Place, damage: str) -> None:
    place.data.encryption_key.write_text(damage)
    for look in (place.settle, lambda: open_encryption(place.data, place.sessions, {})):
        with pytest.raises(KeyProblem, match=rf"^{place.data.encryption_key} is not an encryption key"):
            look()
    assert place.data.encryption_key.read_text() == damage


def test_a_lost_key_is_not_replaced_by_a_new_one(place: Place) -> None:
    text_of_key = place.data.encryption_key.read_text()
    place.data.encryption_key.unlink()
    for look in (place.settle, lambda: open_encryption(place.data, place.sessions, {})):
        with pytest.raises(KeyProblem, match=rf"^{place.data.encryption_key} is missing.*put it back"):
            look()
    assert files(place.data) == set()
    place.data.encryption_key.write_text(text_of_key)
    place.assert_whole()


def test_another_key_is_refused_and_nothing_is_lost(place: Place) -> None:
    right, wrong = place.data.encryption_key.read_text(), key_text(new_key())
    place.data.encryption_key.write_text(wrong)
    for look in (place.settle, lambda: open_encryption(place.data, place.sessions, {})):
        with pytest.raises(KeyProblem, match=rf"^{place.data.encryption_key} is not the key that") as failure:
            look()
        assert wrong not in str(failure.value)
    place.data.encryption_key.write_text(right)
    place.assert_whole()


def test_a_key_in_the_environment_needs_no_file_and_comes_before_one(by_variable: Place) -> None:
    assert files(by_variable.data) == set()
    by_variable.data.encryption_key.write_text(key_text(new_key()))
    by_variable.assert_whole()
    other = key_text(new_key())
    for given, words in (("no key", "is not an encryption key"), (other, "is not the key that")):
        with pytest.raises(KeyProblem, match=rf"^{ENCRYPTION_KEY_VARIABLE} {words}") as failure:
            settle_key(by_variable.data, by_variable.sessions, {ENCRYPTION_KEY_VARIABLE: given})
        assert given not in str(failure.value)


def test_the_file_may_move_into_the_environment(place: Place) -> None:
    place.environ[ENCRYPTION_KEY_VARIABLE] = place.data.encryption_key.read_text()
    place.data.encryption_key.unlink()
    place.assert_whole()


def test_a_rotation_replaces_the_key_and_leaves_nothing_under_the_old_one(place: Place) -> None:
    old = place.key()
    before = place.data.database.read_bytes() + place.data.database.with_name("moorage.db-wal").read_bytes()
    with reading(place.sessions) as session:
        ciphertexts = [row.ciphertext[:200] for row in session.query(Secret)]
    assert all(one in before for one in ciphertexts)
    with place.sessions.begin() as session:
        session.add(Secret(scope="team", key="gone", ciphertext=b"deleted" * 30, last_updated_timestamp=7))
        session.flush()
        session.delete(session.get_one(Secret, ("team", "gone")))
    ciphertexts.append(b"deleted" * 30)
    rotate_key(place.data, {})
    assert place.key() != old
    assert files(place.data) == {"encryption.key"}
    assert stat.S_IMODE(place.data.encryption_key.stat().st_mode) == 0o600
    assert not place.opened_by(old)
    place.assert_whole()
    after = b"".join(path.read_bytes() for path in place.data.root.glob("moorage.db*"))
    assert not any(one in after for one in ciphertexts)


def test_rotations_may_follow_each_other(place: Place) -> None:
    keys = {place.key()}
    for _ in range(3):
        rotate_key(place.data, {})
        keys.add(place.key())
        place.assert_whole()
    assert len(keys) == 4


class Death(BaseException):
    """What a power cut is to the code under test."""


def dies_after(calls: int, function: Callable[..., object]) -> Callable[..., object]:
    """The function, and a death once it has been called so many times."""
    left = calls

    def dying(*args: object, **kwargs: object) -> object:
        nonlocal left
        if left == 0:
            raise Death
        left -= 1
        answer = function(*args, **kwargs)
        if left == 0:
            raise Death
        return answer

    return dying


@pytest.mark.parametrize(
    ("name", "calls", "rotated"),
    [
        ("_other_key", 1, False),
        ("_write_key", 0, False),
        ("_write_key", 1, False),
        ("encrypt_secret", 1, False),
        ("encrypt_secret", len(VALUES), False),
        ("replace_sealed", 0, False),
        ("replace_sealed", 1, False),  # all is written, and not committed
        ("_encrypt_anew", 1, True),
        ("_replace_key", 0, True),
        ("_replace_key", 1, True),
        ("_drop_what_was_replaced", 0, True),
    ],
)
def test_a_death_at_any_point_of_a_rotation_loses_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, name: str, calls: int, rotated: bool
) -> None:
    old = place.key()
    with monkeypatch.context() as patch:
        patch.setattr(module, name, dies_after(calls, getattr(module, name)))
        with pytest.raises(Death):
            rotate_key(place.data, {})
    place.assert_whole()
    assert (place.key() != old) is rotated
    assert place.opened_by(old) is not rotated
    rotate_key(place.data, {})
    place.assert_whole()


def test_a_file_that_neither_key_opens_stops_the_start_and_stays(place: Place) -> None:
    right = place.key()
    place.data.encryption_key.write_text(key_text(new_key()))
    place.data.new_encryption_key.write_text(key_text(new_key()))
    with pytest.raises(KeyProblem, match=r"^neither .*encryption\.key nor .*encryption\.key\.new is the key"):
        place.settle()
    assert files(place.data) == {"encryption.key", "encryption.key.new"}
    place.data.encryption_key.write_text(key_text(right))
    place.data.new_encryption_key.write_text("half a ke")
    place.assert_whole()


def test_a_secret_that_cannot_be_decrypted_stops_the_rotation_and_nothing_has_changed(place: Place) -> None:
    key = place.key()
    with place.sessions.begin() as session:
        before = session.get_one(Secret, ("team", "b")).ciphertext
        session.get_one(Secret, ("team", "b")).ciphertext = before[:-1] + bytes([before[-1] ^ 1])
    with pytest.raises(KeyProblem, match="secret 'b' of secret scope 'team' cannot be decrypted"):
        rotate_key(place.data, {})
    with place.sessions.begin() as session:
        session.get_one(Secret, ("team", "b")).ciphertext = before
    place.assert_whole()
    assert place.key() == key


def test_a_key_of_the_environment_is_replaced_by_the_one_in_another_variable(by_variable: Place) -> None:
    old, new = by_variable.environ[ENCRYPTION_KEY_VARIABLE], by_variable.environ["NEXT"]
    rotate_key(by_variable.data, by_variable.environ, "NEXT")
    with pytest.raises(KeyProblem, match="is not the key"):
        by_variable.settle()
    by_variable.environ[ENCRYPTION_KEY_VARIABLE] = new
    by_variable.assert_whole()
    assert not by_variable.opened_by(parse_key(old))
    assert files(by_variable.data) == set()


def test_the_wrong_way_of_rotating_is_refused_in_words(place: Place, by_variable_environ: dict[str, str]) -> None:
    for environ, variable, words in (
        (by_variable_environ, None, "--new-key-env"),
        (by_variable_environ, "NOSUCH", "there is no environment variable NOSUCH"),
        (by_variable_environ, "BAD", "BAD is not an encryption key"),
        (by_variable_environ, "SAME", "SAME must hold another key"),
        ({"NEXT": key_text(new_key())}, "NEXT", "only for a key that comes from"),
    ):
        with pytest.raises(KeyProblem, match=words):
            rotate_key(place.data, environ, variable)
    place.assert_whole()


@pytest.fixture
def by_variable_environ(place: Place) -> dict[str, str]:
    key = place.data.encryption_key.read_text()
    return {ENCRYPTION_KEY_VARIABLE: key, "SAME": key, "BAD": "x"}


def run(data: DataDirectory, *arguments: str, **variables: str | None) -> tuple[int, str, str]:
    command = ["secrets", "rotate-key", "--data-dir", str(data.root), *arguments]
    done = CliRunner().invoke(app, command, env={ENCRYPTION_KEY_VARIABLE: None, **variables})
    return done.exit_code, done.stdout, done.stderr


def test_the_command_rotates(place: Place) -> None:
    old = place.key()
    status, output, _ = run(place.data)
    assert (status, output) == (0, f"All secrets are encrypted with the new key in {place.data.encryption_key}\n")
    assert place.key() != old
    place.assert_whole()


def test_the_command_rotates_a_key_of_the_environment(by_variable: Place) -> None:
    status, output, _ = run(by_variable.data, "--new-key-env", "NEXT", **by_variable.environ)
    assert status == 0
    assert "set MOORAGE_ENCRYPTION_KEY to it now" in output
    by_variable.environ[ENCRYPTION_KEY_VARIABLE] = by_variable.environ["NEXT"]
    by_variable.assert_whole()
    assert by_variable.environ["NEXT"] not in output


def test_the_command_refuses_while_the_server_runs(place: Place) -> None:
    key = place.key()
    with held(place.data):
        status, _, errors = run(place.data)
    assert status == 1
    holder = f"is in use by another Moorage server (pid {os.getpid()})"
    assert errors == f"error: data directory {place.data.root} {holder}\n"
    assert place.key() == key
    place.assert_whole()


def test_the_command_says_what_is_wrong(place: Place, tmp_path: Path) -> None:
    status, _, errors = run(DataDirectory(tmp_path / "nosuch"))
    assert (status, "no Moorage server has started" in errors) == (1, True)
    assert not (tmp_path / "nosuch").exists()
    place.data.encryption_key.unlink()
    status, _, errors = run(place.data)
    assert (status, f"{place.data.encryption_key} is missing" in errors) == (1, True)
    with place.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    status, _, errors = run(place.data)
    assert (status, "was made by a newer version of Moorage" in errors) == (1, True)
    place.engine.dispose()
    place.data.database.write_bytes(b"this is no database" * 100)
    status, _, errors = run(place.data)
    assert (status, "cannot use the database" in errors) == (1, True)


def test_the_check_tells_nothing_and_is_the_only_sealed_value_of_an_empty_directory(data: DataDirectory) -> None:
    place = Place(data, {})
    place.settle()
    with reading(place.sessions) as session:
        [setting] = session.query(WorkspaceSetting).filter(WorkspaceSetting.value.contains("moorage-sealed"))
    assert Encryption(place.key()).open("encryption_check", setting.value) == ""
    rotate_key(data, {})
    place.settle()
