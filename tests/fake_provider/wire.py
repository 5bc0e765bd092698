"""What a provider's dialect gets and gives: a request that was read whole, and an answer that faults can spoil."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """A request. `headers` have lower-case names; `raw_path` is the path as it was sent; `at` are its named parts.

    `json` is the body, and None when it is not JSON.
    """

    method: str
    path: str
    raw_path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    at: Mapping[str, str] = field(default_factory=dict)
    json: Any = None

    @property
    def model(self) -> str:
        """The model that the path or else the body names; empty when neither does."""
        if "model" in self.at:
            return self.at["model"]
        named = self.json.get("model") if isinstance(self.json, dict) else None
        return named if isinstance(named, str) else ""


@dataclass(frozen=True, slots=True)
class Plain:
    """An answer that is no stream."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that comes in events, with status 200.

    The last `endings` events are those without which a client knows that the stream did not end properly.
    """

    events: Sequence[bytes]
    endings: int
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "text/event-stream"})


Reply = Plain | Stream


class Refused(Exception):
    """The provider refuses the request with this answer."""

    def __init__(self, reply: Plain) -> None:
        super().__init__(reply.body.decode(errors="replace"))
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a provider words what goes wrong.

    `error` gives the answer with a status, `error_event` what stands in a stream when it fails with that status,
    `broken_event` is an event in its framing whose content is no JSON.
    """

    name: str
    error: Callable[[int, str], Plain]
    error_event: Callable[[int, str], bytes]
    broken_event: bytes = b'data: {"broken": <\n\n'


def dump(value: Any) -> bytes:
    """JSON as providers send it: compact, and text beyond ASCII as it is."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def answer(value: Any, status: int = 200, **headers: str) -> Plain:
    """A JSON answer; underscores in the names of headers are dashes."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Plain(status, dump(value), {"content-type": "application/json", **named})


def sse(value: Any, event: str | None = None) -> bytes:
    """A server-sent event whose data is JSON."""
    return (b"" if event is None else f"event: {event}\n".encode()) + b"data: " + dump(value) + b"\n\n"


DONE = b"data: [DONE]\n\n"
