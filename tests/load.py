"""Clients that query an endpoint while a test does something to the server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import aiohttp
import httpx
from models import Registered
from server import Server, wait_for

CLIENTS = 4
PACE_SECONDS = 0.005
IRIS = [0, 0, 0, 1, 1, 2, 2, 2]


@dataclass
class Load:
    """What the clients have seen. An answer counts as failed when it is not the right prediction."""

    answered: int = 0
    failures: list[str] = field(default_factory=list)


@contextmanager
def load_on(
    server: Server,
    endpoint: str,
    model: Registered,
    *,
    right: Sequence[object] = IRIS,
    clients: int = CLIENTS,
    pace_seconds: float = PACE_SECONDS,
) -> Iterator[Load]:
    """Clients that query through connections they keep, for the time of the block. `right` are the predictions."""
    load, over, lock = Load(), threading.Event(), threading.Lock()
    body = {"dataframe_records": model.rows.to_dict("records")}
    expected = {"predictions": right}

    def client() -> None:
        headers = {"Authorization": f"Bearer {server.token}"}
        with httpx.Client(base_url=server.url, headers=headers, timeout=60) as http:
            while not over.wait(pace_seconds):
                try:
                    answer = http.post(f"/serving-endpoints/{endpoint}/invocations", json=body)
                    failure = "" if answer.json() == expected else f"{answer.status_code} {answer.text[:300]}"
                except (httpx.HTTPError, ValueError) as error:
                    failure = repr(error)
                with lock:
                    load.answered += 1
                    if failure:
                        load.failures.append(failure)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        wait_for("the load runs", lambda: load.answered > 50, 30)
        yield load
    finally:
        over.set()
        for thread in threads:
            thread.join(70)
    assert not any(thread.is_alive() for thread in threads)


@contextmanager
def connections_on(
    server: Server,
    endpoint: str,
    model: Registered,
    *,
    right: Sequence[object],
    count: int,
    pace_seconds: float = 0.0,
) -> Iterator[Load]:
    """As `load_on`, with `count` connections of one thread. Each rests `pace_seconds` between two queries."""
    load, over = Load(), threading.Event()
    body = {"dataframe_records": model.rows.to_dict("records")}
    expected = {"predictions": right}

    async def client(http: aiohttp.ClientSession) -> None:
        while not over.is_set():
            try:
                async with http.post(f"/serving-endpoints/{endpoint}/invocations", json=body) as answer:
                    text = await answer.text()
                failure = "" if json.loads(text) == expected else f"{answer.status} {text[:300]}"
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                failure = repr(error)
            load.answered += 1
            if failure:
                load.failures.append(failure)
            await asyncio.sleep(pace_seconds)

    async def clients() -> None:
        async with many_connections(server) as http:
            await asyncio.gather(*(client(http) for _ in range(count)))

    thread = threading.Thread(target=lambda: asyncio.run(clients()))
    thread.start()
    try:
        wait_for("the load runs", lambda: load.answered > count, 30)
        yield load
    finally:
        over.set()
        thread.join(70)
    assert not thread.is_alive()


def many_connections(server: Server) -> aiohttp.ClientSession:
    """A session that opens as many connections as there are requests at once."""
    return aiohttp.ClientSession(
        server.url,
        headers={"Authorization": f"Bearer {server.token}"},
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=60),
    )


def grows_by(load: Load, count: int, seconds: float) -> None:
    target = load.answered + count
    wait_for(f"{count} more answers", lambda: load.answered >= target, seconds)
