"""From what Pydantic found wrong in a request to the one error that the caller gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moorage.api.errors import ApiError, BadRequest, InvalidParameterValue
from moorage.api.wire import MISSING_FIELD

_SOURCES = {"body", "query", "path"}  # the first part of a location, as FastAPI gives it
_EXPECTED = {
    "int": "an integer",
    "bool": "a boolean",
    "float": "a number",
    "finite": "a finite number",
    "string": "a string",
    "list": "an array",
    "tuple": "an array",
    "dict": "an object",
    "model": "an object",
}
_TYPE_ERRORS = ("_type", "_parsing", "_parsing_size", "_from_float", "finite_number", "string_unicode")


def error_from(problems: Sequence[Mapping[str, Any]]) -> ApiError:
    """The error for the first of Pydantic's `errors()`.

    A body that is no JSON or holds a field of the wrong type is `BAD_REQUEST`; a field that is missing or
    breaks a rule is `INVALID_PARAMETER_VALUE`. Values are never repeated: they may be secrets.
    Source: Databricks REST reference, serving endpoints, error responses of create.
    """
    problem = problems[0]
    kind = str(problem["type"])
    location = [part for part in problem["loc"] if part != "__root__"]
    if location and location[0] in _SOURCES:
        location = location[1:]
    context = problem.get("ctx") or {}
    path = field_path(location)

    if kind == "json_invalid":
        reason = context.get("error", "malformed")
        return BadRequest(f"Could not parse request object: not valid JSON ({reason})")
    if kind == MISSING_FIELD:
        return InvalidParameterValue(f"Missing required field '{field_path([*location, context['field']])}'")
    if kind == "missing":
        if not path:
            return BadRequest("Could not parse request object: Expected an object but the body is empty")
        return InvalidParameterValue(f"Missing required field '{path}'")
    if kind.endswith(_TYPE_ERRORS):
        where = f" in field '{path}'" if path else ""
        given = _kind_of(problem.get("input"))
        if kind == "string_unicode":
            return BadRequest(f"Could not parse request object: Expected valid Unicode text{where}")
        expected = _EXPECTED.get(kind.split("_")[0], "another type")
        return BadRequest(f"Could not parse request object: Expected {expected}{where} but got {given}")
    if kind == "value_error":
        rule = str(context.get("error", problem["msg"]))
    elif kind in ("enum", "literal_error"):
        rule = f"must be one of {context['expected']}"
    elif kind.endswith(("too_long", "too_short")):
        unit = "characters" if isinstance(problem.get("input"), str) else "entries"
        bound = "at most" if kind.endswith("too_long") else "at least"
        rule = f"must have {bound} {context.get('max_length', context.get('min_length'))} {unit}"
    else:
        rule = str(problem["msg"]).replace("Input should", "must")
    subject = f"Invalid value for '{path}'" if path else "Invalid request"
    return InvalidParameterValue(f"{subject}: {rule}")


def field_path(location: Sequence[str | int]) -> str:
    """A location as people write it: `config.served_entities[0].name`."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path


def _kind_of(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, Sequence):
        return "an array"
    return "something else"
