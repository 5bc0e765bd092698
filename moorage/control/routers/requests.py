"""What routers read of requests beside what the framework does."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from moorage.api.errors import BadRequest, InvalidParameterValue
from moorage.api.validation import error_from

LONGEST_ID = 19  # digits; with fewer than that an id is within 64 bits

_Given = TypeVar("_Given", bound=BaseModel)


def document_of(body: bytes) -> dict[str, object]:
    """The JSON object in the body of a GET, which may have none.

    Raises:
        BadRequest: it holds something else.
    """
    if not body.strip():
        return {}
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest("Could not parse request object: not valid JSON") from error
    if not isinstance(document, dict):
        raise BadRequest("Could not parse request object: Expected an object")
    return document


def parameters(kind: type[_Given]) -> Callable[[Request], Awaitable[_Given]]:
    """Dependency: what a GET or DELETE is given, each from the query string, else from the JSON body it may have."""

    async def read(request: Request) -> _Given:
        document = {**document_of(await request.body()), **request.query_params}
        try:
            return kind.model_validate(document)
        except ValidationError as error:
            raise error_from(error.errors()) from None

    return read


def event_before(page_token: str | None = None) -> int | None:
    """The id that the `next_page_token` of a page of events stands for; None for the first page.

    Raises:
        InvalidParameterValue: no answer has had such a token.
    """
    if not page_token:
        return None
    if not (page_token.isascii() and page_token.isdigit() and len(page_token) < LONGEST_ID):
        raise InvalidParameterValue("Invalid value for 'page_token': must be the next_page_token of an answer")
    return int(page_token)
