"""How an endpoint of external models may be queried, as an OpenAPI 3.1 document.

Requests and answers are OpenAI's, with Databricks' additions, whatever the provider. Fields that only some providers
know are permitted, since they are passed on. Source: Databricks REST reference, serving endpoints, query.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moorage.api.external_models import ExternalTask
from moorage.control.json_types import JsonSchema
from moorage.control.query_schema import document, operation

_TEXT: JsonSchema = {"type": "string"}
_COUNT: JsonSchema = {"type": "integer", "minimum": 0}
_POSITIVE: JsonSchema = {"type": "integer", "minimum": 1}
_FLAG: JsonSchema = {"type": "boolean"}
_TEXTS: JsonSchema = {"oneOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]}


def external_document(
    endpoint: str, config_version: int, base_url: str, task: ExternalTask, served_names: Sequence[str]
) -> dict[str, Any]:
    """The document for these served entities: the endpoint's own path, and one each. As `document` otherwise."""
    request, answer = _REQUESTS[task], _ANSWERS[task]
    media = {"schema": request, "example": _EXAMPLES[task]}
    contents = {"application/json": {"schema": answer}}
    if "stream" in request["properties"]:
        contents["text/event-stream"] = {"schema": {"type": "string"}}
    one = {"post": operation(media, contents)}
    paths = ["/invocations", *(f"/served-models/{name}/invocations" for name in served_names)]
    return document(endpoint, config_version, base_url, dict.fromkeys(paths, one))


def _object(required: Sequence[str], **properties: JsonSchema) -> JsonSchema:
    return {"type": "object", "properties": properties, "required": list(required)}


def _nullable(schema: JsonSchema) -> JsonSchema:
    return {"anyOf": [schema, {"type": "null"}]}


def _array(items: JsonSchema, **bounds: int) -> JsonSchema:
    return {"type": "array", "items": items, **bounds}


_TOOL_CALL = _object(
    ["id", "type", "function"],
    id=_TEXT,
    type={"const": "function"},
    function=_object(["name", "arguments"], name=_TEXT, arguments=_TEXT),
)
_TEXT_PART = _object(["type", "text"], type={"const": "text"}, text=_TEXT)
_IMAGE_PART = _object(["type", "image_url"], type={"const": "image_url"}, image_url=_object(["url"], url=_TEXT))
_MESSAGE = _object(
    ["role"],
    role={"enum": ["system", "developer", "user", "assistant", "tool"]},
    content={"anyOf": [_TEXT, {"type": "null"}, _array({"anyOf": [_TEXT_PART, _IMAGE_PART, {"type": "object"}]})]},
    tool_calls=_array(_TOOL_CALL),
    tool_call_id=_TEXT,
    name=_TEXT,
)
_FUNCTION = _object(
    ["name"], name=_TEXT, description=_TEXT, parameters={"type": "object"}, strict=_nullable(_FLAG)
)
_TOOL = _object(["type", "function"], type={"const": "function"}, function=_FUNCTION)
_TOOL_CHOICE: JsonSchema = {
    "oneOf": [
        {"enum": ["none", "auto", "required"]},
        _object(["type", "function"], type={"const": "function"}, function=_object(["name"], name=_TEXT)),
    ]
}
_GENERATION: dict[str, JsonSchema] = {
    "max_tokens": _nullable(_POSITIVE),
    "temperature": _nullable({"type": "number", "minimum": 0, "maximum": 2}),
    "top_p": _nullable({"type": "number", "exclusiveMinimum": 0, "maximum": 1}),
    "n": _nullable(_POSITIVE),
    "stop": _nullable(_TEXTS),
    "stream": _nullable(_FLAG),
    "extra_params": {"type": "object"},
}
_USAGE = _object(
    ["prompt_tokens", "completion_tokens", "total_tokens"],
    prompt_tokens=_COUNT,
    completion_tokens=_COUNT,
    total_tokens=_COUNT,
)

_REQUESTS: dict[ExternalTask, JsonSchema] = {
    ExternalTask.CHAT: _object(
        ["messages"],
        messages=_array(_MESSAGE, minItems=1),
        tools=_array(_TOOL),
        tool_choice=_TOOL_CHOICE,
        response_format=_object(["type"], type={"enum": ["text", "json_object", "json_schema"]}),
        **_GENERATION,
    ),
    ExternalTask.COMPLETIONS: _object(
        ["prompt"], prompt=_TEXTS, suffix=_nullable(_TEXT), echo=_nullable(_FLAG), **_GENERATION
    ),
    ExternalTask.EMBEDDINGS: _object(
        ["input"],
        input=_TEXTS,
        instruction=_TEXT,
        dimensions=_POSITIVE,
        encoding_format={"enum": ["float", "base64"]},
        extra_params={"type": "object"},
    ),
}
_ANSWERS: dict[ExternalTask, JsonSchema] = {
    ExternalTask.CHAT: _object(
        ["object", "model", "choices"],
        id=_TEXT,
        object={"const": "chat.completion"},
        created=_COUNT,
        model=_TEXT,
        choices=_array(
            _object(["index", "message"], index=_COUNT, message=_MESSAGE, finish_reason=_nullable(_TEXT))
        ),
        usage=_USAGE,
    ),
    ExternalTask.COMPLETIONS: _object(
        ["object", "model", "choices"],
        id=_TEXT,
        object={"const": "text_completion"},
        created=_COUNT,
        model=_TEXT,
        choices=_array(_object(["index", "text"], index=_COUNT, text=_TEXT, finish_reason=_nullable(_TEXT))),
        usage=_USAGE,
    ),
    ExternalTask.EMBEDDINGS: _object(
        ["object", "data"],
        object={"const": "list"},
        model=_TEXT,
        data=_array(
            _object(
                ["object", "index", "embedding"],
                object={"const": "embedding"},
                index=_COUNT,
                embedding={"oneOf": [_array({"type": "number"}), {"type": "string", "format": "byte"}]},
            )
        ),
        usage=_object(["prompt_tokens", "total_tokens"], prompt_tokens=_COUNT, total_tokens=_COUNT),
    ),
}
_EXAMPLES: dict[ExternalTask, JsonSchema] = {
    ExternalTask.CHAT: {"messages": [{"role": "user", "content": "What is a mooring?"}], "max_tokens": 64},
    ExternalTask.COMPLETIONS: {"prompt": "A mooring is", "max_tokens": 64},
    ExternalTask.EMBEDDINGS: {"input": ["What is a mooring?"]},
}
