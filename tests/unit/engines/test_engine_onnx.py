"""The engine for embeddings: its parts with a model of four numbers, and the real process with MiniLM."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import engine_models
import httpx2
import numpy as np
import onnx
import openai
import pytest
from engine_harness import RunningEngine, started, wait_until
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from moorage.engines import embedding_requests
from moorage.engines.batching import Batches
from moorage.engines.embedding_model import EmbeddingModel, Pooling, Tokens, Vectors
from moorage.engines.embedding_requests import BadEmbeddingsRequest, EncodingFormat, read_request
from moorage.engines.process import EngineError

EMBEDDINGS = "/v1/embeddings"
TOKEN_IDS = "'input' must be text: token ids are those of another model's tokenizer."
MINILM: dict[str, Any] = {
    "engine": "onnx",
    "task": "llm/v1/embeddings",
    "tokenizer": str(engine_models.minilm_tokenizer()),
    "context": 256,
    "pooling": "mean",
}
TABLE = np.array([[9, 9], [3, 4], [1, 0], [0, 1]], np.float32)
"""What the small model makes of each token; that of index 0 fills up rows."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    with started(tmp_path_factory.mktemp("onnx"), engine_models.minilm(), **MINILM) as running:
        running.ready()
        yield running


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path]:
    """A model that looks each token up in `TABLE`, and a tokenizer that knows three words."""
    node = helper.make_node("Gather", ["table", "input_ids"], ["last_hidden_state"])
    graph = helper.make_graph(
        [node],
        "small",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "width"])],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "width", 2])],
        [numpy_helper.from_array(TABLE, "table")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    weights, tokenizer = tmp_path / "model.onnx", tmp_path / "tokenizer.json"
    onnx.save(model, str(weights))
    words = Tokenizer(WordLevel({"[UNK]": 0, "a": 1, "b": 2, "c": 3}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    words.save(str(tokenizer))
    return weights, tokenizer


def vectors_of(answer: Any) -> list[list[float]]:
    assert answer.status_code == 200, answer.text
    return [one["embedding"] for one in answer.json()["data"]]


def similarity(first: Sequence[float], second: Sequence[float]) -> float:
    return float(np.dot(first, second))


# What a model makes of tokens


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        (Pooling.MEAN, [[0.6, 0.8], [2**-0.5, 2**-0.5]]),
        (Pooling.CLS, [[0.6, 0.8], [1, 0]]),
        (Pooling.LAST, [[0.6, 0.8], [0, 1]]),
    ],
)
def test_rows_of_different_length_are_pooled_over_their_own_tokens(
    small: tuple[Path, Path], pooling: Pooling, expected: list[list[float]]
) -> None:
    model = EmbeddingModel(*small, context=8, threads=1, pooling=pooling)
    vectors = model.embed(model.tokenize(["a", "b c", "a"]))
    assert vectors.tolist() == [pytest.approx(one) for one in (*expected, expected[0])]
    assert model.dimensions == 2


def test_many_rows_come_back_in_their_order(small: tuple[Path, Path]) -> None:
    model = EmbeddingModel(*small, context=8, threads=1, pooling=Pooling.CLS)
    rows = [[1 + number % 3] * (1 + number % 7) for number in range(100)]
    unit = TABLE / np.linalg.norm(TABLE, axis=1, keepdims=True)
    assert np.allclose(model.embed(rows), unit[[row[0] for row in rows]])


def test_a_file_that_is_no_model_is_named(small: tuple[Path, Path]) -> None:
    weights, tokenizer = small
    with pytest.raises(EngineError, match=r"^tokenizer\.json cannot be loaded: "):
        EmbeddingModel(tokenizer, tokenizer, context=8, threads=1)
    with pytest.raises(EngineError, match=r"^model\.onnx is no tokenizer: "):
        EmbeddingModel(weights, weights, context=8, threads=1)
    with pytest.raises(EngineError, match=r"^there is no file .*none\.onnx$"):
        EmbeddingModel(weights.with_name("none.onnx"), tokenizer, context=8, threads=1)


# Which requests go together


def test_what_waits_while_the_model_is_busy_goes_through_together() -> None:
    batches_seen: list[int] = []
    begun, free = threading.Event(), threading.Event()

    def embed(rows: Sequence[Tokens]) -> Vectors:
        batches_seen.append(len(rows))
        begun.set()
        assert free.wait(30)
        return np.array([[row[0]] for row in rows], np.float32)

    async def ask() -> list[Vectors]:
        batches = Batches(embed)
        first = asyncio.ensure_future(batches.embed([[1]]))
        await asyncio.sleep(0)
        await asyncio.to_thread(begun.wait, 30)
        others = [asyncio.ensure_future(batches.embed([[number], [-number]])) for number in range(2, 6)]
        await asyncio.sleep(0)
        assert batches.waiting == 4
        free.set()
        return [await one for one in (first, *others)]

    answers = asyncio.run(ask())
    assert batches_seen == [1, 8]
    assert [answer.tolist() for answer in answers] == [[[1]], *([[number], [-number]] for number in range(2, 6))]


@pytest.mark.parametrize("length", [1, 200], ids=["short texts", "long texts"])
def test_a_small_request_is_in_the_round_that_begins_next(length: int) -> None:
    rounds: list[list[Tokens]] = []
    begun, free = threading.Event(), threading.Event()

    def embed(rows: Sequence[Tokens]) -> Vectors:
        rounds.append(list(rows))
        begun.set()
        assert free.wait(30)
        return np.zeros((len(rows), 1), np.float32)

    async def ask() -> None:
        batches = Batches(embed)
        large = asyncio.ensure_future(batches.embed([[1] * length] * 2000))
        await asyncio.sleep(0)
        await asyncio.to_thread(begun.wait, 30)
        small = asyncio.ensure_future(batches.embed([[2]]))
        await asyncio.sleep(0)
        free.set()
        await asyncio.gather(small, large)

    asyncio.run(ask())
    assert [[2] in rows for rows in rounds[:3]] == [False, True, False]
    assert sum(map(len, rounds)) == 2001
    assert max(map(len, rounds)) <= 64
    assert max(sum(map(len, rows)) for rows in rounds) < 2048 + length


def test_a_request_that_was_given_up_costs_no_more() -> None:
    embedded: list[Tokens] = []
    begun, free = threading.Event(), threading.Event()

    def embed(rows: Sequence[Tokens]) -> Vectors:
        embedded.extend(rows)
        begun.set()
        assert free.wait(30)
        return np.zeros((len(rows), 1), np.float32)

    async def ask() -> None:
        batches = Batches(embed)
        first = asyncio.ensure_future(batches.embed([[1]]))
        await asyncio.to_thread(begun.wait, 30)
        second = asyncio.ensure_future(batches.embed([[2]]))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        free.set()
        await first
        await batches.embed([[3]])

    asyncio.run(ask())
    assert embedded == [[1], [3]]


def test_a_failure_is_that_of_its_request_and_the_next_one_works() -> None:
    def embed(rows: Sequence[Tokens]) -> Vectors:
        if rows[0] == [13]:
            raise ValueError("unlucky")
        return np.zeros((len(rows), 1), np.float32)

    async def ask() -> None:
        batches = Batches(embed)
        with pytest.raises(ValueError, match="unlucky"):
            await batches.embed([[13]])
        assert len(await batches.embed([[1]])) == 1

    asyncio.run(ask())


# Which requests are taken


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        ({}, "Missing required field 'input'.", "input"),
        ({"input": 5.5}, "'input' must be a string or a list of strings.", "input"),
        ({"input": []}, "'input' must have 1 to 2048 texts, not 0.", "input"),
        ({"input": ["a"] * 2049}, "'input' must have 1 to 2048 texts, not 2049.", "input"),
        ({"input": ["a", ""]}, "'input[1]' must not be empty.", "input"),
        ({"input": ""}, "'input[0]' must not be empty.", "input"),
        ({"input": ["a", None]}, "'input[1]' must be a string.", "input"),
        ({"input": [1, 2]}, TOKEN_IDS, "input"),
        ({"input": [[1, 2]]}, TOKEN_IDS, "input"),
        (
            {"input": "a", "dimensions": 2},
            "'dimensions' must be 384: the vectors of this model cannot be shortened.",
            "dimensions",
        ),
        ({"input": "a", "encoding_format": 1}, "'encoding_format' must be 'float' or 'base64'.", "encoding_format"),
        ({"input": "a", "instruction": 1}, "'instruction' must be a string.", "instruction"),
        ([1], "The request must be a JSON object.", None),
    ],
)
def test_what_cannot_be_done_is_said_with_its_field(body: Any, message: str, param: str | None) -> None:
    with pytest.raises(BadEmbeddingsRequest) as caught:
        read_request(json.dumps(body).encode(), 384)
    assert (str(caught.value), caught.value.param) == (message, param)


