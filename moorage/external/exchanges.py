"""The way of one request to a provider and back, in the form in which the client asks.

What each way is made of is in `moorage.external.ways`; here is what the gateway needs to know of it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol

import orjson

from moorage.api.errors import ApiError
from moorage.api.surfaces import Surface
from moorage.external import messages_output
from moorage.external.exchange import AccessToken, Document, HttpRequest, ProviderApi, StreamFailed, Usage

DONE = b"data: [DONE]\n\n"
_KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


class Relay(Protocol):
    """A provider's stream on its way to the client: from bytes, cut anywhere, to whole events in the client's form.

    `usage` and `finished` are as those of `ChunkStream`; `ended` is whether nothing is to come any more, since some
    providers tell the usage after the end of the answer. `content_seen` is whether something of the answer itself has
    come, and `characters` how much text of it. `failure` is an error that the provider told in its own way and the
    client has got as it came. When `feed` or `end` raises, `unsent` holds the events before it.
    """

    unsent: bytes
    failure: StreamFailed | None

    @property
    def usage(self) -> Usage | None: ...

    @property
    def finished(self) -> bool: ...

    @property
    def ended(self) -> bool: ...

    @property
    def content_seen(self) -> bool: ...

    @property
    def characters(self) -> int: ...

    def feed(self, data: bytes) -> bytes:
        """The events that these bytes complete.

        Raises:
            StreamFailed: the provider reports an error.
            UnreadableAnswer: the bytes are not what the provider's stream consists of.
        """
        ...

    def end(self) -> bytes:
        """The events that are left when the provider's stream has ended; raises as `feed` does."""
        ...

    def error(self, error: ApiError) -> bytes:
        """The event that ends a stream which has failed."""
        ...


class Exchange(Protocol):
    """One request to one target. Nothing in it does I/O."""

    @property
    def api(self) -> ProviderApi: ...

    def request(self, token: AccessToken | None, now: datetime) -> HttpRequest:
        """What to send; raises `BadRequest` where the provider could not take the body."""
        ...

    def answer(self, body: bytes) -> tuple[bytes, Usage | None]:
        """The client's answer from the provider's; raises `UnreadableAnswer`."""
        ...

    def relay(self) -> Relay:
        """A reader of the answer when it is a stream."""
        ...


def error_document(surface: Surface | None, error: ApiError) -> Document:
    """The body of an error: the one shape of the API, with what clients of this form look for beside it.

    `surface` is None for `/invocations`, whose clients know the one shape alone.
    """
    body = error.body()
    if surface is None:
        return body
    if surface is Surface.MESSAGES:
        return {**messages_output.error_document(error.status, error.message), **body}
    kind = _KINDS.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    return {**body, "error": {"message": error.message, "type": kind, "param": None, "code": error.error_code}}


def error_event(surface: Surface, error: ApiError, sequence_number: int = 0) -> bytes:
    """The event that ends a stream which has failed, in the form of its surface; responses number their events."""
    document: dict[str, Any] = error_document(surface, error)
    if surface is Surface.MESSAGES:
        return b"event: error\ndata: " + orjson.dumps(document) + b"\n\n"
    if surface is Surface.RESPONSES:
        document = {
            "type": "error",
            "code": error.error_code,
            "message": error.message,
            "param": None,
            "sequence_number": sequence_number,
        }
        return b"event: error\ndata: " + orjson.dumps(document) + b"\n\n"
    return b"data: " + orjson.dumps(document) + b"\n\n"
