import asyncio
import base64
import hashlib
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from moorage.api.errors import InvalidToken, ResourceDoesNotExist, Unauthenticated
from moorage.api.routing import (
    Availability,
    EndpointChange,
    EndpointRoute,
    Principal,
    ReplicaRoute,
    RoutingSnapshot,
    ServedRoute,
    TokenChange,
)
from moorage.datadir import DataDirectory
from moorage.gateway import routing
from moorage.gateway.credentials import CredentialOpener
from moorage.gateway.meters import Meters
from moorage.gateway.routing import RoutingTable, missing_right

NO_CREDENTIALS = CredentialOpener(DataDirectory(Path("/nowhere")), {})

ANN = Principal(id="1", user_name="ann@example.com")
BOB = Principal(id="2", user_name="bob@example.com")


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def basic(text: str) -> bytes:
    return b"Basic " + base64.b64encode(text.encode())


def entity(name: str, share: int, *replicas: str) -> ServedRoute:
    return ServedRoute(
        name=name,
        traffic_percentage=share,
        replicas=tuple(ReplicaRoute(id=replica, address=f"/nonexistent/{replica}.sock") for replica in replicas),
    )


def route(name: str, *served: ServedRoute) -> EndpointRoute:
    return EndpointRoute(name=name, id=f"id-of-{name}", availability=Availability.SERVING, served=served)


@pytest.fixture
def table() -> RoutingTable:
    """Ann's token is `good`; endpoint `e` has entity `m` on replicas `r1` and `r2`."""
    made = RoutingTable(Meters(), NO_CREDENTIALS)
    endpoint = route("e", entity("m", 100, "r1", "r2"))
    made.apply(RoutingSnapshot(endpoints={"e": endpoint}, tokens={digest("good"): ANN}))
    return made


class TestPrincipal:
    @pytest.mark.parametrize(
        "authorization",
        [
            b"Bearer good",
            b"bearer good",
            b"BEARER   good ",
            basic("token:good"),
            basic("token:good").replace(b"Basic", b"bAsIc"),
        ],
    )
    def test_token_is_known_in_every_form(self, table, authorization):
        assert table.principal(authorization) == ANN
        assert table.principal(authorization) == ANN

    @pytest.mark.parametrize(
        "authorization",
        [
            None,
            b"",
            b"good",
            b"Bearer",
            b"Bearer ",
            b"Basic",
            b"Basic !!!",
            b"Basic \xff\xfe",
            b"Basic " + base64.b64encode(b"token"),
            basic("token:"),
            basic("ann:good"),
            b"Digest good",
            b"\xff\xfe \x00",
        ],
    )
    def test_header_without_a_token_is_no_credential(self, table, authorization):
        with pytest.raises(Unauthenticated):
            table.principal(authorization)

    @pytest.mark.parametrize(
        "authorization", [b"Bearer bad", b"Bearer good good", b"Bearer GOOD", basic("token:bad")]
    )
    def test_unknown_token_is_refused(self, table, authorization):
        with pytest.raises(InvalidToken):
            table.principal(authorization)

    def test_colon_belongs_to_the_secret(self, table):
        table.apply(TokenChange(digest=digest("a:b"), principal=BOB))
        assert table.principal(basic("token:a:b")) == BOB

    def test_revoked_token_is_refused_though_it_was_remembered(self, table):
        assert table.principal(b"Bearer good") == ANN
        table.apply(TokenChange(digest=digest("good"), principal=None))
        with pytest.raises(InvalidToken):
            table.principal(b"Bearer good")
        table.apply(TokenChange(digest=digest("unheard of"), principal=None))

    def test_new_token_is_good_at_once(self, table):
        with pytest.raises(InvalidToken):
            table.principal(b"Bearer new")
        table.apply(TokenChange(digest=digest("new"), principal=BOB))
        assert table.principal(b"Bearer new") == BOB

    def test_token_whose_principal_changed_is_the_new_one(self, table):
        table.principal(b"Bearer good")
        table.apply(TokenChange(digest=digest("good"), principal=ANN.model_copy(update={"admin": True})))
        assert table.principal(b"Bearer good").admin

    def test_snapshot_revokes_the_tokens_that_it_does_not_have(self, table):
        table.principal(b"Bearer good")
        table.apply(RoutingSnapshot(tokens={digest("other"): BOB}))
        with pytest.raises(InvalidToken):
            table.principal(b"Bearer good")
        assert table.principal(b"Bearer other") == BOB

    def test_token_is_refused_from_its_expiry_on_though_it_was_remembered(self, table, monkeypatch):
        now = 1_000.0
        monkeypatch.setattr(routing.time, "time", lambda: now)
        short = ANN.model_copy(update={"expiry_time": 1_000_001})
        table.apply(TokenChange(digest=digest("short"), principal=short))
        assert table.principal(b"Bearer short") == short
        now = 1_000.001
        with pytest.raises(InvalidToken):
            table.principal(b"Bearer short")

    def test_remembered_credentials_are_bounded(self, table, monkeypatch):
        monkeypatch.setattr(routing, "_REMEMBERED_CREDENTIALS", 3)
        for spaces in range(1, 12):
            assert table.principal(b"Bearer" + b" " * spaces + b"good") == ANN
        assert len(table._credentials) <= 3


