"""From OpenAI's messages to Anthropic's turns of a conversation.

Source: Anthropic API reference, messages, create (`messages`, `system`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from moorage.api.errors import BadRequest
from moorage.external.chat_bodies import ImagePart, Message, Role, TextPart, data_of
from moorage.external.exchange import Document

_IMAGE_TYPES = ("image/gif", "image/jpeg", "image/png", "image/webp")
_NOT_IN_AN_ID = re.compile(r"[^a-zA-Z0-9_-]")


def system_blocks(conversation: Sequence[Message]) -> list[Document]:
    """What system and developer messages say, wherever they stand: Anthropic's models take it at the beginning."""
    return [
        block
        for message in conversation
        if message.role in (Role.SYSTEM, Role.DEVELOPER)
        for block in _text_blocks(message)
    ]


def turns(conversation: Sequence[Message]) -> list[Document]:
    """All else, in turns of user and assistant. Messages of one side that follow each other become one turn: results
    of tools must be together, at the beginning of what the user says next.

    Raises:
        BadRequest: there is something that no turn can hold.
    """
    found: list[Document] = []
    for message in conversation:
        if message.role is Role.ASSISTANT:
            role, blocks = "assistant", _assistant(message)
        elif message.role is Role.USER:
            role, blocks = "user", _user(message)
        elif message.role is Role.TOOL:
            role, blocks = "user", [_tool_result(message)]
        else:
            continue
        if not blocks:
            continue
        if found and found[-1]["role"] == role:
            found[-1]["content"] += blocks
        else:
            found.append({"role": role, "content": blocks})
    if not found:
        raise BadRequest("'messages' must hold at least one message with role 'user'.")
    return found


def used_tools(conversation: Sequence[Message]) -> list[str]:
    """The names of tools that were called, each once."""
    return list(dict.fromkeys(call.name for message in conversation for call in message.tool_calls))


def _user(message: Message) -> list[Document]:
    blocks = [_text_or_image(part, given) for part, given in _parts(message) if not _is_blank(part)]
    if not blocks:
        raise BadRequest(f"'{message.where}.content' must not be empty.")
    return blocks


def _assistant(message: Message) -> list[Document]:
    """Thinking goes first, as it came; a model that thinks and calls tools must be given it again."""
    thinking = [block for part in _given_parts(message) for block in _thinking(part)]
    calls = [
        {"type": "tool_use", "id": _id(call.id), "name": call.name, "input": call.parsed_arguments()}
        for call in message.tool_calls
    ]
    return [*thinking, *_text_blocks(message), *calls]


def _tool_result(message: Message) -> Document:
    result: Document = {"type": "tool_result", "tool_use_id": _id(message.tool_call_id)}
    blocks = [_text_or_image(part, given) for part, given in _parts(message) if not _is_blank(part)]
    if blocks:
        result["content"] = blocks
    return result


def _text_blocks(message: Message) -> list[Document]:
    blocks = []
    for part, given in _parts(message):
        if isinstance(part, ImagePart):
            raise BadRequest(f"'{part.where}': only messages of the user and of tools may hold images.")
        if not _is_blank(part):
            blocks.append(_text_or_image(part, given))
    return blocks


def _parts(message: Message) -> Iterator[tuple[TextPart | ImagePart, Document]]:
    """Each part with the document that it was read from, for what is Anthropic's own in it."""
    content = message.document.get("content")
    if not isinstance(content, list):
        return ((part, {}) for part in message.parts)
    return zip(message.parts, (part for part in content if part.get("type") != "reasoning"), strict=True)


def _given_parts(message: Message) -> list[Any]:
    content = message.document.get("content")
    return content if isinstance(content, list) else []


def _is_blank(part: TextPart | ImagePart) -> bool:
    """Anthropic refuses text that is empty or nothing but white space."""
    return isinstance(part, TextPart) and not part.text.strip()


def _text_or_image(part: TextPart | ImagePart, given: Document) -> Document:
    block: Document
    if isinstance(part, TextPart):
        block = {"type": "text", "text": part.text}
    else:
        block = {"type": "image", "source": _source(part)}
    if isinstance(given.get("cache_control"), dict):
        block["cache_control"] = given["cache_control"]
    return block


def _source(image: ImagePart) -> Document:
    if image.url.startswith("https://"):
        return {"type": "url", "url": image.url}
    if not image.url.startswith("data:"):
        raise BadRequest(f"'{image.where}' must be an https: or a data: URL.")
    media_type, data = data_of(image)
    if media_type == "image/jpg":
        media_type = "image/jpeg"
    if media_type not in _IMAGE_TYPES:
        raise BadRequest(f"'{image.where}' must be an image of one of the types {', '.join(_IMAGE_TYPES)}.")
    return {"type": "base64", "media_type": media_type, "data": data}


def _thinking(part: Any) -> Iterator[Document]:
    """Thinking in a part of an earlier answer. Without its signature Anthropic would not take it."""
    summary = part.get("summary") if isinstance(part, dict) and part.get("type") == "reasoning" else None
    for piece in summary if isinstance(summary, list) else ():
        match piece:
            case {"type": "summary_text", "text": str(text), "signature": str(signature)}:
                yield {"type": "thinking", "thinking": text, "signature": signature}
            case {"type": "summary_encrypted_text", "data": str(data)}:
                yield {"type": "redacted_thinking", "data": data}


def _id(tool_call_id: str) -> str:
    """Other providers' ids may hold what Anthropic's must not, and a conversation may begin with another provider."""
    return _NOT_IN_AN_ID.sub("_", tool_call_id)