def test_a_body_that_is_no_json() -> None:
    with pytest.raises(BadEmbeddingsRequest, match="no valid JSON"):
        read_request(b"{", 384)


def test_an_instruction_goes_before_each_text() -> None:
    body = {"input": ["a", "b"], "instruction": "Represent this:", "dimensions": 384, "encoding_format": "base64"}
    request = read_request(json.dumps(body).encode(), 384)
    assert request.texts == ("Represent this: a", "Represent this: b")
    assert request.encoding is EncodingFormat.BASE64
    assert request.place(1) == "input[1]"
    single = read_request(json.dumps({"input": "a", "instruction": "Query:\n"}).encode(), 384)
    assert (single.texts, single.place(0)) == (("Query:\na",), "input")


def test_failures_have_openais_form() -> None:
    document = json.loads(embedding_requests.error("No.", 400, "input"))
    expected = {"message": "No.", "type": "invalid_request_error", "param": "input", "code": 400}
    assert document == {"error": expected}


# The process


def test_paraphrases_are_closer_than_strangers(engine: RunningEngine) -> None:
    texts = ["The cat sat on the mat.", "A kitten was sitting on the rug.", "Interest rates rose again this quarter."]
    first, paraphrase, stranger = vectors_of(engine.post(EMBEDDINGS, {"input": texts}))
    assert similarity(first, paraphrase) > 0.5 > 0.2 > similarity(first, stranger)
    assert similarity(first, first) == pytest.approx(1, abs=1e-5)


