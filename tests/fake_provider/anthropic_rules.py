"""What Anthropic takes as a message, and what such a request asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from .checks import (
    Check,
    Invalid,
    Problem,
    anything,
    array,
    base64_text,
    either,
    flag,
    integer,
    mapping,
    matching,
    number,
    one_of,
    record,
    some_text,
    tagged,
    text,
)  # fmt: skip
from .talk import Ask, Choice, Tool
from .wire import Json

_CACHE = {"cache_control": record({"type": one_of("ephemeral")}, {"ttl": one_of("5m", "1h")})}
_TEXT = record({"type": text, "text": text}, {**_CACHE, "citations": anything})
_SOURCE = tagged(
    "type",
    {
        "base64": record(
            {
                "type": text, "data": base64_text,
                "media_type": one_of("image/jpeg", "image/png", "image/gif", "image/webp"),
            }
        ),
        "url": record({"type": text, "url": matching(r"https?://\S+")}),
    },
)  # fmt: skip
_IMAGE = record({"type": text, "source": _SOURCE}, _CACHE)
_RESULT = record(
    {"type": text, "tool_use_id": matching(r"[a-zA-Z0-9_-]+")},
    {
        "content": either(text=text, array=array(tagged("type", {"text": _TEXT, "image": _IMAGE}))), "is_error": flag,
        **_CACHE,
    },
)  # fmt: skip
_USE = record(
    {"type": text, "id": matching(r"[a-zA-Z0-9_-]+"), "name": matching(r"[a-zA-Z0-9_-]{1,200}"), "input": mapping},
    _CACHE,
)
_USER_BLOCK = tagged("type", {"text": _TEXT, "image": _IMAGE, "tool_result": _RESULT})
_ASSISTANT_BLOCK = tagged(
    "type",
    {
        "text": _TEXT,
        "tool_use": _USE,
        "thinking": record({"type": text, "thinking": text, "signature": some_text}),
        "redacted_thinking": record({"type": text, "data": text}),
    },
)
_MESSAGE = tagged(
    "role",
    {
        "user": record({"role": text, "content": either(text=text, array=array(_USER_BLOCK))}),
        "assistant": record({"role": text, "content": either(text=text, array=array(_ASSISTANT_BLOCK))}),
    },
)
_SCHEMA_OF_TOOL = {"type": one_of("object")}


def _input_schema(value: Any, path: str) -> None:
    mapping(value, path)
    record(_SCHEMA_OF_TOOL, dict.fromkeys(value, anything))(value, path)


_TOOL = record(
    {"name": matching(r"[a-zA-Z0-9_-]{1,128}"), "input_schema": _input_schema},
    {"type": one_of("custom"), "description": text, "strict": flag, **_CACHE},
)
_ONE_CALL: dict[str, Check] = {"disable_parallel_tool_use": flag}
_TOOL_CHOICE = tagged(
    "type",
    {
        "auto": record({"type": text}, _ONE_CALL),
        "any": record({"type": text}, _ONE_CALL),
        "tool": record({"type": text, "name": some_text}, _ONE_CALL),
        "none": record({"type": text}),
    },
)
_THINKING = tagged(
    "type",
    {
        "enabled": record({"type": text, "budget_tokens": integer(1024)}, {"display": text}),
        "disabled": record({"type": text}),
        "adaptive": record({"type": text}, {"display": text}),
    },
)
_OUTPUT = record(
    {},
    {
        "effort": one_of("low", "medium", "high", "xhigh", "max"),
        "format": record({"type": one_of("json_schema"), "schema": mapping}),
    },
)
_REQUIRED: dict[str, Check] = {"max_tokens": integer(1), "messages": array(_MESSAGE, 1)}
_OPTIONAL: dict[str, Check] = {
    "cache_control": mapping, "container": anything, "inference_geo": text, "metadata": record({}, {"user_id": text}),
    "output_config": _OUTPUT, "service_tier": one_of("auto", "standard_only"), "stop_sequences": array(text),
    "stream": flag, "system": either(text=text, array=array(_TEXT)), "temperature": number(0, 1),
    "thinking": _THINKING,
    "tool_choice": _TOOL_CHOICE, "tools": array(_TOOL), "top_k": integer(0), "top_p": number(0, 1),
}  # fmt: skip
_SAMPLING = ("temperature", "top_k", "top_p")
_WITHOUT_SAMPLING = {name: check for name, check in _OPTIONAL.items() if name not in _SAMPLING}
VERSIONS: dict[str, Check] = {
    "2023-06-01": record({"model": some_text, **_REQUIRED}, _OPTIONAL),
    "2026-10-21": record({"model": some_text, **_REQUIRED}, _WITHOUT_SAMPLING),
}
"""What each version of the API takes. The later one has no parameters of sampling any more."""
VERTEX_VERSIONS: dict[str, Check] = {
    "vertex-2023-10-16": record({"anthropic_version": text, **_REQUIRED}, _OPTIONAL),
    "2026-10-21": record({"anthropic_version": text, **_REQUIRED}, _WITHOUT_SAMPLING),
}
"""On Google's platform the model is in the path, and the version in the body."""
_ONE_SAMPLER = re.compile(r"claude-(opus-4-[1-9]|(sonnet|haiku)-4-[5-9])")


class Worded(Invalid):
    """Wrong in a way for which Anthropic has its own words."""

    def __init__(self, message: str) -> None:
        super().__init__("", Problem.VALUE, message)


