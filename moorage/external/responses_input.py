"""The items of a request of OpenAI's Responses API as messages of a chat.

Source: OpenAI API reference, responses, create (`input`, `instructions`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moorage.api.errors import BadRequest
from moorage.external.exchange import Document

_TEXT_PARTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}
"""The parts that are text, and the field that holds it."""


def messages_of(given: Any, instructions: Any) -> list[Document]:
    """The chat of a request with that `input` and `instructions`.

    Raises:
        BadRequest: an item is not as it should be, or a chat has nothing like it; the message names the field.
    """
    messages: list[Document] = []
    if instructions is not None:
        if not isinstance(instructions, str):
            raise BadRequest("'instructions' must be a text.")
        messages.append({"role": "system", "content": instructions})
    if isinstance(given, str):
        messages.append({"role": "user", "content": given})
    elif isinstance(given, list) and given:
        for index, item in enumerate(given):
            _add(messages, item, f"input[{index}]")
    else:
        raise BadRequest("'input' must be a text or a list of at least one item.")
    return messages


def _add(messages: list[Document], item: Any, where: str) -> None:
    if not isinstance(item, dict):
        raise BadRequest(f"'{where}' must be an object.")
    kind = item.get("type", "message" if "role" in item else None)
    if kind == "message":
        _add_message(messages, item, where)
    elif kind == "function_call":
        _add_call(messages, item, where)
    elif kind == "function_call_output":
        output = item.get("output")
        content = output if isinstance(output, str) else _joined_text(output, f"{where}.output")
        messages.append({"role": "tool", "tool_call_id": _text(item, "call_id", where), "content": content})
    elif kind == "item_reference":
        raise BadRequest(f"'{where}.type' must not be 'item_reference': answers are not kept here, so give the item.")
    elif kind != "reasoning":  # what an earlier answer said of its reasoning is not part of a chat
        known = "'message', 'function_call', 'function_call_output', 'reasoning'"
        raise BadRequest(f"'{where}.type' must be one of {known}.")


def _add_message(messages: list[Document], item: Mapping[str, Any], where: str) -> None:
    role = item.get("role")
    content = item.get("content")
    if role == "user":
        messages.append({"role": "user", "content": _content(content, f"{where}.content")})
    elif role in ("system", "developer"):
        text = _joined_text(content, f"{where}.content")
        messages.append({"role": "system", "content": text})  # the older word, which every provider knows
    elif role == "assistant":
        text = _joined_text(content, f"{where}.content")
        if messages and messages[-1]["role"] == "assistant" and messages[-1]["content"] is None:
            messages[-1]["content"] = text
        else:
            messages.append({"role": "assistant", "content": text})
    else:
        raise BadRequest(f"'{where}.role' must be one of 'user', 'assistant', 'system', 'developer'.")


def _add_call(messages: list[Document], item: Mapping[str, Any], where: str) -> None:
    """In a chat, calls belong to what the assistant said along with them.

    Databricks' client of LangChain gives each call twice, which no provider would take.
    """
    call_id = _text(item, "call_id", where)
    function = {"name": _text(item, "name", where), "arguments": _text(item, "arguments", where)}
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    calls = messages[-1].setdefault("tool_calls", [])
    if all(call["id"] != call_id for call in calls):
        calls.append({"id": call_id, "type": "function", "function": function})


def _content(content: Any, where: str) -> str | list[Document]:
    """The content of a user's message; a single text stays one, since not every server takes parts."""
    if isinstance(content, str):
        return content
    parts = [_part(part, f"{where}[{index}]") for index, part in enumerate(_parts(content, where))]
    if len(parts) == 1 and parts[0]["type"] == "text":
        return str(parts[0]["text"])
    return parts


def _part(part: Any, where: str) -> Document:
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind in _TEXT_PARTS:
        return {"type": "text", "text": _text(part, _TEXT_PARTS[kind], where)}
    if kind == "input_image":
        _refuse_file_id(part, where, "image_url")
        image = {"url": _text(part, "image_url", where)}
        if part.get("detail") is not None:
            image["detail"] = part["detail"]
        return {"type": "image_url", "image_url": image}
    if kind == "input_file":
        _refuse_file_id(part, where, "file_data")
        file = {"file_data": _text(part, "file_data", where)}
        if part.get("filename") is not None:
            file["filename"] = part["filename"]
        return {"type": "file", "file": file}
    if kind == "input_audio" and isinstance(part.get("input_audio"), dict):
        return {"type": "input_audio", "input_audio": part["input_audio"]}
    known = "'input_text', 'input_image', 'input_file', 'input_audio'"
    raise BadRequest(f"'{where}.type' must be one of {known}.")


def _refuse_file_id(part: Mapping[str, Any], where: str, instead: str) -> None:
    if part.get("file_id") is not None:
        raise BadRequest(f"'{where}.file_id' must be left out: files are not kept here, so give '{instead}'.")


def _joined_text(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    texts = []
    for index, part in enumerate(_parts(content, where)):
        kind = part.get("type") if isinstance(part, dict) else None
        if not isinstance(kind, str) or kind not in _TEXT_PARTS:
            raise BadRequest(f"'{where}[{index}].type' must be 'input_text' or 'output_text'.")
        texts.append(_text(part, _TEXT_PARTS[kind], f"{where}[{index}]"))
    return "".join(texts)


def _parts(content: Any, where: str) -> list[Any]:
    if not isinstance(content, list) or not content:
        raise BadRequest(f"'{where}' must be a text or a list of at least one part.")
    return content


def _text(document: Mapping[str, Any], field: str, where: str) -> str:
    value = document.get(field)
    if not isinstance(value, str):
        raise BadRequest(f"'{where}.{field}' must be a text.")
    return value