class TestTraffic:
    def test_draws_follow_the_shares(self, table, monkeypatch):
        monkeypatch.setattr(routing, "random", random.Random(1))
        table.apply(EndpointChange(name="e", route=route("e", entity("a", 70), entity("b", 30), entity("c", 0))))
        drawn = Counter(table.endpoints["e"].draw().name for _ in range(10_000))
        assert drawn["a"] == pytest.approx(7_000, abs=200)
        assert drawn["b"] == pytest.approx(3_000, abs=200)
        assert drawn["c"] == 0

    @pytest.mark.parametrize(("point", "name"), [(0.0, "a"), (0.0999, "a"), (0.1, "b"), (0.9999999, "b")])
    def test_shares_meet_without_a_gap(self, table, monkeypatch, point, name):
        monkeypatch.setattr(routing.random, "random", lambda: point)
        table.apply(EndpointChange(name="e", route=route("e", entity("a", 10), entity("b", 90))))
        assert table.endpoints["e"].draw().name == name

    def test_sole_entity_takes_everything(self, table):
        assert {table.endpoints["e"].draw().name for _ in range(20)} == {"m"}

    def test_endpoint_without_traffic_is_refused_by_name(self, table):
        table.apply(EndpointChange(name="e", route=route("e", entity("a", 0))))
        with pytest.raises(ResourceDoesNotExist, match="'e'"):
            table.endpoints["e"].draw()
        assert table.endpoints["e"].named("a").name == "a"

    def test_named_entity_that_does_not_exist_is_refused(self, table):
        with pytest.raises(ResourceDoesNotExist, match="'x' of endpoint 'e'"):
            table.endpoints["e"].named("x")


class TestPick:
    def links(self, table, *replicas):
        table.apply(EndpointChange(name="e", route=route("e", entity("m", 100, *replicas))))
        served = table.endpoints["e"].served["m"]
        return served, served.links

    def test_link_with_the_fewest_outstanding_requests_is_taken(self, table):
        served, links = self.links(table, "r1", "r2", "r3")
        for link, outstanding in zip(links, (2, 1, 3), strict=True):
            link.outstanding = outstanding
        assert served.pick(None) is links[1]
        assert served.pick(links[1]) is links[0]

    def test_link_that_cannot_be_reached_comes_last(self, table):
        served, links = self.links(table, "r1", "r2")
        links[0].outstanding = 50
        links[1].unreachable_since = 1.0
        assert served.pick(None) is links[0]
        assert served.pick(links[0]) is links[1]

    def test_failed_link_is_not_taken_even_when_it_is_the_only_one(self, table):
        served, links = self.links(table, "r1")
        assert served.pick(None) is links[0]
        assert served.pick(links[0]) is None

    def test_entity_without_replicas_has_none(self, table):
        served, _ = self.links(table)
        assert served.pick(None) is None


class TestReplacing:
    def links(self, table):
        return {link.replica_id: link for link in table.endpoints["e"].served["m"].links}

    def test_replicas_that_stay_keep_their_links(self, table):
        before = self.links(table)
        table.apply(EndpointChange(name="e", route=route("e", entity("m", 100, "r2", "r3"))))
        after = self.links(table)
        assert after["r2"] is before["r2"]
        assert set(after) == {"r2", "r3"}

    def test_whole_snapshot_keeps_the_links_too(self, table):
        before = self.links(table)
        table.apply(RoutingSnapshot(endpoints={"e": route("e", entity("m", 50, "r1", "r2"), entity("n", 50))}))
        assert self.links(table) == before

    def test_replica_that_goes_to_another_entity_of_the_endpoint_keeps_its_link(self, table):
        before = self.links(table)["r1"]
        table.apply(EndpointChange(name="e", route=route("e", entity("n", 100, "r1"))))
        assert table.endpoints["e"].served["n"].links == [before]

    def test_entity_that_stays_keeps_its_count_of_queued_requests(self, table):
        table.endpoints["e"].served["m"].queued = 3
        table.apply(EndpointChange(name="e", route=route("e", entity("m", 100, "r9"))))
        assert table.endpoints["e"].served["m"].queued == 3

    def test_endpoints_that_the_control_plane_forgets_are_gone(self, table):
        table.apply(EndpointChange(name="f", route=route("f", entity("m", 100))))
        table.apply(EndpointChange(name="e", route=None))
        assert set(table.endpoints) == {"f"}
        table.apply(EndpointChange(name="never", route=None))
        table.apply(RoutingSnapshot())
        assert table.endpoints == {}


