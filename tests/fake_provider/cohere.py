"""Cohere's second API: chat, whole and streamed, and embeddings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .checks import (
    Check,
    Invalid,
    Problem,
    anything,
    array,
    either,
    flag,
    integer,
    mapping,
    number,
    one_of,
    record,
    some_text,
    tagged,
    text,
)  # fmt: skip
from .control import Script
from .openai import bearer
from .openai_chat import logprob_of, parts_of
from .openai_rules import TOOL_CALL, check_tool_turns
from .talk import Ask, Choice, Said, Tool, Why, count, say, tokens_of
from .vectors import packed, vector
from .wire import DONE, Dialect, Json, Plain, Refused, Reply, Request, Stream, answer, sse

_FINISH = {
    Why.STOP: "COMPLETE", Why.STOP_SEQUENCE: "STOP_SEQUENCE", Why.LENGTH: "MAX_TOKENS", Why.TOOLS: "TOOL_CALL",
    Why.FILTER: "COMPLETE",
}  # fmt: skip
_TEMPLATE_TOKENS = 11
_TEXT = record({"type": text, "text": text})
_IMAGE = record({"type": text, "image_url": record({"url": some_text}, {"detail": text})})
_USER = either(text=some_text, array=array(tagged("type", {"text": _TEXT, "image_url": _IMAGE}), 1))
_THOUGHT = record({"type": text, "thinking": text})
_DOCUMENT = record({"type": text, "document": mapping})
_MESSAGE = tagged(
    "role",
    {
        "system": record({"role": text, "content": either(text=text, array=array(tagged("type", {"text": _TEXT}),
        1))}),
        "user": record({"role": text, "content": _USER}),
        "assistant": record(
            {"role": text},
            {
                "content": either(text=text, array=array(tagged("type", {"text": _TEXT, "thinking": _THOUGHT}))),
                "tool_calls": array(TOOL_CALL, 1), "tool_plan": text, "citations": array(mapping),
            },
        ),
        "tool": record(
            {
                "role": text, "tool_call_id": some_text,
                "content": either(text=text, array=array(tagged("type", {"text": _TEXT, "document": _DOCUMENT}), 1)),
            }
        ),
    },
)  # fmt: skip
_TOOL = record(
    {
        "type": one_of("function"),
        "function": record({"name": some_text, "parameters": mapping}, {"description": text}),
    }
)
_FORMAT = tagged(
    "type", {"text": record({"type": text}), "json_object": record({"type": text}, {"json_schema": mapping})}
)
_FIELDS: dict[str, Check] = {
    "citation_options": mapping, "documents": array(anything), "frequency_penalty": number(0, 1),
    "k": integer(0, 500),
    "logprobs": flag, "max_tokens": integer(1), "p": number(0.01, 0.99), "presence_penalty": number(0, 1),
    "priority": integer(0, 999), "response_format": _FORMAT, "safety_mode": one_of("CONTEXTUAL", "STRICT", "OFF"),
    "seed": integer(0), "stop_sequences": array(text, 0, 5), "strict_tools": flag, "temperature": number(0, 1),
    "thinking": record({"type": one_of("enabled", "disabled")}, {"token_budget": integer(1)}),
    "tool_choice": one_of("REQUIRED", "NONE"), "tools": array(_TOOL, 1),
}  # fmt: skip
_CHAT = record({"model": some_text, "messages": array(_MESSAGE, 1)}, {"stream": flag, **_FIELDS})


def error(status: int, message: str) -> Plain:
    return answer({"id": "fake", "message": message}, status)


def error_event(status: int, message: str) -> bytes:
    """A failed generation ends with the reason ERROR; the status shows nowhere."""
    return sse({"type": "message-end", "delta": {"error": message, "finish_reason": "ERROR"}}, "message-end") + DONE


def invalid(wrong: Invalid) -> Plain:
    if wrong.problem is Problem.UNKNOWN:
        return error(422, f"unknown field: parameter '{wrong.name}' is not a valid field")
    return error(400, f"invalid request: {wrong.path}: {wrong.detail or 'is required'}")


DIALECT = Dialect("cohere", error, error_event, b'event: content-delta\ndata: {"broken": <\n\n')


def _check_key(request: Request, script: Script) -> None:
    given = bearer(request)
    if not given:
        raise Refused(error(401, "no api key supplied"))
    if given != script.keys["cohere"]:
        raise Refused(error(401, "invalid api token"))


def chat(request: Request, script: Script) -> Reply:
    _check_key(request, script)
    body: Any = request.json
    _CHAT(body, "")
    check_tool_turns(body["messages"])
    if body["messages"][-1]["role"] not in ("user", "tool"):
        raise Invalid("messages", Problem.VALUE, "the last message must have the role user or tool")
    if "tool_choice" in body and "tools" not in body:
        raise Invalid("tool_choice", Problem.VALUE, "tool_choice may only be used with tools")
    if (body.get("response_format") or {}).get("type") == "json_object" and ("tools" in body or "documents" in body):
        raise Invalid("response_format", Problem.VALUE, "json_object is not supported with tools or documents")
    reply = say(_ask(body), script)
    usage = _usage(reply, script)
    if body.get("stream"):
        return Stream([*(sse(event, event["type"]) for event in _events(reply, usage, body)), DONE], endings=2)
    message: Json = {"role": "assistant"}
    content = _content(reply)
    if reply.calls:
        message["tool_plan"] = _plan(reply)
        message["tool_calls"] = [_call(index, reply) for index in range(len(reply.calls))]
    if content:
        message["content"] = content
    told: Json = {"id": "fake", "message": message, "finish_reason": _FINISH[reply.why], "usage": usage}
    if body.get("logprobs"):
        told["logprobs"] = [_logprob(token) for token in tokens_of(reply.text)]
    return answer(told)


def _ask(body: Json) -> Ask:
    messages = body["messages"]
    users = [message for message in messages if message["role"] == "user"]
    results = []
    for message in reversed(messages):
        if message["role"] != "tool":
            break
        results.insert(0, message)
    form = body.get("response_format") or {}
    loose = {"type": "object", "properties": {"answer": {}}}
    return Ask(
        texts=_texts(messages),
        last_user=" ".join(_texts(users[-1:])),
        images=sum(p["type"] == "image_url" for user in users[-1:] for p in user["content"] if isinstance(p, dict)),
        tools=[Tool(tool["function"]["name"], tool["function"]["parameters"]) for tool in body.get("tools") or ()],
        choice={"REQUIRED": Choice.ANY, "NONE": Choice.NONE}.get(body.get("tool_choice", ""), Choice.AUTO),
        result=" ".join(_texts(results)) if results else None,
        schema=form.get("json_schema", loose) if form.get("type") == "json_object" else None,
        stop=body.get("stop_sequences") or (),
        limit=body.get("max_tokens"),
        thinking=(body.get("thinking") or {}).get("type") == "enabled",
    )


def _texts(messages: Iterable[Json]) -> list[str]:
    found: list[str] = []
    for message in messages:
        content = message.get("content") or []
        found += [content] if isinstance(content, str) else [part["text"] for part in content if "text" in part]
    return found


def _plan(reply: Said) -> str:
    return reply.text or f"I will call {reply.calls[0].name}."


def _usage(reply: Said, script: Script) -> Json:
    """What is billed is less than what was used: the template is free."""
    asked = reply.input_tokens + script.cached_tokens
    said = reply.output_tokens + reply.thinking_tokens
    return {
        "billed_units": {"input_tokens": asked - _TEMPLATE_TOKENS, "output_tokens": said},
        "tokens": {"input_tokens": asked, "output_tokens": said},
        "cached_tokens": script.cached_tokens,
    }


def _content(reply: Said) -> list[Json]:
    content: list[Json] = [{"type": "thinking", "thinking": reply.thinking}] if reply.thinking else []
    return content if reply.calls else [*content, {"type": "text", "text": reply.text}]


def _call(index: int, reply: Said) -> Json:
    call = reply.calls[index]
    return {
        "id": f"{call.name}_{call.id}",
        "type": "function",
        "function": {"name": call.name, "arguments": call.json},
    }


def _logprob(token: str) -> Json:
    return {"text": token, "token_ids": [sum(token.encode())], "logprobs": [logprob_of(token)]}


def _events(reply: Said, usage: Json, body: Json) -> list[Json]:
    begun = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    events: list[Json] = [{"id": "fake", "type": "message-start", "delta": {"message": begun}}]
    for index, block in enumerate(_content(reply)):
        kind = block["type"]
        start = {"message": {"content": {"type": kind, kind: ""}}}
        events.append({"type": "content-start", "index": index, "delta": start})
        for piece in reply.pieces if kind == "text" else parts_of(reply.thinking):
            event: Json = {"type": "content-delta", "index": index, "delta": {"message": {"content": {kind: piece}}}}
            if body.get("logprobs") and kind == "text":
                event["logprobs"] = _logprob(piece)
            events.append(event)
        events.append({"type": "content-end", "index": index})
    if reply.calls:
        plan = [
            {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": part}}} for part in parts_of(_plan(reply))
        ]
        events += plan
    for index, call in enumerate(reply.calls):
        told = _call(index, reply)
        told["function"]["arguments"] = ""
        events.append({"type": "tool-call-start", "index": index, "delta": {"message": {"tool_calls": told}}})
        for part in parts_of(call.json):
            delta = {"message": {"tool_calls": {"function": {"arguments": part}}}}
            events.append({"type": "tool-call-delta", "index": index, "delta": delta})
        events.append({"type": "tool-call-end", "index": index})
    return [*events, {"type": "message-end", "delta": {"finish_reason": _FINISH[reply.why], "usage": usage}}]


_EMBED = record(
    {
        "model": some_text,
        "input_type": one_of("search_document", "search_query", "classification", "clustering", "image"),
        "texts": array(some_text, 1, 96),
    },
    {
        "embedding_types": array(one_of("float", "base64"), 1), "max_tokens": integer(1),
        "output_dimension": integer(1),
        "priority": integer(0, 999), "truncate": one_of("NONE", "START", "END"),
    },
)  # fmt: skip


def embed(request: Request, script: Script) -> Reply:
    """Embeddings of texts, as floats and in base64."""
    _check_key(request, script)
    body: Any = request.json
    _EMBED(body, "")
    made = [vector(one, body.get("output_dimension") or script.embedding_size) for one in body["texts"]]
    forms = {"float": made, "base64": [packed(values) for values in made]}
    meta = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": sum(map(count, body["texts"]))}}
    told = {name: forms[name] for name in body.get("embedding_types") or ["float"]}
    return answer(
        {
            "id": "fake",
            "embeddings": told,
            "texts": body["texts"],
            "meta": meta,
            "response_type": "embeddings_by_type",
        }
    )
