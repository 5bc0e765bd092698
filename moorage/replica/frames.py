"""The wire format between a gateway and a replica: length-prefixed frames, many requests on one connection.

A frame is `<payload length: u32> <kind: u8> <stream: u32>` (little endian), then the payload. The stream number
is the gateway's; an answer carries the number of its request. Payloads:

    REQUEST   flags u8, content type length u16, request id length u16, deadline u32 (milliseconds from now,
              0 for none), content type, request id, W3C traceparent of 55 bytes when the flags say so, body
    RESPONSE  status u16, batch size u16, queue time u32, predict time u32 (microseconds), JSON body
    CANCEL    empty: nobody waits for the stream's answer any more
    HELLO     empty; the answer is a HELLO with the replica's identity as JSON
    DATA      one JSON document of an answer that comes in pieces; its RESPONSE follows the last one, with an empty
              body where all went well
    CREDIT    u32: so many bytes of DATA have been taken in

An answer comes in pieces where the REQUEST has the flag for it. A replica sends no further DATA while
`STREAM_WINDOW_BYTES` of it or more are out for which it had no CREDIT.
"""

from __future__ import annotations

import struct
from typing import List, NamedTuple, Tuple

REQUEST = 1
RESPONSE = 2
CANCEL = 3
HELLO = 4
DATA = 5
CREDIT = 6

FLAG_STACK_TRACE = 1  # the caller may see the traceback of the model's own exception
FLAG_TRACEPARENT = 2  # the request belongs to a trace
FLAG_STREAM = 4  # the answer is to come in pieces
TRACEPARENT_BYTES = 55

STREAM_WINDOW_BYTES = 256 * 1024

MAX_PAYLOAD_BYTES = 1 << 30

_HEADER = struct.Struct("<IBI")
_REQUEST = struct.Struct("<BHHI")
_RESPONSE = struct.Struct("<HHII")
_CREDIT = struct.Struct("<I")
HEADER_BYTES = _HEADER.size

Frame = Tuple[int, int, bytes]


class FrameError(Exception):
    """The peer does not speak this format; the connection is of no more use."""


class RequestHead(NamedTuple):
    """What a REQUEST says before its body."""

    flags: int
    deadline_ms: int
    content_type: str
    request_id: str
    traceparent: str = ""


class ResponseHead(NamedTuple):
    """What a RESPONSE says before its body. Times are microseconds spent in the replica."""

    status: int
    batch_size: int
    queue_us: int
    predict_us: int


def encode(kind: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return _HEADER.pack(len(payload), kind, stream) + payload


def encode_request(
    stream: int,
    flags: int,
    deadline_ms: int,
    content_type: bytes,
    request_id: bytes,
    body: bytes,
    traceparent: bytes = b"",
) -> bytes:
    """A REQUEST frame. `traceparent` has `TRACEPARENT_BYTES` or is empty, and has its flag set here."""
    if traceparent:
        flags |= FLAG_TRACEPARENT
    head = _REQUEST.pack(flags, len(content_type), len(request_id), deadline_ms)
    length = len(head) + len(content_type) + len(request_id) + len(traceparent) + len(body)
    return b"".join((_HEADER.pack(length, REQUEST, stream), head, content_type, request_id, traceparent, body))


def decode_request(payload: bytes) -> Tuple[RequestHead, bytes]:
    """The head and the body of a REQUEST's payload.

    Raises:
        FrameError: the payload is shorter than its head says.
    """
    try:
        flags, type_length, id_length, deadline_ms = _REQUEST.unpack_from(payload)
        at = _REQUEST.size
        content_type = payload[at : at + type_length].decode("latin-1")
        at += type_length
        request_id = payload[at : at + id_length].decode("latin-1")
        at += id_length
        traceparent = ""
        if flags & FLAG_TRACEPARENT:
            traceparent = payload[at : at + TRACEPARENT_BYTES].decode("latin-1")
            at += TRACEPARENT_BYTES
    except struct.error as error:
        raise FrameError(str(error)) from error
    if at > len(payload):
        raise FrameError("a request frame ends inside its head")
    return RequestHead(flags, deadline_ms, content_type, request_id, traceparent), payload[at:]


def encode_response(
    stream: int, status: int, batch_size: int, queue_us: int, predict_us: int, body: bytes
) -> bytes:
    """A RESPONSE frame. Times are microseconds and saturate at 2**32 - 1 (71 minutes)."""
    head = _RESPONSE.pack(
        status, min(batch_size, 0xFFFF), min(queue_us, 0xFFFFFFFF), min(predict_us, 0xFFFFFFFF)
    )
    return b"".join((_HEADER.pack(len(head) + len(body), RESPONSE, stream), head, body))


def decode_response(payload: bytes) -> Tuple[ResponseHead, bytes]:
    """The head and the body of a RESPONSE's payload.

    Raises:
        FrameError: the payload is shorter than a head.
    """
    try:
        head = ResponseHead(*_RESPONSE.unpack_from(payload))
    except struct.error as error:
        raise FrameError(str(error)) from error
    return head, payload[_RESPONSE.size :]


def encode_credit(stream: int, size: int) -> bytes:
    """A CREDIT frame for `size` bytes, which are fewer than 2**32."""
    return encode(CREDIT, stream, _CREDIT.pack(size))


def decode_credit(payload: bytes) -> int:
    """The bytes of a CREDIT's payload.

    Raises:
        FrameError: the payload is no number.
    """
    try:
        (size,) = _CREDIT.unpack(payload)
    except struct.error as error:
        raise FrameError(str(error)) from error
    return int(size)


class Decoder:
    """Cuts a byte stream into frames. Feed it whatever arrives; it keeps what is not yet whole."""

    __slots__ = ("_need", "_rest")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._need = HEADER_BYTES

    def feed(self, data: bytes) -> List[Frame]:
        """The frames that `data` completes, in order. A large frame costs one copy, however it is cut.

        Raises:
            FrameError: a frame announces more than `MAX_PAYLOAD_BYTES`.
        """
        if self._rest:
            self._rest += data
            if len(self._rest) < self._need:
                return []
            data = bytes(self._rest)
            self._rest = bytearray()
        frames: List[Frame] = []
        at, end = 0, len(data)
        self._need = HEADER_BYTES
        while end - at >= HEADER_BYTES:
            length, kind, stream = _HEADER.unpack_from(data, at)
            if length > MAX_PAYLOAD_BYTES:
                raise FrameError(f"a frame of {length} bytes is over the limit of {MAX_PAYLOAD_BYTES}")
            begin = at + HEADER_BYTES
            if end - begin < length:
                self._need = HEADER_BYTES + length
                break
            at = begin + length
            frames.append((kind, stream, data[begin:at]))
        if at < end:
            self._rest += data[at:]
        return frames
