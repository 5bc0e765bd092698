"""The replica's loop over a real Unix socket, with a model made up for the test."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from moorage.replica import frames
from moorage.replica import server as server_module
from moorage.replica.model import Answer
from moorage.replica.process import BoundedLog
from moorage.replica.server import ReplicaServer

SECONDS = 20.0  # far longer than anything here takes: running out of it is a failure


class FakeModel:
    """Answers a number with its double; `{"rows": [...]}` bodies may be batched, all others may not.

    It blocks while `gate` is clear, and keeps what it was called with.
    """

    def __init__(self, batches: bool = True) -> None:
        self.batches = self.row_wise = batches
        self.short = False  # answers a batch with too few entries
        self.gate = threading.Event()
        self.gate.set()
        self.called = threading.Semaphore(0)
        self.batched: list[list[Any]] = []
        self.alone: list[bytes] = []
        self.running = self.most_running = 0
        self._lock = threading.Lock()

    def decode(self, body: bytes) -> tuple[Any, int, Any] | None:
        document = json.loads(body)
        rows = document.get("rows")
        return None if rows is None else (rows, len(rows), document.get("params"))

    def predict_batch(self, inputs: list[Any], counts: Sequence[int], params: Any) -> list[bytes] | None:
        self.batched.append(inputs)
        self._predict()
        if any("poison" in rows for rows in inputs):
            raise ValueError("poison")
        if self.short and len(inputs) > 1:
            return None
        return [json.dumps([params, *(2 * value for value in rows)]).encode() for rows in inputs]

    def predict_one(self, body: bytes, content_type: str, request_id: str, with_stack_trace: bool) -> Answer:
        self.alone.append(body)
        self._predict()
        if b"poison" in body:
            return Answer(400, b'"poisoned"')
        if b"defect" in body:
            raise RuntimeError("a defect of the replica's own")
        return Answer(200, json.dumps([content_type, request_id, with_stack_trace]).encode())

    def _predict(self) -> None:
        with self._lock:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        self.called.release()
        assert self.gate.wait(SECONDS)
        with self._lock:
            self.running -= 1

    def until_called(self) -> None:
        assert self.called.acquire(timeout=SECONDS)


class Client:
    """A gateway's side of one connection."""

    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SECONDS)
        self.sock.connect(path)
        self._decoder = frames.Decoder()
        self._arrived: list[frames.Frame] = []

    def send(
        self, stream: int, body: Any, *, deadline_ms: int = 0, content_type: bytes = b"", flags: int = 0
    ) -> None:
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.sock.sendall(frames.encode_request(stream, flags, deadline_ms, content_type, b"an-id", payload))

    def cancel(self, stream: int) -> None:
        self.sock.sendall(frames.encode(frames.CANCEL, stream))

    def frame(self) -> frames.Frame:
        while not self._arrived:
            data = self.sock.recv(1 << 20)
            if not data:
                raise EOFError
            self._arrived += self._decoder.feed(data)
        return self._arrived.pop(0)

    def answer(self) -> tuple[int, frames.ResponseHead, Any]:
        kind, stream, payload = self.frame()
        assert kind == frames.RESPONSE
        head, body = frames.decode_response(payload)
        return stream, head, json.loads(body)

    def answers(self, count: int) -> dict[int, tuple[frames.ResponseHead, Any]]:
        return {stream: (head, body) for stream, head, body in (self.answer() for _ in range(count))}

    def hello(self) -> Any:
        """The replica's identity. All sent before on this connection has been read when this returns."""
        self.sock.sendall(frames.encode(frames.HELLO, 0))
        kind, _, payload = self.frame()
        assert kind == frames.HELLO
        return json.loads(payload)

    def closed(self) -> bool:
        """Wait for the other side's end."""
        try:
            while True:
                self.frame()
        except (EOFError, ConnectionResetError):
            return True


