"""From OpenAI's chat form to a request of Cohere's v2 chat API.

Source: Cohere API reference, v2/chat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moorage.api.errors import BadRequest
from moorage.external import chat_bodies
from moorage.external.chat_answers import tool_call
from moorage.external.chat_bodies import Function, ImagePart, Message, Role, ToolUse
from moorage.external.exchange import Document

_COHERE = "Cohere"
_NOTHING_FOR = {
    "n": 1,
    "top_logprobs": 0,
    "logit_bias": {},
    "parallel_tool_calls": True,
    "reasoning_effort": None,
    "functions": None,
    "function_call": None,
    "audio": None,
    "modalities": ["text"],
}
_NUMBERS = {
    "temperature": "temperature",
    "top_p": "p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}
_INTEGERS = {"top_k": "k", "seed": "seed"}


def chat_request(model: str, body: Mapping[str, Any], *, stream: bool) -> Document:
    """The body of a chat request.

    Raises:
        BadRequest: Cohere could not take the body.
    """
    chat_bodies.refuse_fields(body, _NOTHING_FOR, _COHERE)
    said = [_message(message) for message in chat_bodies.messages(body)]
    fields: Document = {
        "model": model,
        "messages": [message for message in said if message is not None],
        "stream": stream,
        "max_tokens": chat_bodies.max_tokens(body),
        "stop_sequences": chat_bodies.stop_sequences(body) or None,
        "logprobs": True if _boolean(body, "logprobs") else None,
        "response_format": _response_format(body),
        "thinking": _thinking(body),
        **{theirs: chat_bodies.number(body, ours) for ours, theirs in _NUMBERS.items()},
        **{theirs: chat_bodies.integer(body, ours) for ours, theirs in _INTEGERS.items()},
        **_tools(body),
    }
    return {field: value for field, value in fields.items() if value is not None}


def _message(message: Message) -> Document | None:
    """None for what an assistant left unsaid."""
    match message.role:
        case Role.SYSTEM | Role.DEVELOPER:
            return {"role": "system", "content": _text(message)}
        case Role.TOOL:
            return {"role": "tool", "tool_call_id": message.tool_call_id, "content": _text(message)}
        case Role.USER:
            return {"role": "user", "content": _content(message)}
    if not message.tool_calls:
        text = _text(message)
        return {"role": "assistant", "content": text} if text else None
    calls = [tool_call(call.id, call.name, call.arguments or "{}") for call in message.tool_calls]
    # What the model says before it calls tools is what Cohere names its plan.
    plan = {"tool_plan": _text(message)} if _text(message) else {}
    return {"role": "assistant", "tool_calls": calls, **plan}


def _text(message: Message) -> str:
    if any(isinstance(part, ImagePart) for part in message.parts):
        raise BadRequest(f"'{message.where}.content' must be text alone.")
    return message.text


def _content(message: Message) -> str | list[Document]:
    if not any(isinstance(part, ImagePart) for part in message.parts):
        if not message.text:
            raise BadRequest(f"'{message.where}.content' must not be empty.")
        return message.text
    return [
        _image(part) if isinstance(part, ImagePart) else {"type": "text", "text": part.text} for part in message.parts
    ]


def _image(image: ImagePart) -> Document:
    detail = {"detail": image.detail} if image.detail is not None else {}
    return {"type": "image_url", "image_url": {"url": image.url, **detail}}


def _tools(body: Mapping[str, Any]) -> Document:
    functions = chat_bodies.functions(body)
    choice = chat_bodies.tool_choice(body, functions)
    if not functions:
        return {}
    if choice.use is ToolUse.NAMED:
        # Cohere has no choice of a function: it gets no other one to choose.
        functions = [function for function in functions if function.name == choice.name]
    tools: Document = {"tools": [_tool(function) for function in functions]}
    if choice.use is ToolUse.NONE:
        tools["tool_choice"] = "NONE"
    elif choice.use is not ToolUse.AUTO:
        tools["tool_choice"] = "REQUIRED"
    if _all_strict(functions):
        tools["strict_tools"] = True
    return tools


def _all_strict(functions: Sequence[Function]) -> bool:
    """Cohere knows strictness of all tools together."""
    return all(function.strict for function in functions)


def _tool(function: Function) -> Document:
    description = {"description": function.description} if function.description else {}
    return {"type": "function", "function": {"name": function.name, **description, "parameters": function.parameters}}


def _response_format(body: Mapping[str, Any]) -> Document | None:
    schema = chat_bodies.response_schema(body)
    if schema is not None:
        return {"type": "json_object", "json_schema": schema.schema}
    return {"type": "json_object"} if chat_bodies.asks_for_json_object(body) else None


def _thinking(body: Mapping[str, Any]) -> Document | None:
    thinking = body.get("thinking")
    if thinking is None:
        return None
    if not isinstance(thinking, dict) or thinking.get("type") not in ("enabled", "disabled"):
        raise BadRequest("'thinking' must be an object with 'type' 'enabled' or 'disabled'.")
    budget = chat_bodies.integer(thinking, "budget_tokens")
    return {"type": thinking["type"], **({} if budget is None else {"token_budget": budget})}


def _boolean(body: Mapping[str, Any], field: str) -> bool:
    value = body.get(field)
    if value is not None and not isinstance(value, bool):
        raise BadRequest(f"'{field}' must be true or false.")
    return bool(value)
