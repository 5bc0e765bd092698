"""The load client of the benchmarks, against a server in a thread that answers in a few bytes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.load import Target, Timing
from benchmarks.processes import BenchmarkFailed
from benchmarks.streams import Sample, at_once, closed_loop, open_loop, summary

DONE = b"[DONE]"
PAUSE = 0.05
TIMING = Timing(0.0, 0.5)


class Handler(BaseHTTPRequestHandler):
    """`/stream` sends its end late, `/cut` never, `/refused` has another status."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(429 if self.path == "/refused" else 200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.chunk(b"data: one\n\n")
        if self.path == "/cut":
            self.close_connection = True
            return
        time.sleep(PAUSE)
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def body(tmp_path: Path) -> Path:
    path = tmp_path / "body.json"
    path.write_text("{}")
    return path


def test_first_bytes_are_told_from_whole_answers(url: str, body: Path) -> None:
    cell = closed_loop(Target(f"{url}/stream", body, "token"), 4, TIMING, DONE)

    assert cell.errors == 0
    assert cell.requests >= 4
    assert cell.first_p50_ms < PAUSE * 1000 <= cell.p50_ms


def test_a_fixed_rate_does_not_wait_for_answers(url: str, body: Path) -> None:
    cell = open_loop(Target(f"{url}/stream", body), 40, 20, TIMING, DONE)

    assert (cell.requests, cell.errors) == (20, 0)


def test_a_request_that_finds_no_connection_free_counts_its_wait(url: str, body: Path) -> None:
    cell = open_loop(Target(f"{url}/stream", body), 40, 1, TIMING, DONE)

    # One connection answers at most 20 requests a second: half of them pile up.
    assert (cell.requests, cell.errors) == (20, 0)
    assert cell.p99_ms > 2 * PAUSE * 1000


def test_a_burst_is_answered_once_each(url: str, body: Path) -> None:
    cell = at_once(Target(f"{url}/stream", body), 10, DONE)

    assert (cell.requests, cell.connections, cell.errors) == (10, 10, 0)


@pytest.mark.parametrize("path", ["/cut", "/refused"])
def test_answers_that_are_cut_off_or_refused_are_not_good(url: str, body: Path, path: str) -> None:
    with pytest.raises(BenchmarkFailed, match="0 good answers of 5 "):
        at_once(Target(f"{url}{path}", body), 5, DONE)


def test_an_answer_that_ends_otherwise_is_not_good(url: str, body: Path) -> None:
    with pytest.raises(BenchmarkFailed, match="0 good answers of 3 "):
        at_once(Target(f"{url}/stream", body), 3, b"message_stop")


def test_failed_answers_have_no_part_in_latencies() -> None:
    samples = [Sample(0.0, 0.001, 0.002, True)] * 3 + [Sample(0.0, 9.0, 9.0, False)]

    cell = summary(samples, 1, 2.0)

    assert (cell.requests, cell.errors, cell.rate) == (3, 1, 1.5)
    assert (cell.first_p99_ms, cell.p99_ms) == pytest.approx((1.0, 2.0))
    assert "1 ERRORS" in cell.summary()
