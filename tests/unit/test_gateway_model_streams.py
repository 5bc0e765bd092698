"""Answers of registered models in pieces, from a replica's frames to a client's events, and their forms."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
import pytest
from test_gateway_transport import FakeReplica, play

from moorage.api.errors import BadRequest
from moorage.api.routing import ReplicaFault
from moorage.api.surfaces import Surface
from moorage.external.sse import SseParser
from moorage.gateway.model_answers import AnswerForm, ModelError, answer_form, asks_for_stream, body_for_model
from moorage.gateway.model_streams import ModelStream
from moorage.gateway.transport import ReplicaGone, ReplicaLink, ReplicaStream, ReplicaTimeout
from moorage.gateway.watching import ClientLeft
from moorage.replica import frames

WINDOW = frames.STREAM_WINDOW_BYTES
FOREVER = 30.0
REFUSED = b'{"error_code":"BAD_REQUEST","message":"no","request_id":"r"}'


def ask(link: ReplicaLink, seconds: float = FOREVER) -> asyncio.Task[ReplicaStream]:
    return asyncio.create_task(link.stream(1, seconds, b"application/json", b"an-id", b"{}"))


def end(stream: int, status: int = 200, body: bytes = b"") -> bytes:
    return frames.encode_response(stream, status, 1, 40, 50, body)


def piece(stream: int, document: bytes) -> bytes:
    return frames.encode(frames.DATA, stream, document)


async def begun(replica: FakeReplica, link: ReplicaLink, *documents: bytes) -> tuple[ReplicaStream, int, Any]:
    """A stream with these pieces in one write, its number, and the writer of the replica."""
    asking = ask(link)
    number, _, _, writer = await replica.request()
    writer.write(b"".join(piece(number, one) for one in documents))
    return await asking, number, writer


async def expired(link: ReplicaLink, work: asyncio.Task[Any]) -> None:
    """Sweep until the work has ended."""
    while not work.done():
        link.expire(time.monotonic())
        await asyncio.sleep(0.005)


class TestTransport:
    def test_request_says_that_it_wants_pieces(self):
        async def scenario(replica, link):
            asking = ask(link, 2.5)
            number, head, body, writer = await replica.request()
            assert (head.flags, body) == (1 | frames.FLAG_STREAM, b"{}")
            assert 2000 < head.deadline_ms <= 2500
            assert link.outstanding == 1
            writer.write(end(number))
            stream = await asking
            assert await stream.next(FOREVER) == []
            assert stream.end.head == (200, 1, 40, 50)
            stream.close()

        play(scenario)

    def test_pieces_come_in_order_and_together_where_they_arrived_together(self):
        async def scenario(replica, link):
            stream, number, writer = await begun(replica, link, b"1", b"2")
            assert await stream.next(FOREVER) == [b"1", b"2"]
            waiting = asyncio.create_task(stream.next(FOREVER))
            await asyncio.sleep(0.01)
            assert not waiting.done()
            writer.write(piece(number, b"3") + end(number, 418, b"body"))
            assert await waiting == [b"3"]
            assert await stream.next(FOREVER) == []
            assert (stream.end.head.status, stream.end.body) == (418, b"body")
            stream.close()
            stream.close()

        play(scenario)

    def test_what_was_read_is_credited_and_nothing_else(self):
        async def scenario(replica, link):
            half = b"x" * (WINDOW // 2)
            stream, number, writer = await begun(replica, link, half)
            await stream.next(FOREVER)
            assert replica.arrived.empty()
            waiting = asyncio.create_task(stream.next(FOREVER))
            (kind, of, payload), _ = await replica.arrived.get()
            assert (kind, of, frames.decode_credit(payload)) == (frames.CREDIT, number, len(half))
            writer.write(piece(number, b"little"))
            await waiting
            waiting = asyncio.create_task(stream.next(FOREVER))
            writer.write(end(number))
            assert await waiting == []
            stream.close()
            await asyncio.sleep(0.01)
            assert replica.arrived.empty()  # neither credit for little nor a cancel of what has ended

        play(scenario)

    def test_closing_in_the_middle_cancels(self):
        async def scenario(replica, link):
            stream, number, writer = await begun(replica, link, b"1")
            stream.close()
            assert await replica.canceled() == number
            writer.write(piece(number, b"late") + end(number))  # and nobody minds
            other, *_ = await begun(replica, link, b"1")
            assert await other.next(FOREVER) == [b"1"]
            other.close()

        play(scenario)

    def test_cancelled_wait_for_the_first_piece_cancels(self):
        async def scenario(replica, link):
            asking = ask(link)
            number, *_ = await replica.request()
            asking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asking
            assert await replica.canceled() == number

        play(scenario)

    def test_replica_that_goes_before_or_in_the_middle(self):
        async def scenario(replica, link):
            asking = ask(link)
            *_, writer = await replica.request()
            writer.transport.abort()
            with pytest.raises(ReplicaGone):
                await asking
            stream, _, writer = await begun(replica, link, b"1")
            writer.transport.abort()
            assert await stream.next(FOREVER) == [b"1"]
            with pytest.raises(ReplicaGone):
                await stream.next(FOREVER)
            stream.close()

        play(scenario)

    def test_time_is_up_before_or_in_the_middle(self):
        async def scenario(replica, link):
            asking = ask(link, 0.02)
            number, *_ = await replica.request()
            await expired(link, asking)
            with pytest.raises(ReplicaTimeout):
                asking.result()
            assert await replica.canceled() == number
            with pytest.raises(ReplicaTimeout):
                await ask(link, 0.0)
            await replica.canceled()
            stream, number, _ = await begun(replica, link, b"1")
            await stream.next(FOREVER)
            waiting = asyncio.create_task(stream.next(0.02))
            await expired(link, waiting)
            with pytest.raises(ReplicaTimeout):
                waiting.result()
            stream.close()
            assert await replica.canceled() == number

        play(scenario)

    def test_stream_that_nobody_reads_at_the_moment_is_not_late(self):
        async def scenario(replica, link):
            stream, number, writer = await begun(replica, link, b"1")
            await stream.next(0.001)
            link.expire(1e12)
            writer.write(piece(number, b"2"))
            assert await stream.next(FOREVER) == [b"2"]
            stream.close()

        play(scenario)


class Client:
    """What a client was sent, and what was written down of it. When it is `full` it takes nothing in any more."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.ended = False
        self.entered: list[tuple[int, bytes, bool, bool]] = []
        self.faults: list[tuple[str, ReplicaFault]] = []
        self.full = False

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
            return
        if self.full:
            await asyncio.Event().wait()
        assert not self.ended
        self.body += message["body"]
        self.ended = not message.get("more_body", False)
        if self.ended:
            assert self.entered  # before the last byte goes out

    def headers_of(self, head: frames.ResponseHead) -> list[tuple[bytes, bytes]]:
        return [(b"x-status", b"%d" % head.status)]

    def enter(self, head: frames.ResponseHead, answer: bytes, *, streamed: bool, partial: bool) -> None:
        self.entered.append((head.status, answer, streamed, partial))


