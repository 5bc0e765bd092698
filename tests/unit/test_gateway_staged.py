"""Queries to a registered model by stage or version, at the gateway."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from moorage.api.errors import BadRequest, ResourceDoesNotExist
from moorage.api.routing import (
    Availability,
    EndpointChange,
    EndpointRoute,
    LegacyRoute,
    Principal,
    ReplicaFault,
    ReplicaRoute,
    RoutingSnapshot,
    ServedRoute,
)
from moorage.datadir import DataDirectory
from moorage.gateway.app import Gateway
from moorage.gateway.credentials import CredentialOpener
from moorage.gateway.language_models import LanguageModels
from moorage.gateway.limiting import RateLimiter
from moorage.gateway.meters import Meters
from moorage.gateway.proxy import Upstreams
from moorage.gateway.routing import RoutingTable
from moorage.replica import frames
from moorage.settings import Settings
from moorage.telemetry.request_log import RequestLog

SECONDS = 20.0
ANN = Principal(id="1", user_name="ann@example.com")
BOB = Principal(id="2", user_name="bob@example.com")
MODEL = "ads"
BODY = {"dataframe_records": [{"x": 1}]}
BOTH = {"1": "ads-1", "2": "ads-2", "Staging": "ads-2", "Production": "ads-1"}
Route = Callable[..., ServedRoute]


def entity(name: str, *addresses: str, not_ready: str | None = None, share: int = 0) -> ServedRoute:
    """The version is behind the last dash."""
    replicas = tuple(ReplicaRoute(id=f"{name}-{at}", address=address) for at, address in enumerate(addresses))
    version = name.rsplit("-", 1)[1]
    return ServedRoute(
        name=name, traffic_percentage=share, replicas=replicas, version=version, not_ready=not_ready
    )


def route(
    *served: ServedRoute,
    aliases: Mapping[str, str] | None = None,
    name: str = "by-stage",
    model: str = MODEL,
    availability: Availability = Availability.SERVING,
) -> EndpointRoute:
    return EndpointRoute(
        name=name,
        id=f"id-of-{name}",
        availability=availability,
        served=served,
        queriers=frozenset({ANN.id}),
        legacy=LegacyRoute(model=model, aliases=dict(aliases or {})),
    )


def empty_table() -> RoutingTable:
    return RoutingTable(Meters(), CredentialOpener(DataDirectory(Path("/nowhere")), {}))


class Unheard:
    """Takes reports and does nothing about them."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()

    def report(self, endpoint: str, replica_id: str, fault: ReplicaFault) -> None:
        raise AssertionError(f"{fault} of {replica_id}")

    def report_load(self) -> None:
        self.waiting.set()


class Passed:
    """What is behind the gateway: answers 204."""

    async def forward(self, scope: Any, receive: Any, send: Any, caller: Any, request_id: bytes) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


class Scene:
    """A gateway, and replicas that answer with their name and what they were sent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = empty_table()
        tokens = {hashlib.sha256(one.user_name.encode()).hexdigest(): one for one in (ANN, BOB)}
        self.table.apply(RoutingSnapshot(tokens=tokens))
        self.reports = Unheard()
        self.limiter = RateLimiter()
        self.log = RequestLog(folder / "spool", "gateway-0")
        self.gateway = Gateway(
            Settings(data_dir=folder, replica_wait_seconds=SECONDS),
            self.table,
            Meters(),
            cast(Upstreams, Passed()),
            self.reports,
            self.limiter,
            cast(LanguageModels, None),  # none of these endpoints is one of language models
            self.log,
        )
        self._servers: list[asyncio.Server] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def replica(self, name: str) -> str:
        """Start one; its address."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._writers.append(writer)
            decoder = frames.Decoder()
            with contextlib.suppress(OSError):
                while data := await reader.read(1 << 16):
                    for _, stream, payload in decoder.feed(data):
                        head, body = frames.decode_request(payload)
                        told = {"from": name, "flags": head.flags, "sent": json.loads(body)}
                        writer.write(frames.encode_response(stream, 200, 1, 0, 0, json.dumps(told).encode()))

        address = str(self.folder / f"{name}.sock")
        self._servers.append(await asyncio.start_unix_server(answer, address))
        return address

    def apply(self, *routes: EndpointRoute) -> None:
        for one in routes:
            self.table.apply(EndpointChange(name=one.name, route=one))

    async def two_versions(self) -> None:
        """Version 1 in Production and version 2 in Staging, both up."""
        served = [entity(f"ads-{one}", await self.replica(f"replica-{one}")) for one in (1, 2)]
        self.apply(route(*served, aliases=BOTH))

    async def ask(
        self, path: str, user: Principal | None = ANN, method: str = "POST", **headers: str
    ) -> httpx.Response:
        if user is not None:
            headers.setdefault("authorization", f"Bearer {user.user_name}")
        transport = httpx.ASGITransport(app=cast(Any, self.gateway))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.request(method, path, headers=headers, json=BODY)

    async def close(self) -> None:
        self.table.apply(RoutingSnapshot())
        self.table.sweep(float("inf"))
        for server in self._servers:
            server.close()
        for writer in self._writers:
            writer.transport.abort()
        self.log.close()
        await self.limiter.close()


