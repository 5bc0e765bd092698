"""How engine processes begin and end: with real ones."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import engine_models
import httpx
import pytest
from engine_harness import IMPATIENT, REPOSITORY, RunningEngine, started, wait_until

from moorage.engines import sockets
from moorage.engines.config import read_config
from moorage.engines.process import Orphanhood
from moorage.replica.process import start_ticks

CHAT = "/v1/chat/completions"
LONG = {"messages": [{"role": "user", "content": "Tell me a story"}], "max_tokens": 1500, "ignore_eos": True}
"""Takes a second or more."""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[RunningEngine]:
    with started(tmp_path, engine_models.tiny_gguf(), slots=1, context=2048) as running:
        running.ready()
        yield running


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[bytes]]:
    """Stands for the server."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def fake_xllamacpp(folder: Path, code: str) -> dict[str, str]:
    """An environment in which the library is something else."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "xllamacpp.py").write_text(code)
    return {"PYTHONPATH": f"{folder}:{REPOSITORY}"}


ENDLESS_LOADING = """
import itertools
class _Any:
    def __getattr__(self, name):
        value = _Any()
        object.__setattr__(self, name, value)
        return value
llama_pooling_type = _Any()
CommonParams = _Any
class Server:
    def __init__(self, parameters):
        sum(itertools.repeat(0))  # in C, without ever looking at Python's signals
