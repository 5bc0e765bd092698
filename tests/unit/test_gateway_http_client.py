"""The gateway's HTTP client against a server that says exactly what a test tells it to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from moorage.gateway.http_client import (
    AnswerTooLong,
    CannotConnect,
    ConnectionLost,
    ForbiddenAddress,
    HttpClient,
    parse_url,
)

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
Behaviour = Callable[[bytes, Reader, Writer], Awaitable[None]]


class Server:
    """Hands each request to `behave` and counts connections."""

    def __init__(self, behave: Behaviour) -> None:
        self.behave = behave
        self.connections = 0
        self.requests: list[bytes] = []
        self.ended = asyncio.Event()

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/path?query=1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")
                )
                request = head + await reader.readexactly(length)
                self.requests.append(request)
                await self.behave(request, reader, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.ended.set()
        finally:
            writer.close()


def saying(answer: bytes, *, close: bool = False) -> Behaviour:
    async def behave(_: bytes, __: Reader, writer: Writer) -> None:
        writer.write(answer)
        if close:
            await writer.drain()
            raise ConnectionResetError

    return behave


def run(work: Callable[[HttpClient], Awaitable[None]]) -> None:
    async def body() -> None:
        client = HttpClient(lambda _: False)
        try:
            async with asyncio.timeout(20):
                await work(client)
        finally:
            client.close()

    asyncio.run(body())


def test_a_request_says_what_it_is_told_and_its_answer_comes_back() -> None:
    async def work(client: HttpClient) -> None:
        async with Server(saying(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nX-Some: thing\r\n\r\nhi")) as server:
            answer = await client.post(parse_url(server.url), {"x-key": "käse"}, b"body")
            assert (answer.status, answer.headers[b"x-some"], await answer.read(10)) == (201, b"thing", b"hi")
            head, _, body = server.requests[0].partition(b"\r\n\r\n")
            assert head.startswith(b"POST /path?query=1 HTTP/1.1\r\n")
            assert "x-key: käse".encode() in head
            assert body == b"body"

    run(work)


def test_connections_are_used_again() -> None:
    async def work(client: HttpClient) -> None:
        async with Server(saying(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx")) as server:
            for _ in range(5):
                answer = await client.post(parse_url(server.url), {}, b"")
                assert await answer.read(10) == b"x"
            assert server.connections == 1

    run(work)


def test_chunks_arrive_as_they_are_sent() -> None:
    async def work(client: HttpClient) -> None:
        go_on = asyncio.Event()

        async def behave(_: bytes, __: Reader, writer: Writer) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
            await writer.drain()
            await go_on.wait()
            writer.write(b"3\r\ntwo\r\n0\r\n\r\n")

        async with Server(behave) as server:
            answer = await client.post(parse_url(server.url), {}, b"")
            assert await answer.chunk() == b"one"
            go_on.set()
            assert await answer.chunk() == b"two"
            assert await answer.chunk() == b""
            assert answer.complete

    run(work)


def test_an_answer_without_length_ends_with_its_connection() -> None:
    async def work(client: HttpClient) -> None:
        async with Server(saying(b"HTTP/1.0 200 OK\r\n\r\nall of it", close=True)) as server:
            for _ in range(2):
                answer = await client.post(parse_url(server.url), {}, b"")
                assert await answer.read(100) == b"all of it"
            assert server.connections == 2

    run(work)


@pytest.mark.parametrize(
    "cut",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nhal",
    ],
)
def test_an_answer_that_is_cut_off_is_not_taken_for_a_whole_one(cut: bytes) -> None:
    async def work(client: HttpClient) -> None:
        async with Server(saying(cut, close=True)) as server:
            answer = await client.post(parse_url(server.url), {}, b"")
            with pytest.raises(ConnectionLost) as lost:
                await answer.read(100)
            assert not lost.value.before_answer

    run(work)


def test_a_kept_connection_that_was_closed_is_replaced() -> None:
    async def work(client: HttpClient) -> None:
        served = 0

        async def behave(_: bytes, __: Reader, writer: Writer) -> None:
            nonlocal served
            served += 1
            if served == 2:
                raise ConnectionResetError  # the second request on the kept connection gets nothing
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx")

        async with Server(behave) as server:
            for _ in range(2):
                answer = await client.post(parse_url(server.url), {}, b"")
                assert await answer.read(10) == b"x"
            assert (served, server.connections) == (3, 2)

    run(work)


def test_a_request_is_sent_twice_at_most_where_no_answer_comes() -> None:
    async def work(client: HttpClient) -> None:
        async with Server(saying(b"", close=True)) as server:
            with pytest.raises(ConnectionLost) as lost:
                await client.post(parse_url(server.url), {}, b"")
            assert lost.value.before_answer
            assert len(server.requests) == server.connections == 2

    run(work)


def test_closing_an_unfinished_answer_ends_its_connection() -> None:
    async def work(client: HttpClient) -> None:
        async with Server(saying(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nx")) as server:
            answer = await client.post(parse_url(server.url), {}, b"")
            answer.close()
            await server.ended.wait()

    run(work)


def test_a_slow_reader_holds_the_sender_back_and_loses_nothing() -> None:
    size = 64 * 1024 * 1024

    async def work(client: HttpClient) -> None:
        sent = 0

        async def behave(_: bytes, __: Reader, writer: Writer) -> None:
            nonlocal sent
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
            for _ in range(size // 65536):
                writer.write(b"x" * 65536)
                await writer.drain()
                sent += 65536

        async with Server(behave) as server:
            answer = await client.post(parse_url(server.url), {}, b"")
            before = -1
            while before != sent:  # until nothing moves any more
                before = sent
                await asyncio.sleep(0.3)
            assert sent < size // 2
            assert len(await answer.read(size)) == size
            second = await client.post(parse_url(server.url), {}, b"")
            second.close()

    run(work)


def test_too_long_an_answer_is_refused() -> None:
    async def work(client: HttpClient) -> None:
        async with Server(saying(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n" + b"x" * 100)) as server:
            answer = await client.post(parse_url(server.url), {}, b"")
            with pytest.raises(AnswerTooLong):
                await answer.read(99)

    run(work)


@pytest.mark.parametrize(
    "nonsense", [b"SMTP ready\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"x-long: y\r\n" * 10_000 + b"\r\n"]
)
def test_what_is_no_http_answer_is_an_error(nonsense: bytes) -> None:
    async def work(client: HttpClient) -> None:
        async with Server(saying(nonsense)) as server:
            with pytest.raises(ConnectionLost):
                await client.post(parse_url(server.url), {}, b"")

    run(work)


def test_an_interim_answer_is_passed_over() -> None:
    async def work(client: HttpClient) -> None:
        both = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\ny"
        async with Server(saying(both)) as server:
            answer = await client.post(parse_url(server.url), {}, b"")
            assert (answer.status, await answer.read(9), b"link" in answer.headers) == (200, b"y", False)

    run(work)


def test_bytes_that_nobody_asked_for_end_the_connection() -> None:
    async def work(client: HttpClient) -> None:
        one = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx"
        async with Server(saying(one + one)) as server:
            for _ in range(2):
                answer = await client.post(parse_url(server.url), {}, b"")
                assert await answer.read(9) == b"x"
                await asyncio.sleep(0)
            assert server.connections == 2

    run(work)


def test_no_connection_says_why() -> None:
    async def work(client: HttpClient) -> None:
        async with Server(saying(b"")) as server:
            url = parse_url(server.url)
        with pytest.raises(CannotConnect):
            await client.post(url, {}, b"")
        with pytest.raises(CannotConnect, match="not known"):
            await client.post(parse_url("http://no-such-host.invalid/"), {}, b"")

    run(work)


def test_names_that_stand_for_forbidden_addresses_are_not_reached() -> None:
    async def work(_: HttpClient) -> None:
        asked: list[str] = []

        def forbidden(ip: str) -> bool:
            asked.append(ip)
            return True

        async with Server(saying(b"")) as server:
            strict = HttpClient(forbidden)
            with pytest.raises(ForbiddenAddress):
                await strict.post(parse_url(server.url.replace("127.0.0.1", "localhost")), {}, b"")
            assert server.connections == 0
            assert asked[0] in ("127.0.0.1", "::1")

    run(work)


def test_a_header_cannot_end_itself() -> None:
    async def work(client: HttpClient) -> None:
        async with Server(saying(b"")) as server:
            with pytest.raises(ValueError, match="x-evil"):
                await client.post(parse_url(server.url), {"x-evil": "a\r\nb: c"}, b"")
            assert server.connections == 0

    run(work)


@pytest.mark.parametrize("url", ["ftp://host/", "http:///path", "host", "http://host/a b"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        parse_url(url)