@contextlib.asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    folder = tempfile.mkdtemp(prefix="moorage-")
    made = Scene(Path(folder))
    try:
        yield made
    finally:
        await made.close()
        shutil.rmtree(folder)


def play(scenario: Callable[[Scene], Awaitable[None]]) -> None:
    """Run the scenario; nothing in it may wait for long."""

    async def run() -> None:
        async with asyncio.timeout(SECONDS), scene() as made:
            await scenario(made)

    asyncio.run(run())


def refused(response: httpx.Response, status: int, code: str) -> str:
    document = response.json()
    assert (response.status_code, document["error_code"]) == (status, code), response.text
    assert response.headers["x-request-id"]
    message: str = document["message"]
    return message


@pytest.mark.parametrize("family", ["model", "model-endpoint"])
@pytest.mark.parametrize("end", ["", "/"])
@pytest.mark.parametrize(
    ("alias", "version"),
    [("Production", 1), ("production", 1), ("PRODUCTION", 1), ("Staging", 2), ("sTAGing", 2), ("1", 1), ("2", 2)],
)
def test_a_stage_or_a_version_answers(family: str, end: str, alias: str, version: int) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.two_versions()
        response = await scene.ask(f"/{family}/ads/{alias}/invocations{end}")
        assert (response.status_code, response.json()) == (
            200,
            {"from": f"replica-{version}", "flags": 0, "sent": BODY},
        )
        assert response.headers["served-model-name"] == f"ads-{version}"
        assert response.headers["x-request-id"]

    play(scenario)


@pytest.mark.parametrize(
    ("model", "written"),
    [
        ("my model", "my%20model"),
        ("prod.ml.fraud", "prod.ml.fraud"),
        ("größe", "gr%C3%B6%C3%9Fe"),
        ("50% off?", "50%25%20off%3F"),
        ("a+b", "a+b"),
        ("a#b", "a%23b"),
    ],
)
def test_a_model_is_named_by_its_own_name(model: str, written: str) -> None:
    async def scenario(scene: Scene) -> None:
        address = await scene.replica("it")
        scene.apply(route(entity("x-1", address), aliases={"1": "x-1"}, name="endpoint-of-it", model=model))
        response = await scene.ask(f"/model/{written}/1/invocations")
        assert response.status_code == 200, response.text
        words = refused(await scene.ask("/model/endpoint-of-it/1/invocations"), 404, "RESOURCE_DOES_NOT_EXIST")
        assert words == "Registered model 'endpoint-of-it' is not enabled for serving."

    play(scenario)


def test_a_credential_may_be_basic() -> None:
    async def scenario(scene: Scene) -> None:
        await scene.two_versions()
        basic = base64.b64encode(f"token:{ANN.user_name}".encode()).decode()
        response = await scene.ask("/model/ads/1/invocations", None, authorization=f"Basic {basic}")
        assert response.status_code == 200

    play(scenario)


@pytest.mark.parametrize("alias", ["3", "None", "Archived", "stage", "01", "1.0", "ads-1", "x" * 500])
def test_what_is_served_as_nothing_is_not_found(alias: str) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.two_versions()
        words = refused(await scene.ask(f"/model-endpoint/ads/{alias}/invocations"), 404, "RESOURCE_DOES_NOT_EXIST")
        assert f"'{alias[:100]}'" in words
        assert "'ads'" in words
        assert len(words) < 400

    play(scenario)


def test_a_stage_without_a_version_is_not_found() -> None:
    async def scenario(scene: Scene) -> None:
        address = await scene.replica("it")
        scene.apply(route(entity("ads-1", address), aliases={"1": "ads-1", "Staging": "ads-1"}))
        assert (await scene.ask("/model/ads/Staging/invocations")).status_code == 200
        refused(await scene.ask("/model/ads/Production/invocations"), 404, "RESOURCE_DOES_NOT_EXIST")

    play(scenario)


def test_nothing_is_found_where_nothing_serves() -> None:
    async def scenario(scene: Scene) -> None:
        scene.apply(route(availability=Availability.NOT_READY))
        for alias in ("1", "Production"):
            refused(await scene.ask(f"/model/ads/{alias}/invocations"), 404, "RESOURCE_DOES_NOT_EXIST")

    play(scenario)


