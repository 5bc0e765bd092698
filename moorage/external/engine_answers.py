"""Answers of engines of this machine: always streams, of which chunks or one whole answer are made.

Only what clients know of OpenAI's form is taken over. Engines differ in the rest: llama.cpp sends a usage for each
choice, and token probabilities of completions in the form of chat; vLLM sends nulls for all that it has not to say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from moorage.api.external_models import ExternalTask
from moorage.external.chat_answers import usage_document
from moorage.external.chat_reading import called_functions, choices_in, delta_of
from moorage.external.engine_requests import prompts_of, top_logprobs_of
from moorage.external.engine_tools import ForcedCall, forced_functions
from moorage.external.exchange import Answer, Call, Document, StreamFailed, Target, UnreadableAnswer, Usage
from moorage.external.openai_format import choices_of
from moorage.external.pass_through import failure_in, usage_from
from moorage.external.sse import EventTooLong, SseEvent, SseParser

_DONE = b"[DONE]"
_FINISH_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter"})
_NOISE = re.compile(
    r"\[json\.exception\.[\w.]+\] |Unable to generate parser for this template\. Automatic parser generation failed: "
)
_TOO_LARGE = re.compile(r"input \((\d+) tokens\) is too large to process.*batch size: (\d+)\)")
_SHOWN = 200


def error_words(error: Mapping[str, Any]) -> str:
    """What an engine's error object says; empty where it says nothing."""
    tokens, room = error.get("n_prompt_tokens"), error.get("n_ctx")
    message = error.get("message")
    if not isinstance(tokens, int) or not isinstance(room, int):
        if not isinstance(message, str):
            return ""
        too_large = _TOO_LARGE.search(message)
        if too_large is None:
            return _NOISE.sub("", message)
        tokens, room = int(too_large[1]), int(too_large[2])
    return f"the request has {tokens} tokens, and the model has room for {room}: shorten it"


@dataclass(slots=True)
class _Choice:
    """What has come of a choice. `characters` counts those of a completion, with the prompt that it repeats."""

    call: ForcedCall | None
    before: str
    begun: bool = False
    ended: bool = False
    characters: int = 0
    calls_begun: set[int] = field(default_factory=set)


