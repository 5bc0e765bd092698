"""What OpenAI takes as a chat completion, and what such a request asks for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
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

NAME = matching(r"[a-zA-Z0-9_-]{1,64}")
TEXT_PART = record({"type": one_of("text"), "text": text}, {"prompt_cache_breakpoint": mapping})
IMAGE_PART = record(
    {
        "type": one_of("image_url"),
        "image_url": record(
            {"url": matching(r"(https?://\S+|data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]+)")},
            {"detail": one_of("auto", "low", "high")},
        ),
    }
)
TEXTS = either(text=text, array=array(tagged("type", {"text": TEXT_PART}), 1))
USER_CONTENT = either(text=text, array=array(tagged("type", {"text": TEXT_PART, "image_url": IMAGE_PART}), 1))
ASSISTANT_PART = tagged("type", {"text": TEXT_PART, "refusal": record({"type": one_of("refusal"), "refusal": text})})
TOOL_CALL = record(
    {"id": some_text, "type": one_of("function"), "function": record({"name": NAME, "arguments": text})},
)
MESSAGE = tagged(
    "role",
    {
        "system": record({"role": text, "content": TEXTS}, {"name": text}),
        "developer": record({"role": text, "content": TEXTS}, {"name": text}),
        "user": record({"role": text, "content": USER_CONTENT}, {"name": text}),
        "assistant": record(
            {"role": text},
            {
                "content": either(text=text, array=array(ASSISTANT_PART, 1)), "name": text, "refusal": text,
                "tool_calls": array(TOOL_CALL, 1), "audio": mapping, "function_call": mapping,
                "annotations": anything,
            },
            nulls=True,
        ),
        "tool": record({"role": text, "content": TEXTS, "tool_call_id": some_text}),
    },
)  # fmt: skip
TOOL = record(
    {
        "type": one_of("function"),
        "function": record({"name": NAME}, {"description": text, "parameters": mapping, "strict": flag}, nulls=True),
    }
)
NAMED_TOOL = record({"type": one_of("function"), "function": record({"name": NAME})})
STOP = either(text=text, array=array(text, 0, 4))
RESPONSE_FORMAT = tagged(
    "type",
    {
        "text": record({"type": text}),
        "json_object": record({"type": text}),
        "json_schema": record(
            {
                "type": text,
                "json_schema": record(
                    {"name": NAME}, {"description": text, "schema": mapping, "strict": flag}, nulls=True
                ),
            }
        ),
    },
)
STREAM_OPTIONS = record({}, {"include_usage": flag, "include_obfuscation": flag})
EFFORT = one_of("none", "minimal", "low", "medium", "high", "xhigh")
REQUIRED: dict[str, Check] = {"model": some_text, "messages": array(MESSAGE, 1)}
OPTIONAL: dict[str, Check] = {
    "audio": mapping, "frequency_penalty": number(-2, 2), "logit_bias": mapping, "logprobs": flag,
    "max_completion_tokens": integer(1), "max_tokens": integer(1), "metadata": mapping, "modalities": array(text),
    "moderation": mapping, "n": integer(1, 128), "parallel_tool_calls": flag, "prediction": mapping,
    "presence_penalty": number(-2, 2), "prompt_cache_key": text, "prompt_cache_options": mapping,
    "prompt_cache_retention": text, "reasoning_effort": EFFORT, "response_format": RESPONSE_FORMAT,
    "safety_identifier": text, "seed": integer(), "service_tier": text, "stop": STOP, "store": flag, "stream": flag,
    "stream_options": STREAM_OPTIONS, "temperature": number(0, 2),
    "tool_choice": either(text=one_of("none", "auto", "required"), object=NAMED_TOOL), "tools": array(TOOL, 1, 128),
    "top_logprobs": integer(0, 20), "top_p": number(0, 1), "user": text, "verbosity": one_of("low", "medium", "high"),
    "web_search_options": mapping,
}  # fmt: skip
CHAT = record(REQUIRED, OPTIONAL, nulls=True)
REASONING_MODEL = re.compile(r"(o\d|gpt-5)(-|$)")


def check_chat(body: Any, shape: Check = CHAT) -> None:
    """Check the body of a chat completion: its fields, then what they say of each other.

    Raises:
        Invalid: the first thing that is wrong.
    """
    shape(body, "")
    check_tool_turns(body["messages"])
    given = {name for name, value in body.items() if value is not None}
    tools = {tool["function"]["name"] for tool in body.get("tools") or ()}
    for name in ("tool_choice", "parallel_tool_calls"):
        if name in given and not tools:
            raise Invalid(name, Problem.VALUE, f"'{name}' is only allowed when 'tools' are specified")
    chosen = body.get("tool_choice")
    if isinstance(chosen, dict) and chosen["function"]["name"] not in tools:
        raise Invalid("tool_choice", Problem.VALUE, "Tool choice 'function' not found in 'tools' parameter")
    if "stream_options" in given and not body.get("stream"):
        raise Invalid("stream_options", Problem.VALUE, "'stream_options' is only allowed when 'stream' is enabled")
    if "top_logprobs" in given and not body.get("logprobs"):
        raise Invalid("top_logprobs", Problem.VALUE, "'logprobs' must be true when 'top_logprobs' is specified")
    if {"max_tokens", "max_completion_tokens"} <= given:
        raise Invalid("max_tokens", Problem.VALUE, "'max_tokens' and 'max_completion_tokens' cannot both be set")
    if "max_tokens" in given and REASONING_MODEL.match(body.get("model", "")):
        raise Invalid(
            "max_tokens", Problem.VALUE, "not supported with this model. Use 'max_completion_tokens' instead"
        )
    _check_format(body)


def check_tool_turns(messages: list[Json]) -> None:
    """Every call of a tool has its result right after it, and every result its call."""
    waiting: list[str] = []
    for at, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                raise Invalid(
                    f"messages.{at}.role", Problem.VALUE,
                    "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'",
                )  # fmt: skip
            waiting.remove(message["tool_call_id"])
            continue
        _none_waiting(at, waiting)
        waiting = [call["id"] for call in message.get("tool_calls") or ()] if message["role"] == "assistant" else []
        if message["role"] == "assistant" and not waiting and message.get("content") is None:
            raise Invalid(f"messages.{at}.content", Problem.TYPE, "a string")
    _none_waiting(len(messages), waiting)


def _none_waiting(at: int, waiting: Iterable[str]) -> None:
    if waiting:
        raise Invalid(
            f"messages.{at}.role", Problem.VALUE,
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(waiting)}",
        )  # fmt: skip


def _check_format(body: Json) -> None:
    form = body.get("response_format") or {}
    if form.get("type") == "json_object" and "json" not in " ".join(texts_of(body["messages"])).lower():
        raise Invalid("messages", Problem.VALUE, "'messages' must contain the word 'json' in some form")
    if form.get("type") == "json_schema" and form["json_schema"].get("strict"):
        check_strict(form["json_schema"].get("schema"), "response_format.json_schema.schema")
    for at, tool in enumerate(body.get("tools") or ()):
        if tool["function"].get("strict"):
            check_strict(tool["function"].get("parameters"), f"tools.{at}.function.parameters")


def check_strict(schema: Any, path: str) -> None:
    """Strict schemas close every object and require all of its properties."""
    if isinstance(schema, list):
        for inner in schema:
            check_strict(inner, path)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            raise Invalid(path, Problem.VALUE, "'additionalProperties' is required to be supplied and to be false")
        if set(schema.get("required", ())) != set(schema.get("properties", ())):
            raise Invalid(path, Problem.VALUE, "'required' must be an array including every key in properties")
    for inner in schema.values():
        check_strict(list(inner.values()) if isinstance(inner, dict) and "type" not in inner else inner, path)


def ask_of(body: Json) -> Ask:
    """What a checked body asks for."""
    messages = body["messages"]
    form = body.get("response_format") or {}
    schemas: Mapping[str, Any] = {"json_object": {"properties": {"answer": {}}, "type": "object"}}
    schema = schemas.get(form.get("type", ""), (form.get("json_schema") or {}).get("schema"))
    chosen = body.get("tool_choice")
    named = chosen["function"]["name"] if isinstance(chosen, dict) else None
    choices = {"none": Choice.NONE, "required": Choice.ANY}
    users = [message for message in messages if message["role"] == "user"]
    results = _last_results(messages)
    stop = body.get("stop") or []
    return Ask(
        texts=texts_of(messages),
        last_user=" ".join(texts_of(users[-1:])),
        images=sum(part["type"] == "image_url" for user in users[-1:] for part in _parts(user)),
        tools=[Tool(t["function"]["name"], t["function"].get("parameters") or {}) for t in body.get("tools") or ()],
        choice=Choice.ANY if named else choices.get(str(chosen), Choice.AUTO),
        chosen=named,
        one_call=body.get("parallel_tool_calls") is False,
        result=" ".join(texts_of(results)) if results else None,
        schema=schema,
        stop=[stop] if isinstance(stop, str) else stop,
        limit=body.get("max_completion_tokens") or body.get("max_tokens"),
        thinking=body.get("reasoning_effort") not in (None, "none"),
    )


def texts_of(messages: Iterable[Json]) -> list[str]:
    """All texts of these messages, calls' arguments too."""
    found = []
    for message in messages:
        if isinstance(message.get("content"), str):
            found.append(message["content"])
        found += [part["text"] for part in _parts(message) if part["type"] == "text"]
        found += [call["function"]["arguments"] for call in message.get("tool_calls") or ()]
    return found


def _parts(message: Json) -> list[Json]:
    content = message.get("content")
    return content if isinstance(content, list) else []


def _last_results(messages: list[Json]) -> list[Json]:
    results = []
    for message in reversed(messages):
        if message["role"] != "tool":
            break
        results.insert(0, message)
    return results
