"""The pure parts of the benchmarks: reading wrk, py-spy and the kernel, goals, the table."""

from __future__ import annotations

import json
import math

import pytest

from benchmarks.__main__ import parse_arguments
from benchmarks.bench import Twice, keep
from benchmarks.echo_replica import answer
from benchmarks.load import Load, parse_wrk
from benchmarks.processes import Memory, parse_memory
from benchmarks.profiling import format_frames, self_times
from benchmarks.report import Bound, Goal, Measure, Outcome, Row, at_least_times, at_most_times, number, table
from benchmarks.scenarios.gateway import snapshot
from moorage.identity.tokens import token_digest
from moorage.replica import frames

WRK = """Running 10s test @ http://127.0.0.1:8080/invocations
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     4.57ms    2.36ms  26.20ms   81.21%
    Req/Sec    14.40k     1.75k   17.11k    73.00%
  Latency Distribution
     50%  940.00us
     75%    5.34ms
     90%    7.29ms
     99%    1.20s
  143254 requests in 10.00s, 28.55MB read
Requests/sec:  14321.79
Transfer/sec:      2.85MB
"""
ERRORS = "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 5\nRequests/sec"


def cell(rate: float = 100.0, p50: float = 1.0) -> Load:
    return Load(connections=64, requests=1000, seconds=10, rate=rate, p50_ms=p50, p99_ms=9, errors=0)


def test_a_report_of_wrk_is_read_in_milliseconds() -> None:
    read = parse_wrk(WRK, 64)

    assert (read.requests, read.seconds, read.errors) == (143254, 10.0, 0)
    assert read.rate == pytest.approx(14325.4)
    assert (read.p50_ms, read.p99_ms) == pytest.approx((0.94, 1200))


def test_failed_requests_of_every_kind_are_counted() -> None:
    assert parse_wrk(WRK.replace("Requests/sec", ERRORS, 1), 64).errors == 15


@pytest.mark.parametrize("text", ["", "unable to connect to 127.0.0.1:1", WRK.replace("50%", "51%")])
def test_anything_else_is_no_report(text: str) -> None:
    with pytest.raises(ValueError, match="report of wrk"):
        parse_wrk(text, 1)


@pytest.mark.parametrize(
    ("goal", "figure", "baseline", "met"),
    [
        (at_least_times(30), 3000, 100, True),
        (at_least_times(30), 2999, 100, False),
        (at_most_times(0.4), 4, 10, True),
        (at_most_times(0.4), 4.1, 10, False),
        (Goal(Measure.DIFFERENCE, Bound.AT_MOST, 0.5), 1.5, 1.0, True),
        (Goal(Measure.DIFFERENCE, Bound.AT_MOST, 0.5), 1.6, 1.0, False),
        (Goal(Measure.FIGURE, Bound.AT_LEAST, 10_000), 10_000, None, True),
        (Goal(Measure.FIGURE, Bound.AT_MOST, 60), 61, 10, False),
        (at_least_times(30), 3000, 0, False),
        (at_least_times(30), 3000, None, False),
        (at_most_times(0.1), math.nan, 1, False),
    ],
)
def test_a_goal_is_met_at_its_limit_and_never_without_values(
    goal: Goal, figure: float, baseline: float | None, met: bool
) -> None:
    assert goal.met(figure, baseline) is met


def test_the_table_says_what_is_missed() -> None:
    rows = [
        Row("throughput", "req/s", 3000, "other", 200, at_least_times(10), 0.1),
        Row("throughput", "req/s", 3000, "other", 400, at_least_times(10), 0.1),
        Row("memory", "MB", 12),
    ]

    lines = table(rows).splitlines()

    assert lines[0].split() == ["What", "Moorage", "+-", "Baseline", "Ratio", "Goal", "Met"]
    assert lines[2].split() == ["throughput", "3,000", "req/s", "5%", "200", "other", "15.0x", ">=", "10x", "yes"]
    assert lines[3].endswith(">= 10x  NO")
    assert lines[4].split() == ["memory", "12.0", "MB"]


def test_a_row_is_json_also_without_a_ratio() -> None:
    row = Row("x", "ms", math.nan, "y", 0.0, at_most_times(2))

    document = json.loads(json.dumps(row.document(), allow_nan=False))

    assert document["figure"] is None
    assert document["ratio"] is None
    assert document["met"] is False


@pytest.mark.parametrize(
    ("value", "text"), [(12345.6, "12,346"), (99.94, "99.9"), (0.123, "0.12"), (math.nan, "-"), (math.inf, "-")]
)
def test_numbers_keep_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_two_runs_give_a_mean_and_their_difference() -> None:
    twice = Twice({64: cell(rate=90)}, {64: cell(rate=110)})

    assert twice.rate(64) == pytest.approx((100, 0.2))
    assert twice.p50(64) == (1.0, 0.0)


def test_a_second_cell_of_one_name_is_kept_too() -> None:
    outcome = Outcome()
    keep(outcome, "echo, 64", cell(rate=1))
    keep(outcome, "echo, 64", cell(rate=2))

    assert {name: each["rate"] for name, each in outcome.cells.items()} == {"echo, 64": 1, "echo, 64 (run 2)": 2}


def test_self_time_belongs_to_the_innermost_frame() -> None:
    collapsed = "main (a.py:1);read (a.py:9) 30\nmain (a.py:1) 5\nmain (a.py:2);read (a.py:9) 10\n\nnonsense\n"

    assert self_times(collapsed) == {"read (a.py:9)": 40, "main (a.py:1)": 5}
    assert "88.9%  read (a.py:9)" in format_frames("gateway", collapsed)


def test_no_samples_are_no_error() -> None:
    assert format_frames("gateway", "").startswith("gateway: 0 samples")


def test_memory_is_in_bytes() -> None:
    head = "55d0-7ffe ---p 00000000 00:00 0  [rollup]\nRss:   900 kB\nPss:   28 kB\n"
    rollup = head + "Private_Clean: 3 kB\nPrivate_Dirty: 4 kB\n"
    assert parse_memory(rollup) == Memory(28 * 1024, 7 * 1024)
    with pytest.raises(ValueError, match="Pss"):
        parse_memory("Rss: 900 kB\n")


def test_the_echo_replica_sends_the_body_back_on_the_same_stream() -> None:
    request = frames.Decoder().feed(frames.encode_request(7, 0, 1000, b"application/json", b"id", b'{"a":1}'))[0]

    kind, stream, payload = frames.Decoder().feed(answer(*request))[0]

    assert (kind, stream) == (frames.RESPONSE, 7)
    head, body = frames.decode_response(payload)
    assert (head.status, body) == (200, b'{"a":1}')
    assert answer(frames.CANCEL, 7, b"") == b""


def test_the_echo_endpoint_is_for_a_caller_who_must_show_a_token() -> None:
    routing = snapshot("dapi" + "0" * 32, "/run/echo.sock")

    (principal,) = routing.tokens.values()
    assert routing.tokens.keys() == {token_digest("dapi" + "0" * 32)}
    assert not principal.admin
    assert routing.endpoints["echo"].queriers == {principal.id}


@pytest.mark.parametrize("arguments", [["--seconds", "0"], ["--seconds", "x"], ["--only", "nothing"]])
def test_an_impossible_command_line_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_arguments(arguments)
    assert ended.value.code == 2
