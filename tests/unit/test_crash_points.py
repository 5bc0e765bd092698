"""Crash points without a server: when one ends its process, and when it does nothing."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import moorage.control
from moorage.control.crash_points import VARIABLE, CrashPoint
from moorage.datadir import DataDirectory

_PROGRAM = "from moorage.control.crash_points import CrashPoint, crash_point; crash_point(CrashPoint.SWITCH_BEFORE)"


def status(data_dir: Path, asked_for: str | None) -> int:
    DataDirectory(data_dir).run.mkdir(exist_ok=True)
    environment = {**os.environ, "MOORAGE_DATA_DIR": str(data_dir)}
    environment.pop(VARIABLE, None)
    if asked_for is not None:
        environment[VARIABLE] = asked_for
    return subprocess.run([sys.executable, "-c", _PROGRAM], env=environment, check=False).returncode


@pytest.mark.parametrize("asked_for", ["switch.before", "create.committed, switch.before"])
def test_point_that_is_named_ends_one_process(tmp_path: Path, asked_for: str) -> None:
    assert status(tmp_path, asked_for) == -signal.SIGKILL
    assert [path.name for path in DataDirectory(tmp_path).run.iterdir()] == ["crashed-switch.before"]
    assert status(tmp_path, asked_for) == 0


@pytest.mark.parametrize("asked_for", [None, "", "switch.after", "switch"])
def test_point_that_is_not_named_does_nothing(tmp_path: Path, asked_for: str | None) -> None:
    assert status(tmp_path, asked_for) == 0
    assert list(DataDirectory(tmp_path).run.iterdir()) == []


def test_names_may_come_from_a_file_that_need_not_be_there_yet(tmp_path: Path) -> None:
    names = tmp_path / "names"
    assert status(tmp_path, f"@{names}") == 0
    names.write_text("switch.before\n")
    assert status(tmp_path, f"@{names}") == -signal.SIGKILL


def test_every_point_is_somewhere_in_the_control_plane() -> None:
    [folder] = moorage.control.__path__
    used = []
    for path in Path(folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "crash_point":
                [argument] = node.args
                assert isinstance(argument, ast.Attribute)
                used.append(argument.attr)
    assert sorted(used) == sorted(CrashPoint.__members__)
