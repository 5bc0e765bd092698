"""What can go wrong with an answer, and what it does to the bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from .wire import Dialect, Plain, Reply, Stream, dump


class Kind(StrEnum):
    """Each works on streams and on other answers, unless it says so."""

    STATUS = "status"
    """An answer with `status`, `headers` and `body` (by default the error form of the dialect with `message`)."""
    TIMEOUT = "timeout"
    """No answer until the client leaves, or for `seconds`; then the connection is closed."""
    RESET = "reset"
    """The connection is reset before any byte."""
    RESET_MIDWAY = "reset_midway"
    """The connection is reset after `after` events of a stream, or after half of another answer."""
    HANG_UP = "hang_up"
    """The connection ends in the middle of an event or of the body, and so before the end of the HTTP answer."""
    TRUNCATED = "truncated"
    """The HTTP answer ends properly in the middle of an event or of the JSON, after `after` events of a stream."""
    MALFORMED = "malformed"
    """Status 200 and something that is not JSON: as the event after `after` others, or as the whole body."""
    ERROR_EVENT = "error_event"
    """After `after` events the dialect's own error event with `status`, and the end. Others have the status."""
    NO_END = "no_end"
    """The HTTP answer ends properly, without the events that end the stream or the last `drop`. Streams only."""
    ONE_BYTE = "one_byte"
    """Every byte is sent on its own."""
    SPLIT_UTF8 = "split_utf8"
    """The text has characters beyond ASCII, and the bytes are cut inside each of them."""
    CONTENT_TYPE = "content_type"
    """The content type is `content_type`."""
    HUGE = "huge"
    """The text of the answer has `bytes` characters."""
    SLOW = "slow"
    """Pieces of `bytes` bytes with `seconds` between them."""
    BAD_CHECKSUM = "bad_checksum"
    """The event after `after` others has a wrong checksum. Amazon's binary streams only."""
    EMPTY = "empty"
    """Status 200 and nothing else."""


_BYTES = {Kind.HUGE: 8 << 20, Kind.SLOW: 16}
_SECONDS = {Kind.TIMEOUT: 3600.0, Kind.SLOW: 0.02}
DIALECTS = (
    "openai", "azure", "entra", "databricks", "anthropic", "gemini", "vertex", "google_token", "bedrock", "cohere",
    "ai21", "custom",
)  # fmt: skip
INSTEAD = frozenset({Kind.STATUS, Kind.TIMEOUT, Kind.RESET, Kind.EMPTY})
"""What happens before the request is looked at."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault for the next request that `dialect` and `model` fit; both fit all when they are not given.

    It comes `times` times, and for ever with 0.
    """

    kind: Kind
    dialect: str | None = None
    model: str | None = None
    times: int = 1
    status: int = 503
    message: str = "The fake provider was told to fail."
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    after: int = 2
    drop: int | None = None
    content_type: str = "text/html; charset=utf-8"
    bytes: int = 0
    seconds: float = 0.0

    def meant_for(self, dialect: str, model: str) -> bool:
        return self.dialect in (None, dialect) and self.model in (None, model)

    def once_less(self) -> Fault:
        return replace(self, times=self.times - 1)

    @property
    def size(self) -> int:
        """`bytes`, or what is usual for this kind."""
        return self.bytes or _BYTES.get(self.kind, 0)

    @property
    def wait(self) -> float:
        """`seconds`, or what is usual for this kind."""
        return self.seconds or _SECONDS.get(self.kind, 0.0)


def read_fault(written: Any) -> Fault:
    """The fault that a JSON object describes.

    Raises:
        ValueError: there is no such kind or field.
    """
    known = {one.name for one in fields(Fault)}
    if not isinstance(written, dict) or not set(written) <= known:
        raise ValueError(f"a fault is an object with 'kind' and some of {sorted(known - {'kind'})}: {written!r}")
    if written.get("dialect") not in (None, *DIALECTS):
        raise ValueError(f"there is no dialect {written['dialect']!r}; there are {DIALECTS}")
    return Fault(**{**written, "kind": Kind(written.get("kind", ""))})


def spoiled(reply: Reply, fault: Fault, dialect: Dialect) -> Reply:
    """The reply with what the fault does to its content; how its bytes are sent is the delivery's part."""
    after = min(fault.after, len(reply.events) - 1) if isinstance(reply, Stream) else 0
    match fault.kind:
        case Kind.CONTENT_TYPE:
            return replace(reply, headers={**reply.headers, "content-type": fault.content_type})
        case Kind.ERROR_EVENT if isinstance(reply, Stream):
            return replace(reply, events=[*reply.events[:after], dialect.error_event(fault.status, fault.message)])
        case Kind.ERROR_EVENT:
            return dialect.error(fault.status, fault.message)
        case Kind.NO_END if isinstance(reply, Stream):
            drop = reply.endings if fault.drop is None else fault.drop
            return replace(reply, events=reply.events[: len(reply.events) - drop])
        case Kind.MALFORMED if isinstance(reply, Stream):
            return replace(reply, events=[*reply.events[:after], dialect.broken_event, *reply.events[after + 1 :]])
        case Kind.BAD_CHECKSUM if isinstance(reply, Stream):
            wrong = reply.events[after][:-1] + bytes([reply.events[after][-1] ^ 1])
            return replace(reply, events=[*reply.events[:after], wrong, *reply.events[after + 1 :]])
        case Kind.MALFORMED:
            return replace(reply, body=b"<html>" + reply.body)
        case Kind.TRUNCATED | Kind.HANG_UP if isinstance(reply, Stream):
            cut = reply.events[after]
            return replace(reply, events=[*reply.events[:after], cut[: max(1, len(cut) * 2 // 3)]])
        case Kind.TRUNCATED:
            return replace(reply, body=reply.body[: len(reply.body) // 2])
        case Kind.RESET_MIDWAY if isinstance(reply, Stream):
            return replace(reply, events=reply.events[:after])
    return reply


def refusal(fault: Fault, dialect: Dialect) -> Plain:
    """The answer of a fault with a status."""
    plain = dialect.error(fault.status, fault.message)
    body = plain.body
    if fault.body is not None:
        body = fault.body.encode() if isinstance(fault.body, str) else dump(fault.body)
    return Plain(fault.status, body, {**plain.headers, **fault.headers})
