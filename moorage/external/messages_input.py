"""From the turns of Anthropic's Messages requests to OpenAI's chat messages.

Source: Anthropic API reference, messages, create (`messages`, `system`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from moorage.api.errors import BadRequest
from moorage.external.anthropic_answers import reasoning_part, redacted_part
from moorage.external.chat_answers import tool_call
from moorage.external.exchange import Document


def messages_of(system: Any, turns: Any) -> list[Document]:
    """
    Raises:
        BadRequest: something is not as it should be, or a chat has nothing like it; the message names the field.
    """
    if not isinstance(turns, list) or not turns:
        raise BadRequest("'messages' must be a list of at least one message.")
    messages = _system(system, "system") if system is not None else []
    for index, turn in enumerate(turns):
        where = f"messages[{index}]"
        role = turn.get("role") if isinstance(turn, dict) else None
        if role == "user":
            messages += _user(turn.get("content"), f"{where}.content")
        elif role == "assistant":
            messages += _assistant(turn.get("content"), f"{where}.content")
        elif role == "system":
            messages += _system(turn.get("content"), f"{where}.content")
        else:
            raise BadRequest(f"'{where}.role' must be 'user', 'assistant' or 'system'.")
    return messages


def text_field(document: Mapping[str, Any], field: str, where: str) -> str:
    value = document.get(field)
    if not isinstance(value, str):
        raise BadRequest(f"'{where}.{field}' must be a text.")
    return value


def _system(content: Any, where: str) -> list[Document]:
    texts = []
    for block, at in _blocks(content, where):
        if block["type"] != "text":
            raise BadRequest(f"'{at}.type' must be 'text'.")
        texts.append(text_field(block, "text", at))
    return [{"role": "system", "content": "\n\n".join(texts)}] if texts else []


def _user(content: Any, where: str) -> list[Document]:
    """Results of tools are messages of their own, which follow what the assistant said; the rest comes after them."""
    if isinstance(content, str):
        return [{"role": "user", "content": content}]
    results: list[Document] = []
    parts: list[Document] = []
    for block, at in _blocks(content, where):
        if block["type"] == "tool_result":
            text, images = _result(block.get("content"), f"{at}.content")
            results.append({"role": "tool", "tool_call_id": text_field(block, "tool_use_id", at), "content": text})
            parts += images
        else:
            parts.append(_part(block, at))
    return [*results, {"role": "user", "content": parts}] if parts else results


def _result(content: Any, where: str) -> tuple[str, list[Document]]:
    """A message of a tool holds text alone: its images come with what the user says."""
    texts, images = [], []
    for block, at in _blocks(content, where) if content is not None else ():
        part = _part(block, at)
        if part["type"] == "text":
            texts.append(part["text"])
        else:
            images.append(part)
    return "\n".join(texts), images


def _assistant(content: Any, where: str) -> list[Document]:
    if isinstance(content, str):
        return [{"role": "assistant", "content": content}]
    text = ""
    thinking: list[Document] = []
    calls = []
    for block, at in _blocks(content, where):
        kind = block["type"]
        if kind == "text":
            text += text_field(block, "text", at)
        elif kind == "tool_use":
            arguments = block.get("input")
            if not isinstance(arguments, dict):
                raise BadRequest(f"'{at}.input' must be an object.")
            name = text_field(block, "name", at)
            calls.append(tool_call(text_field(block, "id", at), name, orjson.dumps(arguments).decode()))
        elif kind == "thinking":
            # Only models that sign their thinking want it back, and others would refuse to be given it.
            if block.get("signature"):
                signature = text_field(block, "signature", at)
                thinking.append(reasoning_part(text_field(block, "thinking", at), signature))
        elif kind == "redacted_thinking":
            thinking.append(redacted_part(text_field(block, "data", at)))
        else:
            raise BadRequest(f"'{at}.type' must be 'text', 'tool_use', 'thinking' or 'redacted_thinking'.")
    message: Document = {"role": "assistant", "content": text or None}
    if thinking:
        message["content"] = [*thinking, {"type": "text", "text": text}] if text else thinking
    if calls:
        message["tool_calls"] = calls
    return [message] if message["content"] or calls else []


def _blocks(content: Any, where: str) -> list[tuple[Document, str]]:
    """Each block with how it is named; a text stands for one block of it."""
    if isinstance(content, str):
        return [({"type": "text", "text": content}, where)]
    if not isinstance(content, list):
        raise BadRequest(f"'{where}' must be a text or a list of blocks.")
    for index, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise BadRequest(f"'{where}[{index}]' must be an object with 'type'.")
    return [(block, f"{where}[{index}]") for index, block in enumerate(content)]


def _part(block: Document, where: str) -> Document:
    if block["type"] == "text":
        return {"type": "text", "text": text_field(block, "text", where)}
    source = block.get("source")
    if block["type"] not in ("image", "document"):
        raise BadRequest(f"'{where}.type' must be 'text', 'image', 'document' or 'tool_result'.")
    if not isinstance(source, dict):
        raise BadRequest(f"'{where}.source' must be an object with 'type'.")
    if block["type"] == "image":
        return {"type": "image_url", "image_url": {"url": _image_url(source, f"{where}.source")}}
    if source.get("type") != "text":
        raise BadRequest(f"'{where}.source.type' must be 'text': other documents cannot be passed on.")
    return {"type": "text", "text": text_field(source, "data", f"{where}.source")}


def _image_url(source: Document, where: str) -> str:
    if source.get("type") == "url":
        return text_field(source, "url", where)
    if source.get("type") == "base64":
        return f"data:{text_field(source, 'media_type', where)};base64,{text_field(source, 'data', where)}"
    raise BadRequest(f"'{where}.type' must be 'base64' or 'url'.")
