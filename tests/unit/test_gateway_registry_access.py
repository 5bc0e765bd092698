"""How a gateway asks the control plane about the model registry, also one that is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from moorage.api.errors import TemporarilyUnavailable
from moorage.api.registry_access import TICKET_HEADER, RegistryDecision, RegistryRequest
from moorage.api.routing import INTERNAL_HEADER, Principal
from moorage.gateway import registry_access
from moorage.gateway.registry_access import RefusedByControlPlane, RegistryGate

BOB = Principal(id="1002", user_name="bob@example.com")
ASKED = RegistryRequest(
    principal=BOB, method="GET", operation="registered-models/get", query="name=a", body=b"\xff\x00"
)

Answer = Callable[[web.Request, bytes], web.Response]


@asynccontextmanager
async def gate(folder: Path, answer: Answer) -> AsyncIterator[RegistryGate]:
    """A gate to a control plane that answers so."""

    async def handle(request: web.Request) -> web.Response:
        assert request.headers[INTERNAL_HEADER]
        return answer(request, await request.read())

    app = web.Application()
    app.router.add_post("/internal/{what}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(folder / "control.sock")).start()
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(folder / "control.sock"))) as session:
        yield RegistryGate(lambda: session)
    await runner.cleanup()


def test_a_request_is_asked_for_as_it_came(tmp_path: Path) -> None:
    seen = []

    def answer(_request: web.Request, body: bytes) -> web.Response:
        seen.append(RegistryRequest.model_validate_json(body))
        return web.Response(text=RegistryDecision(ticket="t", body=b"\xfe").model_dump_json())

    async def ask() -> RegistryDecision:
        async with gate(tmp_path, answer) as asking:
            return await asking.ask(ASKED)

    assert asyncio.run(ask()) == RegistryDecision(ticket="t", body=b"\xfe")
    assert seen == [ASKED]


def test_a_refusal_is_passed_on_as_it_is(tmp_path: Path) -> None:
    def answer(_request: web.Request, _body: bytes) -> web.Response:
        return web.json_response({"error_code": "PERMISSION_DENIED", "message": "no"}, status=403)

    async def ask() -> None:
        async with gate(tmp_path, answer) as asking:
            await asking.ask(ASKED)

    with pytest.raises(RefusedByControlPlane) as refused:
        asyncio.run(ask())
    assert (refused.value.status, refused.value.error_code) == (403, "PERMISSION_DENIED")
    assert refused.value.body() == {"error_code": "PERMISSION_DENIED", "message": "no"}


def test_nothing_passes_without_the_control_plane(tmp_path: Path) -> None:
    async def ask() -> None:
        connector = aiohttp.UnixConnector(path=str(tmp_path / "nobody.sock"))
        async with aiohttp.ClientSession(connector=connector) as session:
            await RegistryGate(lambda: session).ask(ASKED)

    with pytest.raises(TemporarilyUnavailable):
        asyncio.run(ask())


def test_what_mlflow_has_done_is_told_until_it_is_heard(tmp_path: Path) -> None:
    told: list[tuple[str, bytes]] = []

    def answer(request: web.Request, body: bytes) -> web.Response:
        told.append((request.headers[TICKET_HEADER], body))
        if len(told) == 1:
            assert request.transport is not None
            request.transport.abort()  # as when the control plane dies
        if len(told) == 2:
            document = {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "The database is busy"}
            return web.json_response(document, status=503)
        return web.Response(body=b"seen")

    async def show() -> bytes:
        async with gate(tmp_path, answer) as asking:
            return await asking.show("ticket", b"made")

    assert asyncio.run(show()) == b"seen"
    assert told == [("ticket", b"made")] * 3


@pytest.mark.parametrize(("status", "times"), [(500, 1), (503, 2)])
def test_an_answer_that_cannot_be_shown_is_not_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, times: int
) -> None:
    monkeypatch.setattr(registry_access, "_RESTART_SECONDS", 0.1)
    told = []

    def answer(_request: web.Request, body: bytes) -> web.Response:
        told.append(body)
        return web.json_response({"error_code": "X", "message": "no"}, status=status)

    async def show() -> None:
        async with gate(tmp_path, answer) as asking:
            await asking.show("ticket", b"made")

    with pytest.raises(RefusedByControlPlane):
        asyncio.run(show())
    assert len(told) == times
