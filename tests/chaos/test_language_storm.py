"""Thousands of queries with random faults and clients that leave at any byte; then nothing of them is left.

One real gateway worker serves from a snapshot; behind it the fake provider does what it is told to.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from fake_provider.running import FakeProviderClient, running_fake_provider
from lone_gateway import TOKEN, LoneGateway, Workplace, external_route
from providers_of_tests import WAYS

from moorage.api.external_models import ExternalTask, Provider
from moorage.telemetry.request_log import LoggedRequest, decode
from moorage.telemetry.spool import read_segment

pytestmark = pytest.mark.alone

MIB = 1024 * 1024
REQUESTS = 1000
AT_ONCE = 40
QUEUED = 60
DIALECTS = ("openai", "anthropic", "cohere", "bedrock", "palm")
MESSAGES = [{"role": "user", "content": "please tell me everything"}]
FAULTS: list[dict[str, Any] | None] = [
    None, None, None, None,
    {"kind": "status", "status": 429}, {"kind": "status", "status": 500}, {"kind": "timeout", "seconds": 0.3},
    {"kind": "reset"}, {"kind": "reset", "times": 4}, {"kind": "reset_midway"}, {"kind": "hang_up"},
    {"kind": "truncated"}, {"kind": "malformed"}, {"kind": "error_event"}, {"kind": "no_end"}, {"kind": "one_byte"},
    {"kind": "split_utf8"}, {"kind": "empty"}, {"kind": "slow", "bytes": 64, "seconds": 0.002},
    {"kind": "huge", "bytes": 200_000},
]  # fmt: skip


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeProviderClient]:
    with running_fake_provider() as running:
        yield running


@pytest.fixture
def errors(tmp_path: Path) -> Path:
    return tmp_path / "stderr"


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path / "data")


def routes_of(place: Workplace, fake: FakeProviderClient) -> list[Any]:
    def served(endpoint: str, name: str, dialect: str, traffic: int) -> Any:
        way = WAYS[dialect]
        return place.served(
            endpoint, name, way.provider, way.at(fake.url), way.credentials, model=way.model, traffic=traffic
        )

    routes = []
    for name in DIALECTS:
        one = [served(name, "only", name, 100)]
        routes.append(external_route(name, ExternalTask.CHAT, one, usage=True))
        both = f"{name}-falls-back"
        two = [served(both, "first", name, 100), served(both, "second", "openai", 0)]
        routes.append(external_route(both, ExternalTask.CHAT, two, usage=True, fallback=True))
    return routes


def records(gateway: LoneGateway) -> list[LoggedRequest]:
    return [decode(record) for segment in gateway.data.spool.glob("*.segment") for record in read_segment(segment)[0]]


def wait_for(what: str, happened: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def descriptors(gateway: LoneGateway) -> int:
    return len(os.listdir(f"/proc/{gateway.process.pid}/fd"))


def resident(gateway: LoneGateway) -> int:
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) * 1024


async def one_client(gateway: LoneGateway, request_id: str, chance: random.Random, seen: Counter[str]) -> None:
    """Ask, and leave after a random number of bytes, or read all of the answer and look whether it is whole."""
    parts = urlsplit(gateway.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    stream = chance.random() < 0.6
    body = json.dumps({"messages": MESSAGES, "max_tokens": 100, "stream": stream}).encode()
    endpoint = chance.choice(DIALECTS) + chance.choice(("", "-falls-back"))
    head = (
        f"POST /serving-endpoints/{endpoint}/invocations HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n"
        f"x-request-id: {request_id}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    writer.write(head.encode() + body)
    leaves = chance.random() < 0.4
    try:
        if leaves:
            await asyncio.sleep(chance.random() * 0.3)
            most = int(chance.expovariate(1 / 400))
            if most:
                await asyncio.wait_for(reader.read(most), 20)
            seen["left"] += 1
            if chance.random() < 0.5:
                writer.transport.abort()
            return
        data = await asyncio.wait_for(reader.read(), 30)
        status = int(data.split(b" ", 2)[1])
        assert status in (200, 429, 500, 503, 504), data[:500]
        assert data.lower().count(b"x-request-id: " + request_id.encode()) == 1
        if status == 200 and stream:
            assert data.endswith(b"0\r\n\r\n"), data[-300:]
            done, failed = data.count(b"data: [DONE]"), data.count(b'"error_code"')
            assert (done, failed) in ((1, 0), (0, 1)), data[-1000:]
            seen["stream" if done else "stream that failed"] += 1
        else:
            json.loads(data.partition(b"\r\n\r\n")[2])
            seen[str(status)] += 1
    finally:
        writer.close()


async def storm(gateway: LoneGateway, first: int, chance: random.Random) -> Counter[str]:
    seen: Counter[str] = Counter()
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with room:
            await one_client(gateway, f"storm-{number}", chance, seen)

    await asyncio.gather(*(one(number) for number in range(first, first + REQUESTS)))
    return seen


async def all_at_once(gateway: LoneGateway, endpoint: str) -> list[int]:
    limits = httpx.Limits(max_connections=QUEUED)
    headers = {"authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=30, limits=limits) as http:
        asked = [
            http.post(f"/serving-endpoints/{endpoint}/invocations", json={"messages": MESSAGES})
            for _ in range(QUEUED)
        ]
        return [answer.status_code for answer in await asyncio.gather(*asked)]


def test_nothing_is_left_of_a_storm(place: Workplace, fake: FakeProviderClient, errors: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)
    print(f"seed {seed}")
    with place.running(
        routes_of(place, fake),
        errors=errors,
        request_timeout_seconds=2.0,
        stream_idle_seconds=2.0,
        max_queued_requests=QUEUED,
    ) as gateway:
        fake.reset()
        assert gateway.invoke("openai", {"messages": MESSAGES}).status_code == 200
        sizes, open_files, seen = [], [], Counter[str]()
        for turn in range(2):
            fake.reset()
            fake.control(next=chance.choices(FAULTS, k=REQUESTS), chunk_delay=0.005)
            seen += asyncio.run(storm(gateway, turn * REQUESTS, chance))
            wait_for("the provider is left", lambda: fake.counts()["open"] == 0)
            ids = {f"storm-{number}" for number in range((turn + 1) * REQUESTS)}
            wait_for("all is recorded", lambda: ids <= {one.request_id for one in records(gateway)})  # noqa: B023
            sizes.append(resident(gateway))
            open_files.append(descriptors(gateway) - fake.counts()["connections"])
        print(dict(seen), sizes, open_files)
        counted = Counter(one.request_id for one in records(gateway))
        assert {one for one, times in counted.items() if times != 1} == set()
        assert seen["stream"] > 50
        assert seen["stream that failed"] > 20
        assert seen["left"] > 200

        fake.reset()
        fake.control(first_byte_delay=1.0)
        for endpoint in DIALECTS:
            statuses = asyncio.run(all_at_once(gateway, endpoint))
            assert statuses == [200] * QUEUED, "every request that was counted as queued was counted out again"
        fake.reset()
        assert sizes[1] - sizes[0] < 15 * MIB, sizes
        assert abs(open_files[1] - open_files[0]) <= 5, open_files  # without the pool of connections
        assert fake.counts()["connections"] <= QUEUED + AT_ONCE + 5
        began = time.monotonic()
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(10) == 0
        assert time.monotonic() - began < 5, "no task was left to wait for"
    said = errors.read_text()
    for word in ("Traceback", "never retrieved", "never awaited", "without completing"):
        assert word not in said, said[-3000:]


class LateEnd:
    """Streams an answer whose HTTP end comes some time after its last event, as those of many providers do."""

    def __init__(self) -> None:
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                raw, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._talk, args=(raw,), daemon=True).start()

    def _talk(self, raw: socket.socket) -> None:
        with raw, contextlib.suppress(OSError):
            while raw.recv(65536):
                raw.sendall(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                )
                for event in (
                    b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n',
                    b"data: [DONE]\n\n",
                ):
                    time.sleep(0.3)  # long enough for the gateway to watch its client
                    raw.sendall(b"%x\r\n%s\r\n" % (len(event), event))
                time.sleep(0.05)
                raw.sendall(b"0\r\n\r\n")


def test_connections_of_long_streams_are_used_again(place: Workplace) -> None:
    provider = LateEnd()
    served = place.served(
        "late", "only", Provider.OPENAI, {"openai_api_base": provider.url}, {"openai_api_key": "key"}
    )
    with place.running([external_route("late", ExternalTask.CHAT, [served])]) as gateway:
        for _ in range(4):
            answer = gateway.invoke("late", {"messages": MESSAGES, "stream": True})
            assert answer.text.endswith("data: [DONE]\n\n")
            time.sleep(0.2)  # the connection is free once the end has come
    provider.close()
    assert provider.connections == 1


def test_a_server_that_stops_lets_streams_end(place: Workplace, fake: FakeProviderClient, errors: Path) -> None:
    with place.running(routes_of(place, fake), errors=errors, drain_seconds=20) as gateway:
        fake.reset()
        fake.control(chunk_delay=0.1, chunks=20, text="word " * 40)
        body = {"messages": MESSAGES, "max_tokens": 1000, "stream": True}
        with gateway.http.stream("POST", "/serving-endpoints/anthropic/invocations", json=body) as answer:
            lines = answer.iter_lines()
            next(lines)
            gateway.process.send_signal(signal.SIGTERM)
            rest = list(lines)
        assert rest[-2:] == ["data: [DONE]", ""]
        assert gateway.process.wait(10) == 0
        (record,) = records(gateway)
        assert (record.status, record.partial, record.streamed) == (200, False, True)
    assert "Traceback" not in errors.read_text()


@pytest.mark.parametrize("pause", ["first_byte_delay", "chunk_delay"])
def test_what_does_not_end_in_time_is_cut_off_and_recorded(
    place: Workplace, fake: FakeProviderClient, pause: str
) -> None:
    with place.running(routes_of(place, fake), drain_seconds=1) as gateway:
        fake.reset()
        fake.control(**{pause: 30.0})
        timer = threading.Timer(1.0, gateway.process.send_signal, [signal.SIGTERM])
        timer.start()
        body = {"messages": MESSAGES, "stream": True}
        try:
            answer = gateway.invoke("openai", body)
            assert answer.status_code >= 500, answer.text
        except httpx.TransportError:
            pass  # cut off in the middle, which clients notice
        assert gateway.process.wait(10) == 0
        (record,) = records(gateway)
        assert (record.partial, record.streamed) == (True, pause == "chunk_delay")
        assert record.status >= 499
        wait_for("the provider is left", lambda: fake.counts()["open"] == 0)
