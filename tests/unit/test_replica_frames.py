import struct
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moorage.replica import frames

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

KINDS = st.integers(0, 255)
STREAMS = st.integers(0, 2**32 - 1)
FRAMES = st.lists(st.tuples(KINDS, STREAMS, st.binary(max_size=40)), max_size=8)


def stream_of(sent: list[frames.Frame]) -> bytes:
    return b"".join(frames.encode(*frame) for frame in sent)


@unhurried
@given(FRAMES, st.lists(st.integers(0, 400), max_size=12))
def test_frames_come_out_whole_and_in_order_wherever_the_stream_is_cut(sent, cuts):
    stream = stream_of(sent)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    decoder = frames.Decoder()
    arrived = []
    for begin, end in pairwise(places):
        arrived += decoder.feed(stream[begin:end])
    assert arrived == sent


def test_frames_come_out_when_the_stream_arrives_byte_by_byte():
    sent = [(frames.REQUEST, 7, b"payload"), (frames.CANCEL, 8, b""), (frames.HELLO, 9, b"x")]
    decoder = frames.Decoder()
    assert [frame for byte in stream_of(sent) for frame in decoder.feed(bytes([byte]))] == sent


def test_frame_is_given_out_with_its_last_byte_and_not_before():
    decoder = frames.Decoder()
    whole = frames.encode(frames.REQUEST, 1, b"abc")
    assert decoder.feed(whole[:-1]) == []
    assert decoder.feed(whole[-1:]) == [(frames.REQUEST, 1, b"abc")]


def test_frame_over_the_limit_is_refused_by_its_header_alone():
    header = struct.pack("<IBI", frames.MAX_PAYLOAD_BYTES + 1, frames.REQUEST, 1)
    with pytest.raises(frames.FrameError, match="over the limit"):
        frames.Decoder().feed(header)


def test_frame_of_exactly_the_limit_is_waited_for():
    header = struct.pack("<IBI", frames.MAX_PAYLOAD_BYTES, frames.REQUEST, 1)
    assert frames.Decoder().feed(header + b"begin") == []


def test_oversized_frame_behind_a_good_one_is_refused_too():
    header = struct.pack("<IBI", 2**32 - 1, frames.REQUEST, 1)
    with pytest.raises(frames.FrameError):
        frames.Decoder().feed(frames.encode(frames.CANCEL, 1) + header)


FLAGS = st.integers(0, 255).map(lambda flags: flags & ~frames.FLAG_TRACEPARENT)
TRACEPARENTS = st.sampled_from(["", f"00-{'a1' * 16}-{'b2' * 8}-01"])
LATIN = st.text(st.characters(max_codepoint=255), max_size=30)


@unhurried
@given(STREAMS, FLAGS, st.integers(0, 2**32 - 1), LATIN, LATIN, st.binary(max_size=60), TRACEPARENTS)
def test_request_survives_the_wire(stream, flags, deadline_ms, content_type, request_id, body, traceparent):
    frame = frames.encode_request(
        stream, flags, deadline_ms, content_type.encode("latin-1"), request_id.encode("latin-1"), body,
        traceparent.encode(),
    )  # fmt: skip
    [(kind, got_stream, payload)] = frames.Decoder().feed(frame)
    assert (kind, got_stream) == (frames.REQUEST, stream)
    flags |= frames.FLAG_TRACEPARENT if traceparent else 0
    assert frames.decode_request(payload) == ((flags, deadline_ms, content_type, request_id, traceparent), body)


@unhurried
@given(STREAMS, st.integers(0, 999), st.integers(0, 2**17), st.integers(0, 2**34), st.integers(0, 2**34), st.binary())
def test_response_survives_the_wire_and_its_counts_saturate(stream, status, batch, queue_us, predict_us, body):
    frame = frames.encode_response(stream, status, batch, queue_us, predict_us, body)
    [(kind, got_stream, payload)] = frames.Decoder().feed(frame)
    assert (kind, got_stream) == (frames.RESPONSE, stream)
    most = 2**32 - 1
    expected = (status, min(batch, 2**16 - 1), min(queue_us, most), min(predict_us, most))
    assert frames.decode_response(payload) == (expected, body)


def test_request_that_ends_inside_its_head_is_refused_wherever_it_ends():
    trace = b"t" * frames.TRACEPARENT_BYTES
    [(_, _, payload)] = frames.Decoder().feed(frames.encode_request(1, 0, 0, b"text/csv", b"an-id", b"", trace))
    for length in range(len(payload)):
        with pytest.raises(frames.FrameError):
            frames.decode_request(payload[:length])
    assert frames.decode_request(payload)[0].request_id == "an-id"


def test_response_that_ends_inside_its_head_is_refused_wherever_it_ends():
    [(_, _, payload)] = frames.Decoder().feed(frames.encode_response(1, 200, 1, 2, 3, b""))
    for length in range(len(payload)):
        with pytest.raises(frames.FrameError):
            frames.decode_response(payload[:length])
    assert frames.decode_response(payload)[0].predict_us == 3
