"""Logs and events followed over HTTP while they are written: live, whole, and gone on with after a break."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from models import Registry
from server import OTHER_TOKEN, Server, running_server, wait_for

ENDPOINTS = "/api/2.0/serving-endpoints"
LIVE_SECONDS = 3.0  # from a line's writing to its arrival, on a busy machine


@dataclass
class Event:
    name: str
    data: str
    id: str
    at: float


class Stream:
    """An event stream that is read beside the test until it ends or is left."""

    def __init__(self, server: Server, path: str, last_event_id: str | None = None, **params: Any) -> None:
        headers = {"Authorization": f"Bearer {server.token}"}
        if last_event_id is not None:
            headers["Last-Event-ID"] = last_event_id
        self.events: list[Event] = []
        self.ended = threading.Event()
        self._http = httpx.Client(base_url=server.url, headers=headers, timeout=httpx.Timeout(30))
        self._answer = self._http.send(self._http.build_request("GET", path, params=params), stream=True)
        assert self._answer.status_code == 200, self._answer.read()
        assert self._answer.headers["content-type"].startswith("text/event-stream")
        assert "no-cache" in self._answer.headers["cache-control"]
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        event = Event("", "", "", 0.0)
        try:
            for line in self._answer.iter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    event.name = value
                elif field == "data":
                    event.data += value
                elif field == "id":
                    event.id = value
                elif not line:
                    if event.name:
                        event.at = time.monotonic()
                        self.events.append(event)
                    event = Event("", "", "", 0.0)
        except httpx.HTTPError:
            pass  # the connection was cut, by the test or by a server that ended
        finally:
            self.ended.set()

    @property
    def lines(self) -> list[str]:
        return [event.data for event in self.events if event.name == "line"]

    def having(self, words: str) -> list[str]:
        return [line for line in self.lines if words in line]

    def wait(self, words: str, count: int = 1, seconds: float = 30.0) -> list[str]:
        return wait_for(f"{count} of '{words}'", lambda: len(found := self.having(words)) >= count and found, seconds)

    def end(self, seconds: float = 30.0) -> Event:
        assert self.ended.wait(seconds), "the stream did not end"
        assert self.events[-1].name == "end", self.events[-3:]
        return self.events[-1]

    def leave(self) -> None:
        """As a client does that closes its window."""
        import socket

        network = self._answer.extensions["network_stream"].get_extra_info("socket")
        network.shutdown(socket.SHUT_RDWR)
        assert self.ended.wait(10)
        self._answer.close()
        self._http.close()


def say(server: Server, name: str, words: str) -> None:
    """Have the model print `asked to WORDS`."""
    answer = server.query(name, {"dataframe_records": [{"do": words}]})
    assert answer.status_code == 200, answer.text


def served(server: Server, name: str) -> str:
    detail = server.detail(name)
    config = detail.get("config") or detail["pending_config"]
    return f"{ENDPOINTS}/{name}/served-models/{config['served_entities'][0]['name']}"


@pytest.fixture(scope="module")
def talker(server: Server, registered) -> Iterator[str]:
    """A READY endpoint of two replicas that print what they are asked to."""
    model = registered("misbehaves")
    server.create("streams-two", model.name, model.version, workload_size="Medium")
    server.ready("streams-two")
    folder = f"{served(server, 'streams-two')}/log-files"
    wait_for("two replicas", lambda: len(server.http.get(folder).json()["log_files"]) == 2, 60)
    yield "streams-two"
    server.delete("streams-two")


def test_a_build_log_is_seen_while_the_endpoint_is_built(server: Server, registered) -> None:
    model = registered("misbehaves")
    server.create("streams-build", model.name, model.version)
    stream = Stream(server, f"{served(server, 'streams-build')}/build-logs/stream")
    end = stream.end(120)
    assert json.loads(end.data) == {"deployment": "DEPLOYMENT_READY"}
    assert server.ready("streams-build", 10)
    log = server.http.get(f"{served(server, 'streams-build')}/build-logs").json()["logs"]
    assert stream.lines == log.splitlines()
    began, done = (
        next(event.at for event in stream.events if "load model" in event.data and words in event.data)
        for words in ("started", "done")
    )
    took = float(next(line for line in stream.lines if "load model" in line and "done" in line).split()[-2])
    assert done - began > took - 1.0, "the beginning of loading came only when it was over"
    again = Stream(server, f"{served(server, 'streams-build')}/build-logs/stream", stream.events[0].id)
    again.end()
    assert again.lines == stream.lines[1:]
    server.delete("streams-build")


def test_a_failed_build_ends_its_stream_with_the_reason(server: Server, registered) -> None:
    model = registered("load_raises")
    server.create("streams-fails", model.name, model.version)
    stream = Stream(server, f"{served(server, 'streams-fails')}/build-logs/stream")
    assert json.loads(stream.end(120).data) == {"deployment": "DEPLOYMENT_FAILED"}
    assert stream.having("the weights are missing")
    server.delete("streams-fails")


def test_prints_of_all_replicas_arrive_as_they_are_made(server: Server, talker: str) -> None:
    path = f"{served(server, talker)}/logs/stream"
    files = server.http.get(f"{served(server, talker)}/log-files").json()["log_files"]
    merged = Stream(server, path)
    alone = [Stream(server, path, replica=one[key]) for one, key in zip(files, ("replica", "tag"), strict=True)]
    merged.wait("ready after", 2)
    began = time.monotonic()
    say(server, talker, "be quick")
    merged.wait("asked to be quick", seconds=LIVE_SECONDS)
    took = time.monotonic() - began
    assert took < LIVE_SECONDS

    def both_have_spoken() -> bool:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: say(server, talker, f"round {number}"), range(8)))
        return all(stream.having("asked to round") for stream in alone)

    wait_for("both replicas were asked", both_have_spoken, 30)
    say(server, talker, "be last")
    merged.wait("asked to be last")
    wait_for("one of them alone", lambda: sum(len(one.having("asked to be last")) for one in alone) == 1, 10)
    wait_for("all have all", lambda: len(merged.lines) == sum(len(one.lines) for one in alone), 10)
    for one, file in zip(alone, files, strict=True):
        assert [line for line in merged.lines if line.startswith(f"[{file['tag']}] ")] == [
            f"[{file['tag']}] {line}" for line in one.lines
        ]
    log = server.http.get(f"{served(server, talker)}/logs").json()["logs"].splitlines()
    assert sorted(log) == sorted(merged.lines)
    for stream in (merged, *alone):
        stream.leave()


def test_a_new_connection_goes_on_after_the_last_event(server: Server, talker: str) -> None:
    path = f"{served(server, talker)}/logs/stream"
    first = Stream(server, path)
    say(server, talker, "first")
    first.wait("asked to first")
    first.leave()
    say(server, talker, "second")
    second = Stream(server, path, first.events[-1].id)
    say(server, talker, "third")
    second.wait("asked to third")
    assert [line.split("] ")[1] for line in second.lines] == ["asked to second", "asked to third"]
    whole = Stream(server, path)
    wait_for("all of it", lambda: len(whole.lines) == len(first.lines) + 2, 10)
    assert sorted(whole.lines) == sorted(first.lines + second.lines)
    for stream in (second, whole):
        stream.leave()


def _open_files(server: Server) -> list[int]:
    pids = [server.part("moorage.control"), server.part("moorage.gateway")]
    return [len(os.listdir(f"/proc/{pid}/fd")) for pid in pids]


def _threads(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.part('moorage.control')}/task"))


def test_clients_that_leave_leave_nothing_behind(server: Server, talker: str) -> None:
    path = f"{served(server, talker)}/logs/stream"
    server.http.get(path.removesuffix("/stream"))
    files, threads = _open_files(server), _threads(server)
    streams = [Stream(server, path) for _ in range(60)]
    say(server, talker, "everybody")
    for stream in streams:
        stream.wait("asked to everybody")
    assert min(now - then for now, then in zip(_open_files(server), files, strict=True)) >= 50
    assert _threads(server) - threads < 40  # the pool that answers other requests, at the most
    for stream in streams:
        stream.leave()
    # Kept-alive connections may differ by a few; nothing is printed that would make a send fail.
    wait_for("files are closed", lambda: max(
        now - then for now, then in zip(_open_files(server), files, strict=True)
    ) < 10, 8)  # fmt: skip


def test_events_are_told_as_they_happen(server: Server, registered) -> None:
    model = registered("misbehaves")
    server.create("streams-events", model.name, model.version)
    server.ready("streams-events")
    stream = Stream(server, f"{ENDPOINTS}/streams-events/events/stream")
    entities = Stream(server, f"{ENDPOINTS}/streams-events/events/stream", event_type="ENDPOINT_DELETED")
    tags = {"add_tags": [{"key": "team", "value": "ads"}]}
    assert server.http.patch(f"{ENDPOINTS}/streams-events/tags", json=tags).status_code == 200
    changed = wait_for("the event", lambda: stream.events, LIVE_SECONDS)[0]
    assert json.loads(changed.data)["trigger"] == "TAGS_CHANGED"
    listed = server.http.get(f"{ENDPOINTS}/streams-events/events", params={"page_size": 1}).json()
    assert listed["events"] == [json.loads(changed.data)]
    assert listed["next_page_token"] == changed.id
    log = Stream(server, f"{served(server, 'streams-events')}/logs/stream")
    log.wait("ready after")
    server.delete("streams-events")
    for one in (stream, entities, log):
        one.end(60)
    assert json.loads(stream.events[-2].data)["event_type"] == "ENDPOINT_DELETED"
    assert [event.name for event in entities.events] == ["event", "end"]


def test_who_may_not_see_the_endpoint_is_refused_before_any_line(server: Server, talker: str) -> None:
    for path in (f"{served(server, talker)}/logs/stream", f"{ENDPOINTS}/{talker}/events/stream"):
        answer = httpx.get(server.url + path, headers={"Authorization": f"Bearer {OTHER_TOKEN}"})
        assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")
        assert httpx.get(server.url + path).status_code == 401


def test_a_log_that_is_cut_is_followed_whole_and_open_streams_do_not_hold_the_server() -> None:
    """One server of small logs for both: the last thing it does is to stop."""
    with running_server(settings={"MOORAGE_REPLICA_LOG_BYTES": "8192"}) as server:
        model = Registry(server).register("misbehaves")
        server.create("streams-small", model.name, model.version)
        server.ready("streams-small")
        path = f"{served(server, 'streams-small')}/logs/stream"
        stream = Stream(server, path)
        stream.wait("ready after")
        for number in range(40):
            say(server, "streams-small", f"{number:05d} " + "x" * 1000)
            stream.wait(f"asked to {number:05d}")
        assert [line.split()[3] for line in stream.having("asked to")] == [f"{number:05d}" for number in range(40)]
        [file] = server.http.get(f"{served(server, 'streams-small')}/log-files").json()["log_files"]
        assert file["size"] < 16_384
        late = Stream(server, path)
        late.wait("asked to 00039")
        assert late.having("earlier lines were dropped")
        again = Stream(server, path, stream.events[-1].id)
        say(server, "streams-small", "end")
        again.wait("asked to end")
        assert len(again.lines) == 1
        events = Stream(server, f"{ENDPOINTS}/streams-small/events/stream")
        began = time.monotonic()
    assert time.monotonic() - began < 12.0, "streams held the server up"
    for one in (stream, late, again, events):
        assert one.ended.wait(1)
        assert not any(event.name == "end" for event in one.events)
