"""From OpenAI's conversations to Gemini's: `contents` and `systemInstruction`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import orjson

from moorage.api.errors import BadRequest
from moorage.external.chat_bodies import ImagePart, Message, Role, TextPart, ToolCall, data_of
from moorage.external.exchange import Document
from moorage.external.gemini_models import thinks_by_level

_IMAGE_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
}
_NO_SIGNATURE = "skip_thought_signature_validator"
"""What stands for the signature of a call that another model made, or whose signature a client did not keep.

Gemini 3 refuses calls without one. Source: Gemini API, thought signatures, questions and answers.
"""


class Host(Enum):
    """Where Gemini models are served: the two take not quite the same bodies."""

    GEMINI_API = "Gemini API"
    VERTEX_AI = "Vertex AI"


def system_instruction(messages: Sequence[Message]) -> Document | None:
    """What system and developer messages say; there is one place for all of them."""
    parts = []
    for message in messages:
        if message.role in (Role.SYSTEM, Role.DEVELOPER):
            _refuse_images(message, f"a {message.role} message")
            parts += [{"text": part.text} for part in message.parts if isinstance(part, TextPart)]
    return {"parts": parts} if parts else None


def contents(messages: Sequence[Message], model: str, host: Host) -> list[Document]:
    """All other messages.

    The results of tools that follow one another are one content, in the order of their calls: Gemini wants as many
    results as there were calls, and tells those of one function apart by their order.

    Raises:
        BadRequest: see `chat_bodies`; or no message is left, or one answers a call that was not made.
    """
    found: list[Document] = []
    called: dict[str, str] = {}
    results: dict[str, Document] = {}
    for message in messages:
        if message.role is Role.TOOL:
            if message.tool_call_id not in called:
                raise BadRequest(f"'{message.where}.tool_call_id' must be the id of a tool call before this message.")
            results[message.tool_call_id] = _result(message, called[message.tool_call_id], host)
            continue
        found += _results(results, called)
        results = {}
        if message.role is Role.USER:
            found.append({"role": "user", "parts": [_part(part) for part in message.parts] or [{"text": ""}]})
        elif message.role is Role.ASSISTANT:
            for call in message.tool_calls:
                called.pop(call.id, None)  # an id that is used again takes its place in the order of this turn
                called[call.id] = call.name
            if parts := [*_spoken(message), *_calls(message, model, host)]:
                found.append({"role": "model", "parts": parts})
    found += _results(results, called)
    if not found:
        raise BadRequest("'messages' must hold a message that is no system or developer message.")
    return found


def _spoken(message: Message) -> list[Document]:
    """What the assistant said; empty text says nothing, and Gemini refuses it beside calls."""
    _refuse_images(message, "an assistant message")
    said = [part.text for part in message.parts if isinstance(part, TextPart) and part.text]
    refusal = message.document.get("refusal")
    if not said and isinstance(refusal, str) and refusal:
        said = [refusal]
    return [{"text": text} for text in said]


def _refuse_images(message: Message, what: str) -> None:
    if any(isinstance(part, ImagePart) for part in message.parts):
        raise BadRequest(f"'{message.where}.content' must be text: it is {what}.")


def _calls(message: Message, model: str, host: Host) -> list[Document]:
    parts: list[Document] = []
    documents = message.document.get("tool_calls") or []
    for call, document in zip(message.tool_calls, documents, strict=True):
        part: Document = {"functionCall": {"name": call.name, "args": call.parsed_arguments(), **_id(call, host)}}
        signature = signature_of(document)
        if signature is None and not parts and thinks_by_level(model):
            signature = _NO_SIGNATURE
        if signature is not None:
            part["thoughtSignature"] = signature
        parts.append(part)
    return parts


def _id(call: ToolCall, host: Host) -> Document:
    return {"id": call.id} if host is Host.GEMINI_API else {}  # Vertex AI refuses it


def signature_of(tool_call: Mapping[str, Any]) -> str | None:
    """The signature that `extra_content` of a tool call in OpenAI's form holds, where Google's own API has it."""
    held: Any = tool_call
    for step in ("extra_content", "google", "thought_signature"):
        held = held.get(step) if isinstance(held, Mapping) else None
    return held if isinstance(held, str) and held else None


def _result(message: Message, name: str, host: Host) -> Document:
    _refuse_images(message, "the result of a tool")
    response: Document = {"name": name, "response": _as_object(message.text)}
    if host is Host.GEMINI_API:
        response["id"] = message.tool_call_id
    return {"functionResponse": response}


def _as_object(text: str) -> Document:
    """A result must be an object; one that is none goes under `output`, where Gemini looks for it."""
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {"output": text}


def _results(results: Mapping[str, Document], called: Mapping[str, str]) -> list[Document]:
    if not results:
        return []
    order = {id: place for place, id in enumerate(called)}
    return [{"role": "user", "parts": [results[id] for id in sorted(results, key=order.__getitem__)]}]


def _part(part: TextPart | ImagePart) -> Document:
    if isinstance(part, TextPart):
        return {"text": part.text}
    if part.url.startswith("data:"):
        media_type, data = data_of(part)
        return {"inlineData": {"mimeType": media_type, "data": data}}
    if not part.url.startswith(("https://", "gs://")):
        raise BadRequest(f"'{part.where}' must be a data:, https: or gs: URL.")
    path = part.url.partition("?")[0].partition("#")[0]
    _, dot, ending = path.rpartition("/")[2].rpartition(".")
    media_type = _IMAGE_TYPES.get(ending.lower(), "") if dot else ""
    return {"fileData": {"fileUri": part.url, **({"mimeType": media_type} if media_type else {})}}
