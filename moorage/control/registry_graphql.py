"""Model versions in MLflow's GraphQL: which models a query's answer tells of, and the answer without some of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from typing import Any

from graphql import FieldNode, GraphQLError, NameNode, SelectionSetNode, Visitor, parse, print_ast, visit

from moorage.api.errors import BadRequest

_FIELD = "modelVersions"  # of the query of that kind, and of every run
_NAME = "moorageModelName"


def with_model_names(body: bytes) -> bytes | None:
    """The request with a query that has the model's name beside all that is asked of a model version.

    None when it asks of none. A caller may give any field of an answer another name, or leave the model's out.

    Raises:
        BadRequest: no GraphQL request.
    """
    try:
        request = json.loads(body)
        query = parse(request["query"])
    except (ValueError, RecursionError, KeyError, TypeError, GraphQLError) as error:
        raise BadRequest("Could not parse request object: Expected a GraphQL query") from error
    asking = _Asking()
    named = visit(query, asking)
    return json.dumps({**request, "query": print_ast(named)}).encode() if asking.found else None


def without_models(answer: Any, readable: Callable[[Collection[str]], set[str]]) -> Any:
    """The answer to such a query without versions of models that are not `readable`, a function of all names."""
    names = {str(version[_NAME]) for version in _versions(answer)}
    return _stripped(answer, readable(names))


class _Asking(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.found = False

    def leave_field(self, node: FieldNode, *_: Any) -> FieldNode | None:
        if node.name.value != _FIELD or node.selection_set is None:
            return None
        self.found = True
        name = FieldNode(alias=NameNode(value=_NAME), name=NameNode(value="name"), arguments=(), directives=())
        selections = (*node.selection_set.selections, name)
        return FieldNode(
            alias=node.alias,
            name=node.name,
            arguments=node.arguments,
            directives=node.directives,
            selection_set=SelectionSetNode(selections=selections),
        )


def _versions(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        if _NAME in part:
            yield part
        for value in part.values():
            yield from _versions(value)
    elif isinstance(part, list):
        for value in part:
            yield from _versions(value)


def _stripped(part: Any, readable: Collection[str]) -> Any:
    if isinstance(part, dict):
        return {key: _stripped(value, readable) for key, value in part.items() if key != _NAME}
    if isinstance(part, list):
        return [
            _stripped(value, readable)
            for value in part
            if not (isinstance(value, dict) and _NAME in value and str(value[_NAME]) not in readable)
        ]
    return part
