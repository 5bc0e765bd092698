"""The replica's loop: read requests, predict what waits, write answers.

A model that batches is called on the one thread that also reads and writes: no hand-over, and whatever came in
while it was busy is the next batch. Other models are called by a few worker threads, one request each; a thread that
makes an answer in pieces waits when its reader is slow, and stops when nobody reads any more.
"""

from __future__ import annotations

import errno
import json
import os
import selectors
import signal
import socket
import threading
import time
import traceback
import warnings
from collections import deque
from typing import Any, Callable, Deque, Dict, Generator, List, Optional, Tuple

from . import frames
from .answers import Answer
from .codec import same_params
from .model import ServedModel
from .process import log, peer_uid
from .tracing import continued

_READ_BYTES = 256 * 1024
_LARGEST_BATCH = 256  # requests
_LARGEST_BATCH_BYTES = 32 * 1024 * 1024
_LARGEST_UNSENT = 64 * 1024 * 1024  # bytes a peer may leave unread before it is dropped
_ORPHAN_LOOK_SECONDS = 5.0
_PLAIN_JSON = {
    "",
    "application/json",
    "application/json; charset=utf-8",
    "application/json;charset=utf-8",
    "application/json; charset=UTF-8",
    "application/json;charset=UTF-8",
}
"""Content types of the fast path; MLflow's own code judges all others."""


class Connection:
    """One gateway's connection."""

    __slots__ = ("decoder", "open", "sock", "unsent", "waiting", "writing")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.decoder = frames.Decoder()
        self.unsent: Deque[memoryview] = deque()
        self.writing = False
        self.open = True
        self.waiting: Dict[int, Request] = {}


class Request:
    """A request on its way through the replica."""

    __slots__ = ("arrived", "body", "canceled", "connection", "deadline", "decoded", "head", "out", "stream")

    def __init__(self, connection: Connection, stream: int, payload: bytes, now: float) -> None:
        self.connection = connection
        self.stream = stream
        self.head, self.body = frames.decode_request(payload)
        self.arrived = now
        self.deadline = now + self.head.deadline_ms / 1000 if self.head.deadline_ms else None
        self.canceled = False
        self.out = 0  # bytes of its stream that the gateway has not taken in
        self.decoded: Optional[Tuple[Any, int, Any]] = None


