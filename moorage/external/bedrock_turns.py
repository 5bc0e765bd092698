"""The messages of OpenAI's chat form as turns of a conversation on Amazon Bedrock.

Source: Amazon Bedrock API reference, Converse (`Message`, `ContentBlock`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moorage.api.errors import BadRequest
from moorage.external import chat_bodies
from moorage.external.chat_bodies import ImagePart, Message, Role
from moorage.external.exchange import Document

_IMAGE_FORMATS = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}


def system_texts(messages: Sequence[Message]) -> list[str]:
    """What system and developer say, wherever in the conversation: Bedrock has one place for it."""
    return [message.text for message in messages if _is_system(message) and message.text.strip()]


def _is_system(message: Message) -> bool:
    return message.role in (Role.SYSTEM, Role.DEVELOPER)


def turns_of(messages: Sequence[Message]) -> list[Document]:
    """Turns of user and assistant; messages in a row of the same side become one turn, as Converse wants them."""
    turns: list[Document] = []
    for message in messages:
        if _is_system(message):
            if any(isinstance(part, ImagePart) for part in message.parts):
                raise BadRequest(f"'{message.where}.content' must be text alone.")
            continue
        content = _content(message)
        if not content:
            continue
        role = "assistant" if message.role is Role.ASSISTANT else "user"
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += content
        else:
            turns.append({"role": role, "content": content})
    if not turns:
        raise BadRequest("'messages' must have at least one message of role 'user'.")
    return turns


def _content(message: Message) -> list[Document]:
    if message.role is Role.TOOL:
        return [{"toolResult": {"toolUseId": message.tool_call_id, "content": _parts(message)}}]
    parts = _parts(message)
    if message.role is Role.USER:
        if not parts:
            raise BadRequest(f"'{message.where}.content' must not be empty.")
        return parts
    calls = [
        {"toolUse": {"toolUseId": call.id, "name": call.name, "input": call.parsed_arguments()}}
        for call in message.tool_calls
    ]
    return [*_reasoning(message), *parts, *calls]


def _parts(message: Message) -> list[Document]:
    """Blank texts are left out: Bedrock refuses them."""
    parts: list[Document] = []
    for part in message.parts:
        if isinstance(part, ImagePart):
            parts.append(_image(part))
        elif part.text.strip():
            parts.append({"text": part.text})
    return parts


def _image(image: ImagePart) -> Document:
    media_type, data = chat_bodies.data_of(image)
    if media_type not in _IMAGE_FORMATS:
        known = ", ".join(_IMAGE_FORMATS)
        raise BadRequest(f"'{image.where}' has media type '{media_type}'; it must be one of {known}.")
    return {"image": {"format": _IMAGE_FORMATS[media_type], "source": {"bytes": data}}}


def _reasoning(message: Message) -> list[Document]:
    """The reasoning in an earlier answer's content: a model that thinks wants it back with its tools' results.

    Answers give it in parts, and streams in pieces of which the last has the signature. What is not signed cannot
    be given back.
    """
    content = message.document.get("content")
    parts = content if isinstance(content, list) else []
    blocks: list[Document] = []
    text = ""
    for said in (said for part in parts for said in _summaries(part)):
        match said:
            case {"type": "summary_encrypted_text", "data": str(data)}:
                blocks.append({"reasoningContent": {"redactedContent": data}})
            case {"type": "summary_text", "text": str(piece)}:
                text += piece
                if isinstance(signature := said.get("signature"), str) and signature:
                    blocks.append({"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}})
                    text = ""
    return blocks


def _summaries(part: Any) -> list[Any]:
    match part:
        case {"type": "reasoning", "summary": list(summaries)}:
            return summaries
    return []
