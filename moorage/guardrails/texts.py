"""The texts in requests and answers of language models, and how masked ones are put back in their places.

Pure functions over JSON documents in the forms of `Surface`; no document is changed, what is put back makes new ones.
What is no text cannot be checked: pictures, sounds and files pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from moorage.api.errors import BadRequest
from moorage.api.surfaces import Surface

Document = dict[str, Any]
Path = tuple[str | int, ...]

MOST_PROMPTS = 16
"""In a batch of prompts or of texts to embed. Source: Databricks documentation, AI Gateway, limits."""

_SYSTEM_ROLES = ("system", "developer")
# Keys whose strings are no text of anybody's: kinds, names, pictures, what a provider signed.
_NO_TEXT = frozenset(
    {
        "type", "role", "id", "index", "name", "object", "status", "finish_reason", "call_id", "tool_call_id", "url",
        "tool_use_id", "image_url", "detail", "data", "media_type", "format", "file_id", "file_data", "filename",
        "file_url", "signature", "encrypted_content", "cache_control", "logprobs",
    }
)  # fmt: skip
# Keys whose string is JSON: it is looked at as the values that it stands for.
JSON_TEXT = "arguments"
# Key of the values that a tool is given, in Anthropic's form.
_TOOL_INPUT = "input"


class Piece(NamedTuple):
    """A text and where it is: `path` in the document, and from there `inside` a string that is JSON.

    `group` is the prompt of a batch, or the choice of an answer. `role` is `user`, `assistant`, `system` or `tool`.
    """

    text: str
    role: str
    group: int
    path: Path
    inside: Path | None = None


def request_pieces(surface: Surface, body: Mapping[str, Any]) -> list[Piece]:
    """The texts of a request, in their order.

    Raises:
        BadRequest: it has more prompts than are checked, prompts that are numbers of tokens, or too much nesting.
    """
    try:
        return _request_pieces(surface, body)
    except RecursionError:
        raise BadRequest("The request is nested too deeply for the guardrails of this endpoint.") from None


def _request_pieces(surface: Surface, body: Mapping[str, Any]) -> list[Piece]:
    if surface is Surface.COMPLETIONS:
        suffix = _leaves(body.get("suffix"), "user", 0, ("suffix",))
        return [*_batch(body, "prompt"), *suffix]
    if surface is Surface.EMBEDDINGS:
        return [*_batch(body, "input"), *_leaves(body.get("instruction"), "system", 0, ("instruction",))]
    if surface is Surface.RESPONSES:
        instructions = _leaves(body.get("instructions"), "system", 0, ("instructions",))
        return [*instructions, *_items(body, "input"), *_tools(body)]
    system = _leaves(body.get("system"), "system", 0, ("system",)) if surface is Surface.MESSAGES else ()
    return [*system, *_items(body, "messages"), *_tools(body)]


def answer_pieces(surface: Surface, answer: Mapping[str, Any]) -> list[Piece]:
    """The texts of an answer. Embeddings have none."""
    if surface is Surface.EMBEDDINGS:
        return []
    if surface is Surface.RESPONSES:
        return list(_leaves(answer.get("output"), "assistant", 0, ("output",)))
    if surface is Surface.MESSAGES:
        return list(_leaves(answer.get("content"), "assistant", 0, ("content",)))
    choices = answer.get("choices")
    found: list[Piece] = []
    for at, choice in enumerate(choices if isinstance(choices, list) else ()):
        if not isinstance(choice, dict):
            continue
        index = choice.get("index")
        group = index if isinstance(index, int) and 0 <= index < 1024 else at
        key = "text" if surface is Surface.COMPLETIONS else "message"
        found += _leaves(choice.get(key), "assistant", group, ("choices", at, key))
    return found


def with_texts(document: Mapping[str, Any], pieces: Sequence[Piece], texts: Sequence[str]) -> Document:
    """The document with `texts` in the places of `pieces`; what did not change is shared with the one given."""
    changed = dict(document)
    inside: dict[Path, list[tuple[Path, str]]] = {}
    for piece, text in zip(pieces, texts, strict=True):
        if piece.inside is not None:
            inside.setdefault(piece.path, []).append((piece.inside, text))
        elif text != piece.text:
            changed = replaced(changed, piece.path, text)
    for path, values in inside.items():
        before = _at(document, path)
        after = arguments_with_texts(before, values)
        if after != before:
            changed = replaced(changed, path, after)
    return changed


def without_probabilities(answer: Mapping[str, Any]) -> Document:
    """An answer of chat or completions without `logprobs`, which have the text once more, token by token."""
    choices = [
        {**choice, "logprobs": None} if isinstance(choice, dict) and choice.get("logprobs") is not None else choice
        for choice in answer.get("choices") or ()
    ]
    return {**answer, "choices": choices}


def argument_texts(arguments: str) -> list[tuple[Path, str]] | None:
    """The strings and numbers in the JSON of a tool call, each with its place; None when it is no JSON."""
    try:
        value = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return None
    return list(_values(value, ()))


def arguments_with_texts(arguments: str, texts: Sequence[tuple[Path, str]]) -> str:
    """The JSON of a tool call with other values. A number that became another text becomes a string."""
    before = dict(argument_texts(arguments) or ())
    value = orjson.loads(arguments)
    unchanged = True
    for path, text in texts:
        if text != before[path]:
            unchanged = False
            value = replaced(value, path, text) if path else text
    return arguments if unchanged else orjson.dumps(value).decode()


def replaced(value: Any, path: Path, new: Any) -> Any:
    """A copy of a document in which the value at `path` is `new`; only what lies on the way is copied."""
    if not path:
        return new
    copy = list(value) if isinstance(value, list) else dict(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)  # type: ignore[index]
    return copy


def _batch(body: Mapping[str, Any], field: str) -> Iterator[Piece]:
    value = body.get(field)
    if isinstance(value, str):
        yield Piece(value, "user", 0, (field,))
        return
    prompts = value if isinstance(value, list) else []
    if len(prompts) > MOST_PROMPTS:
        raise BadRequest(
            f"The guardrails of this endpoint check at most {MOST_PROMPTS} texts at a time; "
            f"'{field}' has {len(prompts)}."
        )
    for index, prompt in enumerate(prompts):
        if isinstance(prompt, int) or (isinstance(prompt, list) and any(isinstance(one, int) for one in prompt)):
            raise BadRequest(f"The guardrails of this endpoint cannot check tokens: give '{field}' as text.")
        yield from _leaves(prompt, "user", index, (field, index))


def _items(body: Mapping[str, Any], field: str) -> Iterator[Piece]:
    """Of messages, or of the items of a response's input."""
    value = body.get(field)
    if isinstance(value, str):
        yield Piece(value, "user", 0, (field,))
        return
    for index, item in enumerate(value if isinstance(value, list) else ()):
        yield from _leaves(item, _role(item), 0, (field, index))


