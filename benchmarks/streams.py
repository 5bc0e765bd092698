"""Load from this process on bare sockets, for what `wrk` does not measure: first chunks, a fixed rate, one burst."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import httptools
import uvloop

from benchmarks.load import Load, Target, Timing
from benchmarks.processes import BenchmarkFailed, cpu_seconds

_ANSWER_TIMEOUT_SECONDS = 30.0
_TAIL = 64


@dataclass(frozen=True, slots=True)
class StreamLoad(Load):
    """A cell of this client; `p50_ms` and `p99_ms` are of whole answers, these of their first bytes."""

    first_p50_ms: float = float("nan")
    first_p99_ms: float = float("nan")

    def summary(self) -> str:
        """The figures in one line."""
        first = f"first bytes p50 {self.first_p50_ms:.2f} ms, p99 {self.first_p99_ms:.2f} ms"
        return f"{Load.summary(self)}, {first}"


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer. Times are monotonic, in seconds; `due` is when the request was to be sent."""

    due: float
    first: float
    end: float
    good: bool


def closed_loop(target: Target, connections: int, timing: Timing, ending: bytes) -> StreamLoad:
    """Each connection sends its next request when it has its answer, as `wrk` does. `ending` is how answers end.

    Raises:
        BenchmarkFailed: nothing was answered, or no connection can be made.
    """
    return _run(_closed_loop(target, connections, timing, ending))


def open_loop(target: Target, rate: float, connections: int, timing: Timing, ending: bytes) -> StreamLoad:
    """So many requests a second, whatever becomes of them.

    A request that finds all connections busy waits for one, and that is part of its time. Raises as `closed_loop`.
    """
    return _run(_open_loop(target, rate, connections, timing, ending))


def at_once(target: Target, count: int, ending: bytes) -> StreamLoad:
    """So many requests at the same moment, one a connection. Raises as `closed_loop`."""
    return _run(_at_once(target, count, ending))


def summary(samples: list[Sample], connections: int, seconds: float) -> StreamLoad:
    """The cell of these answers.

    Raises:
        BenchmarkFailed: there are none, or all failed.
    """
    good = [one for one in samples if one.good]
    if len(good) < 2:
        raise BenchmarkFailed(f"{len(good)} good answers of {len(samples)} in {seconds:.1f} s")
    whole = statistics.quantiles(((one.end - one.due) * 1000 for one in good), n=100, method="inclusive")
    first = statistics.quantiles(((one.first - one.due) * 1000 for one in good), n=100, method="inclusive")
    return StreamLoad(
        connections=connections,
        requests=len(good),
        seconds=seconds,
        rate=len(good) / seconds,
        p50_ms=whole[49],
        p99_ms=whole[98],
        errors=len(samples) - len(good),
        first_p50_ms=first[49],
        first_p99_ms=first[98],
    )


class Connection(asyncio.Protocol):
    """One connection to the server; `done` is called with each answer."""

    def __init__(self, request: bytes, ending: bytes, done: Callable[[Connection, Sample], None]) -> None:
        self._request = request
        self._ending = ending
        self._done = done
        self._transport: Any = None
        self._due = self._first = 0.0
        self._tail = b""
        self.closed = False

    def ask(self, due: float) -> None:
        """Send the request."""
        self._due, self._first, self._tail = due, 0.0, b""
        self._parser = httptools.HttpResponseParser(self)
        self._transport.write(self._request)

    def close(self) -> None:
        """An answer that is still to come is of no interest."""
        self._due = 0.0
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if self._due:
            self._answered(good=False)

    def on_body(self, body: bytes) -> None:
        if not self._first:
            self._first = time.monotonic()
        self._tail = (self._tail + body)[-_TAIL:]

    def on_message_complete(self) -> None:
        good = self._parser.get_status_code() == 200 and self._tail.rstrip().endswith(self._ending)
        self._answered(good=good)

    def _answered(self, *, good: bool) -> None:
        now = time.monotonic()
        sample = Sample(self._due, self._first or now, now, good)
        self._due = 0.0
        self._done(self, sample)