class Books:
    def __init__(self, client: Client) -> None:
        self.headers = client.headers_of
        self.enter = client.enter


Replying = Callable[[int, Any], Coroutine[Any, Any, None]]


def relayed(
    reply: Replying,
    form: AnswerForm | None = None,
    idle: float = FOREVER,
    kept: int | None = 1 << 20,
) -> tuple[Client, BaseException | None]:
    """What a client gets of what the replica does to its one request; and what it ended with."""
    found: list[Any] = []

    async def scenario(replica: FakeReplica, link: ReplicaLink) -> None:
        client = Client()
        relay = ModelStream(form or AnswerForm(), Books(client), client.send, idle_seconds=idle, most_kept=kept)
        asking = ask(link)
        number, _, _, writer = await replica.request()
        replying = asyncio.create_task(reply(number, writer))
        stream = await asking
        passing = asyncio.create_task(
            relay.pass_on(stream, 0.0, lambda one, fault: client.faults.append((one, fault)))
        )
        await expired(link, passing)
        await replying
        stream.close()
        if passing.exception() is not None:
            relay.enter(frames.ResponseHead(499, 1, 0, 0), partial=True)
        found.extend((client, passing.exception()))

    play(scenario)
    return found[0], found[1]


def replies(*documents: bytes, status: int = 200, body: bytes = b"") -> Replying:
    """Each piece on its own, and the end."""

    async def reply(number: int, writer: Any) -> None:
        for one in documents:
            writer.write(piece(number, one))
            await asyncio.sleep(0.002)
        writer.write(end(number, status, body))

    return reply


