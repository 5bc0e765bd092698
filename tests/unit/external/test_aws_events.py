"""Amazon's event stream, against botocore's decoder and cut at every byte."""

from __future__ import annotations

import struct
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer

from moorage.external.aws_events import EventMessage, EventParser
from moorage.external.exchange import UnreadableAnswer


def header(name: str, kind: int, value: bytes) -> bytes:
    return bytes([len(name.encode())]) + name.encode() + bytes([kind]) + value


def sized(value: bytes) -> bytes:
    return struct.pack(">H", len(value)) + value


def framed(headers: bytes, payload: bytes, *, length: int | None = None, headers_length: int | None = None) -> bytes:
    """A message with right checksums, whatever the lengths say."""
    prelude = struct.pack(
        ">II",
        16 + len(headers) + len(payload) if length is None else length,
        len(headers) if headers_length is None else headers_length,
    )
    checked = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return checked + struct.pack(">I", crc32(checked))


EVERY_TYPE = (
    header("true", 0, b"")
    + header("false", 1, b"")
    + header("byte", 2, struct.pack(">b", -5))
    + header("short", 3, struct.pack(">h", -300))
    + header("integer", 4, struct.pack(">i", -70000))
    + header("long", 5, struct.pack(">q", -(2**40)))
    + header("bytes", 6, sized(b"\x00\xff"))
    + header("string", 7, sized("Grüße".encode()))
    + header("timestamp", 8, struct.pack(">q", 1_700_000_000_123))
    + header("uuid", 9, bytes(range(16)))
)
VALUES = {
    "true": True,
    "false": False,
    "byte": -5,
    "short": -300,
    "integer": -70000,
    "long": -(2**40),
    "bytes": b"\x00\xff",
    "string": "Grüße",
    "timestamp": 1_700_000_000_123,
    "uuid": bytes(range(16)),
}
EVENT = header(":event-type", 7, sized(b"contentBlockDelta")) + header(":message-type", 7, sized(b"event"))
STREAM = framed(EVENT, '{"text":"日本"}'.encode()) + framed(EVERY_TYPE, b"") + framed(b"", b"\x00" * 40)


def decoded(*pieces: bytes) -> list[EventMessage]:
    parser = EventParser()
    return [message for piece in pieces for message in parser.feed(piece)]


def test_messages_are_what_botocore_reads_in_them() -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(STREAM)
    theirs = [(message.headers, message.payload) for message in buffer]

    assert [(message.headers, message.payload) for message in decoded(STREAM)] == theirs
    assert len(theirs) == 3
    assert theirs[1][0] == VALUES


def test_values_of_every_type_are_read() -> None:
    (message,) = decoded(framed(EVERY_TYPE, b"x"))

    assert message.headers == VALUES
    assert [type(value) for value in message.headers.values()] == [type(value) for value in VALUES.values()]


def test_cuts_anywhere_change_nothing() -> None:
    whole = decoded(STREAM)

    for cut in range(len(STREAM) + 1):
        assert decoded(STREAM[:cut], STREAM[cut:]) == whole, cut
    assert decoded(*(STREAM[at : at + 1] for at in range(len(STREAM)))) == whole


def test_messages_come_as_soon_as_they_are_complete() -> None:
    parser = EventParser()
    message = framed(EVENT, b"{}")

    assert parser.feed(message[:-1]) == []
    assert len(parser.feed(message[-1:])) == 1
    assert parser.feed(b"") == []


@pytest.mark.parametrize("at", range(len(framed(EVENT, b"payload"))))
def test_a_changed_byte_is_noticed(at: int) -> None:
    message = bytearray(framed(EVENT, b"payload"))
    message[at] ^= 0x10

    with pytest.raises(UnreadableAnswer, match="wrong checksum"):
        decoded(bytes(message))


def test_wrong_lengths_are_noticed_before_the_message_is_complete() -> None:
    with pytest.raises(UnreadableAnswer, match="wrong checksum of its lengths"):
        decoded(struct.pack(">III", 2**31, 0, 1))


@pytest.mark.parametrize(
    ("length", "headers_length"),
    [
        (0, 0),
        (15, 0),
        (16, 1),
        (40, 30),
        (2**32 - 1, 0),
        (25 * 1024 * 1024, 0),
        (200 * 1024, 128 * 1024 + 1),
    ],
)
def test_absurd_lengths_are_refused_at_once(length: int, headers_length: int) -> None:
    prelude = framed(b"", b"", length=length, headers_length=headers_length)[:12]

    with pytest.raises(UnreadableAnswer, match=f"{length} bytes with {headers_length} bytes of headers"):
        decoded(prelude)


@pytest.mark.parametrize(
    "headers",
    [
        b"\x05ab",
        header("name", 10, b""),
        header("name", 7, b"\x00"),
        header("name", 7, struct.pack(">H", 9) + b"short"),
        header("name", 7, sized(b"\xff")),
        header("name", 4, b"\x00\x00"),
        header("name", 9, bytes(15)),
        b"\x04name",
        b"\x01\xff\x00",
    ],
)
def test_unreadable_headers_are_refused(headers: bytes) -> None:
    with pytest.raises(UnreadableAnswer, match="headers cannot be read"):
        decoded(framed(headers, b""))
