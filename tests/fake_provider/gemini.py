"""Gemini: generated content, whole and streamed, and embeddings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .checks import Invalid, Problem, array, flag, integer, record, some_text, text
from .control import Script
from .gemini_rules import GEMINI, ask_of, camel, check_generate, content, texts_of
from .openai_chat import logprob_of
from .talk import Said, Why, say, tokens_of
from .vectors import vector
from .wire import Dialect, Json, Plain, Refused, Reply, Request, Stream, answer, dump, sse

STATUSES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
_FINISH = {
    Why.STOP: "STOP", Why.STOP_SEQUENCE: "STOP", Why.LENGTH: "MAX_TOKENS", Why.TOOLS: "STOP", Why.FILTER: "SAFETY",
}  # fmt: skip
SIGNATURE = "ZmFrZSBzaWduYXR1cmU="


def error(status: int, message: str, details: Sequence[Json] = ()) -> Plain:
    told: Json = {"code": status, "message": message, "status": STATUSES.get(status, "UNKNOWN")}
    return answer({"error": {**told, **({"details": list(details)} if details else {})}}, status)


def error_event(status: int, message: str) -> bytes:
    """An error in a stream: no event, but JSON over several lines behind the events."""
    told = {"error": {"code": status, "message": message, "status": STATUSES.get(status, "UNKNOWN")}}
    return json.dumps(told, indent=2).encode() + b"\n"


def invalid(wrong: Invalid) -> Plain:
    parts = wrong.path.split(".")
    indexed = "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in parts)[1:]
    if wrong.problem is Problem.UNKNOWN:
        where = f" at '{indexed.rpartition('.')[0]}'" if "." in indexed else ""
        message = f'Invalid JSON payload received. Unknown name "{wrong.name}"{where}: Cannot find field.'
    elif wrong.problem is Problem.TYPE:
        message = f"Invalid value at '{indexed}', expected {wrong.detail}"
    elif wrong.detail.startswith("Please"):
        message = wrong.detail
    else:
        message = f"* GenerateContentRequest.{indexed}: {wrong.detail or 'must be set'}\n"
    return error(400, message)


DIALECT = Dialect("gemini", error, error_event)


def _check_key(request: Request, script: Script) -> None:
    key = request.headers.get("x-goog-api-key") or request.query.get("key")
    if not key:
        raise Refused(
            error(403, "Method doesn't allow unregistered callers (callers without established "
                       "identity). Please use API "
                       "Key or other form of API consumer identity to call this API.")
        )  # fmt: skip
    if key != script.keys["gemini"]:
        info = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
        }
        raise Refused(error(400, "API key not valid. Please pass a valid API key.", [info]))


def generate(request: Request, script: Script) -> Reply:
    _check_key(request, script)
    body = camel(request.json)
    check_generate(body, GEMINI)
    return generated(body, request, script)


def generated(body: Json, request: Request, script: Script) -> Reply:
    """The answer to a checked body; the verb of the path says whether it is a stream, and `alt` in which form."""
    ask = ask_of(body)
    config = body.get("generationConfig") or {}
    replies = [say(ask, script, index) for index in range(config.get("candidateCount", 1))]
    base = {"modelVersion": request.model, "responseId": "fake-response"}
    thoughts = bool((config.get("thinkingConfig") or {}).get("includeThoughts"))
    counts = _usage(replies, script)
    if request.at["verb"] == "generateContent":
        candidates = [
            _candidate(index, _parts(reply, thoughts), reply, config) for index, reply in enumerate(replies)
        ]
        return answer({"candidates": candidates, "usageMetadata": counts, **base})
    begun = {name: counts[name] for name in ("promptTokenCount",)}
    chunks = []
    for index, reply in enumerate(replies):
        steps = _steps(reply, thoughts)
        for at, parts in enumerate(steps):
            last = at == len(steps) - 1
            candidate = _candidate(index, parts, reply if last else None, config)
            told = counts if last else {**begun, "totalTokenCount": counts["promptTokenCount"]}
            chunks.append({"candidates": [candidate], "usageMetadata": told, **base})
    if request.query.get("alt") == "sse":
        return Stream([sse(chunk) for chunk in chunks], endings=len(replies))
    listed = [(b"[" if at == 0 else b",\r\n") + dump(chunk) for at, chunk in enumerate(chunks)]
    return Stream([*listed, b"]"], 1, {"content-type": "application/json; charset=UTF-8"})


def _usage(replies: Sequence[Said], script: Script) -> Json:
    asked = replies[0].input_tokens + script.cached_tokens
    said = sum(reply.output_tokens for reply in replies)
    thought = sum(reply.thinking_tokens for reply in replies)
    counts = {"promptTokenCount": asked, "candidatesTokenCount": said, "totalTokenCount": asked + said + thought}
    if thought:
        counts["thoughtsTokenCount"] = thought
    if script.cached_tokens:
        counts["cachedContentTokenCount"] = script.cached_tokens
    return counts


def _parts(reply: Said, thoughts: bool) -> list[Json]:
    return [part for step in (_thoughts(reply, thoughts), [{"text": reply.text}] if reply.text else [], _calls(reply))
            for part in step]  # fmt: skip


def _steps(reply: Said, thoughts: bool) -> list[list[Json]]:
    """The parts of each chunk. Calls come whole; a reply without any part still has a last chunk."""
    steps = [[part] for part in _thoughts(reply, thoughts)]
    steps += [[{"text": piece}] for piece in reply.pieces]
    steps += [[part] for part in _calls(reply)]
    return steps or [[]]


def _thoughts(reply: Said, thoughts: bool) -> list[Json]:
    return [{"text": reply.thinking, "thought": True}] if reply.thinking and thoughts else []


def _calls(reply: Said) -> list[Json]:
    parts: list[Json] = [{"functionCall": {"name": call.name, "args": call.arguments}} for call in reply.calls]
    if reply.thinking and parts:
        parts[0]["thoughtSignature"] = SIGNATURE
    return parts


def _candidate(index: int, parts: list[Json], ended: Said | None, config: Json) -> Json:
    candidate: Json = {"content": {"parts": parts, "role": "model"}, "index": index}
    if ended is None:
        return candidate
    candidate["finishReason"] = _FINISH[ended.why]
    if ended.why is Why.FILTER:
        del candidate["content"]
        candidate["safetyRatings"] = [
            {"category": "HARM_CATEGORY_DANGEROUS_CONTENT", "probability": "HIGH", "blocked": True}
        ]
    if config.get("responseLogprobs"):
        chosen = [
            {"token": t, "tokenId": at, "logProbability": logprob_of(t)} for at, t in enumerate(tokens_of(ended.text))
        ]
        top = [{"candidates": [one] * min(1, config.get("logprobs", 0))} for one in chosen]
        candidate["logprobsResult"] = {"chosenCandidates": chosen, "topCandidates": top}
        candidate["avgLogprobs"] = sum(one["logProbability"] for one in chosen) / max(1, len(chosen))
    return candidate


_EMBED = record(
    {"content": content(("", "user"))},
    {"model": text, "taskType": text, "title": text, "outputDimensionality": integer(1), "embedContentConfig": record(
        {},
        {"taskType": text, "title": text, "outputDimensionality": integer(1), "autoTruncate": flag}
    )},
)  # fmt: skip
_BATCH = record({"requests": array(_EMBED, 1, 100)})


def embed(request: Request, script: Script) -> Reply:
    """One embedding, or one for each request of a batch, all of which name the path's model."""
    _check_key(request, script)
    body: Any = camel(request.json)
    if request.at["verb"] == "embedContent":
        _EMBED(body, "")
        return answer({"embedding": {"values": _embedding(body, script)}})
    _BATCH(body, "")
    for at, one in enumerate(body["requests"]):
        some_text(one.get("model", ""), f"requests.{at}.model")
        if one["model"] != f"models/{request.model}":
            raise Invalid(f"requests.{at}.model", Problem.VALUE, f"models/{request.model}, as in the path")
    return answer({"embeddings": [{"values": _embedding(one, script)} for one in body["requests"]]})


def _embedding(body: Json, script: Script) -> list[float]:
    config = body.get("embedContentConfig") or {}
    size = body.get("outputDimensionality") or config.get("outputDimensionality") or script.embedding_size
    return vector(" ".join(texts_of([body["content"]])), size)
