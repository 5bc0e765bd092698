"""Completions and embeddings as OpenAI answers them."""

from __future__ import annotations

import time
from typing import Any

from .checks import Invalid, Problem, array, either, flag, integer, mapping, number, one_of, record, some_text, text
from .control import Script
from .openai_chat import FINISH, logprob_of, usage
from .openai_rules import STOP, STREAM_OPTIONS
from .talk import Ask, Said, count, say, tokens_of
from .vectors import packed, vector
from .wire import DONE, Json, Reply, Stream, answer, sse

_TOKENS = array(integer(0), 1, 2048)
COMPLETION = record(
    {"model": some_text, "prompt": either(text=text, array=array(either(text=text, number=integer(0),
    array=_TOKENS), 1))},
    {
        "best_of": integer(1, 20), "echo": flag, "frequency_penalty": number(-2, 2), "logit_bias": mapping,
        "logprobs": integer(0, 5), "max_tokens": integer(0), "n": integer(1, 128), "presence_penalty": number(-2, 2),
        "seed": integer(), "stop": STOP, "stream": flag, "stream_options": STREAM_OPTIONS, "suffix": text,
        "temperature": number(0, 2), "top_p": number(0, 1), "user": text,
    },
    nulls=True,
)  # fmt: skip
EMBEDDING = record(
    {
        "model": some_text,
        "input": either(
            text=some_text, array=array(either(text=some_text, number=integer(0), array=_TOKENS), 1, 2048)
        ),
    },
    {"dimensions": integer(1), "encoding_format": one_of("float", "base64"), "user": text},
    nulls=True,
)


def texts_of(value: Any) -> list[str]:
    """The texts that a prompt or an input consists of; tokens in numbers stand for their digits."""
    if isinstance(value, str):
        return [value]
    if value and isinstance(value[0], int):
        return [" ".join(map(str, value))]
    return [entry if isinstance(entry, str) else " ".join(map(str, entry)) for entry in value]


def completed(body: Any, script: Script) -> Reply:
    """The answer to a request of a completion, in the order of prompts and then of their `n` replies."""
    COMPLETION(body, "")
    if body.get("stream_options") is not None and not body.get("stream"):
        raise Invalid("stream_options", Problem.VALUE, "'stream_options' is only allowed when 'stream' is enabled")
    prompts, many = texts_of(body["prompt"]), body.get("n") or 1
    stop = body.get("stop") or []
    replies = []
    for prompt in prompts:
        limit = body.get("max_tokens")
        ask = Ask(
            [prompt], prompt, stop=[stop] if isinstance(stop, str) else stop, limit=16 if limit is None else limit
        )
        replies += [say(ask, script, index) for index in range(many)]
    counts = _usage(replies, sum(reply.input_tokens for reply in replies[::many]), script)
    base = {"id": "cmpl-fake", "object": "text_completion", "created": int(time.time()), "model": body["model"]}
    if body.get("stream"):
        return _stream(body, base, replies, counts)
    choices = [
        _choice(body, index, (prompts[index // many] if body.get("echo") else "") + reply.text, reply)
        for index, reply in enumerate(replies)
    ]
    return answer({**base, "choices": choices, "usage": counts})


def _usage(replies: list[Said], asked: int, script: Script) -> Json:
    counts = usage(replies, script)
    asked += script.cached_tokens
    return {**counts, "prompt_tokens": asked, "total_tokens": asked + counts["completion_tokens"]}


def _choice(body: Json, index: int, said: str, reply: Said | None) -> Json:
    told = None
    if body.get("logprobs") is not None:
        tokens = tokens_of(said)
        told = {
            "tokens": tokens,
            "token_logprobs": [logprob_of(token) for token in tokens],
            "top_logprobs": [{token: logprob_of(token)} for token in tokens],
            "text_offset": [2 * at for at in range(len(tokens))],
        }
    return {"text": said, "index": index, "logprobs": told, "finish_reason": FINISH[reply.why] if reply else None}


def _stream(body: Json, base: Json, replies: list[Said], counts: Json) -> Stream:
    wants_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    extra: Json = {"usage": None} if wants_usage else {}
    events = []
    for index, reply in enumerate(replies):
        for piece in reply.pieces:
            events.append(sse({**base, "choices": [_choice(body, index, piece, None)], **extra}))
        events.append(sse({**base, "choices": [_choice(body, index, "", reply)], **extra}))
    if wants_usage:
        events.append(sse({**base, "choices": [], "usage": counts}))
    return Stream([*events, DONE], endings=1)


def embedded(body: Any, script: Script) -> Reply:
    """The answer to a request of embeddings."""
    EMBEDDING(body, "")
    size = body.get("dimensions") or script.embedding_size
    inputs = texts_of(body["input"])
    data = []
    for index, one in enumerate(inputs):
        values = vector(one, size)
        written = packed(values) if body.get("encoding_format") == "base64" else values
        data.append({"object": "embedding", "index": index, "embedding": written})
    tokens = sum(map(count, inputs))
    counts = {"prompt_tokens": tokens, "total_tokens": tokens}
    return answer({"object": "list", "data": data, "model": body["model"], "usage": counts})