def events(body: bytes) -> list[Any]:
    parser = SseParser()
    data = [one.data for one in (*parser.feed(body), *parser.end())]
    return [one if one == b"[DONE]" else orjson.loads(one) for one in data]


class TestRelay:
    def test_each_piece_is_one_line_and_done_the_last(self):
        client, error = relayed(replies(b'{"a": 1}', b'"text"'))
        assert error is None
        assert client.body == b'data: {"a": 1}\n\ndata: "text"\n\ndata: [DONE]\n\n'
        assert client.headers[b"content-type"] == b"text/event-stream; charset=utf-8"
        assert (client.status, client.headers[b"x-status"], client.ended) == (200, b"200", True)
        assert client.entered == [(200, client.body, True, False)]

    def test_stream_of_nothing_is_its_end(self):
        client, _ = relayed(replies())
        assert (client.status, client.body) == (200, b"data: [DONE]\n\n")

    def test_what_fails_before_the_first_piece_is_an_ordinary_answer(self):
        client, _ = relayed(replies(status=400, body=REFUSED))
        assert (client.status, client.body) == (400, REFUSED)
        assert client.headers[b"content-type"] == b"application/json"
        assert client.entered == [(400, REFUSED, False, False)]

    def test_answer_of_a_replica_that_knows_no_streams_is_passed_on_whole(self):
        client, _ = relayed(replies(body=b'{"predictions": [1]}'))
        assert (client.status, client.body) == (200, b'{"predictions": [1]}')

    def test_what_fails_in_the_middle_is_the_last_event(self):
        client, _ = relayed(replies(b"1", status=400, body=REFUSED))
        first, last = events(client.body)
        assert first == 1
        assert last == {
            "error_code": "BAD_REQUEST", "message": "no", "request_id": "r",
            "error": {"message": "no", "type": "invalid_request_error", "param": None, "code": "BAD_REQUEST"},
        }  # fmt: skip
        assert client.status == 200
        assert client.ended
        assert client.entered == [(400, client.body, True, True)]

    def test_replica_that_goes_in_the_middle_is_reported_and_told(self):
        async def reply(number: int, writer: Any) -> None:
            writer.write(piece(number, b"1"))
            await asyncio.sleep(0.01)
            writer.transport.abort()

        client, _ = relayed(reply)
        assert client.faults == [("r1", ReplicaFault.UNREACHABLE)]
        assert events(client.body)[-1]["error_code"] == "INTERNAL_ERROR"
        assert [(status, partial) for status, _, _, partial in client.entered] == [(500, True)]

    def test_model_that_stands_still_is_reported_and_told(self):
        async def reply(number: int, writer: Any) -> None:
            writer.write(piece(number, b"1"))

        client, _ = relayed(reply, idle=0.05)
        assert client.faults == [("r1", ReplicaFault.TIMED_OUT)]
        assert events(client.body)[-1]["error_code"] == "DEADLINE_EXCEEDED"
        assert client.entered[0][0] == 504

    def test_client_that_takes_nothing_in_is_let_go(self):
        async def scenario(replica: FakeReplica, link: ReplicaLink) -> None:
            client = Client()
            client.full = True
            stream, *_ = await begun(replica, link, b"1")
            relay = ModelStream(AnswerForm(), Books(client), client.send, idle_seconds=0.05, most_kept=9)
            with pytest.raises(ClientLeft):
                await relay.pass_on(stream, 0.0, lambda *_: None)
            stream.close()
            relay.enter(frames.ResponseHead(499, 1, 0, 0), partial=True)
            assert client.entered == [(499, b"data: 1\n\n", True, True)]

        play(scenario)

    @pytest.mark.parametrize(("kept", "whole"), [(None, False), (0, False), (20, False), (1 << 20, True)])
    def test_what_is_kept_is_bounded(self, kept, whole):
        client, _ = relayed(replies(*[b"1" * 10] * 9), kept=kept)
        answer = client.entered[0][1]
        assert client.body.startswith(answer)
        assert (answer == client.body) is whole
        assert len(answer) <= (-1 if kept is None else kept) + 20 or whole

    def test_pieces_get_the_form_of_the_route(self):
        client, _ = relayed(replies(b'"Hel"', b'"lo"'), form=answer_form(Surface.CHAT, "app", "r"))
        *chunks, done = events(client.body)
        assert done == b"[DONE]"
        assert [one["choices"][0]["delta"].get("content") for one in chunks] == ["Hel", "lo", None]


