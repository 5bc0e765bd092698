"""Bedrock: Converse, its binary stream, and the embeddings of Titan and Cohere."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from . import eventstream
from .bedrock_rules import Worded, ask_of, check_converse
from .checks import Invalid, array, flag, integer, one_of, record, some_text
from .control import Script
from .openai_chat import parts_of
from .sigv4 import BadSignature, check_signature
from .talk import Said, Why, count, say
from .vectors import vector
from .wire import Dialect, Json, Plain, Refused, Reply, Request, Stream, answer, dump

_EXCEPTIONS = {
    400: "ValidationException", 403: "AccessDeniedException", 404: "ResourceNotFoundException",
    408: "ModelTimeoutException", 424: "ModelErrorException", 429: "ThrottlingException",
    503: "ServiceUnavailableException",
}  # fmt: skip
_STREAMED = {
    400: "validationException", 424: "modelStreamErrorException", 429: "throttlingException",
    503: "serviceUnavailableException",
}  # fmt: skip
_STOPS = {
    Why.STOP: "end_turn", Why.STOP_SEQUENCE: "stop_sequence", Why.LENGTH: "max_tokens", Why.TOOLS: "tool_use",
    Why.FILTER: "content_filtered",
}  # fmt: skip
_LATENCY = 7
SIGNATURE = "ZmFrZSBzaWduYXR1cmU="


def error(status: int, message: str, name: str | None = None) -> Plain:
    name = name or _EXCEPTIONS.get(status, "InternalServerException")
    return answer({"message": message}, status, x_amzn_errortype=name, x_amzn_requestid="fake")


def error_event(status: int, message: str) -> bytes:
    return eventstream.exception(_STREAMED.get(status, "internalServerException"), dump({"message": message}))


def invalid(wrong: Invalid) -> Plain:
    told = f"The value at {wrong.path} is not right" if wrong.path else "Malformed input request"
    return error(400, f"{told}: {wrong.detail or wrong.problem.value}. Please reformat your input and try again.")


DIALECT = Dialect("bedrock", error, error_event, eventstream.event("contentBlockDelta", b'{"broken": <'))


def _check_signed(request: Request, script: Script) -> None:
    try:
        check_signature(request, script.keys, datetime.now(UTC))
    except BadSignature as wrong:
        raise Refused(error(403, str(wrong), wrong.name)) from wrong


def converse(request: Request, script: Script) -> Reply:
    """Converse and ConverseStream, whose request is the same."""
    _check_signed(request, script)
    body = request.json
    try:
        check_converse(body, request.model)
    except Worded as wrong:
        raise Refused(error(400, str(wrong))) from wrong
    reply = say(ask_of(body), script)
    said = reply.output_tokens + reply.thinking_tokens
    cached = min(script.cached_tokens, reply.input_tokens)
    usage = {
        "inputTokens": reply.input_tokens - cached, "outputTokens": said, "totalTokens": reply.input_tokens + said,
        "cacheReadInputTokens": cached, "cacheWriteInputTokens": 0,
    }  # fmt: skip
    blocks = _blocks(reply)
    stop = _STOPS[reply.why]
    if request.at["verb"] == "converse":
        told = {
            "output": {"message": {"role": "assistant", "content": blocks}}, "stopReason": stop, "usage": usage,
            "metrics": {"latencyMs": _LATENCY},
        }  # fmt: skip
        return answer(told, x_amzn_requestid="fake")
    events = [("messageStart", {"role": "assistant"}), *_events(blocks, reply), ("messageStop", {"stopReason": stop})]
    events.append(("metadata", {"usage": usage, "metrics": {"latencyMs": _LATENCY}}))
    # The service pads its events with `p`, so that their lengths tell nothing of their content.
    framed = [eventstream.event(kind, dump({**payload, "p": "abcdefghijkl"[: at % 12 + 1]}))
              for at, (kind, payload) in enumerate(events)]  # fmt: skip
    return Stream(framed, 2, {"content-type": eventstream.CONTENT_TYPE, "x-amzn-requestid": "fake"})


def _blocks(reply: Said) -> list[Json]:
    blocks: list[Json] = []
    if reply.thinking:
        blocks.append({"reasoningContent": {"reasoningText": {"text": reply.thinking, "signature": SIGNATURE}}})
    if reply.text:
        blocks.append({"text": reply.text})
    for call in reply.calls:
        blocks.append({"toolUse": {"toolUseId": f"tooluse_{call.id}", "name": call.name, "input": call.arguments}})
    return blocks


def _events(blocks: list[Json], reply: Said) -> list[tuple[str, Json]]:
    """The events of the blocks; only those of a tool are begun with an event."""
    events: list[tuple[str, Json]] = []
    for at, block in enumerate(blocks):
        deltas: list[Json]
        if "toolUse" in block:
            use = block["toolUse"]
            start = {"toolUse": {"toolUseId": use["toolUseId"], "name": use["name"]}}
            events.append(("contentBlockStart", {"contentBlockIndex": at, "start": start}))
            call = next(call for call in reply.calls if use["toolUseId"].endswith(call.id))
            deltas = [{"toolUse": {"input": part}} for part in parts_of(call.json)]
        elif "text" in block:
            deltas = [{"text": piece} for piece in reply.pieces]
        else:
            deltas = [{"reasoningContent": {"text": part}} for part in parts_of(reply.thinking)]
            deltas.append({"reasoningContent": {"signature": SIGNATURE}})
        events += [("contentBlockDelta", {"contentBlockIndex": at, "delta": delta}) for delta in deltas]
        events.append(("contentBlockStop", {"contentBlockIndex": at}))
    return events


_TITAN = record(
    {"inputText": some_text},
    {"dimensions": integer(1), "normalize": flag, "embeddingTypes": array(one_of("float", "binary"), 1)},
)
_COHERE = record(
    {
        "texts": array(some_text, 1, 96),
        "input_type": one_of("search_document", "search_query", "classification", "clustering"),
    },
    {
        "truncate": one_of("NONE", "START", "END", "LEFT", "RIGHT"), "output_dimension": integer(1),
        "embedding_types": array(one_of("float", "int8", "uint8", "binary", "ubinary"), 1),
    },
)  # fmt: skip


def invoke(request: Request, script: Script) -> Reply:
    """Embeddings, in the form of the model's maker."""
    _check_signed(request, script)
    body: Any = request.json
    if ".titan-embed" in f".{request.model}":
        _TITAN(body, "")
        tokens = count(body["inputText"])
        values = vector(body["inputText"], body.get("dimensions") or script.embedding_size)
        told: Json = {"embedding": values, "inputTextTokenCount": tokens, "embeddingsByType": {"float": values}}
    elif "cohere.embed" in request.model:
        _COHERE(body, "")
        tokens = sum(map(count, body["texts"]))
        made = [vector(text, body.get("output_dimension") or script.embedding_size) for text in body["texts"]]
        by_type = "embedding_types" in body
        told = {
            "embeddings": {"float": made} if by_type else made, "id": "fake", "texts": body["texts"],
            "response_type": "embeddings_by_type" if by_type else "embeddings_floats",
        }  # fmt: skip
    else:
        return error(400, "Invocation of this model isn't supported by this fake; use Converse.")
    return answer(told, x_amzn_bedrock_input_token_count=str(tokens), x_amzn_requestid="fake")
