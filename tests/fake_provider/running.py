"""The fake provider in a process of its own, for the time of a block."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from .control import KEYS
from .wire import Json

_READY = re.compile(r"ready at (http://\S+)")
_STOP_SECONDS = 10
_TESTS = Path(__file__).resolve().parents[1]


class FakeProviderClient:
    """What a test needs of the fake provider: its `url` (without a path), its script, and what came in."""

    keys = KEYS

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=60)

    def control(self, **changes: Any) -> None:
        """Change the script: `next=[fault, None, ...]`, `keys={...}`, `chunks=50`; see `fake_provider.control`."""
        told = self.http.post("/_control", json=changes)
        assert told.status_code == 200, told.text

    def fail_next(self, kind: str, **fault: Any) -> None:
        """Let the next request that the fault is meant for go wrong; see `fake_provider.faults`."""
        self.control(next=[{"kind": kind, **fault}])

    def reset(self) -> None:
        """Forget the script, the requests and the counts."""
        self.control(reset=True)

    def requests(self) -> list[Json]:
        """The requests to providers since the last reset, oldest first."""
        return list(self.http.get("/_requests").json())

    def counts(self) -> Json:
        return dict(self.http.get("/_counts").json())


@contextmanager
def running_fake_provider(*arguments: str) -> Iterator[FakeProviderClient]:
    """The fake provider on a free port of the loopback interface. `arguments` are those of its command line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "fake_provider", "--while-stdin", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=_TESTS,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        # The line comes when it listens, and the output ends when it does not get so far.
        said = process.stdout.readline().decode()
        found = _READY.search(said)
        assert found is not None, f"the fake provider did not start: {said!r}"
        client = FakeProviderClient(found[1])
        with client.http:
            client.counts()
            yield client
    finally:
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
