"""What a chat says, in the words of Anthropic's messages: for whole answers and for streams.

Source: Anthropic API reference, messages, create; errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moorage.external.anthropic_wire import STATUSES, RedactedThinkingBlock, TextBlock, ThinkingBlock
from moorage.external.chat_reading import spoken_in
from moorage.external.exchange import Document

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_ERRORS = {status: kind for kind, status in STATUSES.items()} | {503: "overloaded_error"}


def words_in(message: Mapping[str, Any]) -> list[TextBlock | ThinkingBlock | RedactedThinkingBlock]:
    """What a message or delta says, without its tool calls; thinking first.

    Raises:
        UnreadableAnswer: it is not as OpenAI describes it.
    """
    spoken = spoken_in(message)
    signature, redacted = _proofs(message.get("content"))
    words: list[TextBlock | ThinkingBlock | RedactedThinkingBlock] = []
    if spoken.reasoning or signature:
        words.append(ThinkingBlock(thinking=spoken.reasoning, signature=signature))
    words += [RedactedThinkingBlock(data=data) for data in redacted]
    if text := spoken.text + spoken.refusal:
        words.append(TextBlock(text=text))
    return words


def _proofs(content: Any) -> tuple[str, list[str]]:
    """What the model wants back with its reasoning: the signature, and reasoning that it shows encrypted alone."""
    signature = ""
    redacted = []
    for part in content if isinstance(content, list) else ():
        summary = part.get("summary")
        for piece in summary if isinstance(summary, list) else ():
            match piece:
                case {"type": "summary_encrypted_text", "data": str(data)}:
                    redacted.append(data)
                case {"signature": str(given)}:
                    signature = given
    return signature, redacted


def stop_reason(finish_reason: Any, *, tool_calls: bool) -> str:
    """`tool_calls`: whether the answer has some; not every provider says so in its reason."""
    reason = _STOP_REASONS.get(finish_reason, "end_turn") if isinstance(finish_reason, str) else "end_turn"
    return "tool_use" if tool_calls and reason == "end_turn" else reason


def usage_of(usage: Any) -> Document:
    """Anthropic's `usage`, which counts tokens from a cache apart; zeros for what was not said."""
    said = usage if isinstance(usage, dict) else {}
    details = said.get("prompt_tokens_details")
    details = details if isinstance(details, dict) else {}
    read, written = _count(details, "cached_tokens"), _count(details, "cache_write_tokens")
    found = {
        "input_tokens": max(0, _count(said, "prompt_tokens") - read - written),
        "output_tokens": _count(said, "completion_tokens"),
    }
    if read or written:
        found |= {"cache_read_input_tokens": read, "cache_creation_input_tokens": written}
    return found


def _count(counts: Mapping[str, Any], field: str) -> int:
    value = counts.get(field)
    return value if type(value) is int and value >= 0 else 0


def message_document(
    chat: Mapping[str, Any], content: list[Document], reason: str | None, usage: Document
) -> Document:
    """A message, with id and model of the answer or chunk `chat`."""
    return {
        "id": str(chat.get("id") or ""),
        "type": "message",
        "role": "assistant",
        "model": str(chat.get("model") or ""),
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": usage,
    }


def error_document(status: int, message: str) -> Document:
    """Anthropic's error for an HTTP status."""
    kind = _ERRORS.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}}