def test_usage_counts_the_tokens_that_the_model_saw(engine: RunningEngine) -> None:
    before = engine.metric("onnx:prompt_tokens_total")
    answer = engine.post(EMBEDDINGS, {"input": ["hello", "hello world"]}).json()
    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7}  # with [CLS] and [SEP]
    assert (answer["object"], answer["model"]) == ("list", "a-model")
    assert [(one["object"], one["index"]) for one in answer["data"]] == [("embedding", 0), ("embedding", 1)]
    assert engine.metric("onnx:prompt_tokens_total") == before + 7


def test_base64_is_little_endian_float32_and_openais_client_reads_it(engine: RunningEngine) -> None:
    [floats] = vectors_of(engine.post(EMBEDDINGS, {"input": "hello"}))
    body = {"input": "hello", "encoding_format": "base64"}
    encoded = engine.post(EMBEDDINGS, body).json()["data"][0]["embedding"]
    assert struct.unpack("<384f", base64.b64decode(encoded)) == pytest.approx(floats, abs=1e-6)
    transport = httpx2.HTTPTransport(uds=engine.config["socket"])
    http = openai.DefaultHttpxClient(transport=transport)
    with openai.OpenAI(base_url="http://engine/v1", api_key="-", http_client=http) as client:
        answer = client.embeddings.create(model="a-model", input="hello")
    assert answer.data[0].embedding == pytest.approx(floats, abs=1e-6)


def test_an_instruction_changes_the_vector(engine: RunningEngine) -> None:
    [plain] = vectors_of(engine.post(EMBEDDINGS, {"input": "cat"}))
    body = {"input": "cat", "instruction": "Represent the animal:"}
    [instructed] = vectors_of(engine.post(EMBEDDINGS, body))
    [spelled_out] = vectors_of(engine.post(EMBEDDINGS, {"input": "Represent the animal: cat"}))
    assert similarity(plain, instructed) < 0.9
    assert similarity(instructed, spelled_out) == pytest.approx(1, abs=1e-5)


