"""Clients that query an endpoint while a test does something to the server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
from models import Registered
from server import Server, wait_for

CLIENTS = 4
PACE_SECONDS = 0.005


@dataclass
class Load:
    """What the clients have seen. An answer counts as failed when it is not the right prediction."""

    answered: int = 0
    failures: list[str] = field(default_factory=list)


@contextmanager
def load_on(server: Server, endpoint: str, model: Registered) -> Iterator[Load]:
    """Clients that query through connections they keep, for the time of the block."""
    load, over, lock = Load(), threading.Event(), threading.Lock()
    body = {"dataframe_records": model.rows.to_dict("records")}
    right = {"predictions": [0, 0, 0, 1, 1, 2, 2, 2]}

    def client() -> None:
        headers = {"Authorization": f"Bearer {server.token}"}
        with httpx.Client(base_url=server.url, headers=headers, timeout=60) as http:
            while not over.wait(PACE_SECONDS):
                try:
                    answer = http.post(f"/serving-endpoints/{endpoint}/invocations", json=body)
                    failure = "" if answer.json() == right else f"{answer.status_code} {answer.text[:300]}"
                except (httpx.HTTPError, ValueError) as error:
                    failure = repr(error)
                with lock:
                    load.answered += 1
                    if failure:
                        load.failures.append(failure)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
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


def grows_by(load: Load, count: int, seconds: float) -> None:
    target = load.answered + count
    wait_for(f"{count} more answers", lambda: load.answered >= target, seconds)