class Running:
    """A server in a thread."""

    def __init__(self, model: FakeModel, path: str, threads: int, orphan_seconds: float) -> None:
        self.model = model
        self.path = path
        self.batching_off = threading.Event()
        self.clients: list[Client] = []
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(path)
        listener.listen(16)
        identity = {"replica_id": "r1"}
        self._server = ReplicaServer(model, listener, identity, threads, orphan_seconds, self.batching_off.set)
        self.thread = threading.Thread(target=self._server.run, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """What SIGTERM does: the handler, and a byte that wakes the loop."""
        self._server.stop()
        with contextlib.suppress(OSError):
            os.write(self._server._wake_write, b"\0")

    def client(self) -> Client:
        client = Client(self.path)
        self.clients.append(client)
        return client


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts servers in threads; each must end when it is told to."""
    ignored = SimpleNamespace(set_wakeup_fd=lambda *_, **__: -1, signal=lambda *_: None, SIGTERM=signal.SIGTERM)
    monkeypatch.setattr(server_module, "signal", ignored)  # only a main thread may set handlers
    started: list[Running] = []

    def start_one(model: FakeModel, threads: int = 4, orphan_seconds: float = 3600.0) -> Running:
        started.append(Running(model, str(tmp_path / f"{len(started)}.sock"), threads, orphan_seconds))
        return started[-1]

    yield start_one
    for running in started:
        running.model.gate.set()
        for client in running.clients:
            client.sock.close()
        running.stop()
        running.thread.join(SECONDS)
        assert not running.thread.is_alive()


def busy(running: Running, client: Client, stream: int = 1) -> None:
    """Have the model block on a request of that stream."""
    running.model.gate.clear()
    client.send(stream, {"rows": [0]})
    running.model.until_called()


class TestBatching:
    def test_requests_that_come_while_the_model_is_busy_are_the_next_batch(self, start):
        running = start(FakeModel())
        client, other = running.client(), running.client()
        busy(running, client)
        for stream in range(2, 7):
            client.send(stream, {"rows": [stream, 10 * stream]})
        other.send(1, {"rows": [9]})
        running.model.gate.set()
        answers = client.answers(6)
        assert {stream: body for stream, (_, body) in answers.items()} == {
            1: [None, 0],
            **{stream: [None, 2 * stream, 20 * stream] for stream in range(2, 7)},
        }
        assert other.answer()[2] == [None, 18]
        assert [len(batch) for batch in running.model.batched] == [1, 6]
        assert [answers[stream][0].batch_size for stream in (1, 2, 6)] == [1, 6, 6]
        assert not running.model.alone

    def test_single_request_is_answered_without_waiting_for_others(self, start):
        client = start(FakeModel()).client()
        client.send(5, {"rows": [1, 2]})
        stream, head, body = client.answer()
        assert (stream, head.status, head.batch_size, body) == (5, 200, 1, [None, 2, 4])

    def test_requests_with_other_params_are_not_in_the_same_batch(self, start):
        running = start(FakeModel())
        client = running.client()
        busy(running, client)
        for stream, value in ((2, 1), (3, 1), (4, True), (5, 1.0), (6, 1)):
            client.send(stream, {"rows": [stream], "params": {"k": value}})
        running.model.gate.set()
        answers = client.answers(6)
        given = [repr(answers[stream][1][0]["k"]) for stream in (2, 3, 4, 5, 6)]
        assert given == ["1", "1", "True", "1.0", "1"]
        assert [len(batch) for batch in running.model.batched] == [1, 2, 1, 1, 1]

    def test_batch_is_bounded_in_requests_and_in_bytes(self, start, monkeypatch):
        monkeypatch.setattr(server_module, "_LARGEST_BATCH", 3)
        running = start(FakeModel())
        client = running.client()
        busy(running, client)
        for stream in range(2, 9):
            client.send(stream, {"rows": [stream]})
        running.model.gate.set()
        assert set(client.answers(8)) == set(range(1, 9))
        assert [len(batch) for batch in running.model.batched] == [1, 3, 3, 1]

        monkeypatch.setattr(server_module, "_LARGEST_BATCH", 100)
        monkeypatch.setattr(server_module, "_LARGEST_BATCH_BYTES", 1000)
        running.model.batched.clear()
        while running.model.called.acquire(blocking=False):
            pass
        busy(running, client)
        for stream in range(2, 6):
            client.send(stream, {"rows": [stream], "filler": "x" * 600})
        running.model.gate.set()
        client.answers(5)
        assert [len(batch) for batch in running.model.batched] == [1, 2, 2]

    def test_request_that_makes_a_batch_fail_fails_alone(self, start):
        running = start(FakeModel())
        client = running.client()
        busy(running, client)
        client.send(2, {"rows": [1]})
        client.send(3, {"rows": ["poison"]})
        client.send(4, {"rows": [2]})
        running.model.gate.set()
        answers = client.answers(4)
        assert [answers[stream][0].status for stream in (1, 2, 3, 4)] == [200, 200, 400, 200]
        assert len(running.model.alone) == 3
        assert not running.batching_off.is_set()
        assert running.model.row_wise

    def test_output_of_another_length_switches_batching_off_and_everybody_is_answered(self, start):
        running = start(FakeModel())
        running.model.short = True
        client = running.client()
        busy(running, client)
        for stream in (2, 3, 4):
            client.send(stream, {"rows": [stream]})
        running.model.gate.set()
        assert {head.status for head, _ in client.answers(4).values()} == {200}
        assert running.batching_off.is_set()
        assert len(running.model.alone) == 3

        running.model.batched.clear()
        while running.model.called.acquire(blocking=False):
            pass
        busy(running, client)
        for stream in (2, 3, 4):
            client.send(stream, {"rows": [stream]})
        running.model.gate.set()
        assert {stream: body for stream, (_, body) in client.answers(4).items()}[4] == [None, 8]
        assert [len(batch) for batch in running.model.batched] == [1, 1, 1, 1]

    def test_request_that_cannot_be_batched_is_answered_by_mlflows_own_path(self, start):
        client = start(FakeModel()).client()
        client.send(1, {"other": 1}, content_type=b"application/json", flags=frames.FLAG_STACK_TRACE)
        stream, head, body = client.answer()
        assert (stream, head.status, head.batch_size) == (1, 200, 1)
        assert body == ["application/json", "an-id", True]

    @pytest.mark.parametrize("content_type", [b"text/csv", b"application/json; charset=latin-1", b"Application/JSON"])
    def test_body_that_is_not_plain_json_by_its_type_is_left_to_mlflow(self, start, content_type):
        client = start(FakeModel()).client()
        client.send(1, {"rows": [1]}, content_type=content_type)
        assert client.answer()[2] == [content_type.decode(), "an-id", False]

    def test_defect_of_the_replica_is_a_500_and_the_replica_lives_on(self, start):
        client = start(FakeModel()).client()
        client.send(1, {"other": "defect"})
        _, head, body = client.answer()
        assert (head.status, body["error_code"]) == (500, "INTERNAL_ERROR")
        client.send(2, {"rows": [1]})
        assert client.answer()[2] == [None, 2]


class TestGivingUp:
    def test_canceled_request_is_neither_predicted_nor_answered(self, start):
        running = start(FakeModel())
        client = running.client()
        busy(running, client)
        client.send(2, {"rows": [2]})
        client.send(3, {"rows": [3]})
        client.cancel(2)
        client.cancel(99)
        running.model.gate.set()
        assert set(client.answers(2)) == {1, 3}
        assert running.model.batched == [[[0]], [[3]]]

    def test_request_that_is_canceled_while_it_is_predicted_is_not_answered(self, start):
        running = start(FakeModel(batches=False))
        client = running.client()
        busy(running, client)
        client.cancel(1)
        client.hello()
        running.model.gate.set()
        client.send(2, {"rows": [2]})
        assert client.answer()[0] == 2

    def test_request_whose_deadline_is_over_is_dropped(self, start, monkeypatch):
        now = [100.0]
        monkeypatch.setattr(server_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
        running = start(FakeModel(batches=False), threads=1)
        client = running.client()
        busy(running, client)
        client.send(2, {"rows": [2]}, deadline_ms=5_000)
        client.send(3, {"rows": [3]}, deadline_ms=60_000)
        client.send(4, {"rows": [4]})
        client.hello()
        now[0] += 6
        running.model.gate.set()
        assert set(client.answers(3)) == {1, 3, 4}
        assert len(running.model.alone) == 3

    def test_expired_requests_are_not_tried_one_by_one_after_their_batch_failed(self, start, monkeypatch):
        now = [100.0]
        monkeypatch.setattr(server_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
        running = start(FakeModel())
        client = running.client()
        running.model.gate.clear()
        client.send(1, {"rows": ["poison"]}, deadline_ms=5_000)
        running.model.until_called()
        now[0] += 6
        running.model.gate.set()
        client.send(2, {"rows": [2]})
        assert client.answer()[0] == 2
        assert not running.model.alone

    def test_requests_of_a_connection_that_ended_are_not_predicted(self, start):
        running = start(FakeModel())
        client, other = running.client(), running.client()
        busy(running, other)
        client.send(1, {"rows": ["gone"]})
        client.sock.close()
        other.send(2, {"rows": [2]})
        running.model.gate.set()
        assert set(other.answers(2)) == {1, 2}
        other.send(3, {"rows": [3]})
        assert other.answer()[2] == [None, 6]


class TestConnections:
    def test_hello_says_who_it_is(self, start):
        assert start(FakeModel()).client().hello() == {"replica_id": "r1"}

    @pytest.mark.parametrize(
        "garbage",
        [
            b"\xff" * 100,
            frames.encode(77, 1),
            frames.encode(frames.RESPONSE, 1, b"x" * 12),
            frames.encode(frames.REQUEST, 1, b"xx"),
            frames.encode(frames.REQUEST, 1, b"\0" + b"\xff" * 8),
        ],
        ids=["oversized", "unknown kind", "response", "short request", "request without its head"],
    )
    def test_garbage_ends_only_the_connection_that_sent_it(self, start, garbage):
        running = start(FakeModel())
        good, bad = running.client(), running.client()
        good.hello()
        bad.sock.sendall(garbage)
        assert bad.closed()
        good.send(1, {"rows": [1]})
        assert good.answer()[2] == [None, 2]

    def test_peer_that_does_not_read_is_dropped_and_others_are_served(self, start, monkeypatch):
        monkeypatch.setattr(server_module, "_LARGEST_UNSENT", 1 << 20)
        running = start(FakeModel())
        slow, good = running.client(), running.client()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for stream in range(1, 60):  # each answer is about 100 KB
                slow.send(stream, {"rows": list(range(20_000))})
        assert slow.closed()
        assert len(running.model.batched) < 59
        good.send(1, {"rows": [1]})
        assert good.answer()[2] == [None, 2]

    def test_slow_reader_within_the_bound_gets_everything(self, start):
        client = start(FakeModel()).client()
        for stream in range(1, 11):
            client.send(stream, {"rows": list(range(20_000))})
        answers = client.answers(10)
        assert {len(body) for _, body in answers.values()} == {20_001}

    def test_replica_that_nobody_is_connected_to_ends(self, start, monkeypatch):
        monkeypatch.setattr(server_module, "_ORPHAN_LOOK_SECONDS", 0.01)
        running = start(FakeModel(), orphan_seconds=0.05)
        running.thread.join(SECONDS)
        assert not running.thread.is_alive()

    def test_replica_that_somebody_is_connected_to_stays(self, start, monkeypatch):
        monkeypatch.setattr(server_module, "_ORPHAN_LOOK_SECONDS", 0.01)
        running = start(FakeModel(), orphan_seconds=0.2)
        client = running.client()
        client.hello()
        running.thread.join(0.5)
        assert running.thread.is_alive()
        client.sock.close()
        running.thread.join(SECONDS)
        assert not running.thread.is_alive()


class TestWorkerThreads:
    def test_model_that_does_not_batch_is_called_in_parallel_up_to_its_threads(self, start):
        running = start(FakeModel(batches=False), threads=3)
        client = running.client()
        running.model.gate.clear()
        for stream in range(1, 6):
            client.send(stream, {"rows": [stream]})
        for _ in range(3):
            running.model.until_called()
        assert client.hello() == {"replica_id": "r1"}
        assert not running.model.called.acquire(blocking=False)
        running.model.gate.set()
        assert set(client.answers(5)) == {1, 2, 3, 4, 5}
        assert running.model.most_running == 3
        assert not running.model.batched

    def test_what_waits_is_finished_before_it_ends(self, start):
        running = start(FakeModel(batches=False), threads=1)
        client = running.client()
        busy(running, client)
        for stream in (2, 3):
            client.send(stream, {"rows": [stream]})
        client.hello()
        running.stop()
        running.model.gate.set()
        assert set(client.answers(3)) == {1, 2, 3}
        running.thread.join(SECONDS)
        assert not running.thread.is_alive()


PROGRAM = """
import json, os, socket, sys
from moorage.replica.model import Answer
from moorage.replica.server import ReplicaServer

class Model:
    batches = row_wise = {batches}
    def decode(self, body):
        return (body, 1, None)
    def predict_batch(self, inputs, counts, params):
        return [self.predict(body) for body in inputs]
    def predict_one(self, body, content_type, request_id, with_stack_trace):
        return Answer(200, self.predict(body))
    def predict(self, body):
        if body == b"wait":
            open({started!r}, "w").close()
            open({fifo!r}, "rb").read()
        return body

listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
listener.bind({path!r})
listener.listen(4)
ReplicaServer(Model(), listener, {{"pid": os.getpid()}}, 1, 3600.0, lambda: None).run()
sys.exit(17)
"""


@pytest.mark.parametrize("batches", [True, False], ids=["batching", "threads"])
def test_sigterm_finishes_what_waits_and_then_ends(tmp_path, batches):
    path, fifo, started = (str(tmp_path / name) for name in ("s.sock", "fifo", "started"))
    os.mkfifo(fifo)
    program = PROGRAM.format(path=path, fifo=fifo, started=started, batches=batches)
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        wait_until(lambda: os.path.exists(path), process)
        client = connect(path)
        pid = client.hello()["pid"]
        assert pid == process.pid
        client.send(1, b"wait")
        wait_until(lambda: os.path.exists(started), process)
        client.send(2, b'"behind"')
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        with open(fifo, "wb"):
            pass
        kinds = {}
        for _ in range(2):
            _, stream, payload = client.frame()
            kinds[stream] = frames.decode_response(payload)[1]
        assert kinds == {1: b"wait", 2: b'"behind"'}
        assert client.closed()
        assert process.wait(SECONDS) == 17
    finally:
        process.kill()
        process.wait()


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert process.poll() is None, "the program ended"
        assert time.monotonic() < deadline
        select.select([], [], [], 0.01)


def connect(path: str) -> Client:
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return Client(path)
        except ConnectionRefusedError:  # bound and not yet listening
            assert time.monotonic() < deadline
            select.select([], [], [], 0.01)


class TestBoundedLog:
    LIMIT = 10_000

    def test_log_over_its_limit_keeps_its_newest_whole_lines(self, tmp_path):
        path = tmp_path / "log"
        lines = [f"line {number:05d}" for number in range(2000)]
        path.write_text("\n".join(lines) + "\n")
        BoundedLog(str(path), self.LIMIT).trim()
        first, *rest = path.read_text().splitlines()
        dropped = sum(len(line) + 1 for line in lines[: -len(rest)])
        assert first == f"[earlier lines were dropped: the log reached its limit; {dropped} bytes so far]"
        assert rest == lines[-len(rest) :]
        assert self.LIMIT // 3 < path.stat().st_size <= self.LIMIT

    def test_log_that_is_cut_again_says_how_much_has_gone_in_all(self, tmp_path):
        path = tmp_path / "log"
        lines = [f"line {number:05d}\n" for number in range(4000)]
        path.write_text("".join(lines[:2000]))
        BoundedLog(str(path), self.LIMIT).trim()
        with path.open("a") as file:
            file.writelines(lines[2000:])
        BoundedLog(str(path), self.LIMIT).trim()
        first, *rest = path.read_text().splitlines(keepends=True)
        assert rest == lines[-len(rest) :]
        assert f"; {sum(map(len, lines[: -len(rest)]))} bytes so far]" in first

    def test_log_within_its_limit_is_not_touched(self, tmp_path):
        path = tmp_path / "log"
        path.write_bytes(b"x" * self.LIMIT)
        BoundedLog(str(path), self.LIMIT).trim()
        assert path.read_bytes() == b"x" * self.LIMIT

    def test_one_endless_line_is_bounded_too(self, tmp_path):
        path = tmp_path / "log"
        path.write_bytes(b"x" * (50 * self.LIMIT))
        BoundedLog(str(path), self.LIMIT).trim()
        assert path.stat().st_size < self.LIMIT

    def test_print_bomb_of_a_process_stays_bounded_and_its_last_words_are_kept(self, tmp_path):
        path = str(tmp_path / "log")
        program = (
            "import os, sys, threading\n"
            "from moorage.replica.process import BoundedLog\n"
            "BoundedLog._LOOK_SECONDS = 0.005\n"
            f"log = BoundedLog({path!r}, {self.LIMIT})\n"
            "log.redirect(); log.watch()\n"
            "for number in range(200_000): print('bomb', number)\n"
            "os.write(2, b'straight to the descriptor\\n')\n"
            "log.trim()\n"
            "print('last words')\n"
        )
        subprocess.run([sys.executable, "-c", program], check=True, timeout=SECONDS * 3)
        text = Path(path).read_text()
        assert len(text) < 2 * self.LIMIT
        assert text.endswith("straight to the descriptor\nlast words\n")
