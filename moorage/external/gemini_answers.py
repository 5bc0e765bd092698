"""Gemini's answers and the chunks of its streams, in OpenAI's form. Source: as `gemini`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from moorage.external.chat_answers import read_as, tool_call, usage_document
from moorage.external.exchange import Answer, Call, Document, UnreadableAnswer, Usage

_LEAST_LOGPROB = -9999.0  # as OpenAI writes what JSON has no number for
_FINISH_REASONS = {
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "ESCALATION": "content_filter",
    "PUP_LIMITED_DISABLED": "content_filter",
}
_FAILED = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MALFORMED_RESPONSE",
        "MISSING_THOUGHT_SIGNATURE",
    }
)
"""Endings that are no answer when nothing came before them: OpenAI has no word for them."""


class _Form(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)


class _FunctionCall(_Form):
    id: str | None = None
    name: str
    args: dict[str, Any] | None = None


class _Blob(_Form):
    mime_type: str = "data"


class _Part(_Form):
    text: str | None = None
    thought: bool = False
    thought_signature: str | None = None
    function_call: _FunctionCall | None = None
    inline_data: _Blob | None = None


class _Content(_Form):
    parts: list[_Part] | None = None


class _Token(_Form):
    token: str = ""
    log_probability: float = 0.0


class _TopTokens(_Form):
    candidates: list[_Token] = []


class _Logprobs(_Form):
    chosen_candidates: list[_Token] = []
    top_candidates: list[_TopTokens] = []


class Candidate(_Form):
    """`index` is absent from the first, as zeros are."""

    index: int = 0
    content: _Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    logprobs_result: _Logprobs | None = None


class _PromptFeedback(_Form):
    block_reason: str | None = None
    block_reason_message: str | None = None


class _UsageMetadata(_Form):
    prompt_token_count: int = 0
    cached_content_token_count: int = 0
    tool_use_prompt_token_count: int = 0
    candidates_token_count: int = 0
    thoughts_token_count: int = 0


class _Error(_Form):
    code: int = 500
    message: str = ""
    status: str = ""


class Reply(_Form):
    """A whole answer, or one event of a stream."""

    candidates: list[Candidate] = []
    prompt_feedback: _PromptFeedback | None = None
    usage_metadata: _UsageMetadata | None = None
    model_version: str | None = None
    response_id: str | None = None
    error: _Error | None = None

    @property
    def usage(self) -> Usage | None:
        """Thoughts are paid for as output, so they count as such."""
        if (held := self.usage_metadata) is None:
            return None
        return Usage(
            held.prompt_token_count + held.tool_use_prompt_token_count,
            held.candidates_token_count + held.thoughts_token_count,
        )

    def usage_document(self) -> Document | None:
        if (held := self.usage_metadata) is None or (usage := self.usage) is None:
            return None
        document = usage_document(usage, {"cached_tokens": held.cached_content_token_count})
        return {**document, "completion_tokens_details": {"reasoning_tokens": held.thoughts_token_count}}

    @property
    def blocked(self) -> str | None:
        """Why there is no answer to this prompt, in words."""
        if (held := self.prompt_feedback) is None or held.block_reason is None:
            return None
        return held.block_reason_message or f"The prompt was blocked: {held.block_reason}."


@dataclass(slots=True)
class Choice:
    """One candidate, as a whole or piece by piece."""

    call_id: str
    index: int
    calls: int = 0
    spoke: bool = False
    finished: bool = False

    def take(self, candidate: Candidate) -> tuple[Document, str | None]:
        """What this piece adds to the message (`content`, `tool_calls`, `refusal`), and why it ends, if it does.

        Raises:
            UnreadableAnswer: it is none that chat completions have a form for.
        """
        parts = (candidate.content.parts if candidate.content is not None else None) or []
        added: Document = {}
        if text := "".join(part.text for part in parts if part.text and not part.thought):
            added["content"] = text
            self.spoke = True
        calls = [self._tool_call(part.function_call, part) for part in parts if part.function_call is not None]
        if calls:
            added["tool_calls"] = calls
        for part in parts:
            if part.inline_data is not None:
                kind = part.inline_data.mime_type
                raise UnreadableAnswer(f"the model answered with {kind}; chat completions hold text and tool calls")
        reason = candidate.finish_reason
        if reason is None or self.finished:
            return added, None
        self.finished = True
        return self._ended(added, reason, candidate.finish_message)

    def _ended(self, added: Document, reason: str, words: str | None) -> tuple[Document, str]:
        empty = not self.spoke and not self.calls
        if reason in _FAILED and empty:
            raise UnreadableAnswer(f"the model ended with {reason}{': ' + words if words else ''}")
        finish_reason = _FINISH_REASONS.get(reason, "stop")
        if finish_reason == "content_filter" and empty:
            added["refusal"] = words or f"The answer was blocked: {reason}."
        if finish_reason == "stop" and self.calls:
            finish_reason = "tool_calls"
        return added, finish_reason

    def _tool_call(self, call: _FunctionCall, part: _Part) -> Document:
        made_up = hashlib.sha256(f"{self.call_id}/{self.index}/{self.calls}".encode()).hexdigest()[:24]
        self.calls += 1
        document = tool_call(call.id or f"call_{made_up}", call.name, orjson.dumps(call.args or {}).decode())
        if part.thought_signature:
            document["extra_content"] = {"google": {"thought_signature": part.thought_signature}}
        return document


def logprobs(candidate: Candidate) -> Document | None:
    """The log probabilities of the tokens, in OpenAI's form."""
    held = candidate.logprobs_result
    if held is None or not held.chosen_candidates:
        return None
    tops: Sequence[_TopTokens] = held.top_candidates
    content = []
    for place, chosen in enumerate(held.chosen_candidates):
        others = tops[place].candidates if place < len(tops) else []
        content.append({**_token(chosen), "top_logprobs": [_token(other) for other in others]})
    return {"content": content, "refusal": None}


def _token(token: _Token) -> Document:
    return {
        "token": token.token,
        "logprob": max(token.log_probability, _LEAST_LOGPROB),
        "bytes": list(token.token.encode()),
    }


def chat_answer(model: str, call: Call, body: bytes) -> Answer:
    """The answer of `generateContent`.

    Raises:
        UnreadableAnswer: it is none.
    """
    reply = read_as(Reply, body, "the answer")
    if reply.error is not None:
        raise UnreadableAnswer(f"it is an error: {reply.error.message or reply.error.status}")
    choices = [_whole_choice(call, index, candidate) for index, candidate in enumerate(reply.candidates)]
    if (blocked := reply.blocked) is not None and not choices:
        message = {"role": "assistant", "content": "", "refusal": blocked}
        choices = [{"index": 0, "message": message, "finish_reason": "content_filter", "logprobs": None}]
    if not choices:
        raise UnreadableAnswer("the answer has no candidates, and does not say that the prompt was blocked")
    document: Document = {
        "id": reply.response_id or call.id,
        "object": "chat.completion",
        "created": call.created,
        "model": reply.model_version or model,
        "choices": choices,
    }
    if (usage := reply.usage_document()) is not None:
        document["usage"] = usage
    return Answer(document, reply.usage)


def _whole_choice(call: Call, index: int, candidate: Candidate) -> Document:
    added, finish_reason = Choice(call.id, index).take(candidate)
    message = {"role": "assistant", "content": None if "tool_calls" in added else "", **added}
    return {
        "index": index,
        "message": message,
        "finish_reason": finish_reason or "stop",
        "logprobs": logprobs(candidate),
    }
