"""A reverse proxy written by hand: FastAPI and httpx, no authentication. `BENCHMARK_UPSTREAM` is where it sends."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request, Response

UPSTREAM = os.environ["BENCHMARK_UPSTREAM"]
client: httpx.AsyncClient


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """One client with a pool of connections for the life of the proxy."""
    global client
    limits = httpx.Limits(max_connections=256, max_keepalive_connections=256)
    async with httpx.AsyncClient(base_url=UPSTREAM, limits=limits, trust_env=False, timeout=30) as client:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/{path:path}")
async def forward(path: str, request: Request) -> Response:
    """Send the body on, and the answer back."""
    answer = await client.post(
        f"/{path}",
        content=await request.body(),
        headers={"content-type": request.headers.get("content-type", "application/json")},
    )
    return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))
