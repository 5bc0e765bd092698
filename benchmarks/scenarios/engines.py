"""A language model on this machine: what asking it through an endpoint costs, against asking its engine directly."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx

from benchmarks.bench import Bench
from benchmarks.moorage_server import MoorageServer, running_moorage
from benchmarks.processes import BenchmarkFailed
from benchmarks.report import Bound, Goal, Measure, Outcome, Row, at_least_times

_ENDPOINT = "databricks-smollm2-135m-instruct"
_MESSAGES = [{"role": "user", "content": "Write a long story about a ship that is lost at sea."}]
_TOKENS = 96
_STREAMS = (1, 8)
_ROUNDS = 4
_ASKED_A_ROUND = {1: 4, 8: 8}
_START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Answer:
    """One stream: the monotonic times at which it was asked for, had its first words and ended, and its tokens."""

    asked: float
    first: float
    end: float
    tokens: int


def engines(bench: Bench) -> Outcome:
    """Tokens a second with one stream and with eight, and the time to the first one."""
    with running_moorage(bench) as server:
        return asyncio.run(_measure(bench, server))


async def _measure(bench: Bench, server: MoorageServer) -> Outcome:
    outcome = Outcome()
    through = httpx.AsyncClient(
        base_url=server.url, headers={"authorization": f"Bearer {server.token}"}, timeout=_START_SECONDS
    )
    async with through:
        await _ask(through, "/serving-endpoints/chat/completions", _ENDPOINT)  # starts it
        async with _engine(server) as direct:
            ours = "/serving-endpoints/chat/completions"
            ways = {"direct": (direct, "/v1/chat/completions"), "endpoint": (through, ours)}
            for streams in _STREAMS:
                found: dict[str, list[list[_Answer]]] = {"direct": [], "endpoint": []}
                for turn in range(_ROUNDS):
                    for way in list(ways)[:: -1 if turn % 2 else 1]:
                        client, path = ways[way]
                        found[way].append(await _round(client, path, streams))
                rates = {way: _rate(rounds) for way, rounds in found.items()}
                firsts = {way: _first_ms(rounds) for way, rounds in found.items()}
                for way in ways:
                    bench.say(f"{way}, {streams}: {rates[way]:.1f} tokens/s, first token {firsts[way]:.1f} ms")
                words = f"SmolLM2 on llama.cpp, {streams} stream{'s' if streams > 1 else ''}"
                outcome.rows.append(
                    Row(words, "tokens/s", rates["endpoint"], "its engine", rates["direct"], at_least_times(0.97))
                )
                goal = Goal(Measure.DIFFERENCE, Bound.AT_MOST, 3) if streams == 1 else None
                name = f"{words}, first token, p50"
                outcome.rows.append(Row(name, "ms", firsts["endpoint"], "its engine", firsts["direct"], goal))
    return outcome


@contextlib.asynccontextmanager
async def _engine(server: MoorageServer) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the engine's own socket."""
    listed = server.http.get(f"/api/2.0/serving-endpoints/{_ENDPOINT}/replicas").json()["replicas"]
    ready = [one["id"] for one in listed if one["state"] == "READY"]
    if len(ready) != 1:
        raise BenchmarkFailed(f"{_ENDPOINT} has {len(ready)} ready replicas")
    address = str(server.data.replica_socket(ready[0]))
    transport = httpx.AsyncHTTPTransport(uds=address)
    headers = {"connection": "close"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://engine", headers=headers, timeout=_START_SECONDS
    ) as client:
        yield client


async def _round(client: httpx.AsyncClient, path: str, streams: int) -> list[_Answer]:
    """So many requests, `streams` at a time."""
    free = asyncio.Semaphore(streams)

    async def one() -> _Answer:
        async with free:
            return await _ask(client, path, _ENDPOINT)

    return await asyncio.gather(*(one() for _ in range(_ASKED_A_ROUND[streams])))


async def _ask(client: httpx.AsyncClient, path: str, model: str) -> _Answer:
    body = {
        "model": model,
        "messages": _MESSAGES,
        "max_tokens": _TOKENS,
        "temperature": 0,
        "top_p": 1,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    asked, first, tokens = time.monotonic(), 0.0, 0
    async with client.stream("POST", path, json=body) as answer:
        if answer.status_code != 200:
            raise BenchmarkFailed(f"{path} answers {answer.status_code}: {(await answer.aread())[:500]!r}")
        async for line in answer.aiter_lines():
            if not first and '"content":"' in line.replace(": ", ":"):
                first = time.monotonic()
            if '"usage"' in line and line.startswith("data: {"):
                usage = json.loads(line.removeprefix("data: ")).get("usage") or {}
                tokens = usage.get("completion_tokens", tokens)
    if not first or not tokens:
        raise BenchmarkFailed(f"{path} streams nothing")
    return _Answer(asked, first, time.monotonic(), tokens)


def _rate(rounds: list[list[_Answer]]) -> float:
    """Tokens a second of all rounds."""
    seconds = sum(max(one.end for one in answers) - min(one.asked for one in answers) for answers in rounds)
    return sum(one.tokens for answers in rounds for one in answers) / seconds


def _first_ms(rounds: list[list[_Answer]]) -> float:
    return statistics.median((one.first - one.asked) * 1000 for answers in rounds for one in answers)