def _role(item: Any) -> str:
    if not isinstance(item, dict):
        return "user"
    role, kind = item.get("role"), item.get("type")
    if role in _SYSTEM_ROLES:
        return "system"
    if role in ("tool", "function") or (isinstance(kind, str) and kind.endswith("_output")):
        return "tool"
    if role == "assistant" or (role is None and kind in ("function_call", "custom_tool_call", "reasoning")):
        return "assistant"
    return "user"


def _tools(body: Mapping[str, Any]) -> Iterator[Piece]:
    """What the tools are said to do."""
    yield from _descriptions(body.get("tools"), ("tools",))


def _descriptions(value: Any, path: Path) -> Iterator[Piece]:
    if isinstance(value, list):
        for index, one in enumerate(value):
            yield from _descriptions(one, (*path, index))
    elif isinstance(value, dict):
        for key, one in value.items():
            if key == "description" and isinstance(one, str):
                yield Piece(one, "system", 0, (*path, key))
            else:
                yield from _descriptions(one, (*path, key))


def _leaves(value: Any, role: str, group: int, path: Path) -> Iterator[Piece]:
    for where, text, is_value in _strings(value, path):
        found = argument_texts(text) if where[-1] == JSON_TEXT and not is_value else None
        if found is None:
            yield Piece(text, role, group, where)
        else:
            yield from (Piece(one, role, group, where, inside) for inside, one in found)


def texts_in(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Every text in a part of a document with its place, whatever its key, so that nothing new passes unseen."""
    for where, text, _ in _strings(value, path):
        yield where, text


def _strings(value: Any, path: Path) -> Iterator[tuple[Path, str, bool]]:
    """Texts with their places, and whether it is a value that a tool is given."""
    if isinstance(value, str):
        if value:
            yield path, value, False
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from _strings(one, (*path, index))
    elif isinstance(value, dict):
        for key, one in value.items():
            if key == _TOOL_INPUT and isinstance(one, dict):
                yield from ((where, text, True) for where, text in _values(one, (*path, key)))
            elif key not in _NO_TEXT or (key == "data" and value.get("type") == "text"):
                yield from _strings(one, (*path, key))


def _values(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        if value:
            yield path, value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, str(value)
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from _values(one, (*path, index))
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from _values(one, (*path, key))


def _at(document: Any, path: Path) -> Any:
    for step in path:
        document = document[step]
    return document
