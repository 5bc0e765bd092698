"""10,000 logged requests while gateway, control plane and the writer of the tables are killed again and again.

Each request that a client got an answer to is in the inference table, and in the usage table, exactly once.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from collections import Counter
from contextlib import suppress

import aiohttp
import duckdb
import pytest
from deltalake import DeltaTable
from fake_provider.running import running_fake_provider
from providers_of_tests import WAYS
from server import Server, running_server, wait_for

from moorage.api.inference_tables import USAGE_TABLE
from moorage.datadir import DataDirectory

pytestmark = pytest.mark.alone

REQUESTS = 10_000
CLIENTS = 16
PAYLOADS = "main.logs.chat_payload"
KILLED = ("moorage.gateway", "moorage.control", "moorage.tables")
PAUSE_SECONDS = 1.5
THINKING_SECONDS = 0.025  # of a client between two requests, so that there is time for several deaths


def test_each_answered_request_is_logged_once_whatever_dies() -> None:
    with running_fake_provider("--instant") as fake, running_server() as server:
        create(server, fake.url)
        answered = asyncio.run(asyncio.wait_for(asked_while_killing(server), 240))
        assert len(answered) > REQUESTS * 0.8, f"only {len(answered)} were answered at all"
        data = DataDirectory(server.data_dir)
        wait_for(
            "the spool to be empty",
            lambda: not list(data.spool.glob("*.segment")) or None,
            60,
        )
        for table in (PAYLOADS, USAGE_TABLE):
            found = ids_in(data, table)
            twice = [one for one, count in found.items() if count > 1]
            missing = answered - found.keys()
            assert not twice, f"{table}: {len(twice)} requests are there more than once"
            assert not missing, f"{table}: {len(missing)} of {len(answered)} answered requests are missing"


def create(server: Server, provider: str) -> None:
    way = WAYS["openai"]
    model = {
        "name": way.model,
        "provider": "openai",
        "task": "llm/v1/chat",
        "openai_config": {
            **way.at(provider),
            **{f"{name}_plaintext": value for name, value in way.credentials.items()},
        },
    }
    table = {"enabled": True, "catalog_name": "main", "schema_name": "logs"}
    answer = server.http.post(
        "/api/2.0/serving-endpoints",
        json={
            "name": "chat",
            "config": {"served_entities": [{"name": "model", "external_model": model}]},
            "ai_gateway": {"inference_table_config": table, "usage_tracking_config": {"enabled": True}},
        },
    )
    assert answer.status_code == 200, answer.text


async def asked_while_killing(server: Server) -> set[str]:
    """The request ids of all that were answered with 200."""
    answered: set[str] = set()
    numbers = iter(range(REQUESTS))
    deaths = Counter[str]()

    async def client(http: aiohttp.ClientSession) -> None:
        for number in numbers:
            body = {"messages": [{"role": "user", "content": f"request {number}"}], "client_request_id": str(number)}
            name = f"request-{number}"
            try:
                async with http.post(
                    f"{server.url}/serving-endpoints/chat/invocations", json=body, headers={"x-request-id": name}
                ) as answer:
                    content = await answer.read()
                    if answer.status == 200 and content.endswith(b"}"):
                        answered.add(name)
            except (aiohttp.ClientError, OSError):
                pass  # its gateway was killed: this request may be logged, or not
            await asyncio.sleep(THINKING_SECONDS)

    async def killer() -> None:
        for module in itertools.cycle(KILLED):
            await asyncio.sleep(PAUSE_SECONDS)
            if pid := server.part(module):  # none while it is being started again
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    deaths[module] += 1

    headers = {"authorization": f"Bearer {server.token}"}
    connector = aiohttp.TCPConnector(limit=CLIENTS)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as http:
        killing = asyncio.create_task(killer())
        began = time.monotonic()
        await asyncio.gather(*(client(http) for _ in range(CLIENTS)))
        killing.cancel()
        print(f"{len(answered)} answered in {time.monotonic() - began:.1f} s, deaths: {dict(deaths)}")
    assert all(deaths[module] >= 2 for module in KILLED), f"too little was tried: {deaths}"
    return answered


def ids_in(data: DataDirectory, table: str) -> Counter[str]:
    place = data.tables.joinpath(*table.split("."))
    rows = DeltaTable(str(place)).to_pyarrow_table(columns=["databricks_request_id"])
    with duckdb.connect() as database:
        database.register("logged", rows)
        return Counter(one for (one,) in database.execute("select databricks_request_id from logged").fetchall())