def test_an_unknown_model_is_not_found() -> None:
    async def scenario(scene: Scene) -> None:
        await scene.two_versions()
        scene.apply(EndpointRoute(name="plain", id="p", availability=Availability.SERVING))
        for model in ("nosuch", "plain", "by-stage", "Ads", "x" * 500):
            words = refused(await scene.ask(f"/model/{model}/1/invocations"), 404, "RESOURCE_DOES_NOT_EXIST")
            assert words == f"Registered model '{model[:100]}' is not enabled for serving."

    play(scenario)


@pytest.mark.parametrize("availability", [Availability.SERVING, Availability.NOT_READY])
def test_a_version_that_has_not_been_up_is_not_ready(availability: Availability) -> None:
    async def scenario(scene: Scene) -> None:
        up = await scene.replica("it")
        first = entity("ads-1", up) if availability is Availability.SERVING else entity("ads-1", not_ready="Boom.")
        coming = entity("ads-2", not_ready="It is being created.")
        scene.apply(route(first, coming, aliases=BOTH, availability=availability))
        for alias in ("2", "Staging"):
            words = refused(await scene.ask(f"/model/ads/{alias}/invocations"), 400, "BAD_REQUEST")
            assert words == "Version 2 of registered model 'ads' is not ready. It is being created."
        response = await scene.ask("/model/ads/Production/invocations")
        if availability is Availability.SERVING:
            assert response.status_code == 200
        else:
            assert refused(response, 400, "BAD_REQUEST").endswith("is not ready. Boom.")

    play(scenario)


def test_who_may_not_query_is_refused_whatever_the_alias() -> None:
    async def scenario(scene: Scene) -> None:
        await scene.two_versions()
        for alias in ("1", "Production", "nosuch"):
            words = refused(await scene.ask(f"/model/ads/{alias}/invocations", BOB), 403, "PERMISSION_DENIED")
            assert BOB.user_name in words
        scene.apply(route(availability=Availability.NOT_READY))
        refused(await scene.ask("/model/ads/1/invocations", BOB), 403, "PERMISSION_DENIED")

    play(scenario)


def test_without_a_credential_nothing_is_told() -> None:
    async def scenario(scene: Scene) -> None:
        await scene.two_versions()
        for path in ("/model/ads/1/invocations", "/model-endpoint/nosuch/1/invocations"):
            assert (await scene.ask(path, None)).status_code == 401
            response = await scene.ask(path, None, authorization="Bearer wrong")
            assert response.status_code in (401, 403)
            assert "ads" not in response.text

    play(scenario)


def test_only_queries_are_answered_here() -> None:
    async def scenario(scene: Scene) -> None:
        await scene.two_versions()
        for method, path in (
            ("GET", "/model/ads/1/invocations"),
            ("POST", "/model/ads/invocations"),
            ("POST", "/model/ads/1/2/invocations"),
            ("POST", "/models/ads/1/invocations"),
            ("POST", "/model/ads/1"),
        ):
            assert (await scene.ask(path, method=method)).status_code == 204, path

    play(scenario)


def test_the_endpoint_answers_under_its_own_name_too() -> None:
    async def scenario(scene: Scene) -> None:
        served = [
            entity(f"ads-{one}", await scene.replica(f"replica-{one}"), share=share)
            for one, share in ((1, 100), (2, 0))
        ]
        scene.apply(route(*served, aliases=BOTH))
        response = await scene.ask("/serving-endpoints/by-stage/invocations")
        assert response.json()["from"] == "replica-1"
        named = await scene.ask("/serving-endpoints/by-stage/served-models/ads-2/invocations")
        assert named.json()["from"] == "replica-2"
        refused(await scene.ask("/serving-endpoints/ads/invocations"), 404, "ENDPOINT_NOT_FOUND")

    play(scenario)


def test_an_explanation_names_the_alias() -> None:
    async def scenario(scene: Scene) -> None:
        await scene.two_versions()
        response = await scene.ask("/model/ads/staging/invocations", **{"x-moorage-explain": "1"})
        told = "".join(response.headers.values())
        assert "answers for staging of registered model 'ads'" in told

    play(scenario)


def test_a_request_that_waits_goes_to_who_answers_by_then() -> None:
    async def scenario(scene: Scene) -> None:
        address = await scene.replica("new")
        aliases = {"1": "ads-1", "Production": "ads-1"}
        scene.apply(route(entity("ads-1"), aliases=aliases))  # scaled to zero
        asking = asyncio.create_task(scene.ask("/model/ads/Production/invocations"))
        await scene.reports.waiting.wait()
        scene.apply(route(entity("ads-2", address), aliases={"2": "ads-2", "Production": "ads-2"}))
        assert (await asking).json()["from"] == "new"

    play(scenario)


