import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from moorage.gateway.transport import ReplicaGone, ReplicaLink, ReplicaTimeout
from moorage.replica import frames

SECONDS = 20.0


class FakeReplica:
    """The other end of a link: keeps what arrives, and does with it what the test says."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.connections = 0
        self.arrived: asyncio.Queue[tuple[frames.Frame, asyncio.StreamWriter]] = asyncio.Queue()
        self.reads: list[int] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        decoder = frames.Decoder()
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 20):
                found = decoder.feed(data)
                self.reads.append(len(found))
                for frame in found:
                    self.arrived.put_nowait((frame, writer))

    async def request(self) -> tuple[int, frames.RequestHead, bytes, asyncio.StreamWriter]:
        (kind, stream, payload), writer = await self.arrived.get()
        assert kind == frames.REQUEST
        return (stream, *frames.decode_request(payload), writer)

    async def canceled(self) -> int:
        (kind, stream, _), _ = await self.arrived.get()
        assert kind == frames.CANCEL
        return stream


def answer(stream: int, body: bytes, status: int = 200) -> bytes:
    return frames.encode_response(stream, status, 3, 40, 50, body)


def ask(link: ReplicaLink, body: bytes = b"body", seconds: float = 30.0) -> Coroutine[Any, Any, Any]:
    return link.request(1, seconds, b"application/json", b"an-id", body)


@contextlib.asynccontextmanager
async def replica_and_link() -> AsyncIterator[tuple[FakeReplica, ReplicaLink]]:
    folder = tempfile.mkdtemp(prefix="moorage-")
    replica = FakeReplica(str(Path(folder) / "r.sock"))
    await replica.start()
    link = ReplicaLink("r1", replica.path)
    try:
        yield replica, link
    finally:
        link.close()
        await replica.stop()
        shutil.rmtree(folder)


Scenario = Callable[[FakeReplica, ReplicaLink], Coroutine[Any, Any, None]]


def play(scenario: Scenario) -> None:
    """Run the scenario; nothing in it may wait for long."""

    async def run() -> None:
        async with asyncio.timeout(SECONDS), replica_and_link() as (replica, link):
            await scenario(replica, link)
            assert link.outstanding == 0

    asyncio.run(run())


def test_request_arrives_as_it_was_sent_and_its_answer_comes_back():
    async def scenario(replica, link):
        asking = asyncio.create_task(ask(link, b"the body", seconds=2.5))
        stream, head, body, writer = await replica.request()
        assert head == (1, 2500, "application/json", "an-id", "")
        assert body == b"the body"
        assert link.outstanding == 1
        writer.write(answer(stream, b"answered", status=418))
        head, body = await asking
        assert (head, body) == ((418, 3, 40, 50), b"answered")

    play(scenario)


def test_answers_find_their_requests_in_any_order_and_any_pieces():
    async def scenario(replica, link):
        asking = [asyncio.create_task(ask(link, b"%d" % number)) for number in range(5)]
        requests = [await replica.request() for _ in range(5)]
        sent = b"".join(answer(stream, b"to " + body) for stream, _, body, _ in reversed(requests))
        writer = requests[0][3]
        for at in range(0, len(sent), 7):
            writer.write(sent[at : at + 7])
            await asyncio.sleep(0)
        answers = await asyncio.gather(*asking)
        assert [body for _, body in answers] == [b"to %d" % number for number in range(5)]
        assert replica.connections == 1
        assert len({stream for stream, *_ in requests}) == 5

    play(scenario)


def test_requests_of_one_loop_turn_are_written_together():
    async def scenario(replica, link):
        first = asyncio.create_task(ask(link))
        stream, _, _, writer = await replica.request()
        writer.write(answer(stream, b""))
        await first
        replica.reads.clear()
        asking = [asyncio.create_task(ask(link)) for _ in range(10)]
        for _ in range(10):
            stream, _, _, writer = await replica.request()
            writer.write(answer(stream, b""))
        await asyncio.gather(*asking)
        assert replica.reads == [10]

    play(scenario)


def test_answer_to_nobody_and_frames_of_other_kinds_do_no_harm():
    async def scenario(replica, link):
        asking = asyncio.create_task(ask(link))
        stream, _, _, writer = await replica.request()
        writer.write(answer(stream + 1, b"stray") + frames.encode(frames.HELLO, stream, b"{}"))
        writer.write(answer(stream, b"mine") + answer(stream, b"twice"))
        assert (await asking).body == b"mine"

    play(scenario)


def test_request_fails_when_the_replica_closes_before_its_answer():
    async def scenario(replica, link):
        asking = [asyncio.create_task(ask(link)) for _ in range(3)]
        requests = [await replica.request() for _ in range(3)]
        stream, _, body, writer = requests[0]
        writer.write(answer(stream, body) + answer(requests[1][0], b"cut off")[:-3])
        writer.close()
        results = await asyncio.gather(*asking, return_exceptions=True)
        assert results[0].body == b"body"
        assert [type(result) for result in results[1:]] == [ReplicaGone, ReplicaGone]
        assert link.unreachable_since is not None

    play(scenario)


def test_link_connects_again_after_a_loss():
    async def scenario(replica, link):
        asking = asyncio.create_task(ask(link))
        (await replica.request())[3].transport.abort()
        with pytest.raises(ReplicaGone):
            await asking
        again = asyncio.create_task(ask(link))
        stream, _, _, writer = await replica.request()
        writer.write(answer(stream, b"again"))
        assert (await again).body == b"again"
        assert replica.connections == 2
        assert link.unreachable_since is None

    play(scenario)


@pytest.mark.parametrize("address", ["/nonexistent/r.sock", "127.0.0.1:1"])
def test_request_fails_when_there_is_no_replica(address):
    async def run():
        link = ReplicaLink("r1", address)
        before = time.monotonic()
        with pytest.raises(ReplicaGone, match="cannot connect"):
            await ask(link)
        assert link.unreachable_since >= before
        assert link.outstanding == 0

    asyncio.run(run())


def test_requests_that_come_while_it_connects_share_one_connection():
    async def scenario(replica, link):
        asking = [asyncio.create_task(ask(link)) for _ in range(4)]
        asking[0].cancel()
        for _ in range(3):
            stream, _, _, writer = await replica.request()
            writer.write(answer(stream, b""))
        await asyncio.gather(*asking[1:])
        assert replica.connections == 1

    play(scenario)


def test_request_that_is_never_answered_times_out_and_is_canceled_at_the_replica():
    async def scenario(replica, link):
        late = asyncio.create_task(ask(link, seconds=5))
        patient = asyncio.create_task(ask(link, seconds=500))
        stream, *_ = await replica.request()
        other, _, _, writer = await replica.request()
        link.expire(time.monotonic() + 1)
        await asyncio.sleep(0)
        assert not late.done()
        link.expire(time.monotonic() + 10)
        with pytest.raises(ReplicaTimeout):
            await late
        assert await replica.canceled() == stream
        writer.write(answer(stream, b"too late") + answer(other, b"in time"))
        assert (await patient).body == b"in time"

    play(scenario)


def test_caller_that_leaves_cancels_its_request_at_the_replica():
    async def scenario(replica, link):
        leaving = asyncio.create_task(ask(link))
        staying = asyncio.create_task(ask(link))
        first, *_ = await replica.request()
        second, _, _, writer = await replica.request()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert link.outstanding == 1
        assert await replica.canceled() == first
        writer.write(answer(second, b"stayed"))
        assert (await staying).body == b"stayed"

    play(scenario)


def test_closing_the_link_fails_what_waits():
    async def scenario(replica, link):
        asking = asyncio.create_task(ask(link))
        await replica.request()
        link.close()
        with pytest.raises(ReplicaGone):
            await asking

    play(scenario)


@pytest.mark.parametrize("garbage", [b"\xff" * 64, frames.encode(frames.RESPONSE, 10**6, b"x" * 3) + b"\xff" * 64])
def test_garbage_from_the_replica_ends_the_connection(garbage):
    async def scenario(replica, link):
        asking = asyncio.create_task(ask(link))
        _, _, _, writer = await replica.request()
        writer.write(garbage)
        with pytest.raises(ReplicaGone):
            await asking

    play(scenario)


async def outcome(asking: asyncio.Task[Any]) -> Any:
    """The exception of a request that must fail soon, or the request itself when it goes on waiting."""
    done, _ = await asyncio.wait([asking], timeout=SECONDS / 2)
    asking.cancel()
    [result] = await asyncio.gather(asking, return_exceptions=True)
    return result if done else asking


def test_answer_without_a_whole_head_fails_its_request():
    async def scenario(replica, link):
        asking = asyncio.create_task(ask(link))
        stream, _, _, writer = await replica.request()
        writer.write(frames.encode(frames.RESPONSE, stream, b"short"))
        assert isinstance(await outcome(asking), ReplicaGone)

    play(scenario)


def test_request_fails_when_the_connection_is_lost_before_it_is_used():
    async def scenario(replica, link):
        connect = link._open

        async def connect_and_lose():
            protocol = await connect()
            protocol.connection_lost(None)
            return protocol

        link._open = connect_and_lose
        assert isinstance(await outcome(asyncio.create_task(ask(link))), ReplicaGone)

    play(scenario)


def test_request_whose_time_is_over_before_it_is_sent_times_out():
    async def scenario(replica, link):
        asking = asyncio.create_task(ask(link, seconds=-0.01))
        link.expire(time.monotonic())
        assert isinstance(await outcome(asking), ReplicaTimeout)

    play(scenario)


def test_request_fails_when_the_replica_closes_every_new_connection():
    async def scenario(replica, link):
        await replica.stop()
        accepting = await asyncio.start_unix_server(lambda _, writer: writer.transport.abort(), replica.path)
        try:
            for _ in range(20):
                assert isinstance(await outcome(asyncio.create_task(ask(link))), ReplicaGone)
        finally:
            accepting.close()

    play(scenario)


def test_link_is_connected_before_it_is_needed_and_not_too_often_when_that_fails():
    async def scenario(replica, link):
        link.keep_connected(time.monotonic())
        link.keep_connected(time.monotonic())
        asking = asyncio.create_task(ask(link))
        stream, _, _, writer = await replica.request()
        writer.write(answer(stream, b""))
        await asking
        link.keep_connected(time.monotonic())
        assert replica.connections == 1

        await replica.stop()
        Path(replica.path).unlink(missing_ok=True)
        with pytest.raises(ReplicaGone):
            await ask(link)
        await replica.start()
        assert link.unreachable_since is not None
        tasks = asyncio.all_tasks()
        link.keep_connected(link.unreachable_since + 0.5)
        assert asyncio.all_tasks() == tasks
        link.keep_connected(link.unreachable_since + 2)
        while link.unreachable_since is not None or replica.connections < 2:  # noqa: ASYNC110  other tasks change it
            await asyncio.sleep(0)

    play(scenario)
