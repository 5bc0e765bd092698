"""Tools and schemas of answers, as Amazon Bedrock's Converse API takes them.

Source: Amazon Bedrock API reference, Converse (`ToolConfiguration`, `OutputConfig`); user guide, structured outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from moorage.api.errors import BadRequest
from moorage.api.external_models import BedrockProvider
from moorage.external import chat_bodies
from moorage.external.anthropic_formats import ANSWER_TOOL, closed
from moorage.external.anthropic_models import version_of
from moorage.external.chat_bodies import Function, JsonSchema, Message, Role, ToolChoice, ToolUse
from moorage.external.exchange import Document

_BEDROCK = "Amazon Bedrock"
_CALL_WHAT_THEY_MUST = {BedrockProvider.ANTHROPIC, BedrockProvider.AMAZON}


def answers_with_tool(vendor: BedrockProvider, model: str, body: Mapping[str, Any]) -> bool:
    """Whether the answer comes as the input of `ANSWER_TOOL`: a schema is to hold that the model cannot take."""
    takes_schemas = vendor is BedrockProvider.ANTHROPIC and version_of(model).formats_output
    return not takes_schemas and chat_bodies.response_schema(body) is not None


def tool_fields(
    vendor: BedrockProvider, model: str, body: Mapping[str, Any], messages: Sequence[Message]
) -> Document:
    """`toolConfig` and `outputConfig` of the request, where the body asks for what they say.

    Raises:
        BadRequest: the vendor's models cannot do it, or not together.
    """
    functions = chat_bodies.functions(body)
    choice = chat_bodies.tool_choice(body, functions)
    schema = chat_bodies.response_schema(body)
    if schema is not None and answers_with_tool(vendor, model, body):
        return {"toolConfig": _answer_tools(vendor, body, schema, messages)}
    fields: Document = {}
    if schema is not None:
        structure = {"schema": orjson.dumps(closed(schema.schema)).decode(), "name": schema.name}
        fields["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": structure}}}
    if functions and choice.use is not ToolUse.NONE:
        fields["toolConfig"] = _tools(functions, _choice(choice))
    elif any(message.tool_calls or message.role is Role.TOOL for message in messages):
        # Bedrock refuses a history of calls without the tools, and has no way to forbid their use.
        fields["toolConfig"] = _tools(functions or _called(messages), None)
    return fields


def _choice(choice: ToolChoice) -> Document | None:
    """`auto` is what Bedrock does without a choice; models that know no choice refuse to be told it."""
    if choice.use is ToolUse.NAMED:
        return {"tool": {"name": choice.name}}
    return {"any": {}} if choice.use is ToolUse.REQUIRED else None


def _answer_tools(
    vendor: BedrockProvider,
    body: Mapping[str, Any],
    schema: JsonSchema,
    messages: Sequence[Message],
) -> Document:
    if vendor not in _CALL_WHAT_THEY_MUST:
        raise BadRequest(f"'response_format' with a schema cannot be had from models of '{vendor}' on {_BEDROCK}.")
    for field in ("tools", "thinking", "reasoning_effort"):
        if body.get(field) and body[field] != "none":
            raise BadRequest(f"'response_format' with a schema cannot be had with '{field}' from this model.")
    answer = Function(
        ANSWER_TOOL,
        f"Gives the final answer, '{schema.name}'. Call it once, with the whole answer as its input.",
        {"type": "object", **schema.schema},
        strict=False,
    )
    return _tools([answer, *_called(messages)], {"tool": {"name": ANSWER_TOOL}})


def _called(messages: Sequence[Message]) -> list[Function]:
    """The functions that the history calls, where it is all that is known of them."""
    names = dict.fromkeys(call.name for message in messages for call in message.tool_calls)
    return [Function(name, "", chat_bodies.NO_PARAMETERS, strict=False) for name in names]


def _tools(functions: Sequence[Function], choice: Document | None) -> Document:
    tools: Document = {"tools": [_tool(function) for function in functions]}
    return tools if choice is None else {**tools, "toolChoice": choice}


def _tool(function: Function) -> Document:
    # `strict` stays out: most models refuse it.
    specification: Document = {"name": function.name, "inputSchema": {"json": function.parameters}}
    if function.description.strip():
        specification["description"] = function.description
    return {"toolSpec": specification}
