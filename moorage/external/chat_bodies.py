"""Reading OpenAI's chat completion bodies, for providers whose form is another one.

Everything here raises `BadRequest`, naming the field, where a body is not as OpenAI describes it.
Source: OpenAI API reference, chat completions, create.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

import orjson

from moorage.api.errors import BadRequest
from moorage.external.exchange import Document

NO_PARAMETERS: Document = {"type": "object", "properties": {}}
"""The JSON schema of a function that takes nothing."""


class Role(StrEnum):
    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class TextPart:
    text: str


@dataclass(frozen=True, slots=True)
class ImagePart:
    """`where` names the field that holds the URL."""

    url: str
    detail: str | None
    where: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """`arguments` is JSON text; `where` names the field that holds it."""

    id: str
    name: str
    arguments: str
    where: str

    def parsed_arguments(self) -> Document:
        """The arguments as an object; no text stands for none."""
        if not self.arguments.strip():
            return {}
        try:
            arguments = orjson.loads(self.arguments)
        except orjson.JSONDecodeError:
            arguments = None
        if not isinstance(arguments, dict):
            raise BadRequest(f"'{self.where}' must be the text of a JSON object.")
        return arguments


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `document` is the whole of it, for what is a provider's own; `where` names it."""

    role: Role
    parts: tuple[TextPart | ImagePart, ...]
    tool_calls: tuple[ToolCall, ...]
    tool_call_id: str
    document: Mapping[str, Any]
    where: str

    @property
    def text(self) -> str:
        """The text of all parts."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))


@dataclass(frozen=True, slots=True)
class Function:
    """A tool: `parameters` is a JSON schema."""

    name: str
    description: str
    parameters: Document
    strict: bool


class ToolUse(StrEnum):
    """Whether the model calls tools; `NAMED`: it calls the one that the choice names."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"
    NAMED = "function"


@dataclass(frozen=True, slots=True)
class ToolChoice:
    use: ToolUse
    name: str = ""


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """The schema that `response_format` asks the answer to follow."""

    name: str
    schema: Document


def refuse_fields(body: Mapping[str, Any], harmless: Mapping[str, Any], provider: str) -> None:
    """Refuse fields that `provider` has nothing for, unless they hold null or what `harmless` gives."""
    for field, value in harmless.items():
        if body.get(field) is not None and body[field] != value:
            raise BadRequest(f"'{field}' cannot be passed on to {provider}: leave it out.")


def messages(body: Mapping[str, Any]) -> list[Message]:
    documents = body.get("messages")
    if not isinstance(documents, list) or not documents:
        raise BadRequest("'messages' must be a list of at least one message.")
    return [_message(document, f"messages[{index}]") for index, document in enumerate(documents)]


def _message(document: Any, where: str) -> Message:
    if not isinstance(document, dict):
        raise BadRequest(f"'{where}' must be an object with 'role' and 'content'.")
    role = document.get("role")
    if role not in list(Role):
        raise BadRequest(f"'{where}.role' must be one of {_choices(Role)}.")
    calls = tool_call_id = None
    if role == Role.ASSISTANT:
        calls = document.get("tool_calls")
        if calls is not None and not isinstance(calls, list):
            raise BadRequest(f"'{where}.tool_calls' must be a list.")
    if role == Role.TOOL:
        tool_call_id = _text(document, "tool_call_id", where)
    return Message(
        role=Role(role),
        parts=_parts(document.get("content"), f"{where}.content"),
        tool_calls=tuple(_tool_call(call, f"{where}.tool_calls[{at}]") for at, call in enumerate(calls or ())),
        tool_call_id=tool_call_id or "",
        document=document,
        where=where,
    )


