"""A stage changes its version while clients query its URL: no request fails, and none goes back to the old one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import aiohttp
import pytest
from load import many_connections
from server import Server, is_alive, running_server, wait_for
from staged_models import ROWS, Gates, Sources, StagedModel, answering, gates

pytestmark = pytest.mark.alone

NAME = "busy-stage"
CONNECTIONS = 16
VERSIONS = 8
PACE_SECONDS = 0.03
STAYS_SECONDS = 0.5
"""How long queries go on after a switch has been seen."""


class Answer(NamedTuple):
    """One query: when it was sent and answered, both monotonic, and what it said; a failure has no version."""

    connection: int
    sent: float
    came: float
    version: int | None
    failure: str


@dataclass
class Load:
    """What the clients have seen; `firsts` is when the first answer of each version came, in that order."""

    answers: list[Answer] = field(default_factory=list)
    firsts: dict[int, float] = field(default_factory=dict)

    def add(self, answer: Answer) -> None:
        self.answers.append(answer)
        if answer.version is not None:
            self.firsts.setdefault(answer.version, answer.came)

    @property
    def failures(self) -> list[str]:
        return [one.failure for one in self.answers if one.failure]

    @property
    def versions(self) -> list[int]:
        return list(self.firsts)

    def shows(self, version: int) -> float:
        """Wait for an answer of the version, and for some more. When the first one came."""
        came = wait_for(f"an answer of version {version}", lambda: self.firsts.get(version), 60)
        wait_for("more answers", lambda: self.answers[-1].sent > came + STAYS_SECONDS, 30)
        return came

    def went_back(self) -> list[Answer]:
        """Answers of a version on a connection that has had a later one."""
        seen = dict.fromkeys(range(CONNECTIONS), 0)
        found = []
        for one in self.answers:
            if one.version is not None:
                if one.version < seen[one.connection]:
                    found.append(one)
                seen[one.connection] = max(seen[one.connection], one.version)
        return found

    def late(self, version: int, since: float) -> list[Answer]:
        """Answers of earlier versions to what was sent after `since`."""
        return [one for one in self.answers if one.sent > since and one.version is not None and one.version < version]

    def figures(self) -> str:
        seconds = self.answers[-1].came - self.answers[0].sent
        times = sorted(one.came - one.sent for one in self.answers)
        counts = {version: sum(one.version == version for one in self.answers) for version in self.versions}
        return (
            f"{len(times)} queries in {seconds:.1f} s ({len(times) / seconds:.0f}/s), p50"
            f" {1000 * times[len(times) // 2]:.1f} ms, p99 {1000 * times[len(times) * 99 // 100]:.1f} ms, slowest"
            f" {1000 * times[-1]:.0f} ms; by version {counts}"
        )


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that no other module uses."""
    with running_server() as running:
        yield running


@pytest.fixture(scope="module")
def doors() -> Iterator[Gates]:
    with gates() as made:
        yield made


@pytest.fixture(scope="module")
def model(server: Server, doors: Gates) -> StagedModel:
    """Version 1 is in Production, the others in no stage; each answers its number."""
    found = StagedModel(server, NAME)
    kinds = ((f"answers {one}", answering(one, doors)) for one in range(1, VERSIONS + 1))
    Sources(server).register(NAME, *kinds)
    found.enable()
    found.move(1, "Production")
    found.become({"1": ("READY", "READY")})
    return found


@contextmanager
def queries(server: Server, capsys: pytest.CaptureFixture[str], pace_seconds: float = 0.0) -> Iterator[Load]:
    """Connections that query the stage's URL one request after the other, for the time of the block.

    Each rests `pace_seconds` between two, which leaves a control plane that starts again some of the processor.
    """
    load, over = Load(), threading.Event()

    async def client(http: aiohttp.ClientSession, connection: int) -> None:
        while not over.is_set():
            version, failure, sent = None, "", time.monotonic()
            try:
                async with http.post(f"/model-endpoint/{NAME}/Production/invocations", json=ROWS) as answer:
                    text = await answer.text()
                [version, again] = json.loads(text).get("predictions", [None, None])
                if answer.status != 200 or version != again:
                    version, failure = None, f"{answer.status} {text[:300]}"
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                failure = repr(error)
            load.add(Answer(connection, sent, time.monotonic(), version, failure))
            await asyncio.sleep(pace_seconds)

    async def clients() -> None:
        async with many_connections(server) as http:
            await asyncio.gather(*(client(http, one) for one in range(CONNECTIONS)))

    thread = threading.Thread(target=lambda: asyncio.run(clients()))
    thread.start()
    try:
        wait_for("the load runs", lambda: len(load.answers) > 20 * CONNECTIONS, 30)
        yield load
    finally:
        over.set()
        thread.join(70)
        with capsys.disabled():
            print(f"\n  {load.figures()}", end="")
    assert not thread.is_alive()


