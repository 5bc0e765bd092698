"""Streams in OpenAI's form reach the client whole and tidy, however cut, and never pass for sound when broken."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from replaying import EVENTS, openai_client

from moorage.external.exchange import StreamFailed, UnreadableAnswer, Usage
from moorage.external.pass_through import OpenAIChunks, PassThroughStream, usage_from

TEXT = "naïve — 你好 🚀"


def chunk(text: str | None = None, *, finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    delta = {} if text is None else {"content": text}
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
    beside = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "gpt-4o"}
    return {**beside, "choices": [choice], **more}


USAGE = {**chunk(), "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}}
CHUNKS = [chunk("", usage=None), chunk(TEXT, usage=None), chunk("!"), chunk(finish="stop"), USAGE]


def event(document: Any) -> bytes:
    return b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
CLEAN = b"".join(map(event, CHUNKS)) + DONE
UNENDED = b"".join(map(event, CHUNKS[:2]))


def each_cut(stream: bytes) -> Iterator[list[bytes]]:
    yield [stream]
    yield [stream[at : at + 1] for at in range(len(stream))]
    for at in range(1, len(stream)):
        yield [stream[:at], stream[at:]]


def passed(stream: PassThroughStream, pieces: list[bytes]) -> bytes:
    return b"".join(map(stream.feed, pieces)) + stream.end()


def fails(stream: PassThroughStream, pieces: list[bytes], error: type[Exception]) -> tuple[Exception, bytes]:
    """The error that the stream raises, and what can be passed on before it."""
    sent = b""
    try:
        for piece in pieces:
            sent += stream.feed(piece)
        sent += stream.end()
    except error as raised:
        return raised, sent + stream.unsent
    raise AssertionError(f"the stream did not raise {error.__name__}")


def read(stream: OpenAIChunks, pieces: list[bytes]) -> list[dict[str, Any]]:
    return [one for piece in pieces for one in stream.feed(piece)] + stream.end()


def test_a_clean_stream_passes_as_it_came_at_every_cut() -> None:
    for pieces in each_cut(CLEAN):
        stream = PassThroughStream()
        assert passed(stream, pieces) == CLEAN
        assert stream.finished
        assert stream.usage == Usage(9, 4)
        assert stream.text_characters == len(TEXT) + 1
        assert stream.failure is None


def test_chunks_are_the_same_at_every_cut() -> None:
    for pieces in each_cut(CLEAN):
        stream = OpenAIChunks()
        assert read(stream, pieces) == CHUNKS
        assert stream.finished
        assert stream.usage == Usage(9, 4)


def test_whole_events_are_not_copied_nor_kept_back() -> None:
    stream = PassThroughStream()
    whole = event(CHUNKS[0]) + event(CHUNKS[1])
    assert stream.feed(whole) is whole
    assert stream.feed(event(CHUNKS[2]) + b"data: {") == event(CHUNKS[2])
    assert not stream.finished


def test_usage_that_was_not_asked_for_comes_with_the_last_choice_at_every_cut() -> None:
    for pieces in each_cut(CLEAN):
        stream = PassThroughStream(merge_usage=True)
        events = passed(stream, pieces).split(b"\n\n")
        assert b"\n\n".join([*events[:3], b""]) == b"".join(map(event, CHUNKS[:3]))
        assert json.loads(events[3].removeprefix(b"data: ")) == {**CHUNKS[3], "usage": USAGE["usage"]}
        assert events[4:] == [b"data: [DONE]", b""]
        assert (stream.finished, stream.usage) == (True, Usage(9, 4))


def test_the_last_choice_of_several_waits_for_the_usage() -> None:
    stream = PassThroughStream(merge_usage=True, choices=2)
    ends = [chunk(finish="stop", index=0), chunk(finish="length", index=1)]
    assert stream.feed(event(ends[0])) == event(ends[0])
    assert stream.feed(event(ends[1])) == b""
    merged = stream.feed(event(USAGE)).removeprefix(b"data: ")
    assert json.loads(merged) == {**ends[1], "usage": USAGE["usage"]}


@pytest.mark.parametrize(
    "after",
    [
        [],
        [{**chunk(), "choices": [], "obfuscation": "x"}],
        [chunk(usage=USAGE["usage"])],
        [chunk(), chunk("!")],
    ],
)
@pytest.mark.parametrize("end", [DONE, b""])
def test_nothing_is_lost_where_usage_does_not_follow(after: list[Any], end: bytes) -> None:
    stream = PassThroughStream(merge_usage=True)
    said = event(chunk("a")) + event(chunk(finish="stop")) + b"".join(map(event, after))
    assert passed(stream, [said + end]) == said + DONE
    assert stream.finished


def test_the_last_choice_is_passed_on_before_an_error() -> None:
    stream = PassThroughStream(merge_usage=True)
    said = event(chunk("a")) + event(chunk(finish="stop"))
    failed, sent = fails(stream, [said, event({"error": {"message": "no"}})], StreamFailed)
    assert (str(failed), sent) == ("no", said)


UNTIDY = {
    "CRLF": CLEAN.replace(b"\n", b"\r\n"),
    "CR": CLEAN.replace(b"\n", b"\r"),
    "comments": b": keep-alive\n\n" + CLEAN.replace(b"data: ", b": waiting\n\n: still waiting\ndata: "),
    "ids and retry hints": CLEAN.replace(b"data: ", b"id: 7\nretry: 3000\ndata: "),
    "names": CLEAN.replace(b"data: ", b"event: message\ndata: "),
    "no space": CLEAN.replace(b"data: ", b"data:"),
    "more empty lines": b"\n" + CLEAN.replace(b"\n\n", b"\n\n\n\n\n"),
    "an odd number of empty lines": CLEAN.replace(b"\n\n", b"\n\n\n\n"),
    "JSON over several lines": CLEAN.replace(b', "created"', b',\ndata: "created"'),
    "events without data": CLEAN.replace(b"data: {", b"event: ping\n\ndata:\n\ndata:   \n\ndata: {"),
    "more after the end": CLEAN + b"data: {broken\n\n" + CLEAN,
    "nothing after the last line": CLEAN.removesuffix(b"\n\n"),
    "one line end after the last line": CLEAN.removesuffix(b"\n"),
    "no mark of the end": CLEAN.removesuffix(DONE),
    "no mark and no empty line": CLEAN.removesuffix(DONE).removesuffix(b"\n\n"),
}


@pytest.mark.parametrize("stream", UNTIDY.values(), ids=UNTIDY.keys())
def test_an_untidy_stream_is_passed_on_tidy_at_every_cut(stream: bytes) -> None:
    for pieces in each_cut(stream):
        tidied = PassThroughStream()
        events = passed(tidied, pieces).split(b"\n\n")
        assert all(one.startswith(b"data: ") and b"\n" not in one for one in events[:-1])
        assert [json.loads(one.removeprefix(b"data: ")) for one in events[:-2]] == CHUNKS
        assert events[-2:] == [b"data: [DONE]", b""]
        assert tidied.finished
        assert tidied.usage == Usage(9, 4)

        chunks = OpenAIChunks()
        assert read(chunks, pieces) == CHUNKS
        assert chunks.finished


def test_a_stream_that_broke_off_never_counts_as_finished() -> None:
    """Whatever the byte, up to the point where the model has said why it ended."""
    enough = CLEAN.index(b'"stop"')
    enough = CLEAN.index(b"}", CLEAN.index(b"]", enough)) + 1
    for length in range(len(CLEAN)):
        stream = PassThroughStream()
        out = passed(stream, [CLEAN[:length]])
        chunks = OpenAIChunks()
        read(chunks, [CLEAN[:length]])
        assert stream.finished == chunks.finished == (length >= enough), length
        assert out.endswith(DONE) == stream.finished
        assert out.removesuffix(DONE) == CLEAN[: len(out.removesuffix(DONE))], "half an event was passed on"


def test_every_choice_must_have_ended() -> None:
    one = event(chunk("a", finish="stop"))
    two = event(chunk("b", index=1, finish="length"))
    for stream in (PassThroughStream(choices=2), OpenAIChunks(2)):
        stream.feed(one)
        assert not stream.finish_seen
        stream.end()
        assert not stream.finished
    stream = PassThroughStream(choices=2)
    assert passed(stream, [one + two]) == one + two + DONE
    begun = PassThroughStream()
    begun.feed(event(chunk("b", index=1)) + one)
    assert not begun.finish_seen, "a choice that began has not ended"


@pytest.mark.parametrize(
    ("payload", "what"),
    [
        (b'{"choices": [}', "not JSON"),
        (b"<html>", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"choices": [1]}', "list of objects"),
        (b'{"choices": 1}', "list of objects"),
        (b'{"choices": [{"delta": [1]}]}', "list of objects"),
        (b'{"choices": [{"delta": {"content": "\xff"}}]}', "not JSON"),
    ],
)
def test_what_is_no_chunk_is_noticed_at_every_cut(payload: bytes, what: str) -> None:
    bad = event(CHUNKS[0]) + b"data: " + payload + b"\n\n" + CLEAN
    for pieces in each_cut(bad):
        error, before = fails(PassThroughStream(), pieces, UnreadableAnswer)
        assert what in str(error)
        assert before == event(CHUNKS[0])
        with pytest.raises(UnreadableAnswer, match=what):
            read(OpenAIChunks(), pieces)


def test_an_endless_event_is_refused() -> None:
    pieces = [b"data: " + b"x" * (1 << 20)] * 18
    error, _ = fails(PassThroughStream(), pieces, UnreadableAnswer)
    assert "longer than 16 MiB" in str(error)
    with pytest.raises(UnreadableAnswer, match="longer than 16 MiB"):
        read(OpenAIChunks(), pieces)


@pytest.mark.parametrize(
    ("document", "status", "message"),
    [
        ({"error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}}, 429, "slow down"),
        ({"error": {"message": "no money", "type": "insufficient_quota", "code": None}}, 429, "no money"),
        ({"error": {"message": "m", "code": 402}}, 402, "m"),
        ({"error": {"message": "m", "code": "400"}}, 400, "m"),
        ({"error": {"message": "m", "status": 503, "code": "x"}}, 503, "m"),
        ({"error": {"message": "m", "type": "invalid_request_error", "code": None}}, 400, "m"),
        ({"error": {"message": "m", "type": "server_error"}}, 500, "m"),
        ({"error": {"message": "m", "code": 200}}, 500, "m"),
        ({"error": {"message": "m", "code": "²"}}, 500, "m"),
        ({"error": "it broke", "status": 504}, 504, "it broke"),
        ({"error": {"code": 7}}, 500, "no reason given"),
        ({**chunk("x"), "error": {"message": "midway", "code": 502}}, 502, "midway"),
        ({"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "too many"}, 429, "too many"),
        ({"object": "error", "message": "too long", "code": 400}, 400, "too long"),
        ({"type": "error", "code": "server_error", "message": "gone", "sequence_number": 3}, 500, "gone"),
    ],
)
def test_an_error_in_the_stream_is_told(document: dict[str, Any], status: int, message: str) -> None:
    bad = UNENDED + event(document)
    for pieces in ([bad], [bad[:-2]], [bad[at : at + 1] for at in range(len(bad))]):
        stream = PassThroughStream()
        error, before = fails(stream, pieces, StreamFailed)
        assert isinstance(error, StreamFailed)
        assert (error.status, str(error)) == (status, message)
        assert before == UNENDED
        assert not stream.finished
        with pytest.raises(StreamFailed) as raised:
            read(OpenAIChunks(), pieces)
        assert raised.value.status == status


def test_an_error_that_is_null_is_none() -> None:
    stream = PassThroughStream()
    fine = event({**chunk("a"), "error": None})
    assert stream.feed(fine) == fine


def test_completions_are_counted_too() -> None:
    stream = PassThroughStream()
    text = {"object": "text_completion", "choices": [{"index": 0, "text": "four", "finish_reason": "stop"}]}
    assert passed(stream, [event(text)]) == event(text) + DONE
    assert stream.text_characters == 4


@pytest.mark.parametrize(
    ("delta", "seen"),
    [
        ({}, False),
        ({"role": "assistant", "content": ""}, False),
        ({"content": None, "tool_calls": None, "refusal": None}, False),
        ({"content": "a"}, True),
        ({"content": [{"type": "text", "text": "a"}]}, True),
        ({"tool_calls": [{"index": 0}]}, True),
        ({"reasoning_content": "a"}, True),
        ({"reasoning": "a"}, True),
        ({"refusal": "a"}, True),
    ],
)
def test_whether_something_of_the_answer_has_come(delta: dict[str, Any], seen: bool) -> None:
    stream = PassThroughStream()
    stream.feed(event({"choices": [{"index": 0, "delta": delta}]}))
    assert stream.content_seen is seen


def named(kind: str, **fields: Any) -> bytes:
    return b"event: %s\n" % kind.encode() + event({"type": kind, **fields})


RESPONSE = {"id": "resp_1", "usage": {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9}, "error": None}
RESPONSES = (
    named("response.created", response={"id": "resp_1", "usage": None})
    + named("response.output_text.delta", delta="Hi ")
    + named("response.output_text.delta", delta="🚀")
    + named("response.completed", response=RESPONSE)
)


def test_names_of_events_are_kept_where_they_matter() -> None:
    for pieces in each_cut(RESPONSES):
        stream = PassThroughStream(keep_names=True)
        assert passed(stream, pieces) == RESPONSES
        assert stream.finished
        assert stream.usage == Usage(7, 2)
        assert stream.text_characters == 4
        assert stream.failure is None
        assert stream.content_seen
    begun = PassThroughStream(keep_names=True)
    begun.feed(RESPONSES[: RESPONSES.index(b"event: response.output_text")])
    assert not begun.content_seen
    tidied = PassThroughStream(keep_names=True)
    assert passed(tidied, [RESPONSES.replace(b"event: ", b": x\nid: 1\nevent:").replace(b"\n", b"\r\n")]) == RESPONSES


def test_responses_that_break_off_or_fail_are_told() -> None:
    cut = PassThroughStream(keep_names=True)
    begun = RESPONSES[: RESPONSES.index(b"event: response.completed")]
    assert passed(cut, [begun]) == begun
    assert not cut.finished

    failed = PassThroughStream(keep_names=True)
    end = named("response.failed", response={**RESPONSE, "error": {"code": "rate_limit_exceeded", "message": "slow"}})
    assert passed(failed, [begun + end]) == begun + end
    assert failed.finished
    assert failed.failure is not None
    assert (failed.failure.status, str(failed.failure)) == (429, "slow")

    limited = PassThroughStream(keep_names=True)
    passed(limited, [begun + named("response.incomplete", response=RESPONSE)])
    assert limited.finished
    assert limited.failure is None


@pytest.mark.parametrize(
    ("document", "usage"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}, Usage(3, 4)),
        ({"prompt_tokens": 3, "total_tokens": 3}, Usage(3, 0)),
        ({"input_tokens": 3, "output_tokens": 4}, Usage(3, 4)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage(0, 0)),
        ({"prompt_tokens": -1, "completion_tokens": 4}, None),
        ({"prompt_tokens": "3", "completion_tokens": 4}, None),
        ({"prompt_tokens": True, "completion_tokens": 4}, None),
        ({}, None),
        (None, None),
        ([], None),
    ],
)
def test_usage_is_read_only_where_it_is_sound(document: Any, usage: Usage | None) -> None:
    assert usage_from(document) == usage


def test_the_last_usage_counts() -> None:
    stream = PassThroughStream()
    for written in (1, 2, 5):
        stream.feed(event(chunk("a", usage={"prompt_tokens": 9, "completion_tokens": written})))
    stream.feed(event(chunk("a", usage={"strange": 1})))
    assert stream.usage == Usage(9, 5)


@pytest.mark.parametrize("tear", [lambda data: data, lambda data: data.replace(b"\n", b"\r\n")], ids=["LF", "CRLF"])
def test_openais_client_reads_what_is_passed_on(tear: Callable[[bytes], bytes]) -> None:
    provider = tear(b": hello\n\n" + CLEAN.removesuffix(DONE))
    stream = PassThroughStream()
    pieces = [stream.feed(provider[at : at + 7]) for at in range(0, len(provider), 7)]
    with openai_client([*pieces, stream.end()], EVENTS) as (client, _):
        answer = client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "hi"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = list(answer)
    assert [one.model_dump(exclude_unset=True) for one in chunks] == CHUNKS


def test_openais_client_meets_the_end_of_a_broken_stream() -> None:
    """What it gets of a stream that broke off has no mark of the end, and nothing that it could not parse."""
    stream = PassThroughStream()
    with openai_client([passed(stream, [UNENDED + b'data: {"choi'])], EVENTS) as (client, _):
        answer = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}], stream=True)
        assert [one.choices[0].delta.content for one in answer] == ["", TEXT]
    assert isinstance(answer, openai.Stream)
    assert not stream.finished
