"""Anthropic's Messages, at its own address and on Google's platform."""

from __future__ import annotations

from .anthropic_rules import VERSIONS, VERTEX_VERSIONS, ask_of, check_messages
from .checks import Invalid, Problem, one_of
from .control import Script
from .openai import bearer
from .openai_chat import parts_of
from .talk import Said, Why, say
from .wire import Dialect, Json, Plain, Refused, Reply, Request, Stream, answer, sse

_KINDS = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip
_STOPS = {
    Why.STOP: "end_turn", Why.STOP_SEQUENCE: "stop_sequence", Why.LENGTH: "max_tokens", Why.TOOLS: "tool_use",
    Why.FILTER: "refusal",
}  # fmt: skip
SIGNATURE = "ZmFrZSBzaWduYXR1cmU="


def error(status: int, message: str) -> Plain:
    told = {"type": "error", "error": {"type": _KINDS.get(status, "api_error"), "message": message}}
    return answer({**told, "request_id": "req_fake"}, status, request_id="req_fake")


def error_event(status: int, message: str) -> bytes:
    return sse({"type": "error", "error": {"type": _KINDS.get(status, "api_error"), "message": message}}, "error")


def invalid(wrong: Invalid) -> Plain:
    match wrong.problem:
        case Problem.UNKNOWN:
            return error(400, f"{wrong.path}: Extra inputs are not permitted")
        case Problem.MISSING:
            return error(400, f"{wrong.path}: Field required")
    said = f"Input should be {wrong.detail}" if wrong.path else wrong.detail
    return error(400, f"{wrong.path}: {said}" if wrong.path else said)


DIALECT = Dialect("anthropic", error, error_event, b'event: content_block_delta\ndata: {"broken": <\n\n')


def messages(request: Request, script: Script) -> Reply:
    """A message at Anthropic's own address. The key comes in its own header or, lately, as a bearer's token."""
    key = request.headers.get("x-api-key") or bearer(request)
    if not key:
        raise Refused(error(401, "x-api-key header is required"))
    if key != script.keys["anthropic"]:
        raise Refused(error(401, "invalid x-api-key"))
    version = request.headers.get("anthropic-version")
    if version is None:
        raise Refused(error(400, "anthropic-version: header is required"))
    if version not in VERSIONS:
        raise Refused(error(400, f'anthropic-version: "{version}" is not a valid version'))
    check_messages(request.json, request.model, VERSIONS[version])
    return replied(request.json, request.model, script)


def on_vertex(request: Request, script: Script, *, stream: bool) -> Reply:
    """A message on Google's platform: the verb of the path and the body both say whether it is a stream."""
    if not isinstance(request.json, dict):
        raise Invalid("body", Problem.TYPE, "an object")
    if "anthropic_version" not in request.json:
        raise Invalid("anthropic_version", Problem.MISSING)
    one_of(*VERTEX_VERSIONS)(request.json["anthropic_version"], "anthropic_version")
    check_messages(request.json, request.model, VERTEX_VERSIONS[request.json["anthropic_version"]])
    if bool(request.json.get("stream")) is not stream:
        raise Invalid("stream", Problem.VALUE, f"{str(stream).lower()} for this method")
    return replied(request.json, request.model, script)


def replied(body: Json, model: str, script: Script) -> Reply:
    """The answer to a checked body."""
    reply = say(ask_of(body), script)
    cached = min(script.cached_tokens, reply.input_tokens)
    usage = {
        "input_tokens": reply.input_tokens - cached, "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": reply.output_tokens + reply.thinking_tokens, "service_tier": "standard",
    }  # fmt: skip
    message = {
        "id": "msg_fake", "type": "message", "role": "assistant", "model": model, "content": _blocks(reply),
        "stop_reason": _STOPS[reply.why], "stop_sequence": reply.stopped_by, "usage": usage,
    }  # fmt: skip
    if not body.get("stream"):
        return answer(message, request_id="req_fake")
    return Stream([sse(event, event["type"]) for event in _events(message, reply)], endings=1)


def _blocks(reply: Said) -> list[Json]:
    blocks: list[Json] = []
    if reply.thinking:
        blocks.append({"type": "thinking", "thinking": reply.thinking, "signature": SIGNATURE})
    if reply.text:
        blocks.append({"type": "text", "text": reply.text})
    blocks += [
        {"type": "tool_use", "id": f"toolu_{call.id}", "name": call.name, "input": call.arguments}
        for call in reply.calls
    ]
    return blocks


def _events(message: Json, reply: Said) -> list[Json]:
    begun = {
        **message, "content": [], "stop_reason": None, "stop_sequence": None,
        "usage": {**message["usage"], "output_tokens": 1},
    }  # fmt: skip
    events: list[Json] = [{"type": "message_start", "message": begun}]
    for at, block in enumerate(message["content"]):
        kind = block["type"]
        empty = {"thinking": {"thinking": "", "signature": ""}, "text": {"text": ""}, "tool_use": {"input": {}}}[kind]
        events.append({"type": "content_block_start", "index": at, "content_block": {**block, **empty}})
        if at == 0:
            events.append({"type": "ping"})
        deltas: list[Json]
        if kind == "thinking":
            deltas = [{"type": "thinking_delta", "thinking": part} for part in parts_of(block["thinking"])]
            deltas.append({"type": "signature_delta", "signature": SIGNATURE})
        elif kind == "text":
            deltas = [{"type": "text_delta", "text": piece} for piece in reply.pieces]
        else:
            call = reply.calls[int(block["id"][-1])]
            deltas = [{"type": "input_json_delta", "partial_json": part} for part in ["", *parts_of(call.json)]]
        events += [{"type": "content_block_delta", "index": at, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": at})
    ended = {"stop_reason": message["stop_reason"], "stop_sequence": message["stop_sequence"]}
    events.append(
        {"type": "message_delta", "delta": ended, "usage": {"output_tokens": message["usage"]["output_tokens"]}}
    )
    return [*events, {"type": "message_stop"}]