def switched(model: StagedModel, load: Load, version: int) -> None:
    """Wait until the version answers for the stage; from then on no other one does."""
    wait_for(f"version {version} answers", lambda: model.aliases() == {"Production": str(version)}, 60, pace=0.01)
    told = time.monotonic()
    taken = load.shows(version)
    assert load.late(version, max(told, taken)) == []


def kill_control_plane(server: Server) -> None:
    dead = server.part("moorage.control")
    os.kill(dead, signal.SIGKILL)
    wait_for("its death", lambda: not is_alive(dead), 5)


def healthy(server: Server) -> None:
    wait_for("the server is healthy", lambda: server.http.get("/health").status_code == 200, 60)


def test_one_switch(server, model, capsys):
    with queries(server, capsys) as load:
        assert load.versions == [1]
        model.move(2, "Production", archive=True)
        switched(model, load, 2)
    assert load.failures == []
    assert load.versions == [1, 2]
    assert load.went_back() == []
    assert model.states() == {"2": ("READY", "READY")}
    wait_for("the replica of version 1 is gone", lambda: len(server.replicas()) == 1, 30)


def test_three_switches_in_a_row(server, model, doors, capsys):
    """Each is asked for while the one before is on its way."""
    with doors.held(4), queries(server, capsys) as load:
        model.move(3, "Production", archive=True)
        switched(model, load, 3)
        model.move(4, "Production", archive=True)
        model.move(5, "Production", archive=True)
        switched(model, load, 5)
    assert load.failures == []
    assert load.versions == [2, 3, 5]
    assert load.went_back() == []
    assert model.states() == {"5": ("READY", "READY")}
    wait_for("one replica is left", lambda: len(server.replicas()) == 1, 30)


def test_control_plane_is_killed_while_the_new_version_loads(server, model, doors, capsys):
    with queries(server, capsys, PACE_SECONDS) as load:
        with doors.held(6):
            model.move(6, "Production", archive=True)
            wait_for("version 6 comes", lambda: model.states().get("6") == ("PENDING", "PENDING"), 30)
            kill_control_plane(server)
            healthy(server)
            assert model.aliases() == {"Production": "5"}
            assert load.versions == [5]
        switched(model, load, 6)
    assert load.failures == []
    assert load.versions == [5, 6]
    assert load.went_back() == []
    wait_for("one replica is left", lambda: len(server.replicas()) == 1, 30)


def test_control_plane_is_killed_at_the_moment_of_the_switch(server, model, capsys):
    with queries(server, capsys, PACE_SECONDS) as load:
        model.move(7, "Production", archive=True)
        wait_for("the first answer of version 7", lambda: load.firsts.get(7), 60, pace=0.001)
        kill_control_plane(server)
        healthy(server)
        switched(model, load, 7)
    assert load.failures == []
    assert load.versions == [6, 7]
    assert load.went_back() == []
    assert model.states() == {"7": ("READY", "READY")}
    wait_for("one replica is left", lambda: len(server.replicas()) == 1, 30)


def test_request_that_was_on_its_way_when_its_version_went_is_answered_by_the_next(server, model):
    """A client that is slow to send its body: the first half comes before the switch, the rest when all is over."""
    body = json.dumps(ROWS).encode()
    head = (
        f"POST /model-endpoint/{NAME}/Production/invocations HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Authorization: Bearer {server.token}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    address = server.url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1])), timeout=30) as client:
        client.sendall(head + body[:10])
        model.move(8, "Production", archive=True)
        wait_for("version 8 answers", lambda: model.answer("Production") == 8, 60)
        wait_for("the replica of version 7 is gone", lambda: len(server.replicas()) == 1, 30)
        client.sendall(body[10:])
        began = time.monotonic()
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    status, _, predictions = answer.partition(b"\r\n")
    assert status == b"HTTP/1.1 200 OK", answer
    assert json.loads(predictions.rpartition(b"\r\n\r\n")[2]) == {"predictions": [8, 8]}
    assert time.monotonic() - began < 5
