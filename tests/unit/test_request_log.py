"""The spool: what a gateway appends is read back whole, or recognised as torn, and never stops the gateway."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moorage.api.routing import CaptureRoute
from moorage.telemetry.entity_log import (
    DELETION_KIND,
    EndpointDeletion,
    EntityRecord,
    decode_deletion,
    decode_entities,
    record_endpoint_deletion,
    record_served_entities,
)
from moorage.telemetry.request_log import (
    MAX_REQUEST_SIZE_EXCEEDED,
    MAX_RESPONSE_SIZE_EXCEEDED,
    LoggedRequest,
    RequestLog,
    RequestRecord,
    decode,
)
from moorage.telemetry.spool import (
    MAGIC,
    SEGMENT_BYTES,
    SegmentWriter,
    closed_segments,
    parse_segment,
    read_segment,
    spool_bytes,
)

TABLE = CaptureRoute(table="prod.logs.ads_payload")


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def record(**fields: Any) -> RequestRecord:
    return RequestRecord(
        **{
            "request_id": "r1", "endpoint": "ads", "endpoint_id": "e1", "served_name": "ads1-1",
            "served_entity_id": "d1", "entity": "prod.ml.ads", "version": "1", "config_version": 3,
            "requester": "ann@example.com", "status": 200, "request_time_ms": 1_700_000_000_123, "duration_ms": 12.5,
            "request": b'{"inputs": [1]}', "response": b'{"predictions": [2]}', "tables": (TABLE,), **fields,
        }
    )  # fmt: skip


def logged(folder: Path) -> list[LoggedRequest]:
    return [decode(one) for segment in closed_segments(folder) for one in read_segment(segment.path)[0]]


def test_a_record_is_read_back_as_it_was(tmp_path: Path) -> None:
    log = RequestLog(tmp_path, "worker-0")
    given = record(
        client_request_id="c1", streamed=True, input_tokens=3, output_tokens=4, tokens_estimated=True, partial=True,
        usage_context={"team": "blue"}, usage=True, error_codes=("ODD",), request=b"\xff\x00", response=b"",
        tables=(TABLE, CaptureRoute(table="a.b.c_payload", legacy=True)), input_characters=7,
    )  # fmt: skip
    log.write(given)
    log.close()
    [found] = logged(tmp_path)
    for name in RequestRecord.__slots__:
        if name != "tables":
            assert getattr(found, name) == getattr(given, name), name
    assert [tuple(one) for one in found.captures] == [
        ("prod.logs.ads_payload", False, 1.0),
        ("a.b.c_payload", True, 1.0),
    ]


def test_what_nobody_wants_is_not_written(tmp_path: Path) -> None:
    log = RequestLog(tmp_path, "worker-0")
    log.write(record(tables=()))
    log.close()
    assert not list(tmp_path.iterdir())


def test_usage_alone_keeps_bodies_only_where_there_is_text_to_count(tmp_path: Path) -> None:
    log = RequestLog(tmp_path, "worker-0")
    log.write(record(tables=(), usage=True))
    log.write(record(tables=(), usage=True, input_tokens=1, output_tokens=0))
    log.close()
    custom, language = logged(tmp_path)
    assert custom.request is custom.response is None
    assert custom.error_codes == ()
    assert language.response == b'{"predictions": [2]}'


def test_a_body_over_the_limit_is_not_kept_but_marked(tmp_path: Path) -> None:
    log = RequestLog(tmp_path, "worker-0", max_body_bytes=10)
    log.write(record(request=b"x" * 11, response=b"y" * 10))
    log.write(record(request=b"x" * 10, response=b"y" * 11, error_codes=("ODD",)))
    log.close()
    long_request, long_response = logged(tmp_path)
    assert (long_request.request, long_request.response) == (None, b"y" * 10)
    assert long_request.error_codes == (MAX_REQUEST_SIZE_EXCEEDED,)
    assert (long_response.request, long_response.response) == (b"x" * 10, None)
    assert long_response.error_codes == ("ODD", MAX_RESPONSE_SIZE_EXCEEDED)


def test_sampling_keeps_a_request_when_the_draw_is_below_the_fraction(tmp_path: Path) -> None:
    draws = iter([0.0, 0.29, 0.3, 0.99])
    log = RequestLog(tmp_path, "worker-0", chance=lambda: next(draws))
    some, all_of_them = CaptureRoute(table="a.b.some", sampling_fraction=0.3), CaptureRoute(table="a.b.all")
    for number in range(4):
        log.write(record(request_id=str(number), tables=(some, all_of_them)))
    log.close()
    kept = {one.request_id: [(c.table, c.sampling_fraction) for c in one.captures] for one in logged(tmp_path)}
    both = [("a.b.some", 0.3), ("a.b.all", 1.0)]
    assert kept == {"0": both, "1": both, "2": both[1:], "3": both[1:]}


def test_a_fraction_of_zero_keeps_nothing(tmp_path: Path) -> None:
    log = RequestLog(tmp_path, "worker-0", chance=lambda: 0.0)
    log.write(record(tables=(CaptureRoute(table="a.b.c", sampling_fraction=0.0),)))
    log.close()
    assert closed_segments(tmp_path) == []


def test_text_that_utf8_has_no_bytes_for_is_written_with_a_replacement(tmp_path: Path) -> None:
    log = RequestLog(tmp_path, "worker-0")
    log.write(record(client_request_id="a\ud800b", output_tokens=2**70))
    log.close()
    [found] = logged(tmp_path)
    assert found.client_request_id == "a?b"
    assert log.lost == 0


def test_a_tail_that_is_torn_at_any_byte_is_dropped_and_nothing_else(tmp_path: Path) -> None:
    log = RequestLog(tmp_path, "worker-0")
    for number in range(3):
        log.write(record(request_id=str(number)))
    log.close()
    [segment] = closed_segments(tmp_path)
    data = segment.path.read_bytes()
    records, torn = parse_segment(data)
    assert torn == 0
    length = (len(data) - len(MAGIC)) // 3
    ends = [len(MAGIC) + length * number for number in range(4)]
    for cut in range(len(data)):
        found, torn = parse_segment(data[:cut])
        whole = sum(end <= cut for end in ends[1:])
        assert found == records[:whole], cut
        assert torn == (cut - ends[whole] if cut >= len(MAGIC) else cut)
    # A flipped bit anywhere in the last record is noticed; those before it are kept.
    for place in range(ends[2], len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 0x10
        found, torn = parse_segment(bytes(damaged))
        assert found == records[:2], place
        assert torn == length


def test_a_segment_is_closed_when_it_is_two_seconds_old(tmp_path: Path) -> None:
    clock = Clock()
    log = RequestLog(tmp_path, "worker-0", clock=clock)
    log.write(record())
    clock.seconds += 1.9
    log.rotate()
    assert closed_segments(tmp_path) == []
    clock.seconds += 0.1
    log.rotate()
    assert len(logged(tmp_path)) == 1
    log.write(record())
    assert len(closed_segments(tmp_path)) == 1
    log.close()
    assert len(logged(tmp_path)) == 2


def test_a_segment_is_closed_when_it_is_long(tmp_path: Path) -> None:
    log = RequestLog(tmp_path, "worker-0")
    body = bytes(1024 * 1024)
    for _ in range(8):
        log.write(record(request=body, response=body))
    [segment] = closed_segments(tmp_path)
    assert SEGMENT_BYTES <= segment.size < SEGMENT_BYTES + 3 * len(body)
    assert spool_bytes(tmp_path) == segment.size


def test_segments_of_a_writer_are_given_out_up_to_the_first_that_is_still_written(tmp_path: Path) -> None:
    early, late, other = (SegmentWriter(tmp_path, name) for name in ("w", "w", "other"))
    early.append(9, b"1")
    late.append(9, b"2")
    other.append(9, b"3")
    late.close()
    other.close()
    assert [one.writer for one in closed_segments(tmp_path)] == ["other"]
    early.close()
    segments = closed_segments(tmp_path)
    assert [read_segment(one.path)[0][0].head for one in segments] == [b"1", b"2", b"3"]


def test_numbers_grow_over_restarts_deleted_segments_and_a_clock_that_goes_back(tmp_path: Path) -> None:
    numbers = []
    for now in (2_000_000_000, 5_000, 3_000_000_000, 1):
        writer = SegmentWriter(tmp_path, "w", now=lambda now=now: now)
        for _ in range(2):
            writer.append(9, b"x")
            writer.close()
        for segment in closed_segments(tmp_path):
            numbers.append(segment.number)
            segment.path.unlink()
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 8


def test_the_segment_of_a_process_that_was_killed_is_taken_as_it_is(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom moorage.telemetry.spool import SegmentWriter\n"
        "w = SegmentWriter(Path(sys.argv[1]), 'w')\nw.append(9, b'kept')\nprint('written', flush=True)\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        assert closed_segments(tmp_path) == []
    finally:
        process.kill()
        process.communicate()
    [segment] = closed_segments(tmp_path)
    assert [one.head for one in read_segment(segment.path)[0]] == [b"kept"]


def test_a_file_that_has_no_name_of_a_segment_yet_is_not_one_and_goes_in_time(tmp_path: Path) -> None:
    unfinished = tmp_path / "w.7.new"
    unfinished.write_bytes(MAGIC)
    assert closed_segments(tmp_path) == []
    assert unfinished.exists()
    assert closed_segments(tmp_path, now=lambda: unfinished.stat().st_mtime + 61) == []
    assert not unfinished.exists()


@pytest.mark.parametrize("name", ["a.7.new", "a.00000000000000000002.segment"])
@pytest.mark.parametrize("end", [None, "a.00000000000000000009.segment"], ids=["deleted", "renamed"])
def test_a_file_that_goes_while_the_folder_is_looked_at_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, end: str | None
) -> None:
    scandir = os.scandir

    def list_and_lose(folder: Path) -> Iterator[os.DirEntry[str]]:
        entries = list(scandir(folder))
        (tmp_path / name).unlink() if end is None else (tmp_path / name).rename(tmp_path / end)
        return iter(entries)

    monkeypatch.setattr(os, "scandir", list_and_lose)
    for one in ("a.00000000000000000001.segment", "b.00000000000000000003.segment"):
        (tmp_path / one).write_bytes(MAGIC)
    (tmp_path / name).write_bytes(MAGIC)
    assert [one.writer for one in closed_segments(tmp_path)] == ["a", "b"]
    if end:
        (tmp_path / end).unlink()
    (tmp_path / name).write_bytes(MAGIC)
    assert spool_bytes(tmp_path) == 2 * len(MAGIC)


def test_a_record_that_does_not_fit_on_the_disk_leaves_those_before_and_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    log = RequestLog(tmp_path, "worker-0", clock=clock)
    log.write(record(request_id="before"))
    whole = os.writev

    def full(descriptor: int, parts: Any) -> int:
        return os.write(descriptor, b"".join(parts)[:40])

    monkeypatch.setattr(os, "writev", full)
    log.write(record(request_id="lost"))
    monkeypatch.setattr(os, "writev", whole)
    log.write(record(request_id="too soon"))
    assert log.lost == 2
    clock.seconds += 1
    log.write(record(request_id="after"))
    log.close()
    assert [one.request_id for one in logged(tmp_path)] == ["before", "after"]
    assert log.lost == 2
    assert "1 requests could not be logged" in caplog.text


def test_nothing_is_raised_when_files_may_not_grow_and_it_recovers_by_itself(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    log = RequestLog(tmp_path, "worker-0", clock=clock)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        for number in range(50):
            clock.seconds += 1.5
            log.write(record(request_id=str(number)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert log.lost > 0
    clock.seconds += 2
    log.write(record(request_id="last"))
    log.close()
    kept = [one.request_id for one in logged(tmp_path)]
    assert kept[-1] == "last"
    assert len(kept) + log.lost == 51
    # Once a minute, not with every request.
    assert caplog.text.count("could not be logged") <= 2


def test_a_folder_that_cannot_be_written_loses_records_quickly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def refuse(path: Any, *_: Any) -> int:
        opened.append(path)
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    clock = Clock()
    log = RequestLog(tmp_path / "spool", "worker-0", clock=clock)
    for _ in range(100):
        log.write(record())
    assert log.lost == 100
    assert len(opened) == 1
    monkeypatch.undo()
    clock.seconds += 1
    log.write(record())
    log.close()
    assert len(logged(tmp_path / "spool")) == 1


def test_served_entities_and_deletions_come_back_in_their_order(tmp_path: Path) -> None:
    entity = EntityRecord(
        served_entity_id="d1", created_by="ann", endpoint_name="ads", endpoint_id="e1", served_entity_name="a",
        entity_type="CUSTOM_MODEL", entity_name="m", entity_version="1", endpoint_config_version=1, change_time_ms=5,
        min_concurrency=0, max_concurrency=4, compute_type="CPU",
    )  # fmt: skip
    record_served_entities(tmp_path, "control", [entity])
    record_served_entities(tmp_path, "control", [])
    record_endpoint_deletion(tmp_path, "control", EndpointDeletion("e1", 9))
    first, second = (read_segment(one.path)[0][0] for one in closed_segments(tmp_path))
    assert decode_entities(first) == [entity]
    assert second.kind == DELETION_KIND
    assert decode_deletion(second) == EndpointDeletion("e1", 9)


def test_a_gateway_imports_nothing_of_delta_for_it() -> None:
    code = (
        "import sys\nimport moorage.telemetry.request_log\n"
        "print([m for m in ('pydantic', 'pyarrow', 'deltalake', 'numpy') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
