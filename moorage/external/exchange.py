"""What a request to a provider's model consists of, and what every provider's translator does.

Translators do no I/O and read no clock: the gateway sends what `Provider.request` gives and feeds what comes back.
The form in the middle is OpenAI's: bodies of chat completions, completions and embeddings, and their answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from moorage.api.engines import Engine
from moorage.api.external_models import ExternalTask, Provider

Document = dict[str, Any]
"""A JSON object."""


@dataclass(frozen=True, slots=True)
class Target:
    """A provider's model as it is reached, or one that an engine of this machine runs.

    `options` holds the fields of the provider's configuration that are no secrets, under their names in the API
    (`openai_api_base`, `aws_region`, ...; for `custom` also `api_key_header`, the header that takes its key).
    `credentials` holds the secrets, under the name of their pair (`openai_api_key`, ...; for `custom`
    `api_key_value` or `bearer_token`). What was not configured is not there.
    """

    provider: Provider | Engine
    model: str
    task: ExternalTask
    options: Mapping[str, str] = field(default_factory=dict)
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A request in OpenAI's form, for `task`, without the fields that are Moorage's own.

    `body` is never changed. `id` and `created` (seconds since the epoch) go into answers whose provider gives none.
    """

    task: ExternalTask
    body: Mapping[str, Any]
    stream: bool
    id: str
    created: int


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What a provider's token service gave for a `TokenRequest`."""

    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A form to post for an access token (RFC 6749); the answer is JSON with `access_token` and `expires_in`."""

    url: str
    form: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A POST to a provider. `headers` have lower-case names and hold credentials."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider counts them."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer in OpenAI's form. `usage` is None when the provider did not say."""

    body: Document
    usage: Usage | None


class UnreadableAnswer(Exception):
    """A provider's answer with status 200 that is not what it should be. The message says what is wrong with it."""


class StreamFailed(Exception):
    """A provider reports an error in its stream. `status` is the HTTP status that it would have answered with."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ChunkStream(Protocol):
    """From the bytes of a provider's stream, cut anywhere, to chunks in OpenAI's form.

    `usage` is what the provider has said so far. `finished` is whether its stream came to its proper end: a stream
    that just stops was cut off. The last chunk of a stream of which the usage is known holds it.
    """

    usage: Usage | None
    finished: bool

    def feed(self, data: bytes) -> list[Document]:
        """The chunks that these bytes complete.

        Raises:
            StreamFailed: the provider reports an error; chunks before it in the same bytes are lost.
            UnreadableAnswer: the bytes are not what the provider's stream consists of.
        """
        ...

    def end(self) -> list[Document]:
        """The chunks that are left when the connection has ended; raises as `feed` does."""
        ...


class ProviderApi(Protocol):
    """A provider's dialect."""

    def token_request(self, target: Target, now: datetime) -> TokenRequest | None:
        """How to get the access token that requests carry; None when the credentials themselves go with them."""
        ...

    def request(self, target: Target, call: Call, token: AccessToken | None, now: datetime) -> HttpRequest:
        """The provider's request.

        Raises:
            BadRequest: the body is not one that the provider could take; the message names the field.
        """
        ...

    def answer(self, target: Target, call: Call, body: bytes) -> Answer:
        """The provider's answer with status 200, which is not a stream.

        Raises:
            UnreadableAnswer: see there.
        """
        ...

    def stream(self, target: Target, call: Call) -> ChunkStream:
        """A reader of the stream with which the provider answers this call."""
        ...

    def error_text(self, body: bytes) -> str:
        """What the provider says in an answer with an error status; the text itself when it has no known form."""
        ...
