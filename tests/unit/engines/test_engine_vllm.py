"""vLLM as an engine: a program in its place, whose life is seen through. The real one needs a GPU."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_harness import RunningEngine, config_of, started, wait_until

from moorage.engines import vllm
from moorage.engines.config import read_config
from moorage.supervisor.linux import is_running

START = """
import sys
from pathlib import Path
from moorage.engines import process
from moorage.engines.vllm import VllmEngine
process._KEPT_SECONDS = 0.3
command, devices, config = map(Path, sys.argv[1:])
process.exit_with(process.Process(config, lambda config: VllmEngine(config, command, devices)).run())
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return folder


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """Starts the engine with the program in vLLM's place, on a machine that has a GPU."""
    program, devices = tmp_path / "vllm", tmp_path / "dev"
    program.write_text(f"#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name('fake_vllm.py')} \"$@\"\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    devices.mkdir()
    (devices / "nvidia0").touch()
    return [sys.executable, "-c", START, str(program), str(devices)]


@contextlib.contextmanager
def engine_of(
    tmp_path: Path, command: list[str], model: Path, env: dict[str, str] | None = None, **changes: Any
) -> Iterator[RunningEngine]:
    with started(tmp_path / "replica", model, command=command, env=env, engine="vllm", **changes) as engine:
        yield engine
        for pid in pids(engine):
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)


def pids(engine: RunningEngine) -> list[int]:
    path = engine.folder / "pids.txt"
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def all_gone(engine: RunningEngine) -> bool:
    assert len(pids(engine)) == 2
    return not any(map(is_running, pids(engine)))


def test_this_machine_says_why_it_cannot(tmp_path: Path, model: Path) -> None:
    if vllm.has_gpu() and vllm.find_command():
        pytest.skip("this machine can")
    with started(tmp_path / "replica", model, engine="vllm") as engine:
        assert engine.reason() in (vllm.NO_COMMAND, vllm.NO_GPU)


def test_without_a_gpu_it_is_not_started(tmp_path: Path, model: Path, command: list[str]) -> None:
    (tmp_path / "dev" / "nvidia0").unlink()
    (tmp_path / "dev" / "nvidiactl").touch()
    with engine_of(tmp_path, command, model) as engine:
        assert engine.reason() == "the engine vllm needs an NVIDIA GPU, and this machine has none"
        assert not (engine.folder / "arguments.txt").exists()


def test_it_serves_on_the_engines_socket_and_stops_in_order(tmp_path: Path, model: Path, command: list[str]) -> None:
    with engine_of(tmp_path, command, model, {"FAKE_SECONDS": "1.5"}, slots=3, context=777) as engine:
        engine.ready()
        words = (engine.folder / "arguments.txt").read_text().split("\n")
        assert words[:2] == ["serve", str(model)]
        assert words[words.index("--max-model-len") + 1] == "777"
        assert words[words.index("--max-num-seqs") + 1] == "3"
        assert words[words.index("--served-model-name") + 1] == "a-model"
        answers: list[str] = []
        thread = threading.Thread(target=lambda: answers.append(engine.post("/v1/chat/completions", {}).text))
        thread.start()
        wait_until(lambda: "running{engine=\"0\"} 1.0" in engine.client().get("/metrics").text, engine)
        engine.terminate()
        thread.join()
        assert answers == ["done"]
        assert engine.exit_status() == 0
        assert (engine.folder / "asked-to-leave.txt").exists()
        assert all_gone(engine)
        assert engine.status["phase"] == "stopped"


def test_its_failure_is_told_with_its_last_error(tmp_path: Path, model: Path, command: list[str]) -> None:
    with engine_of(tmp_path, command, model, {"FAKE_FAILURE": "1"}) as engine:
        assert engine.reason() == "vllm ended with status 7: ValueError: the model needs 99 GiB of memory"


def test_sigterm_while_it_loads_leaves_nothing_behind(tmp_path: Path, model: Path, command: list[str]) -> None:
    with engine_of(tmp_path, command, model, {"FAKE_SLOW": "1"}) as engine:
        wait_until(lambda: bool(pids(engine)), engine)
        began = time.monotonic()
        engine.terminate()
        assert engine.exit_status() == 128 + signal.SIGTERM
        assert time.monotonic() - began < 5
        assert all_gone(engine)


def test_when_vllm_dies_its_worker_is_ended_and_the_reason_written_down(
    tmp_path: Path, model: Path, command: list[str]
) -> None:
    with engine_of(tmp_path, command, model) as engine:
        engine.ready()
        os.kill(pids(engine)[0], signal.SIGKILL)
        assert engine.exit_status() == 1
        assert "vllm ended by signal 9" in (engine.folder / "exit.json").read_text()
        assert all_gone(engine)


def test_vllm_ends_when_the_engine_is_killed(tmp_path: Path, model: Path, command: list[str]) -> None:
    with engine_of(tmp_path, command, model) as engine:
        engine.ready()
        engine.process.kill()
        engine.process.wait()
        wait_until(lambda: all_gone(engine), engine, 10)
        assert (engine.folder / "asked-to-leave.txt").exists()


def test_its_log_is_bounded(tmp_path: Path, model: Path, command: list[str]) -> None:
    with engine_of(tmp_path, command, model, {"FAKE_NOISE": "1"}, log_bytes=100_000) as engine:
        engine.ready()
        wait_until(lambda: len(engine.log) <= 100_000, engine)
        lines = engine.log.splitlines()
        assert lines[0].startswith("[earlier lines were dropped: the log reached its limit; ")
        assert "line 19999 of what nobody reads" in lines


def test_a_folder_without_a_model(tmp_path: Path, command: list[str]) -> None:
    with engine_of(tmp_path, command, tmp_path) as engine:
        assert engine.reason() == f"{tmp_path} is no folder of a Hugging Face model: it has no config.json"


def test_the_words_of_its_command_line(tmp_path: Path, model: Path) -> None:
    def words(**changes: Any) -> str:
        path = tmp_path / "config.json"
        path.write_text(json.dumps(config_of(tmp_path, model, **changes)))
        return " ".join(vllm.arguments_of(read_config(path)))

    assert words().endswith("--enable-auto-tool-choice --tool-call-parser llama3_json")
    assert f"--chat-template {tmp_path}/chat_template.jinja" in words(chat_template="{{ x }}")
    embeddings = words(task="llm/v1/embeddings", pooling="mean", chat_template="{{ x }}")
    assert embeddings.endswith('--runner pooling --pooler-config {"pooling_type": "MEAN"}')
    assert f"--tokenizer {tmp_path} " in words(tokenizer=str(tmp_path / "tokenizer.json"))
    (model / "config.json").write_text("[]")
    assert words().endswith("--tool-call-parser hermes")
