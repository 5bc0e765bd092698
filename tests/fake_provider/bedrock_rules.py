"""What Bedrock's Converse takes. The shapes come from the service's own model, as its SDK carries it."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from botocore.model import Shape
from botocore.session import get_session
from botocore.validate import ParamValidator

from .checks import Invalid, Problem
from .talk import Ask, Choice, Tool
from .wire import Json


class Worded(Exception):
    """Wrong, in the service's own words."""


@cache
def _input_shape() -> Any:
    return get_session().get_service_model("bedrock-runtime").operation_model("Converse").input_shape


def check_converse(body: Any, model: str) -> None:
    """Check the body of a Converse or ConverseStream request.

    Raises:
        Invalid: a value is not what the service's model says.
        Worded: the conversation is not one.
    """
    if not isinstance(body, dict):
        raise Invalid("", Problem.TYPE, "an object")
    native = _native(body, _input_shape(), "")
    report = ParamValidator().validate({**native, "modelId": model}, _input_shape())
    if report.has_errors():
        raise Worded(report.generate_report())
    if not body.get("messages"):
        raise Worded("The messages field is required and must not be empty.")
    _check_tools(body)
    _check_turns(body["messages"])


def _native(value: Any, shape: Shape, path: str) -> Any:
    """The value as the SDK takes it, with bytes for base64; checks what the SDK leaves to the service."""
    if shape.type_name == "structure" and not getattr(shape, "is_document_type", False) and isinstance(value, dict):
        members = shape.members
        return {k: _native(v, members[k], f"{path}.{k}".strip(".")) if k in members else v for k, v in value.items()}
    if shape.type_name == "list" and isinstance(value, list):
        if len(value) > shape.metadata.get("max", len(value)):
            raise Invalid(path, Problem.VALUE, f"at most {shape.metadata['max']} elements")
        return [_native(inner, shape.member, f"{path}.{at}") for at, inner in enumerate(value)]
    if shape.type_name == "blob":
        try:
            return base64.b64decode(value, validate=True)
        except (TypeError, binascii.Error):
            raise Invalid(path, Problem.VALUE, "base64") from None
    _check_limits(value, shape, path)
    return value


def _check_limits(value: Any, shape: Shape, path: str) -> None:
    limits = shape.metadata
    if isinstance(value, str):
        if "enum" in limits and value not in limits["enum"]:
            raise Invalid(path, Problem.VALUE, f"one of {limits['enum']}")
        if len(value) > limits.get("max", len(value)):
            raise Invalid(path, Problem.VALUE, f"at most {limits['max']} characters")
        if (
            shape.name != "ConversationalModelId"
            and "pattern" in limits
            and not re.fullmatch(limits["pattern"], value)
        ):
            raise Invalid(path, Problem.VALUE, f"a string that matches {limits['pattern']}")
    elif isinstance(value, (int, float)) and value > limits.get("max", value):
        raise Invalid(path, Problem.VALUE, f"at most {limits['max']}")


def _check_tools(body: Json) -> None:
    specs = [tool["toolSpec"] for tool in (body.get("toolConfig") or {}).get("tools", ()) if "toolSpec" in tool]
    for at, spec in enumerate(specs):
        if spec["inputSchema"].get("json", {}).get("type") != "object":
            raise Worded(
                f"The value at toolConfig.tools.{at}.toolSpec.inputSchema.json.type must be one of the "
                "following: object."
            )
    choice = (body.get("toolConfig") or {}).get("toolChoice") or {}
    if "tool" in choice and choice["tool"]["name"] not in [spec["name"] for spec in specs]:
        raise Worded("The tool that toolConfig.toolChoice names is not defined in toolConfig.tools.")
    used = any({"toolUse", "toolResult"} & set(block) for message in body["messages"] for block in message["content"])
    if used and not specs:
        raise Worded("The toolConfig field must be defined when using toolUse and toolResult content blocks.")


def _check_turns(messages: list[Json]) -> None:
    waiting: list[str] = []
    for at, message in enumerate(messages):
        role, where = message["role"], f"messages.{at}.content"
        if role == "system":
            raise Worded("This model doesn't support the system role in messages. Use the system field instead.")
        if at == 0 and role != "user":
            raise Worded(
                "A conversation must start with a user message. Try again with a conversation that starts with one."
            )
        if at and role == messages[at - 1]["role"]:
            raise Worded(
                "A conversation must alternate between user and assistant roles. Make sure the "
                "conversation alternates "
                "between user and assistant roles and try again."
            )
        if not message["content"]:
            raise Worded(
                f"The content field in the Message object at messages.{at} is empty. Add a ContentBlock object."
            )
        for place, block in enumerate(message["content"]):
            if not block.get("text", "x").strip():
                raise Worded(
                    f"The text field in the ContentBlock object at {where}.{place} is blank. Add text "
                    "to the text field, and "
                    "try again."
                )
        results = [block["toolResult"]["toolUseId"] for block in message["content"] if "toolResult" in block]
        if len(results) > len(waiting):
            raise Worded(
                f"The number of toolResult blocks at {where} exceeds the number of toolUse blocks of previous turn."
            )
        if set(results) != set(waiting):
            raise Worded(f"Expected toolResult blocks at {where} for the following Ids: {', '.join(waiting)}")
        uses = [block["toolUse"] for block in message["content"] if "toolUse" in block]
        if any(not isinstance(use["input"], dict) for use in uses):
            raise Worded(
                f"The format of the value at {where}.toolUse.input is invalid. Provide a json object for the field."
            )
        waiting = [use["toolUseId"] for use in uses]
    if waiting:
        raise Worded(
            f"Expected toolResult blocks at messages.{len(messages)}.content for the following Ids: {waiting}"
        )


def ask_of(body: Json) -> Ask:
    """What a checked body asks for."""
    messages = body["messages"]
    config = body.get("toolConfig") or {}
    choice = config.get("toolChoice") or {}
    users = [m for m in messages if m["role"] == "user" and any("toolResult" not in block for block in m["content"])]
    results = [block for block in messages[-1]["content"] if "toolResult" in block]
    inference = body.get("inferenceConfig") or {}
    more = body.get("additionalModelRequestFields") or {}
    told = more.get("thinking", more.get("reasoning_config")) or {}
    return Ask(
        texts=[*_texts(body.get("system") or ()),
        *(text for message in messages for text in _texts(message["content"]))],
        last_user=" ".join(block["text"] for user in users[-1:] for block in user["content"] if "text" in block),
        images=sum("image" in block for user in users[-1:] for block in user["content"]),
        tools=[
            Tool(tool["toolSpec"]["name"], tool["toolSpec"]["inputSchema"]["json"])
            for tool in config.get("tools", ()) if "toolSpec" in tool
        ],
        choice=Choice.ANY if {"any", "tool"} & set(choice) else Choice.AUTO,
        chosen=choice["tool"]["name"] if "tool" in choice else None,
        result=" ".join(_texts(results)) if results else None,
        schema=_schema(body),
        stop=inference.get("stopSequences") or (),
        limit=inference.get("maxTokens"),
        thinking=told.get("type") in ("enabled", "adaptive"),
    )  # fmt: skip


def _schema(body: Json) -> Any:
    form = (body.get("outputConfig") or {}).get("textFormat")
    return json.loads(form["structure"]["jsonSchema"]["schema"]) if form else None


def _texts(blocks: Iterable[Json]) -> list[str]:
    found: list[str] = []
    for block in blocks:
        if "text" in block:
            found.append(block["text"])
        elif "toolResult" in block:
            found += _texts(block["toolResult"]["content"])
        elif "json" in block:
            found.append(str(block["json"]))
    return found
