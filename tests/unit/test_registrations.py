"""Whose turn it is: files of a version change, or it is registered."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from moorage.api.errors import ResourceConflict, TemporarilyUnavailable
from moorage.registry import registrations as module
from moorage.registry.registrations import Registrations


def test_files_change_side_by_side_but_not_while_their_version_is_registered() -> None:
    turns = Registrations()
    with turns.changing("m-1"), turns.changing("m-1"), turns.registering("m-2"):
        with turns.changing("m-3"):
            pass
        with pytest.raises(ResourceConflict), turns.changing("m-2"):
            pytest.fail("a file of a version changes that is being registered")
    with turns.changing("m-2"):
        pass


def test_registering_waits_for_the_last_file() -> None:
    turns, registered = Registrations(), threading.Event()

    def register() -> None:
        with turns.registering("m-1"):
            registered.set()

    with ThreadPoolExecutor(1) as pool:
        with turns.changing("m-1"):
            with turns.changing("m-1"):
                waiting = pool.submit(register)
                assert not registered.wait(0.2)
            assert not registered.wait(0.2)
        waiting.result(10)
    assert registered.is_set()


def test_registering_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_WAIT", 0.1)
    turns = Registrations()
    with turns.changing("m-1"), pytest.raises(TemporarilyUnavailable), turns.registering("m-1"):
        pytest.fail("a version is registered whose files change")
    with turns.registering("m-1"):
        pass


def test_a_failure_ends_the_turn() -> None:
    turns = Registrations()
    for turn in (turns.changing, turns.registering):
        with pytest.raises(ZeroDivisionError), turn("m-1"):
            raise ZeroDivisionError
    with turns.registering("m-1"):
        pass
    with turns.changing("m-1"):
        pass
