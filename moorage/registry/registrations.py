"""Keeps apart that files of a version change, and that it is registered with the files that it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition

from moorage.api.errors import ResourceConflict, TemporarilyUnavailable

_LONGEST_WAIT = 20.0  # seconds; then the client is told to ask again


@dataclass(frozen=True, slots=True)
class Registrations:
    """A version goes by the id of its backing model: names may change meanwhile. Threads may share it."""

    _turn: Condition = field(default_factory=Condition)
    _changing: Counter[str] = field(default_factory=Counter)
    _registering: set[str] = field(default_factory=set)

    @contextmanager
    def changing(self, version: str) -> Iterator[None]:
        """For as long as a file of the version is changed. Others may change theirs at the same time.

        Raises:
            ResourceConflict: it is being registered.
        """
        with self._turn:
            if version in self._registering:
                raise ResourceConflict("The version is being registered: its files do not change.")
            self._changing[version] += 1
        try:
            yield
        finally:
            with self._turn:
                self._changing[version] -= 1
                if not self._changing[version]:
                    del self._changing[version]
                self._turn.notify_all()

    @contextmanager
    def registering(self, version: str) -> Iterator[None]:
        """For as long as the version is made ready: nobody changes its files, nor makes it ready beside.

        Raises:
            TemporarilyUnavailable: its files are still being changed after a while of waiting.
        """
        with self._turn:
            if not self._turn.wait_for(lambda: self._is_still(version), _LONGEST_WAIT):
                raise TemporarilyUnavailable("Files of the version are still on their way", retry_after_seconds=5)
            self._registering.add(version)
        try:
            yield
        finally:
            with self._turn:
                self._registering.remove(version)
                self._turn.notify_all()

    def _is_still(self, version: str) -> bool:
        return version not in self._changing and version not in self._registering
