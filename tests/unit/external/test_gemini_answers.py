"""Gemini's answers and streams in OpenAI's form."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from moorage.api.errors import BadRequest
from moorage.api.external_models import ExternalTask
from moorage.external.exchange import Call, StreamFailed, UnreadableAnswer, Usage
from moorage.external.gemini_answers import chat_answer
from moorage.external.gemini_embeddings import batch_answer, batch_request, predict_answer, predict_request
from moorage.external.gemini_stream import GeminiStream

CHAT = Call(ExternalTask.CHAT, {"messages": []}, False, "chatcmpl-1", 1700000000)


def candidate(*parts: dict[str, Any], reason: str | None = "STOP", **more: Any) -> dict[str, Any]:
    ended = {} if reason is None else {"finishReason": reason}
    return {"content": {"role": "model", "parts": list(parts)}, **ended, **more}


def answered(*candidates: dict[str, Any], **more: Any) -> dict[str, Any]:
    return chat_answer("gemini-x", CHAT, json.dumps({"candidates": list(candidates), **more}).encode()).body


def only_choice(*parts: dict[str, Any], reason: str = "STOP", **more: Any) -> dict[str, Any]:
    [choice] = answered(candidate(*parts, reason=reason, **more))["choices"]
    assert isinstance(choice, dict)
    return choice


def test_an_answer_is_a_chat_completion() -> None:
    body = {
        "candidates": [candidate({"text": "Plan", "thought": True}, {"text": "Guten "}, {"text": "Tag"})],
        "usageMetadata": {
            "promptTokenCount": 10,
            "toolUsePromptTokenCount": 2,
            "cachedContentTokenCount": 4,
            "candidatesTokenCount": 5,
            "thoughtsTokenCount": 3,
            "totalTokenCount": 20,
        },
        "modelVersion": "gemini-2.5-flash-001",
        "responseId": "r-1",
    }
    answer = chat_answer("gemini-x", CHAT, json.dumps(body).encode())
    assert answer.usage == Usage(12, 8)
    assert answer.body == {
        "id": "r-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "gemini-2.5-flash-001",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Guten Tag"},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {
            "prompt_tokens": 12,
            "completion_tokens": 8,
            "total_tokens": 20,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 3},
        },
    }
    ChatCompletion.model_validate(answer.body)


def test_what_gemini_does_not_say_of_itself_comes_from_the_call() -> None:
    body = answered(candidate({"text": "x"}))
    assert (body["id"], body["model"]) == ("chatcmpl-1", "gemini-x")
    assert "usage" not in body
    assert chat_answer("m", CHAT, b'{"candidates":[{"finishReason":"STOP"}]}').usage is None


@pytest.mark.parametrize(
    ("reason", "finish_reason"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("CONTINUATION", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("LANGUAGE", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("IMAGE_SAFETY", "content_filter"),
        ("MODEL_ARMOR", "content_filter"),
        ("OTHER", "stop"),
        ("MALFORMED_FUNCTION_CALL", "stop"),
        ("SOMETHING_NEW", "stop"),
    ],
)
def test_why_an_answer_with_text_ended(reason: str, finish_reason: str) -> None:
    assert only_choice({"text": "some"}, reason=reason)["finish_reason"] == finish_reason


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "MALFORMED_RESPONSE"])
def test_a_failed_call_with_nothing_before_it_is_no_answer(reason: str) -> None:
    with pytest.raises(UnreadableAnswer, match=f"{reason}: bad call"):
        only_choice(reason=reason, finishMessage="bad call")


def test_a_blocked_answer_says_why() -> None:
    choice = only_choice(reason="SAFETY")
    assert choice["finish_reason"] == "content_filter"
    assert choice["message"] == {"role": "assistant", "content": "", "refusal": "The answer was blocked: SAFETY."}
    assert only_choice(reason="SPII", finishMessage="A name.")["message"]["refusal"] == "A name."
    assert "refusal" not in only_choice({"text": "half"}, reason="SAFETY")["message"]


@pytest.mark.parametrize(
    ("feedback", "words"),
    [
        ({"blockReason": "PROHIBITED_CONTENT"}, "The prompt was blocked: PROHIBITED_CONTENT."),
        ({"blockReason": "SAFETY", "blockReasonMessage": "Violent."}, "Violent."),
    ],
)
def test_a_blocked_prompt_is_an_answer(feedback: dict[str, str], words: str) -> None:
    body = json.dumps({"promptFeedback": feedback, "usageMetadata": {"promptTokenCount": 4}}).encode()
    answer = chat_answer("m", CHAT, body)
    [choice] = answer.body["choices"]
    assert choice["finish_reason"] == "content_filter"
    assert choice["message"] == {"role": "assistant", "content": "", "refusal": words}
    assert answer.usage == Usage(4, 0)
    ChatCompletion.model_validate(answer.body)

    stream = GeminiStream("m", CHAT)
    [chunk] = stream.feed(b"data: " + body + b"\n\n")
    assert chunk["choices"][0]["delta"]["refusal"] == words
    assert chunk["usage"]["prompt_tokens"] == 4
    assert stream.finished
    assert stream.end() == []


CALLS = (
    {"functionCall": {"name": "weather", "args": {"place": "Köln"}}, "thoughtSignature": "c2ln"},
    {"functionCall": {"name": "clock"}},
    {"functionCall": {"id": "given", "name": "clock", "args": {}}},
)


def test_function_calls_become_tool_calls() -> None:
    choice = only_choice(*CALLS)
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    first, second, third = choice["message"]["tool_calls"]
    assert first["function"] == {"name": "weather", "arguments": '{"place":"Köln"}'}
    assert first["extra_content"] == {"google": {"thought_signature": "c2ln"}}
    assert second["function"] == {"name": "clock", "arguments": "{}"}
    assert "extra_content" not in second
    assert third["id"] == "given"
    assert first["id"] != second["id"]
    for call in (first, second):
        assert call["id"].startswith("call_")
        assert len(call["id"]) <= 40, "OpenAI takes no longer ones back"


def test_made_up_ids_are_the_same_for_the_same_call_alone() -> None:
    def ids(call: Call) -> list[str]:
        body = json.dumps({"candidates": [candidate(CALLS[0]), candidate(CALLS[0])]}).encode()
        choices = chat_answer("m", call, body).body["choices"]
        return [choice["message"]["tool_calls"][0]["id"] for choice in choices]

    other = Call(ExternalTask.CHAT, {}, False, "chatcmpl-2", 0)
    assert ids(CHAT) == ids(CHAT)
    assert len({*ids(CHAT), *ids(other)}) == 4


def test_text_and_calls_stand_side_by_side() -> None:
    choice = only_choice({"text": "Looking"}, CALLS[1], reason="MAX_TOKENS")
    assert choice["message"]["content"] == "Looking"
    assert choice["finish_reason"] == "length", "arguments may be cut off"


def test_several_candidates_are_several_choices() -> None:
    body = answered(candidate({"text": "a"}), candidate({"text": "b"}, index=1, reason="MAX_TOKENS"))
    assert [(one["index"], one["message"]["content"], one["finish_reason"]) for one in body["choices"]] == [
        (0, "a", "stop"),
        (1, "b", "length"),
    ]


LOGPROBS = {
    "chosenCandidates": [
        {"token": "Hé", "tokenId": 7, "logProbability": -0.5},
        {"token": "!", "logProbability": "-Infinity"},
    ],
    "topCandidates": [{"candidates": [{"token": "Hé", "logProbability": -0.5}, {"token": "Ho"}]}],
}


def test_log_probabilities_are_those_of_openai() -> None:
    choice = only_choice({"text": "Hé!"}, logprobsResult=LOGPROBS)
    first, second = choice["logprobs"]["content"]
    assert first == {
        "token": "Hé",
        "logprob": -0.5,
        "bytes": [72, 195, 169],
        "top_logprobs": [
            {"token": "Hé", "logprob": -0.5, "bytes": [72, 195, 169]},
            {"token": "Ho", "logprob": 0.0, "bytes": [72, 111]},
        ],
    }
    assert second == {"token": "!", "logprob": -9999.0, "bytes": [33], "top_logprobs": []}
    assert math.isfinite(second["logprob"]), "JSON has no infinity"
    ChatCompletion.model_validate(answered(candidate({"text": "Hé!"}, logprobsResult=LOGPROBS)))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>", "the answer: Invalid JSON"),
        (b"[]", "the answer: Input should be an object"),
        (b"{}", "no candidates"),
        (b'{"candidates": []}', "no candidates"),
        (b'{"candidates": [{"content": {"parts": [{"functionCall": {}}]}}]}', "functionCall.name"),
        (b'{"error": {"code": 500, "message": "Boom"}}', "it is an error: Boom"),
        (b'{"candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png"}}]}}]}', "image/png"),
    ],
)
def test_what_is_no_answer_is_said_to_be_none(body: bytes, words: str) -> None:
    with pytest.raises(UnreadableAnswer, match=words):
        chat_answer("m", CHAT, body)


def event(*candidates: dict[str, Any], end: str = "\r\n\r\n", **more: Any) -> bytes:
    return f"data: {json.dumps({'candidates': list(candidates), **more}, ensure_ascii=False)}{end}".encode()


USAGE = {"promptTokenCount": 6, "candidatesTokenCount": 7, "thoughtsTokenCount": 2}
STREAM = b"".join(
    [
        event(candidate({"text": "Grüß "}, reason=None), responseId="r-1", modelVersion="gemini-x-1"),
        event(candidate({"text": "hidden", "thought": True}, reason=None), usageMetadata={"promptTokenCount": 6}),
        event(candidate({"text": "dich 🌍"}, reason=None, logprobsResult=LOGPROBS)),
        event(candidate(*CALLS[:2], reason=None), end="\n\n"),
        event(candidate(CALLS[2], reason=None), end="\r\r"),
        event(candidate({"text": ""}), usageMetadata=USAGE),
    ]
)


def chunks_of(stream: GeminiStream, *pieces: bytes) -> list[dict[str, Any]]:
    return [chunk for piece in pieces for chunk in stream.feed(piece)] + stream.end()


def test_a_stream_is_chunks() -> None:
    stream = GeminiStream("gemini-x", CHAT)
    first, second, calls, more_calls, last = chunks_of(stream, STREAM)
    assert stream.finished
    assert stream.usage == Usage(6, 9)
    assert first == {
        "id": "r-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "gemini-x-1",
        "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Grüß "}, "finish_reason": None}],
    }
    assert second["choices"][0]["delta"] == {"content": "dich 🌍"}
    assert len(second["choices"][0]["logprobs"]["content"]) == 2
    assert [call["index"] for call in calls["choices"][0]["delta"]["tool_calls"]] == [0, 1]
    assert [(call["index"], call["id"]) for call in more_calls["choices"][0]["delta"]["tool_calls"]] == [(2, "given")]
    assert last["choices"] == [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]
    assert last["usage"]["completion_tokens"] == 9
    assert [chunk for chunk in (first, second, calls, more_calls) if "usage" in chunk] == []
    for chunk in (first, second, calls, more_calls, last):
        assert chunk["id"] == "r-1"
        assert chunk["model"] == "gemini-x-1"
        ChatCompletionChunk.model_validate(chunk)


def test_all_chunks_have_the_id_and_the_model_of_the_first() -> None:
    first = event(candidate({"text": "a"}, reason=None), responseId="r-1", modelVersion="v-1")
    second = event(candidate({"text": "b"}), responseId="r-2", modelVersion="v-2")
    chunks = chunks_of(GeminiStream("gemini-x", CHAT), first, second)
    assert [(chunk["id"], chunk["model"]) for chunk in chunks] == [("r-1", "v-1")] * 2


def test_tool_calls_of_a_stream_have_the_ids_of_the_whole_answer() -> None:
    whole = only_choice(*CALLS)["message"]["tool_calls"]
    chunks = chunks_of(GeminiStream("gemini-x", CHAT), STREAM)
    streamed = [call for chunk in chunks for call in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert [{**call, "index": 0} for call in streamed] == [{**call, "index": 0} for call in whole]


def test_it_does_not_matter_where_a_stream_is_cut() -> None:
    whole = chunks_of(GeminiStream("gemini-x", CHAT), STREAM)
    for at in range(len(STREAM) + 1):
        assert chunks_of(GeminiStream("gemini-x", CHAT), STREAM[:at], STREAM[at:]) == whole, at
    assert chunks_of(GeminiStream("gemini-x", CHAT), *(STREAM[at : at + 1] for at in range(len(STREAM)))) == whole


def test_the_last_event_may_lack_the_empty_line_after_it() -> None:
    stream = GeminiStream("gemini-x", CHAT)
    chunks = chunks_of(stream, STREAM.rstrip(b"\r\n"))
    assert chunks == chunks_of(GeminiStream("gemini-x", CHAT), STREAM)
    assert stream.finished


def test_a_stream_that_just_stops_is_not_finished_and_has_the_usage_so_far() -> None:
    stream = GeminiStream("gemini-x", CHAT)
    stream.feed(event(candidate({"text": "Grüß"}, reason=None), usageMetadata={"promptTokenCount": 6}))
    [last] = stream.end()
    assert last["choices"] == []
    assert last["usage"]["prompt_tokens"] == 6
    assert not stream.finished
    assert stream.usage == Usage(6, 0)
    ChatCompletionChunk.model_validate(last)


def test_usage_that_comes_after_the_end_still_is_in_the_last_chunk() -> None:
    stream = GeminiStream("gemini-x", CHAT)
    *_, last = chunks_of(stream, event(candidate({"text": "x"})), event(usageMetadata=USAGE))
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 15
    assert stream.finished


def test_a_stream_of_several_candidates_ends_with_the_last_of_them() -> None:
    stream = GeminiStream("gemini-x", CHAT)
    stream.feed(event(candidate({"text": "a"}, reason=None), candidate({"text": "b"}, reason=None, index=1)))
    [first] = stream.feed(event(candidate({"text": "A"}, reason="STOP"), usageMetadata=USAGE))
    assert not stream.finished
    assert "usage" not in first
    [call, second] = stream.feed(event(candidate(CALLS[1], reason="STOP", index=1), usageMetadata=USAGE))
    assert "usage" not in call
    assert stream.finished
    assert second["choices"][0]["index"] == 1
    assert second["choices"][0]["finish_reason"] == "tool_calls"
    assert "usage" in second
    assert stream.end() == []


ERROR = {"error": {"code": 429, "message": "Quota is used up.", "status": "RESOURCE_EXHAUSTED"}}
BEGINNING = event(candidate({"text": "Grüß"}, reason=None))


@pytest.mark.parametrize(
    "error",
    [
        b"data: " + json.dumps(ERROR).encode() + b"\n\n",
        json.dumps(ERROR).encode(),
        json.dumps(ERROR, indent=2).encode(),
        json.dumps([ERROR], indent=2).replace("\n", "\r\n").encode(),
    ],
    ids=["event", "line", "lines", "list"],
)
@pytest.mark.parametrize("before", [b"", BEGINNING], ids=["first", "later"])
def test_an_error_in_a_stream_fails_it_wherever_it_is_cut(error: bytes, before: bytes) -> None:
    text = before + error
    for at in range(len(text) + 1):
        with pytest.raises(StreamFailed, match=r"Quota is used up\.") as failed:
            chunks_of(GeminiStream("gemini-x", CHAT), text[:at], text[at:])
        assert failed.value.status == 429


def test_an_error_without_a_status_of_http_is_the_providers_fault() -> None:
    with pytest.raises(StreamFailed, match="UNKNOWN") as failed:
        GeminiStream("m", CHAT).feed(b'data: {"error": {"code": 2, "status": "UNKNOWN"}}\n\n')
    assert failed.value.status == 500


@pytest.mark.parametrize("text", [b"data: [1]\n\n", b"data: {\n\n", b'data: {"candidates": 3}\n\n'])
def test_a_stream_of_something_else_is_unreadable(text: bytes) -> None:
    with pytest.raises(UnreadableAnswer, match="an event of the stream"):
        GeminiStream("m", CHAT).feed(text)


def test_an_event_without_an_end_is_unreadable() -> None:
    stream = GeminiStream("m", CHAT)
    stream.feed(b"x" * 16 * 1024 * 1024)
    with pytest.raises(UnreadableAnswer, match="16 MiB"):
        stream.feed(b"x")


def embeddings(**body: Any) -> Call:
    return Call(ExternalTask.EMBEDDINGS, body, False, "emb-1", 0)


def test_embeddings_of_the_gemini_api() -> None:
    call = embeddings(input=["a", "b"], dimensions=2, user="ann", encoding_format="float")
    assert batch_request("e-1", call.body) == {
        "requests": [
            {"model": "models/e-1", "content": {"parts": [{"text": text}]}, "outputDimensionality": 2}
            for text in ("a", "b")
        ]
    }
    body = b'{"embeddings": [{"values": [1, 0.5]}, {"values": [0, 1]}], "usageMetadata": {"promptTokenCount": 3}}'
    answer = batch_answer("e-1", call, body)
    assert answer.usage == Usage(3, 0)
    assert answer.body == {
        "object": "list",
        "model": "e-1",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [1.0, 0.5]},
            {"object": "embedding", "index": 1, "embedding": [0.0, 1.0]},
        ],
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
    CreateEmbeddingResponse.model_validate(answer.body)
    silent = batch_answer("e-1", embeddings(input="a"), b'{"embeddings": [{"values": [1]}]}')
    assert silent.usage is None
    assert silent.body["usage"] == {"prompt_tokens": 0, "total_tokens": 0}


def test_embeddings_of_vertex_ai() -> None:
    call = embeddings(input="a", dimensions=2)
    assert predict_request(call.body) == {"instances": [{"content": "a"}], "parameters": {"outputDimensionality": 2}}
    assert predict_request({"input": ["a", "b"]}) == {"instances": [{"content": "a"}, {"content": "b"}]}
    vector = {"values": [1, 2], "statistics": {"token_count": 3, "truncated": False}}
    answer = predict_answer("e-1", call, json.dumps({"predictions": [{"embeddings": vector}]}).encode())
    assert answer.usage == Usage(3, 0)
    assert answer.body["data"] == [{"object": "embedding", "index": 0, "embedding": [1.0, 2.0]}]
    uncounted = {"predictions": [{"embeddings": vector}, {"embeddings": {"values": [1, 2]}}]}
    assert predict_answer("e-1", embeddings(input=["a", "b"]), json.dumps(uncounted).encode()).usage is None


def test_embeddings_as_base64_are_little_endian_floats() -> None:
    call = embeddings(input="a", encoding_format="base64")
    [item] = batch_answer("e-1", call, b'{"embeddings": [{"values": [1, -2]}]}').body["data"]
    assert item["embedding"] == "AACAPwAAAMA="


def test_a_vector_for_each_text_or_none() -> None:
    with pytest.raises(UnreadableAnswer, match="1 embeddings for 2 texts"):
        batch_answer("e-1", embeddings(input=["a", "b"]), b'{"embeddings": [{"values": [1]}]}')


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("input", {}),
        ("input", {"input": []}),
        ("input", {"input": [1, 2]}),
        ("input", {"input": [[1, 2]]}),
        ("dimensions", {"input": "a", "dimensions": "2"}),
        ("encoding_format", {"input": "a", "encoding_format": "hex"}),
        ("instruction", {"input": "a", "instruction": "Represent"}),
    ],
)
def test_embeddings_that_cannot_be_asked_for(field: str, body: dict[str, Any]) -> None:
    for make in (predict_request, lambda given: batch_request("e-1", given)):
        with pytest.raises(BadRequest, match=f"'{field}'"):
            make(body)
