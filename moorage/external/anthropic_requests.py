"""From OpenAI's chat completion bodies to Anthropic's Messages bodies.

Source: Anthropic API reference, messages, create; and, for what OpenAI's fields mean to Anthropic, Anthropic's
documentation of its own OpenAI SDK compatibility.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moorage.api.errors import BadRequest
from moorage.external.anthropic_formats import (
    ANSWER_TOOL,
    JSON_INSTRUCTION,
    answer_tool,
    answers_with_tool,
    output_format,
)
from moorage.external.anthropic_models import Version, version_of
from moorage.external.anthropic_turns import system_blocks, turns, used_tools
from moorage.external.chat_bodies import (
    JsonSchema,
    Message,
    ToolUse,
    asks_for_json_object,
    functions,
    integer,
    max_tokens,
    messages,
    number,
    refuse_fields,
    response_schema,
    stop_sequences,
    tool_choice,
)
from moorage.external.exchange import Document

_HARMLESS: Mapping[str, Any] = {
    "n": 1,
    "logprobs": False,
    "top_logprobs": 0,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logit_bias": {},
    "modalities": ["text"],
    "audio": None,
    "web_search_options": None,
    "functions": [],
    "function_call": "none",
}
_LEAST_BUDGET = 1024
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 6144, "high": 12288, "xhigh": 24576, "max": 32768}
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_CHOICES = {ToolUse.AUTO: "auto", ToolUse.NONE: "none", ToolUse.REQUIRED: "any", ToolUse.NAMED: "tool"}


def messages_body(model: str, body: Mapping[str, Any]) -> Document:
    """
    Raises:
        BadRequest: see `ProviderApi.request`.
    """
    refuse_fields(body, _HARMLESS, "Anthropic")
    conversation = messages(body)
    version = version_of(model)
    document: Document = {
        "model": model,
        "messages": turns(conversation),
        **_system(conversation, body),
        **_sampling(body),
        **_limits(version, body),
        **_tools(conversation, body),
        **_output(version, body),
    }
    if isinstance(body.get("user"), str):
        document["metadata"] = {"user_id": body["user"]}
    schema = response_schema(body)
    if schema is not None and answers_with_tool(model, body):
        return _with_answer_tool(document, schema)
    return document


def effort_fields(model: str, body: Mapping[str, Any]) -> Document:
    """`thinking` and `output_config` for the `reasoning_effort` of a body, for Claude on others' platforms.

    Raises:
        BadRequest: it is no effort, or the limit of tokens leaves no room for it.
    """
    version = version_of(model)
    thinking = _limits(version, body).get("thinking")
    effort = _effort_config(version, body)
    return {**({"thinking": thinking} if thinking else {}), **({"output_config": effort} if effort else {})}


def _system(conversation: Sequence[Message], body: Mapping[str, Any]) -> Document:
    blocks = system_blocks(conversation)
    if asks_for_json_object(body):
        blocks.append({"type": "text", "text": JSON_INSTRUCTION})
    return {"system": blocks} if blocks else {}


def _sampling(body: Mapping[str, Any]) -> Document:
    """Newer models refuse these fields, so what is the default anyway is not sent.

    Temperatures above 1, which Anthropic's models do not have, become 1, as where Anthropic speaks OpenAI's API
    itself: whoever asks for more wants as much variety as there is, and code written for OpenAI goes on working.
    """
    found: Document = {}
    temperature = number(body, "temperature")
    if temperature is not None and not 0 <= temperature <= 2:
        raise BadRequest("'temperature' must be between 0 and 2.")
    if temperature is not None and temperature < 1:
        found["temperature"] = temperature
    top_p = number(body, "top_p")
    if top_p is not None and not 0 < top_p <= 1:
        raise BadRequest("'top_p' must be above 0 and at most 1.")
    if top_p is not None and top_p < 1:
        found["top_p"] = top_p
    top_k = integer(body, "top_k")
    if top_k is not None:
        if top_k < 1:
            raise BadRequest("'top_k' must be at least 1.")
        found["top_k"] = top_k
    return found


def _limits(version: Version, body: Mapping[str, Any]) -> Document:
    """`max_tokens`, `stop_sequences` and `thinking`, which takes its tokens from the same limit."""
    asked = max_tokens(body)
    if asked is not None and asked < 1:
        raise BadRequest("'max_tokens' must be at least 1.")
    limit = asked or version.default_max_tokens
    thinking = body.get("thinking")
    if thinking is not None and not (isinstance(thinking, dict) and isinstance(thinking.get("type"), str)):
        raise BadRequest("'thinking' must be an object with 'type'.")
    effort = _effort(body)
    if thinking is None and effort is not None:
        thinking = _thinking(version, effort, limit)
    elif thinking is not None and asked is None:
        limit += integer(thinking, "budget_tokens") or 0
    found: Document = {"max_tokens": limit}
    if thinking is not None:
        found["thinking"] = thinking
    stop = stop_sequences(body)
    if not all(sequence.strip() for sequence in stop):
        raise BadRequest("'stop' must hold more than white space for Anthropic.")
    if stop:
        found["stop_sequences"] = stop
    return found


def _effort(body: Mapping[str, Any]) -> str | None:
    effort = body.get("reasoning_effort")
    if effort is not None and effort != "none" and not (isinstance(effort, str) and effort in _EFFORTS):
        raise BadRequest(f"'reasoning_effort' must be one of 'none', {', '.join(map(repr, _EFFORTS))}.")
    return effort


def _thinking(version: Version, effort: str, limit: int) -> Document | None:
    if not version.thinks_within_budget:
        # Some models show nothing of their thinking unless they are asked to.
        return {"type": "disabled"} if effort == "none" else {"type": "adaptive", "display": "summarized"}
    if effort == "none":
        return None
    if limit <= _LEAST_BUDGET:
        raise BadRequest(f"'max_tokens' must be above {_LEAST_BUDGET} with 'reasoning_effort': thinking counts too.")
    # A quarter of the limit stays for the answer.
    return {"type": "enabled", "budget_tokens": min(_BUDGETS[effort], max(_LEAST_BUDGET, limit * 3 // 4))}


def _output(version: Version, body: Mapping[str, Any]) -> Document:
    config = _effort_config(version, body)
    schema = response_schema(body)
    if schema is not None and version.formats_output:
        config["format"] = output_format(schema)
    return {"output_config": config} if config else {}


def _effort_config(version: Version, body: Mapping[str, Any]) -> Document:
    effort = _effort(body)
    if effort not in _EFFORTS or version.thinks_within_budget:
        return {}
    return {"effort": _EFFORTS[effort]}


def _tools(conversation: Sequence[Message], body: Mapping[str, Any]) -> Document:
    defined = functions(body)
    asked = tool_choice(body, defined)
    if not defined:
        # Anthropic wants the tools of a conversation in which some were called, also when no more may be.
        called = [{"name": name, "input_schema": {"type": "object"}} for name in used_tools(conversation)]
        return {"tools": called, "tool_choice": {"type": "none"}} if called else {}
    tools = []
    for function, given in zip(defined, body["tools"], strict=True):
        tool: Document = {"name": function.name, "input_schema": {"type": "object", **function.parameters}}
        if function.description:
            tool["description"] = function.description
        if isinstance(given.get("cache_control"), dict):
            tool["cache_control"] = given["cache_control"]
        tools.append(tool)
    choice: Document = {"type": _CHOICES[asked.use]}
    if asked.use is ToolUse.NAMED:
        choice["name"] = asked.name
    if _one_at_a_time(body) and asked.use is not ToolUse.NONE:
        choice["disable_parallel_tool_use"] = True
    return {"tools": tools, "tool_choice": choice}


def _one_at_a_time(body: Mapping[str, Any]) -> bool:
    parallel = body.get("parallel_tool_calls")
    if parallel is not None and not isinstance(parallel, bool):
        raise BadRequest("'parallel_tool_calls' must be true or false.")
    return parallel is False


def _with_answer_tool(document: Document, schema: JsonSchema) -> Document:
    """With the tool whose input is the answer: the only one to call, or one of those that must be called."""
    if document.get("thinking", {}).get("type", "disabled") != "disabled":
        raise BadRequest(
            "'response_format' of type 'json_schema' cannot go with 'thinking' or 'reasoning_effort' for this model."
        )
    choice = document.get("tool_choice", {"type": "none"})
    if choice["type"] == "none":
        choice = {"type": "tool", "name": ANSWER_TOOL}
    elif choice["type"] == "auto":
        choice = {**choice, "type": "any"}
    return {**document, "tools": [*document.get("tools", []), answer_tool(schema)], "tool_choice": choice}
