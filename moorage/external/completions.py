"""Completions by a chat model: the prompt is what a user says.

Source: OpenAI API reference, completions, create.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moorage.api.errors import BadRequest
from moorage.external.chat_reading import choices_in, delta_of, message_of, spoken_in
from moorage.external.exchange import Document

_LEFT_BEHIND = frozenset(
    {"prompt", "echo", "suffix", "logprobs", "best_of", "use_raw_prompt", "error_behavior", "instruction"}
)
_BESIDE_CHOICES = ("id", "created", "model", "system_fingerprint")
_FINISH_REASONS = frozenset({"stop", "length", "content_filter"})


def chat_body_of(body: Mapping[str, Any]) -> Document:
    """The body of chat completions that asks for the same.

    Raises:
        BadRequest: there is not exactly one prompt, or a field asks for what chat models cannot do.
    """
    prompt = _prompt(body.get("prompt"))
    _refuse(body)
    chat = {field: value for field, value in body.items() if field not in _LEFT_BEHIND}
    chat["messages"] = [{"role": "user", "content": prompt}]
    return chat


def completion_of(answer: Document) -> Document:
    """The completion in a chat answer.

    Raises:
        UnreadableAnswer: the answer is not one of chat completions.
    """
    completion = _beside_choices(answer)
    completion["choices"] = [_choice(choice, spoken_in(message_of(choice)).text) for choice in choices_in(answer)]
    return completion


def completion_chunk_of(chunk: Document) -> Document | None:
    """The chunk of a completion in one of chat; None where it says nothing that completions have.

    Raises:
        UnreadableAnswer: the chunk is not one of chat completions.
    """
    choices = []
    for choice in choices_in(chunk):
        text = spoken_in(delta_of(choice)).text
        if text or choice.get("finish_reason") is not None:
            choices.append(_choice(choice, text))
    if not choices and chunk.get("usage") is None:
        return None
    completion = _beside_choices(chunk)
    completion["choices"] = choices
    return completion


def _prompt(prompt: Any) -> str:
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, list) and len(prompt) > 1 and all(isinstance(one, str) for one in prompt):
        raise BadRequest(f"'prompt' has {len(prompt)} prompts, and this model takes one: send a request for each.")
    raise BadRequest("'prompt' must be a text, or a list of one text; tokens are not taken.")


def _refuse(body: Mapping[str, Any]) -> None:
    if body.get("suffix"):
        raise BadRequest("'suffix' must be left out: this model writes on from a prompt, not between two texts.")
    if body.get("echo"):
        raise BadRequest("'echo' must be false: this model does not repeat the prompt.")
    if body.get("logprobs") is not None:
        raise BadRequest("'logprobs' must be left out: this model gives completions without them.")
    if body.get("best_of") not in (None, 1):
        raise BadRequest("'best_of' must be 1: this model's completions are not ranked; 'n' asks for more.")
    if body.get("use_raw_prompt"):
        raise BadRequest("'use_raw_prompt' must be false: the provider puts prompts into its chat template itself.")
    if body.get("error_behavior") not in (None, "error"):
        raise BadRequest("'error_behavior' must be 'error': a prompt that is too long is not truncated.")


def _beside_choices(chat: Document) -> Document:
    completion: Document = {"object": "text_completion"}
    completion.update({field: chat[field] for field in _BESIDE_CHOICES if field in chat})
    if chat.get("usage") is not None:
        completion["usage"] = chat["usage"]
    return completion


def _choice(choice: Document, text: str) -> Document:
    """Chat models also end with calls of tools, which completions do not have."""
    reason = choice.get("finish_reason")
    if reason is not None and reason not in _FINISH_REASONS:
        reason = "stop"
    return {"index": choice.get("index", 0), "text": text, "finish_reason": reason, "logprobs": None}
