"""What keeps a model's user apart: folders, files that it writes, sockets that it listens on, processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from moorage import unix
from moorage.compute import reach
from moorage.compute.base import ReplicaPhase
from moorage.compute.processes import belongs_to, end_all, family, is_alive, send
from moorage.compute.statements import observation
from moorage.control.reconciler.records import Records
from moorage.control.store.engine import make_sessions, migrate, open_database
from moorage.datadir import DataDirectory, DataDirectoryError
from moorage.replica.process import start_ticks
from moorage.separation import make_bytecode_readable, make_readable, models_are_separated
from moorage.settings import Settings
from moorage.supervisor.server import kill_recorded_replicas
from moorage.untrusted import read_document, whole_number

SOMEBODY = 61999
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files and processes another user's")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def sleeping(user: int | None = None, script: str = "") -> Iterator[subprocess.Popen[str]]:
    """A process in a group of its own that says when it is up."""
    code = f"import os, subprocess, sys, time\n{script}\nprint('up', flush=True)\ntime.sleep(60)"
    python = "/usr/bin/python3" if user is not None and os.access("/usr/bin/python3", os.X_OK) else sys.executable
    process = subprocess.Popen(
        [python, "-I", "-S", "-c", code],
        stdout=subprocess.PIPE, text=True, start_new_session=True, user=user, group=user, cwd="/",
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip()
        yield process
    finally:
        process.kill()
        process.wait()


class TestDataDirectory:
    def test_for_other_users_only_what_is_for_them_can_be_passed(self, tmp_path: Path) -> None:
        data = DataDirectory(tmp_path / "d")
        data.create()
        (data.root / "moorage.db").touch(mode=0o644)
        (data.root / "something").mkdir(mode=0o755)
        (data.logs / "control.log").touch(mode=0o644)
        data.create(for_other_users=True)
        passable = [data.root, data.run, data.models, data.environments, data.deployments, data.logs]
        assert {mode(folder) for folder in (*passable, data.replicas, data.templates)} == {0o711}
        assert {mode(path) for path in (data.mlflow, data.control_socket.parent, data.root / "something")} == {0o700}
        assert {mode(path) for path in (data.root / "moorage.db", data.logs / "control.log")} == {0o600}
        assert data.control_socket.parent == data.mlflow_socket.parent == data.snapshot.parent
        data.create()
        assert {mode(folder) for folder in (*passable, data.replicas, data.templates)} == {0o700}

    def test_runtime_folder_that_others_can_write_in_is_refused(self, tmp_path: Path) -> None:
        data = DataDirectory(tmp_path / "d")
        data.create()
        data.run.chmod(0o777)
        with pytest.raises(DataDirectoryError, match="open to others"):
            data.create()

    def test_runtime_folder_that_is_a_link_is_refused(self, tmp_path: Path) -> None:
        data = DataDirectory(tmp_path / "d")
        data.root.mkdir()
        (tmp_path / "elsewhere").mkdir()
        data.run.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(DataDirectoryError):
            data.create()

    def test_sockets_fit_with_the_longest_names(self) -> None:
        data = DataDirectory(Path("/d"))
        longest = data.template_socket("f" * 64, 2**32 - 2)
        assert len(str(longest.relative_to(data.run))) <= 40
        assert len(str(data.replica_socket("f" * 12).relative_to(data.run))) <= 40


def test_make_readable_opens_files_and_folders_and_follows_no_link(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True, mode=0o700)
    (tree / "a" / "b" / "data").touch(mode=0o600)
    (tree / "a" / "program").touch(mode=0o700)
    (tree / "link").symlink_to(secret)
    make_readable(tree)
    modes = {str(path.relative_to(tree)): mode(path) for path in tree.rglob("*") if not path.is_symlink()}
    assert modes == {"a": 0o755, "a/b": 0o755, "a/b/data": 0o644, "a/program": 0o755}
    assert mode(secret) == 0o600


def test_make_bytecode_readable_leaves_everything_else(tmp_path: Path) -> None:
    (tmp_path / "p" / "__pycache__").mkdir(parents=True)
    (tmp_path / "p" / "__pycache__").chmod(0o700)
    for name in ("p/key", "p/__pycache__/m.pyc"):
        (tmp_path / name).touch(mode=0o600)
    make_bytecode_readable(tmp_path)
    assert (mode(tmp_path / "p" / "__pycache__"), mode(tmp_path / "p/__pycache__/m.pyc")) == (0o755, 0o644)
    assert mode(tmp_path / "p" / "key") == 0o600


class TestDocuments:
    def test_an_object_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "status.json").write_text('{"phase": "ready"}')
        assert read_document(tmp_path / "status.json") == {"phase": "ready"}

    @pytest.mark.parametrize(
        "text", ["", "[]", "3", "{", "[" * 100_000, '{"a": "%s"}' % ("x" * 2**20)], ids=range(6)
    )
    def test_anything_else_is_nothing(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "status.json").write_text(text)
        assert read_document(tmp_path / "status.json") == {}

    def test_links_pipes_and_folders_are_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "real").write_text('{"a": 1}')
        (tmp_path / "link").symlink_to(tmp_path / "real")
        (tmp_path / "folder").mkdir()
        os.mkfifo(tmp_path / "pipe")
        began = time.monotonic()
        assert [read_document(tmp_path / name) for name in ("link", "folder", "pipe", "none")] == [{}] * 4
        assert time.monotonic() - began < 5

    @pytest.mark.parametrize("value", [None, "7", 7.0, True, 0, -1, 2**70, [], {}])
    def test_only_whole_numbers_are_ids(self, value: object) -> None:
        assert whole_number(value) == 0
        assert whole_number(7) == 7

    def test_what_a_replica_says_is_taken_where_it_makes_sense(self) -> None:
        said = {"phase": "ready", "message": "m", "load_seconds": 2, "warm_up_seconds": 0.5, "batching": True,
                "fast_path": "frame", "imports": ["sklearn.linear_model"]}  # fmt: skip
        seen = observation(said)
        assert (seen.phase, seen.message, seen.load_seconds, seen.warm_up_seconds) == ("ready", "m", 2.0, 0.5)
        assert (seen.batching, seen.fast_path, seen.imports) == (True, "frame", ("sklearn.linear_model",))

    def test_and_where_it_makes_none_it_has_not_been_said(self) -> None:
        seen = observation(
            {"phase": ["ready"], "message": {"a": 1}, "load_seconds": float("nan"), "warm_up_seconds": "soon",
             "batching": "yes", "fast_path": [], "imports": ["a b", 3, "x" * 500, "__import__('os')", "fine"]}
        )  # fmt: skip
        assert (seen.phase, seen.message) == (ReplicaPhase.STARTING, "")
        assert (seen.load_seconds, seen.warm_up_seconds, seen.batching, seen.fast_path) == (None,) * 4
        assert seen.imports == ("fine",)
        ready = observation({"phase": "ready", "load_seconds": -1})
        assert (ready.load_seconds, ready.warm_up_seconds) == (0.0, 0.0)


class TestSockets:
    def test_the_owner_of_the_folder_is_connected_to(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "s"))
            listener.listen()

            async def connect() -> None:
                (await unix.connect(str(tmp_path / "s"))).close()

            asyncio.run(connect())

    @as_root
    def test_a_link_to_another_users_socket_is_not(self, tmp_path: Path) -> None:
        theirs = tmp_path / "theirs"
        theirs.mkdir()
        os.chown(theirs, SOMEBODY, SOMEBODY)
        (theirs / "s").symlink_to(tmp_path / "ours")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "ours"))
            listener.listen()
            with pytest.raises(PermissionError, match="another user"):
                asyncio.run(unix.connect(str(theirs / "s")))


class TestProcesses:
    def test_signals_reach_the_very_process_only(self) -> None:
        with sleeping() as process:
            started_at = start_ticks(process.pid)
            assert belongs_to(process.pid, started_at, os.getuid())
            assert not belongs_to(process.pid, started_at, SOMEBODY)
            assert not send(process.pid, started_at + 1, signal.SIGKILL)
            assert not send(0, started_at, signal.SIGKILL)
            assert process.poll() is None
            assert send(process.pid, started_at, signal.SIGKILL)
            assert process.wait(10) == -signal.SIGKILL
            assert not is_alive(process.pid, started_at)

    def test_a_family_ends_with_children_that_made_sessions_of_their_own(self) -> None:
        child = "c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], start_new_session=True)"
        with sleeping(script=f"{child}\nprint(c.pid)") as process:
            started_at = start_ticks(process.pid)
            members = family(process.pid, started_at)
            assert len(members) == 2
            end_all(process.pid, started_at, os.getuid())
            assert process.wait(10) == -signal.SIGKILL
            deadline = time.monotonic() + 10
            while any(is_alive(*one) for one in members) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert not any(is_alive(*one) for one in members)

    def test_a_family_of_an_id_given_out_anew_is_nobody(self) -> None:
        with sleeping() as process:
            assert family(process.pid, start_ticks(process.pid) + 1) == frozenset()
            end_all(process.pid, start_ticks(process.pid) + 1, os.getuid())
            end_all(process.pid, start_ticks(process.pid), SOMEBODY)
            assert process.poll() is None

    @as_root
    def test_a_forced_end_hits_only_processes_of_the_folders_owner(self, tmp_path: Path) -> None:
        folder = tmp_path / "replicas" / "r"
        folder.mkdir(parents=True)
        os.chown(folder, SOMEBODY, SOMEBODY)
        with sleeping() as ours, sleeping(user=SOMEBODY) as theirs:
            for process, hit in ((ours, []), (theirs, [theirs.pid])):
                record = {"pid": process.pid, "started_at": start_ticks(process.pid)}
                (folder / "status.json").write_text(json.dumps(record))
                assert kill_recorded_replicas(folder.parent) == hit
            assert theirs.wait(10) == -signal.SIGKILL
            assert ours.poll() is None


class TestReach:
    def test_open_folders_need_no_view_of_their_own(self, tmp_path: Path) -> None:
        assert reach.covers(Path("/usr/bin/env"), [Path("/usr/lib")]) == []

    def test_closed_folder_is_covered_but_for_what_is_needed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reach, "_has_capability", lambda _: True)
        home = tmp_path / "home"
        for folder in ("pythons/3.11.7/bin", "pythons/3.11.7/lib/python3.11", "env/bin", "data/models"):
            (home / folder).mkdir(parents=True)
        (home / "pythons/3.11.7/bin/python3.11").touch()
        (home / "pythons/3.11.7/lib/python3.11/os.py").touch()
        (home / "pythons/3.11").symlink_to("3.11.7")
        (home / "env/bin/python").symlink_to(home / "pythons/3.11/bin/python3.11")
        (home / "env/pyvenv.cfg").write_text(f"home = {home}/pythons/3.11/bin\n")
        home.chmod(0o700)
        found = reach.covers(home / "env/bin/python", [home / "data"])
        binds = sorted(path for cover in found for path in cover["binds"])  # type: ignore[attr-defined]
        assert binds == [f"{home}/data", f"{home}/env", f"{home}/pythons/3.11.7"]
        links = [tuple(link) for cover in found for link in cover["links"]]  # type: ignore[attr-defined]
        assert links == [(f"{home}/pythons/3.11", "3.11.7")]

    def test_a_home_that_is_no_python_is_not_shown(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reach, "_has_capability", lambda _: True)
        for folder in ("env/bin", "private/documents/bin"):
            (tmp_path / folder).mkdir(parents=True)
        (tmp_path / "env/pyvenv.cfg").write_text(f"home = {tmp_path}/private/documents/bin\n")
        (tmp_path / "private").chmod(0o700)
        assert "private" not in json.dumps(reach.covers(tmp_path / "env/bin/python", []))

    def test_without_the_right_to_make_a_view_it_says_what_to_do(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reach, "_has_capability", lambda _: False)
        (tmp_path / "home" / "data").mkdir(parents=True)
        (tmp_path / "home").chmod(0o700)
        with pytest.raises(reach.OutOfReach, match=r"closed to them.*chmod o\+x.*MOORAGE_MODEL_UID_BASE=0"):
            reach.covers(Path("/usr/bin/env"), [tmp_path / "home" / "data"])
        with pytest.raises(reach.OutOfReach, match="CAP_SETUID"):
            reach.require_capabilities()


def test_each_creator_gets_a_number_for_good_and_no_one_that_is_taken(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "moorage.db")
    migrate(engine)
    records = Records(make_sessions(engine))
    assert records.model_number("ann", lambda number: number != 1) == 2
    assert records.model_number("bob", lambda number: True) == 3
    assert records.model_number("ann", lambda number: False) == 2
    engine.dispose()


@pytest.mark.parametrize(("user", "base", "separated"), [(0, 61000, True), (0, 0, False), (1000, 61000, False)])
def test_models_are_separated_where_root_serves(
    monkeypatch: pytest.MonkeyPatch, user: int, base: int, separated: bool
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert models_are_separated(Settings(model_uid_base=base)) is separated
