"""What Gemini takes as content to generate from, and what such a request asks for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .checks import (
    Check,
    Invalid,
    Problem,
    anything,
    array,
    base64_text,
    flag,
    integer,
    mapping,
    matching,
    number,
    one_of,
    record,
    some_text,
    text,
)  # fmt: skip
from .talk import Ask, Choice, Tool
from .wire import Json

_SCHEMA_FIELDS = {
    "additionalProperties", "anyOf", "default", "defs", "description", "enum", "example", "format",
    "items", "maxItems",
    "maxLength", "maxProperties", "maximum", "minItems", "minLength", "minProperties", "minimum",
    "nullable", "pattern",
    "properties", "propertyOrdering", "ref", "required", "title", "type",
}  # fmt: skip
_TYPES = one_of("STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL", "TYPE_UNSPECIFIED")


def schema(value: Any, path: str) -> None:
    """Google's subset of OpenAPI's schemas, in which a field that is not known is refused and a type is one word."""
    mapping(value, path)
    for name, inner in value.items():
        where = f"{path}.{name}"
        if name not in _SCHEMA_FIELDS:
            raise Invalid(where, Problem.UNKNOWN)
        if name == "type":
            text(inner, where)
            _TYPES(inner.upper(), where)
        elif name == "items":
            schema(inner, where)
        elif name == "anyOf":
            array(schema)(inner, where)
        elif name in ("properties", "defs"):
            mapping(inner, where)
            for key, one in inner.items():
                schema(one, f"{where}.{key}")
        elif name in ("enum", "required", "propertyOrdering"):
            array(text)(inner, where)


_PART: dict[str, Check] = {
    "text": text,
    "inlineData": record({"mimeType": matching(r"\w+/[\w.+-]+"), "data": base64_text}, {"displayName": text}),
    "fileData": record({"fileUri": some_text}, {"mimeType": text, "displayName": text}),
    "functionCall": record({"name": some_text}, {"id": text, "args": mapping}),
    "functionResponse": record({"name": some_text, "response": mapping}, {"id": text, "parts": anything}),
    "executableCode": mapping,
    "codeExecutionResult": mapping,
}
_PART_MARKS: dict[str, Check] = {"thought": flag, "thoughtSignature": base64_text, "videoMetadata": mapping}


def _part(value: Any, path: str) -> None:
    record({}, {**_PART, **_PART_MARKS})(value, path)
    if len(set(value) & set(_PART)) != 1:
        raise Invalid(f"{path}.data", Problem.VALUE, "required oneof field 'data' must have one initialized field")


def content(roles: tuple[str, ...]) -> Check:
    """A content; the role may be left out when it is not among what is required."""

    def check(value: Any, path: str) -> None:
        mapping(value, path)
        if value.get("role", "") not in roles:
            raise Invalid(f"{path}.role", Problem.VALUE, "Please use a valid role: user, model.")
        record({"parts": array(_part, 1)}, {"role": text})(value, path)

    return check


_CONFIG = record(
    {},
    {
        "candidateCount": integer(1, 8), "frequencyPenalty": number(-2, 2), "logprobs": integer(0, 20),
        "maxOutputTokens": integer(1), "mediaResolution": text, "presencePenalty": number(-2, 2),
        "responseJsonSchema": mapping, "responseLogprobs": flag,
        "responseMimeType": one_of("text/plain", "application/json", "text/x.enum"),
        "responseModalities": array(text),
        "responseSchema": schema, "routingConfig": mapping, "seed": integer(), "speechConfig": mapping,
        "stopSequences": array(some_text, 0, 5), "temperature": number(0, 2),
        "thinkingConfig": record(
            {},
            {
                "includeThoughts": flag, "thinkingBudget": integer(-1),
                "thinkingLevel": one_of("MINIMAL", "LOW", "MEDIUM", "HIGH"),
            },
        ),
        "topK": number(0), "topP": number(0, 1),
    },
)  # fmt: skip
_FUNCTION = record(
    {"name": matching(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")},
    {
        "description": text,
        "parameters": schema,
        "parametersJsonSchema": mapping,
        "response": schema,
        "behavior": text,
    },
)
_TOOL = record({}, {"functionDeclarations": array(_FUNCTION, 1), "googleSearch": mapping, "codeExecution": mapping})
_TOOL_CONFIG = record(
    {},
    {
        "functionCallingConfig": record(
            {"mode": one_of("AUTO", "ANY", "NONE", "VALIDATED")}, {"allowedFunctionNames": array(text)}
        ),
        "retrievalConfig": mapping,
    },
)


def _request(roles: tuple[str, ...], **more: Check) -> Check:
    return record(
        {},
        {
            "contents": array(content(roles)), "systemInstruction": content(("", "user", "system")),
            "generationConfig": _CONFIG, "tools": array(_TOOL), "toolConfig": _TOOL_CONFIG,
            "safetySettings": array(record({"category": text, "threshold": text}, {"method": text})),
            "cachedContent": text, **more,
        },
    )  # fmt: skip


GEMINI = _request(("", "user", "model", "function"), model=text, store=flag, serviceTier=text)
VERTEX = _request(("user", "model"), labels=mapping)
_AS_WRITTEN = {
    "args",
    "response",
    "responseSchema",
    "responseJsonSchema",
    "parameters",
    "parametersJsonSchema",
    "labels",
}


def camel(value: Any) -> Any:
    """Google takes a field's name also with underscores; what is the caller's own stays as it is written."""
    if isinstance(value, list):
        return [camel(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    renamed = {}
    for name, inner in value.items():
        first, *rest = name.split("_")
        told = first + "".join(word.title() for word in rest)
        renamed[told] = inner if told in _AS_WRITTEN else camel(inner)
    return renamed


def check_generate(body: Any, shape: Check = GEMINI) -> None:
    """Check a request in camel case: its fields, then what they say of each other.

    Raises:
        Invalid: the first thing that is wrong.
    """
    shape(body, "")
    if not body.get("contents"):
        raise Invalid("contents", Problem.VALUE, "contents is not specified")
    config = body.get("generationConfig") or {}
    if {"responseSchema", "responseJsonSchema"} <= set(config):
        raise Invalid(
            "generationConfig", Problem.VALUE, "only one of response_schema and response_json_schema can be set"
        )
    structured = "responseSchema" in config or "responseJsonSchema" in config
    if structured and config.get("responseMimeType") not in ("application/json", "text/x.enum"):
        raise Invalid(
            "generationConfig", Problem.VALUE,
            "Function calling config or response schema is only allowed with response_mime_type application/json",
        )  # fmt: skip
    if "logprobs" in config and not config.get("responseLogprobs"):
        raise Invalid("generationConfig.logprobs", Problem.VALUE, "logprobs requires response_logprobs to be true")
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    names = {function["name"] for function in functions_of(body)}
    if calling.get("allowedFunctionNames") and calling["mode"] not in ("ANY", "VALIDATED"):
        raise Invalid(
            "toolConfig", Problem.VALUE, "allowed_function_names may only be set when mode is ANY or VALIDATED"
        )
    if calling.get("mode") == "ANY" and not names:
        raise Invalid("toolConfig", Problem.VALUE, "Function calling mode ANY requires function declarations")
    if not set(calling.get("allowedFunctionNames") or ()) <= names:
        raise Invalid(
            "toolConfig", Problem.VALUE, "allowed_function_names should be a subset of the declared functions"
        )
    _check_turns(body["contents"])


def _check_turns(contents: list[Json]) -> None:
    waiting = 0
    for at, turn in enumerate(contents):
        results = sum("functionResponse" in part for part in turn["parts"])
        if results and not waiting:
            raise Invalid(
                f"contents.{at}", Problem.VALUE,
                "Please ensure that function response turn comes immediately after a function call turn.",
            )  # fmt: skip
        if results != waiting:
            raise Invalid(
                f"contents.{at}", Problem.VALUE,
                "Please ensure that the number of function response parts is equal to the number of "
                "function call parts of "
                "the function call turn.",
            )  # fmt: skip
        waiting = sum("functionCall" in part for part in turn["parts"])
        if waiting and (at == 0 or turn.get("role") != "model"):
            raise Invalid(
                f"contents.{at}", Problem.VALUE,
                "Please ensure that function call turn comes immediately after a user turn or after a "
                "function response "
                "turn.",
            )  # fmt: skip
    if waiting:
        raise Invalid("contents", Problem.VALUE, "the last function call turn has no function response turn")


def functions_of(body: Json) -> list[Json]:
    return [function for tool in body.get("tools") or () for function in tool.get("functionDeclarations") or ()]


def ask_of(body: Json) -> Ask:
    """What a checked body asks for."""
    contents = body["contents"]
    config = body.get("generationConfig") or {}
    users = [
        c
        for c in contents
        if c.get("role", "user") == "user" and any("functionResponse" not in p for p in c["parts"])
    ]
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    allowed = calling.get("allowedFunctionNames") or [None]
    results = [part["functionResponse"]["response"] for part in contents[-1]["parts"] if "functionResponse" in part]
    is_json = config.get("responseMimeType") == "application/json"
    given = config.get("responseSchema", config.get("responseJsonSchema"))
    thinking = config.get("thinkingConfig") or {}
    return Ask(
        texts=[*texts_of([body["systemInstruction"]] if "systemInstruction" in body else []), *texts_of(contents)],
        last_user=" ".join(texts_of(users[-1:])),
        images=sum("inlineData" in part or "fileData" in part for user in users[-1:] for part in user["parts"]),
        tools=[
            Tool(function["name"], function.get("parameters", function.get("parametersJsonSchema")) or {})
            for function in functions_of(body)
        ],
        choice={"NONE": Choice.NONE, "ANY": Choice.ANY}.get(calling.get("mode", ""), Choice.AUTO),
        chosen=allowed[0],
        result=" ".join(str(value) for result in results for value in result.values()) if results else None,
        schema=(given or {"type": "object", "properties": {"answer": {}}}) if is_json else None,
        stop=config.get("stopSequences") or (),
        limit=config.get("maxOutputTokens"),
        thinking=bool(
            thinking.get("includeThoughts") or thinking.get("thinkingBudget") or thinking.get("thinkingLevel")
        ),
    )


def texts_of(contents: Iterable[Json]) -> list[str]:
    return [part["text"] for one in contents for part in one["parts"] if "text" in part]
