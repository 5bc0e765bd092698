"""Pages of resources and the attributes that a caller wants of them. Source: RFC 7644, sections 3.4.2 and 3.9."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any

from moorage.api.scim import MOST_RESULTS, BadScimRequest, Document, ListQuery, ScimList, ScimType, Selection
from moorage.control.scim.filters import parse_filter
from moorage.control.scim.schemas import Schema

_ALWAYS = frozenset({"id", "schemas"})


def page(documents: Sequence[Document], query: ListQuery, schema: Schema) -> ScimList:
    """The part of `documents` that `query` asks for. Without a sort order they stay in theirs.

    Raises:
        BadScimRequest: the filter or the sort order names what there is not.
    """
    found = documents
    if query.filter is not None:
        wanted = parse_filter(query.filter, schema.leaf)
        found = [document for document in found if wanted.matches(document)]
    if query.sortBy is not None:
        found = _sorted(found, query.sortBy, query.sortOrder == "descending", schema)
    start = max(query.startIndex, 1)
    some = found[start - 1 :][: min(max(query.count, 0), MOST_RESULTS)]
    return ScimList(
        totalResults=len(found),
        startIndex=start,
        itemsPerPage=len(some),
        Resources=tuple(select(document, query) for document in some),
    )


def select(document: Document, selection: Selection) -> Document:
    """`document` with the attributes that `selection` names or leaves; `id` and `schemas` are always there.

    Names are compared without regard to case, and those that it does not have are ignored.
    """
    if selection.attributes:
        document = _only(document, _names(selection.attributes))
    if selection.excludedAttributes:
        document = _without(document, _names(selection.excludedAttributes))
    return document


def _sorted(documents: Sequence[Document], sort_by: str, descending: bool, schema: Schema) -> list[Document]:
    leaf = schema.leaf(sort_by)
    if leaf is None:
        raise BadScimRequest(
            ScimType.INVALID_VALUE, f"Invalid value for 'sortBy': there is no attribute '{sort_by}' to sort by"
        )

    def key(document: Document) -> tuple[bool, str]:
        # Whoever has no value comes last, or first when descending.
        value = next(leaf.values(document), None)
        return value is None, str(value).casefold()

    return sorted(documents, key=key, reverse=descending)


_Names = dict[str, set[str] | None]
"""Attributes in lower case with the parts that are meant; None for the whole attribute."""


def _names(text: str) -> _Names:
    found: _Names = {}
    for path in text.split(","):
        name, dot, part = path.strip().lower().rpartition(":")[2].partition(".")
        parts = found.get(name, set())
        if dot and parts is not None:
            parts.add(part)
        found[name] = parts if dot else None
    return found


def _only(document: Document, names: _Names) -> Document:
    chosen = {}
    for name, value in document.items():
        parts = names.get(name.lower(), set())
        if parts is None or name in _ALWAYS:
            chosen[name] = value
        elif parts:
            chosen[name] = _parts(value, parts.__contains__)
    return chosen


def _without(document: Document, names: _Names) -> Document:
    kept = {}
    for name, value in document.items():
        parts = names.get(name.lower(), set())
        if name in _ALWAYS or parts == set():
            kept[name] = value
        elif parts is not None:
            kept[name] = _parts(value, _none_of(parts))
    return kept


def _none_of(names: Container[str]) -> Callable[[str], bool]:
    return lambda name: name not in names


def _parts(value: Any, wanted: Callable[[str], bool]) -> Any:
    if isinstance(value, list):
        return [_parts(element, wanted) for element in value]
    if isinstance(value, dict):
        return {part: inner for part, inner in value.items() if wanted(part.lower())}
    return value
