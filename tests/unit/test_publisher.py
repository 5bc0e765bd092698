import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from moorage.api.routing import (
    Availability,
    EndpointRoute,
    Principal,
    ReplicaRoute,
    RoutingSnapshot,
    RoutingTaken,
    ServedRoute,
)
from moorage.control import publisher as publisher_module
from moorage.control.publisher import RoutingPublisher

ANN = Principal(id="1", user_name="ann@example.com")
SECONDS = 20.0
LIFE = "a-life"


def route(name: str, address: str = "/a.sock") -> EndpointRoute:
    replica = ReplicaRoute(id="r1", address=address)
    served = ServedRoute(name="m", traffic_percentage=100, replicas=(replica,))
    return EndpointRoute(name=name, id=f"id-of-{name}", availability=Availability.SERVING, served=(served,))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "routing.json"


@pytest.fixture
def publisher(path: Path) -> RoutingPublisher:
    made = RoutingPublisher(path)
    made.life = LIFE
    return made


class Follower:
    """A gateway that reads the stream."""

    def __init__(self, publisher: RoutingPublisher, name: str = "g") -> None:
        self._lines: AsyncIterator[bytes] = publisher.follow(name)

    async def line(self) -> Any:
        """The next line, parsed; `None` for an empty one."""
        async with asyncio.timeout(SECONDS):
            line = await anext(self._lines)
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        return json.loads(line) if line.strip() else None

    async def leave(self) -> None:
        await self._lines.aclose()


def test_follower_gets_the_snapshot_and_then_each_change_in_order(publisher):
    async def scenario():
        publisher.publish_token("d1", ANN)
        publisher.publish_endpoint("e", route("e"))
        follower = Follower(publisher)
        first = await follower.line()
        assert RoutingSnapshot.model_validate(first) == publisher.snapshot()
        assert (set(first["endpoints"]), set(first["tokens"])) == ({"e"}, {"d1"})

        publisher.publish_endpoint("e", route("e", "/b.sock"))
        publisher.publish_token("d1", None)
        publisher.publish_token("d2", ANN)
        publisher.publish_endpoint("e", None)
        changes = [await follower.line() for _ in range(4)]
        assert [change["kind"] for change in changes] == ["endpoint", "token", "token", "endpoint"]
        assert changes[0]["route"]["served"][0]["replicas"][0]["address"] == "/b.sock"
        assert (changes[1]["digest"], changes[1]["principal"]) == ("d1", None)
        assert changes[2]["principal"]["id"] == "1"
        assert (changes[3]["name"], changes[3]["route"]) == ("e", None)
        assert publisher.snapshot() == RoutingSnapshot(life=LIFE, tokens={"d2": ANN}, number=6)
        assert [change["number"] for change in (first, *changes)] == [2, 3, 4, 5, 6]
        await follower.leave()

    asyncio.run(scenario())


