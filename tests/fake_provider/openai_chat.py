"""Chat completions as OpenAI answers them, whole and as a stream."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from .control import Script
from .talk import Ask, Said, ToolCall, Why, say, tokens_of
from .wire import DONE, Json, Reply, Stream, answer, sse

FINISH = {
    Why.STOP: "stop", Why.STOP_SEQUENCE: "stop", Why.LENGTH: "length", Why.TOOLS: "tool_calls",
    Why.FILTER: "content_filter",
}  # fmt: skip


def completed(body: Json, ask: Ask, script: Script) -> Reply:
    """OpenAI's own answer to a checked body."""
    replies = replies_to(body, ask, script)
    if not body.get("stream"):
        return answer(whole(body, replies, script), x_request_id="req_fake")
    events = [sse(chunk) for chunk in chunks(body, replies, script)]
    return Stream([*events, DONE], endings=1)


def replies_to(body: Json, ask: Ask, script: Script) -> list[Said]:
    return [say(ask, script, index) for index in range(body.get("n") or 1)]


def usage(replies: Sequence[Said], script: Script) -> Json:
    """The counts of all replies; thoughts count as output."""
    asked = replies[0].input_tokens + script.cached_tokens
    thought = sum(reply.thinking_tokens for reply in replies)
    said = sum(reply.output_tokens for reply in replies) + thought
    return {
        "prompt_tokens": asked,
        "completion_tokens": said,
        "total_tokens": asked + said,
        "prompt_tokens_details": {"cached_tokens": script.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": thought, "audio_tokens": 0, "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }  # fmt: skip


def whole(body: Json, replies: Sequence[Said], script: Script) -> Json:
    choices = []
    for index, reply in enumerate(replies):
        message: Json = {"role": "assistant", "content": reply.text or None, "refusal": None, "annotations": []}
        if reply.calls:
            message["tool_calls"] = [tool_call(call) for call in reply.calls]
        elif reply.text == "":
            message["content"] = ""
        choices.append(
            {
                "index": index,
                "message": message,
                "logprobs": logprobs(reply.text, body) if body.get("logprobs") else None,
                "finish_reason": FINISH[reply.why],
            }
        )
    return {
        "id": "chatcmpl-fake", "object": "chat.completion", "created": int(time.time()), "model": body["model"],
        "choices": choices, "usage": usage(replies, script), "service_tier": "default",
        "system_fingerprint": "fp_fake",
    }  # fmt: skip


def chunks(body: Json, replies: Sequence[Said], script: Script) -> list[Json]:
    """The chunks of a stream; when usage is wanted, all but the last have a null for it, and the last no choice."""
    wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    base = {
        "id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": int(time.time()), "model": body["model"],
        "service_tier": "default", "system_fingerprint": "fp_fake",
    }  # fmt: skip
    found = []
    for index, reply in enumerate(replies):
        for delta, finish in deltas(reply):
            said = delta.get("content")
            told = logprobs(said, body) if said and body.get("logprobs") else None
            choice = {"index": index, "delta": delta, "logprobs": told, "finish_reason": finish}
            found.append({**base, "choices": [choice], **({"usage": None} if wants_usage else {})})
    if wants_usage:
        found.append({**base, "choices": [], "usage": usage(replies, script)})
    return found


def deltas(reply: Said) -> list[tuple[Json, str | None]]:
    """The changes of a message that its stream consists of, with the reason why it ends at the last."""
    first: Json = {"role": "assistant", "content": None if reply.calls and not reply.pieces else "", "refusal": None}
    found: list[tuple[Json, str | None]] = [(first, None)]
    found += [({"content": piece}, None) for piece in reply.pieces]
    for at, call in enumerate(reply.calls):
        begun = tool_call(call)
        begun["function"]["arguments"] = ""
        found.append(({"tool_calls": [{"index": at, **begun}]}, None))
        for part in parts_of(call.json):
            found.append(({"tool_calls": [{"index": at, "function": {"arguments": part}}]}, None))
    return [*found, ({}, FINISH[reply.why])]


def tool_call(call: ToolCall) -> Json:
    return {"id": f"call_{call.id}", "type": "function", "function": {"name": call.name, "arguments": call.json}}


def parts_of(text: str) -> list[str]:
    """The text in at most three parts."""
    third = max(1, -(-len(text) // 3))
    return [text[at : at + third] for at in range(0, len(text), third)]


def logprob_of(token: str) -> float:
    """A made-up logarithm of a token's probability."""
    return -(sum(token.encode()) % 100 + 1) / 128


def logprobs(text: str, body: Json) -> Json:
    """The logarithms of the probabilities of each token, with as many alternatives as were asked for."""
    content: list[Json] = []
    for token in tokens_of(text):
        told: dict[str, Any] = {"token": token, "logprob": logprob_of(token), "bytes": list(token.encode())}
        others = [
            {"token": f"{token}{rank}" if rank else token, "logprob": told["logprob"] - rank,
             "bytes": list((f"{token}{rank}" if rank else token).encode())}
            for rank in range(body.get("top_logprobs") or 0)
        ]  # fmt: skip
        content.append({**told, "top_logprobs": others})
    return {"content": content, "refusal": None}