def request_bytes(target: Target) -> bytes:
    """The request that is sent again and again."""
    parts, body = urlsplit(target.url), target.body.read_bytes()
    head = f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\n"
    head += f"content-length: {len(body)}\r\n"
    if target.token is not None:
        head += f"authorization: Bearer {target.token}\r\n"
    return head.encode() + b"\r\n" + body


def _run(load: Coroutine[Any, Any, StreamLoad]) -> StreamLoad:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(load)


async def _connected(
    target: Target, count: int, ending: bytes, done: Callable[[Connection, Sample], None]
) -> list[Connection]:
    parts, request = urlsplit(target.url), request_bytes(target)
    host, port = parts.hostname or "", parts.port or 80
    loop = asyncio.get_running_loop()
    found = []
    try:
        for _ in range(count):
            _, one = await loop.create_connection(lambda: Connection(request, ending, done), host, port)
            found.append(one)
    except OSError as error:
        raise BenchmarkFailed(f"cannot connect to {target.url}: {error}") from error
    return found


async def _closed_loop(target: Target, connections: int, timing: Timing, ending: bytes) -> StreamLoad:
    samples: list[Sample] = []

    def done(connection: Connection, sample: Sample) -> None:
        samples.append(sample)
        if not connection.closed:
            connection.ask(time.monotonic())

    clients = await _connected(target, connections, ending, done)
    for one in clients:
        one.ask(time.monotonic())
    await asyncio.sleep(timing.warm_up)
    samples.clear()
    spent, began = cpu_seconds(target.pids), time.monotonic()
    await asyncio.sleep(timing.seconds)
    seconds, spent = time.monotonic() - began, cpu_seconds(target.pids) - spent
    measured = samples[:]
    for one in clients:
        one.close()
    cell = summary(measured, connections, seconds)
    return replace(cell, cpu_ms=spent * 1000 / cell.requests) if target.pids else cell


class _Answers:
    """Answers as they come; `all` waits until there are as many as wanted, but not for ever."""

    def __init__(self, wanted: int) -> None:
        self.samples: list[Sample] = []
        self._wanted = wanted
        self._there = asyncio.Event()

    def add(self, sample: Sample) -> None:
        self.samples.append(sample)
        if len(self.samples) >= self._wanted:
            self._there.set()

    async def all(self) -> list[Sample]:
        """Those that did not come are failed ones."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ANSWER_TIMEOUT_SECONDS):
                await self._there.wait()
        now = time.monotonic()
        return [*self.samples, *[Sample(now, now, now, False)] * (self._wanted - len(self.samples))]


async def _open_loop(target: Target, rate: float, connections: int, timing: Timing, ending: bytes) -> StreamLoad:
    warm = round(timing.warm_up * rate)
    count = warm + round(timing.seconds * rate)
    answers = _Answers(count)
    idle: deque[Connection] = deque()
    waiting: deque[float] = deque()

    def done(connection: Connection, sample: Sample) -> None:
        answers.add(sample)
        if connection.closed:
            return
        if waiting:
            connection.ask(waiting.popleft())
        else:
            idle.append(connection)

    clients = await _connected(target, connections, ending, done)
    idle.extend(clients)
    began = time.monotonic()
    since = began + timing.warm_up
    for number in range(count):
        await asyncio.sleep(began + number / rate - time.monotonic())
        due = time.monotonic()
        if idle:
            idle.popleft().ask(due)
        else:
            waiting.append(due)
    samples = await answers.all()
    for one in clients:
        one.close()
    return summary([one for one in samples if one.due >= since], connections, timing.seconds)


async def _at_once(target: Target, count: int, ending: bytes) -> StreamLoad:
    answers = _Answers(count)
    clients = await _connected(target, count, ending, lambda _, sample: answers.add(sample))
    began = time.monotonic()
    for one in clients:
        one.ask(time.monotonic())
    samples = await answers.all()
    seconds = time.monotonic() - began
    for one in clients:
        one.close()
    return summary(samples, count, seconds)