def test_all_have_taken_a_change_when_the_last_gateway_says_so(publisher):
    async def scenario():
        assert await publisher.all_taken()
        followers = [Follower(publisher, name) for name in ("a", "b")]
        for follower in followers:
            await follower.line()
        publisher.publish_token("d", ANN)
        waiting = asyncio.create_task(publisher.all_taken())
        publisher.taken(RoutingTaken(gateway="a", life=LIFE, number=1))
        publisher.taken(RoutingTaken(gateway="b", life=LIFE, number=0))
        publisher.taken(RoutingTaken(gateway="b", life="another", number=1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
        publisher.taken(RoutingTaken(gateway="b", life=LIFE, number=1))
        assert await waiting
        publisher.publish_token("d", None)
        for follower in followers:
            await follower.leave()
        assert await publisher.all_taken()

    asyncio.run(scenario())


def test_gateway_that_is_silent_or_leaves_is_not_waited_for(publisher, monkeypatch):
    monkeypatch.setattr(publisher_module, "_TAKEN_SECONDS", 0.05)

    async def scenario():
        follower = Follower(publisher)
        await follower.line()
        assert not await publisher.all_taken()
        monkeypatch.setattr(publisher_module, "_TAKEN_SECONDS", SECONDS)
        waiting = asyncio.create_task(publisher.all_taken())
        await asyncio.sleep(0)
        await follower.leave()
        assert await waiting

    asyncio.run(scenario())


def test_change_between_the_snapshot_and_the_next_read_is_not_lost(publisher):
    async def scenario():
        followers = [Follower(publisher) for _ in range(3)]
        for follower in followers:
            await follower.line()
        publisher.publish_token("d", ANN)
        assert [(await follower.line())["digest"] for follower in followers] == ["d", "d", "d"]
        for follower in followers:
            await follower.leave()

    asyncio.run(scenario())


def test_route_that_stays_the_same_is_not_told_again(publisher):
    async def scenario():
        publisher.publish_endpoint("e", route("e"))
        follower = Follower(publisher)
        await follower.line()
        publisher.publish_endpoint("e", route("e"))
        publisher.publish_endpoint("never", None)
        publisher.publish_endpoint("f", route("f"))
        assert (await follower.line())["name"] == "f"
        await follower.leave()

    asyncio.run(scenario())


def test_quiet_stream_says_that_it_is_alive(publisher, monkeypatch):
    monkeypatch.setattr(publisher_module, "_KEEPALIVE_SECONDS", 0.01)

    async def scenario():
        follower = Follower(publisher)
        await follower.line()
        assert await follower.line() is None
        assert await follower.line() is None
        publisher.publish_token("d", ANN)
        while (line := await follower.line()) is None:
            pass
        assert line["digest"] == "d"
        await follower.leave()

    asyncio.run(scenario())


def test_follower_that_stopped_reading_is_ended_and_begins_again_with_a_snapshot(publisher, monkeypatch):
    monkeypatch.setattr(publisher_module, "_LONGEST_QUEUE", 5)

    async def scenario():
        slow, quick = Follower(publisher), Follower(publisher)
        await slow.line()
        await quick.line()
        for number in range(50):
            publisher.publish_token(f"d{number}", ANN)
            assert (await quick.line())["digest"] == f"d{number}"
        seen = []
        with contextlib.suppress(StopAsyncIteration):
            while len(seen) < 50:
                seen.append(await slow.line())
        assert len(seen) < 50
        again = Follower(publisher)
        assert len((await again.line())["tokens"]) == 50
        for follower in (quick, again):
            await follower.leave()

    asyncio.run(scenario())


def test_follower_that_left_is_forgotten(publisher):
    async def scenario():
        follower = Follower(publisher)
        await follower.line()
        assert len(publisher._followers) == 1
        await follower.leave()
        assert not publisher._followers

    asyncio.run(scenario())


def test_owner_is_the_endpoint_that_has_the_route(publisher):
    publisher.publish_endpoint("e", route("e"))
    assert publisher.owner_of("e") == "id-of-e"
    assert publisher.owner_of("f") is None


def test_it_begins_with_the_routes_of_endpoints_that_still_exist_and_the_tokens_of_the_database(publisher, path):
    earlier = RoutingSnapshot(endpoints={"e": route("e"), "deleted": route("deleted")}, tokens={"old": ANN})
    path.write_text(earlier.model_dump_json())
    publisher.begin({"new": ANN}, {"id-of-e"})
    assert publisher.snapshot() == RoutingSnapshot(life=LIFE, endpoints={"e": route("e")}, tokens={"new": ANN})


@pytest.mark.parametrize("content", [None, "", "{", '{"endpoints": 1}', "[]"])
def test_it_begins_without_routes_when_the_earlier_ones_cannot_be_read(publisher, path, content):
    if content is not None:
        path.write_text(content)
    publisher.begin({"new": ANN}, {"id-of-e"})
    assert publisher.snapshot() == RoutingSnapshot(life=LIFE, tokens={"new": ANN})


def restarted(publisher: RoutingPublisher, path: Path) -> None:
    """The publisher of a control plane whose predecessor left the route of endpoint `e`."""
    path.write_text(RoutingSnapshot(endpoints={"e": route("e")}).model_dump_json())
    publisher.begin({}, {"id-of-e"})


def test_gateway_is_told_nothing_from_the_copy_on_disk_before_the_endpoints_have_been_looked_at(publisher, path):
    async def scenario():
        restarted(publisher, path)
        first = asyncio.create_task(Follower(publisher).line())
        await asyncio.sleep(0.01)
        assert not first.done()
        publisher.publish_endpoint("e", route("e", "/newer.sock"))
        await asyncio.sleep(0.01)
        assert not first.done()
        publisher.looked_at("id-of-e")
        snapshot = RoutingSnapshot.model_validate(await first)
        assert snapshot.endpoints["e"].served[0].replicas[0].address == "/newer.sock"

    asyncio.run(scenario())


def test_gateway_gets_the_copy_on_disk_when_looking_at_an_endpoint_takes_long(publisher, path, monkeypatch):
    monkeypatch.setattr(publisher_module, "_SEEN_SECONDS", 0.01)

    async def scenario():
        restarted(publisher, path)
        assert set((await Follower(publisher).line())["endpoints"]) == {"e"}

    asyncio.run(scenario())


def test_after_a_restart_with_routes_a_gateway_is_waited_for(publisher, path, monkeypatch):
    async def scenario():
        restarted(publisher, path)
        monkeypatch.setattr(publisher_module, "_TAKEN_SECONDS", 0.05)
        assert not await publisher.all_taken()
        monkeypatch.setattr(publisher_module, "_TAKEN_SECONDS", SECONDS)
        waiting = asyncio.create_task(publisher.all_taken())
        publisher.looked_at("id-of-e")
        follower = Follower(publisher)
        await follower.line()
        assert not waiting.done()
        publisher.taken(RoutingTaken(gateway="g", life=LIFE, number=0))
        assert await waiting
        await follower.leave()

    asyncio.run(scenario())


@contextlib.asynccontextmanager
async def writing(publisher: RoutingPublisher) -> AsyncIterator[None]:
    task = asyncio.create_task(publisher.write_for_ever())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110  a thread changes it
            await asyncio.sleep(0.005)


def test_copy_on_disk_follows_the_changes(publisher, path, monkeypatch):
    monkeypatch.setattr(publisher_module, "_WRITE_DELAY_SECONDS", 0.0)

    def on_disk() -> RoutingSnapshot | None:
        return RoutingSnapshot.model_validate_json(path.read_text()) if path.exists() else None

    async def scenario():
        async with writing(publisher):
            publisher.begin({"d": ANN}, set())
            await until(lambda: on_disk() == RoutingSnapshot(life=LIFE, tokens={"d": ANN}))
            publisher.publish_endpoint("e", route("e"))
            await until(lambda: on_disk() == publisher.snapshot())
            publisher.publish_token("d", None)
            await until(lambda: on_disk() == RoutingSnapshot(life=LIFE, endpoints={"e": route("e")}, number=2))
        assert os.stat(path).st_mode & 0o777 == 0o600
        assert [file.name for file in path.parent.iterdir()] == [path.name]

    asyncio.run(scenario())


def test_changes_that_come_together_are_written_together(publisher, path, monkeypatch):
    monkeypatch.setattr(publisher_module, "_WRITE_DELAY_SECONDS", 0.02)
    written = []
    monkeypatch.setattr(publisher_module, "_replace", lambda _, text: written.append(json.loads(text)))

    async def scenario():
        async with writing(publisher):
            for number in range(20):
                publisher.publish_token(f"d{number}", ANN)
                await asyncio.sleep(0)
            await until(lambda: bool(written))
        assert [len(text["tokens"]) for text in written] == [20]

    asyncio.run(scenario())


def test_full_disk_does_not_end_the_writing(publisher, path, monkeypatch, caplog):
    monkeypatch.setattr(publisher_module, "_WRITE_DELAY_SECONDS", 0.0)
    replace, failures = publisher_module._replace, []

    def fail_once(path: Path, text: str) -> None:
        if not failures:
            failures.append(text)
            raise OSError(28, "No space left on device")
        replace(path, text)

    monkeypatch.setattr(publisher_module, "_replace", fail_once)

    async def scenario():
        async with writing(publisher):
            publisher.publish_token("d1", ANN)
            await until(lambda: "No space left" in caplog.text)
            publisher.publish_token("d2", ANN)
            await until(path.exists)
        assert set(json.loads(path.read_text())["tokens"]) == {"d1", "d2"}

    asyncio.run(scenario())


def test_tokens_that_have_expired_are_forgotten_when_another_is_told(publisher, monkeypatch):
    now = 1_700_000_000_000
    monkeypatch.setattr(publisher_module.time, "time_ns", lambda: now * 1_000_000)

    async def scenario():
        nonlocal now
        stays, ends, renewed = (ANN.model_copy(update={"expiry_time": now + s * 1000}) for s in (60, 10, 10))
        publisher.begin({"old": ends, "lasting": ANN}, [])
        publisher.publish_token("stays", stays)
        publisher.publish_token("renewed", renewed)
        publisher.publish_token("renewed", stays)
        assert set(publisher.snapshot().tokens) == {"old", "lasting", "stays", "renewed"}
        follower = Follower(publisher)
        await follower.line()
        now += 10_000
        publisher.publish_token("new", ANN)
        told = [await follower.line() for _ in range(2)]
        assert [(line["digest"], line["principal"] is None) for line in told] == [("new", False), ("old", True)]
        assert set(publisher.snapshot().tokens) == {"lasting", "stays", "renewed", "new"}
        await follower.leave()

    asyncio.run(scenario())


def test_what_is_read_of_the_database_replaces_what_was_told_before(publisher):
    mine, theirs, service = (ANN.model_copy(update={"token_id": one}) for one in ("1", "2", None))
    publisher.publish_token("mine", mine)
    publisher.publish_token("theirs", theirs)
    publisher.publish_token("service", service)
    publisher.begin_reading()
    admin = mine.model_copy(update={"admin": True})
    publisher.replace_tokens({"mine": admin})
    assert publisher.snapshot().tokens == {"mine": admin, "service": service}
    publisher.begin_reading()
    publisher.replace_tokens({})
    assert publisher.snapshot().tokens == {"service": service}


def test_what_is_told_while_the_database_is_read_is_newer(publisher):
    stored = ANN.model_copy(update={"token_id": "1"})
    publisher.begin({"revoked": stored}, [])
    publisher.begin_reading()
    publisher.publish_token("revoked", None)
    publisher.publish_token("made", stored)
    publisher.replace_tokens({"revoked": stored})
    assert publisher.snapshot().tokens == {"made": stored}
    publisher.begin_reading()
    publisher.replace_tokens({})
    assert publisher.snapshot().tokens == {}