class ReplicaServer:
    """Serves one model on one listening socket until it is told to stop."""

    def __init__(
        self,
        model: ServedModel,
        listener: socket.socket,
        identity: Dict[str, Any],
        threads: int,
        orphan_seconds: float,
        on_batching_off: Callable[[], None],
        client_uid: Optional[int] = None,
    ) -> None:
        """`orphan_seconds` is how long to live without any connection; `identity` is what HELLO answers.

        `client_uid` is the one user who may connect; None lets everybody.
        """
        self._model = model
        self._listener = listener
        self._identity = json.dumps(identity).encode()
        self._threads = threads
        self._orphan_seconds = orphan_seconds
        self._client_uid = client_uid
        self._on_batching_off = on_batching_off
        self._batching = model.batches
        self._selector = selectors.DefaultSelector()
        self._connections: Dict[int, Connection] = {}
        self._queue: Deque[Request] = deque()
        self._stopping = False
        self._done: Deque[Tuple[Request, bytes, bool]] = deque()  # whether a frame is the last of its answer
        self._work = threading.Condition()
        self._credit = threading.Condition()
        self._in_work = 0
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    def run(self) -> None:
        """Serve until SIGTERM, or until nobody has been connected for the orphan time; then finish what waits."""
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._woken)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self.stop)
        if not self._batching:
            for number in range(self._threads):
                threading.Thread(target=self._worker, name=f"predict-{number}", daemon=True).start()
        lonely_since = time.monotonic()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="X does not have valid feature names")
            arrived: Any = None
            while not self._stopping or arrived or not self._idle():
                # What the kernel holds for a replica that stops is read too: it has been sent to this one.
                arrived = self._selector.select(self._patience())
                for key, events in arrived:
                    if isinstance(key.data, Connection):
                        self._serve_connection(key.data, events)
                    else:
                        key.data()
                if self._queue and self._batching:
                    self._predict_waiting()
                if self._connections:
                    lonely_since = time.monotonic()
                elif time.monotonic() - lonely_since > self._orphan_seconds:
                    log("INFO", f"nobody was connected for {self._orphan_seconds:.0f} s; stopping")
                    self._stopping = True

    def _patience(self) -> float:
        """Seconds to wait for the sockets: none while a batch is waiting, nor for the last look of all."""
        if (self._batching and self._queue) or (self._stopping and self._idle()):
            return 0.0
        return _ORPHAN_LOOK_SECONDS

    def stop(self, *_: Any) -> None:
        """Finish what waits and return from `run`; a signal handler."""
        self._stopping = True

    def _idle(self) -> bool:
        """Whether everything that was read has been answered."""
        with self._work:  # a worker takes from the queue and counts itself in one step
            if self._queue or self._in_work:
                return False
        if self._done:
            return False
        return not any(connection.unsent for connection in self._connections.values())

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.ECONNABORTED):
                return
            raise
        if self._client_uid is not None and peer_uid(sock) != self._client_uid:  # another model of this user's
            sock.close()
            return
        sock.setblocking(False)
        connection = Connection(sock)
        self._connections[sock.fileno()] = connection
        self._selector.register(sock, selectors.EVENT_READ, connection)

    def _woken(self) -> None:
        try:
            os.read(self._wake_read, 4096)
        except BlockingIOError:
            return
        touched = set()
        while self._done:
            request, frame, last = self._done.popleft()
            if last:
                self._answer(request, frame)
            elif request.connection.open and not request.canceled:
                request.connection.unsent.append(memoryview(frame))
            touched.add(request.connection)
        for connection in touched:
            self._flush(connection)

    def _serve_connection(self, connection: Connection, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush(connection)
        if not events & selectors.EVENT_READ or not connection.open:
            return
        try:
            data = connection.sock.recv(_READ_BYTES)
            if not data:
                self._close(connection)
                return
            arrived = connection.decoder.feed(data)
            now = time.monotonic()
            for kind, stream, payload in arrived:
                self._take(connection, kind, stream, payload, now)
        except BlockingIOError:
            return
        except (OSError, frames.FrameError) as error:
            log("WARNING", f"a connection ended: {error}")
            self._close(connection)

    def _take(self, connection: Connection, kind: int, stream: int, payload: bytes, now: float) -> None:
        if kind == frames.REQUEST:
            request = Request(connection, stream, payload, now)
            connection.waiting[stream] = request
            if self._batching:
                self._queue.append(request)
            else:
                with self._work:
                    self._queue.append(request)
                    self._work.notify()
        elif kind == frames.CANCEL:
            canceled = connection.waiting.get(stream)
            if canceled is not None:
                self._cancel([canceled])
        elif kind == frames.CREDIT:
            size, reading = frames.decode_credit(payload), connection.waiting.get(stream)
            if reading is not None:
                with self._credit:
                    reading.out -= size
                    self._credit.notify_all()
        elif kind == frames.HELLO:
            connection.unsent.append(memoryview(frames.encode(frames.HELLO, stream, self._identity)))
            self._flush(connection)
        else:
            raise frames.FrameError(f"unknown frame kind {kind}")

    def _close(self, connection: Connection) -> None:
        if not connection.open:
            return
        connection.open = False
        self._selector.unregister(connection.sock)
        self._connections.pop(connection.sock.fileno(), None)
        connection.sock.close()
        self._cancel(list(connection.waiting.values()))  # a worker may be taking one out
        connection.unsent.clear()

    def _cancel(self, requests: List[Request]) -> None:
        with self._credit:
            for request in requests:
                request.canceled = True
            self._credit.notify_all()

    def _answer(self, request: Request, frame: bytes) -> None:
        connection = request.connection
        connection.waiting.pop(request.stream, None)
        if connection.open and not request.canceled:
            connection.unsent.append(memoryview(frame))

    def _flush(self, connection: Connection) -> None:
        """Write what the socket takes; wait for it when it takes no more."""
        if not connection.open:
            return
        unsent = connection.unsent
        try:
            while unsent:
                if len(unsent) > 1:
                    joined = memoryview(b"".join(unsent))
                    unsent.clear()
                    unsent.append(joined)
                sent = connection.sock.send(unsent[0])
                if sent == len(unsent[0]):
                    unsent.popleft()
                else:
                    unsent[0] = unsent[0][sent:]
        except BlockingIOError:
            if sum(map(len, unsent)) > _LARGEST_UNSENT:
                log("WARNING", "a gateway does not read its answers; its connection is dropped")
                self._close(connection)
                return
        except OSError as error:
            log("WARNING", f"a connection ended: {error}")
            self._close(connection)
            return
        if bool(unsent) != connection.writing:
            connection.writing = bool(unsent)
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if unsent else 0)
            self._selector.modify(connection.sock, events, connection)

    def _predict_waiting(self) -> None:
        """Answer what fits one batch, and at most one request that cannot be in any."""
        batch: List[Request] = []
        alone: Optional[Request] = None
        size, params = 0, None
        most = _LARGEST_BATCH if self._model.row_wise else 1
        while self._queue and len(batch) < most and size < _LARGEST_BATCH_BYTES:
            request = self._queue.popleft()
            if self._given_up(request):
                continue
            ordinary = request.head.content_type in _PLAIN_JSON and not request.head.flags & frames.FLAG_STREAM
            if request.decoded is None and ordinary:
                request.decoded = self._model.decode(request.body)
            if request.decoded is None:
                alone = request
                break
            if not batch:
                params = request.decoded[2]
            elif not same_params(request.decoded[2], params):
                self._queue.appendleft(request)
                break
            batch.append(request)
            size += len(request.body)
        if batch:
            self._predict_batch(batch)
            for connection in {request.connection for request in batch}:
                self._flush(connection)
        if alone is not None:
            self._predict_alone(alone)

    def _given_up(self, request: Request) -> bool:
        expired = request.deadline is not None and time.monotonic() > request.deadline
        if request.canceled or expired:
            request.connection.waiting.pop(request.stream, None)
            return True
        return False

    def _predict_batch(self, batch: List[Request]) -> None:
        began = time.monotonic()
        decoded = [request.decoded for request in batch if request.decoded is not None]
        try:
            bodies = self._model.predict_batch([d[0] for d in decoded], [d[1] for d in decoded], decoded[0][2])
        except BaseException:  # noqa: BLE001  whichever request it was, alone it gets MLflow's own answer
            bodies = None
        else:
            if bodies is None:
                self._batching_off()
        if bodies is None:
            for request in batch:
                self._predict_alone(request)
            return
        predict_us = int((time.monotonic() - began) * 1e6)
        for request, body in zip(batch, bodies):
            queue_us = int((began - request.arrived) * 1e6)
            self._answer(
                request,
                frames.encode_response(request.stream, 200, len(batch), queue_us, predict_us, body),
            )

    def _batching_off(self) -> None:
        if self._model.row_wise:
            self._model.row_wise = False
            log("WARNING", "an answer had not one entry per input row: batching is off for this model")
            self._on_batching_off()

    def _predict_alone(self, request: Request) -> None:
        if not self._given_up(request):
            self._answer(request, self._frame_of(request))
            self._flush(request.connection)

    def _frame_of(self, request: Request) -> bytes:
        """The answer frame of one request, by MLflow's own path; the last one where it comes in pieces."""
        began = time.monotonic()
        head = request.head
        with_stack_trace = bool(head.flags & frames.FLAG_STACK_TRACE)
        try:
            with continued(head.traceparent):
                if head.flags & frames.FLAG_STREAM:
                    pieces = self._model.stream_one(
                        request.body, head.content_type, head.request_id, with_stack_trace
                    )
                    answer = self._pass_on(request, pieces)
                else:
                    answer = self._model.predict_one(
                        request.body, head.content_type, head.request_id, with_stack_trace
                    )
        except Exception:  # noqa: BLE001  a defect of ours must not end the replica
            log("ERROR", f"request {head.request_id}: {traceback.format_exc()}")
            answer = Answer(500, b'{"error_code":"INTERNAL_ERROR","message":"The replica failed."}')
        queue_us = int((began - request.arrived) * 1e6)
        predict_us = int((time.monotonic() - began) * 1e6)
        return frames.encode_response(request.stream, answer.status, 1, queue_us, predict_us, answer.body)

    def _pass_on(self, request: Request, pieces: Generator[bytes, None, Answer]) -> Answer:
        """Send each piece when its reader has taken in enough of those before. How the stream ended."""
        while True:
            try:
                piece = next(pieces)
            except StopIteration as end:
                answer: Answer = end.value
                return answer
            with self._credit:
                while request.out >= frames.STREAM_WINDOW_BYTES and not request.canceled:
                    self._credit.wait()
                request.out += len(piece)
            if request.canceled:
                pieces.close()
                return Answer(200, b"")  # which nobody waits for
            self._done.append((request, frames.encode(frames.DATA, request.stream, piece), False))
            self._wake()

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:  # the loop has been woken and not yet looked
            pass

    def _worker(self) -> None:
        while True:
            with self._work:
                while not self._queue:
                    self._work.wait()
                request = self._queue.popleft()
                self._in_work += 1
            try:
                if not self._given_up(request):
                    self._done.append((request, self._frame_of(request), True))
            finally:
                with self._work:
                    self._in_work -= 1
                self._wake()
