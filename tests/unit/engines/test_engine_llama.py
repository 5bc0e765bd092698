"""llama.cpp as an engine: the real process with a tiny model of random weights, and once with a real one."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import engine_models
import httpx
import pytest
from engine_harness import RunningEngine, started, wait_until

from moorage.api.engines import Engine
from moorage.api.external_models import ExternalTask
from moorage.engines import config as engine_config
from moorage.engines.llama import causes_in

CHAT = "/v1/chat/completions"
QUESTION = {"messages": [{"role": "user", "content": "Tell me a story"}], "seed": 1}
MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    folder = tmp_path_factory.mktemp("llama")
    with started(folder, engine_models.tiny_gguf(), slots=4, context=2048) as running:
        running.ready()
        yield running


def chunks(answer: httpx.Response) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def test_names_of_engines_and_tasks_are_those_of_the_api() -> None:
    assert {engine_config.LLAMA_CPP, engine_config.ONNX, engine_config.VLLM} == set(Engine)
    assert engine_config.EMBEDDINGS == ExternalTask.EMBEDDINGS


def test_chat(engine: RunningEngine) -> None:
    answer = engine.post(CHAT, {**QUESTION, "max_tokens": 7, "ignore_eos": True})
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert document["model"] == "a-model"
    assert document["usage"]["completion_tokens"] == 7
    assert document["choices"][0]["message"]["content"]
    assert document["choices"][0]["finish_reason"] == "length"


def test_completion(engine: RunningEngine) -> None:
    answer = engine.post("/v1/completions", {"prompt": "Once upon a time", "max_tokens": 5, "ignore_eos": True})
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["text"]
    assert answer.json()["usage"]["completion_tokens"] == 5


def test_a_stream_has_the_same_text_and_the_usage(engine: RunningEngine) -> None:
    body = {**QUESTION, "max_tokens": 12, "temperature": 0}
    whole = engine.post(CHAT, body).json()["choices"][0]["message"]["content"]
    parts = chunks(engine.post(CHAT, {**body, "stream": True, "stream_options": {"include_usage": True}}))
    deltas = [choice["delta"].get("content") for part in parts for choice in part["choices"]]
    assert "".join(filter(None, deltas)) == whole
    assert parts[-1]["usage"]["completion_tokens"] <= 12


def test_an_answer_obeys_a_json_schema(engine: RunningEngine) -> None:
    properties = {"city": {"type": "string", "maxLength": 8}, "size": {"type": "string", "enum": ["small", "big"]}}
    schema = {"type": "object", "properties": properties, "required": ["city", "size"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema, "strict": True}}
    answer = engine.post(CHAT, {**QUESTION, "max_tokens": 300, "temperature": 0, "response_format": form})
    assert answer.status_code == 200, answer.text
    document = json.loads(answer.json()["choices"][0]["message"]["content"])
    assert set(document) == {"city", "size"}
    assert document["size"] in ("small", "big")


def test_a_prompt_over_the_context_of_a_slot_is_refused(engine: RunningEngine) -> None:
    answer = engine.post("/v1/completions", {"prompt": "word " * 2400, "max_tokens": 1})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "exceed_context_size_error"
    assert answer.json()["error"]["n_ctx"] == 2048


def test_slots_work_at_the_same_time_and_the_others_wait(engine: RunningEngine) -> None:
    statuses: list[int] = []
    body = {**QUESTION, "max_tokens": 500, "ignore_eos": True, "stream": True}
    seen = threading.Event()

    def ask() -> None:
        while not seen.is_set():
            statuses.append(engine.post(CHAT, body).status_code)

    def all_are_there() -> bool:
        deferred = engine.metric("llamacpp:requests_deferred")
        return deferred == 2 and engine.metric("llamacpp:requests_processing") == 4

    # Again and again: on a busy machine the first may have its answer before the last has asked.
    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        wait_until(all_are_there, engine)
    finally:
        seen.set()
        for thread in threads:
            thread.join()
    assert set(statuses) == {200}


def test_a_stream_that_nobody_reads_any_more_frees_its_slot(engine: RunningEngine) -> None:
    body = {**QUESTION, "max_tokens": 1500, "ignore_eos": True, "stream": True}
    with engine.client().stream("POST", CHAT, json=body) as answer:
        parts = answer.iter_bytes()  # kept: httpx closes an answer whose iterator is gone
        next(parts)
        assert engine.metric("llamacpp:requests_processing") == 1
    before = engine.metric("llamacpp:tokens_predicted_total")
    wait_until(lambda: engine.metric("llamacpp:requests_processing") == 0, engine, 5)
    assert engine.metric("llamacpp:tokens_predicted_total") - before < 1500


def test_requests_do_not_fill_the_log_and_prompts_are_not_in_it(engine: RunningEngine) -> None:
    before = len(engine.log)
    for _ in range(5):
        engine.post("/v1/completions", {"prompt": "a secret of the client", "max_tokens": 2})
    assert "secret" not in engine.log
    assert len(engine.log) == before


def test_memory_is_flat_over_a_thousand_requests(engine: RunningEngine) -> None:
    def ask(first: int, last: int) -> None:
        for number in range(first, last):
            prompt = f"Question {number}: what is {number} times {number}? " * 4
            client.post("/v1/completions", json={"prompt": prompt, "max_tokens": 2}).raise_for_status()

    client = engine.client()
    ask(0, 100)
    before = engine.resident()
    ask(100, 1100)
    assert engine.resident() - before < 8 * MEGABYTE


def test_the_endpoints_template_takes_the_place_of_the_models(tmp_path: Path) -> None:
    template = "{% for message in messages %}<{{ message.role }}> {{ message.content }} {% endfor %}HERE"
    with started(tmp_path, engine_models.tiny_gguf(), chat_template=template) as engine:
        engine.ready()
        answer = engine.post("/apply-template", {"messages": QUESTION["messages"]})
        assert answer.json()["prompt"] == "<user> Tell me a story HERE"


def test_embeddings_of_a_gguf(tmp_path: Path) -> None:
    embedding = {"task": "llm/v1/embeddings", "pooling": "mean"}
    with started(tmp_path, engine_models.tiny_gguf(), context=1024, slots=2, **embedding) as engine:
        engine.ready()
        long = "one two three four five " * 150  # more than llama.cpp takes at once when it is not told to
        answer = engine.post("/v1/embeddings", {"input": ["one", "one", long]})
        assert answer.status_code == 200, answer.text
        first, second, third = (one["embedding"] for one in answer.json()["data"])
        assert first == pytest.approx(second, abs=1e-3)
        assert len(third) == 64
        assert sum(number * number for number in first) == pytest.approx(1, abs=1e-3)


def test_embeddings_need_a_pooling_when_the_file_names_none(tmp_path: Path) -> None:
    with started(tmp_path, engine_models.tiny_gguf(), task="llm/v1/embeddings") as engine:
        assert "Pooling type 'none'" in engine.reason()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no model at all", "invalid magic characters"),
        (b"", "failed to read magic"),
        (None, "not within the file bounds, model is corrupted or incomplete"),
    ],
    ids=["another file", "an empty file", "half a file"],
)
def test_a_bad_file_is_said_to_be_one(tmp_path: Path, content: bytes | None, reason: str) -> None:
    bad = tmp_path / "bad.gguf"
    whole = engine_models.tiny_gguf().read_bytes()
    bad.write_bytes(whole[: int(len(whole) * 0.9)] if content is None else content)
    with started(tmp_path / "replica", bad) as engine:
        said = engine.reason()
    assert said.startswith("bad.gguf: ")
    assert reason in said
    assert len(said) < 1500


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with started(tmp_path, tmp_path / "none.gguf") as engine:
        assert engine.reason() == f"there is no file {tmp_path}/none.gguf"


def test_a_template_that_cannot_be_read(tmp_path: Path) -> None:
    with started(tmp_path, engine_models.tiny_gguf(), chat_template="{% for message in messages %}{{ x }") as engine:
        assert "Parser Error" in engine.reason()


def test_an_unknown_pooling_is_named_with_the_known_ones(tmp_path: Path) -> None:
    changes = {"task": "llm/v1/embeddings", "pooling": "max"}
    with started(tmp_path, engine_models.tiny_gguf(), **changes) as engine:
        assert engine.reason() == "there is no pooling 'max'; there are mean, cls, last"


def test_only_causes_are_told_and_each_once() -> None:
    text = """
0.00.003.681 E gguf_init_from_reader: invalid magic characters: 'garb', expected 'GGUF'
0.00.003.792 E llama_model_load: error loading model: something else
0.00.003.807 E llama_model_load_from_file_impl: failed to load model
0.00.003.869 E gguf_init_from_reader: invalid magic characters: 'garb', expected 'GGUF'
0.00.003.900 I srv    load_model: information
0.00.004.196 E srv          init: exiting due to model loading error
"""
    first = "gguf_init_from_reader: invalid magic characters: 'garb', expected 'GGUF'"
    assert causes_in(text) == f"{first}; error loading model: something else"


def test_smollm2_knows_the_capital_of_france(tmp_path: Path) -> None:
    with started(tmp_path, engine_models.smollm2(), context=1024, slots=2) as engine:
        engine.ready()
        question = "What is the capital of France? Answer in one sentence."
        body = {"messages": [{"role": "user", "content": question}], "max_tokens": 24, "temperature": 0}
        assert "Paris" in engine.post(CHAT, body).json()["choices"][0]["message"]["content"]