def check_messages(body: Any, model: str, shape: Check) -> None:
    """Check a request: its fields, then what they say of each other.

    Raises:
        Invalid: the first thing that is wrong.
    """
    if isinstance(body, dict) and any(
        isinstance(message, dict) and message.get("role") == "system" for message in body.get("messages") or ()
    ):
        raise Worded(
            'messages: Unexpected role "system". The Messages API accepts a top-level `system` '
            'parameter, not "system" as '
            "an input message role."
        )
    shape(body, "")
    _check_turns(body["messages"])
    tools = [tool["name"] for tool in body.get("tools") or ()]
    if len(set(tools)) < len(tools):
        raise Worded("tools: Tool names must be unique.")
    choice = body.get("tool_choice")
    if choice is not None and not tools:
        raise Worded("tool_choice may only be specified while providing tools.")
    if choice and choice["type"] == "tool" and choice["name"] not in tools:
        raise Worded(f"tool_choice.tool.name: Tool '{choice['name']}' not found in provided tools")
    blocks = [block["type"] for message in body["messages"] for block in blocks_of(message)]
    if not tools and {"tool_use", "tool_result"} & set(blocks):
        raise Worded("Requests which include `tool_use` or `tool_result` blocks must define tools.")
    if any(not stop.strip() for stop in body.get("stop_sequences") or ()):
        raise Worded("stop_sequences: each stop sequence must contain non-whitespace")
    if "temperature" in body and "top_p" in body and _ONE_SAMPLER.search(model):
        raise Worded("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
    thinking = body.get("thinking") or {}
    if thinking.get("type") == "enabled":
        if thinking["budget_tokens"] >= body["max_tokens"]:
            raise Worded("`max_tokens` must be greater than `thinking.budget_tokens`.")
        if body.get("temperature", 1) != 1:
            raise Worded("`temperature` may only be set to 1 when thinking is enabled.")
        if choice and choice["type"] in ("any", "tool"):
            raise Worded("Thinking may not be enabled when tool_choice forces tool use.")


def _check_turns(messages: list[Json]) -> None:
    if messages[0]["role"] != "user":
        raise Worded('messages: first message must use the "user" role')
    waiting: list[str] = []
    for at, message in enumerate(messages):
        blocks = blocks_of(message)
        last = at == len(messages) - 1 and message["role"] == "assistant"
        if not blocks and not last:
            raise Worded(
                f"messages.{at}: all messages must have non-empty content except for the optional final "
                "assistant message"
            )
        if any(block["type"] == "text" and not block["text"].strip() for block in blocks):
            raise Worded("messages: text content blocks must contain non-whitespace text")
        if last and blocks and blocks[-1].get("text", "x").endswith((" ", "\n")):
            raise Worded("messages: final assistant content cannot end with trailing whitespace")
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        for place, block in enumerate(blocks[: len(results)]):
            if block["type"] != "tool_result":
                raise Worded(f"messages.{at}.content.{place}: `tool_result` blocks must come first in the content")
        for place, result in enumerate(results):
            if result not in waiting:
                raise Worded(
                    f"messages.{at}.content.{place}: unexpected `tool_use_id` found in `tool_result` "
                    f"blocks: {result}. Each "
                    "`tool_result` block must have a corresponding `tool_use` block in the previous message."
                )
        missing = [use for use in waiting if use not in results]
        if missing:
            raise Worded(
                f"messages.{at - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` "
                "block in the next "
                "message."
            )
        waiting = [block["id"] for block in blocks if block["type"] == "tool_use"]
        if len(set(waiting)) < len(waiting):
            raise Worded("messages: `tool_use` ids must be unique")


def blocks_of(message: Json) -> list[Json]:
    """The content of a message as blocks."""
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content or []


def ask_of(body: Json) -> Ask:
    """What a checked body asks for."""
    messages = body["messages"]
    users = [m for m in messages if m["role"] == "user" and any(b["type"] in ("text", "image") for b in blocks_of(m))]
    last = blocks_of(messages[-1])
    choice = body.get("tool_choice") or {"type": "auto"}
    choices = {"none": Choice.NONE, "any": Choice.ANY, "tool": Choice.ANY}
    form = (body.get("output_config") or {}).get("format") or {}
    system = body.get("system") or []
    results = [block for block in last if block["type"] == "tool_result"]
    return Ask(
        texts=[*_texts([{"type": "text", "text": system}] if isinstance(system, str) else system),
               *(text for message in messages for text in _texts(blocks_of(message)))],
        last_user=" ".join(b["text"] for user in users[-1:] for b in blocks_of(user) if b["type"] == "text"),
        images=sum(b["type"] == "image" for user in users[-1:] for b in blocks_of(user)),
        tools=[Tool(tool["name"], tool["input_schema"]) for tool in body.get("tools") or ()],
        choice=choices.get(choice["type"], Choice.AUTO),
        chosen=choice.get("name"),
        one_call=bool(choice.get("disable_parallel_tool_use")),
        result=" ".join(_texts(results)) if results else None,
        schema=form.get("schema"),
        stop=body.get("stop_sequences") or (),
        limit=body["max_tokens"],
        thinking=(body.get("thinking") or {}).get("type") in ("enabled", "adaptive"),
    )  # fmt: skip


def _texts(blocks: Iterable[Json]) -> list[str]:
    found: list[str] = []
    for block in blocks:
        if block["type"] == "text":
            found.append(block["text"])
        elif block["type"] == "tool_result":
            found += _texts(blocks_of(block))
        elif block["type"] == "tool_use":
            found.append(str(block["input"]))
    return found
