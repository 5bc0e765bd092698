"""Bodies of queries to language models: what in them is for Moorage, and whether they fit the endpoint."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from moorage.api.errors import BadRequest
from moorage.api.routing import EndpointRoute
from moorage.api.surfaces import SURFACE_OF_TASK, Surface

Document = dict[str, Any]

_OWN_FIELDS = ("client_request_id", "usage_context", "extra_params", "databricks_options")
_LONGEST_CONTEXT = 10 * 1024
_LONGEST_CLIENT_ID = 1024
_DEEPEST = 200  # what is nested more deeply cannot be written as JSON again
_NEEDED = {
    Surface.CHAT: "messages",
    Surface.COMPLETIONS: "prompt",
    Surface.EMBEDDINGS: "input",
    Surface.RESPONSES: "input",
    Surface.MESSAGES: "messages",
}
_TEXT_FIELDS = ("messages", "prompt", "input", "system", "instructions")


@dataclass(frozen=True, slots=True)
class LanguageRequest:
    """A query without what was Moorage's own in it. `body` is nobody else's and is not changed any more."""

    surface: Surface
    body: Document
    stream: bool
    client_request_id: str | None = None
    usage_context: Mapping[str, str] = field(default_factory=dict)


def parse_object(body: bytes) -> Document:
    """
    Raises:
        BadRequest: it is no JSON object.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"The request body is not JSON: {error}.") from None
    if not isinstance(document, dict):
        raise BadRequest("The request body must be a JSON object.")
    return document


def endpoint_named_in(document: Document) -> str:
    """The endpoint that a body names as its model.

    Raises:
        BadRequest: it names none.
    """
    name = document.get("model")
    if not isinstance(name, str) or not name:
        raise BadRequest("Missing required field 'model': the name of a serving endpoint.")
    return name


def language_request(document: Document, surface: Surface | None, route: EndpointRoute) -> LanguageRequest:
    """What is asked, in the form of `surface`; None is the one that the endpoint's task has on `/invocations`.

    Raises:
        BadRequest: the endpoint's models do not answer in this form, or a field is not as it should be.
    """
    assert route.task is not None
    form = surface or SURFACE_OF_TASK[route.task]
    if form.task is not route.task:
        raise BadRequest(
            f"Endpoint '{route.name}' has the task {route.task} and cannot be queried as {form.task}: use its "
            f"{SURFACE_OF_TASK[route.task]} form."
        )
    body = dict(document)
    client_request_id = body.pop("client_request_id", None)
    if client_request_id is not None and not _is_short_text(client_request_id, _LONGEST_CLIENT_ID):
        raise BadRequest(f"'client_request_id' must be a string of at most {_LONGEST_CLIENT_ID} characters.")
    context = _usage_context(body.pop("usage_context", None))
    body.pop("databricks_options", None)
    _merge(body, body.pop("extra_params", None))
    _refuse_deep(body)
    needed = _NEEDED[form]
    if body.get(needed) is None:
        raise BadRequest(f"Missing required field '{needed}'.")
    if needed == "messages" and not (isinstance(body["messages"], list) and body["messages"]):
        raise BadRequest("'messages' must be an array of at least one message.")
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise BadRequest("'stream' must be a boolean.")
    if stream and form is Surface.EMBEDDINGS:
        raise BadRequest("'stream' is not for embeddings.")
    return LanguageRequest(form, body, bool(stream), client_request_id, context)


def client_request_id_in(body: bytes) -> str | None:
    """The id that a client gave in a body of any form, for the tables; None where it gave none that can be kept."""
    if b'"client_request_id"' not in body:
        return None
    try:
        value = orjson.loads(body)["client_request_id"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return value if _is_short_text(value, _LONGEST_CLIENT_ID) else None


def characters_of(body: Mapping[str, Any]) -> int:
    """How much text a body has, for an estimate of its tokens."""
    return sum(_characters(body.get(name)) for name in _TEXT_FIELDS)


def estimated_tokens(characters: int) -> int:
    """Source: Databricks documentation, usage tracking: (text length + 1) / 4."""
    return (characters + 1) // 4 if characters else 0


def _characters(value: Any) -> int:
    found, rest = 0, [value]
    while rest:  # no recursion: values may be nested more deeply than calls
        value = rest.pop()
        if isinstance(value, str):
            found += 0 if value.startswith("data:") else len(value)
        elif isinstance(value, list):
            rest += value
        elif isinstance(value, dict):
            rest += [one for name, one in value.items() if name not in ("role", "type", "id")]
    return found


def _usage_context(value: Any) -> Mapping[str, str]:
    if value is None:
        return {}
    texts = itertools.chain.from_iterable(value.items()) if isinstance(value, dict) else (None,)
    if not all(isinstance(text, str) for text in texts):
        raise BadRequest("'usage_context' must be an object of strings.")
    if len(orjson.dumps(value)) > _LONGEST_CONTEXT:
        raise BadRequest(f"'usage_context' must have at most {_LONGEST_CONTEXT} bytes.")
    return dict(value)


def _merge(body: Document, extra: Any) -> None:
    """Parameters of the provider's own; their texts are JSON where they can be read as such."""
    if extra is None:
        return
    if not isinstance(extra, dict):
        raise BadRequest("'extra_params' must be an object.")
    for name, value in extra.items():
        if name in _OWN_FIELDS or name in ("model", "stream"):
            raise BadRequest(f"'extra_params' must not hold '{name}'.")
        if isinstance(value, str):
            try:
                value = orjson.loads(value)
            except orjson.JSONDecodeError:
                pass
        body[name] = value


def _refuse_deep(body: Document) -> None:
    level: list[Any] = [body]
    for _ in range(_DEEPEST):
        members = (one for value in level for one in (value.values() if isinstance(value, dict) else value))
        level = [one for one in members if isinstance(one, dict | list)]
        if not level:
            return
    raise BadRequest(f"The request body must not be nested deeper than {_DEEPEST} levels.")


def _is_short_text(value: Any, longest: int) -> bool:
    return isinstance(value, str) and len(value) <= longest
