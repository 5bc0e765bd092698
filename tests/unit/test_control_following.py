"""Streams of logs and events: what is there, what comes, where a new connection goes on, and when they end."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from control_harness import BOB, ENDPOINTS, ControlPlane, control_plane, entity

from moorage.cli.sse import Event, EventReader
from moorage.control import following
from moorage.control.following import Followers
from moorage.control.logs import LOG_BYTES
from moorage.control.store import endpoints as store
from moorage.control.store import models
from moorage.control.store.endpoints import EventFilter
from moorage.control.store.engine import reading

_PATIENCE = 10.0
_ANY = EventFilter()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_POLL_SECONDS", 0.005)
    monkeypatch.setattr(following, "_DATABASE_SECONDS", 0.005)


@dataclass
class Plane:
    """An endpoint of one deployment with a folder for its logs."""

    control: ControlPlane
    endpoint_id: str
    deployment_id: str

    def write(self, replica: str, text: str) -> Path:
        path = self.control.data.replica_log(self.deployment_id, replica)
        with path.open("a") as file:
            file.write(text)
        return path

    def build(self, text: str) -> None:
        with self.control.data.build_log(self.deployment_id).open("a") as file:
            file.write(text)

    def move(self, phase: str) -> None:
        with self.control.sessions.begin() as session:
            session.get_one(models.Deployment, self.deployment_id).phase = phase

    def event(self, event_type: str = "X", served_name: str | None = None) -> int:
        event = models.Event(
            endpoint_id=self.endpoint_id, endpoint_name="ads", served_name=served_name, event_type=event_type,
            status="SUCCESS", trigger="TEST", message="m", timestamp=1,
        )  # fmt: skip
        with self.control.sessions.begin() as session:
            store.add_event(session, event)
            return event.id


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    with control_plane(tmp_path) as control:
        endpoint_id = control.create()["id"]
        [deployment_id] = control.deployment_ids(endpoint_id).values()
        control.data.deployment(deployment_id).mkdir(parents=True)
        yield Plane(control, endpoint_id, deployment_id)


class Follower:
    """Reads a stream beside the test."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self.events: list[Event] = []
        self.reader = EventReader()
        self._task = asyncio.create_task(self._read(stream))

    async def _read(self, stream: AsyncIterator[bytes]) -> None:
        async for chunk in stream:
            self.events += self.reader.events([chunk])

    @property
    def lines(self) -> list[str]:
        return [event.data for event in self.events if event.name == "line"]

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(_PATIENCE):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    async def has(self, *lines: str) -> None:
        await self.until(lambda: len(self.lines) >= len(lines))
        assert self.lines == list(lines)

    async def ended(self) -> list[Event]:
        async with asyncio.timeout(_PATIENCE):
            await self._task
        return self.events

    async def leave(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


Scenario = Callable[[Followers], Awaitable[None]]


def play(plane: Plane, scenario: Scenario) -> None:
    async def whole() -> None:
        followers = Followers(plane.control.data, plane.control.sessions)
        await scenario(followers)
        followers.close()
        async with asyncio.timeout(_PATIENCE):
            while followers.count:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    asyncio.run(whole())


def test_a_build_log_is_followed_until_the_deployment_is_ready(plane: Plane) -> None:
    async def scenario(followers: Followers) -> None:
        plane.build("resolve: started\n")
        one = Follower(followers.build_log(plane.deployment_id, ""))
        await one.has("resolve: started")
        plane.move("BUILDING")
        plane.build("install: started\n")
        await one.has("resolve: started", "install: started")
        plane.build("no end of line")
        plane.move("READY")
        *_, end = await one.ended()
        assert one.lines == ["resolve: started", "install: started", "no end of line"]
        assert (end.name, json.loads(end.data)) == ("end", {"deployment": "DEPLOYMENT_READY"})

    play(plane, scenario)


@pytest.mark.parametrize("phase", ["READY", "FAILED", "ABORTED", "RECOVERING", "RETIRED"])
def test_the_log_of_a_finished_build_comes_whole_and_ends(plane: Plane, phase: str) -> None:
    async def scenario(followers: Followers) -> None:
        plane.build("".join(f"{number:08d} {'x' * 60}\n" for number in range(3000)))
        plane.move(phase)
        events = await Follower(followers.build_log(plane.deployment_id, "")).ended()
        assert [int(event.data[:8]) for event in events[:-1]] == list(range(3000))
        assert events[-1].name == "end"

    play(plane, scenario)


def test_a_build_log_goes_on_after_the_last_event_that_came(plane: Plane) -> None:
    async def scenario(followers: Followers) -> None:
        plane.build("one\ntwo\nthree\n")
        plane.move("READY")
        events = await Follower(followers.build_log(plane.deployment_id, "")).ended()
        for index, event in enumerate(events[:-1]):
            again = Follower(followers.build_log(plane.deployment_id, event.id))
            await again.ended()
            assert again.lines == ["one", "two", "three"][index + 1 :]
        other = Follower(followers.build_log(plane.deployment_id, events[1].id.replace(plane.deployment_id, "other")))
        await other.ended()
        assert other.lines == ["one", "two", "three"]

    play(plane, scenario)


def test_a_long_log_begins_where_the_plain_route_does(plane: Plane) -> None:
    async def scenario(followers: Followers) -> None:
        plane.build("0123456789\n" * 200_000)
        plane.move("READY")
        one = Follower(followers.build_log(plane.deployment_id, ""))
        await one.ended()
        assert LOG_BYTES - 11 <= sum(len(line) + 1 for line in one.lines) <= LOG_BYTES
        path = f"{ENDPOINTS}/ads/served-models/ads1-1/build-logs"
        assert plane.control.request("GET", path).json()["logs"].splitlines() == one.lines

    play(plane, scenario)


def test_replicas_are_merged_with_tags_and_new_ones_appear(plane: Plane) -> None:
    async def scenario(followers: Followers) -> None:
        os.utime(plane.write("bbbbbbbbbbbb", "older\n"), (1, 1))
        plane.write("aaaaaaaaaaaa", "newer 1\nnewer 2\n")
        plane.build("not this\n")
        one = Follower(followers.service_log(plane.deployment_id, None, ""))
        first = ["[bbbbb] older", "[aaaaa] newer 1", "[aaaaa] newer 2"]
        await one.has(*first)
        plane.write("cccccccccccc", "just begun\n")
        await one.has(*first, "[ccccc] just begun")
        plane.write("bbbbbbbbbbbb", "back\n")
        await one.has(*first, "[ccccc] just begun", "[bbbbb] back")
        assert len(one.events) == 5

    play(plane, scenario)


def test_an_older_log_comes_whole_before_the_newer_begins(plane: Plane) -> None:
    async def scenario(followers: Followers) -> None:
        os.utime(plane.write("bbbbbbbbbbbb", "older\n" * 20_000), (1, 1))
        plane.write("aaaaaaaaaaaa", "newer\n" * 20_000)
        one = Follower(followers.service_log(plane.deployment_id, None, ""))
        await one.until(lambda: len(one.lines) >= 40_000)
        assert one.lines == ["[bbbbb] older"] * 20_000 + ["[aaaaa] newer"] * 20_000

    play(plane, scenario)


def test_every_place_of_a_merged_stream_can_be_gone_on_from(plane: Plane) -> None:
    async def scenario(followers: Followers) -> None:
        os.utime(plane.write("bbbbbbbbbbbb", "b1\nb2\n"), (1, 1))
        plane.write("aaaaaaaaaaaa", "a1\na2\n")
        one = Follower(followers.service_log(plane.deployment_id, None, ""))
        await one.until(lambda: len(one.lines) == 4)
        plane.write("bbbbbbbbbbbb", "b3\n")
        await one.until(lambda: len(one.lines) == 5)
        plane.write("cccccccccccc", "c1\n")
        await one.until(lambda: len(one.lines) == 6)
        for index, event in enumerate(one.events):
            again = Follower(followers.service_log(plane.deployment_id, None, event.id))
            await again.until(lambda again=again, index=index: len(again.lines) == 5 - index)
            assert sorted(again.lines) == sorted(one.lines[index + 1 :])
        unreadable = Follower(followers.service_log(plane.deployment_id, None, "x,:,a:b," + "9" * 5000))
        await unreadable.until(lambda: len(unreadable.lines) == 6)

    play(plane, scenario)


def test_one_replica_is_followed_without_tags(plane: Plane) -> None:
    async def scenario(followers: Followers) -> None:
        plane.write("aaaaaaaaaaaa", "a1\n")
        plane.write("bbbbbbbbbbbb", "b1\n")
        one = Follower(followers.service_log(plane.deployment_id, "bbbbbbbbbbbb", ""))
        await one.has("b1")
        plane.write("aaaaaaaaaaaa", "a2\n")
        path = plane.write("bbbbbbbbbbbb", "b2\n")
        await one.has("b1", "b2")
        path.unlink()
        assert (await one.ended())[-1].name == "end"

    play(plane, scenario)


def test_a_service_log_ends_when_the_deployment_is_gone(plane: Plane) -> None:
    async def scenario(followers: Followers) -> None:
        plane.move("RETIRING")
        plane.write("aaaaaaaaaaaa", "stopping\n")
        retired = Follower(followers.service_log(plane.deployment_id, None, ""))
        deleted = Follower(followers.service_log(plane.deployment_id, None, ""))
        await retired.has("[aaaaa] stopping")
        plane.write("aaaaaaaaaaaa", "stopped\n")
        plane.move("RETIRED")
        end = (await retired.ended())[-1]
        assert (end.name, json.loads(end.data)) == ("end", {"deployment": "DEPLOYMENT_ABORTED"})
        assert retired.lines == ["[aaaaa] stopping", "[aaaaa] stopped"]
        await deleted.ended()
        assert deleted.lines == retired.lines
        with plane.control.sessions.begin() as session:
            session.delete(session.get_one(models.Deployment, plane.deployment_id))
        end = (await Follower(followers.service_log(plane.deployment_id, None, "")).ended())[-1]
        assert (end.name, json.loads(end.data)) == ("end", {})

    play(plane, scenario)


def test_events_come_as_they_happen_and_no_older_ones(plane: Plane) -> None:
    async def scenario(followers: Followers) -> None:
        before = plane.event()
        one = Follower(followers.events(plane.endpoint_id, before, _ANY))
        some = Follower(followers.events(plane.endpoint_id, before, EventFilter(event_type="Y")))
        await one.until(lambda: followers.count == 2)
        new = [plane.event("X"), plane.event("Y", "ads1-1")]
        await one.until(lambda: len(one.events) == 2)
        assert [event.id for event in one.events] == [str(identifier) for identifier in new]
        assert json.loads(one.events[1].data) == {
            "id": new[1], "event_type": "Y", "status": "SUCCESS", "trigger": "TEST", "message": "m", "timestamp": 1,
            "served_entity_name": "ads1-1",
        }  # fmt: skip
        await some.until(lambda: some.events)
        assert [event.id for event in some.events] == [str(new[1])]
        again = Follower(followers.events(plane.endpoint_id, new[0], _ANY))
        await again.until(lambda: again.events)
        assert [event.id for event in again.events] == [str(new[1])]

    play(plane, scenario)


def test_a_client_that_heard_no_event_yet_knows_where_it_is(plane: Plane) -> None:
    async def scenario(followers: Followers) -> None:
        newest = plane.event()
        one = Follower(followers.events(plane.endpoint_id, newest, _ANY))
        await one.until(lambda: one.reader.last_id)
        assert (one.events, one.reader.last_id) == ([], str(newest))

    play(plane, scenario)


def test_events_end_with_the_endpoint_and_the_last_one_is_told(plane: Plane) -> None:
    async def scenario(followers: Followers) -> None:
        one = Follower(followers.events(plane.endpoint_id, plane.event(), _ANY))
        await one.until(lambda: followers.count)
        last = plane.event("ENDPOINT_DELETED")
        with plane.control.sessions.begin() as session:
            session.delete(session.get_one(models.Endpoint, plane.endpoint_id))
        events = await one.ended()
        assert [event.name for event in events] == ["event", "end"]
        assert events[0].id == str(last)

    play(plane, scenario)


def test_followers_that_leave_are_forgotten_and_the_others_go_on(plane: Plane) -> None:
    async def scenario(followers: Followers) -> None:
        plane.write("aaaaaaaaaaaa", "one\n")
        all_of_them = [Follower(followers.service_log(plane.deployment_id, None, "")) for _ in range(50)]
        for one in all_of_them:
            await one.has("[aaaaa] one")
        assert followers.count == 50
        assert len(asyncio.all_tasks()) <= 53  # themselves, the look into the database, the test
        for one in all_of_them[1:]:
            await one.leave()
        assert followers.count == 1
        plane.write("aaaaaaaaaaaa", "two\n")
        await all_of_them[0].has("[aaaaa] one", "[aaaaa] two")
        await all_of_them[0].leave()
        await all_of_them[0].until(lambda: len(asyncio.all_tasks()) == 1)

    play(plane, scenario)


def test_a_stream_of_nothing_shows_that_it_is_alive(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_KEEPALIVE_SECONDS", 0.02)

    async def scenario(followers: Followers) -> None:
        for stream in (
            followers.build_log(plane.deployment_id, ""),
            followers.service_log(plane.deployment_id, None, ""),
            followers.events(plane.endpoint_id, plane.event(), _ANY),
        ):
            async with asyncio.timeout(_PATIENCE):
                assert (await anext(stream)).startswith((b"retry:", b"id:"))
                assert await anext(stream) == b": \n\n"
            await stream.aclose()  # type: ignore[attr-defined]

    play(plane, scenario)


def test_the_server_ends_every_stream_when_it_stops(plane: Plane) -> None:
    async def scenario(followers: Followers) -> None:
        streams = [
            Follower(followers.build_log(plane.deployment_id, "")),
            Follower(followers.service_log(plane.deployment_id, None, "")),
            Follower(followers.events(plane.endpoint_id, plane.event(), _ANY)),
        ]
        await streams[0].until(lambda: followers.count == 3)
        followers.close()
        for one in streams:
            assert await one.ended() == []

    play(plane, scenario)


def test_events_are_listed_with_trigger_entity_and_id_in_pages(plane: Plane) -> None:
    ids = [plane.event("Y" if number % 2 else "X", "ads1-1" if number % 3 else None) for number in range(10)]
    path = f"{ENDPOINTS}/ads/events"

    def page(**params: Any) -> dict[str, Any]:
        response = plane.control.request("GET", path, params=params)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    newest = page(page_size=1)["events"][0]
    assert newest == {"id": ids[9], "event_type": "Y", "status": "SUCCESS", "trigger": "TEST", "message": "m",
                      "timestamp": 1}  # fmt: skip
    found, token = [], ""
    while True:
        answer = page(page_size=4, page_token=token)
        found += [event["id"] for event in answer["events"]]
        token = answer.get("next_page_token", "")
        if not token:
            break
    assert found[:10] == ids[::-1]
    assert found == sorted(set(found), reverse=True)
    assert len(found) == len(page(page_size=1000)["events"])
    assert {event["served_entity_name"] for event in page(served_entity_name="ads1-1")["events"]} == {"ads1-1"}
    assert len(page(served_entity_name="ads1-1", event_type="X")["events"]) == 3
    assert page(event_type="nosuch") == {"events": []}
    assert "next_page_token" not in page(event_type="X", page_size=5)


@pytest.mark.parametrize("token", ["x", "-1", "1.5", "9" * 19, "٣"])
def test_a_page_token_that_no_answer_had_is_refused(plane: Plane, token: str) -> None:
    response = plane.control.request("GET", f"{ENDPOINTS}/ads/events", params={"page_token": token})
    assert (response.status_code, response.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert "page_token" in response.json()["message"]


def test_log_files_name_the_replicas(plane: Plane) -> None:
    path = f"{ENDPOINTS}/ads/served-models/ads1-1/log-files"
    assert plane.control.request("GET", path).json() == {"log_files": []}
    plane.build("not this\n")
    for age, replica in enumerate(("aaaaaaaaaaaa", "bbbbbbbbbbbb")):
        os.utime(plane.write(replica, "one\n"), (age, age))
    assert plane.control.request("GET", path).json() == {
        "log_files": [
            {"replica": "bbbbbbbbbbbb", "tag": "bbbbb", "last_written": 1000, "size": 4},
            {"replica": "aaaaaaaaaaaa", "tag": "aaaaa", "last_written": 0, "size": 4},
        ]
    }


@pytest.mark.parametrize("kind", ["served-models/ads1-1/logs", "served-models/ads1-1/build-logs", "events"])
def test_who_may_not_see_the_endpoint_may_not_follow_it(plane: Plane, kind: str) -> None:
    response = plane.control.request("GET", f"{ENDPOINTS}/ads/{kind}/stream", BOB)
    assert (response.status_code, response.json()["error_code"]) == (403, "PERMISSION_DENIED")
    assert plane.control.request("GET", f"{ENDPOINTS}/nosuch/{kind}/stream").status_code == 404


@pytest.mark.parametrize(
    ("path", "params", "status"),
    [
        ("served-models/nosuch/logs", {}, 404),
        ("served-models/ads1-1/logs", {"config_version": 7}, 404),
        ("served-models/ads1-1/logs", {"config_version": "x"}, 400),
        ("served-models/ads1-1/logs", {"replica": "nosuch"}, 404),
        ("served-models/ads1-1/logs", {"replica": "../../x"}, 404),
        ("served-models/ads1-1/logs", {"replica": "build"}, 404),
        ("served-models/ads1-1/build-logs", {"config_version": 7}, 404),
    ],
)
def test_what_cannot_be_followed_is_said(plane: Plane, path: str, params: Any, status: int) -> None:
    plane.build("x\n")
    response = plane.control.request("GET", f"{ENDPOINTS}/ads/{path}/stream", params=params)
    assert response.status_code == status, response.text
    assert "error_code" in response.json()


def test_events_of_deleted_endpoints_are_bounded_and_the_newest_stay(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_KEPT_EVENTS_OF_DELETED", 3)
    kept = [plane.event() for _ in range(5)]
    for name in ("one", "two"):
        gone = Plane(plane.control, plane.control.create(name, config={"served_entities": [entity()]})["id"], "")
        last = [gone.event() for _ in range(4)][-1]
        with plane.control.sessions.begin() as session:
            session.delete(session.get_one(models.Endpoint, gone.endpoint_id))
            session.flush()
            store.prune_events_of_deleted(session)
    with reading(plane.control.sessions) as session:
        found = session.query(models.Event)
        assert found.filter(models.Event.endpoint_id == plane.endpoint_id).count() >= len(kept)
        of_deleted = [one.id for one in found if one.endpoint_id != plane.endpoint_id]
        assert of_deleted == [last - 2, last - 1, last]
