"""The wire format between gateways and the guardrail process: JSON objects, each after its length.

A frame is `<length: u32>` (little endian) and a JSON object. `id` is the gateway's; an answer carries that of its
request.

    {"id", "kind": "check", "direction", "parameters", "seconds", "texts": [[text, role, group], ...]}
    {"id", "kind": "warm", "direction", "parameters"}   have what these parameters need loaded
    {"id", "kind": "cancel"}                            nobody waits for that request's answer any more; no answer

    {"id", "findings": [{"spans": [[start, end, label], ...], "scores": {...}, "reasons": [...]}, ...]}
    {"id", "problem": "...", "cause": one of `failures.Cause`}

`parameters` are those of the API: `safety`, `pii`, `invalid_keywords`, `valid_topics`.
"""

from __future__ import annotations

import struct
from typing import Any

import orjson

from moorage.guardrails.verdict import Finding, Span

MOST_BYTES = 64 * 1024 * 1024

_LENGTH = struct.Struct("<I")


class FrameError(Exception):
    """The peer does not speak this format; the connection is of no more use."""


def encode(document: dict[str, Any]) -> bytes:
    """One frame."""
    payload = orjson.dumps(document)
    return _LENGTH.pack(len(payload)) + payload


class Decoder:
    """Takes bytes as they arrive and gives whole frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """
        Raises:
            FrameError: see there.
        """
        self._buffer += data
        found, at = [], 0
        while len(self._buffer) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, at)
            if length > MOST_BYTES:
                raise FrameError("a frame is longer than 64 MiB")
            start = at + _LENGTH.size
            if len(self._buffer) - start < length:
                break
            at = start + length
            found.append(_document(bytes(self._buffer[start:at])))
        del self._buffer[:at]
        return found


def _document(payload: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise FrameError(f"a frame is not JSON: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("id"), int):
        raise FrameError("a frame is no JSON object with an id")
    return document


def finding_to_json(finding: Finding) -> dict[str, Any]:
    return {
        "spans": [[span.start, span.end, span.label] for span in finding.spans],
        "scores": dict(finding.scores),
        "reasons": list(finding.reasons),
    }


def finding_of_json(document: dict[str, Any]) -> Finding:
    """
    Raises:
        FrameError: it is no finding.
    """
    try:
        return Finding(
            tuple(Span(*span) for span in document["spans"]), document["scores"], tuple(document["reasons"])
        )
    except (KeyError, TypeError) as error:
        raise FrameError(f"a finding cannot be read: {error!r}") from None