def test_a_text_over_the_context_is_refused_by_its_index(engine: RunningEngine) -> None:
    answer = engine.post(EMBEDDINGS, {"input": ["short", "word " * 300]})
    assert answer.status_code == 400
    message = "'input[1]' has 302 tokens; the model takes at most 256 tokens."
    assert answer.json()["error"]["message"] == message
    answer = engine.post(EMBEDDINGS, {"input": "x" * 200_000})
    assert answer.json()["error"]["message"] == "'input' is too long; the model takes at most 256 tokens."
    assert vectors_of(engine.post(EMBEDDINGS, {"input": "word " * 254}))


def test_a_vector_hardly_depends_on_what_else_is_asked(engine: RunningEngine) -> None:
    texts = [f"Sentence number {number} is about {'things and ' * (number % 30)}more." for number in range(200)]
    [alone] = vectors_of(engine.post(EMBEDDINGS, {"input": texts[77]}))
    together = vectors_of(engine.post(EMBEDDINGS, {"input": texts}))
    assert len(together) == 200
    # Of this model in 8 bits, what goes in is scaled by batch.
    assert similarity(alone, together[77]) > 0.995


def test_other_paths_and_methods(engine: RunningEngine) -> None:
    client = engine.client()
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get(EMBEDDINGS).status_code == 405
    assert client.get("/nothing").status_code == 404
    answer = engine.post("/v1/chat/completions", {"messages": []})
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "This model gives embeddings; there is no /v1/chat/completions."


def test_a_client_that_goes_away_takes_its_texts_along(engine: RunningEngine) -> None:
    texts_before = engine.metric("onnx:texts_total")
    body = json.dumps({"input": ["a rather long text of many words " * 30] * 1000}).encode()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(engine.config["socket"])
        head = b"POST /v1/embeddings HTTP/1.1\r\nhost: engine\r\ncontent-length: %d\r\n\r\n" % len(body)
        connection.sendall(head + body)
        wait_until(lambda: engine.metric("onnx:requests_deferred") == 1, engine)
        assert engine.metric("onnx:requests_processing") == 1
        assert engine.client().get("/health").elapsed.total_seconds() < 1
    wait_until(lambda: engine.metric("onnx:requests_processing") == 0, engine, 10)
    assert engine.metric("onnx:texts_total") == texts_before
    assert vectors_of(engine.post(EMBEDDINGS, {"input": "hello"}))


def test_what_is_under_way_is_finished_at_sigterm(tmp_path: Path) -> None:
    with started(tmp_path, engine_models.minilm(), **MINILM) as engine:
        engine.ready()
        answers: list[Any] = []
        body = {"input": ["a text of some words " * 10] * 300}
        thread = threading.Thread(target=lambda: answers.append(engine.post(EMBEDDINGS, body)))
        thread.start()
        wait_until(lambda: engine.metric("onnx:requests_processing") == 1, engine)
        engine.process.send_signal(signal.SIGTERM)
        thread.join()
        assert len(vectors_of(answers[0])) == 300
        assert engine.exit_status() == 0


def test_memory_is_flat_over_a_thousand_requests(engine: RunningEngine) -> None:
    def ask(first: int, last: int) -> None:
        for number in range(first, last):
            client.post(EMBEDDINGS, json={"input": f"Text {number} " * (number % 7 + 1)}).raise_for_status()

    client = engine.client()
    ask(0, 100)
    before = engine.resident()
    ask(100, 1100)
    assert engine.resident() - before < 16 << 20


def test_a_task_that_is_not_its_own(tmp_path: Path) -> None:
    changes = {**MINILM, "task": "llm/v1/chat"}
    with started(tmp_path, engine_models.minilm(), **changes) as engine:
        assert engine.reason() == "the engine onnx is for llm/v1/embeddings, not for llm/v1/chat"


def test_a_tokenizer_is_looked_for_beside_the_weights(tmp_path: Path) -> None:
    changes = {**MINILM, "tokenizer": None}
    with started(tmp_path, engine_models.minilm(), **changes) as engine:
        assert engine.reason() == f"there is no file {engine_models.minilm().with_name('tokenizer.json')}"