def _parts(content: Any, where: str) -> tuple[TextPart | ImagePart, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (TextPart(content),)
    if not isinstance(content, list):
        raise BadRequest(f"'{where}' must be a text or a list of parts.")
    parts: list[TextPart | ImagePart] = []
    for index, part in enumerate(content):
        at = f"{where}[{index}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("text", "refusal"):
            parts.append(TextPart(_text(part, kind, at)))
        elif kind == "image_url":
            parts.append(_image(part.get("image_url"), f"{at}.image_url"))
        elif kind != "reasoning":  # what an earlier answer said of its reasoning is not part of the conversation
            raise BadRequest(f"'{at}.type' must be 'text' or 'image_url'.")
    return tuple(parts)


def _image(image: Any, where: str) -> ImagePart:
    if not isinstance(image, dict):
        raise BadRequest(f"'{where}' must be an object with 'url'.")
    detail = image.get("detail")
    return ImagePart(_text(image, "url", where), detail if isinstance(detail, str) else None, f"{where}.url")


def _tool_call(call: Any, where: str) -> ToolCall:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        raise BadRequest(f"'{where}' must be an object with 'id' and 'function'.")
    return ToolCall(
        id=_text(call, "id", where),
        name=_text(function, "name", f"{where}.function"),
        arguments=_text(function, "arguments", f"{where}.function"),
        where=f"{where}.function.arguments",
    )


def functions(body: Mapping[str, Any]) -> list[Function]:
    """The tools of the body."""
    tools = body.get("tools")
    if tools is None:
        return []
    if not isinstance(tools, list):
        raise BadRequest("'tools' must be a list.")
    return [_function(tool, f"tools[{index}]") for index, tool in enumerate(tools)]


def _function(tool: Any, where: str) -> Function:
    function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
    if not isinstance(function, dict):
        raise BadRequest(f"'{where}' must be an object with 'type' 'function' and 'function'.")
    parameters = function.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise BadRequest(f"'{where}.function.parameters' must be a JSON schema.")
    description = function.get("description")
    return Function(
        name=_text(function, "name", f"{where}.function"),
        description=description if isinstance(description, str) else "",
        parameters=parameters or NO_PARAMETERS,
        strict=function.get("strict") is True,
    )


def tool_choice(body: Mapping[str, Any], tools: Sequence[Function]) -> ToolChoice:
    """What the body says of `tools`; `AUTO` where it says nothing."""
    choice = body.get("tool_choice")
    if choice is None:
        return ToolChoice(ToolUse.AUTO)
    if choice in (ToolUse.AUTO, ToolUse.NONE):
        return ToolChoice(ToolUse(choice))
    if choice == ToolUse.REQUIRED:
        if not tools:
            raise BadRequest("'tool_choice' is 'required', but there are no 'tools'.")
        return ToolChoice(ToolUse.REQUIRED)
    function = choice.get("function") if isinstance(choice, dict) and choice.get("type") == "function" else None
    if not isinstance(function, dict):
        raise BadRequest("'tool_choice' must be 'none', 'auto', 'required' or an object that names a function.")
    name = _text(function, "name", "tool_choice.function")
    if name not in [tool.name for tool in tools]:
        raise BadRequest(f"'tool_choice.function.name' is '{name}', which is not among 'tools'.")
    return ToolChoice(ToolUse.NAMED, name)


def response_schema(body: Mapping[str, Any]) -> JsonSchema | None:
    """The schema of a `response_format` of type `json_schema`; None for every other."""
    form = body.get("response_format")
    if form is None:
        return None
    kind = form.get("type") if isinstance(form, dict) else None
    if kind not in ("text", "json_object", "json_schema"):
        raise BadRequest("'response_format.type' must be one of 'text', 'json_object', 'json_schema'.")
    if kind != "json_schema":
        return None
    asked = form.get("json_schema")
    schema = asked.get("schema") if isinstance(asked, dict) else None
    if not isinstance(schema, dict):
        raise BadRequest("'response_format.json_schema.schema' must be a JSON schema.")
    return JsonSchema(_text(asked, "name", "response_format.json_schema"), schema)


def asks_for_json_object(body: Mapping[str, Any]) -> bool:
    form = body.get("response_format")
    return isinstance(form, dict) and form.get("type") == "json_object"


def number(body: Mapping[str, Any], field: str) -> float | None:
    value = body.get(field)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise BadRequest(f"'{field}' must be a number.")
    return value


def integer(body: Mapping[str, Any], field: str) -> int | None:
    value = body.get(field)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise BadRequest(f"'{field}' must be an integer.")
    return value


def max_tokens(body: Mapping[str, Any]) -> int | None:
    """`max_completion_tokens` is the newer name, and goes first."""
    newer = integer(body, "max_completion_tokens")
    return integer(body, "max_tokens") if newer is None else newer


def stop_sequences(body: Mapping[str, Any]) -> list[str]:
    stop = body.get("stop")
    if stop is None:
        return []
    sequences = [stop] if isinstance(stop, str) else stop
    if not isinstance(sequences, list) or not all(isinstance(sequence, str) for sequence in sequences):
        raise BadRequest("'stop' must be a text or a list of texts.")
    return sequences


def data_of(image: ImagePart) -> tuple[str, str]:
    """Media type and base64 of an image that is in the URL itself."""
    head, comma, data = image.url.partition(",")
    media_type, *parameters = head.removeprefix("data:").split(";")
    if not head.startswith("data:") or not comma or "base64" not in parameters:
        _refuse_url(image, "must be a data: URL with base64, such as 'data:image/png;base64,...'")
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        _refuse_url(image, "has data that is not base64")
    return media_type.lower(), base64.b64encode(raw).decode("ascii")


def _refuse_url(image: ImagePart, why: str) -> NoReturn:
    raise BadRequest(f"'{image.where}' {why}.")


def _text(document: Mapping[str, Any], field: str, where: str) -> str:
    value = document.get(field)
    if not isinstance(value, str):
        raise BadRequest(f"'{where}.{field}' must be a text.")
    return value


def _choices(values: type[StrEnum]) -> str:
    return ", ".join(f"'{value}'" for value in values)
