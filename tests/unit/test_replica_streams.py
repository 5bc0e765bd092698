"""Answers in pieces: the loop over a real socket, and the way of a request to a model's `predict_stream`."""

from __future__ import annotations

import json
import threading
import time
import warnings
from collections.abc import Generator
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow.models import infer_signature
from mlflow.pyfunc import ChatModel, PythonModel
from mlflow.types.llm import ChatChoice, ChatChoiceDelta, ChatChunkChoice, ChatCompletionChunk, ChatCompletionResponse
from mlflow.types.llm import ChatMessage as Message
from test_replica_server import SECONDS, Client, FakeModel
from test_replica_server import start as start

from moorage.replica import frames
from moorage.replica.answers import Answer
from moorage.replica.model import CANNOT_STREAM, ServedModel

WINDOW = frames.STREAM_WINDOW_BYTES


class StreamingModel(FakeModel):
    """Streams `count` pieces of `size` bytes, and waits before each while `gate` is clear."""

    def __init__(self, batches: bool = False) -> None:
        super().__init__(batches)
        self.given = 0
        self.begun = threading.Semaphore(0)
        self.closed = threading.Semaphore(0)

    def stream_one(
        self, body: bytes, content_type: str, request_id: str, with_stack_trace: bool
    ) -> Generator[bytes, None, Answer]:
        wanted = json.loads(body)
        if "refuse" in wanted:
            return Answer(400, b'"refused"')
        self.begun.release()
        try:
            for number in range(wanted["count"]):
                assert self.gate.wait(SECONDS)
                if wanted.get("defect") == number:
                    raise RuntimeError("a defect of the replica's own")
                self.given += 1
                yield b"%d" % number + b"x" * wanted.get("size", 0)
        finally:
            self.closed.release()
        return Answer(200, b"")

    def until(self, what: threading.Semaphore, times: int = 1) -> None:
        for _ in range(times):
            assert what.acquire(timeout=SECONDS)


def ask(client: Client, stream: int, **wanted: Any) -> None:
    client.send(stream, wanted, flags=frames.FLAG_STREAM)


def pieces_of(client: Client, stream: int) -> tuple[list[bytes], frames.ResponseHead, bytes]:
    """All pieces of the only stream, and its end; each piece is taken in at once."""
    found = []
    while True:
        kind, number, payload = client.frame()
        assert number == stream
        if kind == frames.RESPONSE:
            return found, *frames.decode_response(payload)
        assert kind == frames.DATA
        found.append(payload)
        client.sock.sendall(frames.encode_credit(stream, len(payload)))


def settled(model: StreamingModel) -> int:
    """How many pieces it has given, when it gives no more for a while."""
    deadline = time.monotonic() + SECONDS
    given, since = model.given, time.monotonic()
    while time.monotonic() - since < 0.3:
        assert time.monotonic() < deadline
        if model.given != given:
            given, since = model.given, time.monotonic()
        time.sleep(0.01)
    return given


