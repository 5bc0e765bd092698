"""Messages of `application/vnd.amazon.eventstream`, from bytes cut anywhere.

A message is: its length and that of its headers, CRC-32 of these two, headers, payload, CRC-32 of all of that.
Numbers are big-endian. Source: Smithy specification, Amazon Event Stream.
"""

from __future__ import annotations

import struct
from typing import NamedTuple
from zlib import crc32

from moorage.external.exchange import UnreadableAnswer

_PRELUDE = struct.Struct(">III")
_CHECKSUM = struct.Struct(">I")
_SHORTEST_MESSAGE = _PRELUDE.size + _CHECKSUM.size
_LONGEST_HEADERS = 128 * 1024
_LONGEST_PAYLOAD = 24 * 1024 * 1024

HeaderValue = bool | int | bytes | str

_CONSTANTS = {0: True, 1: False}
# byte, short, integer, long, timestamp in milliseconds since the epoch
_INTEGERS = {number: struct.Struct(form) for number, form in ((2, ">b"), (3, ">h"), (4, ">i"), (5, ">q"), (8, ">q"))}
_BYTES, _STRING, _UUID = 6, 7, 9
_LENGTH = struct.Struct(">H")


class EventMessage(NamedTuple):
    """One message. A timestamp is a number of milliseconds, a UUID its 16 bytes."""

    headers: dict[str, HeaderValue]
    payload: bytes


class EventParser:
    """Collects messages."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._length = 0  # of the message that has begun; 0 until its prelude is there
        self._headers_length = 0

    def feed(self, data: bytes) -> list[EventMessage]:
        """The messages that these bytes complete.

        Raises:
            UnreadableAnswer: a checksum is wrong, a length cannot be, or headers are not what they should be.
        """
        self._rest += data
        messages = []
        while self._begun() and len(self._rest) >= self._length:
            messages.append(self._message(bytes(self._rest[: self._length])))
            del self._rest[: self._length]
            self._length = 0
        return messages

    def _begun(self) -> bool:
        if not self._length and len(self._rest) >= _PRELUDE.size:
            length, headers_length, checksum = _PRELUDE.unpack_from(self._rest)
            if crc32(self._rest[: _PRELUDE.size - _CHECKSUM.size]) != checksum:
                raise UnreadableAnswer("the event stream has a message with a wrong checksum of its lengths")
            payload_length = length - headers_length - _SHORTEST_MESSAGE
            if headers_length > _LONGEST_HEADERS or not 0 <= payload_length <= _LONGEST_PAYLOAD:
                raise UnreadableAnswer(
                    f"the event stream has a message of {length} bytes with {headers_length} bytes of headers"
                )
            self._length, self._headers_length = length, headers_length
        return self._length > 0

    def _message(self, data: bytes) -> EventMessage:
        end = len(data) - _CHECKSUM.size
        if crc32(data[:end]) != _CHECKSUM.unpack_from(data, end)[0]:
            raise UnreadableAnswer("the event stream has a message with a wrong checksum")
        payload_at = _PRELUDE.size + self._headers_length
        try:
            headers = _headers(data[_PRELUDE.size : payload_at])
        except (struct.error, IndexError, UnicodeDecodeError, KeyError):
            raise UnreadableAnswer("the event stream has a message whose headers cannot be read") from None
        return EventMessage(headers, data[payload_at:end])


def _headers(data: bytes) -> dict[str, HeaderValue]:
    """Name: length in one byte, text. Value: type in one byte, and what the type says."""
    headers: dict[str, HeaderValue] = {}
    at = 0
    while at < len(data):
        name_end = at + 1 + data[at]
        name = data[at + 1 : name_end].decode("utf-8")
        kind = data[name_end]
        at = name_end + 1
        value: HeaderValue
        if kind in _CONSTANTS:
            value, size = _CONSTANTS[kind], 0
        elif kind in (_BYTES, _STRING):
            length = _LENGTH.unpack_from(data, at)[0]
            at += _LENGTH.size
            raw = _exactly(data, at, length)
            value, size = (raw.decode("utf-8") if kind == _STRING else raw), length
        elif kind == _UUID:
            value, size = _exactly(data, at, 16), 16
        else:
            value, size = _INTEGERS[kind].unpack_from(data, at)[0], _INTEGERS[kind].size
        headers[name] = value
        at += size
    return headers


def _exactly(data: bytes, at: int, length: int) -> bytes:
    value = data[at : at + length]
    if len(value) != length:
        raise IndexError
    return value