@pytest.mark.parametrize(
    ("body", "streams"),
    [
        (b'{"stream": true}', True),
        (b'{"messages": [], "stream" : true }', True),
        (b'{"stream": false, "stream": true}', True),
        (b'{"stream": false}', False),
        (b'{"stream": 1}', False),
        (b'{"stream": "true"}', False),
        (b'{"a": {"stream": true}}', False),
        (b'{"dataframe_records": [{"stream": true}]}', False),
        (b'["stream", true]', False),
        (b'"stream": true', False),
        (b"stream,x\ntrue,1\n", False),
        (b'{"a": "\\"stream\\": true"}', False),
        (b"", False),
    ],
)
def test_a_stream_is_asked_for_at_the_top_level_alone(body, streams):
    assert asks_for_stream(body) is streams


def test_model_gets_all_but_the_name_of_its_endpoint():
    document = {"model": "app", "messages": [1], "custom_inputs": {"model": "x"}, "stream": True}
    assert orjson.loads(body_for_model(Surface.CHAT, document)) == {k: document[k] for k in document if k != "model"}
    assert document["model"] == "app"


@pytest.mark.parametrize("surface", [Surface.RESPONSES, Surface.EMBEDDINGS])
def test_text_as_input_of_responses_is_a_users_message(surface):
    passed = orjson.loads(body_for_model(surface, {"model": "app", "input": "hello"}))
    message = [{"role": "user", "content": "hello"}]
    assert passed == {"input": message if surface is Surface.RESPONSES else "hello"}


def whole(surface: Surface, answer: Any, status: int = 200) -> Any:
    raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return orjson.loads(answer_form(surface, "app", "an-id").whole(status, raw))


def chunks(*answers: Any) -> list[Any]:
    form = answer_form(Surface.CHAT, "app", "an-id")
    text = b"".join(form.event(json.dumps(one).encode()) for one in answers) + form.last()
    *found, done = events(text)
    assert done == b"[DONE]"
    return found


def delta(**said: Any) -> dict[str, Any]:
    return {"delta": {"id": "m", **said}}


