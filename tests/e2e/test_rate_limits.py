"""Rate limits of an endpoint under concurrent calls: exactly so many are answered."""

from __future__ import annotations

import asyncio
import collections
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from models import Registered, Registry
from server import OTHER_TOKEN, Server, running_server, wait_for

CALLS, ALLOWED = 1000, 100
CLIENTS = 50
MINUTE = {"renewal_period": "minute"}


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    """The URL of a Redis server of this test's own."""
    program = shutil.which("redis-server")
    assert program is not None, "this test needs redis-server (Debian: apt-get install redis-server)"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = ["--port", str(port), "--save", "", "--appendonly", "no", "--dir", str(tmp_path)]
    process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
    try:
        wait_for("Redis listens", lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, 10)
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def limited(server: Server, name: str) -> Registered:
    model = Registry(server).register("iris")
    server.create(name, model.name)
    server.ready(name)
    limits = {"rate_limits": [{"calls": ALLOWED, "key": "endpoint", **MINUTE}]}
    assert server.http.put(f"/api/2.0/serving-endpoints/{name}/rate-limits", json=limits).status_code == 200
    return model


def call(server: Server, name: str, model: Registered) -> tuple[collections.Counter[int], list[httpx.Response]]:
    """`CALLS` concurrent calls: how many had which status, and the refusals."""

    async def calls() -> list[httpx.Response]:
        body = {"dataframe_records": model.rows.to_dict("records")}
        headers = {"Authorization": f"Bearer {server.token}"}
        limits = httpx.Limits(max_connections=CLIENTS)
        async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=60, limits=limits) as http:
            path = f"/serving-endpoints/{name}/invocations"
            return list(await asyncio.gather(*(http.post(path, json=body) for _ in range(CALLS))))

    answers = asyncio.run(calls())
    return collections.Counter(one.status_code for one in answers), [one for one in answers if one.status_code != 200]


def test_exactly_so_many_calls_are_answered(server):
    model = limited(server, "limited")
    statuses, refusals = call(server, "limited", model)
    assert statuses == {200: ALLOWED, 429: CALLS - ALLOWED}
    document = refusals[0].json()
    assert document["error_code"] == "REQUEST_LIMIT_EXCEEDED"
    assert f"{ALLOWED} calls per minute" in document["message"]
    assert 1 <= int(refusals[0].headers["retry-after"]) <= 60
    assert server.http.put("/api/2.0/serving-endpoints/limited/rate-limits", json={}).status_code == 200
    body = {"dataframe_records": model.rows.to_dict("records")}
    assert server.query("limited", body).status_code == 200


def test_exactly_so_many_through_two_workers_with_redis(redis):
    with running_server(settings={"MOORAGE_GATEWAY_WORKERS": "2", "MOORAGE_REDIS_URL": redis}) as server:
        model = limited(server, "limited")
        statuses, _ = call(server, "limited", model)
        assert statuses == {200: ALLOWED, 429: CALLS - ALLOWED}


def test_principals_own_limit_comes_before_the_default(server, registered):
    server.create("by-user", registered("iris").name)
    server.ready("by-user")
    limits = [
        {"calls": 0, "key": "user", **MINUTE},
        {"calls": 2, "key": "user", "principal": server.env.get("MOORAGE_ADMIN", "admin@localhost"), **MINUTE},
    ]
    path = "/api/2.0/serving-endpoints/by-user"
    assert server.http.put(f"{path}/ai-gateway", json={"rate_limits": limits}).status_code == 200
    grant = {"access_control_list": [{"user_name": "other@example.com", "permission_level": "CAN_QUERY"}]}
    endpoint_id = server.detail("by-user")["id"]
    assert server.http.patch(f"/api/2.0/permissions/serving-endpoints/{endpoint_id}", json=grant).status_code == 200
    body = {"dataframe_records": registered("iris").rows.to_dict("records")}
    assert [server.query("by-user", body).status_code for _ in range(3)] == [200, 200, 429]
    refused = server.query("by-user", body, Authorization=f"Bearer {OTHER_TOKEN}")
    assert refused.status_code == 429
    assert "other@example.com" in refused.json()["message"]
    server.delete("by-user")
