"""Amazon's binary event stream: each message has its lengths, headers, payload and two checksums."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from zlib import crc32

_STRING = 7
CONTENT_TYPE = "application/vnd.amazon.eventstream"


def message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message with these headers, all of which are strings."""
    block = b"".join(
        struct.pack("!B", len(name.encode()))
        + name.encode()
        + struct.pack("!BH", _STRING, len(value.encode()))
        + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", 16 + len(block) + len(payload), len(block))
    checked = prelude + struct.pack("!I", crc32(prelude)) + block + payload
    return checked + struct.pack("!I", crc32(checked))


def event(kind: str, payload: bytes) -> bytes:
    """An event with a JSON payload."""
    return message({":event-type": kind, ":content-type": "application/json", ":message-type": "event"}, payload)


def exception(kind: str, payload: bytes) -> bytes:
    """An exception of the service's model, with a JSON payload; it ends the stream."""
    return message(
        {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}, payload
    )
