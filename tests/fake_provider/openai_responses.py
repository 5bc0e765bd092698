"""OpenAI's Responses API, whole and as its stream of typed events."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from .checks import (
    Check,
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
from .openai_chat import parts_of
from .openai_rules import EFFORT, NAME
from .talk import Ask, Choice, Said, Tool, Why, say
from .wire import Json, Reply, Stream, answer, sse

_INPUT_PART = tagged(
    "type",
    {
        "input_text": record({"type": text, "text": text}),
        "input_image": record({"type": text}, {"image_url": text, "file_id": text, "detail": text}, nulls=True),
        "output_text": record({"type": text, "text": text}, {"annotations": anything, "logprobs": anything}),
    },
)
_MESSAGE = record(
    {
        "role": one_of("user", "assistant", "system", "developer"),
        "content": either(text=text, array=array(_INPUT_PART)),
    },
    {"type": one_of("message"), "id": text, "status": text, "phase": text},
    nulls=True,
)
_ITEMS: dict[str, Check] = {
    "message": _MESSAGE,
    "function_call": record(
        {"type": text, "call_id": some_text, "name": NAME, "arguments": text}, {"id": text, "status": text},
        nulls=True
    ),
    "function_call_output": record(
        {"type": text, "call_id": some_text, "output": either(text=text, array=array(_INPUT_PART))},
        {"id": text, "status": text}, nulls=True,
    ),
    "reasoning": record(
        {"type": text, "id": text, "summary": array(mapping)},
        {"content": anything, "encrypted_content": text, "status": text}, nulls=True,
    ),
}  # fmt: skip


def _item(value: Any, path: str) -> None:
    mapping(value, path)
    (tagged("type", _ITEMS) if "type" in value else _MESSAGE)(value, path)


_FORMAT = tagged(
    "type",
    {
        "text": record({"type": text}),
        "json_object": record({"type": text}),
        "json_schema": record(
            {"type": text, "name": NAME, "schema": mapping}, {"description": text, "strict": flag}, nulls=True
        ),
    },
)
_TOOL = record(
    {"type": one_of("function"), "name": NAME},
    {"description": text, "parameters": mapping, "strict": flag},
    nulls=True,
)
REQUEST = record(
    {"model": some_text, "input": either(text=text, array=array(_item, 1))},
    {
        "background": flag, "include": array(text), "instructions": text, "max_output_tokens": integer(16),
        "max_tool_calls": integer(1), "metadata": mapping, "parallel_tool_calls": flag, "previous_response_id": text,
        "prompt_cache_key": text, "reasoning": record({}, {"effort": EFFORT, "summary": text}, nulls=True),
        "safety_identifier": text, "service_tier": text, "store": flag, "stream": flag, "stream_options": mapping,
        "temperature": number(0, 2), "text": record({}, {"format": _FORMAT, "verbosity": text}),
        "tool_choice": either(
            text=one_of("none", "auto", "required"), object=record({"type": one_of("function"), "name": NAME})
        ),
        "tools": array(_TOOL), "top_logprobs": integer(0, 20), "top_p": number(0, 1), "truncation": text,
        "user": text,
    },
    nulls=True,
)  # fmt: skip


def responded(body: Any, script: Script) -> Reply:
    """The answer to a request of the Responses API."""
    REQUEST(body, "")
    reply = say(_ask(body), script)
    items = list(_items(reply))
    done = _response(body, reply, items, script)
    if not body.get("stream"):
        return answer(done, x_request_id="req_fake")
    begun = {
        **done,
        "status": "in_progress",
        "output": [],
        "usage": None,
        "incomplete_details": None,
        "completed_at": None,
    }
    events: list[Json] = [{"type": f"response.{step}", "response": begun} for step in ("created", "in_progress")]
    for at, item in enumerate(items):
        events += _item_events(at, item, reply)
    events.append({"type": f"response.{done['status']}", "response": done})
    numbered = [sse({**event, "sequence_number": at}, event["type"]) for at, event in enumerate(events)]
    return Stream(numbered, endings=1)


def _ask(body: Json) -> Ask:
    items = [{"role": "user", "content": body["input"]}] if isinstance(body["input"], str) else body["input"]
    users = [item for item in items if item.get("role") == "user"]
    results = [item for item in items[-1:] if item.get("type") == "function_call_output"]
    form = (body.get("text") or {}).get("format") or {}
    schema = (
        {"type": "object", "properties": {"answer": {}}} if form.get("type") == "json_object" else form.get("schema")
    )
    chosen = body.get("tool_choice")
    choices = {"none": Choice.NONE, "required": Choice.ANY}
    return Ask(
        texts=[body.get("instructions") or "", *_texts(items)],
        last_user=" ".join(_texts(users[-1:])),
        images=sum(part["type"] == "input_image" for user in users[-1:] for part in _parts(user)),
        tools=[Tool(tool["name"], tool.get("parameters") or {}) for tool in body.get("tools") or ()],
        choice=Choice.ANY if isinstance(chosen, dict) else choices.get(str(chosen), Choice.AUTO),
        chosen=chosen["name"] if isinstance(chosen, dict) else None,
        one_call=body.get("parallel_tool_calls") is False,
        result=" ".join(_texts(results)) if results else None,
        schema=schema,
        limit=body.get("max_output_tokens"),
        thinking=(body.get("reasoning") or {}).get("effort") not in (None, "none"),
    )


def _parts(item: Json) -> list[Json]:
    content = item.get("content", item.get("output"))
    return content if isinstance(content, list) else []


def _texts(items: Iterable[Json]) -> list[str]:
    found = []
    for item in items:
        content = item.get("content", item.get("output"))
        found += [content] if isinstance(content, str) else [part["text"] for part in _parts(item) if "text" in part]
    return found


def _items(reply: Said) -> Iterable[Json]:
    if reply.thinking:
        yield {"id": "rs_fake", "type": "reasoning", "summary": [{"type": "summary_text", "text": reply.thinking}]}
    if reply.text or not reply.calls:
        part = {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
        status = "incomplete" if reply.why is Why.LENGTH else "completed"
        yield {"id": "msg_fake", "type": "message", "status": status, "role": "assistant", "content": [part]}
    for call in reply.calls:
        yield {
            "id": f"fc_{call.id}", "type": "function_call", "status": "completed", "call_id": f"call_{call.id}",
            "name": call.name, "arguments": call.json,
        }  # fmt: skip


def _response(body: Json, reply: Said, items: list[Json], script: Script) -> Json:
    asked = reply.input_tokens + script.cached_tokens
    said = reply.output_tokens + reply.thinking_tokens
    cut = reply.why is Why.LENGTH
    return {
        "id": "resp_fake", "object": "response", "created_at": int(time.time()), "completed_at": int(time.time()),
        "status": "incomplete" if cut else "completed", "background": False, "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": body.get("instructions"), "max_output_tokens": body.get("max_output_tokens"),
        "model": body["model"], "output": items, "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": body.get("reasoning") or {"effort": None, "summary": None}, "service_tier": "default",
        "store": body.get("store", True), "temperature": body.get("temperature", 1.0),
        "text": body.get("text") or {"format": {"type": "text"}}, "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [], "top_logprobs": 0, "top_p": body.get("top_p", 1.0),
        "truncation": "disabled", "user": None, "metadata": body.get("metadata") or {},
        "usage": {
            "input_tokens": asked,
            "input_tokens_details": {"cached_tokens": script.cached_tokens, "cache_write_tokens": 0},
            "output_tokens": said, "output_tokens_details": {"reasoning_tokens": reply.thinking_tokens},
            "total_tokens": asked + said,
        },
    }  # fmt: skip


def _item_events(at: int, item: Json, reply: Said) -> list[Json]:
    kind = item["type"]
    of_item = {"item_id": item["id"], "output_index": at}
    empty = {"message": {"content": []}, "function_call": {"arguments": ""}, "reasoning": {"summary": []}}[kind]
    status = {} if kind == "reasoning" else {"status": "in_progress"}
    events: list[Json] = [
        {"type": "response.output_item.added", "output_index": at, "item": {**item, **empty, **status}}
    ]
    if kind == "message":
        part, of_part = item["content"][0], {**of_item, "content_index": 0}
        events.append({"type": "response.content_part.added", **of_part, "part": {**part, "text": ""}})
        events += [
            {"type": "response.output_text.delta", **of_part, "delta": piece, "logprobs": []}
            for piece in reply.pieces
        ]
        events.append({"type": "response.output_text.done", **of_part, "text": part["text"], "logprobs": []})
        events.append({"type": "response.content_part.done", **of_part, "part": part})
    elif kind == "function_call":
        events += [
            {"type": "response.function_call_arguments.delta", **of_item, "delta": part}
            for part in parts_of(item["arguments"])
        ]
        done = {"arguments": item["arguments"], "name": item["name"]}
        events.append({"type": "response.function_call_arguments.done", **of_item, **done})
    else:
        of_part = {**of_item, "summary_index": 0}
        part = item["summary"][0]
        step = "response.reasoning_summary"
        events.append({"type": f"{step}_part.added", **of_part, "part": {**part, "text": ""}})
        events += [{"type": f"{step}_text.delta", **of_part, "delta": piece} for piece in parts_of(part["text"])]
        events.append({"type": f"{step}_text.done", **of_part, "text": part["text"]})
        events.append({"type": f"{step}_part.done", **of_part, "part": part})
    return [*events, {"type": "response.output_item.done", "output_index": at, "item": item}]
