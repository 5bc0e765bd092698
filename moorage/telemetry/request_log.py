"""What gateways write down of each request, for the inference tables and the usage table.

One record an accepted request, written before the last byte of its answer goes out: a few microseconds, no thread, no
queue. `moorage.tables` makes rows of them. Only the standard library and orjson are imported here.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import orjson

from moorage.telemetry.spool import Record, SegmentWriter

if TYPE_CHECKING:
    from moorage.api.routing import CaptureRoute

_logger = logging.getLogger(__name__)

REQUEST_KIND = 1
MAX_REQUEST_SIZE_EXCEEDED = "MAX_REQUEST_SIZE_EXCEEDED"
MAX_RESPONSE_SIZE_EXCEEDED = "MAX_RESPONSE_SIZE_EXCEEDED"
DEFAULT_BODY_BYTES = 1024 * 1024

_COMPLAINT_SECONDS = 60.0
_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request that was let in, and its answer.

    `request_time_ms` is milliseconds since the epoch, `duration_ms` milliseconds. The served fields are empty when no
    served entity was drawn. Of a stream, `response` is all that was sent of it, and `partial` whether it broke off.
    Token counts are None where there are no tokens to count, as for custom models. Characters are counted later
    unless they are given here. `error_codes` go to the column `logging_error_codes`.
    """

    request_id: str
    endpoint: str
    endpoint_id: str
    served_name: str
    served_entity_id: str
    entity: str
    version: str
    config_version: int
    requester: str
    status: int
    request_time_ms: int
    duration_ms: float
    request: bytes
    response: bytes
    client_request_id: str | None = None
    streamed: bool = False
    input_tokens: int | None = None
    output_tokens: int | None = None
    tokens_estimated: bool = False
    partial: bool = False
    usage_context: Mapping[str, str] | None = None
    tables: tuple[CaptureRoute, ...] = ()
    usage: bool = False
    error_codes: tuple[str, ...] = ()
    input_characters: int | None = None
    output_characters: int | None = None


class Captured(NamedTuple):
    """A table that a record goes to. `legacy` is whether it has the columns of `auto_capture_config`."""

    table: str
    legacy: bool
    sampling_fraction: float


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """A record as it is read back. A body is None when it was too long to be kept, or nobody wanted it."""

    request_id: str
    client_request_id: str | None
    endpoint: str
    endpoint_id: str
    served_name: str
    served_entity_id: str
    entity: str
    version: str
    config_version: int
    requester: str
    status: int
    request_time_ms: int
    duration_ms: float
    streamed: bool
    input_tokens: int | None
    output_tokens: int | None
    tokens_estimated: bool
    partial: bool
    usage_context: dict[str, str] | None
    input_characters: int | None
    output_characters: int | None
    usage: bool
    error_codes: tuple[str, ...]
    captures: tuple[Captured, ...]
    request: bytes | None
    response: bytes | None


class RequestLog:
    """Writes records to the spool in `folder`. `writer` names this process; no other live one may have that name.

    `chance` draws from [0, 1): it decides which requests are sampled. `lost` counts what could not be written.
    """

    def __init__(
        self,
        folder: Path,
        writer: str,
        *,
        max_body_bytes: int = DEFAULT_BODY_BYTES,
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], int] = time.time_ns,
    ) -> None:
        self.lost = 0
        self._segments = SegmentWriter(folder, writer, clock=clock, now=now)
        self._max_body_bytes = max_body_bytes
        self._chance = chance
        self._clock = clock
        self._complained = -_COMPLAINT_SECONDS
        self._told = 0
        self._again_at = 0.0

    def write(self, record: RequestRecord) -> None:
        """Keep a record, if a table wants it. Never raises: what cannot be written is counted in `lost`."""
        captures: list[tuple[str, bool, float]] = []
        if record.tables:
            draw = self._chance()
            captures = [
                (one.table, one.legacy, one.sampling_fraction)
                for one in record.tables
                if draw < one.sampling_fraction
            ]
        if not captures and not record.usage:
            return
        request: bytes | None = None
        response: bytes | None = None
        codes = record.error_codes
        # Of usage alone the bodies are needed where there is text to count.
        if captures or record.input_tokens is not None:
            request, response, most = record.request, record.response, self._max_body_bytes
            if len(request) > most:
                request, codes = None, (*codes, MAX_REQUEST_SIZE_EXCEEDED)
            if len(response) > most:
                response, codes = None, (*codes, MAX_RESPONSE_SIZE_EXCEEDED)
        head = (
            record.request_id, record.client_request_id, record.endpoint, record.endpoint_id, record.served_name,
            record.served_entity_id, record.entity, record.version, record.config_version, record.requester,
            record.status, record.request_time_ms, record.duration_ms, record.streamed, record.input_tokens,
            record.output_tokens, record.tokens_estimated, record.partial, record.usage_context,
            record.input_characters, record.output_characters, record.usage, codes, captures,
            request is not None, response is not None,
        )  # fmt: skip
        if self._again_at and self._clock() < self._again_at:
            self.lost += 1
            return
        try:
            self._segments.append(REQUEST_KIND, _encode(head), request or b"", response or b"")
        except (OSError, TypeError, ValueError) as error:
            self._lose(error)
        else:
            self._again_at = 0.0

    def rotate(self) -> None:
        """Hand over what is two seconds old. To be called twice a second."""
        self._segments.rotate()

    def close(self) -> None:
        """Hand over everything."""
        self._segments.close()

    def _lose(self, error: Exception) -> None:
        self.lost += 1
        now = self._clock()
        if isinstance(error, OSError):
            # Not with every request: opening a file takes longer than appending to one.
            self._again_at = now + _RETRY_SECONDS
        if now - self._complained >= _COMPLAINT_SECONDS:
            self._complained = now
            _logger.warning(
                "%d requests could not be logged for the inference tables: %s", self.lost - self._told, error
            )
            self._told = self.lost


def _encode(head: tuple[object, ...]) -> bytes:
    try:
        return orjson.dumps(head)
    except TypeError:
        # A client's text may hold what UTF-8 has no bytes for, and its numbers may be of any size.
        return json.dumps(head, ensure_ascii=False).encode("utf-8", "replace")


def decode(record: Record) -> LoggedRequest:
    """A record of `REQUEST_KIND`.

    Raises:
        ValueError: it is none that this version has written.
    """
    try:
        *fields, codes, captures, has_request, has_response = orjson.loads(record.head)
        fields += [tuple(codes), tuple(Captured(*one) for one in captures)]
        fields += [record.first if has_request else None, record.second if has_response else None]
        return LoggedRequest(*fields)
    except TypeError as error:
        raise ValueError("not a record of a request") from error