"""


def test_the_status_file_follows_the_life(engine: RunningEngine) -> None:
    status = engine.status
    assert status["replica_id"] == engine.config["replica_id"]
    assert (status["pid"], status["started_at"]) == (engine.process.pid, start_ticks(engine.process.pid))
    assert 0 < status["load_seconds"] < 60
    engine.terminate()
    assert engine.exit_status() == 0
    assert engine.status["phase"] == "stopped"


def test_what_is_under_way_and_what_waits_is_finished_at_sigterm(tmp_path: Path) -> None:
    command = [sys.executable, "-c", IMPATIENT]
    with started(tmp_path, engine_models.tiny_gguf(), command=command, slots=1, context=2048) as engine:
        engine.ready()
        answers: list[str] = []
        body = {**LONG, "stream": True}
        threads = [threading.Thread(target=lambda: answers.append(engine.post(CHAT, body).text)) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda: engine.metric("llamacpp:requests_deferred") == 2, engine)
        engine.terminate()
        for thread in threads:
            thread.join()
        assert [answer.count('"finish_reason":"length"') for answer in answers] == [1, 1, 1]
        assert all(answer.rstrip().endswith("data: [DONE]") for answer in answers)
        assert engine.exit_status() == 0


def test_a_stop_waits_for_nobody_who_asks_for_nothing(tmp_path: Path) -> None:
    tokenizer = str(engine_models.minilm_tokenizer())
    changes = {"engine": "onnx", "task": "llm/v1/embeddings", "tokenizer": tokenizer, "context": 128}
    with started(tmp_path, engine_models.minilm(), **changes) as engine, socket.socket(socket.AF_UNIX) as idle:
        engine.ready()
        idle.connect(engine.config["socket"])
        began = time.monotonic()
        engine.terminate()
        assert engine.exit_status() == 0
        assert 4 < time.monotonic() - began < 15  # it may be that a request is on its way


def test_a_stopping_engine_is_not_found_any_more(engine: RunningEngine) -> None:
    engine.terminate()
    engine.exit_status()
    assert not Path(engine.config["socket"]).exists()


def test_the_second_sigterm_ends_it_at_once(engine: RunningEngine) -> None:
    def ask() -> None:
        with pytest.raises(httpx.RemoteProtocolError):
            engine.post(CHAT, LONG)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(lambda: engine.metric("llamacpp:requests_processing") == 1, engine)
    engine.terminate()
    wait_until(lambda: "are finished" in engine.log, engine)
    assert engine.process.poll() is None
    began = time.monotonic()
    engine.terminate()
    assert engine.exit_status() == 128 + signal.SIGTERM
    assert time.monotonic() - began < 1
    thread.join()


def test_sigterm_while_it_loads_ends_it_at_once(tmp_path: Path) -> None:
    env = fake_xllamacpp(tmp_path / "fake", ENDLESS_LOADING)
    with started(tmp_path, engine_models.tiny_gguf(), env=env) as engine:
        wait_until(lambda: engine.status.get("phase") == "loading", engine)
        time.sleep(0.5)  # into the loop, whose beginning cannot be seen
        began = time.monotonic()
        engine.terminate()
        assert engine.exit_status() in (-signal.SIGTERM, 128 + signal.SIGTERM)
        assert time.monotonic() - began < 2
        assert not Path(engine.config["socket"]).exists()


def test_a_socket_is_there_only_when_requests_are_answered(tmp_path: Path) -> None:
    with started(tmp_path, engine_models.tiny_gguf()) as engine:
        wait_until(lambda: Path(engine.config["socket"]).exists(), engine)
        assert engine.client().get("/health").status_code == 200


def test_a_long_path_of_the_replicas_folder_does_no_harm(tmp_path: Path) -> None:
    folder = tmp_path / ("f" * max(1, 102 - len(str(tmp_path))))
    with started(folder, engine_models.tiny_gguf()) as engine:
        engine.ready()
        assert engine.client().get("/health").status_code == 200


def test_it_stops_by_itself_when_its_server_has_gone(tmp_path: Path, parent: subprocess.Popen[bytes]) -> None:
    named = {"supervisor_pid": parent.pid, "supervisor_started_at": start_ticks(parent.pid), "orphan_seconds": 1.0}
    with started(tmp_path, engine_models.tiny_gguf(), **named) as engine:
        engine.ready()
        time.sleep(2)
        assert engine.process.poll() is None
        parent.kill()
        parent.wait()
        assert engine.exit_status() == 0
        assert "the server has been gone for 1 s" in engine.log
        assert engine.status["phase"] == "stopped"


def test_an_engine_belongs_to_the_server_that_its_configuration_names_now(
    tmp_path: Path, parent: subprocess.Popen[bytes]
) -> None:
    clock = iter(range(0, 1000, 10)).__next__
    named = {"supervisor_pid": parent.pid, "supervisor_started_at": start_ticks(parent.pid), "orphan_seconds": 25}
    with started(tmp_path, tmp_path / "none", **named) as engine:
        engine.reason()
    path = tmp_path / "engine.json"
    orphanhood = Orphanhood(path, read_config(path), clock)
    assert not orphanhood.over()
    parent.kill()
    parent.wait()
    assert not orphanhood.over()
    document = json.loads(path.read_text())
    path.write_text("")  # it is being written
    assert not orphanhood.over()
    document.update(supervisor_pid=os.getpid(), supervisor_started_at=start_ticks(os.getpid()))
    path.write_text(json.dumps(document))
    for _ in range(10):
        assert not orphanhood.over()
    document.update(supervisor_started_at=1)  # the id is another process's by now
    path.write_text(json.dumps(document))
    orphanhood = Orphanhood(path, read_config(path), clock)
    assert [orphanhood.over() for _ in range(4)] == [False, False, True, True]


def test_a_library_that_is_not_installed(tmp_path: Path) -> None:
    missing = "raise ModuleNotFoundError(\"No module named 'xllamacpp'\", name='xllamacpp')"
    env = fake_xllamacpp(tmp_path / "fake", missing)
    with started(tmp_path, engine_models.tiny_gguf(), env=env) as engine:
        words = "the engine llama.cpp needs xllamacpp, which is not installed (pip install 'moorage[llm]')"
        assert engine.reason() == words


def test_an_unknown_engine(tmp_path: Path) -> None:
    with started(tmp_path, engine_models.tiny_gguf(), engine="abacus") as engine:
        assert engine.reason() == "there is no engine 'abacus'; there are llama.cpp, onnx and vllm"


def test_a_reason_is_not_longer_than_its_readers_take(tmp_path: Path) -> None:
    env = fake_xllamacpp(tmp_path / "fake", "raise ValueError('x' * 9000)")
    with started(tmp_path, engine_models.tiny_gguf(), env=env) as engine:
        assert len(engine.reason()) == 1500


def test_without_a_configuration_it_says_how_it_is_called() -> None:
    words = [sys.executable, "-m", "moorage.engines"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd=REPOSITORY, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")


def test_connections_are_counted_also_before_they_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"test-{os.getpid()}.sock"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(name)
        listener.listen()
        assert sockets.connections(name) == 0
        client.connect(name)
        assert sockets.connections(name) == 1
        listener.accept()[0].close()
        assert sockets.connections(name) == 0