class EngineStream:
    """A `ChunkStream` of chat completions or completions by an engine; the last chunk is one of usage alone."""

    def __init__(self, target: Target, call: Call) -> None:
        self.usage: Usage | None = None
        self.finished = False
        self._chat = call.task is ExternalTask.CHAT
        self._call = call
        self._beside: Document = {
            "id": call.id,
            "object": "chat.completion.chunk" if self._chat else "text_completion",
            "created": call.created,
            "model": target.model,
        }
        self._forced = forced_functions(call.body) if self._chat else []
        self._for_each_prompt = choices_of(call.body)
        prompts = [""] if self._chat else prompts_of(call.body)
        echo = not self._chat and call.body.get("echo") is True
        self._choices = {
            index: _Choice(
                call=ForcedCall(self._call_id(index, 0), self._forced) if self._forced else None,
                before=prompts[index // self._for_each_prompt] if echo else "",
            )
            for index in range(self._for_each_prompt * len(prompts))
        }
        self._read: dict[int, int] = {}  # tokens, by prompt
        self._written = 0
        self._events = SseParser()

    def feed(self, data: bytes) -> list[Document]:
        """See `ChunkStream`."""
        try:
            events = self._events.feed(data)
        except EventTooLong as error:
            raise UnreadableAnswer(str(error)) from None
        return self._chunks(events)

    def end(self) -> list[Document]:
        """See `ChunkStream`; an event that was cut off is dropped, and `finished` is then false."""
        try:
            chunks = self._chunks(self._events.end())
        except UnreadableAnswer:
            chunks = []  # half an event: the connection broke, which `finished` tells
        return chunks + self._finish()

    def _chunks(self, events: list[SseEvent]) -> list[Document]:
        chunks: list[Document] = []
        for event in events:
            if self.finished:
                break
            payload = event.data.strip()
            if payload.startswith(_DONE):
                chunks += self._finish()
            elif payload not in (b"", b"null"):  # llama.cpp begins a list of prompts with a null
                chunks += self._chunk(payload)
        return chunks

    def _finish(self) -> list[Document]:
        """The chunk of usage, where all choices have ended and it has not come before."""
        if self.finished or not all(choice.ended for choice in self._choices.values()):
            return []
        self.finished = True
        if self.usage is None:
            return []
        return [{**self._beside, "choices": [], "usage": usage_document(self.usage)}]

    def _chunk(self, payload: bytes) -> list[Document]:
        try:
            document = orjson.loads(payload)
        except orjson.JSONDecodeError:
            document = None
        if not isinstance(document, dict):
            shown = payload[:_SHOWN].decode("utf-8", "replace")
            raise UnreadableAnswer(f"an event of the stream is not a JSON object: {shown}")
        failure = failure_in(document)
        if failure is not None:
            error = document["error"] if isinstance(document.get("error"), dict) else document
            raise StreamFailed(failure.status, error_words(error) or str(failure))
        choices = []
        prompt = 0
        for choice in choices_in(document):
            index = choice.get("index", 0)
            known = self._choices.get(index) if isinstance(index, int) else None
            if known is None:
                raise UnreadableAnswer(f"the stream has a choice {index!r}, which was not asked for")
            prompt = index // self._for_each_prompt
            said = self._said(choice, index, known) if self._chat else self._written_on(choice, known)
            if said is not None:
                choices.append({"index": index, **said})
        usage = usage_from(document.get("usage"))
        if usage is not None:
            self._count(prompt, usage)
        return [{**self._beside, "choices": choices}] if choices else []

    def _count(self, prompt: int, usage: Usage) -> None:
        """Add up what is said of choices; a prompt counts once, however many there are of it."""
        self._read[prompt] = usage.input_tokens
        self._written += usage.output_tokens
        self.usage = Usage(sum(self._read.values()), self._written)

    def _said(self, choice: Document, index: int, known: _Choice) -> Document | None:
        """What a chunk adds to a chat's choice; None where that is nothing."""
        given = delta_of(choice)
        delta: Document = {}
        if not known.begun:
            known.begun = True
            delta = {"role": "assistant", "content": None if known.call is not None else ""}
        reasoning = given.get("reasoning_content") or given.get("reasoning")
        if isinstance(reasoning, str) and reasoning:
            delta["reasoning_content"] = reasoning
        text = given.get("content")
        if isinstance(text, str) and text:
            if known.call is None:
                delta["content"] = text
            elif calls := known.call.feed(text):
                delta["tool_calls"] = _merged(calls)
        if known.call is None and (native := self._tool_calls(given, index, known)):
            delta["tool_calls"] = native
        reason = _finish_reason(choice)
        if reason is not None:
            known.ended = True
            reason = reason if known.call is None else known.call.finish_reason(reason)
        said: Document = {"delta": delta, "finish_reason": reason}
        if known.call is None and (logprobs := _chat_logprobs(choice, top_logprobs_of(self._call.body))):
            said["logprobs"] = logprobs
        return said if delta or reason is not None or "logprobs" in said else None

    def _tool_calls(self, delta: Document, index: int, known: _Choice) -> list[Document]:
        calls: list[Document] = []
        for called in called_functions(delta):
            number = called.index or 0
            function = {"arguments": called.arguments}
            if number in known.calls_begun:
                calls.append({"index": number, "function": function})
                continue
            known.calls_begun.add(number)
            id = called.id or self._call_id(index, number)
            calls.append(
                {"index": number, "id": id, "type": "function", "function": {"name": called.name, **function}}
            )
        return calls

    def _call_id(self, index: int, number: int) -> str:
        return f"call_{self._call.id}_{index}_{number}"

    def _written_on(self, choice: Document, known: _Choice) -> Document | None:
        """What a chunk adds to a completion; None where that is nothing."""
        given = choice.get("text")
        text = given if isinstance(given, str) else ""
        logprobs = _completion_logprobs(choice, known.characters, self._call.body.get("logprobs"))
        if not known.begun:
            known.begun = True
            text = known.before + text
        known.characters += len(text)
        reason = _finish_reason(choice)
        known.ended = known.ended or reason is not None
        if not text and reason is None and logprobs is None:
            return None
        return {"text": text, "logprobs": logprobs, "finish_reason": reason}


def whole_answer(target: Target, call: Call, body: bytes) -> Answer:
    """The answer that a whole stream amounts to.

    Raises:
        UnreadableAnswer: it reports an error, was cut off, or is no stream of an engine.
    """
    stream = EngineStream(target, call)
    try:
        chunks = stream.feed(body) + stream.end()
    except StreamFailed as failure:
        raise UnreadableAnswer(str(failure)) from None
    if not stream.finished:
        raise UnreadableAnswer("its stream ended in the middle")
    chat = call.task is ExternalTask.CHAT
    pieces: dict[int, list[Document]] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            pieces.setdefault(choice["index"], []).append(choice)
    document: Document = {
        "id": call.id,
        "object": "chat.completion" if chat else "text_completion",
        "created": call.created,
        "model": target.model,
        "choices": [(_joined_chat if chat else _joined_text)(index, pieces[index]) for index in sorted(pieces)],
    }
    if stream.usage is not None:
        document["usage"] = usage_document(stream.usage)
    return Answer(document, stream.usage)


def _joined_chat(index: int, pieces: list[Document]) -> Document:
    deltas = [piece["delta"] for piece in pieces]
    content = "".join(delta.get("content") or "" for delta in deltas)
    message: Document = {"role": "assistant", "content": content}
    if reasoning := "".join(delta.get("reasoning_content", "") for delta in deltas):
        message["reasoning_content"] = reasoning
    calls: dict[int, Document] = {}
    for delta in deltas:
        for call in delta.get("tool_calls", ()):
            known = calls.setdefault(call["index"], {**call, "function": {**call["function"], "arguments": ""}})
            known["function"]["arguments"] += call["function"]["arguments"]
    if calls:
        message["content"] = content or None
        message["tool_calls"] = [
            {name: value for name, value in calls[number].items() if name != "index"} for number in sorted(calls)
        ]
    tokens = [token for piece in pieces for token in piece.get("logprobs", {}).get("content", ())]
    logprobs = {"content": tokens} if tokens else None
    return {"index": index, "message": message, "finish_reason": pieces[-1]["finish_reason"], "logprobs": logprobs}


def _joined_text(index: int, pieces: list[Document]) -> Document:
    logprobs: Document | None = None
    for given in (piece["logprobs"] for piece in pieces if piece["logprobs"] is not None):
        logprobs = given if logprobs is None else {name: logprobs[name] + given[name] for name in logprobs}
    text = "".join(piece["text"] for piece in pieces)
    return {"index": index, "text": text, "finish_reason": pieces[-1]["finish_reason"], "logprobs": logprobs}


def _finish_reason(choice: Document) -> str | None:
    reason = choice.get("finish_reason")
    if reason is None:
        return None
    return reason if reason in _FINISH_REASONS else "stop"


def _merged(calls: list[Document]) -> list[Document]:
    """One delta for the begin of a call and what has come of its arguments."""
    first, *rest = calls
    for call in rest:
        first["function"]["arguments"] += call["function"]["arguments"]
    return [first]


def _tokens_in(choice: Document) -> list[Document]:
    """The tokens of `logprobs` in the form of chat."""
    logprobs = choice.get("logprobs")
    tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(tokens, list):
        return []
    return [{**_token(token), "top_logprobs": _alternatives(token)} for token in tokens]


def _alternatives(token: Document) -> list[Document]:
    given = token.get("top_logprobs")
    return [_token(one) for one in given] if isinstance(given, list) else []


def _chat_logprobs(choice: Document, most: int) -> Document | None:
    tokens = [{**token, "top_logprobs": token["top_logprobs"][:most]} for token in _tokens_in(choice)]
    return {"content": tokens} if tokens else None


def _token(given: Any) -> Document:
    if not isinstance(given, dict) or not isinstance(given.get("token"), str):
        raise UnreadableAnswer("the 'logprobs' of a choice are not a list of tokens")
    return {name: given.get(name) for name in ("token", "logprob", "bytes")}


def _completion_logprobs(choice: Document, offset: int, most: int | None) -> Document | None:
    """Four lists of equal length, as OpenAI's completions have it."""
    logprobs = choice.get("logprobs")
    if not isinstance(logprobs, dict) or most is None:
        return None
    tokens = _tokens_in(choice)
    if not tokens and isinstance(logprobs.get("tokens"), list):
        return {
            name: logprobs.get(name) or [] for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset")
        }
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token["token"])
    return {
        "tokens": [token["token"] for token in tokens],
        "token_logprobs": [token["logprob"] for token in tokens],
        "top_logprobs": [
            {one["token"]: one["logprob"] for one in token["top_logprobs"][:most]} for token in tokens
        ],
        "text_offset": offsets,
    }