def test_a_request_that_waits_for_what_is_taken_away_is_told_so() -> None:
    async def scenario(scene: Scene) -> None:
        address = await scene.replica("other")
        scene.apply(route(entity("ads-1"), aliases={"1": "ads-1", "Production": "ads-1"}))
        asking = asyncio.create_task(scene.ask("/model/ads/1/invocations"))
        await scene.reports.waiting.wait()
        scene.apply(route(entity("ads-2", address), aliases={"2": "ads-2", "Production": "ads-2"}))
        refused(await asking, 404, "RESOURCE_DOES_NOT_EXIST")

    play(scenario)


class TestModels:
    """Which endpoint serves a model by stage, through changes in any order."""

    def names(self, table: RoutingTable) -> dict[str, str]:
        assert all(table.endpoints[one.route.name] is one for one in table.models.values())
        return {model: one.route.name for model, one in table.models.items()}

    def change(self, table: RoutingTable, name: str, to: EndpointRoute | None) -> None:
        table.apply(EndpointChange(name=name, route=to))

    def test_a_model_is_there_while_its_endpoint_is(self) -> None:
        table = empty_table()
        self.change(table, "e", route(name="e"))
        self.change(table, "plain", EndpointRoute(name="plain", id="p", availability=Availability.SERVING))
        assert self.names(table) == {MODEL: "e"}
        self.change(table, "e", route(name="e", aliases=BOTH))
        assert table.models[MODEL].route.legacy == LegacyRoute(model=MODEL, aliases=BOTH)
        self.change(table, "e", None)
        assert self.names(table) == {}

    def test_an_endpoint_that_stops_serving_by_stage_takes_its_model_along(self) -> None:
        table = empty_table()
        self.change(table, "e", route(name="e"))
        self.change(table, "e", EndpointRoute(name="e", id="other", availability=Availability.SERVING))
        assert self.names(table) == {}

    @pytest.mark.parametrize("order", [("old", "new"), ("new", "old")])
    def test_disabled_and_enabled_again_under_another_name(self, order: tuple[str, str]) -> None:
        table = empty_table()
        self.change(table, "old", route(name="old"))
        changes = {"old": None, "new": route(name="new")}
        for name in order:
            self.change(table, name, changes[name])
        assert self.names(table) == {MODEL: "new"}
        self.change(table, "new", None)
        assert self.names(table) == {}

    @pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
    def test_the_same_in_a_snapshot(self, names: tuple[str, str]) -> None:
        table = empty_table()
        old, new = names
        table.apply(RoutingSnapshot(endpoints={old: route(name=old)}))
        table.apply(RoutingSnapshot(endpoints={new: route(name=new)}))
        assert self.names(table) == {MODEL: new}
        plain = EndpointRoute(name=new, id="p", availability=Availability.SERVING)
        table.apply(RoutingSnapshot(endpoints={new: plain, old: route(name=old)}))
        assert self.names(table) == {MODEL: old}
        table.apply(RoutingSnapshot())
        assert self.names(table) == {}

    def test_a_renamed_model(self) -> None:
        table = empty_table()
        self.change(table, "e", route(name="e"))
        self.change(table, "e", route(name="e", model="better"))
        assert self.names(table) == {"better": "e"}

    @pytest.mark.parametrize("at_once", [True, False])
    def test_models_that_change_places(self, at_once: bool) -> None:
        table = empty_table()
        for name, model in (("a", "one"), ("b", "two")):
            self.change(table, name, route(name=name, model=model))
        swapped = {"a": route(name="a", model="two"), "b": route(name="b", model="one")}
        if at_once:
            table.apply(RoutingSnapshot(endpoints=swapped))
        else:
            for name, one in swapped.items():
                self.change(table, name, one)
        assert self.names(table) == {"two": "a", "one": "b"}

    def test_an_endpoint_that_serves_nothing_by_stage_has_no_alias(self) -> None:
        table = empty_table()
        plain = EndpointRoute(name="e", id="p", availability=Availability.SERVING, served=(entity("ads-1"),))
        self.change(table, "e", plain)
        for alias in ("1", "Production", "ads-1", ""):
            with pytest.raises(ResourceDoesNotExist):
                table.endpoints["e"].answering(alias)

    def test_an_alias_of_an_entity_that_is_not_there(self) -> None:
        table = empty_table()
        self.change(table, "e", route(entity("ads-2", not_ready="Wait."), name="e", aliases=BOTH))
        with pytest.raises(ResourceDoesNotExist):
            table.endpoints["e"].answering("Production")
        with pytest.raises(BadRequest, match=r"Version 2 of registered model 'ads' is not ready\. Wait\."):
            table.endpoints["e"].answering("Staging")
