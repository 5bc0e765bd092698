"""Providers that speak OpenAI's chat with accents of their own: Databricks, AI21, and the one that is anybody's."""

from __future__ import annotations

from typing import Any

from . import openai
from .checks import Check, Invalid, Problem, array, flag, integer, mapping, number, one_of, record, tagged, text
from .control import Script
from .openai_chat import chunks, completed, replies_to, whole
from .openai_rules import (
    MESSAGE,
    OPTIONAL,
    RESPONSE_FORMAT,
    STOP,
    TOOL,
    TOOL_CALL,
    ask_of,
    check_chat,
    check_tool_turns,
)  # fmt: skip
from .openai_texts import completed as text_completed
from .openai_texts import embedded
from .wire import DONE, Dialect, Json, Plain, Refused, Reply, Request, Stream, answer, sse

_DATABRICKS_CODES = {
    400: "BAD_REQUEST", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "RESOURCE_DOES_NOT_EXIST",
    429: "REQUEST_LIMIT_EXCEEDED", 503: "TEMPORARILY_UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
_DATABRICKS_CHAT = record(
    {"messages": array(MESSAGE, 1)},
    {name: check for name, check in OPTIONAL.items() if name not in ("store", "metadata", "service_tier")}
    | {"model": text, "top_k": integer(0), "thinking": mapping},
    nulls=True,
)


def _databricks_error(status: int, message: str) -> Plain:
    return answer({"error_code": _DATABRICKS_CODES.get(status, "INTERNAL_ERROR"), "message": message}, status)


def databricks_invalid(wrong: Invalid) -> Plain:
    if wrong.problem is Problem.UNKNOWN:
        return _databricks_error(400, f'Bad request: json: unknown field "{wrong.name}"\n')
    return _databricks_error(400, f"Bad request: {wrong.path}: {wrong.detail or wrong.problem.value}\n")


DATABRICKS = Dialect("databricks", _databricks_error, openai.error_event)


def databricks(request: Request, script: Script) -> Reply:
    """An endpoint's invocation; what it is asked for shows in its body. Streams of chat count in every chunk."""
    given = openai.bearer(request)
    if not given:
        message = "Credential was not sent or was of an unsupported type for this API."
        raise Refused(answer({"error_code": 401, "message": message}, 401))
    if given != script.keys["databricks"]:
        raise Refused(answer({"error_code": 403, "message": "Invalid access token."}, 403))
    if not isinstance(request.json, dict):
        raise Invalid("", Problem.TYPE, "an object")
    body = {**request.json, "model": request.at["model"]}
    if "input" in body:
        return embedded(body, script)
    if "prompt" in body:
        return text_completed(body, script)
    check_chat(body, _DATABRICKS_CHAT)
    replies = replies_to(body, ask_of(body), script)
    if not body.get("stream"):
        return answer(whole(body, replies, script))
    told = chunks({**body, "stream_options": {"include_usage": True}}, replies, script)
    counts = told.pop()["usage"]
    for chunk in told[:-1]:
        chunk["usage"] = {"prompt_tokens": counts["prompt_tokens"], "completion_tokens": None, "total_tokens": None}
    told[-1]["usage"] = counts
    return Stream([*map(sse, told), DONE], endings=1)


_AI21_MESSAGE = tagged(
    "role",
    {
        "system": record({"role": text, "content": text}),
        "user": record({"role": text, "content": text}),
        "assistant": record({"role": text}, {"content": text, "tool_calls": array(TOOL_CALL, 1)}, nulls=True),
        "tool": record({"role": text, "content": text, "tool_call_id": text}),
    },
)
_AI21_FIELDS: dict[str, Check] = {
    "documents": array(mapping), "max_tokens": integer(0, 4096), "n": integer(1, 16),
    "response_format": RESPONSE_FORMAT,
    "stop": STOP, "stream": flag, "temperature": number(0, 2), "tool_choice": one_of("auto", "none", "required"),
    "tools": array(TOOL, 1), "top_p": number(0, 1),
}  # fmt: skip
_AI21_CHAT = record({"model": text, "messages": array(_AI21_MESSAGE, 1)}, _AI21_FIELDS)


def _ai21_error(status: int, message: str) -> Plain:
    return answer({"detail": message}, status)


def ai21_invalid(wrong: Invalid) -> Plain:
    kinds = {Problem.MISSING: "missing", Problem.UNKNOWN: "extra_forbidden"}
    where = [int(part) if part.isdigit() else part for part in wrong.path.split(".")]
    detail = {
        "type": kinds.get(wrong.problem, "value_error"), "loc": ["body", *where],
        "msg": wrong.detail or wrong.problem.value,
    }  # fmt: skip
    return answer({"detail": [detail]}, 422)


AI21 = Dialect("ai21", _ai21_error, openai.error_event)


def ai21(request: Request, script: Script) -> Reply:
    """Jamba's chat: fewer fields than OpenAI's; the last chunk of a stream has the counts, asked for or not."""
    if openai.bearer(request) != script.keys["ai21"]:
        raise Refused(_ai21_error(401, "Unauthorized"))
    body: Any = request.json
    _AI21_CHAT(body, "")
    check_tool_turns(body["messages"])
    if body.get("stream") and body.get("n", 1) > 1:
        raise Invalid("n", Problem.VALUE, "must be 1 when streaming")
    replies = replies_to(body, ask_of(body), script)
    if not body.get("stream"):
        told = whole(body, replies, script)
        for choice in told["choices"]:
            for name in ("refusal", "annotations"):
                del choice["message"][name]
        return answer({name: told[name] for name in ("id", "model", "choices", "usage")})
    made = chunks({**body, "stream_options": {"include_usage": True}}, replies, script)
    counts = made.pop()["usage"]
    for chunk in made:
        chunk["choices"][0]["delta"].pop("refusal", None)
    plain: list[Json] = [{"id": chunk["id"], "choices": chunk["choices"]} for chunk in made]
    plain[-1]["usage"] = counts
    return Stream([*map(sse, plain), DONE], endings=1)


def _custom_chat(value: Any, path: str) -> None:
    mapping(value, path)
    array(MESSAGE, 1)(value.get("messages"), "messages")


CUSTOM = Dialect("custom", openai.error, openai.error_event)


def custom(request: Request, script: Script) -> Reply:
    """OpenAI's calls at any address, with the key in any header; fields that OpenAI does not know are let through."""
    given = {value.removeprefix("Bearer ") for value in request.headers.values()}
    if script.keys["custom"] not in given:
        raise Refused(openai.error(401, "No header holds the right key.", code="invalid_api_key"))
    if not isinstance(request.json, dict):
        raise Invalid("body", Problem.TYPE, "an object")
    body = {"model": "custom", **request.json}
    if "input" in body:
        return embedded(body, script)
    if "prompt" in body:
        return text_completed(body, script)
    check_chat(body, _custom_chat)
    return completed(body, ask_of(body), script)
