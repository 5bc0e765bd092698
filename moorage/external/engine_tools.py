"""Calls of tools that a model of an engine must make.

Engines do not enforce `tool_choice`, or not that arguments follow their schema. What all of them enforce is the
schema of an answer: the model has to write `{"name": ..., "arguments": ...}`, of which a tool call is made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from moorage.external import chat_bodies
from moorage.external.chat_bodies import Function, ToolUse
from moorage.external.exchange import Document, UnreadableAnswer

_LONGEST_STRING = 2000  # characters: small models come to no end by themselves
_BOUND_OTHERWISE = frozenset({"maxLength", "enum", "const", "pattern", "format"})
_ONE_SCHEMA = ("items", "additionalProperties", "not", "if", "then", "else", "contains")
_LISTS_OF_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_COMBINATIONS = frozenset({"anyOf", "oneOf", "allOf"})


def forced_functions(body: Mapping[str, Any]) -> list[Function]:
    """Those of which the model must call one; none where it need not.

    Raises:
        BadRequest: `tools` or `tool_choice` are not as OpenAI describes them.
    """
    functions = chat_bodies.functions(body)
    choice = chat_bodies.tool_choice(body, functions)
    if choice.use is ToolUse.NAMED:
        return [function for function in functions if function.name == choice.name]
    return functions if choice.use is ToolUse.REQUIRED else []


def call_format(functions: Sequence[Function]) -> Document:
    """The `response_format` that leaves nothing but a call of one of these."""
    calls = [
        {
            "type": "object",
            "properties": {
                "name": {"const": function.name},
                "arguments": _arguments(function.parameters, f"#/anyOf/{index}/properties/arguments"),
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for index, function in enumerate(functions)
    ]
    return {"type": "json_schema", "json_schema": {"name": "tool_call", "schema": {"anyOf": calls}}}


def call_instructions(functions: Sequence[Function]) -> str:
    """What the model is told, since templates differ in whether they show it tools."""
    tools = "\n".join(
        orjson.dumps(
            {"name": function.name, "description": function.description, "parameters": function.parameters}
        ).decode()
        for function in functions
    )
    return (
        f"You can call these functions:\n{tools}\n"
        'Answer with a call of one of them, as a JSON object: {"name": the function, "arguments": its arguments}.'
    )


def _arguments(parameters: Document, place: str) -> Document:
    """The schema as a part of another one, at `place`."""
    schema: Document = _moved(parameters, place)
    if "properties" in schema:
        # Beside these engines do not see the properties, and allow what is no object.
        schema = {keyword: value for keyword, value in schema.items() if keyword not in _COMBINATIONS}
        schema.setdefault("additionalProperties", False)
    if not schema.keys() & {"$ref", *_COMBINATIONS}:
        schema["type"] = "object"
    return schema


def _moved(schema: Any, place: str) -> Any:
    """References point to where the schema is now, and strings come to an end."""
    if not isinstance(schema, dict):
        return schema
    moved: Document = {}
    for keyword, value in schema.items():
        if keyword == "$ref" and isinstance(value, str) and value.startswith("#"):
            moved[keyword] = place + value[1:]
        elif keyword in _ONE_SCHEMA:
            moved[keyword] = _moved(value, place)
        elif keyword in _LISTS_OF_SCHEMAS and isinstance(value, list):
            moved[keyword] = [_moved(one, place) for one in value]
        elif keyword in _NAMED_SCHEMAS and isinstance(value, dict):
            moved[keyword] = {name: _moved(one, place) for name, one in value.items()}
        else:
            moved[keyword] = value
    kinds = schema.get("type")
    takes_strings = kinds == "string" or (isinstance(kinds, list) and "string" in kinds)
    shortest = schema.get("minLength", 0)
    if takes_strings and not schema.keys() & _BOUND_OTHERWISE:
        moved["maxLength"] = max(_LONGEST_STRING, shortest if isinstance(shortest, int) else 0)
    return moved


_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(?=\{)')


class ForcedCall:
    """From the text in which a model calls a tool, in pieces, to the `tool_calls` of deltas."""

    def __init__(self, id: str, functions: Sequence[Function]) -> None:
        self._id = id
        self._names = {function.name for function in functions}
        self._head: str | None = ""
        self._depth = 0
        self._in_text = False
        self._escaped = False
        self._complete = False

    def feed(self, text: str) -> list[Document]:
        """The deltas for this piece: first one with the name, then the arguments as they come.

        Raises:
            UnreadableAnswer: the call is of no function that there is.
        """
        calls: list[Document] = []
        if self._head is not None:
            self._head += text
            begun = _HEAD.match(self._head) if "{" in text else None
            if begun is None:
                return []
            calls.append(self._named(begun[1]))
            text, self._head = self._head[begun.end() :], None
        if arguments := self._of_arguments(text):
            calls.append({"index": 0, "function": {"arguments": arguments}})
        return calls

    def finish_reason(self, reason: str) -> str:
        """Why the answer ended, when the engine says that it is for `reason`.

        Raises:
            UnreadableAnswer: the model came to its end without a call.
        """
        if self._complete:
            return "tool_calls"
        if reason == "stop":
            raise UnreadableAnswer("the model had to call a function, and did not")
        return reason

    def _named(self, literal: str) -> Document:
        try:
            name = orjson.loads(literal)
        except orjson.JSONDecodeError:
            name = None
        if name not in self._names:
            raise UnreadableAnswer(f"the model calls a function {literal}, which there is not")
        return {"index": 0, "id": self._id, "type": "function", "function": {"name": name, "arguments": ""}}

    def _of_arguments(self, text: str) -> str:
        """What of the text belongs to the arguments: all up to the brace that closes them."""
        if self._complete:
            return ""
        for position, character in enumerate(text):
            if self._escaped:
                self._escaped = False
            elif self._in_text:
                self._escaped = character == "\\"
                self._in_text = character != '"'
            elif character == '"':
                self._in_text = True
            elif character == "{":
                self._depth += 1
            elif character == "}":
                self._depth -= 1
                if not self._depth:
                    self._complete = True
                    return text[: position + 1]
        return text