class TestForms:
    def test_on_invocations_nothing_is_changed(self):
        form = answer_form(None, "app", "an-id")
        assert form.whole(200, b"x") == form.whole(400, b"x") == b"x"
        assert form.event(b'{"delta": {}}') == b'data: {"delta": {}}\n\n'

    def test_completion_keeps_what_it_says_and_gets_what_it_lacks(self):
        choices = [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "length"}]
        given = {"choices": choices, "id": "mine", "model": None, "usage": {"total_tokens": 1}, "more": None}
        found = whole(Surface.CHAT, given)
        assert (found["id"], found["model"], found["object"]) == ("mine", "app", "chat.completion")
        assert (found["choices"], found["usage"], found["more"]) == (choices, {"total_tokens": 1}, None)

    @pytest.mark.parametrize("answer", ["hi", ["hi"], {"role": "assistant", "content": "hi"}])
    def test_text_is_a_completion(self, answer):
        found = whole(Surface.CHAT, answer)
        assert found["object"] == "chat.completion"
        assert found["id"] == "chatcmpl-an-id"
        assert found["choices"] == [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hi"},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ]

    def test_agents_last_message_is_the_choice(self):
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        messages = [
            {"role": "assistant", "content": "first", "id": "1"},
            {"role": "assistant", "content": "", "id": "2", "tool_calls": [call]},
            {"role": "tool", "content": "result", "id": "3"},
        ]
        found = whole(Surface.CHAT, {"messages": messages, "custom_outputs": {"a": 1}, "usage": {"total_tokens": 2}})
        (choice,) = found["choices"]
        assert choice["message"] == {"role": "assistant", "content": "", "tool_calls": [call]}
        assert choice["finish_reason"] == "tool_calls"
        assert (found["messages"], found["custom_outputs"]) == (messages, {"a": 1})
        assert found["usage"] == {"total_tokens": 2}
        assert whole(Surface.CHAT, {"messages": messages[:1], "finish_reason": "length"})["choices"][0][
            "finish_reason"
        ] == "length"

    @pytest.mark.parametrize("surface", [Surface.CHAT, Surface.RESPONSES, Surface.COMPLETIONS, Surface.EMBEDDINGS])
    @pytest.mark.parametrize("answer", [{"predictions": [1]}, [1, 2], 3, None, {"messages": []}, {"messages": [1]}])
    def test_answer_of_no_known_shape_goes_out_as_it_is(self, surface, answer):
        assert whole(surface, answer) == answer

    def test_answer_that_cannot_be_read_goes_out_as_it_is(self):
        assert answer_form(Surface.CHAT, "app", "an-id").whole(200, b'{"choices": [NaN]}') == b'{"choices": [NaN]}'
        assert answer_form(Surface.CHAT, "app", "an-id").event(b"[NaN]") == b"data: [NaN]\n\n"

    def test_response_gets_what_it_lacks(self):
        output = [{"type": "message", "id": "m"}]
        found = whole(Surface.RESPONSES, {"output": output, "status": "incomplete", "custom_outputs": {"a": 1}})
        assert (found["id"], found["object"], found["status"]) == ("resp_an-id", "response", "incomplete")
        assert (found["output"], found["custom_outputs"], found["model"]) == (output, {"a": 1}, "app")

    def test_events_of_responses_are_the_models_own(self):
        form = answer_form(Surface.RESPONSES, "app", "an-id")
        event = b'{"type": "response.output_text.delta", "delta": "x"}'
        assert form.event(event) == b"data: " + event + b"\n\n"
        (failed,) = events(form.failed(ModelError(400, REFUSED)))
        assert (failed["type"], failed["code"], failed["message"]) == ("error", "BAD_REQUEST", "no")
        assert failed["error"]["message"] == failed["message"]

    @pytest.mark.parametrize("surface", [Surface.CHAT, Surface.RESPONSES, Surface.COMPLETIONS])
    def test_errors_have_the_member_that_openais_clients_read(self, surface):
        found = whole(surface, REFUSED, status=400)
        assert found["error"] == {
            "message": "no", "type": "invalid_request_error", "param": None, "code": "BAD_REQUEST"
        }  # fmt: skip
        assert (found["error_code"], found["request_id"]) == ("BAD_REQUEST", "r")
        assert whole(surface, b"not json", status=500)["error"]["type"] == "api_error"

    def test_agents_stream_is_one_of_completions(self):
        found = chunks(delta(role="assistant", content="a"), delta(role="assistant", content="b"))
        assert [one["choices"][0]["delta"] for one in found] == [
            {"role": "assistant", "content": "a"}, {"content": "b"}, {}
        ]  # fmt: skip
        assert [one["choices"][0]["finish_reason"] for one in found] == [None, None, "stop"]
        assert {(one["id"], one["object"], one["model"]) for one in found} == {
            ("chatcmpl-an-id", "chat.completion.chunk", "app")
        }

    def test_agents_own_end_is_not_said_twice(self):
        found = chunks(delta(content="a"), {**delta(content=""), "finish_reason": "length", "usage": {"x": 1}})
        assert [one["choices"][0]["finish_reason"] for one in found] == [None, "length"]
        assert found[-1]["usage"] == {"x": 1}

    def test_calls_of_tools_are_numbered_through_the_stream(self):
        def call(key: str) -> dict[str, Any]:
            return {"id": key, "type": "function", "function": {"name": "f", "arguments": "{}"}}

        found = chunks(
            delta(role="assistant", content="", tool_calls=[call("c1"), call("c2")]),
            delta(role="tool", content="result", tool_call_id="c1"),
            delta(role="assistant", tool_calls=[call("c3")]),
        )
        told = [one["choices"][0]["delta"] for one in found]
        assert [[one["index"] for one in part.get("tool_calls", [])] for part in told] == [[0, 1], [], [2], []]
        assert told[1] == {}
        assert found[1]["delta"]["content"] == "result"

    def test_chunks_of_completions_keep_what_they_say(self):
        given = {"choices": [{"index": 0, "delta": {"content": "x"}}], "id": None, "created": 5}
        (found,) = chunks(given)
        assert found == {**given, "id": "chatcmpl-an-id", "model": "app", "object": "chat.completion.chunk"}

    def test_objects_of_no_known_shape_stay_as_they_are(self):
        assert chunks({"number": 1}, [1, 2], {"delta": "x"}) == [{"number": 1}, [1, 2], {"delta": "x"}]

    def test_anthropics_clients_are_told_where_to_go(self):
        with pytest.raises(BadRequest, match="Anthropic"):
            answer_form(Surface.MESSAGES, "app", "an-id")
