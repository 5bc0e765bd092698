"""`response_format` for Anthropic: JSON schemas as its models take them, or a tool to answer with.

Source: Anthropic documentation, structured outputs (JSON schema limitations).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from moorage.external.anthropic_models import version_of
from moorage.external.chat_bodies import JsonSchema, response_schema
from moorage.external.exchange import Document

ANSWER_TOOL = "answer_in_json"
"""The tool whose input is the answer, for models that take no schema for what they write."""

JSON_INSTRUCTION = "Answer with one JSON object and nothing else: no other text, no code fence."
"""For `json_object`. There is no schema that means any object, and a tool without one is called with nothing."""

_FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")
_KEPT = frozenset(("$ref", "type", "title", "default", "enum", "const", "required", "additionalProperties"))
_LISTS_OF_SCHEMAS = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf"}
_NAMED_SCHEMAS = frozenset(("properties", "$defs", "definitions"))


def answers_with_tool(model: str, body: Mapping[str, Any]) -> bool:
    """Whether the answer to this body comes as the input of `ANSWER_TOOL`."""
    return response_schema(body) is not None and not version_of(model).formats_output


def answer_tool(asked: JsonSchema) -> Document:
    return {
        "name": ANSWER_TOOL,
        "description": f"Gives the final answer, '{asked.name}'. Call it once, with the whole answer as its input.",
        "input_schema": {"type": "object", **asked.schema},
    }


def output_format(asked: JsonSchema) -> Document:
    return {"type": "json_schema", "schema": closed(asked.schema)}


def closed(schema: Document) -> Document:
    """The schema with what Anthropic does not enforce told to the model in descriptions, as Anthropic's SDKs do.

    Objects take no properties that they do not name. One that names none is left open, which Anthropic refuses:
    closed, it could only ever be empty.
    """
    kept: Document = {}
    told: Document = {}
    for keyword, value in schema.items():
        if keyword in _NAMED_SCHEMAS and isinstance(value, dict):
            kept[keyword] = {name: _closed(inner) for name, inner in value.items()}
        elif keyword in _LISTS_OF_SCHEMAS and isinstance(value, list):
            kept[_LISTS_OF_SCHEMAS[keyword]] = [_closed(inner) for inner in value]
        elif keyword == "items":
            kept[keyword] = _closed(value)
        elif keyword in _KEPT or _is_enforced(keyword, value):
            kept[keyword] = value
        elif not keyword.startswith("$") and keyword != "description":
            told[keyword] = value
    description = schema.get("description", "")
    if told:
        description = f"{description}\n\n{orjson.dumps(told).decode()}".strip()
    if description:
        kept["description"] = description
    if schema.get("properties") and schema.get("additionalProperties", True) is True:
        kept["additionalProperties"] = False
    return kept


def _closed(schema: Any) -> Any:
    return closed(schema) if isinstance(schema, dict) else schema


def _is_enforced(keyword: str, value: Any) -> bool:
    return (keyword == "format" and value in _FORMATS) or (keyword == "minItems" and value in (0, 1))
