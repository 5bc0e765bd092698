"""What a chat model may say, and what the Responses API makes of it."""

from __future__ import annotations

from typing import Any

from moorage.external.responses_output import ResponseIds

IDS = ResponseIds("abc", 1700000000)
USER = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True, "description": "d"}
CHAT_TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "d", "parameters": {"type": "object"}, "strict": True},
}
USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 5,
    "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def call(id: str, arguments: str, name: str = "weather") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def chat_answer(message: dict[str, Any], finish: str = "stop", **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "chatty",
        "choices": [choice],
        "usage": USAGE,
        **more,
    }


def text_item(position: int, text: str, status: str = "completed") -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    return {"id": f"msg_abc_{position}", "type": "message", "status": status, "role": "assistant", "content": content}


def refusal_item(position: int, text: str) -> dict[str, Any]:
    return {**text_item(position, ""), "content": [{"type": "refusal", "refusal": text}]}


def reasoning_item(position: int, text: str) -> dict[str, Any]:
    content = [{"type": "reasoning_text", "text": text}]
    return {"id": f"rs_abc_{position}", "type": "reasoning", "status": "completed", "summary": [], "content": content}


def call_item(position: int, id: str, arguments: str, status: str = "completed") -> dict[str, Any]:
    named = {"call_id": id, "name": "weather", "arguments": arguments}
    return {"id": f"fc_abc_{position}", "type": "function_call", "status": status, **named}


SAID: list[tuple[str, dict[str, Any], str, list[dict[str, Any]], str]] = [
    ("text", {"content": "naïve 🚀"}, "stop", [text_item(0, "naïve 🚀")], "completed"),
    ("nothing", {"content": None}, "stop", [], "completed"),
    ("cut text", {"content": "a"}, "length", [text_item(0, "a", "incomplete")], "incomplete"),
    ("filtered", {"content": None}, "content_filter", [], "incomplete"),
    ("refusal", {"content": None, "refusal": "no"}, "stop", [refusal_item(0, "no")], "completed"),
    (
        "reasoning",
        {"reasoning_content": "a", "content": "b"},
        "stop",
        [reasoning_item(0, "a"), text_item(1, "b")],
        "completed",
    ),
    ("other reasoning", {"content": "", "reasoning": "a"}, "stop", [reasoning_item(0, "a")], "completed"),
    (
        "content in parts",
        {
            "content": [
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "a"}]},
                {"type": "reasoning", "text": "c"},
                {"type": "text", "text": "b"},
            ]
        },
        "stop",
        [reasoning_item(0, "ac"), text_item(1, "b")],
        "completed",
    ),
    (
        "calls",
        {"content": "I ask", "tool_calls": [call("c1", "{}"), call("c2", '{"a":')]},
        "length",
        [text_item(0, "I ask"), call_item(1, "c1", "{}"), call_item(2, "c2", '{"a":', "incomplete")],
        "incomplete",
    ),
    (
        "a call without an id",
        {"tool_calls": [call("", "{}")]},
        "tool_calls",
        [call_item(0, "call_abc_0", "{}")],
        "completed",
    ),
]
NAMES = [said[0] for said in SAID]


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "chatty", "choices": [choice]}


def chunks_of(message: dict[str, Any], finish: str) -> list[dict[str, Any]]:
    """A message as a model streams it: character by character, then the reason, then the usage."""
    chunks = [chunk({"role": "assistant", "content": ""})]
    for field, value in message.items():
        if isinstance(value, str):
            chunks += [chunk({field: character}) for character in value]
        elif field == "tool_calls":
            for index, one in enumerate(value):
                chunks.append(chunk({"tool_calls": [{"index": index, **call(one["id"], "")}]}))
                pieces = one["function"]["arguments"]
                chunks += [
                    chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}) for piece in pieces
                ]
        elif value is not None:
            chunks += [chunk({field: [part]}) for part in value]
    return [*chunks, chunk({}, finish), {"model": "chatty", "choices": [], "usage": USAGE}]
