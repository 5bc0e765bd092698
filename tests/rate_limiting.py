"""What tests of rate limits share: limits, callers, and a real Redis."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from moorage.api.ai_gateway import LimitKey
from moorage.api.errors import RequestLimitExceeded
from moorage.api.rate_limits import CompiledLimit
from moorage.gateway.limit_rules import LimitRules
from moorage.gateway.limiting import RateLimiter

_SECONDS = 30.0


@dataclass(frozen=True)
class Caller:
    id: str
    groups: frozenset[str] = frozenset()

    @property
    def user_name(self) -> str:
        return f"{self.id}@example.com"


ANN, BOB = Caller("ann", frozenset({"g1", "g2"})), Caller("bob", frozenset({"g1"}))
CAT, ROBOT = Caller("cat"), Caller("robot")


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def limit(key: str, principal: str | None = None, *, seconds: int = 60, **amounts: int) -> CompiledLimit:
    display = f"{principal}'s name" if principal else ""
    return CompiledLimit(key=LimitKey(key), principal_id=principal, display=display, seconds=seconds, **amounts)


def rules(*limits: CompiledLimit, endpoint: str = "e" * 32) -> LimitRules:
    return LimitRules(endpoint, limits)


async def admitted(limiter: RateLimiter, of_endpoint: LimitRules, caller: Caller, calls: int, tokens: int = 0) -> int:
    """How many of so many calls, one after the other, pass, each of them with an answer of so many tokens."""
    passed = 0
    for _ in range(calls):
        try:
            admission = await limiter.admit(of_endpoint, caller)
        except RequestLimitExceeded:
            continue
        limiter.charge_tokens(admission, tokens)
        passed += 1
    return passed


async def until(condition: Callable[[], object]) -> None:
    """Return when it holds; raise `TimeoutError` when it does not come to that."""
    async with asyncio.timeout(_SECONDS):
        while not condition():  # noqa: ASYNC110  (what is waited for is told to nobody)
            await asyncio.sleep(0.001)


class RedisServer:
    """A Redis of the test's own on a Unix socket, which keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        binary = shutil.which("redis-server")
        if binary is None:
            pytest.fail("redis-server is not installed; these tests need it: apt-get install redis-server")
        self._command = [binary, "--port", "0", "--unixsocket", f"{folder}/redis.sock", "--dir", str(folder)]
        self._command += ["--save", "", "--appendonly", "no"]
        self.url = f"unix://{folder}/redis.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(self._command)
        deadline = time.monotonic() + _SECONDS
        with redis.Redis.from_url(self.url) as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    assert self._process.poll() is None, "redis-server ended; its output is above"
                    assert time.monotonic() < deadline, "redis-server does not answer"
                    time.sleep(0.01)

    def send(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def running_redis() -> Iterator[RedisServer]:
    """Such a server, started; ended afterwards."""
    with tempfile.TemporaryDirectory(prefix="moorage-redis-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()