class TestTheLoop:
    def test_pieces_come_one_by_one_and_then_the_end(self, start):
        client = start(StreamingModel()).client()
        ask(client, 7, count=3)
        found, head, body = pieces_of(client, 7)
        assert found == [b"0", b"1", b"2"]
        assert (head.status, head.batch_size, body) == (200, 1, b"")

    def test_piece_is_sent_before_the_next_one_is_made(self, start):
        running = start(StreamingModel())
        client = running.client()
        running.model.gate.clear()
        ask(client, 1, count=2)
        running.model.until(running.model.begun)
        running.model.gate.set()
        assert client.frame() == (frames.DATA, 1, b"0")

    def test_stream_of_nothing_and_a_refusal_are_ends_alone(self, start):
        client = start(StreamingModel()).client()
        ask(client, 1, count=0)
        assert pieces_of(client, 1)[0] == []
        ask(client, 2, refuse=True)
        found, head, body = pieces_of(client, 2)
        assert (found, head.status, body) == ([], 400, b'"refused"')

    def test_defect_in_the_middle_is_the_end_of_the_stream_and_not_of_the_replica(self, start):
        client = start(StreamingModel()).client()
        ask(client, 1, count=3, defect=1)
        found, head, body = pieces_of(client, 1)
        assert (found, head.status) == ([b"0"], 500)
        assert json.loads(body)["error_code"] == "INTERNAL_ERROR"
        ask(client, 2, count=1)
        assert pieces_of(client, 2)[0] == [b"0"]

    def test_replica_does_not_run_ahead_of_its_reader(self, start):
        running = start(StreamingModel())
        client = running.client()
        size, count = WINDOW // 8, 100
        ask(client, 1, count=count, size=size)
        ahead = settled(running.model)
        assert 8 <= ahead <= 10
        client.sock.sendall(frames.encode_credit(1, 3 * size))
        assert settled(running.model) == ahead + 3
        client.sock.sendall(frames.encode_credit(1, 1 << 30))
        running.model.until(running.model.closed)
        assert len(pieces_of(client, 1)[0]) == count

    def test_window_is_a_streams_own(self, start):
        running = start(StreamingModel())
        slow, other = running.client(), running.client()
        ask(slow, 1, count=100, size=WINDOW)
        settled(running.model)
        ask(other, 1, count=50, size=WINDOW // 4)
        assert len(pieces_of(other, 1)[0]) == 50

    @pytest.mark.parametrize("how", ["cancel", "close"])
    def test_reader_that_leaves_stops_a_stream_that_waits_for_it(self, start, how):
        running = start(StreamingModel(), threads=1)
        client, other = running.client(), running.client()
        ask(client, 1, count=100, size=WINDOW)
        settled(running.model)
        if how == "cancel":
            client.cancel(1)
        else:
            client.sock.close()
        running.model.until(running.model.closed)
        assert running.model.given < 5
        ask(other, 1, count=2)
        assert pieces_of(other, 1)[0] == [b"0", b"1"]

    @pytest.mark.parametrize("how", ["cancel", "close"])
    def test_reader_that_leaves_stops_a_stream_that_is_at_work(self, start, how):
        running = start(StreamingModel(), threads=1)
        client, other = running.client(), running.client()
        running.model.gate.clear()
        ask(client, 1, count=100)
        running.model.until(running.model.begun)
        if how == "cancel":
            client.cancel(1)
            client.hello()
        else:
            client.sock.close()
            other.hello()
            other.hello()  # what came before on the other connection has been read by now
        running.model.gate.set()
        running.model.until(running.model.closed)
        assert running.model.given == 1
        ask(other, 1, count=1)
        assert pieces_of(other, 1)[0] == [b"0"]

    def test_streams_run_beside_each_other_and_beside_whole_answers(self, start):
        running = start(StreamingModel(), threads=3)
        client = running.client()
        ask(client, 1, count=20)
        ask(client, 2, count=20)
        client.send(3, [1])
        arrived: dict[int, list[bytes]] = {1: [], 2: [], 3: []}
        ends = 0
        while ends < 3:
            kind, stream, payload = client.frame()
            if kind == frames.RESPONSE:
                ends += 1
            else:
                arrived[stream].append(payload)
        assert arrived == {1: [b"%d" % n for n in range(20)], 2: [b"%d" % n for n in range(20)], 3: []}

    def test_replica_that_is_to_stop_ends_its_streams_first(self, start):
        running = start(StreamingModel())
        client = running.client()
        running.model.gate.clear()
        ask(client, 1, count=3)
        running.model.until(running.model.begun)
        running.stop()
        running.model.gate.set()
        assert pieces_of(client, 1)[0] == [b"0", b"1", b"2"]

    def test_batching_model_is_asked_alone_for_a_stream(self, start):
        client = start(StreamingModel(batches=True)).client()
        ask(client, 1, rows=[1], refuse=True)
        assert pieces_of(client, 1)[2] == b'"refused"'

    @pytest.mark.parametrize("payload", [b"", b"123", b"12345"])
    def test_unreadable_credit_ends_the_connection(self, start, payload):
        client = start(StreamingModel()).client()
        client.sock.sendall(frames.encode(frames.CREDIT, 1, payload))
        assert client.closed()

    def test_credit_for_nothing_is_ignored(self, start):
        client = start(StreamingModel()).client()
        client.sock.sendall(frames.encode_credit(9, 100))
        assert client.hello() == {"replica_id": "r1"}


class Words(PythonModel):
    """Gives what its request's last message says, and notes in `SEEN` and `CLOSED` what becomes of it."""

    def predict(self, context, model_input, params=None):
        return model_input

    def predict_stream(self, context, model_input, params=None):
        wanted = model_input["messages"][-1] if "messages" in model_input else model_input
        SEEN.append((model_input, params))
        try:
            for one in wanted.get("say", [1]):
                if one == "raise":
                    raise ValueError("it was told to")
                if one == "exit":
                    raise SystemExit(3)
                yield ODD[one] if isinstance(one, str) and one in ODD else one
        finally:
            CLOSED.append(True)
            if wanted.get("will_not_close"):
                raise RuntimeError("will not close")


ODD: dict[str, Any] = {"frame": pd.DataFrame({"a": [1]}), "set": {1, 2}, "nan": float("nan")}
SEEN: list[Any] = []
CLOSED: list[bool] = []


class Chat(ChatModel):
    def predict(self, context, messages, params):
        return ChatCompletionResponse(choices=[ChatChoice(message=Message("assistant", "x"))])

    def predict_stream(self, context, messages, params):
        SEEN.append((messages, params))
        for text in (messages[-1].content, str(params.temperature)):
            yield ChatCompletionChunk(choices=[ChatChunkChoice(delta=ChatChoiceDelta(content=text))], created=1)


class Whole(PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input


def logged(folder: Path, model: Any, **how: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(str(folder), python_model=model, pip_requirements=[], **how)
    return str(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    signed = infer_signature({"messages": [{"say": ["a"]}]}, params={"factor": 2.0})
    rows = infer_signature(pd.DataFrame({"x": [1.0]}))
    return {
        "words": logged(folder / "words", Words()),
        "params": logged(folder / "params", Words(), signature=signed),
        "rows": logged(folder / "rows", Words(), signature=rows),
        "chat": logged(folder / "chat", Chat()),
        "whole": logged(folder / "whole", Whole()),
    }


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    SEEN.clear()
    CLOSED.clear()


def streamed(
    path: str, body: Any, content_type: str = "application/json", strict: bool = True
) -> tuple[list[Any], Answer]:
    model = ServedModel(path, strict, "auto")
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    stream = model.stream_one(raw, content_type, "an-id", True)
    found = []
    while True:
        try:
            found.append(next(stream))
        except StopIteration as end:
            return [json.loads(one) for one in found], end.value


class TestTheModel:
    def test_each_object_is_one_document_as_mlflow_writes_it(self, models):
        found, end = streamed(models["words"], {"messages": [{"say": [{"a": 1}, "frame", "text", [1, None]]}]})
        assert found == [{"a": 1}, [{"a": 1}], "text", [1, None]]
        assert end == Answer(200, b"")
        assert CLOSED == [True]

    def test_model_gets_the_whole_request_as_from_mlflows_server(self, models):
        body = {"messages": [{"say": [1]}], "stream": True, "custom_inputs": {"a": 1}, "other": None}
        assert streamed(models["words"], body)[0] == [1]
        ((data, params),) = SEEN
        assert (data, params) == (body, {})

    def test_parameters_of_the_signature_are_params(self, models):
        streamed(models["params"], {"messages": [{"say": ["a"]}], "factor": 3})
        streamed(models["params"], {"messages": [{"say": ["a"]}]})
        assert [params for _, params in SEEN] == [{"factor": 3.0}, {"factor": 2.0}]

    def test_rows_are_read_in_their_forms(self, models):
        assert streamed(models["rows"], {"dataframe_records": [{"x": 4}], "stream": True})[1].status == 200
        assert [data for data, _ in SEEN] == [{"x": 4.0}]
        assert streamed(models["rows"], b"x\n5\n", "text/csv")[1].status == 200
        assert [data for data, _ in SEEN[1:]] == [{"x": 5.0}]

    def test_chat_model_gets_messages_and_parameters_and_gives_chunks(self, models):
        body = {"messages": [{"role": "user", "content": "hello"}], "temperature": 0.5, "stream": True}
        found, end = streamed(models["chat"], body)
        assert [one["choices"][0]["delta"]["content"] for one in found] == ["hello", "0.5"]
        assert {one["object"] for one in found} == {"chat.completion.chunk"}
        assert end.status == 200
        ((_, params),) = SEEN
        assert params.stream is True

    def test_model_without_a_stream_says_so(self, models):
        model = ServedModel(models["whole"], True, "auto")
        assert not model.streams
        found, end = streamed(models["whole"], {"messages": [{}], "stream": True})
        assert (found, end.status) == ([], 400)
        assert json.loads(end.body) == {"error_code": "BAD_REQUEST", "message": CANNOT_STREAM}

    def test_model_that_streams_is_never_batched(self, models):
        model = ServedModel(models["rows"], True, "on")
        assert model.streams
        assert not model.batches

    @pytest.mark.parametrize("before", [[], [1]])
    def test_what_the_model_raises_is_the_end(self, models, before):
        found, end = streamed(models["words"], {"messages": [{"say": [*before, "raise"]}]})
        assert (found, end.status) == (before, 400)
        document = json.loads(end.body)
        assert document["error_code"] == "BAD_REQUEST"
        assert document["message"].endswith("Error: ValueError: it was told to")
        assert "unexpected error while evaluating" in document["message"]
        assert "it was told to" in document["stack_trace"]
        assert document["request_id"] == "an-id"

    def test_failure_reads_as_that_of_a_whole_answer(self, models):
        model = ServedModel(models["params"], True, "auto")
        body = json.dumps({"messages": [{"say": [1]}], "factor": "much"}).encode()
        whole = model.predict_one(body, "", "an-id", False)
        found, end = streamed(models["params"], body)
        said = json.loads(end.body)
        assert (found, end.status) == ([], whole.status)
        assert {**said, "stack_trace": None} == {**json.loads(whole.body), "stack_trace": None}

    def test_model_that_leaves_the_process_only_ends_its_stream(self, models):
        found, end = streamed(models["words"], {"messages": [{"say": [1, "exit"]}]})
        assert (found, end.status) == ([1], 400)
        assert "sys.exit(3)" in json.loads(end.body)["message"]

    def test_object_that_is_no_json_is_the_end_and_closes_the_model(self, models):
        found, end = streamed(models["words"], {"messages": [{"say": [1, "set", 2], "will_not_close": True}]})
        assert (found, end.status) == ([1], 400)
        assert "cannot be written as JSON" in json.loads(end.body)["message"]
        assert CLOSED == [True]

    def test_nan_is_null_where_json_is_strict(self, models):
        body = {"messages": [{"say": ["nan"]}]}
        assert streamed(models["words"], body)[0] == [None]
        (value,) = streamed(models["words"], body, strict=False)[0]
        assert value != value

    @pytest.mark.parametrize("stubborn", [False, True])
    def test_closing_it_closes_the_model(self, models, stubborn):
        model = ServedModel(models["words"], True, "auto")
        body = json.dumps({"messages": [{"say": [1, 2], "will_not_close": stubborn}]}).encode()
        stream = model.stream_one(body, "", "an-id", False)
        assert next(stream) == b"1"
        stream.close()
        assert CLOSED == [True]

    @pytest.mark.parametrize(
        ("body", "content_type", "status"),
        [(b"[", "application/json", 400), (b"{}", "application/json", 400), (b"{}", "text/plain", 415)],
    )
    def test_bad_request_is_refused_as_mlflow_does(self, models, body, content_type, status):
        found, end = streamed(models["words"], body, content_type)
        assert (found, end.status) == ([], status)
        assert json.loads(end.body)["error_code"] == "BAD_REQUEST"
        assert not SEEN