class FakeLink:
    """Counts what the table does to it."""

    def __init__(self, replica_id: str, address: str) -> None:
        self.replica_id, self.address = replica_id, address
        self.outstanding = 0
        self.unreachable_since = None
        self.closed = self.expired = self.kept = 0

    def close(self) -> None:
        self.closed += 1

    def expire(self, now: float) -> None:
        self.expired += 1

    def keep_connected(self, now: float) -> None:
        self.kept += 1


class TestSweeping:
    @pytest.fixture
    def links(self, monkeypatch):
        made: dict[str, FakeLink] = {}

        def make(replica_id, address):
            made[replica_id] = FakeLink(replica_id, address)
            return made[replica_id]

        monkeypatch.setattr(routing, "ReplicaLink", make)
        return made

    def table(self):
        made = RoutingTable(Meters(), NO_CREDENTIALS)
        made.apply(RoutingSnapshot(endpoints={"e": route("e", entity("m", 100, "r1", "r2"))}))
        return made

    def test_links_in_use_are_kept_and_their_late_requests_expire(self, links):
        table = self.table()
        table.sweep(time.monotonic())
        assert [(link.kept, link.expired, link.closed) for link in links.values()] == [(1, 1, 0), (1, 1, 0)]

    def test_idle_link_that_left_is_closed(self, links):
        table = self.table()
        table.apply(EndpointChange(name="e", route=route("e", entity("m", 100, "r2"))))
        table.sweep(time.monotonic())
        assert (links["r1"].closed, links["r2"].closed) == (1, 0)
        table.sweep(time.monotonic())
        assert (links["r1"].closed, links["r1"].expired) == (1, 0)

    def test_busy_link_that_left_is_closed_after_its_last_answer(self, links):
        table = self.table()
        links["r1"].outstanding = 1
        table.apply(EndpointChange(name="e", route=None))
        table.sweep(time.monotonic())
        assert (links["r1"].closed, links["r1"].expired, links["r1"].kept) == (0, 1, 0)
        assert links["r2"].closed == 1
        links["r1"].outstanding = 0
        table.sweep(time.monotonic())
        assert links["r1"].closed == 1

    def test_link_that_left_does_not_linger_for_ever(self, links):
        table = self.table()
        links["r1"].outstanding = 1
        table.apply(EndpointChange(name="e", route=None))
        table.sweep(time.monotonic() + 601)
        assert links["r1"].closed == 1


def test_load_is_what_came_since_the_last_look_and_what_waits_now(table):
    served = table.endpoints["e"].served["m"]
    assert table.loads() == []
    served.requests, served.queued = 5, 2
    [load] = table.loads()
    assert (load.endpoint, load.served, load.concurrency, load.requests) == ("e", "m", 2, 5)
    [load] = table.loads()
    assert (load.concurrency, load.requests) == (2, 0)
    served.queued = 0
    assert table.loads() == []


def test_one_who_waits_for_a_change_wakes_with_each():
    async def scenario():
        table = RoutingTable(Meters(), NO_CREDENTIALS)
        assert not table.loaded
        for change in (RoutingSnapshot(), TokenChange(digest="d", principal=ANN)):
            waiting = asyncio.create_task(table.change(60))
            await asyncio.sleep(0)
            assert not waiting.done()
            table.apply(change)
            async with asyncio.timeout(5):
                await waiting
        assert table.loaded
        await table.change(0.001)

    asyncio.run(scenario())


def test_refusal_names_who_and_what():
    error = missing_right(ANN, "CAN_QUERY", "e")
    assert error.status == 403
    for word in ("ann@example.com", "CAN_QUERY", "'e'"):
        assert word in str(error)
